"""What callers see of journals: entries, the cursors by which readers go on, and how a journal is now.

Rule: an entry is known by its fence and its number, in that order: entries of a lease that was lost before they were
recorded have numbers that come again under the next fence. [JOURNAL-2] Knows no store.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from sagalog.errors import Corrupt, InvalidValue, OverBound
from sagalog.kernel import bounds
from sagalog.store import Blob
from sagalog.validation import arguments
from sagalog.validation.values import shown

_CURSOR: Final = re.compile(r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})", re.ASCII)
_decoder: Final = msgspec.msgpack.Decoder(list[bytes])


class JournalCursor(msgspec.Struct, frozen=True, order=True):
    """The place of an entry in a journal, behind which a reader goes on. [JOURNAL-2]

    Its text is `2-57`: entry 57, written under fence 2. Cursors have the order of the entries that they name.

    fence    that of the lease that has written the entry, which every attempt has anew; 0 in a journal that is no
             task's
    number   the number of the entry in the journal, from 1 on; 0 is before the first
    """

    fence: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.fence}-{self.number}"

    @classmethod
    def parse(cls, text: str, name: str = "cursor") -> JournalCursor:
        """Read the text of a cursor.

        Args:
            text: as in `2-57`.
            name: what an error calls it.

        Raises:
            InvalidValue: it is no such text.
        """
        found = _CURSOR.fullmatch(text) if isinstance(text, str) else None
        if found is None or max(map(int, found.groups())) > bounds.INTEGER_MAX:
            raise InvalidValue(f"{name}: expected a cursor as in '2-57', found {shown(text)}", path=name)
        return cls(int(found[1]), int(found[2]))


class JournalEntry(msgspec.Struct, frozen=True):
    """An entry of a journal, as readers get it. [JOURNAL-1]

    number   its place in the journal, from 1 on, over all attempts
    fence    that of the lease that has written it; 0 in a journal that is no task's
    data     its bytes
    """

    number: int
    fence: int
    data: bytes

    @property
    def cursor(self) -> JournalCursor:
        """The cursor behind which a reader goes on after this entry."""
        return JournalCursor(self.fence, self.number)


class JournalInfo(msgspec.Struct, frozen=True):
    """A journal as it is now. [JOURNAL-1]

    name         its name
    task         the id of the task to which it belongs; None: it is no task's
    entries      how many entries are on record
    size_bytes   how many bytes the store keeps of them
    fence        that of the lease that has written the newest entries; 0: it is no task's, or there is none
    first        the number of the first entry under that fence; 0: there is none
    closed       whether nothing more comes: it was closed, or its task has ended [JOURNAL-3]
    id           that of its stream, by which `Engine.journals` goes on
    """

    name: str
    task: str | None
    entries: int
    size_bytes: int
    fence: int
    first: int
    closed: bool
    id: str

    @property
    def newest(self) -> JournalCursor:
        """The cursor of the newest entry."""
        return JournalCursor(self.fence, self.entries)

    @property
    def base(self) -> JournalCursor:
        """The cursor before the first entry of the newest lease that has written."""
        return JournalCursor(self.fence, max(self.first - 1, 0))


class JournalPage(msgspec.Struct, frozen=True):
    """Some entries of a journal, and how it was when they were read; `is_last`: there are no more behind them."""

    status: JournalInfo
    entries: tuple[JournalEntry, ...]
    is_last: bool


def cursor_of(after: JournalCursor | str | None) -> JournalCursor:
    """Return the cursor that a caller gives, as one or as its text; None is before the first entry."""
    if after is None:
        return JournalCursor()
    return after if isinstance(after, JournalCursor) else JournalCursor.parse(after, "after")


def framed(entries: Sequence[bytes], name: str = "entries") -> Blob:
    """Return the bytes that the store keeps of the entries of one append: a MessagePack array of binaries.

    Raises:
        InvalidValue: there is no entry, or one is no bytes. OverBound: they are too many, or too large.
    """
    if not isinstance(entries, list | tuple) or not entries:
        text = f"{name}: expected a list of bytes with at least one, as in [b'one'], found {shown(entries)}"
        raise InvalidValue(text, path=name)
    if len(entries) > bounds.JOURNAL_ENTRIES_MAX:
        raise OverBound(
            f"{name}: {len(entries)} entries, and the bound is {bounds.JOURNAL_ENTRIES_MAX}; append them in several "
            "calls",
            bound="journal_entries",
            maximum=bounds.JOURNAL_ENTRIES_MAX,
        )
    for number, one in enumerate(entries):
        _require_bytes(one, f"{name}[{number}]")
    return arguments.blob(msgspec.msgpack.encode(list(entries)), name)


def unframed(data: bytes, count: int, what: str) -> list[bytes]:
    """Return the entries that the store keeps as one blob; raises Corrupt where they are not `count`."""
    try:
        entries = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise Corrupt(f"{what} holds no entries: {error}; compare the file with a backup") from error
    if len(entries) != count:
        raise Corrupt(
            f"{what} holds {len(entries)} entries, and its event says {count}; compare the file with a backup"
        )
    return entries


def _require_bytes(value: object, path: str) -> None:
    if not isinstance(value, bytes):
        raise InvalidValue(f"{path}: expected bytes, found {shown(value)}", path=path)

"""The validation of single values that a caller gives: names, ids, texts, numbers, tags.

Rule: every store keeps, returns and compares alike what passes; anything else is `InvalidValue`, which names the
argument, what was found, and what to give instead. Knows values only: no task, no state, no store, no clock.
`json_values` checks JSON values, and `arguments` several values at once.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, NoReturn, TypeGuard

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import (
    CAUSE_CHARACTERS_MAX,
    DEDUPE_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    TAGS_MAX,
    TIME_MS_MAX,
)

_ELLIPSIS: Final = "…"
_SHOWN_CHARACTERS_MAX: Final = 80
_SHOWN_BITS_MAX: Final = 256

# [NAME-1] What no name holds: controls, the separators of lines and paragraphs, surrogates, noncharacters. The list is
# fixed: the characters that Python calls printable grow with its Unicode tables, so that one version would refuse what
# another has stored.
_REFUSED: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef"
    + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(17))
    + "]"
)
_ALLOWED: Final = "characters, none of them a control, line separator, surrogate or noncharacter"


def check_text(value: object, name: str, characters_max: int) -> str:
    """Return free text (a reason, a note), cut to `characters_max`; it may have line breaks. [BOUND-1]

    Raises:
        InvalidValue: no str, or one with a NUL character or a lone surrogate in the returned part.
    """
    if type(value) is not str:
        _refuse(name, "text (str)", value)
    text = cut_text(value, characters_max)
    fault = fault_of_text(text)
    if fault is not None:
        raise InvalidValue(f"{name} {fault}", path=name)
    return text


def cut_text(value: str, characters_max: int) -> str:
    """Return `value`; if it is longer than `characters_max` (1 or more), its beginning and an ellipsis."""
    if len(value) <= characters_max:
        return value
    return value[: characters_max - 1] + _ELLIPSIS


def check_name(value: object, name: str) -> str:
    """Return a name (of a kind, queue, owner, ...): 1 to `NAME_CHARACTERS_MAX` characters, as names hold. [NAME-1]

    Raises:
        InvalidValue: anything else, such as one with a line break or a lone surrogate.
    """
    if not _is_allowed(value, 1, NAME_CHARACTERS_MAX):
        _refuse(name, f"a str of 1 to {NAME_CHARACTERS_MAX} {_ALLOWED}", value)
    return value


def check_cause(value: object, name: str) -> str:
    """Return the name of an event, as in `task/<id>@<version>`: 1 to `CAUSE_CHARACTERS_MAX` such characters.

    Raises:
        InvalidValue: anything else.
    """
    if not _is_allowed(value, 1, CAUSE_CHARACTERS_MAX):
        _refuse(name, f"the name of an event, a str of 1 to {CAUSE_CHARACTERS_MAX} {_ALLOWED}", value)
    return value


def check_id(value: object, name: str) -> str:
    """Return a caller's task id: 1 to `ID_CHARACTERS_MAX` characters, as of a name. [NAME-1]

    Raises:
        InvalidValue: anything else.
    """
    if not _is_allowed(value, 1, ID_CHARACTERS_MAX):
        _refuse(name, f"a str of 1 to {ID_CHARACTERS_MAX} {_ALLOWED}", value)
    return value


def check_dedupe_key(value: object, name: str) -> str:
    """Return a dedupe key: 1 to `DEDUPE_CHARACTERS_MAX` characters, as of a name. [NAME-1]

    Raises:
        InvalidValue: anything else.
    """
    if not _is_allowed(value, 1, DEDUPE_CHARACTERS_MAX):
        _refuse(name, f"a str of 1 to {DEDUPE_CHARACTERS_MAX} {_ALLOWED}", value)
    return value


def check_integer(value: object, name: str, minimum: int, maximum: int) -> int:
    """Return an integer from `minimum` to `maximum`, both included; a bool is none.

    Raises:
        InvalidValue: anything else.
    """
    if type(value) is not int or not minimum <= value <= maximum:
        _refuse(name, f"an int from {minimum} to {maximum}", value, minimum=minimum, maximum=maximum)
    return value


def check_milliseconds(value: object, name: str) -> int:
    """Return a time or a duration in whole milliseconds, 0 to `TIME_MS_MAX`.

    Raises:
        InvalidValue: anything else, floats and datetimes too.
    """
    if type(value) is not int or not 0 <= value <= TIME_MS_MAX:
        _refuse(name, f"whole milliseconds, an int from 0 to {TIME_MS_MAX}", value, minimum=0, maximum=TIME_MS_MAX)
    return value


def check_tags(value: object) -> dict[str, str]:
    """Return a task's tags as a new dict, sorted by name: at most `TAGS_MAX`, from names to short texts.

    A tag's text may be empty; callers search tasks by it, so the engine refuses a long one and never cuts it.

    Raises:
        InvalidValue: not such a mapping; its field `path` is `tags`, or like `tags.name` for a text.
    """
    if type(value) is not dict and not isinstance(value, Mapping):
        _refuse("tags", "a mapping of str to str", value)
    if len(value) > TAGS_MAX:
        raise InvalidValue(f"tags: expected at most {TAGS_MAX}, found {len(value)}", path="tags")
    # Taken no further than its length: the items of a foreign mapping may never end.
    tags = {check_name(name, "tags"): text for name, text in islice(value.items(), TAGS_MAX)}
    for name, text in tags.items():
        if not _is_allowed(text, 0, NAME_CHARACTERS_MAX):
            place = spell(("tags", name))
            _refuse(place, f"a str of at most {NAME_CHARACTERS_MAX} {_ALLOWED}", text)
    return dict(sorted(tags.items()))


def fault_of_text(text: str) -> str | None:
    """Describe what JSON or a store would not return of a text; None: nothing."""
    if "\0" in text:
        return f"contains a NUL character at index {text.index(chr(0))}; remove it, or give bytes as base64"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"{ord(text[error.start]):#06x} at index {error.start}"
            return f"contains the lone surrogate {found}; give text that UTF-8 can encode"
    return None


def spell(steps: Iterable[str | int]) -> str:
    """Write a path as in Python: `payload.items[3]["odd key"]`."""
    root, *others = steps
    pieces = [str(root)]
    for step in others:
        if isinstance(step, int):
            pieces.append(f"[{step}]")
        elif step.isidentifier() and len(step) <= _SHOWN_CHARACTERS_MAX:
            pieces.append(f".{step}")
        else:
            key = cut_text(step, _SHOWN_CHARACTERS_MAX)
            pieces.append(f"[{json.dumps(key, ensure_ascii=not key.isprintable())}]")
    return "".join(pieces)


def _is_allowed(value: object, characters_min: int, characters_max: int) -> TypeGuard[str]:
    if type(value) is not str or not characters_min <= len(value) <= characters_max:
        return False
    # All versions of Python agree which characters of ASCII are printable.
    return value.isprintable() if value.isascii() else _REFUSED.search(value) is None


def _refuse(name: str, expected: str, value: object, **bounds: int) -> NoReturn:
    kind = type_name(value)
    if type(value) is str:
        if not value:
            # What a name may hold is of no help where it holds nothing.
            expected = expected.replace(_ALLOWED, "characters")
        kind += f" of {len(value):,} characters"
    # With the value beside the bounds, an adapter can say the same in its own units.
    is_short = type(value) is int and value.bit_length() <= _SHOWN_BITS_MAX
    found = {**bounds, "found": value} if bounds and is_short else {}
    raise InvalidValue(f"{name}: expected {expected}, found {shown(value)} ({kind})", path=name, **found)


def type_name(value: object) -> str:
    """Name the type of a value, in at most 80 characters."""
    return cut_text(type(value).__qualname__, _SHOWN_CHARACTERS_MAX)


def shown(value: object) -> str:
    """Show a value in at most 80 printable characters; never raises, whatever it is."""
    if type(value) is int and value.bit_length() > _SHOWN_BITS_MAX:  # Python refuses to spell out the very long ones
        return f"an int of {value.bit_length():,} bits"
    if type(value) is str or type(value) is bytes:
        value = value[: _SHOWN_CHARACTERS_MAX + 1]
    try:
        text = _brief.repr(value)
    except Exception:  # noqa: BLE001  a foreign __repr__ may raise anything
        text = "a value without a repr"
    printable = "".join(character if character.isprintable() else " " for character in text)
    return cut_text(printable, _SHOWN_CHARACTERS_MAX)


_brief: Final = reprlib.Repr()
_brief.maxstring = _brief.maxother = 2 * _SHOWN_CHARACTERS_MAX

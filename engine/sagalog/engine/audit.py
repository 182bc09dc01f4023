"""The audit of a store: every event against its digest, its place and the table; every projection against the log.

Rule: it only reads, a bounded slice at a time, so that no writer waits and no reader holds the log open for long. It
names a fault by stream and version and goes on with the rest. Knows no store by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from sagalog.codec import Envelope, decode, envelope_of, is_intact, read_rows
from sagalog.engine.blob_audit import BlobAudit
from sagalog.engine.limit_audit import has_right_place, wrong_accounts
from sagalog.errors import SagalogError
from sagalog.kernel.categories import STORE, TASK, Category, Placed, category_of
from sagalog.kernel.events import (
    NAMES,
    ChildAdopted,
    CompensationRegistered,
    Created,
    Noted,
    Parked,
    Recordable,
    StepCompleted,
    Unblocked,
    awaited_tasks,
)
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Inherited, KeptStep, SignalEnd, State, TaskEnd
from sagalog.store import FIRST_TAG, AuditedStream, Progress, Snapshot, Store, Tag
from sagalog.store.dedupe_keys import may_save_dedupe
from sagalog.store.projection import decode_fold, encode_fold, refold_store, refold_stream
from sagalog.store.row import Row, row_of

# How many streams a snapshot reads: few enough for a checkpoint to get its turn, enough to cost nothing.
_SLICE: Final = 500

# The space of names under which subscriptions keep their checkpoints. [SUBSCRIBE-5]
CHECKPOINTS: Final = "subscriptions"

# The faults of streams of which every event was read.
_READ: Final = ("projection", "reference")

# Events that name other events.
_NAMING: Final = frozenset({Created, ChildAdopted, Unblocked})

FaultCode = Literal[
    "blob",
    "digest",
    "gap",
    "unreadable",
    "damaged",
    "projection",
    "positions",
    "file",
    "unfounded",
    "checkpoint",
    "reference",
]


class Fault(msgspec.Struct, frozen=True):
    """A thing that `Engine.verify` has found wrong.

    code      its sort, as a slug
    stream    the stream, as in `task/<id>`; None: it is no single one
    version   of the event in that stream; None: it is no single one
    text      what is wrong, in words
    """

    code: FaultCode
    stream: str | None
    version: int | None
    text: str


class VerifyReport(msgspec.Struct, frozen=True):
    """The findings of an audit.

    events         how many events were looked at
    tasks          how many tasks
    faults         everything that is wrong
    pruned         how many blobs are gone because they were pruned, which is no fault [PRUNE-4]
    pruned_bytes   how many bytes they had
    """

    events: int
    tasks: int
    faults: tuple[Fault, ...]
    pruned: int = 0
    pruned_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the audit found no fault."""
        return not self.faults


class RebuildReport(msgspec.Struct, frozen=True):
    """The outcome of a rebuild.

    tasks        how many tasks were folded afresh
    unreadable   the ids of those that this version cannot read
    """

    tasks: int
    unreadable: tuple[str, ...]


def verify(store: Store, progress: Progress | None = None) -> VerifyReport:
    """Audit the whole store; raises Unavailable or Corrupt where it cannot be read at all.

    `progress` is called with how many events were read, and how many there were at the beginning.
    """
    faults, total = _verify_whole(store)
    blobs = BlobAudit()
    events = tasks = tags = after = 0
    while True:
        if progress is not None:
            # What others write meanwhile is read too, and not counted here.
            progress(min(events, total), total)
        with store.read() as snapshot:
            blobs.catch_up(snapshot)
            streams = snapshot.audited(after, _SLICE)
            tagged = _Tagged(snapshot, streams)
            for one, placed in zip(streams, _read(streams), strict=True):
                found, carried = _verify_stream(snapshot, one, placed, tagged)
                faults += found
                if all(fault.code in _READ for fault in found):
                    faults += [Fault(*wrong) for wrong in blobs.verify(snapshot, one, placed)]
                events += len(one.events)
                tags += carried
                tasks += category_of(one.stream) is TASK
        # Where a table is out of order, which the integrity check has told, the next page may lead back.
        if not streams or streams[-1].number <= after:
            faults += _verify_tags(store, tags, {fault.stream for fault in faults})
            faults += [Fault("projection", None, None, text) for text in wrong_accounts(store)]
            faults += [Fault(*wrong) for wrong in blobs.verify_names(store)]
            if progress is not None:
                progress(total, total)
            return VerifyReport(events, tasks, tuple(faults), len(blobs.sizes), sum(blobs.sizes.values()))
        after = streams[-1].number


def _verify_whole(store: Store) -> tuple[list[Fault], int]:
    """What is wrong beside the single streams, and how many events the log has."""
    faults: list[Fault] = []
    with store.read() as snapshot:
        faults += [Fault("file", None, None, text) for text in snapshot.check()]
        count, newest = snapshot.head()
        if count != newest:
            text = f"the log has {count} events and its newest position is {newest}"
            faults.append(Fault("positions", None, None, text))
        faults += [Fault("projection", None, None, f"{text}: rebuild it") for text in snapshot.strays()]
        if snapshot.store() is None:
            faults.append(Fault("unfounded", None, None, "the log has no founding event"))
        for name, kept in _kept_in(snapshot, CHECKPOINTS):
            position = checkpoint_in(kept)
            if position is None or not 0 <= position <= newest:  # [SUBSCRIBE-5]
                text = f"the subscription {name!r} is at {kept} and the log ends at {newest}"
                faults.append(Fault("checkpoint", None, None, text))
    return faults, count


def checkpoint_in(kept: str) -> int | None:
    """Return the position that is kept as the checkpoint of a subscription; None: it is none."""
    try:
        return int(kept) if kept.isdecimal() and kept.isascii() else None
    except ValueError:
        return None


def _kept_in(snapshot: Snapshot, space: str) -> Iterator[tuple[str, str]]:
    """Yield what is kept under the names of a space, a page at a time."""
    after = ""
    while page := snapshot.kept_in(space, after, _SLICE):
        yield from page
        after = page[-1][0]


def rebuild(store: Store, progress: Progress | None = None) -> RebuildReport:
    """Fold every projection afresh from the log; `progress` is called as `Store.rebuild` does."""
    count = store.rebuild(progress)
    with store.read() as snapshot:
        return RebuildReport(count, tuple(snapshot.unreadable()))


def _verify_tags(store: Store, carried: int, faulty: set[str | None]) -> list[Fault]:
    """Check that each saved tag is one that its task carries; leave out streams whose fault is known.

    `carried` is how many saved tags the audit has found for tasks that carry them: if the store has no more, there is
    no other. Else one pass over all tags finds them: a question for each task would cost a look at every tag of the
    store.
    """
    with store.read() as snapshot:
        if snapshot.tag_count() == carried:
            return []
    faults: list[Fault] = []
    after: Tag | None = FIRST_TAG
    while after is not None:
        with store.read() as snapshot:
            found, after = snapshot.stray_tags(after, _SLICE)
        faults += [
            Fault("projection", stream, None, f"{text}: rebuild it")
            for stream, text in found
            if stream is None or stream not in faulty
        ]
    return faults


class _Tagged:
    """The tags by which the store finds the streams of a slice; it asks the store once for each tag."""

    def __init__(self, snapshot: Snapshot, streams: Sequence[AuditedStream]) -> None:
        self._snapshot = snapshot
        self._streams = streams
        self._found: dict[tuple[str, str], frozenset[int]] = {}

    def by_all(self, number: int, tags: dict[str, str]) -> bool:
        """Check whether the store finds a stream by each of these tags."""
        return all(number in self._numbers(tag) for tag in tags.items())

    def _numbers(self, tag: tuple[str, str]) -> frozenset[int]:
        found = self._found.get(tag)
        if found is None:
            first, last = self._streams[0].number, self._streams[-1].number
            found = self._found[tag] = self._snapshot.tagged(*tag, first, last)
        return found


def _read(streams: Sequence[AuditedStream]) -> list[list[Placed] | None]:
    """Read the events of each stream; None for one that has none, or one that was changed or is of an older shape."""
    # All at once: only if that fails does each stream have to be read by itself.
    placed = read_rows({one.number: one.stream for one in streams}, [row for one in streams for row in one.events])
    if placed is None:
        return [read_rows({one.number: one.stream}, one.events) or None for one in streams]
    following = iter(placed)
    return [list(islice(following, len(one.events))) or None for one in streams]


def _verify_stream(
    snapshot: Snapshot, one: AuditedStream, placed: list[Placed] | None, tagged: _Tagged
) -> tuple[list[Fault], int]:
    """Return the faults of a stream, and by how many tags the store rightly finds its task."""
    category = category_of(one.stream)
    if category is TASK and placed is not None:
        try:
            return _verify_task(snapshot, one, placed, tagged)
        except SagalogError:
            pass  # The code below finds the fault, event by event.
    envelopes = _envelopes(one)
    faults = _verify_envelopes(envelopes)
    if faults:
        return faults, 0
    if not envelopes:
        return [Fault("damaged", one.stream, None, "the stream has no events")], 0
    if category is None:
        return [Fault("damaged", one.stream, None, "this version knows no such category of streams")], 0
    if category is STORE:
        return _verify_store(snapshot, one.stream, envelopes), 0
    if category is not TASK:
        return _verify_other(category, one, envelopes), 0
    try:
        placed = [(decode(envelope), envelope.version, envelope.at_ms) for envelope in envelopes]
        return _verify_task(snapshot, one, placed, tagged)
    except SagalogError as error:
        return [_fault_of(one.stream, "unreadable" if error.code == "unknown_event" else "damaged", error)], 0


def _verify_task(
    snapshot: Snapshot, one: AuditedStream, placed: list[Placed], tagged: _Tagged
) -> tuple[list[Fault], int]:
    """Verify the stream of a task whose events can be read; raises where they do not follow."""
    task = TASK.fold(one.stream.partition("/")[2], placed)
    if task.state is State.COMPENSATING and not task.owed():
        text = "nothing is owed any more and 'compensated' does not follow: another program cut the stream"  # [COMP-6]
        return [Fault("damaged", one.stream, task.version, text)], 0
    faults: list[Fault] = []
    for event, version, _ in placed:
        if type(event) in _NAMING:
            faults += _verify_references(snapshot, one.stream, version, event)
    wrong = _verify_projection(one, task, tagged, snapshot.is_governed)
    wrong = wrong or _verify_edges(snapshot, one, task, placed)
    return faults + wrong, 0 if wrong else len(task.tags or ())


def _verify_other(category: Category[Any], one: AuditedStream, envelopes: Sequence[Envelope]) -> list[Fault]:
    """Verify a stream that is neither a task's nor the store's: its events fit and give its saved fold."""
    try:
        fold = refold_stream(category, one.stream.partition("/")[2], envelopes)
    except SagalogError as error:
        return [_fault_of(one.stream, "damaged", error)]
    if fold != one.fold:
        return [Fault("projection", one.stream, None, "its saved fold is not what the log gives: rebuild it")]
    return []


def _fault_of(stream: str, code: FaultCode, error: SagalogError) -> Fault:
    version = error.fields.get("version")
    return Fault(code, stream, version if isinstance(version, int) else None, error.message)


def _envelopes(one: AuditedStream) -> list[Envelope]:
    return [envelope_of(one.stream, event) for event in one.events]


def _verify_envelopes(envelopes: Sequence[Envelope]) -> list[Fault]:
    return [fault for place, envelope in enumerate(envelopes, start=1) for fault in _verify_envelope(place, envelope)]


def _verify_references(snapshot: Snapshot, stream: str, version: int, event: Recordable) -> list[Fault]:
    """Check the events to which an event refers. [COMP-7] [STEP-1] [STEP-2] [WAIT-3]

    They hold what a successor inherits, keeps and adopts; and each task of a wait had ended as the wait's end records.
    """
    if isinstance(event, Unblocked):
        texts = [
            f"task {one.task!r} had not ended as {one.state} at version {one.version}"
            for one in event.ended
            if not _had_ended(snapshot, one)
        ]
        if event.counts and not event.ended:
            texts = _verify_counts(snapshot, stream, version, event.counts)
        return [Fault("reference", stream, version, text) for text in texts]
    if isinstance(event, ChildAdopted) and not isinstance(_event_at(snapshot, event.task, 1), Created):
        return [Fault("reference", stream, version, f"the child {event.task!r} is not there")]
    if not isinstance(event, Created) or not (event.inherited or event.steps or event.waits):
        return []
    undos = [one for one in event.inherited if not _holds_undo(snapshot, one)]
    steps = [one for one in event.steps if not _holds_step(snapshot, one)]
    taken = [(one.name, number, end) for one in event.waits for number, end in one.numbered() if end is not None]
    waits = [one for one in taken if not _holds_wait(snapshot, *one)]
    absent = [f"the undo {one.id!r} is not at task/{one.task}@{one.version}" for one in undos]
    absent += [f"the step {one.name!r} is not at task/{one.task}@{one.version}" for one in steps]
    absent += [f"wait {number} of {name!r} did not end at task/{end.task}@{end.version}" for name, number, end in waits]
    return [Fault("reference", stream, version, text) for text in absent]


def _verify_counts(snapshot: Snapshot, stream: str, version: int, counts: Mapping[State, int]) -> list[str]:
    """Check how many of the tasks of a long wait have ended in each state: an end is for ever. [TERM-1] [WAIT-3]"""
    begun = (
        event
        for number in range(version - 1, 0, -1)
        if (event := _event_at(snapshot, stream.partition("/")[2], number))
    )
    ids = next((event.after for event in begun if isinstance(event, Parked | Created)), ())
    found = snapshot.ends(ids)
    ended = Counter(one.state for one in found.ended.values())
    unknown = len(found.unreadable)
    if found.live or any(not ended[state] <= count <= ended[state] + unknown for state, count in counts.items()):
        return [f"of the {len(ids)} tasks waited for, {dict(ended)} have ended and it counts {dict(counts)}"]
    return []


def _holds_undo(snapshot: Snapshot, one: Inherited) -> bool:
    event = _event_at(snapshot, one.task, one.version)
    if isinstance(event, Created):
        planned = event.compensations[one.index : one.index + 1] if one.index >= 0 else ()
        return [(undo.id, undo.kind) for undo in planned] == [(one.id, one.kind)]
    return isinstance(event, CompensationRegistered) and (event.id, event.kind) == (one.id, one.kind)


def _holds_step(snapshot: Snapshot, one: KeptStep) -> bool:
    event = _event_at(snapshot, one.task, one.version)
    if isinstance(event, Noted):
        return one.name in (event.results or {})
    return isinstance(event, StepCompleted) and (event.name, event.compensation) == (one.name, one.compensation)


def _holds_wait(snapshot: Snapshot, name: str, number: int, end: SignalEnd) -> bool:
    event = _event_at(snapshot, end.task, end.version)
    return isinstance(event, Unblocked) and (event.wait, event.number, event.by) == (name, number, "signal")


def _had_ended(snapshot: Snapshot, one: TaskEnd) -> bool:
    """Check whether the task had ended in this state by this version. Only notes follow an end. [TERM-1]"""
    version = one.version
    event = _event_at(snapshot, one.task, version)
    while isinstance(event, Noted):
        version -= 1
        event = _event_at(snapshot, one.task, version)
    return event is not None and one.state in TASK.life.states_after(NAMES[type(event)], getattr(event, "to", None))


def _event_at(snapshot: Snapshot, task: str, version: int) -> Recordable | None:
    """Return an event by name; None where there is none that can be read."""
    found = snapshot.history(f"task/{task}", version - 1, 1)
    try:
        return decode(found[0]) if found else None
    except SagalogError:
        return None


def _verify_envelope(place: int, envelope: Envelope) -> Sequence[Fault]:
    if envelope.version == place and is_intact(envelope):
        return ()
    faults = []
    if envelope.version != place:
        text = f"version {place} was expected and {envelope.version} found"
        faults.append(Fault("gap", envelope.stream, envelope.version, text))
    if not is_intact(envelope):
        text = f"position {envelope.position} was changed: its digest does not fit its content"
        faults.append(Fault("digest", envelope.stream, envelope.version, text))
    return faults


def _verify_store(snapshot: Snapshot, stream: str, envelopes: list[Envelope]) -> list[Fault]:
    try:
        fold = refold_store(envelopes)
    except SagalogError as error:
        return [Fault("damaged", stream, None, error.message)]
    if fold != snapshot.store():
        return [Fault("projection", stream, None, f"the log says {fold} and the store {snapshot.store()}")]
    return []


def _verify_projection(
    one: AuditedStream, task: TaskFold, tagged: _Tagged, is_governed: Callable[[str], bool]
) -> list[Fault]:
    """Check that a projection is what the log gives; the gate depends on the time and must fit some time.

    [RECORD-3]
    """
    saved, stream = one.saved, one.stream
    if saved is None:
        return [Fault("projection", stream, None, "it has no projection: rebuild it")]
    if saved.content != encode_fold(task) and not _is_fold_of(saved.content, task):
        return [Fault("projection", stream, None, "its saved fold is not what the log gives: rebuild it")]
    found = saved.row
    expected = row_of(task, found.gate, found.check_ms if _is_check_of(found) else None, found.held)
    differs = []
    if expected != found:
        pairs = zip(Row._fields, expected, found, strict=True)
        differs = sorted([name for name, given, other in pairs if given != other])
    if not has_right_place(task, found, saved.limit_uses, is_governed):
        differs.append("gate")
    if not may_save_dedupe(task, saved.dedupe):
        differs.append("dedupe")
    if task.tags and not tagged.by_all(one.number, task.tags):
        differs.append("tags")
    if differs:
        return [Fault("projection", stream, None, f"its columns {differs} are not what the log gives: rebuild it")]
    return []


def _verify_edges(snapshot: Snapshot, one: AuditedStream, task: TaskFold, placed: list[Placed]) -> list[Fault]:
    """Check the edges of a task: to each that it waits for and that lives, and to no other. [WAIT-3]

    To one that cannot be read an edge may be missing: the task ended while it could be read. One that has ended may
    still have an edge where maintenance has more of its dependants to handle.
    """
    found = set(one.saved.awaited) if one.saved is not None else set()
    waiting = task.waiting
    ids = awaited_tasks(placed[waiting.version - 1][0]) if waiting is not None and waiting.tasks else ()
    if not ids and not found:
        return []
    ends = snapshot.ends(ids)
    wrong = (ends.live - found) | (found - set(ids)) | ((found & ends.ended.keys()) - snapshot.dependants_due())
    if wrong:
        text = f"its edges to {sorted(wrong, key=repr)[:3]} are not what the log gives: rebuild it"
        return [Fault("projection", one.stream, None, text)]
    return []


def _is_fold_of(content: bytes | None, task: TaskFold) -> bool:
    """Check whether these bytes are the fold of a task, perhaps in an older encoding."""
    try:
        return content is not None and decode_fold(content) == task
    except msgspec.DecodeError:
        return False


def _is_check_of(row: Row) -> bool:
    """Check whether a saved check time may be that of its lease: never later than the expiry. [UPKEEP-1]"""
    return type(row.check_ms) is int and type(row.expires_ms) is int and row.check_ms <= row.expires_ms

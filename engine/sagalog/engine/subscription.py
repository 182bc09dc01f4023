"""Reading on: the events of the whole log in order, each at least once, from where one has stopped.

Rule: nothing is skipped and nothing is forgotten: a checkpoint moves forward only, and never beyond what was read.
[SUBSCRIBE-1] Decides nothing about tasks; what a reader does with an event is its own business.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Final, NamedTuple

from sagalog.codec import Envelope, Recorded, recorded_log
from sagalog.engine.audit import CHECKPOINTS, checkpoint_in
from sagalog.engine.executor import Executor
from sagalog.engine.queries import Queries
from sagalog.errors import Conflict, Corrupt, InvalidValue, Unknown
from sagalog.forks import generation, require_own
from sagalog.kernel import bounds
from sagalog.kernel.categories import JOURNAL
from sagalog.validation.values import check_integer, check_milliseconds, check_name

# How long a reader that waits sleeps at most before it looks at its clock again; a commit wakes it at once.
_SLICE_MS: Final = 50
# How many events an iteration reads ahead.
AHEAD: Final = 100


class Look(NamedTuple):
    """What a look at the log has found: the events to give, and the position up to which it has read."""

    events: list[Recorded]
    reached: int


class Subscription:
    """One reader of the log, and under its name a durable checkpoint; for one thread at a time.

    `Engine.subscribe` makes one. Reading moves `position` and writes nothing; `save` moves the checkpoint. What was
    given and not saved is given again to the next reader under this name, so each event comes at least once: do with it
    what may be done twice, then save. [SUBSCRIBE-2] As a context manager it saves what it gave when the block ends, and
    nothing where the block raises. Iterating waits for ever for what comes next.

    name         the name whose checkpoint it moves; None: none is kept
    position     the position of the last event that it gave, or passed over behind that; while it iterates, of the
                 event in hand
    checkpoint   the position that is saved, as far as this reader knows; None without a name

    Example:
        import sagalog

        with sagalog.open("memory:") as engine:
            engine.create("build")
            with engine.subscribe("mailer") as subscription:
                for event in subscription.read():
                    print(event.position, event.name)
    """

    def __init__(self, executor: Executor, name: str | None, position: int, journals: bool = False) -> None:
        self.name = name
        self.position = position
        self.checkpoint: int | None = None if name is None else position
        self._executor = executor
        # [SUBSCRIBE-6] The category that it passes over.
        self._without = None if journals else JOURNAL.name
        self._ahead: deque[Recorded] = deque()
        # Up to where the look has read that has filled `_ahead`.
        self._reached = position
        # A position whose saving had an unknown outcome: it may be found saved.
        self._doubtful: int | None = None
        self._made = generation()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.name is not None:
            self.save()

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Recorded:
        while (following := self._give_ahead()) is None:
            self._keep_ahead(self._look(AHEAD))
            if not self._ahead:
                self._wait(None)
        return following

    def __repr__(self) -> str:
        name = "without a name" if self.name is None else self.name
        checkpoint = "" if self.checkpoint is None else f" checkpoint {self.checkpoint}"
        return f"<Subscription {name} position {self.position}{checkpoint}>"

    def read(self, limit: int = 1_000) -> list[Recorded]:
        """Read what comes next, without waiting; an empty list where there is nothing yet. [SUBSCRIBE-1]

        Args:
            limit: how many events at most, 1 to 10,000.

        Raises:
            UnknownEvent: this version does not know the very next event; those before it were given. [SUBSCRIBE-4]
            LogDamaged: the very next event is not the one that was written.
        """
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        return self._give(self._look(limit))

    def wait(self, timeout_ms: int) -> bool:
        """Wait until there is something to read, or until the time is over.

        Args:
            timeout_ms: how long to wait at most, in milliseconds; 0: only look.

        Returns:
            Whether there is something to read.
        """
        return self._wait(check_milliseconds(timeout_ms, "timeout_ms"))

    def save(self, position: int | None = None) -> None:
        """Save the checkpoint, durably when this returns: no reader under this name is given again what lies before it.

        Args:
            position: of an event that was given, not before the checkpoint; None: the last one. [SUBSCRIBE-3]

        Raises:
            InvalidValue: it lies before the checkpoint or beyond what was given, or there is no name to save under.
            Conflict: another reader has moved the checkpoint, so two read under one name: stop one, or give it a name
                of its own. Fields: `subscription`, `position`, and `checkpoint`, where it is now.
            Unknown: it may have been saved: save again.
        """
        self._require_own()
        if self.name is None or self.checkpoint is None:
            raise InvalidValue("this subscription has no name to save under: subscribe with one", path="name")
        wanted = self.position if position is None else position
        check_integer(wanted, "position", 0, bounds.INTEGER_MAX)
        if not self.checkpoint <= wanted <= self.position:
            text = f"position: expected what was given and not saved yet, {self.checkpoint} to {self.position}"
            raise InvalidValue(f"{text}, found {wanted}", path="position")
        if wanted != self.checkpoint:
            self._move(self.name, wanted)

    # --- what who reads in another thread needs --------------------------------------------------------------------

    def _look(self, limit: int) -> Look:
        """Read what comes next, at most `limit` events, and leave `position` as it is; raises as `read`."""
        self._require_own()
        reached = self.position
        while envelopes := self._executor.queries.envelopes(reached, limit):
            events: list[Recorded] = []
            try:
                for event in recorded_log(envelopes, reached, self._without):
                    events.append(event)  # noqa: PERF402  # what came before a refusal is given
            except Corrupt:
                # [SUBSCRIBE-4] What comes before it is given first; then it is the very next one, and is told.
                if not events:
                    raise
                return Look(events, events[-1].position)
            reached = envelopes[-1].position
            if events:
                return Look(events, reached)
        return Look([], reached)

    def _give(self, look: Look) -> list[Recorded]:
        """Count what `_look` has read as given, or passed over."""
        self._ahead.clear()
        self.position = self._reached = look.reached
        return look.events

    def _keep_ahead(self, look: Look) -> None:
        """Keep what `_look` has read for `_give_ahead`; none of it is given yet."""
        self._ahead.extend(look.events)
        self._reached = look.reached

    def _give_ahead(self) -> Recorded | None:
        """Give the first event that was kept ahead; None if there is none."""
        self._require_own()
        if not self._ahead:
            self.position = max(self.position, self._reached)
            return None
        following = self._ahead.popleft()
        self.position = following.position
        return following

    # --- inside -------------------------------------------------------------------------------------------------

    def _wait(self, timeout_ms: int | None) -> bool:
        """As `wait`; None: for ever."""
        self._require_own()
        executor = self._executor
        started_ms = executor.clock.monotonic_ms()
        while True:
            changes = executor.changes()
            if self._has_next():
                return True
            # The reader looks at the log again only when a caller has committed.
            while executor.changes() == changes:
                waited_ms = executor.clock.monotonic_ms() - started_ms
                if timeout_ms is not None and waited_ms >= timeout_ms:
                    return False
                left_ms = _SLICE_MS if timeout_ms is None else timeout_ms - waited_ms
                executor.wait_change(changes, min(left_ms, _SLICE_MS))

    def _require_own(self) -> None:
        """In a fork of the process that has subscribed: there, two would read under one name. [FORK-2]"""
        require_own(self._made, f"the subscription {self.name!r}" if self.name else "this subscription")

    def _has_next(self) -> bool:
        if self._ahead:
            return True
        if self._without is None:
            return bool(self._executor.queries.envelopes(self.position, 1))
        while envelopes := self._executor.queries.envelopes(self.position, AHEAD):
            for envelope in envelopes:
                if not self._is_passed_over(envelope):
                    return True
                self.position = envelope.position
        return False

    def _is_passed_over(self, envelope: Envelope) -> bool:
        return envelope.stream.partition("/")[0] == self._without

    def _move(self, name: str, wanted: int) -> None:
        while not self._is_moved(name, wanted):
            saved = _saved(self._executor.queries, name)
            if saved is None or saved != self._doubtful:
                raise Conflict(
                    f"the subscription {name!r} was at {self.checkpoint} and is at {saved}, so {wanted} was not "
                    "saved: another process reads under this name: use another name, or stop it",
                    subscription=name,
                    position=wanted,
                    checkpoint=saved,
                )
            # The store tells now what it could not tell then: it was saved.
            self.checkpoint, self._doubtful = saved, None
            if wanted <= saved:
                return
        self.checkpoint, self._doubtful = wanted, None

    def _is_moved(self, name: str, wanted: int) -> bool:
        try:
            return _save(self._executor, name, self.checkpoint, wanted)
        except Unknown:
            self._doubtful = wanted
            raise


def subscribe(executor: Executor, name: str | None, after: int | None, journals: bool = False) -> Subscription:
    """Go on where the name has stopped; a new name begins behind `after` and is on record from now on. [SUBSCRIBE-2]

    Raises:
        InvalidValue: no name, or `after` lies beyond the log. Corrupt: so does the checkpoint.
    """
    begin = 0 if after is None else check_integer(after, "after", 0, bounds.INTEGER_MAX)
    if name is not None:
        check_name(name, "name")
    while True:
        saved = None if name is None else _saved(executor.queries, name)
        if saved is None:
            _require_reached(executor.queries, begin)
        elif not _is_reached(executor.queries, saved):
            raise Corrupt(
                f"the subscription {name!r} is at {saved} and the log ends before: "
                "its newest events are lost; compare the file with a backup",
                subscription=name,
                checkpoint=saved,
            )
        if name is None:
            return Subscription(executor, None, begin, journals)
        # Where another process has put the new name on record meanwhile, that is where it begins.
        if saved is not None or _save(executor, name, None, begin):
            return Subscription(executor, name, begin if saved is None else saved, journals)


def _saved(queries: Queries, name: str) -> int | None:
    """Return the checkpoint of a name; None: no such name is on record."""
    kept = queries.kept(CHECKPOINTS, name)
    position = None if kept is None else checkpoint_in(kept)
    if kept is not None and position is None:
        raise Corrupt(
            f"the checkpoint of the subscription {name!r} is no position: read on under another name from the last "
            "position that you know",
            subscription=name,
        )
    return position


def _save(executor: Executor, name: str, expected: int | None, position: int) -> bool:
    """Move the checkpoint, if it is where it is expected. [SUBSCRIBE-3]"""
    return executor.keep(CHECKPOINTS, name, None if expected is None else str(expected), str(position))


def _is_reached(queries: Queries, position: int) -> bool:
    """Whether the log goes so far, told by a look at one event."""
    return position == 0 or bool(queries.envelopes(position - 1, 1))


def _require_reached(queries: Queries, after: int) -> None:
    if not _is_reached(queries, after):
        newest = queries.newest_position()
        raise InvalidValue(f"after: expected a position of the log, 0 to {newest}, found {after}", path="after")

"""The operations of a commit, made of entries: what each declares, and the unit of work that carries it out.

Rule: an operation's function depends only on what its view shows, and may run again. Knows the store port and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

import msgspec

from sagalog.actors import MAINTENANCE
from sagalog.codec import enclose
from sagalog.engine.claims import claim, plain_claim
from sagalog.engine.command_work import Maintained
from sagalog.engine.entries import CommandEntry, SettingEntry
from sagalog.engine.firing import look_at
from sagalog.engine.plain import plain_command
from sagalog.engine.sizes import require_kept_fits
from sagalog.engine.task import Task
from sagalog.engine.unit_of_work import UnitOfWork
from sagalog.errors import SagalogError
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import LEASE_CHECKS_MAX
from sagalog.kernel.categories import CATEGORIES, STORE
from sagalog.kernel.decide.settings import SETTING_VERB_OF
from sagalog.kernel.state import StoreFold
from sagalog.store import Append, Due, Kept, Operation, Result, Saved, Undeclared, View, project_fold
from sagalog.validation.commands import ClaimRequest
from sagalog.versions import is_newer

STORE_FORMAT: Final = 0

# The commands that may read or write other tasks than their own, and the checks whether one does.
_NAMES_OTHERS: Final[Mapping[type[c.Command], Callable[[Any], bool]]] = {
    c.Create: lambda command: command.after != () or command.dedupe is not None,
    c.Complete: attrgetter("undoer"),
    c.Park: lambda _: True,
    c.RetryAsNew: lambda _: True,
    c.AdoptChild: lambda _: True,
}


class MaintenanceDone(msgspec.Struct, frozen=True):
    """The result of maintenance.

    `handled` if it went on with dependants or children of tasks that have ended, so that there may be more of them.
    `again` if its look was full of live leases, or had tasks in it that cannot be read and are aside now, so that
    others behind them may be due.
    """

    maintained: tuple[Maintained, ...] = ()
    again: bool = False
    handled: bool = False


class Promoted(msgspec.Struct, frozen=True):
    """The result of promotions: how many were found, as many as were asked for where there may be more.

    `created` are the tasks of the schedules that were due, which none of them counts.
    """

    found: int = 0
    created: tuple[Maintained, ...] = ()


# The result of nearly every look for maintenance.
_NOTHING_DUE: Final = Result(MaintenanceDone())


class Declared(msgspec.Struct, frozen=True):
    """The streams and keys that some commands read or write, as the fields of `Operation`."""

    writes: tuple[str, ...]
    reads: tuple[str, ...]
    along: tuple[str, ...]
    keys: tuple[str, ...]
    drawn: tuple[str, ...]
    dedupes: tuple[tuple[str, str], ...] = ()


def writing(steps: Sequence[CommandEntry], together: bool = False, reads: Iterable[str] = ()) -> Operation:
    """Make an operation that carries out all steps in order, or none of them; it answers a list of Tasks.

    A refusal of steps that were given `together` names the one by the field `command`, its index from 0.
    `reads` are ids of other tasks on which they depend, from `relations.depends_on`.
    """
    if len(steps) == 1 and not together:
        return writing_one(steps[0], reads)

    def decide(view: View) -> Result:
        work = UnitOfWork(view)
        tasks = _all_or_none(work, steps) if together else [work.carry_out(step) for step in steps]
        return work.result(tasks)

    declared = declared_by(steps)
    reads = (*declared.reads, *_streams(reads))
    return _declaring(Operation(decide), declared, reads)


def writing_one(step: CommandEntry, reads: Iterable[str] = ()) -> Operation:
    """Make an operation as `writing`, for one step, as nearly all calls need it."""
    command, key = step.command, step.idempotency_key
    decide = partial(_carry_out_one, step)
    names_others = _NAMES_OTHERS.get(type(command))
    if names_others is not None and names_others(command):
        declared = declared_by((step,))
        reads = (*declared.reads, *_streams(reads))
        return _declaring(Operation(decide), declared, reads)
    writes = (f"task/{command.task}",)
    keys, drawn = () if key is None else (key,), writes if step.drawn else ()
    settings: tuple[str, ...] = ()
    if isinstance(command, (c.Create, c.Amend)) and (command.key or command.uses):
        settings = settings_of(command)
    return Operation(decide, writes, settings, (), keys, None, None, drawn, plain_command(step))


def _declaring(operation: Operation, declared: Declared, reads: tuple[str, ...]) -> Operation:
    """Return an operation with what its commands have declared."""
    return msgspec.structs.replace(
        operation,
        writes=declared.writes,
        reads=reads,
        along=declared.along,
        keys=declared.keys,
        drawn=declared.drawn,
        dedupes=declared.dedupes,
    )


def _carry_out_one(step: CommandEntry, view: View) -> Result:
    work = UnitOfWork(view)
    return work.result([work.carry_out(step)])


def claiming(asked: ClaimRequest) -> Operation:
    """Make an operation that leases what a claim selects; it answers `Claimed`, the Tasks as they were leased."""

    def decide(view: View) -> Result:
        work = UnitOfWork(view)
        return work.result(claim(work, asked))

    return Operation(decide, (), (), (), _key_of(asked), asked.claim, None, (), plain_claim(asked))


def settling(steps: Sequence[CommandEntry], asked: ClaimRequest, reads: Iterable[str] = ()) -> Operation:
    """Make an operation that carries out all steps and then claims, or does neither; answers the Tasks and `Claimed`.

    The claim selects from the state before the steps, and takes no task that they have written.
    """

    def decide(view: View) -> Result:
        work = UnitOfWork(view)
        tasks = _all_or_none(work, steps)
        # Before the claim, which takes no task that the steps have written.
        work.cancel_children()
        return work.result((tasks, claim(work, asked)))

    declared = declared_by(steps)
    return Operation(
        decide,
        declared.writes,
        (*declared.reads, *_streams(reads)),
        declared.along,
        (*declared.keys, *_key_of(asked)),
        asked.claim,
        drawn=declared.drawn,
        dedupes=declared.dedupes,
    )


def maintaining(due: Due) -> Operation:
    """Make an operation that ends the leases and waits which are over in some queues, and promotes what is due.

    It also cancels what has come to its deadline. [DEADLINE-2]
    It answers `MaintenanceDone`, without promotions, which write no event. [UPKEEP-1] [UPKEEP-2]
    """

    def decide(view: View) -> Result:
        checks, waits, late, promotable = view.expired, view.waits_over, view.deadlines_over, view.promotable
        accounts = view.due_accounts
        work = UnitOfWork(view)
        handled = work.handle_due()
        if not checks and not waits and not late and not promotable and not accounts and not handled:
            return _NOTHING_DUE
        created = look_at(work, accounts)
        ended = _ended_leases(work, checks, due.limit)
        again = len(checks) == due.limit + LEASE_CHECKS_MAX and len(ended) < due.limit
        again = again or any(_hides(found, due.limit) for found in (waits, late, promotable))
        over = [one for one in map(work.maintain_found, (*late, *waits)) if one is not None]
        for saved in promotable:
            work.put_right(saved)
        done = (*ended, *over, *work.cancel_children(), *created)
        return work.result(MaintenanceDone(done, again or bool(accounts), handled))

    return Operation(decide, due=due, plain=_nothing_due)


def _nothing_due(saved: Saved | None, *_: object) -> Result | None:
    return _NOTHING_DUE if saved is None else None


def _hides(found: Sequence[Saved], limit: int) -> bool:
    """Check whether tasks that cannot be read take places of a full look. [LOG-5]"""
    return len(found) == limit and any(saved.fold is None for saved in found)


def _ended_leases(work: UnitOfWork, checks: Sequence[Saved], limit: int) -> list[Maintained]:
    """End at most `limit` leases that are over; maintenance looks at live ones again at their expiry."""
    ended: list[Maintained] = []
    for saved in checks:
        if len(ended) == limit:
            break
        one = work.maintain_found(saved)
        if one is not None:
            ended.append(one)
    return ended


def promoting(due: Due) -> Operation:
    """Make an operation that only promotes tasks whose time has come, and fires schedules; it answers `Promoted`.

    [UPKEEP-2] [SCHEDULE-6]
    """

    def decide(view: View) -> Result:
        promotable, accounts = view.promotable, view.due_accounts
        work = UnitOfWork(view)
        created = look_at(work, accounts)
        for saved in promotable:
            work.put_right(saved)
        return work.result(Promoted(max(len(promotable), due.limit if accounts else 0), created))

    return Operation(decide, due=due)


def setting(entry: SettingEntry) -> Operation:
    """Make an operation that carries out a command on a stream which is no task's; it answers the fold afterwards."""

    def decide(view: View) -> Result:
        work = UnitOfWork(view)
        return work.result(work.set(entry))

    command = entry.command
    category = CATEGORIES[SETTING_VERB_OF[type(command)].category]
    uses = command.schedule.template.uses if isinstance(command, c.SetSchedule) else None
    reads = tuple([f"limit/{name}" for name in uses or ()])
    return Operation(decide, writes=(category.stream(command.id),), reads=reads)


def handling_due(limit: int) -> Operation:
    """Make an operation that only goes on with dependants and children of tasks that have ended. [WAIT-3] [CANCEL-4]

    It answers `MaintenanceDone`, of at most `limit` children.
    """

    def decide(view: View) -> Result:
        work = UnitOfWork(view)
        handled = work.handle_due()
        return work.result(MaintenanceDone(tuple(work.cancel_children(limit)), handled=handled))

    return Operation(decide, due=Due((), limit))


def finding_again(ids: Sequence[str]) -> Operation:
    """Make an operation that restores the rows of these tasks where they can be read; it answers how many. [LOG-5]"""

    def decide(view: View) -> Result:
        work = UnitOfWork(view)
        return work.result(sum([work.find_again(stream) for stream in streams]))

    streams = _streams(ids)
    return Operation(decide, writes=streams)


def maintaining_tasks(commands: Sequence[c.Maintain], actor: str = MAINTENANCE) -> Operation:
    """Make an operation that does what is due on the given tasks that can be read; it answers what it did.

    `actor` is on record for it: the caller that has declared that no worker knows some kind of undo. [ACTOR-2]
    """

    def decide(view: View) -> Result:
        work = UnitOfWork(view)
        maintained = []
        for command in commands:
            try:
                maintained.append(work.maintain(command, None, actor))
            except SagalogError:
                # [LOG-5] One damaged task never stops the others.
                continue
        cancelled = work.cancel_children()
        return work.result([*(one for one in maintained if one is not None), *cancelled])

    ids = tuple(dict.fromkeys([command.task for command in commands]))
    return Operation(decide, writes=_streams(ids))


def acquiring(steps: Sequence[CommandEntry]) -> tuple[Operation, ...]:
    """Make the operation before steps that acquire tasks: the maintenance of those tasks. [UPKEEP-2]

    It takes effect even where the steps are refused; there is none where they acquire nothing.
    """
    acquired = [step.command.task for step in steps if isinstance(step.command, c.Acquire)]
    return (maintaining_tasks([c.Maintain(task=id) for id in dict.fromkeys(acquired)]),) if acquired else ()


def keeping(kept: Sequence[Kept]) -> Operation:
    """Make an operation that keeps values beside the log, whatever is there; raises OverBound. [KEEP-2] [KEEP-3]"""
    for one in kept:
        require_kept_fits(one)
    result = Result(None, kept=tuple(kept))
    return Operation(lambda _: result)


def founding(id: str, writer: str) -> Operation:
    """Make an operation that founds the store, unless it is founded already; it answers its StoreFold."""

    def decide(view: View) -> Result:
        if view.store is not None:
            return Result(view.store)
        return _of_store(view, StoreFold(id), e.Founded(id=id, format=STORE_FORMAT, writer=writer))

    return Operation(decide, writes=(STORE.stream(id),))


def upgrading(id: str, writer: str) -> Operation:
    """Make an operation that records a newer version than any on record, unless one is by now. [LOG-7]

    It answers the StoreFold; `id` is that of the store, which is founded.
    """

    def decide(view: View) -> Result:
        store = view.store
        assert store is not None
        if not is_newer(writer, store.writer):
            return Result(store)
        return _of_store(view, store, e.Upgraded(writer=writer))

    return Operation(decide, writes=(STORE.stream(id),))


def _of_store(view: View, store: StoreFold, event: e.StoreEvent) -> Result:
    """Append one more event to the store's own stream, and save its fold."""
    version = store.version + 1
    fold = STORE.evolve(store, event, version, view.now_ms)
    stream = STORE.stream(fold.id)
    envelope = enclose(stream, version, view.now_ms, event)
    return Result(fold, (Append(stream, store.version, (envelope,), project_fold(fold)),))


def declared_by(steps: Sequence[CommandEntry]) -> Declared:
    """Return the tasks that these steps may write, those whose waits they follow, and their keys of both kinds."""
    ids = [step.command.task for step in steps]
    reads: list[str] = []
    along: list[str] = []
    settings: list[str] = []
    dedupes: dict[tuple[str, str], None] = {}
    for step in steps:
        match step.command:
            case c.Park(after=after):
                # [WAIT-4] Any task that is reached from them may close a circle, and none may end unseen meanwhile.
                along += after
            case c.Create(after=after, dedupe=dedupe):
                along += after
                settings += settings_of(step.command)
                if dedupe is not None:
                    dedupes[step.command.kind, dedupe.key] = None
            case c.Amend():
                settings += settings_of(step.command)
            case c.RetryAsNew(successor=other) | c.Complete(undoer=str(other)):
                ids.append(other)
            case c.AdoptChild(child=child):
                reads.append(child)
            case _:
                pass
    keys = [step.idempotency_key for step in steps if step.idempotency_key is not None]
    drawn = [step.command.task for step in steps if step.drawn]
    reading = (*_streams(reads), *dict.fromkeys(settings))
    return Declared(_streams(ids), reading, tuple(along), tuple(keys), _streams(drawn), tuple(dedupes))


def settings_of(command: c.Create | c.Amend) -> tuple[str, ...]:
    """Return the streams that say what a task may use from now on: of its limits, and of its queue if that counts.

    The queue that an amendment leaves as it is follows from the task.
    """
    named = () if command.uses is None else tuple([f"limit/{name}" for name in command.uses])
    if command.queue is None or (command.key is None and not named):
        return named
    return (*named, f"queue/{command.queue}")


def _streams(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple([f"task/{id}" for id in ids])


def _key_of(asked: ClaimRequest) -> tuple[str, ...]:
    return () if asked.idempotency_key is None else (asked.idempotency_key,)


def _all_or_none(work: UnitOfWork, steps: Sequence[CommandEntry]) -> list[Task]:
    """Return the tasks after all steps; gather what they have not declared from all, so that one round is enough."""
    tasks: list[Task] = []
    missing = Undeclared()
    for index, step in enumerate(steps):
        try:
            tasks.append(work.carry_out(step))
        except Undeclared as undeclared:
            missing = missing.and_also(undeclared)
        except SagalogError as refusal:
            if missing:
                continue
            fields = {**refusal.fields, "command": index}
            raise type(refusal)(f"command {index} of {len(steps)}: {refusal.message}", **fields) from refusal
    if missing:
        raise missing
    return tasks

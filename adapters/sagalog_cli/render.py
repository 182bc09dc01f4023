"""The text for people of tasks, faults and errors, and the one table from an error's code to an exit status.

Rule: no other module names an exit status or lays out a task. It gives data to `tables`, which makes it safe to show.
It must not know the store, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from sagalog import (
    BreakerStatus,
    FailedPreflight,
    Fault,
    FileHealth,
    LeaseRecord,
    Maintained,
    PinnedTasks,
    Reason,
    SagalogError,
    ScheduleStatus,
    Task,
    TaskCompensation,
    TaskWait,
    UnclaimedUndo,
    UnrecordedStep,
    WorkerInfo,
)
from sagalog.ids import drawn_ms
from sagalog_cli import gates, json_output, settings_tables
from sagalog_cli.session import now_ms
from sagalog_cli.tables import Cell, Table, plain, printable
from sagalog_cli.times import distance, duration, exact_duration, instant
from sagalog_cli.tracebacks import clipped, lines_in, without

if TYPE_CHECKING:
    from sagalog.worker import WorkerStats  # a listing does not import workers

# The code of an error -> the exit status. A code that is not here has the status of its branch, the nearest base class
# that is here, because the status says what to do next.
EXIT_STATUS: Final[Mapping[str, int]] = {
    "ok": 0,
    "bug": 1,  # a defect of sagalog: report it
    "usage": 2,  # the command line itself is wrong; the number is click's, and that of most tools
    "rejected": 3,  # change the request
    "not_found": 4,  # a rejection that scripts often treat separately
    "conflict": 5,  # another caller was first: look again
    "unavailable": 6,  # nothing was written: wait and repeat
    "unknown": 7,  # it may have been written: repeat with the same identity
    "corrupt": 8,  # stop and call a human
    "output": 9,  # it is done, but the answer could not be written
    "hung_up": 129,  # 128 + SIGHUP, as in shells: the terminal has gone
    "interrupted": 130,  # 128 + SIGINT
    "pipe_closed": 141,  # 128 + SIGPIPE: the reader of the answer has gone
    "terminated": 143,  # 128 + SIGTERM
}

_COLOURS: Final = {
    "pending": "cyan",
    "running": "blue",
    "compensating": "yellow",
    "completed": "green",
    "failed": "red",
    "compensated": "magenta",
    "cancelled": "bright_black",
    "quarantined": "bright_red",
}
SHOWN_CHARACTERS_MAX: Final = 1_000
# How many of the tasks that a task waits for are named.
_TASKS_SHOWN: Final = 8
UNREADABLE_SHOWN: Final = 5
_TRACEBACK_LINES: Final = 20


def exit_status(error: SagalogError) -> int:
    """Return the status for an error: that of its own code, else that of its branch."""
    codes = (base.code for base in type(error).__mro__ if issubclass(base, SagalogError))
    return next((EXIT_STATUS[code] for code in codes if code in EXIT_STATUS), EXIT_STATUS["bug"])


def tell(code: str, message: str, fields: Mapping[str, object], as_json: bool) -> None:
    """Write an error to standard error: one sentence and perhaps a hint, or one JSON object."""
    if as_json:
        click.echo(json_output.encode(json_output.failure(code, message, fields)), err=True)
        return
    click.echo(f"error: {printable(message)}", err=True)
    if "candidates" in fields:
        for line in plain(_candidates(fields["candidates"])):
            click.echo(f"  {line}", err=True)
    if "hint" in fields:
        click.echo(f"hint: {printable(str(fields['hint']))}", err=True)


def _candidates(given: Any) -> Table:
    """Return a table with one row for each task that a prefix may mean."""
    now = now_ms()
    rows = [(one["id"], one["kind"] or "", one["state"] or "unreadable", _age(one["created_ms"], now)) for one in given]
    return Table(("ID", "KIND", "STATE", "CREATED"), rows)


def _age(created_ms: int | None, now_ms: int) -> str:
    return "" if created_ms is None else distance(created_ms, now_ms)


def state(of: str) -> Cell:
    """Return a state in its colour."""
    return Cell(str(of), _COLOURS.get(of, ""))


def tasks(listed: Sequence[Task], now_ms: int, held_back: Mapping[str, Sequence[Reason]]) -> Table:
    """Return a table with one row a task: what it is, who holds it, or else what it waits for."""
    head = ("ID", "STATE", "KIND", "QUEUE", "UPDATED", "OWNER", "WAITS_FOR")
    rows = [
        (
            task.id,
            state(task.state),
            task.kind,
            task.queue,
            _ago(task.updated_ms, now_ms),
            task.lease.owner if task.lease else "",
            gates.cell(task, now_ms, held_back.get(task.id, ())),
        )
        for task in listed
    ]
    return Table(head, rows, names_last=False)


def unreadable(ids: Sequence[str]) -> str:
    """Return one sentence about tasks that a listing leaves out because they cannot be read."""
    more = f" and {len(ids) - UNREADABLE_SHOWN:,} more" if len(ids) > UNREADABLE_SHOWN else ""
    named = ", ".join(ids[:UNREADABLE_SHOWN])
    return f"not listed, and claimed by no worker, because they cannot be read: {named}{more}; see `sagalog verify`"


def stale(listed: Sequence[Task], now_ms: int) -> Table:
    """Return a table with one row for each task whose lease is over: who held it, and since when it is over."""
    head = ("ID", "STATE", "KIND", "QUEUE", "FENCE", "EXPIRED", "OWNER")
    rows = [
        (
            task.id,
            state(task.state),
            task.kind,
            task.queue,
            str(task.lease.fence),
            _ago(task.lease.expires_ms, now_ms),
            task.lease.owner,
        )
        for task in listed
        if task.lease is not None and task.lease.expires_ms is not None
    ]
    return Table(head, rows)


def unclaimed(listed: Sequence[UnclaimedUndo], now_ms: int) -> Table:
    """Return a table of undos that no worker has leased, by queue and kind: how many tasks owe them, since when."""
    head = ("UNDO", "QUEUE", "TASKS", "DUE")
    return Table(head, [(one.kind, one.queue, f"{one.tasks:,}", _ago(one.since_ms, now_ms)) for one in listed])


def absent_builds(listed: Sequence[PinnedTasks]) -> Table:
    """Return a table of builds that no live worker names, by queue: how many tasks are pinned to them."""
    return Table(("NO_WORKER_OF_BUILD", "QUEUE", "TASKS"), [(one.build, one.queue, f"{one.tasks:,}") for one in listed])


def file(of: FileHealth, now_ms: int) -> Table:
    """Return a table with one row: the file of a store, its WAL, and its disk."""
    head = ("DURABILITY", "WAL", "CHECKPOINT", "LINKS", "FREE", "FILE")
    written = _ago(of.checkpointed_ms, now_ms)
    row = (of.durability, _size(of.wal_bytes), written, str(of.links), _size(of.free_bytes), of.path)
    return Table(head, [row])


def maintained(listed: Sequence[Maintained]) -> Table:
    """Return a table with one row for each task that maintenance has changed."""
    rows = [(one.task, ", ".join(one.events), state(one.state)) for one in listed]
    return Table(("ID", "EVENTS", "STATE"), rows)


def faults(found: Sequence[Fault]) -> Table:
    """Return a table with one row a fault, with the name of the event if it is one."""
    rows = [(Cell(one.code, "red"), _place(one), one.text) for one in found]
    return Table(("FAULT", "WHERE", "WHAT"), rows)


def counts(queues: Mapping[str, Mapping[str, int]]) -> Table:
    """Return a table with one row a queue and one column for each state that occurs."""
    states = [name for name in _COLOURS if any(name in found for found in queues.values())]
    rows = [(queue, *(str(found.get(name, 0)) for name in states)) for queue, found in sorted(queues.items())]
    return Table(("QUEUE", *(name.upper() for name in states)), rows)


def outcome(task: Task) -> str:
    """Return one sentence about a task after an operator's write."""
    words = f"{task.id} is {task.state}"
    if task.cancel_requested and task.state == "running":
        words += "; its owner is asked to stop"
    if task.owed:
        words += f"; owed: {', '.join(one.id for one in task.owed)}"
    return words


def worker_stats(of: WorkerStats) -> str:
    """Return one sentence about what a worker has done."""
    words = [f"{of.claimed} claimed", f"{of.settled} settled", f"{of.refused} refused", f"{of.lost} lost"]
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(of.outcomes.items()))
    tasks = f"; tasks: {outcomes}" if outcomes else ""
    return f"leases: {', '.join(words)}, {of.renewed} renewals; {of.commits} commits{tasks}"


def workers(listed: Sequence[WorkerInfo], now_ms: int) -> Table:
    """Return a table with one row a worker, and below it what it does not claim and why."""
    head = ("NAME", "STATE", "HOST", "PID", "RUNS", "SEEN", "BUILD", "QUEUES", "KINDS")
    rows = [
        (
            one.name,
            state(one.state if one.is_live or one.state == "ended" else "gone"),
            one.host,
            str(one.pid),
            f"{one.running}/{one.concurrency}",
            _ago(one.seen_ms, now_ms),
            one.build or "",
            ",".join(one.queues),
            ",".join([*one.kinds, *(f"undo:{kind}" for kind in one.compensation_kinds)]),
        )
        for one in listed
    ]
    below = {
        number: [f"    {_preflight(failed, now_ms)}" for failed in one.failed_preflights]
        for number, one in enumerate(listed)
        if one.failed_preflights
    }
    return Table(head, rows, below)


def breakers(listed: Sequence[BreakerStatus], now_ms: int) -> Table:
    """Return a table with one row a breaker."""
    head = ("BREAKER", "NOW", "FAILURES", "PAUSE", "OPENED", "WHY")
    return Table(head, [_breaker(one, now_ms) for one in listed])


def _breaker(one: BreakerStatus, now_ms: int) -> Sequence[Cell | str]:
    return (
        breaker_name(one),
        Cell(breaker_mode(one, now_ms), "" if one.mode == "closed" else "red", _short_mode(one, now_ms)),
        # An open one counts nothing.
        f"{one.failures if one.mode == 'closed' else '-'}/{one.breaker.failures}",
        f"{exact_duration(one.breaker.pause_ms)}..{exact_duration(one.breaker.pause_max_ms)}",
        Cell("")
        if one.since_ms is None
        else Cell(f"{instant(one.since_ms)} ({one.trips} in a row)", short=distance(one.since_ms, now_ms)),
        "" if one.code is None else one.code + ("" if one.cause is None else f", by {one.cause}"),
    )


def breaker_name(one: BreakerStatus) -> str:
    """Return whose breaker it is, as the name of a stream."""
    return f"limit/{one.limit}" if one.limit is not None else f"queue/{one.queue}"


def breaker_mode(one: BreakerStatus, now_ms: int) -> str:
    """Return whether a breaker lets tasks start, and what comes next."""
    if one.until_ms is not None and one.until_ms <= now_ms:
        return "open, and lets a probe start"
    if one.until_ms is not None:
        return f"open until {instant(one.until_ms)} ({distance(one.until_ms, now_ms)})"
    return "closed" if one.task is None else f"half open, with the probe {one.task}"


def _short_mode(one: BreakerStatus, now_ms: int) -> str:
    if one.until_ms is None or one.until_ms <= now_ms:
        return breaker_mode(one, now_ms)
    return f"open, probe {distance(one.until_ms, now_ms)}"


def schedules(listed: Sequence[ScheduleStatus], now_ms: int) -> Table:
    """Return a table with one row a schedule."""
    head = ("NAME", "KIND", "QUEUE", "TIMES", "MISSED", "OVERLAP", "LAST", "NEXT")
    rows = [
        (
            one.name,
            one.kind,
            one.queue,
            _times(one),
            "" if one.code == "unreadable" else one.missed,
            "" if one.code == "unreadable" else one.overlap,
            "" if one.last_ms is None else Cell(instant(one.last_ms), short=distance(one.last_ms, now_ms)),
            _next(one, now_ms),
        )
        for one in listed
    ]
    return Table(head, rows)


def _next(one: ScheduleStatus, now_ms: int) -> Cell:
    """Return when a schedule fires next; or that it does not: since when it is paused, by whom and why."""
    if one.code is None and one.pause is not None and one.pause.at_ms is not None:
        since = settings_tables.paused(one.pause, now_ms)
        return since._replace(text=f"paused {since.text}", short=f"paused {since.short}")
    is_due = one.code is None and not one.paused and one.next_ms is not None
    short = distance(one.next_ms, now_ms) if is_due and one.next_ms is not None else ""
    return Cell(fires(one, now_ms), "" if is_due else "yellow", short)


def _times(one: ScheduleStatus) -> str:
    if one.cron is not None:
        return f"{one.cron} {one.zone}"
    return "" if one.every_ms is None else f"every {duration(one.every_ms)}"


def fires(one: ScheduleStatus, now_ms: int) -> str:
    """Return when a schedule fires next, or why it does not."""
    if one.code == "unreadable":
        return f"unreadable: {one.error}"
    if one.code is not None:
        return f"stopped: {one.code}"
    if one.paused or one.next_ms is None:
        return "paused" if one.paused else "never"
    return f"{instant(one.next_ms)} ({distance(one.next_ms, now_ms)})"


def _preflight(failed: FailedPreflight, now_ms: int) -> str:
    kinds = ",".join([*failed.kinds, *(f"undo:{kind}" for kind in failed.compensation_kinds)])
    since = f"{instant(failed.since_ms)} ({distance(failed.since_ms, now_ms)})"
    return f"preflight {failed.name} fails since {since}, so it claims no {kinds}: {failed.text}"


def details(task: Task, now_ms: int, full: bool) -> Table:
    """Return a table of everything about a task, one line a field, without empty fields."""
    drawn = drawn_ms(task.id)
    rows: list[tuple[str, Cell | str | None]] = [
        ("task", task.id),
        ("kind", task.kind),
        ("queue", task.queue),
        ("state", state(task.state)),
        ("outcome", task.outcome),
        ("code", task.code),
        ("reason", task.reason),
        ("error", None if task.error is None else _clipped(f"{task.error.code}: {task.error.message}", full)),
        ("details", None if task.error is None else _json(without(task.error.details), full)),
        ("lease", None if task.lease is None else _lease(task.lease, now_ms)),
        ("cancel", "asked for" if task.cancel_requested else None),
        ("due", _due(task, now_ms)),
        ("deadline", _until(task.deadline_ms, now_ms)),
        ("dedupe", None if task.dedupe is None else f"{task.dedupe.key} ({task.dedupe.scope})"),
        ("start by", _until(task.start_by_ms, now_ms)),
        ("waiting", None if task.waiting is None else _wait(task.waiting, now_ms)),
        ("attempt", str(task.attempt)),
        ("leases", f"{task.leases}, newest fence {task.fence}"),
        ("suspect", "a lease expired, and the next to expire is the last: claimed alone" if task.is_suspect else None),
        ("priority", str(task.priority)),
        ("affinity", task.affinity),
        ("key", task.key),
        ("uses", " ".join(f"{name}={units}" for name, units in task.uses.items()) or None),
        ("build", task.build),
        ("parent", task.parent),
        ("predecessor", task.predecessor),
        ("successor", task.successor),
        ("unrecorded", ", ".join(_unrecorded(one) for one in task.unrecorded_steps) or None),
        ("correlation", task.correlation_id),
        ("trace", task.trace),
        ("tracestate", task.tracestate),
        ("data key", None if task.data_key == task.id else task.data_key),
        ("tags", " ".join(f"{name}={value}" for name, value in task.tags.items()) or None),
        (
            "policy",
            " ".join(f"{name}={_setting(value)}" for name, value in msgspec.structs.asdict(task.policy).items()),
        ),
        ("inputs", ", ".join(f"{one.name} ({one.size_bytes:,} bytes)" for one in task.inputs) or None),
        ("steps", _names(task.steps, full)),
        ("artifacts", _names(task.artifacts, full)),
        ("waits", _names([_counted(*one) for one in task.waits.items()], full)),
        ("signals", _names(task.signals, full)),
        ("progress", _json(task.progress, full)),
        ("payload", _json(task.payload, full)),
        ("result", _json(task.result, full)),
        ("pruned", ", ".join(task.pruned) or None),
        ("version", str(task.version)),
        ("drawn", None if drawn is None else instant(drawn)),
        ("created", instant(task.created_ms)),
        ("updated", instant(task.updated_ms)),
    ]
    return Table((), [(name, value) for name, value in rows if value is not None])


def compensations(listed: Sequence[TaskCompensation], full: bool) -> Table:
    """Return a table of compensations in order of registration; workers undo them from the last to the first."""
    rows = [
        (
            one.id,
            one.kind,
            Cell(one.status, "yellow" if one.status == "owed" else ""),
            _json(one.params, full) or "",
            one.reason or "",
        )
        for one in listed
    ]
    return Table(("COMPENSATION", "KIND", "STATUS", "PARAMS", "REASON"), rows)


def traceback(task: Task, full: bool) -> list[str]:
    """Return the traceback of a task's error under an empty line and a head; nothing if none is on record."""
    lines = [] if task.error is None else lines_in(task.error.details)
    return ["", "TRACEBACK", *clipped(lines, None if full else _TRACEBACK_LINES)] if lines else []


def _ago(time_ms: int, now_ms: int) -> Cell:
    """Return a time for a listing: exact in a pipe, and how long ago on a terminal."""
    return Cell(instant(time_ms), short=distance(time_ms, now_ms))


def _size(count: int) -> Cell:
    """Return a number of bytes: exact in a pipe, and in the unit that fits on a terminal."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return Cell(f"{count}B", short=f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}")


def _unrecorded(step: UnrecordedStep) -> str:
    undo = "" if step.compensation is None else f" (undo {step.compensation})"
    return f"the result of the step {step.name}{undo}"


def _lease(lease: LeaseRecord, now_ms: int) -> str:
    until = "without end" if lease.expires_ms is None else f"until {instant(lease.expires_ms)}"
    left = "" if lease.expires_ms is None else f" ({distance(lease.expires_ms, now_ms)})"
    return f"{lease.owner} for {lease.purpose}, fence {lease.fence}, {until}{left}"


def _due(task: Task, now_ms: int) -> str | None:
    """Return since or until when a worker can lease a pending task; None for a task that waits."""
    if task.state != "pending" or task.waiting is not None:
        return None
    return f"{instant(task.run_at_ms)} ({distance(task.run_at_ms, now_ms)})"


def _until(time_ms: int | None, now_ms: int) -> str | None:
    return None if time_ms is None else f"{instant(time_ms)} ({distance(time_ms, now_ms)})"


def _wait(wait: TaskWait, now_ms: int) -> str:
    what = f" for the signal {wait.signal}" if wait.signal is not None else ""
    more = f" and {len(wait.after) - _TASKS_SHOWN:,} more" if len(wait.after) > _TASKS_SHOWN else ""
    what += f" for {', '.join(wait.after[:_TASKS_SHOWN])}{more}" if wait.after else ""
    until = "" if wait.until_ms is None else f" until {instant(wait.until_ms)} ({distance(wait.until_ms, now_ms)})"
    return f"{_counted(wait.name, wait.number)}:{what}{until}"


def _counted(name: str, number: int) -> str:
    """Return a wait's name, with its number if the name has had several."""
    return name if number <= 1 else f"{name} ({number:,})"


def _names(names: Sequence[str], full: bool) -> str | None:
    return _clipped(", ".join(names), full) if names else None


def _place(fault: Fault) -> str:
    if fault.stream is None:
        return "store"
    return fault.stream if fault.version is None else f"{fault.stream}@{fault.version}"


def _setting(value: object) -> str:
    return "none" if value is None else str(value)


def _json(value: Any, full: bool) -> str | None:
    return None if value is None else _clipped(json_output.encode(value), full)


def _clipped(text: str, full: bool) -> str:
    """Return the whole text, or its beginning and how much more there is."""
    if full or len(text) <= SHOWN_CHARACTERS_MAX:
        return text
    return f"{text[:SHOWN_CHARACTERS_MAX]}… ({len(text) - SHOWN_CHARACTERS_MAX:,} characters more: --full)"

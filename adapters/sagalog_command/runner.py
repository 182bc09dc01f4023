"""Runner of commands for tasks: it keeps what a command prints, and makes the outcome of what the end means.

Rule: a run ends whatever the command does and whatever happens to the lease, and nothing of the command's process group
is left. A run that is not known to have failed is no failure: one that was stopped has no outcome.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from sagalog import Interrupted, InvalidValue, Permanent, Transient
from sagalog.system import SystemClock
from sagalog.validation.values import check_name
from sagalog_command.builtin import EXIT_STATUS
from sagalog_command.classification import classify
from sagalog_command.command import Command
from sagalog_command.context import Context
from sagalog_command.ending import Ending
from sagalog_command.group import read_ready
from sagalog_command.orphans import Orphans
from sagalog_command.outcome import RunReport, conclude
from sagalog_command.process_watch import ProcessWatch, Stop
from sagalog_command.redactor import Redactor
from sagalog_command.rules import Class, Classifier

_LOG: Final = logging.getLogger("sagalog_command")
# How often orphans are looked at that were told to end.
_ORPHANS_S: Final = 0.02
# What is wrong with the command itself, on this worker; anything else may be the machine's state of the moment.
_NO_COMMAND: Final = frozenset(
    getattr(errno, name)
    for name in ("ENOENT", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "ENOEXEC", "ELOOP", "ENAMETOOLONG")
)


def handler(classifier: Classifier = EXIT_STATUS) -> Callable[[Context, Any], dict[str, Any]]:
    """Make a handler for a worker: it runs the command in a task's payload.

    The payload is JSON as `Command.from_payload` reads it. A task whose payload is no command fails for good, with the
    code `invalid` and the path of the fault.

    Args:
        classifier: what the end of a command means; left out, its exit status alone.

    Example:
        import sagalog
        import sagalog_command

        worker = sagalog.Worker()
        worker.task("shell", waive_compensation="it only prints")(sagalog_command.handler())
        with sagalog.open("memory:") as engine:
            task = engine.create("shell", {"words": ["echo", "hello"]})
            worker.run(engine, until="idle")
            print(engine.artifact(task.id, "stdout").data)
    """

    def handle(ctx: Context, payload: Any) -> dict[str, Any]:
        try:
            command = Command.from_payload(payload)
        except InvalidValue as error:
            raise Permanent(error.message, code="invalid", details={"path": error.path}) from error
        return run(ctx, command, classifier)

    return handle


def run(
    ctx: Context,
    command: Command,
    classifier: Classifier = EXIT_STATUS,
    *,
    name: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a command to its end, keep its output as artifacts, and give the result, small JSON.

    The result holds `exit_status`, `lingered`, `duration_ms`, `stdout_bytes`, `stderr_bytes`, `stdout_truncated`,
    `stderr_truncated`, `class`, `rule`, and under `fields` what the classifier takes. The artifacts are `stdout` and
    `stderr`, each behind `name` if it is given. The command finds `SAGALOG_STORE_ID` and `SAGALOG_TASK_ID`, `_ATTEMPT`
    and `_FENCE` among its variables. The runner first ends this user's processes of the same task with a lower fence.
    It also ends a command that continues beyond its grace after its final frame, or that has to stop (`lingered`).

    Args:
        ctx: the attempt, as the worker has it.
        command: the command to run.
        classifier: the rules that say what the end means.
        name: the command's own, in a handler that runs several: `build` gives `build.stdout` and `build.stderr`.
        variables: those of the worker, from which the command's are taken; None: `os.environ`.

    Raises:
        InvalidValue: the name is none; nothing was run.
        Interrupted: the command was stopped, or another process asked it to end; the worker is to release the task.
        Transient: as the classifier says; or the machine had no memory or no process left to start it (code
            `resources`), or an orphan of an earlier attempt does not end (code `orphan`).
        Permanent: as the classifier says; or the command cannot be found or started (code `config`).
        Failed: no rule holds (codes `exit`, `signal`, `time_limit`); `details` of all hold what the result would.
        Quarantine: the classifier leaves this class of end to a human.
    """
    prefix = _prefix(name)
    worker = os.environ if variables is None else variables
    try:
        given = {**command.variables(worker), **_identity(ctx)}
    except InvalidValue as error:
        raise Permanent(error.message, code="config", details={"path": error.path}) from error
    redactor = Redactor(command.secret_values(worker))
    clock = SystemClock()
    begun_ms = clock.monotonic_ms()
    with Stop(lambda: ctx.lost) as stop, ctx.on_stop(stop.set):
        _end_orphans(ctx, command, stop)
        if stop.is_set:
            raise Interrupted("stopped before it began")
        try:
            watch = ProcessWatch(command, given, lambda: Redactor(command.secret_values(worker)), classifier)
        except OSError as error:
            raise _not_started(error, redactor) from error
        with watch:
            watch.follow(stop, ctx.progress)
    if not ctx.lost:
        for stream, excerpt in (("stdout", watch.stdout), ("stderr", watch.stderr)):
            if excerpt.bytes_seen:
                data = excerpt.read()
                ctx.artifact(f"{prefix}{stream}", data, media_type=_media_type(data))
    report = RunReport(clock.monotonic_ms() - begun_ms, watch.stdout, watch.stderr)
    ending = Ending(
        status=watch.status,
        frames=watch.frames(),
        stdout_tail=watch.stdout.tail(),
        stderr_tail=watch.stderr.tail(),
        is_over_time=watch.is_over_time,
        is_lingering=watch.is_lingering or watch.was_stopped,
        zone=_zone(given),
    )
    verdict = classify(classifier, ending, clock.now_ms())
    # A failure that was told only after the request to end may come of it; a success was reached in spite of it.
    is_cut_short = watch.was_stopped and not (watch.is_final and verdict.class_ is Class.OK)
    if is_cut_short or ctx.lost:
        raise Interrupted(f"stopped after {report.duration_ms} ms")
    return conclude(verdict, ending, report, classifier)


def _prefix(name: str | None) -> str:
    """Give what the names of the artifacts begin with; raises InvalidValue where they would be none."""
    if name is None:
        return ""
    check_name(f"{check_name(name, 'name')}.stdout", "name")
    return f"{name}."


def _end_orphans(ctx: Context, command: Command, stop: Stop) -> None:
    """End the orphans of earlier attempts: no command starts beside one."""
    marks = {"SAGALOG_STORE_ID": ctx.store_id, "SAGALOG_TASK_ID": ctx.task.id}
    with Orphans(marks, "SAGALOG_TASK_FENCE", ctx.fence, command.grace_ms / 1_000) as orphans:
        while not stop.is_set and not orphans.look():
            if orphans.is_stuck:
                left = ", ".join(map(str, orphans.left))
                raise Transient(f"what an earlier attempt has left does not end: process {left}", code="orphan")
            read_ready([stop.descriptor], _ORPHANS_S)
        if orphans.ended:
            ended = ", ".join(map(str, orphans.ended))
            _LOG.warning("task %s: ended what an earlier attempt has left: process %s", ctx.task.id, ended)


def _identity(ctx: Context) -> dict[str, str]:
    return {
        "SAGALOG_STORE_ID": ctx.store_id,
        "SAGALOG_TASK_ID": ctx.task.id,
        "SAGALOG_TASK_ATTEMPT": str(ctx.attempt),
        "SAGALOG_TASK_FENCE": str(ctx.fence),
    }


def _not_started(error: OSError, redactor: Redactor) -> Permanent | Transient:
    place = f": {error.filename}" if isinstance(error.filename, str) else ""
    message = redactor.whole(f"it cannot be started: {error.strerror or 'unknown error'}{place}")
    if error.errno in _NO_COMMAND:
        return Permanent(message, code="config")
    if error.errno == errno.E2BIG:
        return Permanent(message, code="invalid")
    return Transient(message, code="resources")


def _zone(variables: Mapping[str, str]) -> tzinfo:
    """Give the time zone in which the command tells the time."""
    try:
        return ZoneInfo(variables["TZ"].removeprefix(":"))
    except (KeyError, ValueError, OSError):
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        return zone


def _media_type(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain; charset=utf-8"

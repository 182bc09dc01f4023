"""`worker`: the handlers of a module of the user's, run on the store until the user says that it is enough.

Rule: what the options say wins over what the module's worker says, and nothing is run before both are known to be
right. How a worker works is the engine's business; here it is found, told its signals, and listened to.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Any, Final, get_args

import click

from sagalog import Worker
from sagalog.worker.config import Until
from sagalog.worker.process_signals import listening
from sagalog_cli import arguments, json_output, render
from sagalog_cli.session import Session, StoreCommand, as_url, pass_session
from sagalog_cli.tables import printable, show_line
from sagalog_cli.times import duration
from sagalog_cli.tracebacks import clipped, lines_in
from sagalog_cli.worker_processes import Parent

_HANDLERS: Final = "--handlers"
# What a record of the worker's log carries where a handler has failed; and how much of it is shown here.
_DETAILS: Final = "failure_details"
_TRACEBACK_LINES: Final = 10
_ENDS: Final[dict[Until | None, str]] = {
    None: "until it is told to stop",
    "idle": "until there is nothing to claim now",
    "drained": "until no live task is left",
}


@click.command("worker", cls=StoreCommand, short_help="Run the handlers of a module.")
@click.option(
    _HANDLERS,
    "place",
    metavar="MODULE:NAME",
    required=True,
    help="Where the sagalog.Worker is: a module, importable or in this folder, and its name there.",
)
@click.option("--queue", "queues", metavar="NAME", multiple=True, help="Work on this queue only. Repeatable.")
@click.option("--concurrency", type=click.IntRange(1), metavar="N", help="How many handlers run at a time.")
@click.option(
    "--ttl",
    "ttl_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long a lease lasts without a renewal, as in 30s: how long others wait for a worker that has died.",
)
@click.option(
    "--grace",
    "grace_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long handlers may go on once the worker is told to stop.",
)
@click.option(
    "--name",
    metavar="NAME",
    callback=arguments.name,
    help="Who it is, in the log; an end is added that no other worker has.",
)
@click.option(
    "--until",
    type=click.Choice(get_args(Until)),
    help="End once there is nothing to claim now (idle), or once no live task is left in the queues (drained).",
)
@click.option("--processes", type=click.IntRange(1), metavar="N", help="Run so many processes, and see to them.")
@pass_session
def worker(session: Session, /, place: str, until: Until | None, processes: int | None, **given: Any) -> None:
    """Run tasks and their undos with the handlers of the sagalog.Worker that MODULE holds under NAME.

    Queues, concurrency, ttl, grace and name are those of that object, where no option says otherwise.

    SIGTERM, Ctrl-C or the end of its terminal let the running handlers finish, for as long as the grace; a second one
    ends it at once. With --processes these are passed on to each process, and one that dies is replaced.
    """
    if processes is not None:
        parent = Parent(_words(session, place, until, given), processes, lambda said: session.note("process", said))
        click.get_current_context().exit(parent.run())
    found = _find(place)
    if session.lifeline is not None:
        session.lifeline.hold(found)
        given["name"] = f"{given['name'] or found.name}-{session.lifeline.number}"
    _settle(found, given)
    with session.open() as engine, _listening(session), _stopping(found) as stops:
        session.note("working", _described(found, until))
        if session.lifeline is not None:
            session.lifeline.begin()
        # The plain run, also of a worker whose own is awaited: its coroutines get an event loop here.
        worker_stats = Worker.run(found, engine, until=until, handle_signals=False)
    session.answer(lambda: json_output.worker_stats(worker_stats), lambda: show_line(render.worker_stats(worker_stats)))
    if stops and stops[0] == signal.SIGINT:
        raise KeyboardInterrupt


def _words(session: Session, place: str, until: Until | None, given: dict[str, Any]) -> list[str]:
    """The words by which each of several processes is told the same."""
    words = ["--json"] if session.as_json else []
    if as_url(os.environ.get("SAGALOG_DB", "")) != session.url:
        # What the environment says goes on by itself, and is not for everyone to see.
        words += ["--db", session.url]
    words += ["worker", _HANDLERS, place]
    for name, unit in (("concurrency", ""), ("ttl_ms", "ms"), ("grace_ms", "ms"), ("name", "")):
        if given[name] is not None:
            words += [f"--{name.removesuffix('_ms')}", f"{given[name]}{unit}"]
    words += [word for queue in given["queues"] for word in ("--queue", queue)]
    return words if until is None else [*words, "--until", until]


def _settle(found: Worker, given: dict[str, Any]) -> None:
    """Let the worker be as the options say.

    The object itself and no copy of it: what its handlers ask of it, such as `worker.stop()`, reaches the running one.

    Raises:
        InvalidValue: an option gives what no worker can be given.
    """
    queues: Sequence[str] = given["queues"]
    wanted = {name: value for name, value in given.items() if value is not None and value != ()}
    if not wanted:
        return
    # Judged as a whole by `Worker`, which judges what is written in the module, before anything is changed.
    judged = Worker(
        queues or found.queues,
        name=wanted.get("name", found.name),
        concurrency=wanted.get("concurrency", found.concurrency),
        ttl_ms=wanted.get("ttl_ms", found.ttl_ms),
        grace_ms=wanted.get("grace_ms", found.grace_ms),
    )
    for name in wanted:
        setattr(found, name, getattr(judged, name))


def _described(found: Worker, until: Until | None) -> str:
    queues = f"queue{'s' if len(found.queues) > 1 else ''} {', '.join(found.queues)}"
    end = _ENDS[until]
    return (
        f"{found.name} works on {queues}, {found.concurrency} at a time, with leases of {duration(found.ttl_ms)}, {end}"
    )


# --- finding the worker -------------------------------------------------------------------------------------------


def _find(place: str) -> Worker:
    """The worker at `module:name`; raises BadParameter, saying which part of it is wrong."""
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise _wrong(f"expected MODULE:NAME, as in tasks:worker, found {place!r}")
    found: Any = _imported(module)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise _wrong(f"module {module!r} has no {name!r}{_offered(sys.modules[module])}") from error
    if not isinstance(found, Worker):
        raise _wrong(f"{place!r} is of the type {type(found).__name__}, and a sagalog.Worker is wanted")
    return found


def _imported(name: str) -> ModuleType:
    folder = os.getcwd()
    if folder not in sys.path:
        # As `python -m` has it: what is being worked on lies here.
        sys.path.insert(0, folder)
    try:
        return import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise _wrong(f"there is no module {name!r}, neither in {folder} nor installed") from error
        raise _wrong(f"module {name!r} cannot be imported: {_told(error)}") from error
    except SystemExit as error:
        raise _wrong(f"module {name!r} ended the program when it was imported, with {error.code!r}") from error


def _told(error: Exception) -> str:
    """What was raised, and the line at which the user's own code stood."""
    said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "importlib" not in one.filename]
    own = [one for one in frames if one.filename != __file__]
    return f"{said} ({own[-1].filename}, line {own[-1].lineno})" if own else said


def _offered(module: ModuleType) -> str:
    """The workers that there are, for a user who mistyped the name of one."""
    names = [name for name, value in vars(module).items() if isinstance(value, Worker)]
    return f"; the workers in it: {', '.join(sorted(names))}" if names else "; there is no sagalog.Worker in it"


def _wrong(said: str) -> click.BadParameter:
    return click.BadParameter(said, ctx=click.get_current_context(), param_hint=f"'{_HANDLERS}'")


# --- beside the work ----------------------------------------------------------------------------------------------


@contextmanager
def _stopping(found: Worker) -> Iterator[list[int]]:
    """Within the block signals stop the worker, a second one at once; gives those that came, in order."""
    stops: list[int] = []

    def stop(number: int) -> None:
        stops.append(number)
        found.stop()

    with listening(stop):
        yield stops


class _Remarks(logging.Handler):
    """What the worker says while it works, on standard error: a plain line each, or with `--json` a remark.

    Below what it says of a handler that failed stands the traceback.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        said, lines = f"{record.levelname.lower()}: {record.getMessage()}", lines_in(getattr(record, _DETAILS, None))
        if self._session.as_json:
            self._session.note("log", said, **({"traceback": lines} if lines else {}))
        else:
            below = clipped(lines, _TRACEBACK_LINES, "sagalog show")
            with suppress(OSError):
                # In one piece, so that nothing of another thread comes in between.
                click.echo("\n".join(map(printable, (said, *below))), err=True)


@contextmanager
def _listening(session: Session) -> Iterator[None]:
    """Within the block what the worker logs is written down, unless the module has arranged for that itself."""
    logger = logging.getLogger("sagalog.worker")
    if logger.hasHandlers():
        yield
        return
    remarks = _Remarks(session)
    logger.addHandler(remarks)
    try:
        yield
    finally:
        logger.removeHandler(remarks)

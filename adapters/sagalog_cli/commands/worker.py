"""The command `worker run`: it runs the handlers of a user's module on the store until the user stops it.

Rule: options win over the settings of the module's worker, and nothing runs before both are checked. How a worker works
is the engine's business; this module finds it, passes signals to it, and shows its log.
"""

from __future__ import annotations

import logging
import os
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
from sagalog_cli.interrupts import Stopped
from sagalog_cli.session import Session, StoreCommand, as_url, pass_session
from sagalog_cli.tables import printable, show_line
from sagalog_cli.times import duration
from sagalog_cli.tracebacks import clipped, lines_in
from sagalog_cli.worker_processes import Parent

_HANDLERS: Final = "--handlers"
# The field of a log record that has the details of a failed handler, and how many lines of it this command shows.
_DETAILS: Final = "failure_details"
_TRACEBACK_LINES: Final = 10
_ENDS: Final[dict[Until | None, str]] = {
    None: "until it is told to stop",
    "idle": "until there is nothing to claim now",
    "drained": "until no live task is left",
}


@click.command("run", cls=StoreCommand, short_help="Run the handlers of a module.")
@click.option(
    _HANDLERS,
    "place",
    metavar="MODULE:NAME",
    required=True,
    help="The sagalog.Worker: a module, importable or in this folder, and its name there.",
)
@click.option("--queue", "queues", metavar="NAME", multiple=True, help="Work on this queue only. Repeatable.")
@click.option("--concurrency", type=click.IntRange(1), metavar="N", help="Run at most so many handlers at a time.")
@click.option(
    "--ttl",
    "ttl_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long a lease lasts unrenewed, as in 30s. If this worker dies, others wait for so long.",
)
@click.option(
    "--grace",
    "grace_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long handlers may continue after the worker is stopped.",
)
@click.option(
    "--name",
    metavar="NAME",
    callback=arguments.name,
    help="The worker's name in the log; a unique ending is added.",
)
@click.option(
    "--build",
    metavar="NAME",
    callback=arguments.name,
    help="What tells this version of the handlers from others; each lease records it.",
)
@click.option("--affinity", metavar="NAME", multiple=True, help="Claim tasks of this affinity first. Repeatable.")
@click.option(
    "--until",
    type=click.Choice(get_args(Until)),
    help="End once there is nothing to claim now (idle), or once no live task is left in the queues (drained).",
)
@click.option(
    "--processes", type=click.IntRange(1), metavar="N", help="Run so many processes, and replace those that die."
)
@pass_session
def run(session: Session, /, place: str, until: Until | None, processes: int | None, **given: Any) -> None:
    """Run tasks and their undos with the handlers of the sagalog.Worker NAME in MODULE.

    That object sets queues, concurrency, ttl, grace and name; options override it.

    SIGTERM, Ctrl-C or the end of its terminal stop it: running handlers may finish within the grace. A second signal
    stops it at once. With --processes, the command passes signals to each process, and replaces a process that dies.
    """
    if processes is not None:
        parent = Parent(_words(session, place, until, given), processes, lambda text: session.note("process", text))
        click.get_current_context().exit(parent.run())
    found = _find(place)
    if session.lifeline is not None:
        session.lifeline.hold(found)
        given["name"] = f"{given['name'] or found.name}-{session.lifeline.number}"
    _apply_options(found, given)
    with session.open() as engine, _logging_to(session), _stopping(found) as stops:
        session.note("working", _described(found, until))
        if session.lifeline is not None:
            session.lifeline.begin()
        # The plain `run`, even if the object's own one is awaited: its coroutines get an event loop here.
        worker_stats = Worker.run(found, engine, until=until, handle_signals=False)
    session.answer(lambda: json_output.worker_stats(worker_stats), lambda: show_line(render.worker_stats(worker_stats)))
    if stops:
        raise Stopped(stops[0])


def _words(session: Session, place: str, until: Until | None, given: dict[str, Any]) -> list[str]:
    """Return the command line for each of several processes."""
    words = ["--json"] if session.as_json else []
    if as_url(os.environ.get("SAGALOG_DB", "")) != session.url:
        # A process inherits the environment, and a list of processes does not show it.
        words += ["--db", session.url]
    words += ["worker", "run", _HANDLERS, place]
    for name, unit in (("concurrency", ""), ("ttl_ms", "ms"), ("grace_ms", "ms"), ("name", ""), ("build", "")):
        if given[name] is not None:
            words += [f"--{name.removesuffix('_ms')}", f"{given[name]}{unit}"]
    words += [word for queue in given["queues"] for word in ("--queue", queue)]
    words += [word for one in given["affinity"] for word in ("--affinity", one)]
    return words if until is None else [*words, "--until", until]


def _apply_options(found: Worker, given: dict[str, Any]) -> None:
    """Set the worker as the options say.

    It changes the object itself and no copy, so that a handler's call such as `worker.stop()` reaches the running
    worker.

    Raises:
        InvalidValue: `Worker` does not take the value of an option.
    """
    queues: Sequence[str] = given["queues"]
    wanted = {name: value for name, value in given.items() if value is not None and value != ()}
    if not wanted:
        return
    # `Worker` checks all values together, as it checks those in the module, before anything is changed.
    judged = Worker(
        queues or found.queues,
        name=wanted.get("name", found.name),
        concurrency=wanted.get("concurrency", found.concurrency),
        ttl_ms=wanted.get("ttl_ms", found.ttl_ms),
        grace_ms=wanted.get("grace_ms", found.grace_ms),
        build=wanted.get("build", found.build),
        affinity=wanted.get("affinity", found.affinity),
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
    """Return the worker at `module:name`; raises BadParameter, which says what part of it is wrong."""
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise _wrong(f"expected MODULE:NAME, as in tasks:worker, found {place!r}")
    found: Any = _imported(module)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise _wrong(f"module {module!r} has no {name!r}{_known_workers(sys.modules[module])}") from error
    if not isinstance(found, Worker):
        raise _wrong(f"{place!r} is of the type {type(found).__name__}, and a sagalog.Worker is wanted")
    return found


def _imported(name: str) -> ModuleType:
    folder = os.getcwd()
    if folder not in sys.path:
        # As `python -m` does: the user's module lies in this folder.
        sys.path.insert(0, folder)
    try:
        return import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise _wrong(f"there is no module {name!r}, neither in {folder} nor installed") from error
        raise _wrong(f"module {name!r} cannot be imported: {_raised(error)}") from error
    except SystemExit as error:
        raise _wrong(f"module {name!r} ended the program when it was imported, with {error.code!r}") from error


def _raised(error: Exception) -> str:
    """Return what was raised, and the line of the user's own code."""
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "importlib" not in one.filename]
    own = [one for one in frames if one.filename != __file__]
    return f"{text} ({own[-1].filename}, line {own[-1].lineno})" if own else text


def _known_workers(module: ModuleType) -> str:
    """Return the workers in the module, for a user who mistyped a name."""
    names = [name for name, value in vars(module).items() if isinstance(value, Worker)]
    return f"; the workers in it: {', '.join(sorted(names))}" if names else "; there is no sagalog.Worker in it"


def _wrong(text: str) -> click.BadParameter:
    return click.BadParameter(text, ctx=click.get_current_context(), param_hint=f"'{_HANDLERS}'")


# --- beside the work ----------------------------------------------------------------------------------------------


@contextmanager
def _stopping(found: Worker) -> Iterator[list[int]]:
    """Have signals stop the worker while the block lasts, a second one at once; yield those that came, in order."""
    stops: list[int] = []

    def stop(number: int) -> None:
        stops.append(number)
        found.stop()

    with listening(stop):
        yield stops


class _LogNotes(logging.Handler):
    """A log handler that writes what the worker logs to standard error: a plain line each, or a remark with `--json`.

    The traceback of a failed handler comes below its line.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        text, lines = f"{record.levelname.lower()}: {record.getMessage()}", lines_in(getattr(record, _DETAILS, None))
        if self._session.as_json:
            self._session.note("log", text, **({"traceback": lines} if lines else {}))
        else:
            below = clipped(lines, _TRACEBACK_LINES, "sagalog show")
            with suppress(OSError):
                # In one piece, so that no other thread writes in between.
                click.echo("\n".join(map(printable, (text, *below))), err=True)


@contextmanager
def _logging_to(session: Session) -> Iterator[None]:
    """Write what the worker logs while the block lasts, unless the module has set up logging itself."""
    logger = logging.getLogger("sagalog.worker")
    if logger.hasHandlers():
        yield
        return
    remarks = _LogNotes(session)
    logger.addHandler(remarks)
    try:
        yield
    finally:
        logger.removeHandler(remarks)

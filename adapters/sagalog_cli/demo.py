"""`sagalog demo`: the main job on real processes, with everything that can go wrong going wrong, and the proof of it.

Rule: here are the options and the ends: whatever becomes of the demo, nothing of it is left behind. What happens stands
in `demo_stage`, what must have happened in `demo_checks`.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click

import sagalog
from sagalog import Engine, SagalogError
from sagalog_cli.demo_crew import DidNotHappen
from sagalog_cli.demo_plan import TASKS_MIN
from sagalog_cli.demo_report import report, show
from sagalog_cli.demo_stage import Stage
from sagalog_cli.screen import printable, show_line
from sagalog_cli.session import Session, pass_session

_DURABILITY: Final = "full"
_TERMINATED: Final = 128 + signal.SIGTERM


@click.command("demo")
@click.option("--workers", type=click.IntRange(2, 64), default=4, show_default=True, help="Processes that race.")
@click.option("--tasks", type=click.IntRange(TASKS_MIN, 9_000), default=300, show_default=True, help="Tasks to create.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same tasks.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the store in this file, which must not exist yet; else it is temporary.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a story.")
@pass_session
def demo(session: Session, workers: int, tasks: int, seed: int, keep: Path | None, as_json: bool) -> None:
    """Kill, stop and fail workers, and prove that nothing was lost or left half done.

    Worker processes race for a few hundred tasks in a fresh file. One is killed while it holds leases. One is stopped
    beyond its lease and woken: its late writes are refused. Some tasks fail and are undone, one is quarantined. Then
    every projection is rebuilt from the log, the log is verified, and all of this is read from it and checked.

    Exits with 1 if any of it did not happen.
    """
    if keep is not None and os.path.lexists(keep):
        raise click.UsageError(f"--keep {keep}: there is such a file, and the demo wants a fresh one")
    answers = Session(as_json=as_json or session.as_json)
    began_ms = _monotonic_ms()
    try:
        with _orderly_end(), tempfile.TemporaryDirectory(prefix="sagalog-demo-") as folder:
            url = f"sqlite:///{(keep or Path(folder, 'demo.db')).absolute()}"
            effects = Path(folder, "effects")
            effects.mkdir()
            with _fresh(url) as engine:
                stage = Stage(engine, url, effects, _tell_nothing if answers.as_json else _narrator(began_ms))
                evidence = stage.play(workers, tasks, seed)
    except (DidNotHappen, SagalogError) as error:
        # No evidence came of it, so this is all there is to say.
        missing = [str(error)]
        answers.answer(lambda: {"ok": False, "missing": missing}, lambda: None)
        _fail(missing)
    told = report(
        evidence,
        seed=seed,
        durability=_DURABILITY,
        file=None if keep is None else str(keep),
        elapsed_ms=_monotonic_ms() - began_ms,
    )
    answers.answer(told.document, lambda: show(told))
    if told.missing:
        _fail(told.missing)


def _fresh(url: str) -> Engine:
    try:
        return sagalog.open(url, durability=_DURABILITY, actor="demo")
    except ValueError as error:
        raise click.UsageError(f"--keep: {error}") from error


def _fail(missing: Sequence[str]) -> NoReturn:
    """Say on standard error what did not happen, and end with 1."""
    for sentence in missing:
        click.echo(f"did not happen: {printable(sentence)}", err=True)
    raise click.exceptions.Exit(1)


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Within, SIGTERM is an exception as Ctrl-C is one, so that all is cleaned up on the way out."""

    def terminated(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(_TERMINATED)

    handler = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _narrator(began_ms: int) -> Callable[[str], None]:
    """Tells each step with the seconds since the beginning, at once."""

    def tell(text: str) -> None:
        show_line(f"{(_monotonic_ms() - began_ms) / 1_000:5.1f} s  {text}")
        sys.stdout.flush()

    return tell


def _tell_nothing(_text: str) -> None:
    return


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000

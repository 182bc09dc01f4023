"""The group `worker`, and its commands `ls`, `drain` and `stop`: which workers there are, and what to ask of them.

Rule: a command that asks leaves a request in the store, and the worker answers by its own row; nothing here looks for a
process. `worker run` is in a module of its own, since it imports what handlers need.
"""

from __future__ import annotations

from typing import Final

import click

from sagalog import Engine, InvalidValue, WorkerInfo
from sagalog_cli import json_output, render
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.session import Session, StoreCommand, actor_option, now_ms, options, pass_session
from sagalog_cli.tables import show_line, show_table

COMMANDS: Final[dict[str, Place]] = {
    "run": Place("sagalog_cli.commands.worker", "run", "Run the handlers of a module."),
    "ls": Place("sagalog_cli.commands.workers", "list_workers", "List the workers of the store."),
    "drain": Place("sagalog_cli.commands.workers", "drain", "Have a worker end what it has, and return."),
    "stop": Place("sagalog_cli.commands.workers", "stop", "Stop a worker, as by SIGTERM."),
}


@click.group("worker", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def worker() -> None:
    """Run the handlers of a module; list the workers of the store, wherever they run, and drain or stop one."""


@click.command("ls", cls=StoreCommand, short_help="List the workers of the store.")
@click.option("--all", "everything", is_flag=True, help="Those too that have ended within the last day.")
@pass_session
def list_workers(session: Session, everything: bool) -> None:
    """List the workers of the store, on whatever machine they run.

    One that is `gone` was not seen for 30 s and has not ended in order: it was killed, or cannot reach the store.
    Below them are the builds to which live tasks are pinned and that no live worker of their queue names.
    """
    with session.open() as engine:
        found, absent = engine.workers(), engine.absent_builds()
    shown = [one for one in found if everything or one.state != "ended"]

    def show_both() -> None:
        if shown:
            show_table(render.workers(shown, now_ms()))
        if shown and absent:
            show_line("")
        if absent:
            show_table(render.absent_builds(absent))

    session.answer_each(
        lambda: [*map(json_output.worker, shown), *map(json_output.absent_build, absent)],
        show_both,
    )
    if not shown:
        more = f"; --all lists {len(found)} that have ended" if found else ""
        session.note("empty", f"no worker runs on this store{more}")


@click.command("drain", cls=StoreCommand, short_help="Have a worker end what it has, and return.")
@click.argument("name")
@actor_option
@pass_session
def drain(session: Session, name: str, actor: str) -> None:
    """Ask a worker to take nothing new, to end what it has begun, and then to return.

    It looks within two seconds, and `ls` shows it. NAME is as `ls` shows it, or its first characters.
    """
    with session.open(actor=actor) as engine:
        _answer(session, engine.drain_worker(_whole_name(engine, name)), "drain")


@click.command("stop", cls=StoreCommand, short_help="Stop a worker, as by SIGTERM.")
@click.argument("name")
@actor_option
@pass_session
def stop(session: Session, name: str, actor: str) -> None:
    """Ask a worker to stop, as the first SIGTERM does: handlers may finish within its grace.

    It looks within two seconds, and `ls` shows it. NAME is as `ls` shows it, or its first characters.
    """
    with session.open(actor=actor) as engine:
        _answer(session, engine.stop_worker(_whole_name(engine, name)), "stop")


def _whole_name(engine: Engine, given: str) -> str:
    """Return the name of the live worker that is meant; a name of none as it is, which the call then refuses.

    Raises:
        InvalidValue: the names of several live workers begin so.
    """
    names = [one.name for one in engine.workers() if one.is_live and one.name.startswith(given)] if given else []
    if given in names or not names:
        return given
    if len(names) > 1:
        text = f"the names of {len(names)} live workers begin with {given!r}: {', '.join(names)}; give more of one"
        raise InvalidValue(text, path="name", live=names)
    return names[0]


def _answer(session: Session, worker: WorkerInfo, verb: str) -> None:
    runs = f"it ran {worker.running} handler{'' if worker.running == 1 else 's'} when it was last seen"
    session.answer(lambda: json_output.worker(worker), lambda: show_line(f"{worker.name} is asked to {verb}; {runs}"))

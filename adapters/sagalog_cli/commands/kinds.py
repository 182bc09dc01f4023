"""The group `kind`: pause a kind of tasks in every queue, resume it, and list the kinds that are paused.

Rule: it sets what may start, and knows nothing of what workers can do.
"""

from __future__ import annotations

from typing import Final

import click

from sagalog import Engine
from sagalog_cli import json_output, settings_tables
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.no_task import note_if_unused
from sagalog_cli.paused import note_if_before
from sagalog_cli.session import Session, StoreCommand, actor_option, now_ms, options, pass_session
from sagalog_cli.tables import show_line, show_table

_HERE: Final = "sagalog_cli.commands.kinds"

COMMANDS: Final[dict[str, Place]] = {
    "ls": Place(_HERE, "list_kinds", "List the kinds that are paused."),
    "pause": Place(_HERE, "pause", "Let no task of a kind start."),
    "resume": Place(_HERE, "resume", "Let tasks of a kind start again."),
}


@click.group("kind", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def kind() -> None:
    """Let no task of a kind start, whatever its queue, and start them again."""


@click.command("ls", cls=StoreCommand, short_help="List the kinds that are paused.")
@pass_session
def list_kinds(session: Session) -> None:
    """List the kinds that are paused: since when, by whom and why."""
    with session.open() as engine:
        found = engine.paused_kinds()
    session.answer_each(
        lambda: [json_output.kind(*one) for one in found.items()],
        lambda: show_table(settings_tables.kinds(found, now_ms())),
    )
    if not found:
        session.note("empty", "no kind is paused")


@click.command("pause", cls=StoreCommand, short_help="Let no task of a kind start.")
@click.argument("kind")
@click.argument("reason", required=False)
@actor_option
@pass_session
def pause(session: Session, kind: str, reason: str | None, actor: str) -> None:
    """Let no task of a kind start, whatever its queue, until `resume`; those that run go on."""
    with session.open(actor=actor) as engine:
        before = engine.paused_kinds().get(kind)
        engine.pause(kind=kind, reason=reason)
        _answer(session, engine, kind)
        note_if_unused(session, engine, kind=kind)
    note_if_before(session, f"the kind {kind!r}", before)


@click.command("resume", cls=StoreCommand, short_help="Let tasks of a kind start again.")
@click.argument("kind")
@actor_option
@pass_session
def resume(session: Session, kind: str, actor: str) -> None:
    """Let tasks of a kind start again."""
    with session.open(actor=actor) as engine:
        engine.resume(kind=kind)
        _answer(session, engine, kind)


def _answer(session: Session, engine: Engine, kind: str) -> None:
    found = engine.paused_kinds().get(kind)
    state = "is not paused" if found is None else "is paused"
    session.answer(lambda: json_output.kind(kind, found), lambda: show_line(f"kind {kind} {state}"))

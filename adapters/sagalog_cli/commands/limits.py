"""The group `limit`: list named limits, set, remove, pause and resume them, and show which tasks have their units.

Rule: the names are those of `Engine.set_limit`, on the command line with hyphens. The limits of a queue are set by
`queue limit`.
"""

from __future__ import annotations

from typing import Any, Final

import click

from sagalog import Breaker, Engine, Rate
from sagalog_cli import arguments, json_output, settings_tables
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.paused import note_if_before
from sagalog_cli.session import Session, StoreCommand, actor_option, now_ms, options, pass_session
from sagalog_cli.tables import show_line, show_table

_HERE: Final = "sagalog_cli.commands.limits"

COMMANDS: Final[dict[str, Place]] = {
    "ls": Place(_HERE, "list_limits", "List limits."),
    "set": Place(_HERE, "set_limit", "Set a limit."),
    "holders": Place(_HERE, "holders", "List the tasks that have units of a limit."),
    "rm": Place(_HERE, "remove", "Remove a limit."),
    "pause": Place(_HERE, "pause", "Let no task under a limit start."),
    "resume": Place(_HERE, "resume", "Let tasks under a limit start again."),
}


@click.group("limit", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def limit() -> None:
    """Limit how many tasks run at a time, or how often one starts, whatever their queue: `create --use` names a limit.

    `queue limit` limits the tasks of one queue, and those of each key in it.
    """


@click.command("ls", cls=StoreCommand, short_help="List limits.")
@pass_session
def list_limits(session: Session) -> None:
    """List limits, by name: what each allows, what is used and free, and how many tasks it holds back."""
    with session.open() as engine:
        found = engine.limits()
    session.answer_each(
        lambda: map(json_output.limit, found), lambda: show_table(settings_tables.limits(found, now_ms()))
    )
    if not found:
        session.note("empty", "there is no limit")


@click.command("set", cls=StoreCommand, short_help="Set a limit.")
@click.argument("name")
@click.option("--slots", type=int, help="How many units tasks may have at a time; or")
@click.option(
    "--rate",
    metavar="UNITS/PERIOD[:BURST]",
    callback=arguments.rate,
    help="how many units per period, as in 10/60s, and how many of them at once.  [default: all]",
)
@arguments.breaker_option
@actor_option
@pass_session
def set_limit(
    session: Session, name: str, slots: int | None, rate: Rate | None, breaker: Breaker | None, actor: str
) -> None:
    """Set the limit NAME, which tasks use by `create --use`; one of that name is replaced, its breaker too.

    Tasks that run go on. A limit that is lowered below what runs lets nothing start until there is room.
    """
    given: dict[str, Any] = {"slots": slots, "rate": rate, "breaker": breaker}
    with session.open_for(actor, lambda stage: stage.set_limit(name, **given)) as engine:
        before = next((one for one in engine.limits() if one.name == name), None)
        engine.set_limit(name, **given)
        _answer(session, engine, name, had_breaker=before is not None and before.breaker is not None)


@click.command("holders", cls=StoreCommand, short_help="List the tasks that have units of a limit.")
@click.argument("limit")
@pass_session
def holders(session: Session, limit: str) -> None:
    """List the tasks that have units of a limit now, and how many, the oldest first."""
    with session.open() as engine:
        found = engine.holders(limit=limit)
    session.answer_each(
        lambda: [json_output.holder(id, units) for id, units in found],
        lambda: show_table(settings_tables.holders(found)),
    )
    if not found:
        session.note("empty", f"no task has a unit of {limit!r}")


@click.command("rm", cls=StoreCommand, short_help="Remove a limit.")
@click.argument("name")
@actor_option
@pass_session
def remove(session: Session, name: str, actor: str) -> None:
    """Remove the limit NAME, which no live task may use."""
    with session.open(actor=actor) as engine:
        engine.remove_limit(name)
    session.answer(lambda: {"name": name}, lambda: show_line(f"{name} is removed"))


@click.command("pause", cls=StoreCommand, short_help="Let no task under a limit start.")
@click.argument("limit")
@click.argument("reason", required=False)
@actor_option
@pass_session
def pause(session: Session, limit: str, reason: str | None, actor: str) -> None:
    """Let no task that uses a limit start until `resume`; those that run go on."""
    with session.open(actor=actor) as engine:
        before = next((one.pause for one in engine.limits() if one.name == limit), None)
        engine.pause(limit=limit, reason=reason)
        _answer(session, engine, limit)
    note_if_before(session, f"the limit {limit!r}", before)


@click.command("resume", cls=StoreCommand, short_help="Let tasks under a limit start again.")
@click.argument("limit")
@actor_option
@pass_session
def resume(session: Session, limit: str, actor: str) -> None:
    """Let tasks that use a limit start again."""
    with session.open(actor=actor) as engine:
        engine.resume(limit=limit)
        _answer(session, engine, limit)


def _answer(session: Session, engine: Engine, name: str, had_breaker: bool = False) -> None:
    found = next(one for one in engine.limits() if one.name == name)
    breaker = f", breaker {settings_tables.breaker(found.breaker)}" if found.breaker is not None else ""
    is_paused = ", paused" if found.paused else ""
    taken = "; its breaker is taken away" if had_breaker and found.breaker is None else ""
    text = f"{name} allows {settings_tables.allowed(found)}{settings_tables.free(found)}{breaker}{is_paused}{taken}"
    session.answer(lambda: json_output.limit(found), lambda: show_line(text))

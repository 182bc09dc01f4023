"""The group `breaker`: list the breakers of limits and queues, and reset one.

Rule: what sets a breaker is `limit set` and `queue limit`, since it is part of a limit and of a queue.
"""

from __future__ import annotations

from typing import Final

import click

from sagalog import InvalidValue, NotFound
from sagalog.validation.values import check_name
from sagalog_cli import json_output, render
from sagalog_cli.advice import LISTINGS
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.session import Session, StoreCommand, actor_option, advised, now_ms, options, pass_session
from sagalog_cli.tables import show_line, show_table

_HERE: Final = "sagalog_cli.commands.breakers"

COMMANDS: Final[dict[str, Place]] = {
    "ls": Place(_HERE, "list_breakers", "List breakers."),
    "reset": Place(_HERE, "reset", "Close a breaker."),
}


@click.group("breaker", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def breaker() -> None:
    """Look after the breakers of limits and queues, which let nothing start while a service is down."""


@click.command("ls", cls=StoreCommand, short_help="List breakers.")
@pass_session
def list_breakers(session: Session) -> None:
    """List breakers, those of limits first: which are open, until when, and which task probes."""
    with session.open() as engine:
        found = engine.breakers()
    session.answer_each(lambda: map(json_output.breaker, found), lambda: show_table(render.breakers(found, now_ms())))
    if not found:
        session.note("empty", "no limit and no queue has a breaker")


@click.command("reset", cls=StoreCommand, short_help="Close a breaker.")
@click.argument("breaker")
@actor_option
@pass_session
def reset(session: Session, breaker: str, actor: str) -> None:
    """Close a breaker, so that all tasks which it held back may start at once.

    BREAKER is `limit/` or `queue/` and a name, as `ls` shows it. Its probe, if one runs, goes on and settles nothing.
    """
    which = _which(breaker)
    with session.open(actor=actor) as engine:
        try:
            engine.reset_breaker(**which)
        except NotFound as error:
            # A limit that is there has perhaps no breaker.
            raise advised(error, f"{LISTINGS['breaker']}; --db or SAGALOG_DB names another store") from error
        [found] = [one for one in engine.breakers() if render.breaker_name(one) == breaker]
    session.answer(
        lambda: json_output.breaker(found), lambda: show_line(f"{breaker} is {render.breaker_mode(found, now_ms())}")
    )


def _which(breaker: str) -> dict[str, str]:
    """Return the limit or the queue that is meant; raises InvalidValue."""
    what, slash, name = breaker.partition("/")
    if what not in ("limit", "queue") or not slash:
        text = f"BREAKER: expected limit/ or queue/ and a name, found {breaker!r}; `sagalog breaker ls` shows them"
        raise InvalidValue(text, path="BREAKER")
    return {what: check_name(name, "BREAKER")}

"""The group `token`: create a token for callers over a network, list, revoke and remove tokens.

Rule: a secret is printed once, by the command that makes it; if it cannot be printed, its token is revoked at once.
"""

from __future__ import annotations

from typing import Final

import click

from sagalog import Engine, NotFound
from sagalog_cli import arguments, json_output, settings_tables
from sagalog_cli.advice import LISTINGS
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.session import (
    OutputFailed,
    Session,
    StoreCommand,
    actor_option,
    advised,
    now_ms,
    options,
    pass_session,
)
from sagalog_cli.tables import counted, show_line, show_table
from sagalog_http.tokens import SCOPES, Scope, Token, Tokens

_HERE: Final = "sagalog_cli.commands.tokens"

COMMANDS: Final[dict[str, Place]] = {
    "create": Place(_HERE, "create", "Create a token and print its secret."),
    "ls": Place(_HERE, "list_tokens", "List tokens."),
    "revoke": Place(_HERE, "revoke", "Revoke a token."),
    "rm": Place(_HERE, "remove", "Remove a token that has ended."),
}


class TokenGroup(LazyGroup):
    """The group, which knows `list` as another word for `ls`."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import a command and return it; None if there is none."""
        return super().get_command(context, "ls" if name == "list" else name)


@click.group("token", cls=TokenGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def token() -> None:
    """Look after the tokens of those who call this store over a network."""


@click.command("create", cls=StoreCommand, short_help="Create a token and print its secret.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What it may do; may be repeated.",
)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only this queue; may be repeated.")
@click.option("--kind", "kinds", multiple=True, metavar="NAME", help="Only tasks of this kind; may be repeated.")
@click.option(
    "--expires",
    "ttl_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long it lives, as in 30d.  [default: until it is revoked]",
)
@actor_option
@pass_session
def create(
    session: Session,
    name: str,
    scopes: tuple[Scope, ...],
    queues: tuple[str, ...],
    kinds: tuple[str, ...],
    ttl_ms: int | None,
    actor: str,
) -> None:
    """Create a token and print its secret, which no later command can show.

    NAME is on record as the actor of what its holder does. Standard output gets the secret alone, so that a script can
    take it from there.
    """

    def work(engine: Engine) -> tuple[Token, str]:
        return Tokens(engine).create(name, scopes, queues=queues, kinds=kinds, ttl_ms=ttl_ms, actor=actor)

    with session.open_for(actor, work) as engine:
        made, secret = work(engine)
        try:
            session.answer(lambda: {**json_output.token(made, now_ms()), "secret": secret}, lambda: show_line(secret))
        except (OutputFailed, BrokenPipeError):
            # No one has seen the secret, so no one is to have it.
            Tokens(engine).revoke(name, actor)
            raise
    session.note("shown_once", f"this is the secret of {name!r}; the store keeps only its hash, so it is shown once")


@click.command("ls", cls=StoreCommand, short_help="List tokens.")
@pass_session
def list_tokens(session: Session) -> None:
    """List the tokens by name: what each may do, whether it lives, and when it was last used."""
    with session.open() as engine:
        found = Tokens(engine).list()
    now = now_ms()
    session.answer_each(
        lambda: [json_output.token(one, now) for one in found], lambda: show_table(settings_tables.tokens(found, now))
    )
    if not found:
        session.note("empty", "no token is on record")


@click.command("revoke", cls=StoreCommand, short_help="Revoke a token.")
@click.argument("name")
@actor_option
@pass_session
def revoke(session: Session, name: str, actor: str) -> None:
    """Revoke a token: every server on this store refuses it within a second, and ends what goes on by it."""
    with session.open(actor=actor) as engine:
        try:
            found = Tokens(engine).revoke(name, actor)
        except NotFound as error:
            raise advised(error, f"{LISTINGS['token']}; --db or SAGALOG_DB names another store") from error
    now = now_ms()
    session.answer(lambda: json_output.token(found, now), lambda: show_line(f"token {name} is {found.state(now)}"))


@click.command("rm", cls=StoreCommand, short_help="Remove a token that has ended.")
@click.argument("name")
@actor_option
@pass_session
def remove(session: Session, name: str, actor: str) -> None:
    """Remove what is on record of the tokens of a name that were revoked or have expired.

    While any token is on record, a server asks for one, even if it may answer without one.
    """
    with session.open(actor=actor) as engine:
        try:
            count = Tokens(engine).remove(name)
        except NotFound as error:
            raise advised(error, f"{LISTINGS['token']}; --db or SAGALOG_DB names another store") from error
    session.answer(
        lambda: {"name": name, "removed": count}, lambda: show_line(f"{counted(count, 'token')} of {name} removed")
    )

"""Commands that fail in every way a command can, for the place where errors become messages and statuses."""

from __future__ import annotations

import click

from sagalog import SagalogError
from sagalog_cli.session import Session, StoreCommand, pass_session

# What the next call raises; or writes, if it is text.
ends_with: list[BaseException | str] = []


@click.command("misbehave", cls=StoreCommand)
@pass_session
def misbehave(session: Session) -> None:
    """Do what `ends_with` says."""
    end = ends_with.pop()
    if isinstance(end, str):
        session.answer(lambda: end, lambda: click.echo(end))
        return
    raise end


def subclasses(of: type[SagalogError] = SagalogError) -> list[type[SagalogError]]:
    """Every error of the engine, root first; other packages have errors of their own, once they are imported."""
    below = (child for child in of.__subclasses__() if child.__module__ == of.__module__)
    return [of, *(each for child in below for each in subclasses(child))]

"""The commands `artifact` and `input`: they print the bytes that a task has made, or was given, byte for byte.

Rule: with `--json` the bytes are base64 in one object; otherwise the command adds and leaves out nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import Session, StoreCommand, pass_session


@click.command("artifact", cls=StoreCommand, short_help="Print the bytes that a task has made.")
@click.argument("id")
@click.argument("name")
@pass_session
def artifact(session: Session, id: str, name: str) -> None:
    """Print the newest artifact of a task under NAME, byte for byte; `sagalog show` names them."""
    with session.open() as engine:
        found = engine.artifact(whole_id(engine, id), name)
    _give(
        session,
        found.data,
        lambda: {
            "name": found.name,
            "media_type": found.media_type,
            "digest": found.digest,
            "fence": found.fence,
            "data": found.data,
        },
    )


@click.command("input", cls=StoreCommand, short_help="Print bytes that a task was given.")
@click.argument("id")
@click.argument("name")
@pass_session
def task_input(session: Session, id: str, name: str) -> None:
    """Print the input that a task was created with under NAME, byte for byte; `sagalog show` names them."""
    with session.open() as engine:
        data = engine.input(whole_id(engine, id), name)
    _give(session, data, lambda: {"name": name, "data": data})


def _give(session: Session, data: bytes, document: Callable[[], Any]) -> None:
    session.answer(document, lambda: None if sys.stdout is None else _write(data))


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)

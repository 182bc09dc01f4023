"""The group `journal`: list journals, and print the entries of one, to its end or as they come.

Rule: entries are printed byte for byte, one behind the other; with `--json` each is an object with its cursor, and the
bytes are base64. It ends when its reader wants it, as `tail` does.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from sagalog import JournalCursor, JournalEntry, JournalInfo, JournalReader
from sagalog_cli import arguments
from sagalog_cli.commands.tail import require_reader
from sagalog_cli.interrupts import heeding
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import Session, StoreCommand, options, pass_session
from sagalog_cli.tables import Table, show_table

_HERE: Final = "sagalog_cli.commands.journals"
_PAGE: Final = 1_000
# How often it looks whether the reader of a pipe has gone; it sees an entry at once.
_LOOK_EVERY_MS: Final = 100

COMMANDS: Final[dict[str, Place]] = {
    "ls": Place(_HERE, "list_journals", "List journals."),
    "show": Place(_HERE, "show", "Print the entries of a journal."),
}


@click.group("journal", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def journal() -> None:
    """Read what programs and the handlers of tasks have written to journals."""


@click.command("ls", cls=StoreCommand, short_help="List journals.")
@pass_session
def list_journals(session: Session) -> None:
    """List journals, those of tasks too: how many entries and bytes each has, and whether it is closed."""
    found: list[JournalInfo] = []
    with session.open() as engine:
        after = ""
        while page := engine.journals(after, _PAGE):
            found += page
            after = page[-1].id
    rows = [
        (one.name, one.task or "", str(one.entries), str(one.size_bytes), "closed" if one.closed else "open")
        for one in found
    ]
    session.answer_each(
        lambda: map(_document, found), lambda: show_table(Table(("NAME", "TASK", "ENTRIES", "BYTES", "STATE"), rows))
    )
    if not found:
        session.note("empty", "there is no journal")


@click.command("show", cls=StoreCommand, short_help="Print the entries of a journal.")
@click.argument("name")
@click.option("--task", metavar="ID", callback=arguments.name, help="The journal of this task.")
@click.option("--after", metavar="CURSOR", help="Begin behind this entry, as in 2-57.")
@click.option("--follow", is_flag=True, help="Wait for new entries, until the journal is closed or Ctrl-C.")
@pass_session
def show(session: Session, name: str, task: str | None, after: str | None, follow: bool) -> None:
    """Print the entries of the journal NAME, byte for byte; of a task, those of all attempts.

    With --follow it begins with the newest attempt, and goes on with the next one where that writes.
    """
    cursor = JournalCursor() if after is None else JournalCursor.parse(after, "--after")
    try:
        with heeding(signal.SIGTERM), session.open() as engine:
            found = engine.journal(name, task=None if task is None else whole_id(engine, task))
            status = found.status()
            if not status.entries:
                session.note("empty", f"the journal {name!r} has no entries yet; `sagalog journal ls` lists journals")
            if follow:
                _follow(session, found.follow(cursor))
                return
            while page := found.read(cursor, _PAGE):
                _write(session, page)
                cursor = page[-1].cursor
    except BrokenPipeError as error:
        if not follow:
            raise
        # Not `return`: Python would offer a closed pipe once more what it did not take.
        raise click.exceptions.Exit(0) from error


def _follow(session: Session, reader: JournalReader) -> None:
    while not reader.is_over:
        entries = reader.take(_LOOK_EVERY_MS, _PAGE)
        if entries:
            _write(session, entries)
        else:
            require_reader()


def _write(session: Session, entries: Sequence[JournalEntry]) -> None:
    def write() -> None:
        if sys.stdout is not None:
            sys.stdout.flush()
            sys.stdout.buffer.write(b"".join(one.data for one in entries))
            sys.stdout.buffer.flush()

    session.answer_each(
        lambda: (
            {"cursor": str(one.cursor), "number": one.number, "fence": one.fence, "data": one.data} for one in entries
        ),
        write,
    )


def _document(one: JournalInfo) -> dict[str, Any]:
    return {
        "name": one.name,
        "task": one.task,
        "entries": one.entries,
        "size_bytes": one.size_bytes,
        "fence": one.fence,
        "first": one.first,
        "closed": one.closed,
    }

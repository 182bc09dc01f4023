"""The command `explain`: why no worker works on a task now, and what an operator may do about it.

Rule: the engine gives the reasons, and this command their words. It writes nothing.
"""

from __future__ import annotations

from typing import Final

import click

from sagalog import Explanation, Reason
from sagalog.sentences import told
from sagalog_cli import json_output
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import Session, StoreCommand, pass_session
from sagalog_cli.tables import show_line
from sagalog_cli.times import distance, instant

# What maintenance does, as each claim does it before it leases anything.
_DUE: Final = frozenset({"lease_over", "deadline_passed", "wait_over"})


@click.command("explain", cls=StoreCommand, short_help="Say why a task does not run.")
@click.argument("id")
@pass_session
def explain(session: Session, id: str) -> None:
    """Say why no claim leases a task now, or that one would: what it waits for, what holds it back, who holds it.

    Below a reason is what to do about it, where there is something.
    """
    with session.open() as engine:
        found = engine.explain(whole_id(engine, id))
        now = engine.now_ms()
    session.answer(lambda: json_output.explanation(found), lambda: _show(found, now))


def _show(found: Explanation, now: int) -> None:
    show_line(_headline(found))
    for reason in found.reasons:
        show_line(f"  - {_words(reason, now)}")
        if reason.advice is not None:
            show_line(f"    {reason.advice}")
    for note in found.notes:
        if note.code != "claimable" or "place" in note.parameters:
            show_line(f"  {_words(note, now)}")


def _headline(found: Explanation) -> str:
    """Return one line: its state, and whether a claim, a worker or only maintenance does something with it."""
    state = "cannot be read" if found.state is None else f"is {found.state}"
    if found.is_claimable and found.reasons:
        return f"{found.task} {state}, and no live worker takes it:"
    if found.is_claimable:
        given = next(one.parameters for one in found.notes if one.code == "claimable")
        claim = told("claimable", {name: value for name, value in given.items() if name != "place"})
    else:
        is_due = {one.code for one in found.reasons} <= _DUE
        claim = "the next claim, or `sagalog recover`, sees to it first" if is_due else "no claim leases it now"
    return f"{found.task} {state}: {claim}"


def _words(reason: Reason, now: int) -> str:
    return told(reason.code, reason.parameters, lambda time_ms: f"{instant(time_ms)} ({distance(time_ms, now)})")

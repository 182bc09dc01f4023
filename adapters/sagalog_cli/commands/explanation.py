"""The command `explain`: why no worker works on a task now, or none is created, and what an operator may do about it.

Rule: the engine gives the reasons, and this command their words. It writes nothing.
"""

from __future__ import annotations

from typing import Final

import click

from sagalog import Engine, Explanation, NotFound, Reason
from sagalog.sentences import told
from sagalog_cli import json_output
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import Session, StoreCommand, advised, pass_session
from sagalog_cli.tables import show_line
from sagalog_cli.times import distance, instant

# What maintenance does, as each claim does it before it leases anything.
_DUE: Final = frozenset({"lease_over", "deadline_passed", "wait_over"})


@click.command("explain", cls=StoreCommand, short_help="Say why a task does not run.")
@click.argument("id", required=False)
@click.option("--schedule", metavar="NAME", help="Instead: why this schedule creates no task.")
@pass_session
def explain(session: Session, id: str | None, schedule: str | None) -> None:
    """Say why no claim leases a task now, or that one would: what it waits for, what holds it back, who holds it.

    Below a reason is what to do about it, where there is something.
    """
    if id is None and schedule is None:
        raise click.UsageError("give the ID of a task, or --schedule NAME")
    if id is not None and schedule is not None:
        raise click.UsageError(f"--schedule {schedule}: the task {id} is given too; leave one of them out")
    with session.open() as engine:
        found = engine.explain(whole_id(engine, id)) if id is not None else _of_schedule(engine, schedule)
        now = engine.now_ms()
    session.answer(lambda: json_output.explanation(found), lambda: _show(found, now))


def _of_schedule(engine: Engine, name: str | None) -> Explanation:
    try:
        return engine.explain(schedule=name)
    except NotFound as error:
        raise advised(error, "`sagalog schedule ls` shows the schedules of this store") from error


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
    if found.schedule is not None:
        said = "fires with the next claim, or `sagalog recover`" if found.is_claimable else "creates no task now"
        return f"the schedule {found.schedule} {said}"
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

"""The commands that read: `list`, `show`, `history`, `stale`, `stats`.

Rule: they write nothing. An empty answer is an answer: status 0, nothing on standard output, a note on standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from sagalog import Corrupt, Engine, NotFound, Recorded, State
from sagalog_cli import arguments, json_output, render
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import LIMIT, Session, StoreCommand, now_ms, pass_session
from sagalog_cli.tables import counted, show_line, show_table
from sagalog_cli.timeline import timeline

LISTED: Final = 50
_STATES: Final = [str(state) for state in State]
# The value of `--waiting` without a name; no word of a command line is this one.
ANY_WAIT: Final = "\0"


@click.command("list", cls=StoreCommand, short_help="List tasks.")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only of this queue. Repeatable: any of them.")
@click.option("--kind", metavar="NAME", help="Only of this kind.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    metavar="STATE",
    help=f"Only in this state: {', '.join(_STATES)}. Repeatable: any of them.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    callback=arguments.tags,
    help="Only with this tag. Repeatable: all of them.",
)
@click.option(
    "--waiting",
    is_flag=False,
    flag_value=ANY_WAIT,
    metavar="[NAME]",
    help="Only tasks that wait under this name; without a name, under any.",
)
@click.option("--parent", metavar="ID", help="Only children of this task.")
@click.option("--correlation-id", metavar="NAME", help="Only with this correlation id.")
@click.option(
    "--since",
    "since_ms",
    metavar="TIME",
    callback=arguments.since,
    help="Only changed since then: 2h for two hours ago, ISO 8601, or milliseconds.",
)
@click.option("--newest", is_flag=True, help="The newest tasks come first, which is the default.")
@click.option("--oldest", is_flag=True, help="The oldest tasks come first.")
@click.option("--limit", type=LIMIT, metavar="N", help=f"List at most so many.  [default: {LISTED}]")
@click.option("--all", "everything", is_flag=True, help="List all, however many there are.")
@pass_session
def list_tasks(
    session: Session,
    /,
    queues: tuple[str, ...],
    states: tuple[str, ...],
    waiting: str | None,
    parent: str | None,
    newest: bool,
    oldest: bool,
    limit: int | None,
    everything: bool,
    **given: Any,
) -> None:
    """List the tasks that fit every option, the newest first.

    WAITS_FOR says why no worker works on a task; `show` has the rest.
    """
    if newest and oldest:
        raise click.UsageError("--newest and --oldest contradict one another: leave one of them out")
    if everything and limit is not None:
        raise click.UsageError("--all lists all, however many there are: leave out --limit")
    newest_first, most = not oldest, LISTED if limit is None else limit
    with session.open() as engine:
        found = engine.find(
            queue=queues or None,
            state=states or None,
            waiting=True if waiting == ANY_WAIT else waiting,
            parent=None if parent is None else _parent(engine, parent),
            newest_first=newest_first,
            # One more than it shows, to find out whether there are more.
            limit=None if everything else most + 1,
            **given,
        )
        shown = found if everything else found[:most]
        held_back = engine.held_back(shown)
        unreadable = engine.unreadable()
    now = now_ms()
    session.answer_each(
        lambda: (json_output.listed(task, now, held_back.get(task.id, ())) for task in shown),
        lambda: show_table(render.tasks(shown, now, held_back)),
    )
    if len(found) > len(shown):
        first = "newest" if newest_first else "oldest"
        session.note("more", f"the {first} {most} are shown and there are more: --limit {most * 10} or --all")
    if not found:
        session.note("empty", "no task fits")
    if unreadable:
        session.note("unreadable", render.unreadable(unreadable))


def _parent(engine: Engine, given: str) -> str:
    """Return the whole id of a parent, which need not be in this store."""
    return given if engine.find(parent=given, limit=1) else whole_id(engine, given)


@click.command("show", cls=StoreCommand, short_help="Show everything about a task.")
@click.argument("id")
@click.option("--full", is_flag=True, help="Show long values whole.")
@pass_session
def show(session: Session, id: str, full: bool) -> None:
    """Show everything about a task as it is now; `history` shows how it got there."""
    with session.open() as engine:
        id = whole_id(engine, id)
        task = engine.get(id)
    if task is None:
        raise NotFound(f"there is no task {id!r}; check the id and the store", task=id)

    def show_details() -> None:
        show_table(render.details(task, now_ms(), full))
        if task.compensations:
            show_line("")
            show_table(render.compensations(task.compensations, full))
        for line in render.traceback(task, full):
            show_line(line)

    session.answer(lambda: json_output.task(task), show_details)


@click.command("history", cls=StoreCommand, short_help="Show a task's events as a timeline.")
@click.argument("id", required=False)
@click.option("--limit", metavar="NAME", help="Instead: of this limit, with the changes of its breaker.")
@click.option("--queue", metavar="NAME", help="Instead: of the settings of this queue.")
@click.option("--schedule", metavar="NAME", help="Instead: of this schedule.")
@click.option("--full", is_flag=True, help="Show the whole body of each event.")
@pass_session
def history(session: Session, /, id: str | None, full: bool, **others: str | None) -> None:
    """Show every event of a task in order: its position, time, actor and content.

    SINCE is the distance from the first event. Due times and expiries are distances from their own event.
    """
    with session.open() as engine:
        if sum(one is not None for one in (id, *others.values())) != 1:
            raise click.UsageError("give the ID of a task, or one of --limit, --queue and --schedule")
        whole = None if id is None else whole_id(engine, id)
        events = engine.history(whole, **others)
        beside = {} if whole is None or session.as_json or full else _voided(engine, whole, events)
    session.answer_each(
        lambda: (json_output.recorded(one, full) for one in events), lambda: show_table(timeline(events, full, beside))
    )


def _voided(engine: Engine, id: str, events: Sequence[Recorded]) -> dict[int, str]:
    """Return what the event `completed` has made void, by its version: no event names it. [COMP-6]"""
    versions = [one.version for one in events if one.type == "completed"]
    try:
        task = engine.get(id) if versions else None
    except Corrupt:
        return {}  # the command still shows its events
    void = [] if task is None else [one.id for one in task.compensations if one.status == "void"]
    return {version: f"void={','.join(void)}" for version in versions} if void else {}


@click.command("stale", cls=StoreCommand, short_help="List leases that are over and undos that no worker claims.")
@pass_session
def stale(session: Session) -> None:
    """List leases that are over and undos that no worker claims.

    A lease that is over ends with the next claim, or by `recover`. For an undo that is due and unclaimed, start a
    worker that knows its kind.
    """
    with session.open() as engine:
        found = engine.stale()
        undos = engine.health().undos

    def show_both() -> None:
        if found:
            show_table(render.stale(found, now_ms()))
        if found and undos:
            show_line("")
        if undos:
            show_table(render.unclaimed(undos, now_ms()))

    session.answer_each(lambda: [*map(json_output.task, found), *map(json_output.unclaimed, undos)], show_both)
    if not found and not undos:
        session.note("empty", "no lease is over, and no undo waits for a worker")


@click.command("stats", cls=StoreCommand, short_help="Count tasks and events, and look at the file.")
@click.option("--queue", metavar="NAME", help="Count only the tasks of this queue.")
@pass_session
def stats(session: Session, queue: str | None) -> None:
    """Count tasks by queue and state, and the events of the log; show the health of the file and its disk.

    A note on standard error names each thing to mend.
    """
    with session.open() as engine:
        health = engine.health()
        said = json_output.stats(health, engine.newest_position(), engine.counts(queue))

    def show_counts() -> None:
        show_line(
            f"store {said['store_id']}, newest writer sagalog {said['writer']}: "
            f"{counted(said['tasks'], 'task')}, {counted(said['events'], 'event')}"
        )
        if said["queues"]:
            show_line("")
            show_table(render.counts(said["queues"]))
        if health.file is not None:
            show_line("")
            show_table(render.file(health.file, now_ms()))
        if health.undos:
            show_line("")
            show_table(render.unclaimed(health.undos, now_ms()))
        if health.builds:
            show_line("")
            show_table(render.absent_builds(health.builds))

    session.answer(lambda: said, show_counts)
    for error in health.errors:
        session.note("unhealthy", error)

"""The group `schedule`: list schedules, set, remove, pause and resume them, and show when they fire next.

Rule: the names are those of `Engine.set_schedule`, on the command line with hyphens. No command here waits for a time:
workers and other claims fire schedules.
"""

from __future__ import annotations

from typing import Any, Final

import click

from sagalog import Engine
from sagalog_cli import arguments, json_output, render, task_options
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.paused import note_if_before
from sagalog_cli.session import Session, StoreCommand, actor_option, now_ms, options, pass_session
from sagalog_cli.tables import Table, show_line, show_table
from sagalog_cli.times import distance, instant

_HERE: Final = "sagalog_cli.commands.schedules"

COMMANDS: Final[dict[str, Place]] = {
    "ls": Place(_HERE, "list_schedules", "List schedules."),
    "set": Place(_HERE, "set_schedule", "Set a schedule."),
    "rm": Place(_HERE, "remove", "Remove a schedule."),
    "next": Place(_HERE, "next_times", "Show when a schedule fires next."),
    "pause": Place(_HERE, "pause", "Let a schedule create no task."),
    "resume": Place(_HERE, "resume", "Let a schedule go on."),
}


@click.group("schedule", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def schedule() -> None:
    """Create tasks at nominal times: by cron fields in a time zone, or at an interval."""


@click.command("ls", cls=StoreCommand, short_help="List schedules.")
@pass_session
def list_schedules(session: Session) -> None:
    """List schedules, by name: when each fires next, when it fired last, and why it does not fire."""
    with session.open() as engine:
        found = engine.schedules()
    session.answer_each(lambda: map(json_output.schedule, found), lambda: show_table(render.schedules(found, now_ms())))
    if not found:
        session.note("empty", "there is no schedule")


@click.command("set", cls=StoreCommand, short_help="Set a schedule.")
@click.argument("name")
@click.argument("kind")
@click.argument("payload", callback=arguments.payload, required=False)
@click.option("--cron", metavar="FIELDS", help="Five fields, as in '0 2 * * *'; or @hourly, @daily ... @yearly.")
@click.option("--every", "every_ms", metavar="DURATION", callback=arguments.duration, help="An interval, as in 15m.")
@click.option("--zone", help="The time zone of the fields, as in Europe/Berlin.  [default: UTC]")
@click.option(
    "--missed",
    type=click.Choice(["one", "skip", "all"]),
    help="What becomes of times that nothing fired: the newest one fires, none, or all.  [default: one]",
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "allow"]),
    help="Whether a time fires while the task before lives.  [default: skip]",
)
@task_options.queue_option
@task_options.priority_option
@task_options.affinity_option
@task_options.key_option
@task_options.retry_option
@task_options.waiver_option
@task_options.tag_option
@task_options.correlation_option
@task_options.use_option
@actor_option
@pass_session
def set_schedule(
    session: Session, /, name: str, kind: str, payload: arguments.Payload | None, actor: str, **given: Any
) -> None:
    """Set the schedule NAME, which creates tasks of KIND; PAYLOAD is JSON, `-` reads it from standard input.

    A schedule of that name is replaced. The id of each task is the name, `@` and the time in UTC.
    """
    wanted = {name: value for name, value in given.items() if value is not None and value not in ([], {}, ())}
    if payload is not None:
        wanted["payload"] = arguments.read_json() if payload is arguments.STDIN else payload.value
    with session.open_for(actor, lambda stage: stage.set_schedule(name, kind, **wanted)) as engine:
        engine.set_schedule(name, kind, **wanted)
        _answer(session, engine, name)


@click.command("rm", cls=StoreCommand, short_help="Remove a schedule.")
@click.argument("name")
@actor_option
@pass_session
def remove(session: Session, name: str, actor: str) -> None:
    """Remove the schedule NAME; the tasks that it has created go on."""
    with session.open(actor=actor) as engine:
        engine.remove_schedule(name)
    session.answer(lambda: {"name": name}, lambda: show_line(f"{name} is removed"))


@click.command("next", cls=StoreCommand, short_help="Show when a schedule fires next.")
@click.argument("name")
@click.argument("count", type=click.IntRange(1, 1_000), default=10)
@pass_session
def next_times(session: Session, name: str, count: int) -> None:
    """Show the next COUNT times of the schedule NAME, 10 if you leave it out, as if it were not paused.

    They are in UTC; beside them are those in its own time zone.
    """
    with session.open() as engine:
        times = engine.next_times(name, count)
        zone = next((one.zone for one in engine.schedules() if one.name == name), "UTC")
    rows = [(instant(time_ms), distance(time_ms, now_ms()), _local(time_ms, zone)) for time_ms in times]
    session.answer_each(
        lambda: [{"name": name, "nominal_ms": time_ms, "zone": zone} for time_ms in times],
        lambda: show_table(Table(("TIME", "FROM_NOW", "IN_ZONE"), rows)),
    )


def _local(time_ms: int, zone: str) -> str:
    """Return a time as clocks in a zone show it."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    if zone == "UTC":
        return ""
    return f"{datetime.fromtimestamp(time_ms / 1_000, ZoneInfo(zone)).isoformat(timespec='seconds')} {zone}"


@click.command("pause", cls=StoreCommand, short_help="Let a schedule create no task.")
@click.argument("schedule")
@click.argument("reason", required=False)
@actor_option
@pass_session
def pause(session: Session, schedule: str, reason: str | None, actor: str) -> None:
    """Let a schedule create no task until `resume`; no time of the pause fires after it."""
    with session.open(actor=actor) as engine:
        before = next((one.pause for one in engine.schedules() if one.name == schedule), None)
        engine.pause(schedule=schedule, reason=reason)
        _answer(session, engine, schedule)
    note_if_before(session, f"the schedule {schedule!r}", before)


@click.command("resume", cls=StoreCommand, short_help="Let a schedule go on.")
@click.argument("schedule")
@actor_option
@pass_session
def resume(session: Session, schedule: str, actor: str) -> None:
    """Let a schedule go on with its first time after now, whether it was paused or has stopped by itself."""
    with session.open(actor=actor) as engine:
        engine.resume(schedule=schedule)
        _answer(session, engine, schedule)


def _answer(session: Session, engine: Engine, name: str) -> None:
    [found] = [one for one in engine.schedules() if one.name == name]
    session.answer(lambda: json_output.schedule(found), lambda: show_line(f"{name} {render.fires(found, now_ms())}"))

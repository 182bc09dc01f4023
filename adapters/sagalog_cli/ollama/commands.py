"""The group `ollama`: run a gateway, submit a request to one, and look at its jobs.

Rule: `serve` works on a store; the others ask a gateway over HTTP, wherever it runs, with the address and the token
from where Ollama's own clients take them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from sagalog_cli import arguments
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.ollama import gateway_command
from sagalog_cli.ollama.gateway_command import GatewayCommand
from sagalog_cli.session import LIMIT, Session, now_ms, options, pass_session
from sagalog_cli.tables import Cell, Table, printable, show_line, show_table
from sagalog_cli.times import distance, duration

if TYPE_CHECKING:
    from sagalog_cli.ollama.client import Client  # a listing of commands does not import it

_HERE: Final = "sagalog_cli.ollama.commands"

COMMANDS: Final[dict[str, Place]] = {
    "serve": Place("sagalog_cli.ollama.serve", "serve", "Run a gateway in front of Ollama."),
    "submit": Place(_HERE, "submit", "Ask a model by way of a gateway."),
    "jobs": Place(_HERE, "jobs", "List the jobs of a gateway, or show one."),
    "cancel": Place(_HERE, "cancel", "Cancel a job of a gateway."),
    "ps": Place(_HERE, "ps", "Show what a gateway does now."),
}

# Texts in a table are cut there; `--json` has all of them.
_ERROR_CHARACTERS: Final = 60


@click.group("ollama", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def ollama() -> None:
    """Run a queueing gateway in front of Ollama, or ask one.

    `serve` works on the store; the other commands ask a gateway over HTTP.
    """


@click.command("submit", cls=GatewayCommand, short_help="Ask a model by way of a gateway.")
@click.argument("model", callback=gateway_command.model)
@click.argument("prompt", callback=gateway_command.text)
@click.option(
    "--system", metavar="TEXT", callback=gateway_command.text, help="What the model is told before the prompt."
)
@click.option(
    "--option",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    callback=lambda _, param, given: _options(param, given),
    help="An option of the model, as in num_ctx=8192; what is no JSON is a text. Repeatable.",
)
@click.option("--detach", is_flag=True, help="Do not wait: answer with the job, which `jobs ID` shows.")
@click.option(
    "--idempotency-key",
    metavar="NAME",
    callback=arguments.name,
    help="Names this request: with the same key it is one job.",
)
@pass_session
def submit(
    session: Session,
    /,
    url: str,
    token: str | None,
    model: str,
    prompt: str,
    system: str | None,
    given: dict[str, Any],
    detach: bool,
    idempotency_key: str | None,
) -> None:
    """Ask MODEL the PROMPT, and print its answer as it comes; the word - reads the prompt from standard input."""
    text = arguments.read_text() if prompt == "-" else prompt
    messages = [{"role": "system", "content": system}] if system is not None else []
    body = {"model": model, "messages": [*messages, {"role": "user", "content": text}], "options": given}
    with _client(url, token) as client:
        if detach:
            job = client.submit("/api/chat", body, idempotency_key)
            session.answer(lambda: job, lambda: show_line(f"{job['id']} is {job['state']}"))
            return
        for frame in client.stream("/api/chat", body, idempotency_key):
            # Each by itself, so that the answer is seen as it comes.
            session.answer(partial(dict, frame), partial(_show_frame, frame))
    if not session.as_json:
        session.answer(dict, click.echo)


@click.command("jobs", cls=GatewayCommand, short_help="List the jobs of a gateway, or show one.")
@click.argument("id", required=False, callback=arguments.name)
@click.option("--answer", is_flag=True, help="Print the answer of the job ID, once it has ended.")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="List so many of the newest at most.")
@pass_session
def jobs(session: Session, /, url: str, token: str | None, id: str | None, answer: bool, limit: int) -> None:
    """List the jobs of a gateway that the token may see, newest first, or show the job ID."""
    if answer and id is None:
        raise click.UsageError("--answer: expected the ID of a job")
    with _client(url, token) as client:
        if id is not None and answer:
            data = client.answer(id)
            session.answer(lambda: {"id": id, "data": data}, lambda: _write(data))
            return
        found = client.jobs(limit) if id is None else [client.job(id)]
    session.answer_each(lambda: found, lambda: show_table(_table(found)))
    if not found:
        session.note("empty", "there is no job")


@click.command("cancel", cls=GatewayCommand, short_help="Cancel a job of a gateway.")
@click.argument("id", callback=arguments.name)
@pass_session
def cancel(session: Session, /, url: str, token: str | None, id: str) -> None:
    """Cancel the job ID; one that has ended stays as it is."""
    with _client(url, token) as client:
        job = client.cancel(id)
    session.answer(lambda: job, lambda: show_line(f"{id} is {job['state']}"))


@click.command("ps", cls=GatewayCommand, short_help="Show what a gateway does now.")
@pass_session
def ps(session: Session, /, url: str, token: str | None) -> None:
    """Show whether a gateway is degraded, what its target has loaded, and the jobs that have not ended."""
    with _client(url, token) as client:
        health, loaded = client.health(), client.loaded()
        live = [one for one in client.jobs(1_000) if "ended_ms" not in one]
    document = {"health": health, "loaded": loaded, "jobs": live}

    def show() -> None:
        why = f" ({', '.join(health['reasons'])})" if health.get("reasons") else ""
        show_line(f"{url} is {'degraded' if health['degraded'] else 'well'}{why}")
        names = "not known yet" if loaded is None else ", ".join(str(one.get("name")) for one in loaded) or "nothing"
        show_line(f"loaded: {names}")
        show_table(_table(live))

    session.answer(lambda: document, show)


def _client(url: str, token: str | None) -> Client:
    with gateway_command.extra():
        from sagalog_cli.ollama.client import Client

    return Client(url, token)


def _options(param: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in given:
        gateway_command.text(click.get_current_context(), param, one)
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"expected NAME=VALUE, found {one!r}", param=param)
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice", param=param)
        try:
            found[name] = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            found[name] = value
    return found


def _show_frame(frame: Mapping[str, Any]) -> None:
    text = str((frame.get("message") or {}).get("content", ""))
    # A model's answer has lines; nothing else of it may steer a terminal.
    click.echo("\n".join(map(printable, text.split("\n"))), nl=False)


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def _table(found: list[dict[str, Any]]) -> Table:
    now = now_ms()
    rows = [
        (
            Cell(one["id"]),
            Cell(one["state"]),
            Cell(one["model"]),
            Cell(one["path"]),
            Cell(distance(one["created_ms"], now)),
            Cell(duration(one["ended_ms"] - one["created_ms"]) if "ended_ms" in one else ""),
            Cell(str(one.get("error", ""))[:_ERROR_CHARACTERS]),
        )
        for one in found
    ]
    return Table(("id", "state", "model", "path", "created", "took", "error"), rows)

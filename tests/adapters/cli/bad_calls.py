"""Every command with what it takes, read off click; wrong values for each kind of parameter; how a refusal must look.

Rule: no command and no parameter is listed here that click does not have, and one that click has and is not known here
fails a test: a new one says how it can be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import click

import sagalog
from sagalog_cli.command_line import COMMANDS, main
from sagalog_cli.lazy_group import LazyGroup
from sagalog_cli.ollama.gateway_command import GatewayCommand
from sagalog_cli.tables import printable
from tests.adapters.cli.calls import Answer, call

# For `--handlers` of this module.
worker: Final = sagalog.Worker(queues="default")


@worker.task("never")
def never(_: sagalog.WorkContext, __: Any) -> None:
    """A worker needs a handler; no task has this kind."""


# --- commands -------------------------------------------------------------------------------------------------------


def command_of(name: str) -> click.Command:
    """The command of this name, with blanks between a group and what is in it."""
    command: click.Command | None = main
    for word in name.split():
        assert isinstance(command, LazyGroup), name
        command = command.get_command(click.Context(command), word)
    assert command is not None, name
    return command


def _below(name: str) -> Iterator[str]:
    command = command_of(name)
    if isinstance(command, LazyGroup):
        for one in command.places:
            yield from _below(f"{name} {one}")
    else:
        yield name


NAMES: Final = [each for name in COMMANDS for each in _below(name)]
# Commands that ask a gateway over HTTP.
OF_A_GATEWAY: Final = [name for name in NAMES if isinstance(command_of(name), GatewayCommand)]
# Commands of no store: one makes its own, one needs none, others ask a gateway.
STORELESS: Final = frozenset({"demo", "command classify", *OF_A_GATEWAY})
OF_A_STORE: Final = [name for name in NAMES if name not in STORELESS]
MAKING: Final = frozenset(
    {
        "init",
        "create",
        "queue push",
        "queue limit",
        "queue set",
        "schedule set",
        "limit set",
        "token create",
        "ollama serve",
    }
)


def word_of(param: click.Parameter) -> str:
    """A parameter as the reference names it: `--queue`, `ID`."""
    return param.opts[0] if isinstance(param, click.Option) else str(param.name).upper()


def takes_value(param: click.Parameter) -> bool:
    return not (isinstance(param, click.Option) and param.is_flag)


class Place(NamedTuple):
    """A parameter of a command."""

    command: str
    word: str


PLACES: Final = [
    Place(name, word_of(param)) for name in NAMES for param in command_of(name).params if takes_value(param)
]

# A value for what a command cannot do without; of the store that `held` makes.
VALID: Final = {
    "ID": "held",
    "NAME": "n",
    "SCHEDULE": "n",
    "BREAKER": "limit/n",
    "LIMIT": "n",
    "QUEUE": "n",
    "COMPENSATION": "c",
    "TEXT": "x",
    "FENCE": "1",
    "KIND": "k",
    "FILE": "-",
    "WORDS": "true",
    "MODEL": "tiny",
    "PROMPT": "why",
    "--reason": "x",
    "--scope": "read",
    "--older-than": "24h",
    "--with": "exit_status",
    "--handlers": f"{__name__}:worker",
}
# What a command may be given in place of an argument that it cannot do without.
INSTEAD: Final = {"KIND": frozenset[str](), "ID": frozenset({"--limit", "--queue", "--schedule"})}
# What lets a command come to its end by itself, or have something to do; `ollama serve` takes a port that is free.
ENDING: Final = {
    "amend": ("--deadline", "+9h"),
    "schedule set": ("--every", "1h"),
    "limit set": ("--slots", "1"),
    "queue limit": ("--slots", "1"),
    "queue set": ("--affinity-wait", "1s"),
    "tail": ("--no-follow",),
    "worker run": ("--until", "idle"),
    "ollama serve": ("--bind=127.0.0.1:0",),
    "queue watch": ("--until-empty",),
    "queue work": ("--until-empty",),
}


def words(name: str, *changes: tuple[str, str], without: str = "", more: tuple[str, ...] = ()) -> list[str]:
    """A call of the command that is right but for the changes: (parameter, value)."""
    given = dict(changes)
    options: list[str] = []
    arguments: list[str] = []
    for param in command_of(name).params:
        word = word_of(param)
        is_needed = word in INSTEAD and INSTEAD[word].isdisjoint(given)
        if word == without or not (param.required or word in given or is_needed):
            continue
        value = given.get(word, VALID.get(word, ""))
        if isinstance(param, click.Option):
            options.append(f"{word}={value}")
        else:
            arguments.append(value)
    return [*name.split(), *ENDING.get(name, ()), *options, *more, "--", *arguments]


# --- refusals -------------------------------------------------------------------------------------------------------

CODES: Final = {2: "usage", 3: "invalid_value", 4: "not_found", 5: "conflict", 6: "unavailable", 8: "corrupt"}


def told(answer: Answer, status: int) -> dict[str, Any]:
    """The error object of a `--json` call that was refused as documented."""
    assert (status, "") == (answer.status, answer.out), answer
    assert "Traceback" not in answer.err
    error: dict[str, Any] = json.loads(answer.err.splitlines()[-1])["error"]
    assert error["message"]
    assert error["hint"]
    return error


def refused(
    status: int, given: Sequence[str], named: str, *, db: str, input: str | bytes = b"", code: str = ""
) -> dict[str, Any]:
    """Make the call for a program and for a person; both are refused alike, in words that name what was wrong."""
    error = told(call("--json", "--db", db, *given, given=input), status)
    assert (code or CODES[status]) == error["code"]
    assert named in error["message"], error["message"]

    human = call("--db", db, *given, given=input)
    assert (status, "") == (human.status, human.out), human
    first, *_, last = human.err.splitlines()
    assert first == f"error: {printable(error['message'])}"
    assert last == f"hint: {error['hint']}"
    return error

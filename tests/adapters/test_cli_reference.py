"""`docs/cli.md` names every command, every option and every code, each where a reader looks for it."""

from __future__ import annotations

import re

import click
import pytest

from sagalog_cli.main import COMMANDS, main
from sagalog_cli.render import EXIT_STATUS, exit_status
from tests.adapters.cli_calls import ROOT
from tests.adapters.cli_misbehaving import subclasses

TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \|", re.MULTILINE)


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    return command


def options_of(command: click.Command) -> set[str]:
    return {word for param in command.params if isinstance(param, click.Option) for word in param.opts}


def test_every_command_has_a_section_and_no_section_is_of_a_command_that_is_not() -> None:
    of_commands = {title for title in SECTIONS if title.islower()}

    assert set(COMMANDS) == of_commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_and_every_documented_one_exists(name: str) -> None:
    shared = SECTIONS["Options of every command"]
    common = set(re.findall(r"--[a-z-]+", shared))
    options = options_of(command_of(name))
    written = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", SECTIONS[name]))

    assert options - common <= written, sorted(options - common - written)
    # What another command takes may be mentioned: `note --settles` in the section of `quarantine`.
    everywhere = {word for other in COMMANDS for word in options_of(command_of(other))} | common
    assert written <= everywhere, sorted(written - everywhere)


def test_the_options_of_all_commands_are_documented() -> None:
    shared = SECTIONS["Options of every command"]

    missing = [word for word in {*options_of(main), "--actor", "--request", "-h"} if f"`{word}" not in shared]

    assert [] == missing


def test_the_table_of_statuses_holds_every_code_with_the_status_that_it_has() -> None:
    written = {
        code: int(status)
        for status, codes in ROW.findall(SECTIONS["Exit status"])
        for code in re.findall(r"`(\w+)`", codes)
    }
    raised = {kind.code: exit_status(kind("x")) for kind in subclasses() if kind.code != "error"}

    assert written == {**EXIT_STATUS, **raised}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    command = command_of(name)

    assert command.help
    assert [param.name for param in command.params if isinstance(param, click.Option) and not param.help] == []

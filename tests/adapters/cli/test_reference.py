"""`docs/cli.md` names every command, every option and every code, each where a reader looks for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sagalog_cli.command_line import COMMANDS, main
from sagalog_cli.lazy_group import LazyGroup
from sagalog_cli.render import EXIT_STATUS, exit_status
from tests.adapters.cli.bad_calls import command_of
from tests.adapters.cli.calls import ROOT, call, environment
from tests.adapters.cli.misbehaving import subclasses

TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \|", re.MULTILINE)


def names_below(name: str) -> list[str]:
    """A command, and where it is a group, those in it: `queue`, `queue push`, …"""
    command = command_of(name)
    below = list(command.places) if isinstance(command, LazyGroup) else []
    return [name, *(each for one in below for each in names_below(f"{name} {one}"))]


NAMES = [each for name in COMMANDS for each in names_below(name)]


def options_of(command: click.Command) -> set[str]:
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {word for option in options for word in (*option.opts, *option.secondary_opts)}


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    of_commands = {title for title in SECTIONS if title.islower()}

    assert set(NAMES) == of_commands


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_documented_and_every_documented_one_exists(name: str) -> None:
    shared = SECTIONS["Options of every command"]
    common = set(re.findall(r"--[a-z-]+", shared))
    options = options_of(command_of(name))
    written = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", SECTIONS[name]))

    assert options - common <= written, sorted(options - common - written)
    # What another command takes may be mentioned: `note --settles` in the section of `quarantine`.
    everywhere = {word for other in NAMES for word in options_of(command_of(other))} | common
    assert written <= everywhere, sorted(written - everywhere)


def test_the_options_of_all_commands_are_documented() -> None:
    shared = SECTIONS["Options of every command"]

    missing = [word for word in {*options_of(main), "--actor", "--idempotency-key", "-h"} if f"`{word}" not in shared]

    assert [] == missing


def test_the_table_of_statuses_holds_every_code_with_its_status() -> None:
    written = {
        code: int(status)
        for status, codes in ROW.findall(SECTIONS["Exit status"])
        for code in re.findall(r"`(\w+)`", codes)
    }
    raised = {kind.code: exit_status(kind("x")) for kind in subclasses() if kind.code != "error"}

    assert written == {**EXIT_STATUS, **raised}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    command = command_of(name)

    assert command.help
    assert [param.name for param in command.params if isinstance(param, click.Option) and not param.help] == []


def test_the_list_of_a_group_says_of_each_command_what_the_command_says() -> None:
    for name in NAMES:
        group, _, last = name.rpartition(" ")
        if group:
            commands = command_of(group)
            assert isinstance(commands, LazyGroup)
            assert commands.places[last].short_help
            assert last == command_of(name).name


def test_the_script_of_the_reference_pops_works_and_acknowledges(tmp_path: Path) -> None:
    [script] = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "script").write_text(script, encoding="utf-8")
    (tmp_path / "sagalog").write_text(f'#!/bin/sh\nexec {sys.executable} -m sagalog_cli "$@"\n')
    (tmp_path / "sagalog").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "script"], cwd=tmp_path, env=environment(PATH=path), capture_output=True, text=True, timeout=60
    )

    built = [line for line in done.stdout.splitlines() if line.startswith("building")]
    assert built == [f"building {number}, attempt 1" for number in (1, 2, 3)], done.stderr
    states = [task["state"] for task in call("list", "--db", str(tmp_path / "sagalog.db"), "--json").documents]
    assert states == ["completed"] * 3

"""Groups of commands that are imported one by one.

Rule: a command is imported when it is called, so none pays for another, and one that is missing or slow to import hurts
no other. Knows no command by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import click


class Place(NamedTuple):
    """Where a command is found, and what the list of commands says of it."""

    module: str
    name: str
    short_help: str


class LazyGroup(click.Group):
    """A group that knows where its commands are found; `places` is name -> place, in the order of the list."""

    def __init__(self, *arguments: Any, places: Mapping[str, Place], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.places = places

    def list_commands(self, _: click.Context) -> list[str]:
        """The names of the commands that are installed."""
        return [name for name in self.places if self._is_installed(name)]

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """The command, imported now; None if there is none."""
        if name not in self.places or not self._is_installed(name):
            return None
        place = self.places[name]
        command = getattr(import_module(place.module), place.name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, which knows no similar names of commands that were not imported."""
        if self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            from difflib import get_close_matches

            similar = get_close_matches(args[0], self.list_commands(context), n=1)
            advice = f"; did you mean {similar[0]!r}?" if similar else ""
            raise click.UsageError(f"No such command {args[0]!r}{advice}", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.places[name].short_help) for name in self.list_commands(context)])

    def _is_installed(self, name: str) -> bool:
        try:
            return find_spec(self.places[name].module) is not None
        except ModuleNotFoundError:
            # The package that the module is in.
            return False

"""Groups of commands that import each command when it is called.

Rule: no command pays for another, and one that is missing or slow to import affects no other. It must know no command
by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import click


class Place(NamedTuple):
    """The module and name of a command, and its text in the list of commands."""

    module: str
    name: str
    short_help: str


class LazyGroup(click.Group):
    """A group that knows the places of its commands; `places` is name -> place, in the order of the list."""

    def __init__(self, *arguments: Any, places: Mapping[str, Place], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.places = places

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of the commands that are installed."""
        return [name for name in self.places if self._is_installed(name)]

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """Import a command and return it; None if there is none."""
        if name not in self.places or not self._is_installed(name):
            return None
        place = self.places[name]
        command = getattr(import_module(place.module), place.name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command as click does, and suggest similar names: click suggests imported commands only."""
        if self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            from difflib import get_close_matches

            similar = get_close_matches(args[0], self.list_commands(context), n=1)
            advice = f"; did you mean {similar[0]!r}?" if similar else ""
            raise click.UsageError(f"No such command {args[0]!r}{advice}", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.places[name].short_help) for name in self.list_commands(context)])

    def _is_installed(self, name: str) -> bool:
        try:
            return find_spec(self.places[name].module) is not None
        except ModuleNotFoundError:
            # The package of the module is missing.
            return False

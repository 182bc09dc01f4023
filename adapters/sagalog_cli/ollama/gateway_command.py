"""A command that asks a gateway: where the gateway is, the token, and the form of the answer.

Rule: it has no store. Address and token come from where Ollama's own clients take them, and are judged before anything
is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import click

from sagalog import InvalidValue, Unavailable
from sagalog_cli.interrupts import Stopped
from sagalog_cli.session import NamingCommand, options

_PORT: Final = 11_435


def address(_: click.Context, param: click.Parameter, given: str) -> str:
    """Return the URL of a gateway; a host without a scheme and a port has those of a gateway."""
    refusal = click.BadParameter(f"expected an address like http://127.0.0.1:{_PORT}, found {given!r}", param=param)
    text = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise refusal from error
    is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    if not is_address or not text.isascii() or not text.isprintable() or " " in text or parts.query or parts.fragment:
        raise refusal
    if parts.username is not None:
        raise click.BadParameter("a name or a password has no place in it; --token gives a token", param=param)
    bare = text.rstrip("/")
    return f"{bare}:{_PORT}" if "://" not in given and port is None and not parts.path.strip("/") else bare


def _token(_: click.Context, param: click.Parameter, given: str | None) -> str | None:
    if given is not None and not (given.isascii() and given.isprintable() and given and " " not in given):
        # The text is a secret, also where it is none of ours.
        raise click.BadParameter("expected a token as `sagalog token create` prints it", param=param)
    return given


def text(_: click.Context, param: click.Parameter, given: str | None) -> str | None:
    """Return a text that can be sent: one of UTF-8."""
    try:
        (given or "").encode()
    except UnicodeEncodeError as error:
        name = param.opts[0]
        raise InvalidValue(f"{name}: expected UTF-8, found {given!r}", path=str(param.name)) from error
    return given


def model(context: click.Context, param: click.Parameter, given: str) -> str:
    """Return the name of a model, which the gateway knows or not."""
    text(context, param, given)
    if not given or not given.isprintable():
        raise InvalidValue(f"{param.opts[0]}: expected the name of a model, found {given!r}", path=str(param.name))
    return given


@contextmanager
def extra() -> Iterator[None]:
    """Import within the block what the extra `ollama` brings; where it is missing, the user is told so."""
    try:
        yield
    except ImportError as error:
        raise Unavailable(str(error), hint="install sagalog with its extra, then repeat the same command") from error


class GatewayCommand(NamingCommand):
    """A command that asks a gateway: it has no store, but an address, a token and `--json`."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += [
            click.Option(
                ["--url"],
                metavar="URL",
                envvar="OLLAMA_HOST",
                default=f"http://127.0.0.1:{_PORT}",
                show_default=True,
                show_envvar=True,
                callback=address,
                help="The gateway.",
            ),
            click.Option(
                ["--token"],
                metavar="TEXT",
                envvar="OLLAMA_API_KEY",
                show_envvar=True,
                callback=_token,
                help="A token of the gateway.",
            ),
            *(option for option in options() if "--json" in option.opts),
        ]

    def invoke(self, context: click.Context) -> Any:
        """Run it; what a signal ends goes on at the gateway."""
        try:
            return super().invoke(context)
        except Stopped as stopped:
            raise Stopped(stopped.number, "the gateway goes on with the jobs that it has taken up") from stopped

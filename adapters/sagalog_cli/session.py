"""The session of a command: which store it uses, in which form it answers, and the options that several commands share.

Rule: a command answers through the Session alone. So `--json` holds everywhere, standard output carries answers only,
and remarks go to standard error. `options` defines `--db` and `--json`; `actor_option` and `idempotency_key_option` are
at the end. It opens a store and must not know what a command does with it.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

import sagalog
from sagalog import Engine, InvalidValue, OverBound, SagalogError, Unavailable
from sagalog.system import SystemClock
from sagalog_cli import json_output
from sagalog_cli.refused_options import in_options
from sagalog_cli.tables import printable

if TYPE_CHECKING:
    from sagalog_cli.lifeline import Lifeline  # only `worker` imports it

DEFAULT_URL: Final = "sqlite:///sagalog.db"

T = TypeVar("T")

# A single letter before the colon is no scheme: it may be a drive, or a file called `a:b`.
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+:")


class OutputFailed(Exception):
    """The command is done, but its answer could not be written; `fields` are those of the error."""

    code = "output"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.fields = fields


class ReaderGone(OutputFailed):
    """The reader of the answer has gone, and the command has something to report; otherwise it is a BrokenPipeError."""

    code = "pipe_closed"


@dataclass
class Session:
    """One run of the command: the store's URL, whether answers are JSON, and whose process it is."""

    url: str = DEFAULT_URL
    as_json: bool = False
    # In one of several worker processes: its connection to their parent.
    lifeline: Lifeline | None = None

    def open(self, actor: str | None = None) -> Engine:
        """Open the engine on the store that the user named; never make the store, so that a typo makes no file.

        Raises:
            click.UsageError: the URL names no store, or one that would keep nothing.
            Unavailable, Corrupt: as `sagalog.open`, with advice for the command line.
        """
        try:
            return self._open(False, actor)
        except Unavailable as error:
            if not _may_be_absent(error):
                raise
            raise advised(error, "`sagalog init` makes a new store; --db or SAGALOG_DB names another") from error

    def open_or_make(
        self, actor: str | None = None, rehearsal: Callable[[Engine], object] | None = None
    ) -> tuple[Engine, bool]:
        """Open the engine as `open` does, but make an absent store; return it, and whether it was made.

        Before it makes the store, it runs the `rehearsal` on an empty store in memory: a refusal leaves no file behind.
        """
        try:
            return self._open(False, actor), False
        except Unavailable as error:
            if not _may_be_absent(error):
                raise
        if rehearsal is not None:
            with sagalog.open("memory:") as stage:
                rehearsal(stage)
        return self._open(True, actor), True

    def carry_out(self, actor: str | None, work: Callable[[Engine], T]) -> T:
        """Do the work on the store, which is made for it if it is absent."""
        with self.open_for(actor, work) as engine:
            return work(engine)

    def open_for(self, actor: str | None, work: Callable[[Engine], object]) -> Engine:
        """Open the engine on the store; leave a note if the store had to be made, because its name may be a typo."""
        engine, made = self.open_or_make(actor, work)
        if made:
            self.note("made", f"there was no store: made one at {self.url}")
        return engine

    def _open(self, create: bool, actor: str | None) -> Engine:
        if self.url.startswith("memory:"):
            raise click.UsageError(f"--db: {self.url} would end with this command and keep nothing; name a file")
        try:
            return sagalog.open(self.url, create=create, actor=actor)
        except ValueError as error:
            raise click.UsageError(f"--db: {error}") from error

    def answer(self, document: Callable[[], Any], show: Callable[[], None]) -> None:
        """Give the whole answer: `document` in JSON, or `show` it to a person."""
        self.answer_each(lambda: [document()], show)

    def answer_each(self, documents: Callable[[], Iterable[Any]], show: Callable[[], None]) -> None:
        """Give a listing: a line of JSON for each of `documents`, or `show` all to a person.

        Raises:
            OutputFailed: standard output refuses the answer. BrokenPipeError: its reader has gone.
        """
        if sys.stdout is None:
            raise OutputFailed("the answer could not be written: standard output is closed")
        try:
            if self.as_json:
                # JSON is UTF-8, whatever the terminal's encoding.
                sys.stdout.buffer.writelines(json_output.encode(document).encode() + b"\n" for document in documents())
            else:
                show()
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(f"the answer could not be written: {error}") from error

    def note(self, code: str, message: str, **fields: object) -> None:
        """Leave a remark on standard error; with `--json` it also has these fields."""
        remark = (
            json_output.encode(json_output.note(code, message, **fields))
            if self.as_json
            else f"note: {printable(message)}"
        )
        with suppress(OSError):
            click.echo(remark, err=True)


def _may_be_absent(error: Unavailable) -> bool:
    """Tell whether making the store could help: the error names a file that does not exist, or none."""
    path = error.fields.get("path")
    return not isinstance(path, str) or (not os.path.lexists(path) and os.path.isdir(os.path.dirname(path)))


def now_ms() -> int:
    """Return the time of this machine, to say how long ago something was."""
    return SystemClock().now_ms()


def advised(error: SagalogError, advice: str) -> SagalogError:
    """Make the same error with a hint for the user at the command line."""
    return type(error)(error.message, **{**error.fields, "hint": advice})


def as_url(text: str) -> str:
    """Return the URL of a store; a bare path is one of SQLite."""
    return text if _SCHEME.match(text) else f"sqlite:///{text}"


def _choose_store(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if not value:
        raise click.BadParameter("expected a URL or a path, found nothing")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(f"expected UTF-8, found {value!r}") from error
    context.ensure_object(Session).url = as_url(value)


def _choose_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).as_json = True


def options(of_group: bool = False) -> list[click.Parameter]:
    """Make `--db` and `--json`, before the command's name or after it; the later one wins."""
    return [
        click.Option(
            ["--db"],
            metavar="URL",
            # Only the group reads the environment; a command that read it would override the option before its name.
            envvar="SAGALOG_DB" if of_group else None,
            expose_value=False,
            callback=_choose_store,
            help=f"The store: a URL, or the path of an SQLite file.  [default: {DEFAULT_URL}]",
            show_envvar=of_group,
        ),
        click.Option(
            ["--json"], is_flag=True, expose_value=False, callback=_choose_json, help="Answer in lines of JSON."
        ),
    ]


class NamingCommand(click.Command):
    """A command whose refusals name it and its options."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse its words; an error of the parser names this command too, whose `--help` says how."""
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:
            error.ctx = error.ctx or context
            raise

    def invoke(self, context: click.Context) -> Any:
        """Run it; what the engine refuses of an argument names the option that gave it."""
        try:
            return super().invoke(context)
        except (InvalidValue, OverBound) as error:
            raise in_options(error, context) from error


class StoreCommand(NamingCommand):
    """A command that also takes the group's options after its own name."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += options()


pass_session = click.make_pass_decorator(Session, ensure=True)


def _user() -> str:
    """Return the user who runs the command, so that the record of a write by hand names its author."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


# The bound of a listing's limit: more tasks than any store holds, and far below the largest integer.
LIMIT: Final = click.IntRange(1, 1_000_000_000)

actor_option = click.option(
    "--actor",
    metavar="NAME",
    envvar="SAGALOG_ACTOR",
    default=_user,
    show_default="the user who runs the command",
    show_envvar=True,
    help="Who asks, for the record: a name, or user:, token: or schedule: and a name.",
)
idempotency_key_option = click.option(
    "--idempotency-key", metavar="NAME", help="Names this request: repeat it with the same key and it writes once."
)

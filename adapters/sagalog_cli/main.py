"""The command `sagalog`: which commands there are, and the one place where an error becomes a message and a status.

Rule: a command is imported when it is called (`lazy_group`). Whatever is raised ends here as one sentence on standard
error; a traceback is for defects, and asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import click

from sagalog import SagalogError
from sagalog_cli import render
from sagalog_cli.advice import ADVICE, advice_for
from sagalog_cli.lazy_group import LazyGroup
from sagalog_cli.lazy_group import Place as Place
from sagalog_cli.session import OutputFailed, Session, options

# In the order in which one meets them; the list of commands is shown without importing any.
COMMANDS: Final[dict[str, Place]] = {
    "init": Place("sagalog_cli.commands.operations", "init", "Make a new store."),
    "create": Place("sagalog_cli.commands.creation", "create", "Create a task, or many from JSON lines."),
    "list": Place("sagalog_cli.commands.queries", "list_tasks", "List tasks."),
    "show": Place("sagalog_cli.commands.queries", "show", "Show everything about a task."),
    "history": Place("sagalog_cli.commands.queries", "history", "Show a task's events as a timeline."),
    "artifact": Place("sagalog_cli.commands.blobs", "artifact", "Print the bytes that a task has made."),
    "input": Place("sagalog_cli.commands.blobs", "task_input", "Print bytes that a task was given."),
    "tail": Place("sagalog_cli.commands.tail", "tail", "Follow the events of all tasks as they come."),
    "stats": Place("sagalog_cli.commands.queries", "stats", "Count tasks and events, and look at the file."),
    "stale": Place(
        "sagalog_cli.commands.queries", "stale", "List leases that are over and undos that no worker comes for."
    ),
    "recover": Place("sagalog_cli.commands.operations", "recover", "Do all upkeep that is due."),
    "cancel": Place("sagalog_cli.commands.operations", "cancel", "Call a task off."),
    "quarantine": Place("sagalog_cli.commands.operations", "quarantine", "Take a task out of circulation."),
    "waive": Place("sagalog_cli.commands.operations", "waive", "Settle one owed compensation by word."),
    "retry": Place("sagalog_cli.commands.operations", "retry", "Let a successor take the place of an ended task."),
    "note": Place("sagalog_cli.commands.operations", "note", "Leave a remark on a task."),
    "signal": Place("sagalog_cli.commands.operations", "signal", "Tell a task something that it waits for."),
    "worker": Place("sagalog_cli.commands.worker", "worker", "Run the handlers of a module."),
    "queue": Place("sagalog_cli.queue.commands", "queue", "A queue for shells: push, pop, ack, work."),
    "command": Place("sagalog_cli.commands.classifier", "command", "Command lines as tasks: try a classifier."),
    "verify": Place("sagalog_cli.commands.audit", "verify", "Audit the log and every projection."),
    "rebuild": Place("sagalog_cli.commands.audit", "rebuild", "Fold every projection afresh."),
    "demo": Place("sagalog_cli.demo.command", "demo", "Watch tasks live, fail, and be undone."),
}


class Sagalog(LazyGroup):
    """The group of all commands."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command and end the process with its status; without `standalone_mode` give the status instead."""
        words = sys.argv[1:] if args is None else list(args)
        _spare_encodings()
        try:
            status = self._run(words, prog_name or "sagalog", complete_var, extra)
        except KeyboardInterrupt:
            # Once more, while the message of the first was on its way.
            status = render.EXIT_STATUS["interrupted"]
        _dismiss(sys.stdout, sys.stderr)
        if standalone_mode:
            sys.exit(status)
        return status

    def _run(self, words: list[str], prog_name: str, complete_var: str | None, extra: dict[str, Any]) -> int:
        # Read off the words, since what is wrong may come before `--json` is parsed.
        as_json = "--json" in words[: words.index("--")] if "--" in words else "--json" in words
        try:
            if os.environ.get("_SAGALOG_COMPLETE"):
                super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
            # Not `main` of click: it would end the process by itself where the reader of a pipe has gone.
            with self.make_context(prog_name, words, **extra) as context:
                self.invoke(context)
            if sys.stdout is not None:
                # Now, while a failure can still be told.
                sys.stdout.flush()
            return render.EXIT_STATUS["ok"]
        except click.exceptions.Exit as end:
            return end.exit_code
        except BrokenPipeError:
            return render.EXIT_STATUS["pipe_closed"]
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the last place that can tell anybody
            status, code, message, fields = _told(error)
            # Where no process reads standard error, the status still says it.
            with suppress(OSError):
                render.tell(code, message, fields, as_json)
                if code == "bug" and os.environ.get("SAGALOG_TRACEBACK"):
                    import traceback

                    traceback.print_exception(error)
            return status


def _told(error: BaseException) -> tuple[int, str, str, dict[str, object]]:
    """An error as (status, code, sentence, fields)."""
    if isinstance(error, SagalogError):
        return render.exit_status(error), error.code, error.message, {**error.fields, "hint": advice_for(error)}
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _own("interrupted", "interrupted; whatever was answered is kept")
    if isinstance(error, click.ClickException):
        return _own("usage", error.format_message(), _help(error))
    if isinstance(error, OutputFailed):
        return _own("output", str(error))
    if isinstance(error, OSError):
        return _own("unavailable", f"the system refused: {error}")
    return _own("bug", f"{type(error).__name__}: {error}")


def _own(code: str, message: str, advice: str | None = None) -> tuple[int, str, str, dict[str, object]]:
    hint = advice or ADVICE.get(code)
    return render.EXIT_STATUS[code], code, message, {} if hint is None else {"hint": hint}


def _help(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return None if context is None else f"{context.command_path} --help says how"


def _spare_encodings() -> None:
    """A terminal that cannot spell a character gets it escaped, and no answer fails over it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _dismiss(*streams: Any) -> None:
    """Let what a stream did not take go nowhere: the interpreter would try once more at its end, and complain."""
    for stream in streams:
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


@click.command(
    "sagalog",
    cls=Sagalog,
    places=COMMANDS,
    no_args_is_help=False,
    params=options(of_group=True),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="The exit status says what to do next: 0 done, 2 wrong usage, 3 and 4 change the request, 5 look again, "
    "6 wait and repeat, 7 repeat with the same identity, 8 call a human.",
)
@click.version_option(package_name="sagalog", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Look after a store of sagalog tasks: create them, watch them, settle what went wrong, audit the log.

    --db and --json may stand before or behind the command. --db takes a URL (sqlite:///relative.db, sqlite:////absolute.db)
    or the plain path of an SQLite file.
    """
    context.ensure_object(Session)

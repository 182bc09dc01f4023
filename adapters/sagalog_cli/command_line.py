"""The command `sagalog`: the list of all commands, and the one place that turns an error into a message and a status.

Rule: `COMMANDS` names the module of each command, and a command's options are decorators of its function there.
`session` defines `--db`, `--json`, `--actor` and `--idempotency-key`; `arguments` converts values. A command is
imported when it is called (`lazy_group`). Every error ends here as one sentence on standard error; a traceback is for
defects, and printed on request.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import RawIOBase
from typing import Any, Final

import click

from sagalog import SagalogError
from sagalog.versions import RUNNING
from sagalog_cli import interrupts, render
from sagalog_cli.advice import ADVICE, advice_for
from sagalog_cli.lazy_group import LazyGroup
from sagalog_cli.lazy_group import Place as Place
from sagalog_cli.session import OutputFailed, Session, options

# In the order in which a new user meets them; `--help` shows this list without importing any command.
COMMANDS: Final[dict[str, Place]] = {
    "init": Place("sagalog_cli.commands.operations", "init", "Make a new store."),
    "create": Place("sagalog_cli.commands.creation", "create", "Create a task, or many from JSON lines."),
    "list": Place("sagalog_cli.commands.queries", "list_tasks", "List tasks."),
    "show": Place("sagalog_cli.commands.queries", "show", "Show everything about a task."),
    "explain": Place("sagalog_cli.commands.explanation", "explain", "Say why a task does not run."),
    "history": Place("sagalog_cli.commands.queries", "history", "Show a task's events as a timeline."),
    "artifact": Place("sagalog_cli.commands.blobs", "artifact", "Print the bytes that a task has made."),
    "input": Place("sagalog_cli.commands.blobs", "task_input", "Print bytes that a task was given."),
    "tail": Place("sagalog_cli.commands.tail", "tail", "Follow the events of all tasks."),
    "stats": Place("sagalog_cli.commands.queries", "stats", "Count tasks and events, and look at the file."),
    "stale": Place(
        "sagalog_cli.commands.queries", "stale", "List leases that are over and undos that no worker claims."
    ),
    "recover": Place("sagalog_cli.commands.operations", "recover", "Do all maintenance that is due."),
    "cancel": Place("sagalog_cli.commands.operations", "cancel", "Cancel a task."),
    "quarantine": Place("sagalog_cli.commands.operations", "quarantine", "End a task for a human to look at."),
    "waive": Place("sagalog_cli.commands.operations", "waive", "Settle an owed compensation without undoing it."),
    "retry": Place("sagalog_cli.commands.operations", "retry", "Retry an ended task as a new one."),
    "amend": Place("sagalog_cli.commands.operations", "amend", "Change a live task."),
    "note": Place("sagalog_cli.commands.operations", "note", "Put a remark on record for a task."),
    "signal": Place("sagalog_cli.commands.operations", "signal", "Send a task a signal that it waits for."),
    "worker": Place("sagalog_cli.commands.workers", "worker", "Run handlers: worker run; list, drain, stop workers."),
    "schedule": Place(
        "sagalog_cli.commands.schedules", "schedule", "Create tasks at nominal times: set, ls, next, rm."
    ),
    "journal": Place("sagalog_cli.commands.journals", "journal", "Read journals: ls, show."),
    "breaker": Place("sagalog_cli.commands.breakers", "breaker", "Circuit breakers: ls, reset."),
    "queue": Place(
        "sagalog_cli.queue.commands", "queue", "A queue for shells: push, pop, work; limit or pause any queue."
    ),
    "limit": Place("sagalog_cli.commands.limits", "limit", "Limit what runs at a time or how often: set, ls, holders."),
    "kind": Place("sagalog_cli.commands.kinds", "kind", "Pause and resume a kind of tasks."),
    "token": Place("sagalog_cli.commands.tokens", "token", "Tokens of callers over a network: create, ls, revoke, rm."),
    "ollama": Place("sagalog_cli.ollama.commands", "ollama", "A queueing gateway in front of Ollama."),
    "command": Place("sagalog_cli.commands.classifier", "command", "Try a classifier on a command's output."),
    "verify": Place("sagalog_cli.commands.audit", "verify", "Audit the log and every projection."),
    "prune": Place("sagalog_cli.commands.audit", "prune", "Delete bytes that nothing needs any more."),
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
        """Run one command and end the process with its status; without `standalone_mode` return the status instead."""
        words = sys.argv[1:] if args is None else list(args)
        with interrupts.heeding(signal.SIGINT, until_the_end=standalone_mode), _buffered_output():
            _escape_unencodable()
            try:
                status = self._run(words, prog_name or "sagalog", complete_var, extra)
                _discard_unwritten(sys.stdout, sys.stderr)
            except interrupts.Stopped as stopped:
                # The signal came after the command, before its last output was written.
                status = render.EXIT_STATUS[stopped.code]
        if standalone_mode:
            sys.exit(status)
        return status

    def _run(self, words: list[str], prog_name: str, complete_var: str | None, extra: dict[str, Any]) -> int:
        # Look at the words themselves: an error may come before click parses `--json`.
        as_json = "--json" in words[: words.index("--")] if "--" in words else "--json" in words
        try:
            if os.environ.get("_SAGALOG_COMPLETE"):
                super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
            # Not `main` of click: it would end the process by itself if the reader of a pipe has gone.
            with self.make_context(prog_name, words, **extra) as context:
                self.invoke(context)
            if sys.stdout is not None:
                # Flush now, while this method can still report a failure.
                sys.stdout.flush()
            return render.EXIT_STATUS["ok"]
        except click.exceptions.Exit as end:
            return end.exit_code
        except BrokenPipeError:
            return render.EXIT_STATUS["pipe_closed"]
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the last place that can report it
            if isinstance(error, KeyboardInterrupt):
                # Otherwise the flush would hang on a full pipe once more.
                _drop(sys.stdout)
            status, code, message, fields = _report_of(error)
            # If no process reads standard error, the status still reports the error.
            with suppress(OSError):
                render.tell(code, message, fields, as_json)
                if code == "bug" and os.environ.get("SAGALOG_TRACEBACK"):
                    import traceback

                    traceback.print_exception(error)
            return status


def _report_of(error: BaseException) -> tuple[int, str, str, dict[str, object]]:
    """Return the (status, code, sentence, fields) of an error."""
    if isinstance(error, SagalogError):
        return render.exit_status(error), error.code, error.message, {**error.fields, "hint": advice_for(error)}
    if isinstance(error, KeyboardInterrupt | click.Abort):
        stopped = error if isinstance(error, interrupts.Stopped) else interrupts.Stopped(signal.SIGINT)
        return _own_report(stopped.code, stopped.message, stopped.fields)
    if isinstance(error, click.ClickException):
        # A word that is no number at all is out of no range.
        return _own_report(
            "usage", error.format_message().replace("valid integer range", "valid integer"), _help(error)
        )
    if isinstance(error, OutputFailed):
        return _own_report(error.code, str(error), error.fields)
    if isinstance(error, OSError):
        return _own_report("unavailable", f"the system refused: {error}")
    return _own_report("bug", f"{type(error).__name__}: {error}")


def _own_report(
    code: str, message: str, fields: dict[str, object] | None = None
) -> tuple[int, str, str, dict[str, object]]:
    advice = {"hint": ADVICE[code]} if code in ADVICE else {}
    return render.EXIT_STATUS[code], code, message, {**advice, **(fields or {})}


def _help(error: click.ClickException) -> dict[str, object]:
    context = getattr(error, "ctx", None)
    return {} if context is None else {"hint": f"{context.command_path} --help says how"}


@contextmanager
def _buffered_output() -> Iterator[None]:
    """Have standard output keep what one write leaves over: with PYTHONUNBUFFERED set, Python would forget it."""
    given = sys.stdout
    if isinstance(getattr(given, "buffer", None), RawIOBase):
        # Another stream on the same descriptor, which stays open behind it.
        sys.stdout = open(given.fileno(), "w", encoding=given.encoding, errors=given.errors, closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout = given


def _escape_unencodable() -> None:
    """Have a terminal get escapes for characters that its encoding lacks, so that no answer fails over one."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _discard_unwritten(*streams: Any) -> None:
    """Discard what a stream has not taken: otherwise the interpreter would try again at its end, and print an error."""
    for stream in streams:
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _drop(stream)


def _drop(stream: Any) -> None:
    """Discard what a stream has not written yet, and all later output."""
    with suppress(OSError, ValueError, AttributeError):
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
@click.version_option(RUNNING, message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Create, watch and settle the tasks of a sagalog store, and audit its log.

    --db and --json go before or after the command. --db takes a URL (sqlite:///relative.db, sqlite:////absolute.db) or
    the path of an SQLite file.
    """
    context.ensure_object(Session)

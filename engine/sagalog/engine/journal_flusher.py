"""The flusher: one thread of an engine that writes what handlers have put into journals, all of them in one commit.

Rule: the first entry of a lease is written at once, others together every 20 ms or 64 KiB [JOURNAL-4]. The thread
begins with the first entry and ends when there have been none for a while. Knows no handler.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final, Protocol

from sagalog.engine.entries import JournalWrite
from sagalog.engine.executor import Executor
from sagalog.engine.journal_values import JournalCursor
from sagalog.errors import Closed, SagalogError, Unavailable, Unknown
from sagalog.forks import reset_in_children
from sagalog.kernel.bounds import JOURNAL_FLUSH_MS

_log: Final = logging.getLogger("sagalog.journals")

_FLUSH_S: Final = JOURNAL_FLUSH_MS / 1_000
_IDLE_S: Final = 2.0
_JOIN_S: Final = 2.0
# The pauses before a flush is repeated that the store could not take; the last one applies for ever.
_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


class Writer(Protocol):
    """A journal with entries that are to be written."""

    def _next_write(self) -> JournalWrite | None:
        """Return the next append, the same again until it is answered; None: there is nothing to write."""
        ...

    def _answered(self, answer: JournalCursor | SagalogError) -> bool:
        """Note the answer to the append; return whether there is more to write at once."""
        ...


class JournalFlusher:
    """The thread, and the journals that have something to write."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._guard = threading.Condition()
        self._dirty: dict[Writer, None] = {}
        self._is_urgent = False
        self._is_over = False
        self._thread: threading.Thread | None = None
        reset_in_children(self)

    def begin_anew(self) -> None:
        """Begin anew in a forked child, which has no thread and whose entries are its parent's. [FORK-2]"""
        self._guard = threading.Condition()
        self._dirty = {}
        self._is_urgent = False
        self._thread = None

    def note(self, writer: Writer, *, at_once: bool = False) -> None:
        """Have the entries of a journal written: at once, or together with those of the next 20 ms."""
        with self._guard:
            if self._is_over:
                raise Closed("this engine was closed; open it again")
            is_first = not self._dirty
            self._dirty[writer] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sagalog-journals", daemon=True)
                self._thread.start()
            if at_once:
                self._is_urgent = True
            if is_first or at_once:
                self._guard.notify()

    def close(self) -> None:
        """Write what is there once more, and end the thread."""
        with self._guard:
            self._is_over = True
            self._guard.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    # --- inside -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (writers := self._next()) is not None:
            tries = 0
            while writers:
                writers, was_taken = self._flush(writers)
                if not was_taken:
                    if self._is_over:
                        return
                    with self._guard:
                        self._guard.wait(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
                    tries += 1

    def _next(self) -> list[Writer] | None:
        """Wait until something is to be written; None: the thread ends."""
        with self._guard:
            if not self._dirty and not self._is_over:
                self._guard.wait(_IDLE_S)
            if not self._dirty:
                self._thread = None
                return None
            if not self._is_urgent and not self._is_over:
                self._guard.wait_for(lambda: self._is_urgent or self._is_over, _FLUSH_S)
            self._is_urgent = False
            writers, self._dirty = list(self._dirty), {}
            return writers

    def _flush(self, writers: Sequence[Writer]) -> tuple[list[Writer], bool]:
        """Write once; return which journals have more to write at once, and whether the store has taken this."""
        writes = [(writer, write) for writer in writers if (write := writer._next_write()) is not None]
        if not writes:
            return [], True
        try:
            answers = self._executor.write_journals([write for _, write in writes])
        except (Unavailable, Unknown) as error:
            if isinstance(error, Closed):
                return self._refuse(writes, error)
            return [writer for writer, _ in writes], False
        except SagalogError as error:
            return self._refuse(writes, error)
        except Exception as error:  # noqa: BLE001  the thread serves all journals, and goes on for the others
            _log.exception("a flush of journals has failed")
            return self._refuse(writes, SagalogError(f"a flush has failed: {error}"))
        found = zip(writes, answers, strict=True)
        return [writer for (writer, _), answer in found if writer._answered(answer)], True

    def _refuse(self, writes: Sequence[tuple[Writer, JournalWrite]], error: SagalogError) -> tuple[list[Writer], bool]:
        for writer, _ in writes:
            writer._answered(error)
        return [], True

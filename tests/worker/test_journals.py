"""The journals that handlers write: what readers get, when it is on record, and what becomes of a lost lease."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
import sagalog.aio
from sagalog import Engine, JournalEntry, Retry, Worker
from sagalog.engine.entries import JournalWrite
from sagalog.engine.journal_values import JournalCursor
from sagalog.engine.local_executor import LocalExecutor
from sagalog.errors import Closed, SagalogError, Unknown
from sagalog.kernel.bounds import JOURNAL_FLUSH_BYTES, JOURNAL_UNFLUSHED_BYTES_MAX
from sagalog.worker import AsyncWorkContext, WorkContext
from sagalog.worker.stop_token import StopToken

AT_ONCE = Retry(delay_min_ms=0, delay_max_ms=0)
PATIENCE_S = 20.0


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/a.db"
    with sagalog.open(url) as engine:
        yield engine
        assert engine.verify().faults == ()


def run(engine: Engine, handler: Callable[..., Any], payload: Any = None, **arguments: Any) -> sagalog.Task:
    """Have a worker do one task with this handler, to its end."""
    worker = Worker()
    worker.task("write", waive_compensation="it only writes")(handler)
    task = engine.create("write", payload, **arguments)
    worker.run(engine, until="idle")
    found = engine.get(task.id)
    assert found is not None
    return found


def read(engine: Engine, task: sagalog.Task, name: str = "tokens") -> list[tuple[str, bytes]]:
    return [(str(one.cursor), one.data) for one in engine.journal(name, task=task.id).read(limit=10_000)]


def appends(engine: Engine, task: sagalog.Task, name: str = "tokens") -> list[int]:
    """How many entries each append has."""
    history = engine.history(task.id, journal=name)
    return [one.event.entries for one in history if isinstance(one.event, sagalog.kernel.events.JournalAppended)]


def test_all_entries_are_on_record_when_the_task_has_ended(engine: Engine) -> None:
    """[JOURNAL-4]"""

    def write(context: WorkContext, payload: Any) -> None:
        for number in range(100):
            context.journal("tokens").append(b"%d" % number)

    task = run(engine, write)

    assert read(engine, task) == [(f"1-{number + 1}", b"%d" % number) for number in range(100)]
    assert engine.journal("tokens", task=task.id).status().closed
    assert len(appends(engine, task)) <= 3


def test_all_entries_of_a_coroutine_are_on_record_when_it_has_ended(engine: Engine) -> None:
    """[JOURNAL-4]"""

    async def write(context: AsyncWorkContext, payload: Any) -> None:
        journal = await context.journal("tokens")
        for number in range(100):
            await journal.append(b"%d" % number)
        await journal.flush()
        await journal.append(b"last")

    task = run(engine, write)

    assert [data for _, data in read(engine, task)] == [*(b"%d" % number for number in range(100)), b"last"]


def test_entries_of_a_handler_that_fails_are_on_record_too(engine: Engine) -> None:
    """[JOURNAL-4]"""

    def write(context: WorkContext, payload: Any) -> None:
        context.journal("tokens").append(b"a")
        context.journal("tokens").append(b"b")
        if context.attempt == 1:
            raise ValueError("it broke")

    task = run(engine, write, retry=AT_ONCE)

    assert str(task.state) == "completed"
    assert read(engine, task) == [("1-1", b"a"), ("1-2", b"b"), ("2-3", b"a"), ("2-4", b"b")]
    assert [str(one.cursor) for one in engine.journal("tokens", task=task.id).follow()] == ["2-3", "2-4"]


def test_a_flush_holds_so_many_bytes_unless_one_entry_is_larger(engine: Engine) -> None:
    """[JOURNAL-4]"""
    half = JOURNAL_FLUSH_BYTES // 2

    def write(context: WorkContext, payload: Any) -> None:
        journal = context.journal("tokens")
        journal.append(b"first")
        journal.flush()
        for size in (half, half, half, 3 * half, half):
            journal.append(b"a" * size)

    task = run(engine, write)

    sizes = [len(data) for _, data in read(engine, task)]
    assert sizes == [5, half, half, half, 3 * half, half]
    places = iter(sizes)
    flushes = [[next(places) for _ in range(count)] for count in appends(engine, task)]
    assert all(len(flush) == 1 or sum(flush) <= JOURNAL_FLUSH_BYTES for flush in flushes)


def test_readers_of_the_process_have_entries_before_they_are_written(engine: Engine, monkeypatch: Any) -> None:
    """[JOURNAL-5]"""
    may_write, has_read = threading.Event(), threading.Event()
    write_journals = LocalExecutor.write_journals

    def waiting(self: LocalExecutor, writes: list[JournalWrite]) -> Any:
        assert may_write.wait(PATIENCE_S)
        return write_journals(self, writes)

    monkeypatch.setattr(LocalExecutor, "write_journals", waiting)
    found: list[JournalEntry] = []

    def write(context: WorkContext, payload: Any) -> None:
        journal = context.journal("tokens")
        reader = engine.journal("tokens", task=context.task.id).follow()
        assert str(journal.append(b"a")) == "1-1"
        journal.append(b"b")
        found.extend(reader.take(1_000))
        assert engine.journal("tokens", task=context.task.id).read() == []
        has_read.set()
        may_write.set()

    task = run(engine, write)

    assert has_read.is_set()
    assert [str(one.cursor) for one in found] == ["1-1", "1-2"]
    assert read(engine, task) == [("1-1", b"a"), ("1-2", b"b")]


def test_a_handler_waits_while_a_mebibyte_is_not_on_record(engine: Engine, monkeypatch: Any) -> None:
    """[JOURNAL-4]"""
    may_write = threading.Event()
    write_journals = LocalExecutor.write_journals

    def waiting(self: LocalExecutor, writes: list[JournalWrite]) -> Any:
        assert may_write.wait(PATIENCE_S)
        return write_journals(self, writes)

    monkeypatch.setattr(LocalExecutor, "write_journals", waiting)

    def write(context: WorkContext, payload: Any) -> None:
        journal = context.journal("tokens")
        journal.append(b"a" * JOURNAL_UNFLUSHED_BYTES_MAX)
        assert journal._append_now(b"b") is None
        threading.Timer(0.01, may_write.set).start()
        journal.append(b"b")
        assert may_write.is_set()

    task = run(engine, write)

    assert str(task.state) == "completed", task.error
    assert [len(one.data) for one in engine.journal("tokens", task=task.id).follow()] == [
        JOURNAL_UNFLUSHED_BYTES_MAX,
        1,
    ]


def test_a_flush_of_unknown_outcome_is_repeated_and_written_once(engine: Engine, monkeypatch: Any) -> None:
    """[JOURNAL-2] [REPEAT-1]"""
    write_journals = LocalExecutor.write_journals
    calls = iter(range(1_000))

    def doubtful(self: LocalExecutor, writes: list[JournalWrite]) -> list[JournalCursor | SagalogError]:
        answers = write_journals(self, writes)
        if next(calls) < 2:
            raise Unknown("it may have been written")
        return answers

    monkeypatch.setattr(LocalExecutor, "write_journals", doubtful)

    def write(context: WorkContext, payload: Any) -> None:
        journal = context.journal("tokens")
        for number in range(10):
            journal.append(b"%d" % number)

    task = run(engine, write)

    assert [data for _, data in read(engine, task)] == [b"%d" % number for number in range(10)]


def test_a_lost_lease_interrupts_the_handler_and_refuses_its_entries(engine: Engine) -> None:
    """[JOURNAL-2] [FENCE-2]"""
    seen: list[str] = []

    def write(context: WorkContext, payload: Any) -> None:
        journal = context.journal("tokens")
        if context.fence > 1:
            journal.append(b"A")
            return
        journal.append(b"a")
        journal.flush()
        engine.cancel(context.task.id, "no more", now=True)
        journal.append(b"late")
        try:
            journal.flush()
        except sagalog.Interrupted as interrupted:
            seen.append(str(interrupted))
            raise

    task = run(engine, write)

    assert str(task.state) == "cancelled"
    assert seen == ["lost"]
    assert read(engine, task) == [("1-1", b"a")]
    # What was lost is no more in memory either.
    assert [one.data for one in engine.journal("tokens", task=task.id).follow()] == [b"a"]


def test_a_name_or_an_entry_that_is_none_is_refused(engine: Engine) -> None:
    def write(context: WorkContext, payload: Any) -> None:
        for wrong in ("", None, "a" * 201):
            with pytest.raises(sagalog.InvalidValue):
                context.journal(wrong)  # type: ignore[arg-type]
        journal = context.journal("tokens")
        assert context.journal("tokens") is journal
        for wrong_data in ("a", None, 1, [b"a"]):
            with pytest.raises(sagalog.InvalidValue):
                journal.append(wrong_data)  # type: ignore[arg-type]
        with pytest.raises(sagalog.OverBound):
            journal.append(b"a" * 16_777_216)

    assert str(run(engine, write).state) == "completed"


def test_a_hundred_coroutines_follow_one_journal(tmp_path: Path) -> None:
    """[JOURNAL-5]"""
    entries, readers = 200, 100

    def write(context: WorkContext, payload: Any) -> None:
        journal = context.journal("tokens")
        for number in range(entries):
            journal.append(b"%d" % number)
            if number % 20 == 0:
                time.sleep(0.001)

    async def follow(engine: sagalog.aio.AsyncEngine, task: str) -> list[int]:
        return [int(entry.data) async for entry in engine.journal("tokens", task=task).follow()]

    async def main() -> None:
        async with sagalog.aio.open(f"sqlite:///{tmp_path}/a.db") as engine:
            task = await engine.create("write")
            following = [asyncio.create_task(follow(engine, task.id)) for _ in range(readers)]
            await asyncio.sleep(0)
            worker = sagalog.aio.Worker()
            worker.task("write", waive_compensation="it only writes")(write)
            await worker.run(engine, until="idle")
            async with asyncio.timeout(PATIENCE_S):
                assert await asyncio.gather(*following) == [list(range(entries))] * readers

    asyncio.run(main())


def test_a_coroutine_that_follows_and_is_cancelled_has_been_given_nothing(tmp_path: Path) -> None:
    """[JOURNAL-5]"""

    async def main() -> None:
        async with sagalog.aio.open(f"sqlite:///{tmp_path}/a.db") as engine:
            journal = engine.journal("build")
            reader = journal.follow()
            waiting = asyncio.ensure_future(anext(reader))
            await asyncio.sleep(0.02)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await journal.append([b"a", b"b"])
            assert (await anext(reader)).data == b"a"
            assert str(reader.position) == "0-1"
            assert [one.data for one in await reader.take(1_000)] == [b"b"]
            assert await reader.take(0) == []
            await journal.close()
            assert await reader.take(10_000) == []
            assert reader.is_over
            with pytest.raises(StopAsyncIteration):
                await anext(reader)

    asyncio.run(main())


def test_a_reader_that_is_behind_reads_from_the_store(engine: Engine) -> None:
    """[JOURNAL-5] Memory holds some entries only."""
    large = b"a" * 50_000
    written, taken = threading.Event(), threading.Event()
    found: list[int] = []

    def write(context: WorkContext, payload: Any) -> None:
        journal = context.journal("tokens")
        reader = engine.journal("tokens", task=context.task.id).follow()
        journal.append(b"first")
        assert [one.number for one in reader.take(1_000)] == [1]
        for _ in range(20):
            journal.append(large)
        journal.flush()
        assert journal._tail.begins.number > 2
        while len(found) < 20:
            found.extend(one.number for one in reader.take(1_000, 3))

    task = run(engine, write)

    assert str(task.state) == "completed", (task.error, written, taken)
    assert found == list(range(2, 22))


def test_a_late_handler_takes_nothing_from_the_next_one_of_its_process(engine: Engine) -> None:
    """[JOURNAL-2] [JOURNAL-5]"""
    engine.create("write", id="t")
    reader = engine.journal("tokens", task="t").follow()
    first = engine.acquire("t", owner="ann", ttl_ms=None)
    early = WorkContext(engine, first, StopToken()).journal("tokens")
    early.append(b"a")
    early.flush()
    assert [str(one.cursor) for one in reader.take(1_000)] == ["1-1"]
    first.release()
    second = engine.acquire("t", owner="bob", ttl_ms=None)
    late = WorkContext(engine, second, StopToken()).journal("tokens")
    late.append(b"A")
    # The first one does not know yet that its lease has ended.
    early.append(b"b")
    with pytest.raises(sagalog.Interrupted):
        early.flush()
    early._end()
    assert late._tail.is_fed
    late.append(b"B")

    found: list[str] = []
    while len(found) < 2:
        found += [str(one.cursor) for one in reader.take(1_000)]
    late.flush()
    late._end()

    assert found == ["2-2", "2-3"]
    assert [(str(one.cursor), one.data) for one in engine.journal("tokens", task="t").read()] == [
        ("1-1", b"a"),
        ("2-2", b"A"),
        ("2-3", b"B"),
    ]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_forked_child_of_a_handler_writes_nothing_of_its_parents(engine: Engine) -> None:
    """[FORK-2]"""
    refused: list[int] = []

    def write(context: WorkContext, _: Any) -> None:
        journal = context.journal("tokens")
        for number in range(3):
            journal.append(b"%d" % number)
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    journal.flush()
                except Closed:
                    status = 7
                finally:
                    os._exit(status)
            refused.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    task = run(engine, write)

    assert ("completed", [7, 7, 7]) == (task.state, refused)
    assert [b"0", b"1", b"2"] == [data for _, data in read(engine, task)]


def test_a_store_with_journals_alone_asks_nothing_of_limits(tmp_path: Path) -> None:
    """[JOURNAL-1] A journal is no setting, so plain calls stay plain."""
    with sagalog.open(f"sqlite:///{tmp_path}/a.db") as engine:
        engine.journal("build").append([b"a"])
        engine.create("write")
        store = engine._executor.store  # type: ignore[attr-defined]
        assert store._fold_cache.estimates.has_settings is False

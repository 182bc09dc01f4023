"""A journal whose writer is killed, and one that another process follows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sagalog
from sagalog.worker import WorkContext

ROOT = Path(__file__).parents[2]
TTL_MS = 300
PATIENCE_MS = 20_000

WRITER = """
import sys, time
import sagalog

url, entries, pause_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
worker = sagalog.Worker(ttl_ms={ttl_ms})


@worker.task("write", waive_compensation="it only writes")
def write(context, payload):
    journal = context.journal("tokens")
    for number in range(entries):
        journal.append(b"%d %d" % (context.fence, number))
        time.sleep(pause_s)


with sagalog.open(url) as engine:
    worker.run(engine, until="idle")
"""


def writer(url: str, entries: int, pause_s: float) -> subprocess.Popen[bytes]:
    """A process with a worker, which ends once it has nothing to do."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(word for word in sys.path if word)}
    code = WRITER.format(ttl_ms=TTL_MS)
    return subprocess.Popen([sys.executable, "-c", code, url, str(entries), str(pause_s)], cwd=ROOT, env=environment)


def test_readers_of_another_process_get_every_entry_in_order(tmp_path: Path) -> None:
    """[JOURNAL-5]"""
    url = f"sqlite:///{tmp_path}/a.db"
    with sagalog.open(url) as engine:
        task = engine.create("write")
        process = writer(url, 100, 0.002)
        try:
            found = [one.data for one in engine.journal("tokens", task=task.id).follow()]
        finally:
            process.kill()
            process.wait()
        assert found == [b"1 %d" % number for number in range(100)]
        assert engine.verify().faults == ()


@pytest.mark.parametrize("seen", [1, 20])
def test_readers_go_on_with_the_next_attempt_of_a_killed_writer(tmp_path: Path, seen: int) -> None:
    """It is killed between two flushes, and what was not on record is lost. [JOURNAL-2] [JOURNAL-5]"""
    url = f"sqlite:///{tmp_path}/a.db"
    with sagalog.open(url) as engine:
        task = engine.create("write")
        journal = engine.journal("tokens", task=task.id)
        reader = journal.follow()
        process = writer(url, 10_000, 0.002)
        early: list[sagalog.JournalEntry] = []
        while len(early) < seen:
            early += reader.take(PATIENCE_MS)
        process.send_signal(signal.SIGKILL)
        process.wait()
        on_record = journal.status().entries
        time.sleep(TTL_MS / 1_000)
        worker = sagalog.Worker()

        @worker.task("write", waive_compensation="it only writes")
        def write(context: WorkContext, payload: None) -> None:
            for number in range(5):
                context.journal("tokens").append(b"%d %d" % (context.fence, number))

        worker.run(engine, until="idle")
        late = list(reader)

        assert [one.data for one in early] == [b"1 %d" % number for number in range(len(early))]
        newest = [one for one in late if one.fence == 2]
        assert [one.data for one in newest] == [b"2 %d" % number for number in range(5)]
        assert [one.number for one in newest] == list(range(on_record + 1, on_record + 6))
        whole = journal.read(limit=10_000)
        assert [one.number for one in whole] == list(range(1, on_record + 6))
        # A cursor of the killed attempt, also one beyond what it has on record.
        assert [str(one.cursor) for one in journal.follow(f"1-{on_record + 50}")] == [str(one.cursor) for one in newest]
        assert engine.verify().faults == ()

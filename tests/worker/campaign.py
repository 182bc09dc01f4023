"""A campaign: worker processes under SIGKILL and SIGSTOP beyond their leases, on sagas with undos and failures.

    python -m tests.worker.campaign --seconds 600 --folder /tmp/campaign --seed 1

Rule: believes no process. When all is quiet, the log is judged by the checker of histories, by SQL over its rows, by
`verify`, and by the world outside in which the sagas had their effects. Ends every process that it has started.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import apsw

import sagalog
from sagalog import Compensation, Permanent, Retry, Transient
from sagalog.testing.history import check, explain
from tests.worker.world import World

TTL_MS = 1_000
WORKERS = 3
BACKLOG = 300
RETRY = Retry(delay_min_ms=5, delay_max_ms=200, expiries_max=4)
ENDS = ("return",) * 6 + ("permanent", "permanent", "error", "transient", "child", "sleep")
DRAIN_S = 90.0


# --- a worker ---------------------------------------------------------------------------------------------------------


def work(url: str, folder: str, name: str) -> None:
    """Run sagas until the campaign kills this process."""
    world, entropy = World(Path(folder)), random.Random(name)
    worker = sagalog.Worker(
        name=name, concurrency=6, claim_ahead=2, ttl_ms=TTL_MS, grace_ms=5_000, quarantine_unknown=False
    )

    def effect(context: Any, step: str) -> str:
        time.sleep(entropy.random() / 200)
        world.make(context.task.id, context.fence, step)
        return step

    @worker.task("plain")
    def plain(context: Any, payload: dict[str, Any]) -> Any:
        for step in payload["steps"]:
            context.step(step, effect, context, step, compensation=Compensation("undo", step, id=step))
            end_at(context, payload, step)
        if payload["end"] == "child":
            context.spawn("kid", "kid")
            return [str(task.state) for task in context.wait_tasks()]
        return payload["steps"]

    @worker.task("coroutine")
    async def coroutine(context: Any, payload: dict[str, Any]) -> Any:
        for step in payload["steps"]:
            undo = Compensation("undo later", step, id=step)
            await context.step(step, asyncio.to_thread, effect, context, step, compensation=undo)
            if payload["end"] == "sleep" and step == payload["at"]:
                await context.sleep("nap", 20)
            else:
                end_at(context, payload, step)
        return payload["steps"]

    @worker.task("kid")
    def kid(_context: Any, _payload: Any) -> str:
        return "grown"

    def undo(context: Any, step: str) -> None:
        if entropy.random() < 0.05:
            raise ConnectionError("another time")
        world.take_back(context.task.id, context.fence, step)

    worker.compensation("undo")(undo)

    @worker.compensation("undo later")
    async def undo_later(context: Any, step: str) -> None:
        await asyncio.to_thread(undo, context, step)

    with sagalog.open(url, durability="normal") as engine:
        worker.run(engine)


def end_at(context: Any, payload: dict[str, Any], step: str) -> None:
    """Fail, where the payload says so."""
    if step != payload["at"]:
        return
    match payload["end"]:
        case "permanent":
            raise Permanent("as it was told")
        case "error" if context.attempt == 1:
            raise ValueError("the first time")
        case "transient" if context.task.leases <= 2:
            raise Transient("busy")
        case "sleep" if hasattr(context, "sleep") and not asyncio.iscoroutinefunction(context.sleep):
            context.sleep("nap", 20)


# --- the campaign -----------------------------------------------------------------------------------------------------


class Campaign:
    """The workers, and what is done to them."""

    def __init__(self, folder: Path, seed: int, backlog: int) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/store.db"
        self.entropy = random.Random(seed)
        self.backlog = backlog
        self.done: Counter[str] = Counter()
        self._started = 0
        self._workers: list[subprocess.Popen[bytes]] = []
        self._asleep: dict[int, threading.Timer] = {}

    def start(self) -> None:
        """One more worker."""
        self._started += 1
        words = [sys.executable, "-m", "tests.worker.campaign", "--worker", f"w{self._started}"]
        words += ["--folder", str(self.folder)]
        with (self.folder / "said").open("a") as said:
            self._workers.append(subprocess.Popen(words, cwd=Path(__file__).parents[2], stderr=said))

    def disturb(self) -> None:
        """Kill a worker, or stop it for longer than its leases last."""
        for process in self._workers:
            assert process.poll() is None, f"a worker has ended by itself, with {process.returncode}"
        process = self.entropy.choice(self._workers)
        draw = self.entropy.random()
        if draw < 0.12:
            self._kill(process)
            self.start()
            self.done["killed"] += 1
        elif draw < 0.2 and process.pid not in self._asleep:
            self._asleep[process.pid] = self._sleep(process, TTL_MS / 1_000 * self.entropy.uniform(1.1, 2.5))
            self.done["stopped"] += 1

    def end(self) -> None:
        """Kill the workers that live."""
        for process in list(self._workers):
            self._kill(process)

    def _sleep(self, process: subprocess.Popen[bytes], seconds: float) -> threading.Timer:
        """Stop it, and wake it from another thread: one that sleeps in its turn to write keeps this one waiting."""

        def wake() -> None:
            self._asleep.pop(process.pid, None)
            process.send_signal(signal.SIGCONT)

        timer = threading.Timer(seconds, wake)
        process.send_signal(signal.SIGSTOP)
        timer.start()
        return timer

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        timer = self._asleep.pop(process.pid, None)
        if timer is not None:
            timer.cancel()
        if process.poll() is None:
            process.kill()
        process.wait()
        self._workers.remove(process)

    def wake(self) -> None:
        """Return when every worker is awake."""
        for timer in list(self._asleep.values()):
            timer.join()

    def feed(self, engine: sagalog.Engine) -> None:
        """Have enough to do, and call some of it off."""
        states = engine.counts().get("default", {})
        live = sum(states.get(state, 0) for state in ("pending", "running", "compensating"))
        if live < self.backlog:
            engine.create_many(self._saga() for _ in range(self.backlog // 3))
        if self.entropy.random() < 0.3:
            for task in engine.find(state="running", limit=2):
                self.done["cancelled"] += 1
                try:
                    engine.cancel(task.id, "not needed", now=self.entropy.random() < 0.5)
                except sagalog.TerminalTask:
                    self.done["cancelled"] -= 1

    def _saga(self) -> dict[str, Any]:
        steps = [f"s{number}" for number in range(self.entropy.randint(1, 4))]
        payload = {"steps": steps, "end": self.entropy.choice(ENDS), "at": self.entropy.choice(steps)}
        return {"kind": self.entropy.choice(("plain", "coroutine")), "payload": payload, "retry": RETRY}


def run(folder: Path, seconds: float, seed: int = 1, backlog: int = BACKLOG) -> dict[str, Any]:
    """Run a campaign in an empty folder, with so many sagas at hand; its figures, once all has been found right.

    Raises:
        AssertionError: something was not.
    """
    campaign = Campaign(folder, seed, backlog)
    with sagalog.open(campaign.url, durability="normal") as engine:
        try:
            for _ in range(WORKERS):
                campaign.start()
            begun = time.monotonic()
            while time.monotonic() - begun < seconds:
                campaign.feed(engine)
                campaign.disturb()
                time.sleep(0.1)
            lasted_s = time.monotonic() - begun
            ended = sum(count for state, count in _states(engine).items() if state in _ENDS)
            campaign.wake()
            _drain(engine)
        finally:
            campaign.end()
        violations, events = _violations(engine)
        assert not violations, explain(violations)
        report = engine.verify()
        assert report.ok, report.faults
        _judge_rows(folder / "store.db")
        _judge_world(engine, World(folder))
        return {
            "seconds": round(lasted_s, 1),
            "sagas_ended": ended,
            "sagas_per_hour": int(ended / lasted_s * 3_600),
            **campaign.done,
            "states": _states(engine),
            "events": events,
            "violations": 0,
        }


_ENDS = {"completed", "failed", "compensated", "cancelled", "quarantined"}


def _states(engine: sagalog.Engine) -> dict[str, int]:
    return engine.counts().get("default", {})


def _drain(engine: sagalog.Engine) -> None:
    deadline = time.monotonic() + DRAIN_S
    while set(_states(engine)) - _ENDS:
        assert time.monotonic() < deadline, f"not everything ends: {_states(engine)}"
        time.sleep(0.1)


# --- the judgement ----------------------------------------------------------------------------------------------------


def _violations(engine: sagalog.Engine) -> tuple[list[Any], int]:
    """What the checker finds in the whole log, and how many events that has."""
    log: list[Any] = []
    while page := engine.events(log[-1].position if log else 0, 5_000):
        log += page
    return check(log), len(log)


ROWS = {
    "positions without gaps": "SELECT count(*), max(position) FROM events HAVING count(*) <> max(position)",
    "versions without gaps": (
        "SELECT stream FROM events GROUP BY stream HAVING count(*) <> max(version) OR min(version) <> 1"
    ),
    "nothing behind the end": (
        "SELECT e.stream, e.type FROM events e JOIN (SELECT stream, min(version) AS at FROM events "
        "WHERE type IN ('completed', 'compensated', 'quarantined') OR (type IN ('failed', 'cancelled') "
        "AND json_extract(body, '$.to') IN ('failed', 'cancelled')) GROUP BY stream) ended "
        "ON ended.stream = e.stream WHERE e.version > ended.at AND e.type <> 'noted'"
    ),
    "one end at most": (
        "SELECT stream FROM events WHERE type IN ('completed', 'compensated', 'quarantined') "
        "GROUP BY stream HAVING count(*) > 1"
    ),
    "fences that rise": (
        "SELECT stream FROM (SELECT stream, json_extract(body, '$.fence') AS fence, "
        "lag(json_extract(body, '$.fence')) OVER (PARTITION BY stream ORDER BY version) AS before "
        "FROM events WHERE type = 'leased') WHERE fence <= before"
    ),
    "no two leases at a time": (
        "SELECT stream FROM (SELECT stream, type, lag(type) OVER (PARTITION BY stream ORDER BY version) AS before "
        "FROM events WHERE type IN ('leased', 'released', 'lease_expired', 'retried', 'parked', 'completed', 'failed', "
        "'cancelled', 'quarantined', 'compensated', 'compensation_failed')) WHERE type = 'leased' AND before = 'leased'"
    ),
    "steps that are recorded once": (
        "SELECT stream, json_extract(body, '$.name') FROM events WHERE type = 'step_completed' GROUP BY 1, 2 "
        "HAVING count(*) > 1"
    ),
    "undos that are done once": (
        "SELECT stream, json_extract(body, '$.id') FROM events WHERE type = 'compensation_done' GROUP BY 1, 2 "
        "HAVING count(*) > 1"
    ),
    "all undone that was registered": (
        "SELECT r.stream, json_extract(r.body, '$.id') FROM events r JOIN tasks t ON t.stream = r.stream "
        "WHERE r.type = 'compensation_registered' AND t.state IN ('compensated', 'failed', 'cancelled') "
        "AND NOT EXISTS (SELECT 1 FROM events d WHERE d.stream = r.stream AND d.type = 'compensation_done' "
        "AND json_extract(d.body, '$.id') = json_extract(r.body, '$.id'))"
    ),
    "nothing left alive": (
        "SELECT stream, state FROM tasks WHERE state IN ('pending', 'running', 'compensating') "
        "OR expires_ms IS NOT NULL"
    ),
}


def _judge_rows(path: Path) -> None:
    """Read the rows themselves; each statement finds what breaks its sentence."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        for sentence, statement in ROWS.items():
            broken = list(itertools.islice(connection.execute(statement), 5))
            assert not broken, f"not so: {sentence}: {broken}"
    finally:
        connection.close()


def _judge_world(engine: sagalog.Engine, world: World) -> None:
    """What a completed saga has made is there, and of one that was undone nothing is."""
    for state in ("completed", "compensated", "failed", "cancelled"):
        for task in engine.find(state=state):
            if task.kind != "kid":
                wanted = set(task.payload["steps"]) if state == "completed" else set()
                assert world.of(task.id) == wanted, f"{task.id} is {state}, and the world has {world.of(task.id)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Workers under SIGKILL and SIGSTOP.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", default=None)
    given = parser.parse_args()
    if given.worker is not None:
        work(f"sqlite:///{given.folder}/store.db", str(given.folder), given.worker)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(run(given.folder, given.seconds, given.seed)))  # noqa: T201  this is what it is run for


if __name__ == "__main__":
    main()

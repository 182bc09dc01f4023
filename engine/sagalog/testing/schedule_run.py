"""The rules of a random run by which operators set schedules, and time lets them fire: part of `machine`.

Rule: as in `machine`, a rule draws a command and gives it to the pair. Few schedules of short intervals, so that clocks
which jump pass many of their times. Knows no expected result.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sagalog.testing import strategies
from sagalog.testing.limiting_run import LimitingRun
from sagalog.testing.oracle_pair import Side

NAMES: Any = st.sampled_from(["tick", "tick", "tock"])
TIMES: Any = st.sampled_from([{"every_ms": 1_000}, {"every_ms": 1_000}, {"every_ms": 5_000}, {"cron": "* * * * *"}])
# More than all periods, and less than the time that the end of a run lets pass.
JUMP_MS = 3_600_000


def has_schedules(machine: Any) -> bool:
    """Check whether a schedule was set."""
    return any(stream.startswith("schedule/") for stream in machine.pair.memory.tables.stream_of)


class ScheduleRun(LimitingRun):
    """The rules of schedules."""

    @rule(
        name=NAMES,
        times=TIMES,
        queue=st.sampled_from(["left", "right"]),
        missed=st.sampled_from(["one", "one", "skip", "all"]),
        overlap=st.sampled_from(["skip", "allow"]),
        key=st.sampled_from([None, None, "k1"]),
        depth=st.integers(0, 1),
    )
    def set_schedule(self, name: str, times: dict[str, Any], depth: int, **given: Any) -> None:
        """Set a schedule, often as it is already."""

        def call(side: Side) -> Any:
            side.engine.set_schedule(name, "build", {"depth": depth}, **times, **given)
            return side.engine.schedules()

        self.run("set schedule", call)

    @rule(pick=strategies.picks, what=st.sampled_from(["pause", "resume", "resume", "remove"]))
    def change_schedule(self, pick: int, what: str) -> None:
        """Pause a schedule, resume it, or remove it, after setting one if there is none; rarely an unknown one."""
        if pick < 9 and not self.pair.oracle.engine.schedules():
            self.set_schedule("tick", {"every_ms": 1_000}, 0, queue="left")
        set_now = [one.name for one in self.pair.oracle.engine.schedules()] if pick < 9 else []
        name = set_now[pick % len(set_now)] if set_now else "nothing"

        def call(side: Side) -> Any:
            if what == "remove":
                side.engine.remove_schedule(name)
            elif what == "pause":
                side.engine.pause(schedule=name)
            else:
                side.engine.resume(schedule=name)
            return [*side.engine.schedules(), what]

        self.run(f"{what} schedule", call)

    @precondition(has_schedules)
    @rule(times=st.integers(1, 4), owner=strategies.owners, works=st.booleans())
    def let_times_come(self, times: int, owner: str, works: bool) -> None:
        """Let some nominal times pass; a claim fires them, and perhaps completes what it gets."""
        self.pair.clock.advance(times * 1_000)
        if works:
            self.work_off(owner, 4)
        else:
            self.run("look", lambda side: side.engine.claim("nothing there", owner=owner, ttl_ms=1), crashes=True)

    @precondition(has_schedules)
    @rule(then=st.sampled_from(["nothing", "look"]))
    def jump_ahead_and_back(self, then: str) -> None:
        """Set the clock an hour ahead, look, set it back, and perhaps look again. [SCHEDULE-3]"""
        self.pair.clock.step(JUMP_MS)
        self.run("recover", lambda side: side.engine.recover(), crashes=False)
        self.pair.clock.step(-JUMP_MS)
        if then == "look":
            self.run("recover", lambda side: side.engine.recover(), crashes=False)

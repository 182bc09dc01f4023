"""The rules of a random run by which callers create tasks with dedupe keys: part of `machine`.

Rule: as in `machine`, a rule draws a command and gives it to the pair. Few keys, and every scope, so that creations
meet at them. Knows no expected result.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sagalog.kernel.values import Dedupe
from sagalog.testing import strategies
from sagalog.testing.limiting_run import LimitingRun

DEDUPES: Any = st.builds(
    lambda key, scope, period_ms: Dedupe(key, scope, period_ms if scope == "period" else None),
    st.sampled_from(["d1", "d1", "d2"]),
    st.sampled_from(["live", "live", "live", "period", "period", "ever"]),
    st.sampled_from([1, strategies.TTL_MS, 10 * strategies.TTL_MS]),
)


def has_deduped(machine: Any) -> bool:
    """Check whether some task was created with a dedupe key."""
    return any(fold.dedupe is not None for fold in machine.pair.memory.tables.folds.values())


class DedupeRun(LimitingRun):
    """The rules of dedupe keys."""

    @rule(pick=strategies.picks, given=strategies.creations, dedupe=DEDUPES, delay=strategies.delays)
    def create_once(self, pick: int, given: dict[str, Any], dedupe: Dedupe, delay: int | None) -> None:
        """Create a task with a key, under a new id, one that exists, or one that is drawn."""
        id = None if pick > 7 else self.task(pick) if pick == 7 else self.new_id()
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        more = {"id": id, "run_at_ms": run_at_ms, **given}
        self.run("create once", lambda side: side.engine.create(dedupe=dedupe, **more))

    @rule(given=st.lists(st.tuples(strategies.creations, DEDUPES), min_size=2, max_size=4))
    def create_many_once(self, given: list[tuple[dict[str, Any], Dedupe]]) -> None:
        """Create several at once, of which some have one key."""
        first = self.new_id()
        specs = [
            {**arguments, "id": f"{first}-{place}", "dedupe": dedupe} for place, (arguments, dedupe) in enumerate(given)
        ]
        self.run("create many once", lambda side: side.engine.create_many(specs))

    @precondition(has_deduped)
    @rule(pick=strategies.picks, retry=st.booleans())
    def end_deduped(self, pick: int, retry: bool) -> None:
        """Quarantine a task with a key; perhaps retry it as new, at once or with others of its key between."""
        ids = [id for id, fold in self.pair.memory.tables.folds.items() if fold.dedupe is not None]
        id = ids[pick % len(ids)]
        if not (retry and self.pair.memory.tables.folds[id].is_terminal):
            self.run("end deduped", lambda side: side.engine.quarantine(id, "odd"))
        if retry:
            self.run("retry deduped", lambda side: side.engine.retry_as_new(id))

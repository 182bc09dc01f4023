"""A made-up category of streams: `counter/<id>`, which counts, with one event, its command, and a call for that.

Rule: nothing is here that could be left out; a test leaves out each file, and what is promised fails.
"""

from __future__ import annotations

from typing import Final

from tests.touched.copies import Change, before, behind, new

# Known to codec, stores, `verify` and `rebuild`.
CATEGORY: Final[Change] = {
    "kernel/events.py": (
        before(
            "TaskEvent = (",
            '''class Counted(Recordable, frozen=True):
    """Something was counted."""

    by: int


''',
        ),
        behind('    Upgraded: "upgraded",\n', '    Counted: "counted",\n'),
    ),
    "kernel/state.py": (
        behind("FOLD_FORMAT: Final = ", "1 + "),
        before(
            "def epoch_of(",
            '''class CounterFold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A counter, folded."""

    id: str
    version: int = 0
    total: int = 0


''',
        ),
    ),
    "kernel/lifecycle.py": (
        before(
            "class Move(",
            """COUNTING: Final = "counting"
COUNTER_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    UNBORN: (Row("counted", COUNTING),),
    COUNTING: (Row("counted", COUNTING),),
}


""",
        ),
        behind("STORE_LIFE: Final = Lifecycle(STORE_ROWS)\n", "COUNTER_LIFE: Final = Lifecycle(COUNTER_ROWS)\n"),
    ),
    "kernel/evolve.py": (
        before(
            "def _apply(",
            '''def evolve_counter(counter: CounterFold, event: e.Recordable, version: int, at_ms: int) -> CounterFold:
    """The fold of a counter after one more event; raises LogDamaged."""
    state = COUNTING if counter.version else UNBORN
    name = e.NAMES[type(event)]
    if isinstance(event, e.Counted) and COUNTER_LIFE.allows(state, name) and version == counter.version + 1:
        return CounterFold(counter.id, version, counter.total + event.by)
    raise LogDamaged(
        f"the stream counter/{counter.id} holds {name!r} at version {version}: stop, and keep the file",
        stream=f"counter/{counter.id}",
        version=version,
        type=name,
    )


''',
        ),
        behind("from sagalog.kernel.lifecycle import ", "COUNTER_LIFE, COUNTING, "),
        behind("from sagalog.kernel.state import ", "CounterFold, "),
    ),
    "kernel/categories.py": (
        behind("from sagalog.kernel.evolve import ", "evolve_counter, "),
        behind("from sagalog.kernel.lifecycle import (\n", "    COUNTER_LIFE,\n"),
        behind("from sagalog.kernel.state import ", "CounterFold, "),
        before(
            "CATEGORIES: Final",
            """COUNTER: Final = Category(
    "counter", {e.Counted: "counted"}, CounterFold, CounterFold, evolve_counter, COUNTER_LIFE
)

""",
        ),
        behind("for one in (TASK, STORE", ", COUNTER"),
    ),
}

# What callers have of it: a command, carried out by an executor like any other.
CALL: Final[Change] = {
    "kernel/commands.py": (
        before(
            "class Maintain(",
            '''class Count(Command, frozen=True, kw_only=True):
    """Count something; `task` is the id of the counter."""

    by: int


''',
        ),
    ),
    "kernel/decide/counters.py": (
        new(
            '''"""count: what counters do.

Rule: a counter never counts back.
"""

from __future__ import annotations

from sagalog.errors import OverBound, Rejected
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.state import CounterFold


def count(counter: CounterFold, command: c.Count, bound: int) -> tuple[e.Recordable, ...]:
    """One more event."""
    if command.by <= 0:
        raise Rejected(f"counter {counter.id!r} counts by 1 or more, not by {command.by}: count something else")
    if counter.version >= bound:
        raise OverBound(f"counter {counter.id!r} is full: begin another", bound="counter", maximum=bound)
    return (e.Counted(by=command.by),)
'''
        ),
    ),
    "engine/operations.py": (
        behind("from sagalog.kernel.categories import ", "COUNTER, "),
        before("from sagalog.kernel.state import", "from sagalog.kernel.decide.counters import count\n"),
        before(
            "    command, key = step.command, step.idempotency_key\n",
            """    if isinstance(step.command, c.Count):
        return _counting(step, step.command)
""",
        ),
        before(
            "def claiming(",
            '''def _counting(step: CommandEntry, command: c.Count) -> Operation:
    """An operation that counts; answers the fold of the counter, in a list."""
    stream = COUNTER.stream(command.task)

    def decide(view: View) -> Result:
        saved = view.saved(stream)
        counter = COUNTER.begin(command.task) if saved is None else saved.fold
        expected, envelopes = counter.version, []
        for event in count(counter, command, 100):
            envelopes.append(enclose(stream, counter.version + 1, view.now_ms, event, step.actor))
            counter = COUNTER.evolve(counter, event, counter.version + 1, view.now_ms)
        return Result([counter], (Append(stream, expected, tuple(envelopes), project_fold(counter)),))

    return Operation(decide, (stream,))


''',
        ),
    ),
    "engine/facade.py": (
        before("from sagalog.ports import", "from sagalog.kernel import commands as c\n"),
        before(
            "    def create_many(",
            '''    def count(self, id: str, by: int) -> None:
        """Have a counter count."""
        command = c.Count(task=check_id(id, "id"), by=check_integer(by, "by", 0, bounds.INTEGER_MAX))
        self._executor.carry_out(CommandEntry(command, self._executor.actor))

''',
        ),
    ),
}

"""The table of the lifecycle: every pair of state and event, through `evolve` and through the drawn machine."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from transitions import Machine, MachineError

from sagalog.diagram import task_machine
from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve
from sagalog.kernel.lifecycle import FOUNDED, STORE_LIFE, STORE_ROWS, TASK_LIFE, TASK_ROWS, UNBORN, Fork
from sagalog.kernel.state import CompensationRecord, EndedLease, KeptPolicy, TaskFold, Waiting
from sagalog.kernel.values import LIVE, TERMINAL, LeaseRecord, State, Unchanged, Units
from tests.kernel.making import ERROR, inherited, policy

STATES = (UNBORN, *(str(state) for state in State))
EVENTS = {e.NAMES[kind]: kind for kind in e.TASK_EVENTS}
FENCE = 3
ROOT = Path(__file__).parents[2]
engine, adapters = ROOT / "engine", ROOT / "adapters"


def event_named(name: str, state: str, to: State | None) -> e.Recordable:
    """An event of that name that says `to`, and fits all that `evolve` looks at beside the table."""
    fence, verb = (FENCE, name) if _is_leased(name, state) else (None, None)
    samples: dict[str, e.Recordable] = {
        "created": e.Created(
            "build",
            "q",
            0,
            0,
            policy(),
            to=to or State.PENDING,
            predecessor="t0",
            inherited=(inherited(),),
            outcome="failed" if to is State.COMPENSATING else None,
        ),
        "leased": e.Leased("ann", FENCE + 1, 1, "undo" if state == State.COMPENSATING else "work", False),
        "heartbeat": e.Heartbeat(FENCE),
        "released": e.Released(FENCE, "release", 0),
        "lease_expired": e.LeaseExpired(FENCE, "expire", "epoch"),
        "promoted": e.Promoted(Unchanged(7, 0)),
        "step_completed": e.StepCompleted("checkout", FENCE),
        "artifact_put": e.ArtifactPut("log", FENCE, "ab" * 32, 3, "text/plain"),
        "child_adopted": e.ChildAdopted("build", FENCE, "t0/build"),
        "parked": e.Parked(FENCE, "park", "approval", 1, signal="approved"),
        "signalled": e.Signalled("approved"),
        "unblocked": e.Unblocked("approval", 1, "time"),
        "compensation_registered": e.CompensationRegistered("u2", "close", FENCE),
        "compensation_waived": e.CompensationWaived("u1", "gone"),
        "retried": e.Retried(FENCE, "retry", ERROR, "attempt", 0),
        "failed": e.Failed(to or State.FAILED, "failed", fence=fence, verb=verb),
        "cancel_requested": e.CancelRequested(),
        "cancelled": e.Cancelled(to or State.CANCELLED, fence=fence, verb=verb),
        "compensation_done": e.CompensationDone("u1", FENCE),
        "compensation_failed": e.CompensationFailed("u1", FENCE, "compensation_failed", ERROR, 0),
        "compensated": e.Compensated("failed", fence, verb),
        "completed": e.Completed(FENCE, "complete"),
        "quarantined": e.Quarantined("operator", owed=("u1",), fence=fence, verb=verb),
        "noted": e.Noted("seen"),
        "used": e.Used(FENCE, "gpu", 2),
        "amended": e.Amended(deadline_ms=9),
    }
    assert name in samples, f"this function needs a sample of {name!r}, whose every field is sound"
    return samples[name]


# Where the clock has not come again.
AHEAD_MS = 1_000_000


def task_in(state: str, name: str, to: State | None) -> TaskFold:
    """A task in that state on which the event would be sound, as far as the data goes."""
    owes = to not in (State.FAILED, State.CANCELLED) and name != "compensated" and state not in TERMINAL
    leased = _is_leased(name, state)
    return TaskFold(
        "t",
        version=7,
        state=None if state == UNBORN else State(state),
        policy=KeptPolicy.of(policy()),
        outcome="failed",
        compensations={"u1": CompensationRecord("remove", 1, 0, "owed" if owes else "done")},
        lease=LeaseRecord("ann", FENCE, 1, "work", None, None, 0, uses=(Units("limit/gpu", 1),)) if leased else None,
        leases=FENCE,
        waiting=Waiting("approval", 1, 6, "approved", 0, 5) if name == "unblocked" else None,
        ended=None if leased else EndedLease(FENCE, "release", 6),
        run_at_ms=AHEAD_MS if name == "promoted" else 0,
        updated_ms=AHEAD_MS if name == "promoted" else 0,
    )


def _is_leased(name: str, state: str) -> bool:
    return state in (State.RUNNING, State.COMPENSATING) and name not in ("leased", "promoted")


PAIRS = [
    (state, name, to)
    for state in STATES
    for name, kind in EVENTS.items()
    for to in (State if "to" in kind.__struct_fields__ else (None,))
]


@pytest.fixture(scope="module")
def machine() -> Machine:
    return task_machine()


def by_machine(machine: Machine, state: str, name: str, to: State | None) -> str | None:
    """The state after the event as `transitions` sees it; None: refused."""
    machine.set_state(state)
    try:
        moved = machine.trigger(name, to=to)
    except MachineError:
        return None
    return str(machine.state) if moved else None


def by_evolve(state: str, name: str, to: State | None) -> str | None:
    """The same through `evolve`; a refusal says where the log is damaged."""
    try:
        after = evolve(task_in(state, name, to), event_named(name, state, to), 8, 5)
    except LogDamaged as damage:
        return None if damage.fields == {"stream": "task/t", "version": 8, "type": name} else str(damage)
    return str(after.state)


def next_states(path: Path) -> list[str]:
    """The places at which a source gives a member of `State` as the state to come: to `to`, `state`, or to an event."""
    if path.match("kernel/lifecycle.py"):
        return []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [f"{path.name}:{value.lineno}" for value in _given(tree) if any(map(_is_state, ast.walk(value)))]


def _given(tree: ast.AST) -> Iterator[ast.expr]:
    """What is assigned or passed under such a name, and what an event that says `to` is made of."""
    saying = {kind.__name__ for kind in EVENTS.values() if "to" in kind.__struct_fields__}
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="to" | "state", value=value):
                yield value
            case ast.Assign(targets=targets, value=value) if any(map(_is_destination, targets)):
                yield value
            case ast.AnnAssign(target=target, value=ast.expr() as value) if _is_destination(target):
                yield value
            case ast.Call(func=ast.Name("setattr"), args=[_, ast.Constant("to" | "state"), value]):
                yield value
            case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name), args=args) if name in saying:
                yield from args
            case _:
                pass


def _is_destination(target: ast.expr) -> bool:
    return (target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")) in ("to", "state", "dest")


def _is_state(node: ast.AST) -> bool:
    """`State.PENDING`, however it was imported, or a name of its own for it."""
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)
    return name in State.__members__


def test_each_state_and_event_mean_the_same_to_evolve_and_the_machine(machine: Machine) -> None:
    """[LIFE-1] [RECORD-1] A forbidden pair is a damaged log."""
    allowed = 0
    for state, name, to in PAIRS:
        expected = by_machine(machine, state, name, to)
        assert by_evolve(state, name, to) == expected, (state, name, to)
        allowed += expected is not None
    assert {(state, name) for state, name, _ in PAIRS} == {(state, name) for state in STATES for name in EVENTS}
    assert allowed == len(TASK_LIFE.moves)


def test_no_pair_changes_the_fold_that_it_is_tried_on() -> None:
    """[RECORD-3]"""
    for state, name, to in PAIRS:
        task = task_in(state, name, to)
        with contextlib.suppress(LogDamaged):
            evolve(task, event_named(name, state, to), 8, 5)
        assert task == task_in(state, name, to), (state, name, to)


def test_every_state_has_a_row_also_the_ended_ones() -> None:
    """[LIFE-1] [TERM-1]"""
    assert {move["source"] for move in TASK_LIFE.moves} == set(STATES)
    for state in TERMINAL:
        assert {name for name in EVENTS if TASK_LIFE.allows(state, name)} == {"noted"}


def test_nothing_leads_out_of_an_ended_state() -> None:
    """[TERM-1]"""
    assert [move for move in TASK_LIFE.moves if move["source"] in TERMINAL and move["source"] != move["dest"]] == []


def test_every_event_has_a_place_and_every_place_an_event() -> None:
    """[LIFE-1]"""
    assert {move["trigger"] for move in TASK_LIFE.moves} == set(EVENTS)
    assert {move["trigger"] for move in STORE_LIFE.moves} == {e.NAMES[kind] for kind in e.STORE_EVENTS}


def test_every_state_is_reached_and_from_every_live_one_an_end_is() -> None:
    """[LIFE-1] [LIFE-2]"""
    assert _reached_from(UNBORN) == set(STATES) - {UNBORN}
    for state in LIVE:
        assert _reached_from(state) & TERMINAL


def _reached_from(state: str) -> set[str]:
    reached: set[str] = set()
    waiting = [state]
    while waiting:
        source = waiting.pop()
        dests = {move["dest"] for move in TASK_LIFE.moves if move["source"] == source} - reached
        reached |= dests
        waiting += dests
    return reached


def test_an_event_says_where_it_leads_exactly_if_the_table_leaves_it_open() -> None:
    """[RECORD-1]"""
    open_ones = {name for (_, name), cell in TASK_LIFE.after.items() if isinstance(cell, Fork) and None not in cell}
    assert open_ones == {name for name, kind in EVENTS.items() if "to" in kind.__struct_fields__}


def test_no_row_is_there_twice() -> None:
    """[LIFE-1]"""
    rows = [(move["source"], move["trigger"], move["dest"]) for move in TASK_LIFE.moves]
    assert len(rows) == len(set(rows))


def test_live_and_ended_states_are_all_there_is() -> None:
    """[TERM-1]"""
    assert LIVE | TERMINAL == set(State)
    assert not LIVE & TERMINAL
    assert [str(state) for state in State] == [state.name.lower() for state in State]


def test_a_store_is_founded_once_and_then_upgraded_paused_or_pruned() -> None:
    """[LIFE-1] [LOG-7] [PAUSE-1] [PRUNE-1]"""
    later = ("upgraded", "kind_paused", "kind_resumed", "pruned")
    assert dict(STORE_LIFE.after) == {(UNBORN, "founded"): FOUNDED, **{(FOUNDED, one): FOUNDED for one in later}}


def test_where_an_event_leads_depends_on_what_is_to_be_undone_only() -> None:
    """[LIFE-1] [COMP-6]"""
    assert TASK_LIFE.destination("running", "failed", undoes=True) == State.COMPENSATING
    assert TASK_LIFE.destination("running", "failed", undoes=False) == State.FAILED
    assert TASK_LIFE.destination(UNBORN, "created", undoes=True) == State.COMPENSATING
    assert TASK_LIFE.destination(UNBORN, "created", undoes=False) == State.PENDING
    assert TASK_LIFE.destination("compensating", "compensated", undoes=True) is None
    for undoes in (True, False):
        assert TASK_LIFE.destination("running", "completed", undoes) == State.COMPLETED
        assert TASK_LIFE.destination("completed", "leased", undoes) is None


def test_a_row_with_a_condition_has_its_opposite_or_the_event_no_place() -> None:
    """[LIFE-1] [COMP-6]"""
    halves = {(row.event, row.when) for rows in TASK_ROWS.values() for row in rows if row.when is not None}
    assert halves == {
        ("created", "has work"),
        ("created", "only undoes"),
        *((event, when) for event in ("failed", "cancelled") for when in ("owes", "owes nothing")),
        ("compensated", "owes nothing"),
    }
    assert {row.when for rows in STORE_ROWS.values() for row in rows} == {None}


def test_no_line_outside_the_table_names_a_next_state() -> None:
    """[LIFE-1]"""
    named = [line for root in (engine, adapters) for path in sorted(root.rglob("*.py")) for line in next_states(path)]
    assert named == [], "ask the table for it: rules.state_after"


@pytest.mark.parametrize(
    "line",
    [
        "e.Failed(to=State.COMPENSATING if task.owed() else State.FAILED, code='failed')",
        "msgspec.structs.replace(create, to=State.COMPENSATING)",
        "e.Cancelled(State.CANCELLED)",
        "to = State.COMPENSATING if task.owed() else State.FAILED",
        "task.state = values.State.PENDING",
        "state: State = State.PENDING",
        "evolved(state=COMPENSATING)",
        "setattr(task, 'state', State.PENDING)",
    ],
)
def test_a_line_that_names_a_next_state_is_seen(line: str, tmp_path: Path) -> None:
    """[LIFE-1]"""
    (tmp_path / "wrong.py").write_text(line, encoding="utf-8")
    assert next_states(tmp_path / "wrong.py") == ["wrong.py:1"]


def test_a_line_that_asks_for_a_state_is_none(tmp_path: Path) -> None:
    """[LIFE-1]"""
    lines = [
        "if task.state is State.PENDING: pass",
        "state = str(task.state)",
        "refused(state=str(state))",
        "to = None",
    ]
    (tmp_path / "right.py").write_text("\n".join(lines), encoding="utf-8")
    assert next_states(tmp_path / "right.py") == []

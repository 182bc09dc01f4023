"""The table of the lifecycle as a machine of `transitions` and as diagrams: `python -m sagalog.diagram FOLDER`.

Rule: everything here follows from `TASK_ROWS` [LIFE-1]; a test compares the drawing with the table. Only the function
that needs `transitions` imports it: code that runs tasks uses the compiled table and must not pay for the import. Knows
no task, no store and no clock.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sagalog.kernel.lifecycle import TASK_LIFE, UNBORN, Move
from sagalog.kernel.values import LIVE, TERMINAL, State

if TYPE_CHECKING:
    from transitions import EventData, Machine

_HEADER: Final = "%% Drawn from the table of the lifecycle by `python -m sagalog.diagram docs/diagrams`; do not edit."


def task_machine(initial: str = UNBORN) -> Machine:
    """Make a machine that is its own model and moves by the table of a task.

    `machine.trigger(event, to=state)` moves it and returns whether it moved: False if the table does not allow `to`,
    the state that the event names. Where an event has one destination, the caller may leave out `to`.

    Raises:
        transitions.MachineError: from `trigger`, where the table has no cell for the event.
    """
    from transitions import Machine

    return Machine(
        model="self",
        states=[UNBORN, *(str(state) for state in State)],
        initial=initial,
        transitions=[{**move, "conditions": _leads_to(move["dest"])} for move in TASK_LIFE.moves],
        auto_transitions=False,
        send_event=True,
    )


def task_diagram() -> str:
    """Draw the life of a task as a Mermaid state diagram, ending in a line break."""
    everywhere = _everywhere(TASK_LIFE.moves)
    arrows: dict[tuple[str, str], list[str]] = {}
    for move in TASK_LIFE.moves:
        if move["trigger"] not in everywhere:
            arrows.setdefault((move["source"], move["dest"]), []).append(move["trigger"])
    lines = [_HEADER, "stateDiagram-v2", "    direction LR"]
    for (source, dest), events in arrows.items():
        lines.append(f"    {'[*]' if source == UNBORN else source} --> {dest} : {', '.join(events)}")
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    if everywhere:
        first, *_ = (state for state in State if state in LIVE)
        lines.append(f"    note left of {first} : In every state, the ended ones too: {', '.join(everywhere)}.")
    return "\n".join(lines) + "\n"


def write_diagrams(folder: Path) -> list[Path]:
    """Write every diagram into `folder`, which it makes if absent; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "task.mmd"
    path.write_text(task_diagram(), encoding="utf-8")
    return [path]


def _leads_to(dest: str) -> Callable[[EventData], bool]:
    """Return the condition that an event names `dest` as the next state, or leaves it to the table."""

    def leads_there(data: EventData) -> bool:
        to: Any = data.kwargs.get("to")
        return to is None or str(to) == dest

    return leads_there


def _everywhere(moves: Iterable[Move]) -> list[str]:
    """List the events that every state allows and that change none: one note is clearer than an arrow at each."""
    loops: dict[str, set[str]] = {}
    for move in moves:
        loops.setdefault(move["trigger"], set()).add(move["source"] if move["source"] == move["dest"] else "")
    return [event for event, states in loops.items() if states == {str(state) for state in State}]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m sagalog.diagram FOLDER")
    write_diagrams(Path(sys.argv[1]))

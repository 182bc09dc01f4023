"""An independent witness of one task's log: what the rules promise, said of events alone.

Rule: reads events and nothing else, never a fold, and shares no code with `decide` and `evolve`; so it can testify
against both. What breaks a rule raises `Finding`, named by what would have gone wrong.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sagalog.kernel import events as e
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.values import Policy, State

_ENDS_IN: Final[dict[type[e.Recordable], State]] = {
    e.Completed: State.COMPLETED,
    e.Compensated: State.COMPENSATED,
    e.Quarantined: State.QUARANTINED,
}
_ENDS_LEASE: Final = (e.Released, e.Parked, e.LeaseExpired, e.Retried, e.CompensationFailed, e.Completed)


class Finding(Exception):
    """A promise that was broken: its `name`, and what was seen."""

    def __init__(self, name: str, seen: object) -> None:
        super().__init__(f"{name}: {seen}")
        self.name = name
        self.seen = seen


def _over(ends: tuple[object, ...]) -> list[int]:
    """The numbers that a row of ended waits holds: -n is n of them, and 0 a gap. [WAIT-1]"""
    whole = [end != 0 for end in ends for _ in range(-end if isinstance(end, int) and end else 1)]
    return [number for number, is_over in enumerate(whole, start=1) if is_over]


def _expect(kept: bool, name: str, seen: object) -> None:
    if not kept:
        raise Finding(name, seen)


class Witness(NamedTuple):
    """What was seen so far. `open` is the fence of the lease that no event has ended, `top` the highest fence."""

    policy: Policy
    open: int | None = None
    top: int = 0
    undoing: bool = False
    asked_to_stop: bool = False
    ended: bool = False
    planned: tuple[str, ...] = ()
    owed: tuple[str, ...] = ()
    recorded: frozenset[str] = frozenset()
    waiver: bool = False
    unwaived: bool = False
    spent: tuple[str, ...] = ()
    steps: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()
    # What only a predecessor's work replaces, and what steps name.
    inherited: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    waited: tuple[tuple[str, int], ...] = ()
    waits_for: tuple[str, str | None] | None = None
    signals: tuple[str, ...] = ()
    # [DEADLINE-1] From when on no worker may begin.
    deadline_ms: int | None = None
    start_by_ms: int | None = None

    def is_late(self, now_ms: int) -> bool:
        """Whether a deadline had come for a lease that was seen; the time to start only counts for the first one."""
        start_by_ms = self.start_by_ms if self.top % FENCE_EPOCH == 1 else None
        return any(at_ms is not None and at_ms <= now_ms for at_ms in (self.deadline_ms, start_by_ms))

    def see(self, event: e.Recordable) -> Witness:
        """The witness after one more event.

        Raises:
            Finding: the event breaks a promise.
        """
        _expect(not self.ended or isinstance(event, e.Noted), "after_the_end", event)
        seen = self._see_fence(event)._see_counts(event)
        match event:
            case e.Created():
                seen = seen._see_creation(event)
            case e.Leased():
                seen = seen._see_lease(event)
            case e.Promoted():
                _expect(self.open is None and self.waits_for is None, "promoted_while_held_or_waiting", event)
            case e.CompensationRegistered(id=id):
                again = id in seen.inherited
                _expect(again or id not in seen.recorded, "registered_twice", event)
                owed = seen.owed if again else (*seen.owed, id)
                seen = seen._replace(owed=owed, recorded=seen.recorded | {id}, inherited=seen.inherited - {id})
            case e.CompensationWaived(id=id):
                seen = seen._settled(id)
            case e.CompensationDone(id=id):
                _expect(id in seen.owed and seen.undoing, "undone_without_owing", event)
                _expect(id == seen.owed[-1], "undone_out_of_order", event)
                seen = seen._settled(id)
            case e.StepCompleted(name=name, compensation=undo):
                _expect(name not in seen.steps, "step_twice", event)
                _expect(undo is None or undo in seen.recorded, "step_before_its_undo", event)
                seen = seen._replace(steps=seen.steps | {name}, named=seen.named | ({undo} if undo else set()))
            case e.ChildAdopted(name=name):
                _expect(name not in seen.children, "child_twice", event)
                seen = seen._replace(children=seen.children | {name})
            case e.Parked() | e.Signalled() | e.Unblocked():
                seen = seen._see_wait(event)
            case e.Amended():
                seen = seen._see_amendment(event)
            case e.CancelRequested():
                _expect(not seen.asked_to_stop, "asked_twice", event)
                seen = seen._replace(asked_to_stop=True)
            case e.Noted(settles=settles):
                for id in settles:
                    seen = seen._settled(id)
            case _:
                seen = seen._see_end(event)
        return seen

    def _see_fence(self, event: e.Recordable) -> Witness:
        """[FENCE-2] A fence in an event is that of the open lease; what ends the lease closes it."""
        if isinstance(event, e.Leased):
            return self
        fence = getattr(event, "fence", None)
        _expect(fence is None or fence == self.open, "stale_fence_accepted", event)
        ending = isinstance(event, _ENDS_LEASE) or getattr(event, "verb", None) is not None
        return self._replace(open=None) if ending else self

    def _see_creation(self, event: e.Created) -> Witness:
        """[COMP-1] [COMP-7] Planned ones are owed later, inherited ones at once; who only undoes plans nothing.

        [WAIT-5] It may wait from then on.
        """
        undoing = event.to is State.COMPENSATING
        owed = tuple(one.id for one in event.inherited)
        _expect(not undoing or owed != (), "nothing_to_undo", event)
        planned = () if undoing else tuple(one.id or "" for one in event.compensations if one.id not in owed)
        own = () if undoing else tuple(one.id or "" for one in event.compensations)
        return self._replace(
            undoing=undoing,
            planned=planned,
            owed=owed,
            recorded=frozenset((*planned, *owed)),
            waiver=event.waiver is not None,
            inherited=frozenset(owed) - frozenset(own),
            deadline_ms=event.deadline_ms,
            start_by_ms=event.start_by_ms,
            steps=frozenset(one.name for one in event.steps),
            waited=(
                *((one.name, number) for one in event.waits for number in _over(one.ends)),
                *([("after", 0)] if event.after else []),
            ),
            waits_for=("after", None) if event.after else None,
            named=frozenset(one.compensation for one in event.steps if one.compensation is not None),
        )

    def _see_amendment(self, event: e.Amended) -> Witness:
        """[AMEND-2] [DEADLINE-1]"""
        held = ("queue", "priority", "run_at_ms", "payload", "affinity", "key", "build", "uses")
        changed = [name for name in held if getattr(event, name) is not None or name in event.removes]
        _expect(self.open is None or not changed, "amended_while_held", event)
        deadline_ms = None if "deadline_ms" in event.removes else event.deadline_ms or self.deadline_ms
        start_by_ms = None if "start_by_ms" in event.removes else event.start_by_ms or self.start_by_ms
        return self._replace(deadline_ms=deadline_ms, start_by_ms=start_by_ms, policy=event.policy or self.policy)

    def _see_lease(self, event: e.Leased) -> Witness:
        """[LEASE-1] [FENCE-1] [CANCEL-2] [COMP-1]"""
        _expect(self.open is None, "two_leases", event)
        _expect(self.waits_for is None or self.undoing, "leased_while_waiting", event)
        _expect(event.fence > self.top, "fence_does_not_rise", event)
        _expect(self.undoing == (event.purpose == "undo"), "wrong_purpose", event)
        _expect(self.undoing or not self.asked_to_stop, "work_after_cancel", event)
        maximum = self.policy.expiries_max
        within = maximum is None or self.spent.count(self._of_purpose("expired")) < maximum
        _expect(within, "budget_overrun", event)
        unwaived = self.unwaived or (event.purpose == "work" and event.waiver is None)
        begun = self._replace(open=event.fence, top=event.fence, unwaived=unwaived)
        return begun if self.undoing else begun._replace(planned=(), owed=(*self.planned, *self.owed))

    def _see_wait(self, event: e.Parked | e.Signalled | e.Unblocked) -> Witness:
        """[WAIT-1] [WAIT-2] One wait at a time and each once, numbered by name; a signal is kept until one takes it."""
        if isinstance(event, e.Signalled):
            _expect(not self.undoing, "signal_after_the_work", event)
            return self._replace(signals=(*self.signals, event.name))
        if isinstance(event, e.Parked):
            begun = [number for name, number in self.waited if name == event.name]
            _expect(self.waits_for is None and event.number not in begun, "waits_twice", event)
            _expect(set(range(1, event.number)) <= set(begun), "wait_out_of_order", event)
            waited = (*self.waited, (event.name, event.number))
            return self._replace(waits_for=(event.name, event.signal), waited=waited)
        open_ = (event.wait, event.number)
        _expect(self.waits_for is not None and open_ == self.waited[-1], "wait_ended_twice", event)
        assert self.waits_for is not None
        signals = list(self.signals)
        if event.by == "signal":
            _expect(self.waits_for[1] in signals, "signal_taken_twice", event)
            signals.remove(self.waits_for[1] or "")
        return self._replace(waits_for=None, signals=tuple(signals))

    def _see_end(self, event: e.Recordable) -> Witness:
        """[COMP-2] [COMP-3] [COMP-6] How the forward work or the whole task ends."""
        dest = _ENDS_IN.get(type(event)) or getattr(event, "to", None)
        if dest is None:
            return self
        if isinstance(event, e.Failed):
            waiver = self.waiver or event.waiver is not None
            _expect(not self.unwaived or bool(self.recorded) or waiver, "failed_with_nothing_to_undo_by", event)
        if isinstance(event, e.Quarantined):
            _expect(event.owed == self.owed, "owed_not_named", (event, self.owed))
        if dest is State.COMPENSATING:
            _expect(self.owed != (), "nothing_to_undo", event)
            return self._replace(undoing=True)
        if isinstance(event, e.Completed):
            handed = tuple(id for id in self.owed if id in self.inherited and id not in self.named)
            _expect(event.left == handed, "left_to_no_task", (event, handed))
            return self._replace(ended=True, open=None, owed=handed)
        settled = dest is State.QUARANTINED or self.owed == ()
        _expect(settled, "left_behind", (event, self.owed))
        # `compensated` has no fence of its own: it ends whatever lease the undoing was done under.
        left = None if isinstance(event, e.Compensated) else self.open
        _expect(left is None, "lease_outlives_task", event)
        return self._replace(ended=True, open=None)

    def _see_counts(self, event: e.Recordable) -> Witness:
        """[ATTEMPT-2] [UNDO-3] A budget of n is spent by the n-th, which then is another event or has one behind it."""
        policy = self.policy
        spends: dict[type[e.Recordable], tuple[str, int | None]] = {
            e.CompensationFailed: ("undo", policy.undo_attempts_max),
            e.Released: (self._of_purpose("released"), policy.releases_max),
            # Counted here, judged at the next lease: an expiry is recorded also where it spends the budget.
            e.LeaseExpired: (self._of_purpose("expired"), None),
        }
        name: str
        if isinstance(event, e.Retried):
            maxima = {"attempt": policy.attempts_max, "transient": policy.transient_max, "quota": None}
            name, maximum = event.budget, maxima[event.budget]
        elif type(event) in spends:
            name, maximum = spends[type(event)]
        else:
            return self
        spent = (*self.spent, name)
        stopping = self.asked_to_stop and not self.undoing
        _expect(stopping or maximum is None or spent.count(name) < maximum, "budget_overrun", event)
        return self._replace(spent=spent)

    def _of_purpose(self, name: str) -> str:
        return f"undo {name}" if self.undoing else name

    def _settled(self, id: str) -> Witness:
        return self._replace(
            planned=tuple(one for one in self.planned if one != id), owed=tuple(one for one in self.owed if one != id)
        )

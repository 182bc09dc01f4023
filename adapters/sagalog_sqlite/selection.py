"""The selection of the tasks that a claim takes, and of due maintenance: seeks into indexes at any number of tasks.

Rule: every statement here finds its rows through an index and in that index's order; a test asks the planner. A claim
costs at most queues x kinds x (1 + affinities) seeks, with the kinds that it names or those that are ready, whichever
are fewer; one more for each where a queue bounds how long affinities wait, and twice all that if it names a build to
which tasks are pinned. It must not know folds or transactions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import inf
from typing import Final, NamedTuple

import msgspec

from sagalog.store import UNCLAIMED_MAX, Claim, PinnedTasks, UnclaimedUndo
from sagalog_sqlite.estimates import Estimates
from sagalog_sqlite.rows import Execute


def _distinct(column: str, condition: str) -> str:
    """Return a statement for every value of an index's next column, by one seek each, however many rows have it.

    If a disk fault has put the index out of order, a seek may lead back: a value found before ends the search.
    """
    first = f"SELECT min({column}) FROM tasks WHERE {condition}"  # noqa: S608  # constants of this file
    return (
        f"WITH RECURSIVE found(value) AS ({first} UNION "  # noqa: S608
        f"SELECT ({first} AND {column} > found.value) FROM found WHERE found.value IS NOT NULL) "
        "SELECT value FROM found WHERE value IS NOT NULL"
    )


class Gate(NamedTuple):
    """The statements that find the tasks at one gate of claims.

    name             of the gate
    any              whether a queue has a task there, pinned to a build or, without, to none
    values           the kinds there, at most so many; for undos, all sets of owed kinds
    first            the first ones of a queue, kind and build, or set
    first_affinity   of those, the ones with an affinity
    first_waiting    of those, the ones with any affinity that wait since a time or longer, the longest first
    """

    name: str
    any: str
    values: str
    first: str
    first_affinity: str
    first_waiting: str


def _work(gate: str) -> Gate:
    at = f"FROM tasks WHERE gate = '{gate}'"
    return Gate(
        gate,
        f"SELECT 1 {at} AND queue = ?1 AND build IS ?2 LIMIT 1",
        _distinct("kind", f"gate = '{gate}' AND queue = ?1 AND build IS ?2") + " LIMIT ?3",
        f"SELECT priority, stream {at} AND queue = ?1 AND build IS ?2 AND kind = ?3 ORDER BY priority, stream LIMIT ?4",
        f"SELECT priority, stream {at} AND affinity IS NOT NULL AND queue = ?1 AND build IS ?2 AND affinity = ?5 "
        "AND kind = ?3 ORDER BY priority, stream LIMIT ?4",
        f"SELECT affinity_ms, stream {at} AND queue = ?1 AND build IS ?2 AND kind = ?3 AND affinity_ms <= ?5 "
        "ORDER BY affinity_ms, stream LIMIT ?4",
    )


def _undoing(gate: str) -> Gate:
    at = f"FROM tasks WHERE gate = '{gate}'"
    first = f"SELECT priority, stream {at} AND queue = ?1 AND owed = ?2 ORDER BY priority, stream LIMIT ?3"
    return Gate(
        gate,
        f"SELECT 1 {at} AND queue = ?1 AND ?2 IS NULL LIMIT 1",
        _distinct("owed", f"gate = '{gate}' AND queue = ?1"),
        first,
        "",
        "",
    )


_READY: Final = _work("ready")
GATES: Final = {"work": _READY, "undo": _undoing("undo")}
# [LEASE-5] The gates of suspects.
_READY_ALONE: Final = _work("ready_alone")
GATES_ALONE: Final = {"work": _READY_ALONE, "undo": _undoing("undo_alone")}

QUEUES_LEASED: Final = _distinct("queue", "check_ms IS NOT NULL")
QUEUES_LATER: Final = _distinct("queue", "gate = 'later'")
QUEUES_WAITING: Final = _distinct("queue", "gate = 'waiting' AND run_at_ms IS NOT NULL")
QUEUES_CANCELLING: Final = _distinct("queue", "cancel_ms IS NOT NULL")
QUEUES_WAKING: Final = _distinct("queue", "gate = 'waking'")

# One statement says that nothing is due; that is nearly always the case.
FIRST_DUE: Final = (
    "SELECT (SELECT min(check_ms) FROM tasks WHERE check_ms IS NOT NULL AND queue = ?1), "
    "(SELECT min(run_at_ms) FROM tasks WHERE gate = 'later' AND queue = ?1), "
    "(SELECT min(run_at_ms) FROM tasks WHERE gate = 'waiting' AND run_at_ms IS NOT NULL AND queue = ?1), "
    "(SELECT 0 FROM tasks WHERE gate = 'waking' AND queue = ?1), "
    "(SELECT min(cancel_ms) FROM tasks WHERE cancel_ms IS NOT NULL AND queue = ?1), "
    "(SELECT 0 FROM unhandled WHERE what >= '' LIMIT 1)"
)
CHECKS: Final = (
    "SELECT check_ms, stream FROM tasks WHERE check_ms IS NOT NULL AND queue = ?1 AND check_ms <= ?2 "
    "ORDER BY check_ms, stream LIMIT ?3"
)
# The caller sorts these, because the index is in the order of check times.
OVER: Final = (
    "SELECT expires_ms, stream FROM tasks WHERE check_ms IS NOT NULL AND queue = ?1 AND check_ms <= ?2 "
    "AND expires_ms <= ?2"
)
LATER: Final = (
    "SELECT run_at_ms, stream FROM tasks WHERE gate = 'later' AND queue = ?1 AND run_at_ms <= ?2 "
    "ORDER BY run_at_ms, stream LIMIT ?3"
)
CANCELLING: Final = (
    "SELECT cancel_ms, stream FROM tasks WHERE cancel_ms IS NOT NULL AND queue = ?1 AND cancel_ms <= ?2 "
    "ORDER BY cancel_ms, stream LIMIT ?3"
)
WAKING: Final = "SELECT 0, stream FROM tasks WHERE gate = 'waking' AND queue = ?1 ORDER BY stream LIMIT ?2"
WAITED: Final = (
    "SELECT run_at_ms, stream FROM tasks WHERE gate = 'waiting' AND run_at_ms IS NOT NULL AND queue = ?1 "
    "AND run_at_ms <= ?2 ORDER BY run_at_ms, stream LIMIT ?3"
)
BEHIND: Final = "SELECT stream FROM tasks WHERE check_ms IS NOT NULL AND queue = ?1 AND renewed_ms > ?2"

# Undos that no worker has leased: their queues and kinds, since when they wait, and which have waited too long.
_UNCLAIMED: Final = "undo_ms IS NOT NULL"
_PINNED: Final = "build IS NOT NULL"
QUEUES_UNCLAIMED: Final = _distinct("queue", _UNCLAIMED)
OWED_UNCLAIMED: Final = _distinct("owed", f"{_UNCLAIMED} AND queue = ?1")
UNCLAIMED_SINCE: Final = (
    f"SELECT undo_ms FROM tasks WHERE {_UNCLAIMED} AND queue = ?1 AND owed = ?2 AND undo_ms <= ?3 "  # noqa: S608
    "ORDER BY undo_ms LIMIT ?4"
)
UNCLAIMED: Final = f"SELECT stream FROM tasks WHERE {_UNCLAIMED} AND queue = ?1 AND owed = ?2"  # noqa: S608
# [BUILD-4] The builds for which live tasks wait, and in which queues.
BUILDS_PINNED: Final = _distinct("build", _PINNED)
QUEUES_PINNED: Final = _distinct("queue", f"{_PINNED} AND build = ?1")
PINNED: Final = f"SELECT 1 FROM tasks WHERE {_PINNED} AND build = ?1 AND queue = ?2 LIMIT ?3"  # noqa: S608
QUEUES_OVERDUE: Final = _distinct("queue", "overdue_ms IS NOT NULL")
OVERDUE: Final = "SELECT stream FROM tasks WHERE overdue_ms IS NOT NULL AND queue = ?1 AND overdue_ms <= ?2"

# [LIMIT-5] What limits hold back, and whose turn it is. One seek tells that a store has no settings.
HAS_SETTINGS: Final = "SELECT EXISTS (SELECT 1 FROM streams WHERE category IN ('limit', 'queue', 'schedule'))"
IS_STREAM: Final = "SELECT 1 FROM streams WHERE category = ? AND id = ?"
FIRST_LIMIT_DUE: Final = (
    "SELECT (SELECT min(due_ms) FROM accounts WHERE due_ms IS NOT NULL), "
    "(SELECT min(check_ms) FROM tasks WHERE holds = 1)"
)
# [LIMIT-8] A clock that is set back behind this cannot show when accounts are due.
LAST_LIMIT_SET: Final = "SELECT max(since_ms) FROM accounts WHERE since_ms IS NOT NULL"
DUE_ACCOUNTS: Final = (
    "SELECT name FROM accounts WHERE due_ms IS NOT NULL AND due_ms <= ?1 ORDER BY due_ms, name LIMIT ?2"
)
ACCOUNTS_AHEAD: Final = "SELECT due_ms, name FROM accounts WHERE since_ms IS NOT NULL AND since_ms > ?1 AND due_ms > ?1"
HOLDING: Final = (
    "SELECT check_ms, stream FROM tasks WHERE holds = 1 AND check_ms <= ?1 ORDER BY check_ms, stream LIMIT ?2"
)
IN_LINE: Final = (
    "SELECT s.category || '/' || s.id, g.section, g.priority, g.stream FROM limit_uses g "
    "JOIN streams s ON s.number = g.stream WHERE g.account = ?1 AND g.place = ?2 AND g.section = ?3 "
    "ORDER BY g.priority, g.stream LIMIT ?4"
)
READY_IN_SECTION: Final = (
    "SELECT stream FROM limit_uses WHERE account = ?1 AND place = 'ready' AND section = ?2 LIMIT ?3"
)
LAST_READY: Final = (
    "SELECT s.category || '/' || s.id, g.section, g.priority, g.stream FROM limit_uses g "
    "JOIN streams s ON s.number = g.stream WHERE g.account = ?1 AND g.place = 'ready' AND g.section = ?2 "
    "ORDER BY g.priority DESC, g.stream DESC LIMIT ?3"
)
NEXT_SECTION: Final = "SELECT min(section) FROM limit_uses WHERE account = ?1 AND place = 'held' AND section > ?2"
ANY_OF: Final = (
    "SELECT s.category || '/' || s.id FROM limit_uses g JOIN streams s ON s.number = g.stream "
    "WHERE g.account = ?1 ORDER BY g.place, g.section, g.priority, g.stream LIMIT 1"
)
NEXT_ACCOUNT: Final = "SELECT min(account) FROM limit_uses WHERE account > ?1"
IS_HELD: Final = "SELECT 1 FROM limit_uses WHERE account = ?1 AND place = 'held' LIMIT 1"
RUNNING: Final = "SELECT stream FROM tasks WHERE state = 'running' AND queue = ?1 ORDER BY stream"
HOLDERS: Final = (
    "SELECT s.id, g.units FROM limit_uses g JOIN streams s ON s.number = g.stream "
    "WHERE g.account = ?1 AND g.place = 'leased' ORDER BY g.stream LIMIT ?2"
)
PLACED: Final = "SELECT 1 FROM limit_uses WHERE account = ?1 AND place = ?2 LIMIT ?3"
PLACED_IN_SECTION: Final = "SELECT 1 FROM limit_uses WHERE account = ?1 AND place = ?2 AND section = ?4 LIMIT ?3"
IDS: Final = "SELECT id FROM streams WHERE category = ?1 AND id > ?2 ORDER BY id LIMIT ?3"

# The statements of a claim and its maintenance; a test has the planner explain each.
STATEMENTS: Final = (
    *(text for gate in (*GATES.values(), *GATES_ALONE.values()) for text in gate[1:] if text),
    QUEUES_LEASED, QUEUES_LATER, FIRST_DUE, CHECKS, LATER, QUEUES_WAITING, QUEUES_WAKING, WAKING, WAITED,
    QUEUES_CANCELLING, CANCELLING,
    QUEUES_UNCLAIMED, OWED_UNCLAIMED, UNCLAIMED_SINCE, UNCLAIMED, QUEUES_OVERDUE, OVERDUE,
    BUILDS_PINNED, QUEUES_PINNED, PINNED,
    IS_STREAM, LAST_LIMIT_SET, DUE_ACCOUNTS, ACCOUNTS_AHEAD, HOLDING, IN_LINE, READY_IN_SECTION,
    LAST_READY, NEXT_SECTION, ANY_OF, NEXT_ACCOUNT, IS_HELD,
    RUNNING, PLACED, PLACED_IN_SECTION, IDS,
)  # fmt: skip

# The value by which rows are ordered, and the stream's number.
Ordered = tuple[float, int]
# The order of the tasks of a claim: the place of the affinity, the priority, the stream's number.
Ranked = tuple[int, float, int]
# A queue, and the build to which the tasks there are pinned; None: to none.
Place = tuple[str, str | None]


def candidates(execute: Execute, claim: Claim, limit: int, estimates: Estimates) -> list[int]:
    """Return the numbers of the first `limit` streams that a claim would take, in order [ORDER-1]; a suspect alone."""
    look = _single_seek(execute, claim, estimates)
    if look is not None:
        queue, kind = look
        found = list(execute(_READY.first, (queue, None, kind, limit)))
        if not found:
            estimates.drop_value(_READY.name, queue, kind)
        return [number for _, number in found]
    first = [] if claim.suspects == "never" else _first_suspect(execute, claim, estimates)
    if claim.suspects == "only":
        chosen = first
    else:
        chosen = _at_gate(execute, claim, limit, GATES[claim.purpose], estimates)
        if first and (not chosen or first[0] < chosen[0]):
            chosen = first
    return [number for _, _, number in chosen]


def _single_seek(execute: Execute, claim: Claim, estimates: Estimates) -> tuple[str, str] | None:
    """Return the queue and kind of a claim that looks for one kind of work in one queue and no suspect, else None.

    No task there is pinned to the claim's build.
    """
    if len(claim.queues) > 1 or claim.affinities or claim.purpose != "work" or claim.suspects == "only":
        return None
    if claim.excluded or claim.affinity_due:
        return None
    (queue,) = claim.queues
    if claim.suspects != "never" and estimates.values(_READY_ALONE.name, queue) != {}:
        return None
    kinds = estimates.values(_READY.name, queue) if claim.kinds is None else claim.kinds
    if kinds is None or len(kinds) != 1:
        return None
    if claim.build is not None and (
        _is_any(execute, queue, claim.build, _READY, estimates)
        or (claim.suspects != "never" and _is_any(execute, queue, claim.build, _READY_ALONE, estimates))
    ):
        return None
    (kind,) = kinds
    return queue, kind


def _first_suspect(execute: Execute, claim: Claim, estimates: Estimates) -> list[Ranked]:
    """Return the first suspect that the claim would take; one seek a queue finds that it has none."""
    gate = GATES_ALONE[claim.purpose]
    builds = _builds(claim)
    places = [(queue, build) for queue in claim.queues for build in builds]
    queues = tuple(dict.fromkeys([place[0] for place in places if _is_any(execute, *place, gate, estimates)]))
    if not queues:
        return []
    return _at_gate(execute, msgspec.structs.replace(claim, queues=queues), 1, gate, estimates)


def _builds(claim: Claim) -> tuple[str | None, ...]:
    """Return the builds among whose tasks a claim looks; None is that of tasks pinned to none. [BUILD-1]"""
    return (None,) if claim.build is None or claim.purpose == "undo" else (None, claim.build)


def _is_any(execute: Execute, queue: str, build: str | None, gate: Gate, estimates: Estimates) -> bool:
    known = estimates.values(gate.name, queue, build)
    if known is None and not list(execute(gate.any, (queue, build))):
        estimates.keep_values(gate.name, queue, (), build)
        return False
    return known is None or len(known) > 0


def _at_gate(execute: Execute, claim: Claim, limit: int, gate: Gate, estimates: Estimates) -> list[Ranked]:
    """Return the first `limit` tasks at a gate that fit the claim, in its order."""
    if claim.purpose == "undo":
        return [(0, *one) for one in _first(_undoable(execute, claim, limit, gate, estimates), limit)]
    places = [(queue, build) for queue in claim.queues for build in _builds(claim)]
    ready = {place: _kinds(execute, place, claim.kinds, gate, estimates) for place in places}
    if claim.excluded:
        ready = {place: [kind for kind in kinds if kind not in claim.excluded] for place, kinds in ready.items()}
    chosen = {number: (-1, since_ms, number) for since_ms, number in _waiting(execute, claim, ready, limit, gate)}
    for place, affinity in enumerate((*claim.affinities, None)):
        if len(chosen) >= limit:
            break
        for priority, number in _first(_ready(execute, ready, limit, gate, affinity, estimates), limit):
            chosen.setdefault(number, (place, priority, number))
    return list(chosen.values())[:limit]


def claimable_ms(execute: Execute, claim: Claim) -> int | None:
    """Return 0 if a claim finds a task at an open gate, else when the next in its queues is due or over, or None."""
    if candidates(execute, claim, 1, Estimates()):
        return 0
    times = [time for queue in claim.queues for row in execute(FIRST_DUE, (queue,)) for time in row]
    times += [time for row in execute(FIRST_LIMIT_DUE) for time in row]
    return min((time for time in times if type(time) is int), default=None)


def accounts_due_ms(execute: Execute) -> int | None:
    """Return when the first account is due; None: none is."""
    for due_ms, _ in execute(FIRST_LIMIT_DUE):
        return due_ms if type(due_ms) is int else None
    return None


def accounts_since_ms(execute: Execute) -> int | None:
    """Return when the due time of an account was set last."""
    for (since_ms,) in execute(LAST_LIMIT_SET):
        return since_ms if type(since_ms) is int else None
    return None


def due_accounts(execute: Execute, now_ms: int, limit: int) -> list[str]:
    """Return the accounts that are due, the earliest first, and behind them those that are ahead of the clock."""
    due = [name for (name,) in execute(DUE_ACCOUNTS, (now_ms, limit))]
    ahead = sorted(execute(ACCOUNTS_AHEAD, (now_ms,))) if len(due) < limit else []
    return [*due, *(name for _, name in ahead)][:limit]


def count_ready(execute: Execute, account: str, section: str, without: Collection[int], limit: int) -> int:
    """Count the ready tasks of a section under an account, without some streams, up to a limit."""
    found = execute(READY_IN_SECTION, (account, section, limit + len(without)))
    return min(sum(number not in without for (number,) in found), limit)


def sections(execute: Execute, account: str, limit: int) -> list[str]:
    """Return the sections that an account holds back, in order; one seek finds that it holds none."""
    found: list[str] = []
    section = ""
    while len(found) < limit:
        ((after,),) = execute(NEXT_SECTION, (account, section))
        # If a disk fault has put the table out of order, a seek may lead back.
        if after is None or after <= section:
            break
        found.append(section := after)
    return found


def accounts_held(execute: Execute, prefix: str, after: str, limit: int) -> list[str]:
    """Return the accounts that hold tasks back and whose name begins with a prefix, beyond `after`, in order."""
    found: list[str] = []
    name = max(after, prefix)
    while len(found) < limit:
        (row,) = execute(NEXT_ACCOUNT, (name,))
        # If a disk fault has put the table out of order, a seek may lead back.
        if row[0] is None or not row[0].startswith(prefix) or row[0] <= name:
            break
        name = row[0]
        found += [name for _ in execute(IS_HELD, (name,))]
    return found


def checks(execute: Execute, queues: Iterable[str], now_ms: int, limit: int) -> list[int]:
    """Return the numbers of up to `limit` streams with a lease to look at, oldest check time first."""
    return _due(execute, CHECKS, queues, now_ms, limit)


def over(execute: Execute, queues: Iterable[str], now_ms: int, limit: int) -> list[int]:
    """Return the numbers of up to `limit` streams whose lease is over, oldest expiry first; -1: all."""
    found = (row for queue in queues for row in execute(OVER, (queue, now_ms)))
    return [number for _, number in _first(found, limit)]


def waits_over(execute: Execute, queues: Iterable[str], now_ms: int, limit: int) -> list[int]:
    """Return the numbers of up to `limit` streams whose wait may be over; -1: all.

    First come those for which a task has ended, then the others by time.
    """
    queues = list(queues)
    waking = _first((row for queue in queues for row in execute(WAKING, (queue, limit))), limit)
    left = limit if limit < 0 else limit - len(waking)
    return [number for _, number in waking] + (_due(execute, WAITED, queues, now_ms, left) if left else [])


def queues_waited(execute: Execute) -> list[str]:
    """Return the queues with a wait that time ends, or for which a task has ended."""
    found = (queue for statement in (QUEUES_WAITING, QUEUES_WAKING) for (queue,) in execute(statement))
    return list(dict.fromkeys(found))


def deadlines_over(execute: Execute, queues: Iterable[str], now_ms: int, limit: int) -> list[int]:
    """Return the numbers of up to `limit` streams whose deadline has come, the earliest first; -1: all."""
    return _due(execute, CANCELLING, queues, now_ms, limit)


def queues_cancelling(execute: Execute) -> list[str]:
    """Return the queues with a task that has a deadline."""
    return [queue for (queue,) in execute(QUEUES_CANCELLING)]


def due_later(execute: Execute, queues: Iterable[str], now_ms: int, limit: int) -> list[int]:
    """Return the numbers of up to `limit` streams whose time has come, oldest due time first."""
    return _due(execute, LATER, queues, now_ms, limit)


def behind(execute: Execute, queues: Iterable[str], now_ms: int) -> list[int]:
    """Return the numbers of the streams whose lease was last renewed at a time that lies ahead."""
    return sorted(number for queue in queues for (number,) in execute(BEHIND, (queue, now_ms)))


def overdue(execute: Execute, queues: Sequence[str] | None, now_ms: int) -> list[int]:
    """Return the numbers of the streams whose undo has waited too long."""
    there = [queue for (queue,) in execute(QUEUES_OVERDUE)] if queues is None else queues
    return [number for queue in there for (number,) in execute(OVERDUE, (queue, now_ms))]


def hopeless(
    execute: Execute, queues: Sequence[str] | None, unknown: frozenset[str], known: frozenset[str] | None
) -> list[int]:
    """Return the numbers of the streams that wait for an undo of a kind in `unknown`, or not in `known`."""
    if not unknown and known is None:
        return []
    sets = [
        (queue, owed)
        for queue, owed in _unclaimed(execute, queues)
        if not unknown.isdisjoint(_decoded(owed)) or not (known is None or known.issuperset(_decoded(owed)))
    ]
    return [number for one in sets for (number,) in execute(UNCLAIMED, one)]


def unclaimed(execute: Execute, now_ms: int) -> list[UnclaimedUndo]:
    """Return the undos that are due and that no worker has leased, by queue and kind."""
    found: dict[tuple[str, str], UnclaimedUndo] = {}
    for queue, owed in _unclaimed(execute, None):
        since = [since_ms for (since_ms,) in execute(UNCLAIMED_SINCE, (queue, owed, now_ms, UNCLAIMED_MAX))]
        if not since:
            continue
        for kind in map(str, _decoded(owed)):
            before = found.get((queue, kind), UnclaimedUndo(queue, kind, 0, since[0]))
            first_ms = min(before.since_ms, since[0])
            found[queue, kind] = UnclaimedUndo(queue, kind, before.tasks + len(since), first_ms)
    return sorted(found.values(), key=lambda one: (one.queue, one.kind))


def pinned(execute: Execute) -> list[PinnedTasks]:
    """Return the builds for which live tasks wait, by build and queue."""
    found = []
    for (build,) in execute(BUILDS_PINNED):
        for (queue,) in execute(QUEUES_PINNED, (build,)):
            tasks = len(list(execute(PINNED, (build, queue, UNCLAIMED_MAX))))
            found.append(PinnedTasks(build, queue, tasks))
    return found


def _unclaimed(execute: Execute, queues: Sequence[str] | None) -> list[tuple[str, str]]:
    there = [queue for (queue,) in execute(QUEUES_UNCLAIMED)] if queues is None else queues
    return [(str(queue), owed) for queue in there for (owed,) in execute(OWED_UNCLAIMED, (queue,))]


def queues_leased(execute: Execute) -> list[str]:
    """Return the queues with a lease that has an end."""
    return [queue for (queue,) in execute(QUEUES_LEASED)]


def queues_later(execute: Execute) -> list[str]:
    """Return the queues with a task that waits for its time."""
    return [queue for (queue,) in execute(QUEUES_LATER)]


def _kinds(
    execute: Execute, place: Place, given: frozenset[str] | None, gate: Gate, estimates: Estimates
) -> Iterable[str]:
    """Return the kinds to look for in a queue: those asked for or those that may be there, whichever are fewer."""
    queue, build = place
    # One kind costs one seek; of a build the store asks first, since hardly any queue has tasks that are pinned to it.
    if given is not None and len(given) == 1 and build is None:
        return given
    there = estimates.values(gate.name, queue, build)
    if there is None:
        most = -1 if given is None else len(given) + 1
        there = [kind for (kind,) in execute(gate.values, (queue, build, most))]
        if given is None or len(there) < most:
            estimates.keep_values(gate.name, queue, there, build)
    if given is None:
        # A copy: the estimate shrinks while the caller looks, whenever it finds nothing of a kind.
        return tuple(there)
    return given if len(there) > len(given) else [kind for kind in there if kind in given]


def _ready(
    execute: Execute,
    ready: dict[Place, Iterable[str]],
    limit: int,
    gate: Gate,
    affinity: str | None,
    estimates: Estimates,
) -> Iterator[Ordered]:
    for (queue, build), kinds in ready.items():
        for kind in kinds:
            if affinity is None:
                found = list(execute(gate.first, (queue, build, kind, limit)))
                if not found:
                    estimates.drop_value(gate.name, queue, kind, build)
                yield from found
            else:
                yield from execute(gate.first_affinity, (queue, build, kind, limit, affinity))


def _waiting(
    execute: Execute, claim: Claim, ready: dict[Place, Iterable[str]], limit: int, gate: Gate
) -> list[Ordered]:
    """Return the first tasks with an affinity that have waited too long, the longest first. [ORDER-2]"""
    if not claim.affinity_due:
        return []
    due = dict(claim.affinity_due)
    places = ((place, kinds) for place, kinds in ready.items() if place[0] in due)
    found = (
        row
        for place, kinds in places
        for kind in kinds
        for row in execute(gate.first_waiting, (*place, kind, limit, due[place[0]]))
    )
    return _first(found, limit)


def _undoable(execute: Execute, claim: Claim, limit: int, gate: Gate, estimates: Estimates) -> Iterator[Ordered]:
    for queue in dict.fromkeys(claim.queues):
        there = estimates.values(gate.name, queue)
        if there is None:
            there = [owed for (owed,) in execute(gate.values, (queue,))]
            estimates.keep_values(gate.name, queue, there)
        for owed in tuple(there):
            # [UNDO-1] A claim for undoing must know every kind that the task owes.
            if claim.kinds is None or claim.kinds.issuperset(_decoded(owed)):
                found = list(execute(gate.first, (queue, owed, limit)))
                if not found:
                    estimates.drop_value(gate.name, queue, owed)
                yield from found


def _due(execute: Execute, statement: str, queues: Iterable[str], now_ms: int, limit: int) -> list[int]:
    found = (row for queue in queues for row in execute(statement, (queue, now_ms, limit)))
    return [number for _, number in _first(found, limit)]


def _decoded(owed: object) -> list[object]:
    """Return the kinds of a set as it is saved; anything else counts as a kind that no worker knows."""
    try:
        kinds = msgspec.json.decode(owed) if isinstance(owed, str) else None
    except msgspec.DecodeError:
        kinds = None
    return kinds if isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds) else [None]


def _first(found: Iterator[Ordered], limit: int) -> list[Ordered]:
    ordered = list(found)
    if any(type(place) is not int for place, _ in ordered):
        ordered = [(_place(value), number) for value, number in ordered]
    return sorted(ordered)[: None if limit < 0 else limit]


def _place(value: object) -> float:
    """Return where SQLite orders a value among numbers: the engine has to see a damaged column to mend it."""
    return -inf if value is None else value if isinstance(value, int | float) else inf

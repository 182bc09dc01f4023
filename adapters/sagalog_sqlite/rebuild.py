"""The rebuild of every projection from the log, some streams at a time.

Rule: it folds each slice within a transaction of its own. A caller that arrives between two slices finds every task
either as it was or as the log gives it. It must not know how a transaction begins and ends.
"""

from __future__ import annotations

from typing import Final

from sagalog.store import (
    FOLD_FORMAT,
    AccountFold,
    Envelope,
    Tag,
    TaskFold,
    category_of,
    encode_account,
    project_afresh,
    project_fold,
    refold_store,
    refold_stream,
)
from sagalog_sqlite import dedupes, edges, references, rows
from sagalog_sqlite.rows import Execute
from sagalog_sqlite.texts import bytes_of, is_beyond, key_of
from sagalog_sqlite.transaction import Transaction

# How many streams, or tags, a transaction takes: few enough that other writers do not notice.
SLICE: Final = 100

# How many events of accounts a slice takes.
EVENTS: Final = 1_000

_USED: Final = "SELECT account, sum(units) FROM limit_uses WHERE place = 'leased' GROUP BY account"
_HELD: Final = "SELECT DISTINCT account FROM limit_uses WHERE place = 'held'"
_FORGET_LIMIT_USES: Final = (
    "DELETE FROM limit_uses WHERE stream NOT IN (SELECT number FROM streams WHERE category = 'task')"
)

_NEWEST: Final = "SELECT coalesce(max(number), 0) FROM streams"
_NEXT: Final = "SELECT number, category, id FROM streams WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
_FORGET: Final = "DELETE FROM tasks WHERE stream < 1 OR stream > ?"
_FORGET_FOLDS: Final = "DELETE FROM folds WHERE stream < 1 OR stream > ?"
_FORGET_AMONG: Final = (
    "DELETE FROM tasks WHERE stream > ?1 AND stream <= ?2 "
    "AND stream NOT IN (SELECT number FROM streams WHERE number > ?1 AND number <= ?2 AND category = 'task')"
)
# The store keeps what a waiting task awaits until it folds the stream: a rebuild may end early after any slice.
_FORGET_AWAITED: Final = (
    "DELETE FROM awaited WHERE NOT EXISTS "
    "(SELECT 1 FROM tasks t WHERE t.stream = awaited.stream AND t.gate IN ('waiting', 'waking'))"
)
_WAITING: Final = "SELECT DISTINCT stream FROM awaited WHERE stream > ? ORDER BY stream LIMIT ?"
_FORGET_ENDED: Final = (
    "DELETE FROM awaited WHERE stream > ? AND stream <= ? AND EXISTS (SELECT 1 FROM streams s "
    "JOIN tasks t ON t.stream = s.number WHERE s.category = 'task' AND s.id = awaited.task "
    "AND t.gate IS NULL AND t.state NOT IN ('pending', 'running', 'compensating'))"
)
# A name of no task too, and one that is due for nothing that this version knows.
_FORGET_HANDLED: Final = (
    "DELETE FROM unhandled WHERE what NOT IN ('dependants', 'children') "
    "OR (what = 'dependants' AND NOT EXISTS (SELECT 1 FROM awaited a WHERE a.task = unhandled.task)) "
    "OR (what = 'children' AND task NOT IN (SELECT id FROM streams WHERE category = 'task'))"
)
_TAGS: Final = (
    "SELECT CAST(g.name AS BLOB), CAST(g.value AS BLOB), g.stream, s.id FROM tags g "
    "LEFT JOIN streams s ON s.number = g.stream "
    "WHERE (g.name, g.value, g.stream) > (CAST(? AS TEXT), CAST(? AS TEXT), ?) "
    "ORDER BY g.name, g.value, g.stream LIMIT ?"
)
_FORGET_TAG: Final = "DELETE FROM tags WHERE name = CAST(? AS TEXT) AND value = CAST(? AS TEXT) AND stream = ?"


def begin(transaction: Transaction) -> int:
    """Remove rows beyond all streams; return the newest stream's number: later streams are folded when written."""
    execute = _start_slice(transaction)
    execute(_FORGET_AWAITED)
    execute(dedupes.FORGET_STRAYS)
    execute(references.FORGET_STRAYS)
    newest = 0
    for (newest,) in execute(_NEWEST):
        execute(_FORGET, (newest,))
        execute(_FORGET_FOLDS, (newest,))
    return newest


def rebuild_streams(
    transaction: Transaction, after: int, newest: int, lacking: list[int], prunings: references.Prunings
) -> tuple[int, int]:
    """Fold the next streams after `after`, up to `newest`, and remove rows among them that belong to no task.

    It removes wrong rows of dedupe keys too, and adds to `lacking` the numbers of the tasks that lack one. `prunings`
    are those that the slices before have read.

    Returns:
        How many tasks there were, and the last stream's number.
    """
    execute = _start_slice(transaction)
    tasks, last = 0, newest
    # Those since the last slice too: a digest that they name has no reference any more.
    prunings.catch_up(execute)
    for number, category, id in list(execute(_NEXT, (after, newest, SLICE))):
        envelopes = rows.history(execute, number)
        if category == rows.TASK:
            _rebuild_task(execute, number, id, envelopes, transaction, lacking)
            tasks += 1
        elif category == "store":
            _rebuild_store(transaction, envelopes)
        else:
            _rebuild_other(execute, number, f"{category}/{id}", envelopes)
        references.rebuild_stream(execute, number, envelopes, prunings.positions)
        last = number
    execute(_FORGET_AMONG, (after, last))
    return tasks, last if last > after else newest


def put_pruned_back(transaction: Transaction) -> None:
    """Keep exactly those names as pruned to which no stream refers since. [PRUNE-4]"""
    references.put_pruned_back(_start_slice(transaction))


def put_dedupes_back(transaction: Transaction, lacking: list[int]) -> None:
    """Save the rows of dedupe keys that some tasks lack; `rebuild_streams` has removed all wrong ones. [DEDUPE-1]"""
    dedupes.put_back(_start_slice(transaction), lacking)


def sweep_edges(transaction: Transaction, after: int) -> int | None:
    """Remove, of the next streams with edges after `after`, those to tasks that have ended; return the last, None: end.

    `rebuild_streams` has put the edges of each wait in before, and has moved all that wait to the gate `waking`.
    """
    execute = _start_slice(transaction)
    found: list[int] = [number for (number,) in list(execute(_WAITING, (after, SLICE)))]
    if not found:
        execute(_FORGET_HANDLED)
        return None
    execute(_FORGET_ENDED, (after, found[-1]))
    return found[-1]


def sweep_tags(transaction: Transaction, after: Tag) -> Tag | None:
    """Remove, of the next tags after `after`, those that their task does not have; return the last, None: no more.

    `rebuild_streams` has put all of a task's own tags in before.
    """
    execute = _start_slice(transaction)
    key = behind = (bytes_of(after[0]), bytes_of(after[1]), after[2])
    last = None
    for name, value, number, id in list(execute(_TAGS, (*key, SLICE))):
        last, behind = (key_of(name), key_of(value), number), (name, value, number)
        if not _carries(execute, id, last[0], last[1]):
            execute(_FORGET_TAG, (name, value, number))
    return last if is_beyond(behind, key) else None


def rebuild_accounts(transaction: Transaction, fold: AccountFold, after: int) -> None:
    """Fold all accounts from the log behind the position `after`, up to which `fold` has read it, and save them.

    Maintenance looks at each account that holds tasks back. [LIMIT-7]
    """
    execute = _start_slice(transaction)
    execute(_FORGET_LIMIT_USES)
    while envelopes := rows.counting(execute, after, EVENTS):
        for envelope in envelopes:
            fold.take(envelope)
        after = envelopes[-1].position
    used = {str(name): int(units) for name, units in execute(_USED)}
    held = {str(name) for (name,) in execute(_HELD)}
    execute("DELETE FROM accounts")
    for name, account in fold.rebuilt(used, held).items():
        execute(rows.SAVE_ACCOUNT, (name, account.due_ms, account.since_ms, encode_account(account)))


def _start_slice(transaction: Transaction) -> Execute:
    """Prepare the transaction for a slice, and return what reads and writes it: it reads damaged rows too."""
    transaction.wrote = True
    transaction.forget()
    transaction.read_any_text()
    return transaction.execute


def _rebuild_task(
    execute: Execute,
    number: int,
    id: str,
    envelopes: list[Envelope],
    transaction: Transaction,
    lacking: list[int],
) -> None:
    try:
        projection = project_afresh(id, envelopes, transaction.now_ms, transaction.is_governed)
    except rows.UNFOLDABLE:
        execute(rows.PUT_ASIDE, (number,))  # [LOG-5]
        return
    assert projection.row is not None, "every task has a row"
    execute(*rows.saving(number, projection, projection.row, None))
    rows.save_limit_uses(execute, number, projection)
    edges.save(execute, number, projection.awaited or ())
    if not dedupes.is_right(execute, number, projection.fold, transaction.now_ms):
        lacking.append(number)
    if projection.row.follows is not None:
        # Its parent may have ended: maintenance looks, and forgets the name otherwise. [CANCEL-4]
        execute(edges.KEEP_UNHANDLED, (edges.CHILDREN, projection.row.follows))
    if projection.fold.children:
        execute(edges.KEEP_UNHANDLED, (edges.CHILDREN, id))
    for name, value in projection.tags:
        execute(rows.INSERT_TAG, (name, value, number))


def _rebuild_other(execute: Execute, number: int, stream: str, envelopes: list[Envelope]) -> None:
    category = category_of(stream)
    if category is None:
        return  # An audit names it.
    try:
        fold = refold_stream(category, stream.partition("/")[2], envelopes)
    except rows.UNFOLDABLE:
        return  # The saved fold stays; an audit names the event.
    execute(rows.REPLACE_FOLD, (number, FOLD_FORMAT, len(envelopes), project_fold(fold).content))


def _rebuild_store(transaction: Transaction, envelopes: list[Envelope]) -> None:
    try:
        store = refold_store(envelopes)
    except rows.UNFOLDABLE:
        return  # The saved fold stays; an audit names the event.
    if store is not None:
        rows.update_store(transaction.execute, store)
        # Otherwise the next transaction would use the fold with which this one began.
        transaction.store = store


def _carries(execute: Execute, id: str | None, name: str, value: str) -> bool:
    if id is None:
        return False
    try:
        for row in execute(rows.TASK_BY_ID, (id,)):
            fold = rows.load(execute, row).saved.fold
            return isinstance(fold, TaskFold) and (fold.tags or {}).get(name) == value
    except rows.UNFOLDABLE:
        return True
    return False

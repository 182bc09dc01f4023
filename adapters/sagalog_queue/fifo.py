"""The FIFO queue: an item is a task of one kind, a pop is a lease, an ack completes, a nack releases.

Rule: the rules of leases hold for items. No two consumers have one item, an item whose holder has died comes back when
its visibility is over, and the store refuses a late holder's ack. It must not know how a store works.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import sagalog
from sagalog import Engine, InvalidValue, Lease, LeaseLost, NotFound, Retry, SagalogError, Task
from sagalog.kernel.bounds import BUDGET_MAX, TIME_MS_MAX
from sagalog.ports import Clock
from sagalog.validation.values import check_integer, check_milliseconds, check_name, shown

KIND: Final = "item"
NAME: Final = "items"
VISIBILITY_MS: Final = 60_000
RETURNS_MAX: Final = 5

_WAIVER: Final = "an item of a queue owes no undo"


@dataclass(frozen=True, slots=True)
class Item:
    """An item that was popped: its payload, and the right to work on it.

    id         the id of the task behind it, as `push` gave it
    payload    JSON, as it was pushed
    attempts   how often it was popped, this time included
    store_id   the id of the store that it was popped from; to any other it is unknown
    lease      the lease behind it; `lease.fence` tells the outside world which of two holders is late [FENCE-1]
    """

    id: str
    payload: Any = field(compare=False)
    attempts: int
    store_id: str
    lease: Lease = field(compare=False)

    def __repr__(self) -> str:
        return f"<Item {self.id} attempts {self.attempts}>"


class Queue:
    """A queue in a store, first in, first out; a context manager, safe to share between threads.

    Other processes may use the same store. No item is held by two owners, one whose holder died comes back when its
    visibility is over, and a late holder's `ack` is refused. `open_queue` opens a store with a queue in it.

    Raises:
        Unavailable: nothing was written: wait and repeat the call.
        Unknown: it may have been written. `ack`, `push` under an id, and `nack` without a delay are repeated as they
            are; for a `push` without one, `identity` names the id. What a `pop` may have popped comes back by itself.
        Corrupt: the store is damaged, or newer than this version: stop and call a human.

    Example:
        import sagalog_queue

        with sagalog_queue.open_queue("memory:") as queue:
            queue.push({"branch": "fix/168"})
            item = queue.pop("ann")
            if item is not None:
                queue.ack(item)
    """

    def __init__(
        self,
        engine: Engine,
        *,
        name: str = NAME,
        visibility_ms: int | None = VISIBILITY_MS,
        returns_max: int | None = RETURNS_MAX,
    ) -> None:
        """Make a queue on an engine that its owner closes.

        Args:
            engine: the engine on the store of its items; other tasks may live there too.
            name: the engine's queue; no other tasks should wait in it.
            visibility_ms: how long a popped item is its holder's without a heartbeat, in milliseconds; None: until it
                is acked or nacked, even if its holder has died.
            returns_max: how often an item may be nacked, and how often it may come back unacked, each counted by
                itself, until it is quarantined; None: without end.

        Raises:
            InvalidValue: a setting is none; the field `path` names it.
        """
        _check(name, visibility_ms, returns_max)
        self.engine = engine
        self.name = name
        self._visibility_ms = visibility_ms
        self._retry = Retry(
            attempts_max=None,
            transient_max=None,
            expiries_max=returns_max,
            releases_max=returns_max,
            spent="quarantine",
        )
        self._owns_engine = False

    def __repr__(self) -> str:
        return f"<Queue {self.name} of {self.engine!r}>"

    def __enter__(self) -> Queue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store that `open_queue` opened; what is held stays held. A second call does nothing.

        A queue that was made on an engine leaves that open.
        """
        if self._owns_engine:
            self.engine.close()

    # --- items in -----------------------------------------------------------------------------------------------

    def push(self, payload: Any, *, id: str | None = None) -> str:
        """Push an item to the end of the queue, and give its id.

        The same id again, with the same payload and settings, adds nothing. [REPEAT-2]

        Args:
            payload: JSON of at most 16 MiB.
            id: drawn if left out; a caller that may have to repeat the push gives one.

        Raises:
            InvalidValue: the payload or the id is none.
            AlreadyExists: an item of another payload has this id.
        """
        return self.engine.create(KIND, payload, id=id, **self._arguments()).id

    def push_many(self, payloads: Iterable[Any]) -> list[str]:
        """Push items in their order in one commit, all or none, and give their ids.

        Args:
            payloads: a list of JSON values; 10,000 at most.

        Raises:
            InvalidValue: a payload is no JSON of at most 16 MiB.
            OverBound: they are too many.
        """
        arguments = self._arguments()
        return [
            task.id
            for task in self.engine.create_many({"kind": KIND, "payload": one, **arguments} for one in _many(payloads))
        ]

    # --- items out ----------------------------------------------------------------------------------------------

    def pop(self, owner: str, timeout_ms: int = 1_000, *, ack: Item | None = None) -> Item | None:
        """Pop the oldest item that no owner holds; None where none comes in time.

        Args:
            owner: the name of the caller that will hold it, for the record.
            timeout_ms: how long to wait, in milliseconds; a push of any process ends the wait. 0: only look.
            ack: an item in hand that is done: it is acknowledged and the next one popped in one commit.

        Raises:
            LeaseLost: the item to be acknowledged is another holder's by now; nothing is popped then. [FENCE-2]
        """
        check_milliseconds(timeout_ms, "timeout_ms")
        if ack is None:
            return self._pop(owner, timeout_ms)
        try:
            with self.engine.batch() as batch:
                batch.complete(self._lease(ack))
                batch.claim(self.name, owner=owner, ttl_ms=self._visibility_ms, kinds=[KIND])
        except NotFound:
            # The store does not know the item: no harm is done.
            return self._pop(owner, timeout_ms)
        leases = batch.results[1]
        assert isinstance(leases, list)
        return self._item(leases[0]) if leases else self._pop(owner, timeout_ms)

    def consume(self, owner: str, timeout_ms: int | None = None) -> Iterator[Item]:
        """Iterate over items; each is acknowledged when the next is asked for, in the commit that pops that one.

        A caller that leaves the loop earlier, by `break` or an exception, hands the item in hand back to the head of
        the queue, unless it was acknowledged before. Python tells an iterator that it was left when no name refers to
        it any more, so a caller that has given it a name calls its `close`.

        Args:
            owner: the name of the caller that will hold the items, for the record.
            timeout_ms: how long to wait for each item, in milliseconds; None: for ever.

        Raises:
            LeaseLost: the item in hand was another holder's when the next was asked for. As after `Unavailable` and
                `Unknown` the loop is over then: begin another, and acknowledge what is done yourself.
        """
        wait_ms = TIME_MS_MAX if timeout_ms is None else timeout_ms
        item = self.pop(owner, wait_ms)
        while item is not None:
            try:
                yield item
            except GeneratorExit:
                with suppress(SagalogError):
                    self.hand_back(item, "its consumer has left")
                raise
            item = self.pop(owner, wait_ms, ack=item)

    def ack(self, item: Item | str) -> bool:
        """Acknowledge an item: it is done, and stays in the history.

        Args:
            item: what `pop` gave; an id is taken only where the store does not know it.

        Returns:
            Whether there is such an item: an unknown one is harmless.

        Raises:
            LeaseLost: it came back after its visibility was over, and may be another holder's now. [FENCE-2]
            InvalidValue: it is the id of an item: acknowledging needs the lease of what was popped.
        """
        lease = self._lease_of(item)
        if lease is None:
            return False
        with suppress(NotFound):
            lease.complete()
            return True
        return False

    def nack(self, item: Item | str, requeue: bool = True, *, reason: str | None = None, delay_ms: int = 0) -> bool:
        """Refuse an item: it is not done, and goes back to the queue or ends.

        Args:
            item: what `pop` gave.
            requeue: True: back to the head of the queue, since items come in the order in which they were pushed; or to
                quarantine, if it has come back too often. False: it ends as `failed`, its history kept.
            reason: why, for the record.
            delay_ms: how long before it may be popped again, in milliseconds; those behind it go first meanwhile.

        Returns:
            Whether there is such an item: an unknown one is harmless.

        Raises:
            LeaseLost: it came back after its visibility was over, and may be another holder's now. [FENCE-2]
            InvalidValue: it is the id of an item, or an argument is none of its kind.
        """
        if type(requeue) is not bool:
            raise InvalidValue(f"requeue: expected True or False, found {shown(requeue)}", path="requeue")
        check_integer(delay_ms, "delay_ms", 0, TIME_MS_MAX // 2)
        lease = self._lease_of(item)
        if lease is None:
            return False
        with suppress(NotFound):
            if requeue:
                lease.release(reason, self.engine.now_ms() + delay_ms if delay_ms else None)
            else:
                lease.fail(reason or "dropped")
            return True
        return False

    def hand_back(self, item: Item, reason: str) -> bool:
        """Hand an item back to the head of the queue through no fault of its own, so that it counts as no return.

        This is for a caller that is told to stop before the item is done.

        Args:
            item: what `pop` gave.
            reason: why, for the record.

        Returns:
            Whether there is such an item: an unknown one is harmless.

        Raises:
            LeaseLost: it came back after its visibility was over, and may be another holder's now. [FENCE-2]
            InvalidValue: it is no item.
        """
        with suppress(NotFound):
            # A failure of the surroundings; of those items have no budget.
            self._lease(item).retry(reason, run_at_ms=self.engine.now_ms(), budget="transient")
            return True
        return False

    def heartbeat(self, item: Item, visibility_ms: int | None = None) -> Item:
        """Renew the hold on an item while its work takes time, and give the item with its renewed lease. [LEASE-3]

        Args:
            item: what `pop` gave.
            visibility_ms: how long from now, in milliseconds; None: as long as before.

        Raises:
            LeaseLost: it is another holder's, or its visibility is over: stop working on it.
            NotFound: it was popped from another store.
        """
        return self._item(self._lease(item).heartbeat(visibility_ms))

    def resume(self, id: str, fence: int) -> Item | None:
        """Take an item up again by its id and fence, as another process of its holder does.

        None where there is no such item. It is given as it was popped, whatever has become of it since; `ack`, `nack`
        and `heartbeat` tell that.

        Args:
            id: the id of the item, in whichever queue of the store.
            fence: `item.lease.fence`, as it was popped.

        Raises:
            LeaseLost: it was never popped under this fence.
        """
        task = self.engine.get(id)
        if task is None or task.kind != KIND:
            return None
        try:
            return self._item(self.engine.reattach(id, fence))
        except NotFound as error:
            raise LeaseLost(
                f"item {id!r} was never popped under fence {fence} (newest fence {task.fence}) and is {task.state}",
                task=id,
                fence=fence,
                current=task.fence,
                state=str(task.state),
            ) from error

    # --- what is there ------------------------------------------------------------------------------------------

    def depth(self) -> int:
        """Count the items that wait to be popped, those that are delayed or whose holder has died included."""
        return self._count("pending") + self._over()

    def in_flight(self) -> int:
        """Count the items that are held."""
        return self._count("running") - self._over()

    def quarantined(self, limit: int | None = None) -> list[Task]:
        """List the items that came back too often and were not pushed again, oldest first.

        `Task.reason` and `Task.error` tell why.

        Args:
            limit: how many at most; None: all of them.
        """
        if limit is not None:
            check_integer(limit, "limit", 0, TIME_MS_MAX)
        ended = self.engine.find(queue=self.name, kind=KIND, state="quarantined")
        return [task for task in ended if task.successor is None][:limit]

    def push_again(self, id: str) -> str:
        """Push an item again that was quarantined or dropped, and give its new id.

        It goes to the end, and its returns are counted from 0. A second time gives the same id. The old item stays as
        it is and names the new one. [REPEAT-7]

        Args:
            id: the id of the old item.

        Raises:
            NotFound: there is no such item.
            WrongState: it has not ended, or was acknowledged.
        """
        task = self.engine.get(id)
        if task is not None and task.kind != KIND:
            raise NotFound(f"there is no item {id!r}: that is a task of kind {task.kind!r}", task=id)
        return self.engine.retry_as_new(id).id

    # --- inside -------------------------------------------------------------------------------------------------

    def _arguments(self) -> dict[str, Any]:
        return {"queue": self.name, "retry": self._retry, "waive_compensation": _WAIVER}

    def _pop(self, owner: str, timeout_ms: int) -> Item | None:
        leases = self.engine.claim(self.name, owner=owner, ttl_ms=self._visibility_ms, kinds=[KIND], wait_ms=timeout_ms)
        return self._item(leases[0]) if leases else None

    def _lease(self, item: Item) -> Lease:
        """Return the lease of an item, which may have been popped through another handle on the same store."""
        if not isinstance(item, Item):
            raise InvalidValue(f"item: expected the Item that pop gave, found {type(item).__name__}", path="item")
        if item.store_id != self.engine.store_id:
            # Ids are unique in one store only: in this store another item may have it.
            raise NotFound(f"item {item.id!r} was popped from another store; give it back there", task=item.id)
        # [FORK-2] A forked copy of a loop must not give back what its parent works on when it ends: `rebind` refuses.
        return self.engine.rebind(item.lease)

    def _lease_of(self, item: Item | str) -> Lease | None:
        """Return the lease of an item; None for an id that the store does not know."""
        if not isinstance(item, str):
            with suppress(NotFound):
                return self._lease(item)
            return None
        if self.engine.get(item) is None:
            return None
        raise InvalidValue(
            f"item: expected the Item that pop gave, found the id {item!r}: acknowledging needs its lease", path="item"
        )

    def _item(self, lease: Lease) -> Item:
        return Item(lease.task.id, lease.task.payload, lease.task.leases, self.engine.store_id, lease)

    def _count(self, state: str) -> int:
        return self.engine.counts(self.name).get(self.name, {}).get(state, 0)

    def _over(self) -> int:
        """Count the items whose holder let their visibility pass, and which no caller has made available again yet."""
        return sum(task.queue == self.name for task in self.engine.stale())


def open_queue(
    url: str,
    *,
    visibility_ms: int | None = VISIBILITY_MS,
    name: str = NAME,
    returns_max: int | None = RETURNS_MAX,
    durability: str = "full",
    clock: Clock | None = None,
) -> Queue:
    """Open the store that a URL names, made if it is absent, with a queue in it; `Queue.close` closes both.

    Args:
        url: as for `sagalog.open`, such as `sqlite:///queue.db`.
        visibility_ms, name, returns_max: as for `Queue`.
        durability, clock: as for `sagalog.open`.

    Raises:
        InvalidValue: a setting is none; the store was not touched.
        ValueError: no store has this scheme; the text names those that there are.
        Unavailable: the store is locked or unreadable, or its file system cannot hold it. [FILE-1]
        Corrupt: it is damaged, empty, foreign, or of a newer format.
    """
    _check(name, visibility_ms, returns_max)
    engine = sagalog.open(url, durability=durability, clock=clock)
    queue = Queue(engine, name=name, visibility_ms=visibility_ms, returns_max=returns_max)
    queue._owns_engine = True
    return queue


def default_owner() -> str:
    """Make a name for a caller that pops: this host's, and six digits that differ each time."""
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


def _check(name: object, visibility_ms: object, returns_max: object) -> None:
    check_name(name, "name")
    if visibility_ms is not None:
        check_integer(visibility_ms, "visibility_ms", 1, TIME_MS_MAX // 2)
    if returns_max is not None:
        check_integer(returns_max, "returns_max", 1, BUDGET_MAX)


def _many(payloads: Iterable[Any]) -> Iterable[Any]:
    if isinstance(payloads, str | bytes | dict) or not isinstance(payloads, Iterable):
        raise InvalidValue(f"payloads: expected a list, found {type(payloads).__name__}", path="payloads")
    return payloads

"""The contract of large values: payloads, results and signals that are blobs, of which callers see no difference.

Rule: whatever reads a value gets it, and whatever repeats one is known by its content. [BLOB-2]
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from sagalog.codec import Recorded
from sagalog.engine.task import Task
from sagalog.errors import AlreadyExists, Conflict, InvalidValue, NotFound, Pruned
from sagalog.kernel import events as e
from sagalog.kernel.bounds import INLINE_BYTES_MAX, PAYLOAD_BYTES_MAX
from sagalog.testing.contract.base import Contract

# Its keys are not in their order, and callers get them as they were.
LARGE: dict[str, Any] = {"text": "é" * INLINE_BYTES_MAX, "first": [1, 2.5, None, True]}
IN_ORDER: dict[str, Any] = dict(sorted(LARGE.items()))
OTHER: dict[str, Any] = {**LARGE, "first": 2}


def _sized(size: int) -> str:
    """Return a text that takes so many bytes as JSON."""
    return "x" * (size - 2)


class JsonBlobContract(Contract):
    """The tests of large values."""

    def events(self, task: str) -> list[Recorded]:
        """The events of a task."""
        return self.engine.history(task)

    def test_a_value_stays_in_its_event_up_to_the_bound_and_is_a_blob_beyond(self) -> None:
        """[BLOB-2]"""
        for number, size in enumerate((INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1)):
            self.create(f"t{number}", payload=_sized(size))
            [created] = self.events(f"t{number}")
            assert isinstance(created.event, e.Created)
            is_large = size > INLINE_BYTES_MAX
            assert (created.event.payload is None, created.event.payload_blob is not None) == (is_large, is_large)
            task = self.engine.get(f"t{number}")
            assert task is not None
            assert (task.payload, task.pruned) == (_sized(size), ())
        self.sound()

    def test_the_largest_payload_and_result_come_back(self) -> None:
        """[BLOB-2] [BOUND-1]"""
        largest = _sized(PAYLOAD_BYTES_MAX)
        self.create("a", payload=largest)
        [lease] = self.claim()
        assert lease.task.payload == largest
        assert lease.complete(largest).result == largest
        self.refused(InvalidValue, partial(self.engine.create, "build", largest + "x"))
        assert max(len(one.body) for one in self.log()) < INLINE_BYTES_MAX
        self.sound()

    def test_every_reader_gets_the_value_in_the_order_of_its_keys(self) -> None:
        """[BLOB-2]"""
        self.create("a", payload=LARGE)
        self.engine.signal("a", "go", LARGE)
        [lease] = self.claim()
        lease.step("build", LARGE).park("w", "go")
        assert self.engine.step_result("a", "build") == LARGE
        end = self.engine.wait_end("a", "w")
        assert end is not None
        assert end.data == LARGE
        done = self.acquire("a").complete(LARGE)
        found = self.engine.get("a")
        assert found is not None
        for value in (lease.task.payload, done.result, found.payload, found.result, self.engine.find()[0].result):
            assert list(value.items()) == list(LARGE.items())
        self.engine.rebuild()
        assert self.engine.get("a") == found
        self.sound()

    def test_an_event_names_the_blob_and_its_bytes_can_be_read(self) -> None:
        """[BLOB-2] [BLOB-1]"""
        self.create("a", payload=LARGE)
        [created] = self.events("a")
        assert isinstance(created.event, e.Created)
        blob = created.event.payload_blob
        assert blob is not None
        data = self.engine.blob(blob.digest)
        assert (len(data), sha256(data).hexdigest()) == (blob.size_bytes, blob.digest)
        assert msgspec.json.decode(data) == LARGE
        self.refused(NotFound, self.engine.blob, "0" * 64)
        self.refused(InvalidValue, self.engine.blob, "no digest")

    def test_a_repeat_is_known_by_its_content_and_not_by_its_form(self) -> None:
        """[REPEAT-6] [BLOB-2]"""
        self.create("a", payload=LARGE)
        task = self.writes_nothing(partial(self.engine.create, "build", IN_ORDER, id="a"))
        assert list(task.payload) == list(LARGE)
        self.refused(AlreadyExists, partial(self.engine.create, "build", OTHER, id="a"))
        signal = partial(self.engine.signal, "a", "go", idempotency_key="k")
        signal(data=LARGE)
        self.writes_nothing(partial(signal, data=IN_ORDER))
        self.refused(Conflict, partial(signal, data=OTHER))
        lease = self.acquire("a").step("build", LARGE)
        self.writes_nothing(lease.step, "build", IN_ORDER)
        self.refused(Conflict, lease.step, "build", OTHER)
        lease.complete(LARGE)
        self.writes_nothing(lease.complete, IN_ORDER)
        self.refused(Conflict, lease.complete, OTHER)
        self.sound()

    def test_a_payload_is_amended_to_a_large_one_and_back(self) -> None:
        """[AMEND-1] [BLOB-2]"""
        self.create("a", payload=1)
        assert self.engine.amend("a", payload=LARGE).payload == LARGE
        self.writes_nothing(partial(self.engine.amend, "a", payload=IN_ORDER))
        assert self.engine.amend("a", payload=OTHER).payload == OTHER
        assert self.engine.amend("a", payload=2).payload == 2
        assert self.engine.amend("a", payload=None).payload is None
        self.sound()

    def test_a_successor_takes_over_large_values(self) -> None:
        """[STEP-1] [BLOB-2]"""
        self.create("a", payload=LARGE)
        self.engine.signal("a", "go", LARGE)
        self.acquire("a").step("build", LARGE).park("w", "go")
        self.acquire("a").quarantine("odd", ["over"])
        heir = self.engine.retry_as_new("a", results={"over": LARGE})
        assert heir.payload == LARGE
        assert [self.engine.step_result(heir.id, name) for name in ("build", "over")] == [LARGE, LARGE]
        end = self.engine.wait_end(heir.id, "w")
        assert end is not None
        assert end.data == LARGE
        self.writes_nothing(partial(self.engine.retry_as_new, "a", results={"over": IN_ORDER}))
        self.sound()

    def test_commands_of_one_batch_see_large_values_of_one_another(self) -> None:
        """[BLOB-2]"""
        with self.engine.batch() as batch:
            batch.create("build", LARGE, id="a")
            batch.create("build", IN_ORDER, id="a")
            batch.note("a", "seen")
        assert [task.payload for task in batch.results if isinstance(task, Task)] == [LARGE] * 3
        self.sound()

    # --- pruned -----------------------------------------------------------------------------------------------

    def test_a_task_whose_values_were_pruned_says_so_and_is_read_on(self) -> None:
        """[PRUNE-3]"""
        self.create("a", payload=LARGE)
        self.engine.signal("a", "go", LARGE)
        self.acquire("a").step("build", OTHER).park("w", "go")
        self.acquire("a").complete(LARGE)
        assert self.engine.prune(0).blobs == 2
        task = self.engine.get("a")
        assert task is not None
        assert (task.payload, task.result, task.pruned) == (None, None, ("payload", "result"))
        assert self.engine.find() == [task]
        self.refused(Pruned, self.engine.step_result, "a", "build")
        self.refused(Pruned, self.engine.wait_end, "a", "w")
        assert len(self.events("a")) == 8
        self.writes_nothing(partial(self.engine.create, "build", LARGE, id="a"))
        self.refused(AlreadyExists, partial(self.engine.create, "build", OTHER, id="a"))
        self.sound()
        self.engine.rebuild()
        assert self.engine.get("a") == task
        self.create("b", payload=LARGE)
        again = self.engine.get("a")
        assert again is not None
        assert (again.payload, again.result, again.pruned) == (LARGE, LARGE, ())
        self.sound()

    def test_a_task_whose_values_are_gone_has_no_successor(self) -> None:
        """[PRUNE-3]"""
        for id, payload, result in (("payload", LARGE, None), ("step", None, LARGE)):
            self.create(id, payload=payload)
            self.acquire(id).step("build", result).quarantine("odd")
            assert self.engine.prune(0).blobs == 1
            assert self.refused(Pruned, self.engine.retry_as_new, id).task == id
        self.sound()

    def test_values_that_a_live_task_may_read_are_not_pruned(self) -> None:
        """[PRUNE-1]"""
        self.create("a", payload=LARGE)
        self.acquire("a").step("build", OTHER).quarantine("odd")
        heir = self.engine.retry_as_new("a")
        assert self.engine.prune(0).blobs == 0
        assert self.engine.step_result(heir.id, "build") == OTHER
        self.sound()

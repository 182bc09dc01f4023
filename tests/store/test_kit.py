"""The kit for stores is enough: the store on SQLite is written from it and the errors, by names that are promised."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import sagalog.store
import sagalog_sqlite
from sagalog.kernel.state import (
    AdoptedChild,
    CompensationRecord,
    EndedLease,
    EndedWaits,
    KeptPolicy,
    KeptSignal,
    Recording,
    StepRecord,
    TaskFold,
    Waiting,
)
from sagalog.kernel.values import DedupeKey, LeaseRecord, Policy, Retry, State, UnrecordedStep
from sagalog.store.projection import decode_fold, encode_fold

SOURCES = sorted(Path(sagalog_sqlite.__file__).parent.glob("*.py"))


def imported(source: Path) -> set[tuple[str, str]]:
    """What a file imports from sagalog: module and name."""
    tree = ast.parse(source.read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in plain if name.split(".")[0] == "sagalog"], "names are imported one by one"
    ours = [node for node in froms if (node.module or "").split(".")[0] == "sagalog"]
    return {(node.module or "", alias.name) for node in ours for alias in node.names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_store_needs_the_kit_and_the_errors_and_nothing_else(source: Path) -> None:
    names = imported(source)
    assert {module for module, _ in names} <= {"sagalog.store", "sagalog.errors"}
    assert {name for module, name in names if module == "sagalog.store"} <= set(sagalog.store.__all__)


def test_every_name_of_the_kit_is_there_and_says_what_it_is() -> None:
    for name in sagalog.store.__all__:
        kept = getattr(sagalog.store, name)
        assert name.isupper() or name in ("Gate", "Place", "Tag") or kept.__doc__, name


FULL: dict[str, Any] = {
    "id": "t]", "version": 7, "state": State.RUNNING, "kind": "x]}", "queue": "q", "priority": -1, "run_at_ms": 5,
    "policy": KeptPolicy.of(Retry(attempts_max=9).resolve()), "created_ms": 1, "updated_ms": 2, "length": 3,
    "leases": 4,
    "lease": LeaseRecord("ann", 1, 1, "work", None, None, 0), "ended": EndedLease(1, "retry", 2), "has_waiver": True,
    "needs_undo": True, "affinity": ",null]", "key": "k", "tags": {"a": "[]"}, "data_key": "d",
    "parent": "p[", "correlation_id": ",null",
    "compensations": {"u": CompensationRecord("remove", 1, 0, "owed")}, "steps": {"s": StepRecord(1, 1)},
    "artifacts": {"a": Recording(1, 1)}, "children": {"c": AdoptedChild("t", 1, 1)},
    "waits": {"w": EndedWaits(1, (-1,))},
    "waiting": Waiting("w", 1, 1, "go", 0, None), "signals": (KeptSignal("go", 1),), "quota_since_ms": 9,
    "outcome": "failed", "code": ",0]", "sources": ("p",), "unrecorded_steps": (UnrecordedStep("s"),),
    "uses": {"gpu": 1}, "build": "b1",
    "cancel_code": "deadline",
    "dedupe": DedupeKey("k]", "period", 5, 9), "is_blocked": True, "ends_with_parent": True,
}  # fmt: skip


PLAIN: Final = TaskFold("t", version=1, policy=KeptPolicy.of(Retry().resolve()))


@pytest.mark.parametrize("field", TaskFold.__struct_fields__)
def test_a_fold_comes_back_whole_whichever_field_differs(field: str) -> None:
    """The field differs from its default. Fields that it ends in are not saved where they have their defaults."""
    value = FULL.get(field, 7)
    fold = msgspec.structs.replace(PLAIN, **{field: value})
    assert decode_fold(encode_fold(fold)) == fold
    everything = TaskFold(**{name: FULL.get(name, 7) for name in TaskFold.__struct_fields__})
    fold = msgspec.structs.replace(everything, **{field: getattr(PLAIN, field)})
    assert decode_fold(encode_fold(fold)) == fold


def test_a_fold_of_a_new_task_saves_no_field_that_nothing_has_set() -> None:
    assert len(encode_fold(PLAIN)) < 80


def test_a_policy_in_a_name_is_not_taken_for_that_of_the_task() -> None:
    spelled = ',[3,20,3,null,86400000,1000,300000,"fail",5,604800000],'
    fold = msgspec.structs.replace(PLAIN, kind=spelled, tags={spelled: spelled}, policy=FULL["policy"])
    assert decode_fold(encode_fold(fold)) == fold


def test_a_kept_policy_holds_what_the_policy_says() -> None:
    policy = Retry(attempts_max=7, spent="quarantine", undo_wait_ms=None).resolve()
    assert KeptPolicy.of(policy).plain() == policy
    assert KeptPolicy.__struct_fields__ == Policy.__struct_fields__

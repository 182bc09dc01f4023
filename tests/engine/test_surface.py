"""What users see of the engine and its workers: these public names and no other, and no word of what is behind them."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import sagalog
from sagalog import Batch, Engine, Lease, Task, Worker, store
from sagalog.aio import AsyncBatch, AsyncEngine, AsyncLease
from sagalog.engine import entries, verbs
from sagalog.kernel import commands
from sagalog.testing import ManualClock
from sagalog.validation.commands import ClaimRequest
from sagalog.worker import AsyncWorkContext, UndoContext, WorkContext
from sagalog.worker.stop_token import StopToken


def words(text: str) -> list[str]:
    return text.split()


_HOLDER_VERBS = words("""
    adopt_child compensation_done compensation_failed complete fail healthy heartbeat park put_artifact register release
    retry step use
""")
_CALLER_VERBS = words("acquire amend cancel claim create note quarantine retry_as_new signal waive")
_LEASE = [*_HOLDER_VERBS, *words("attempt expires_ms fence owner purpose quarantine record task ttl_ms")]
_BATCH = [*_HOLDER_VERBS, *_CALLER_VERBS, *words("group quarantine_held results")]
_ENGINE = [
    *_CALLER_VERBS,
    *words("""
        absent_builds artifact batch blob breakers changes close counts create_many drain_worker events explain find
        get health heartbeat held_back history holders ids_with_prefix input journal journals keep kept kept_in
        limit_queue limits newest_position next_times now_ms pause paused_kinds prune queues ready_kinds reattach
        rebind rebuild recover remove_limit remove_schedule reset_breaker resume schedules set_limit set_queue
        set_schedule stale step_result stop_worker store_id subscribe unreadable verify wait wait_change wait_end
        wait_ends workers
    """),
]
_TASK = words("""
    affinity artifacts attempt build cancel_requested children code compensations correlation_id created_ms data_key
    deadline_ms dedupe deduplicated error fence id inputs is_suspect is_terminal key kind lease leases outcome owed
    parent payload policy predecessor priority progress pruned queue reason result run_at_ms signals start_by_ms state
    steps successor
    tags trace tracestate unrecorded_steps updated_ms uses version waiting waits
""")
_CONTEXT = words("""
    artifact attempt cancelled fence go_on interrupted lost on_stop owner progress stopping store_id task timed_out
    wait_stop
""")
_WORK = [*_CONTEXT, *words("gather healthy input journal payload sleep spawn step use wait_signal wait_tasks")]
_WORKER = words("""
    affinity build claim_ahead compensation concurrency grace_ms name preflight quarantine_unknown queues run stop stats
    task ttl_ms
""")

SURFACES: dict[type, list[str]] = {
    Engine: [*_ENGINE, "over"],
    AsyncEngine: [*_ENGINE, "plain"],
    Lease: _LEASE,
    AsyncLease: [*_LEASE, "plain"],
    Batch: _BATCH,
    AsyncBatch: [*_BATCH, "plain"],
    Task: _TASK,
    WorkContext: _WORK,
    UndoContext: [*_CONTEXT, "compensation", "idempotency_key"],
    AsyncWorkContext: [
        *(name for name in _WORK if name not in ("on_stop", "wait_stop")),
        "compensation",
        "idempotency_key",
    ],
    Worker: _WORKER,
}


def names_of(kind: type, made: object = None) -> list[str]:
    """The public names of a class, and of what is set as one of its objects is made."""
    return sorted({name for name in {*dir(kind), *vars_of(made)} if not name.startswith("_")})


def vars_of(made: object) -> set[str]:
    return set(getattr(made, "__dict__", {}))


def made_of(kind: type) -> object:
    """An object of a class that sets more names than its class has."""
    with sagalog.open("memory:", clock=ManualClock()) as engine:
        engine.create("build", id="t")
        lease = engine.acquire("t", owner="ann", ttl_ms=None)
        made: dict[type, object] = {
            Engine: engine,
            Batch: engine.batch(),
            Worker: Worker(),
            WorkContext: WorkContext(engine, lease, StopToken()),
            UndoContext: UndoContext(engine, lease, StopToken()),
        }
        if kind is AsyncWorkContext:
            context = made[WorkContext]
            assert isinstance(context, WorkContext)
            return AsyncWorkContext(context, lambda function, *arguments: function(*arguments))
    return made.get(kind)


@pytest.mark.parametrize("kind", SURFACES, ids=lambda one: one.__name__)
def test_a_class_shows_these_names_and_no_other(kind: type) -> None:
    assert names_of(kind, made_of(kind)) == sorted(SURFACES[kind])


def is_behind(found: object) -> bool:
    """Whether it is a command, what a store is given or gives, or an entry: what no user has to know."""
    module = getattr(found, "__module__", "")
    return module in (commands.__name__, entries.__name__) or module.startswith("sagalog.store") or found in _ENTRIES


_ENTRIES = (ClaimRequest, entries.Entry, entries.Answer)


def annotations_of(member: Any) -> Iterator[tuple[str, object]]:
    """Every name in the annotations of a member, with what it means where they were written."""
    member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    if not inspect.isfunction(member):
        return
    signature = inspect.signature(member)
    known = {**member.__globals__, **inspect.unwrap(member).__globals__}
    for annotation in (*(one.annotation for one in signature.parameters.values()), signature.return_annotation):
        for name in re.findall(r"(?<![\w.])[a-zA-Z_]\w*", str(annotation)):
            yield name, known.get(name)


def test_internal_types_are_told_apart_by_what_their_names_mean() -> None:
    assert all(is_behind(one) for one in (commands.Retry, store.Blob, entries.CommandEntry, ClaimRequest))
    assert not any(is_behind(one) for one in (sagalog.Retry, Task, Lease, str))
    assert ("CommandEntry", entries.CommandEntry) in annotations_of(verbs.cancel)


@pytest.mark.parametrize("kind", SURFACES, ids=lambda one: one.__name__)
def test_no_signature_names_a_command_an_entry_or_what_a_store_is_given(kind: type) -> None:
    named = {
        f"{name}: {word}"
        for name in names_of(kind)
        for word, found in annotations_of(inspect.getattr_static(kind, name))
        if is_behind(found)
    }

    # A caller's own function, which an engine hands on to its store, and what a store counts.
    assert named <= {"verify: Progress", "rebuild: Progress", "prune: Progress", "absent_builds: PinnedTasks"}


def test_importing_all_names_does_not_hide_the_builtin_open() -> None:
    names: dict[str, Any] = {}
    exec("from sagalog import *", names)  # noqa: S102  as a script would
    assert "open" not in names
    assert {"Engine", "Task", "Lease", "Compensation"} <= set(names)
    assert callable(sagalog.open)
    assert names["__builtins__"]["open"] is builtins.open

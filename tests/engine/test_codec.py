"""The codec: what was written is read, what is unknown is refused, the digest is that of specs. [LOG-4] [LOG-5]"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from sagalog.codec import SHAPES, Envelope, Shape, Shapes, Upcaster, decode, digest_of, enclose, recorded
from sagalog.errors import LogDamaged, UnknownEvent
from sagalog.kernel import events as e
from sagalog.kernel.categories import CATEGORIES
from sagalog.kernel.ends import digest_of_ends
from sagalog.kernel.values import Failure, Inherited, JsonBlob, Limit, Rate, Retry, State, TaskEnd, Unchanged
from sagalog.schemas import schema_files
from tests.engine.shapes import EVERY
from tests.kernel.freedom import leaves

SPECS = Path(__file__).parents[2] / "specs"

EXAMPLES: list[e.Recordable] = [
    e.Created(
        kind="build",
        queue="agents",
        priority=3,
        run_at_ms=5,
        policy=Retry().resolve(),
        to=State.PENDING,
        payload={"a": [1, 2.5, None]},
    ),
    e.Leased(owner="w", fence=1, attempt=1, purpose="work", probe=False, ttl_ms=10, expires_ms=20),
    e.Heartbeat(fence=1, progress={"done": 3}),
    e.Released(fence=1, verb="release", run_at_ms=7, reason="shutting down"),
    e.LeaseExpired(fence=1, verb="expire", why="clock"),
    e.Promoted(seen=Unchanged(3, 1_000)),
    e.StepCompleted(name="checkout", fence=1, result={"path": "wt"}),
    e.ArtifactPut(name="log", fence=1, digest="ab" * 32, size_bytes=3, media_type="text/plain"),
    e.ChildAdopted(name="build", fence=1, task="a/build"),
    e.Parked(fence=1, verb="park", name="approval", number=1, signal="approved", until_ms=9),
    e.Signalled(name="approved", data={"by": "ann"}),
    e.Unblocked(wait="approval", number=1, by="signal", signal_version=4),
    e.CompensationRegistered(id="c", kind="undo", fence=1, params=[1]),
    e.CompensationWaived(id="c", reason="gone already"),
    e.Retried(fence=1, verb="retry", error=Failure("timeout", "no answer"), budget="transient", run_at_ms=9),
    e.Failed(to=State.COMPENSATING, code="failed", fence=1, verb="fail", compensations=("c",)),
    e.CancelRequested(reason="not needed"),
    e.Cancelled(to=State.CANCELLED),
    e.CompensationDone(id="c", fence=2),
    e.CompensationFailed(id="c", fence=2, verb="compensation_failed", error=Failure("x", "y", {"z": 1}), run_at_ms=4),
    e.Compensated(outcome="failed"),
    e.Completed(fence=1, verb="complete", result="ok"),
    e.Signalled(name="approved", data_blob=JsonBlob("a" * 64, 70_000)),
    e.Quarantined(code="operator", reason="odd", owed=("c",)),
    e.Amended(queue="agents", payload=[1], uses={"gpu": 2}, removes=("deadline_ms",)),
    e.Noted(text="looked at it", settles=("c",), successor="b", results={"checkout": [1]}, rerun=("build",)),
    e.Used(fence=1, limit="tokens", units=900),
    e.Founded(id="s", format=0, writer="0.1.0"),
    e.Upgraded(writer="0.2.0"),
    e.KindPaused(kind="build", reason="the disk is full"),
    e.KindResumed(kind="build"),
    e.Pruned(digests=("a" * 64,), size_bytes=9, older_than_ms=86_400_000),
    e.LimitSet(rate=Rate(60, 60_000, 10)),
    e.LimitRemoved(),
    e.LimitPaused(reason="the provider is down"),
    e.LimitResumed(),
    e.LimitBreakerOpened(code="failures", trips=1, until_ms=60_005),
    e.LimitBreakerHalfOpened(task="a", fence=1),
    e.LimitBreakerClosed(code="healthy"),
    e.LimitCarried(removed=False, slots=3, paused=7),
    e.QueueLimited(slots=2, per_key_rate=Rate(1, 1_000, 1)),
    e.QueueBreakerOpened(code="quota", trips=1, until_ms=60_005),
    e.QueueBreakerHalfOpened(task="a", fence=1),
    e.QueueBreakerClosed(code="reset"),
    e.QueueSet(affinity_wait_ms=60_000),
    e.QueuePaused(reason="release day"),
    e.QueueResumed(),
    e.KeyPaused(key="acme", reason="they asked"),
    e.KeyResumed(key="acme"),
    e.QueueCarried(own=Limit(slots=2), per_key=Limit(), paused=4, paused_keys={"acme": 5}),
    e.ScheduleSet(EVERY, anchor_ms=5, settled_ms=5, next_ms=1_005),
    e.ScheduleRemoved(),
    e.SchedulePaused(reason="release day"),
    e.ScheduleResumed(settled_ms=5, next_ms=1_005),
    e.ScheduleFired(nominal_ms=1_005, task="poll@1970-01-01T00:00:01.005Z", next_ms=2_005),
    e.ScheduleSkipped(nominal_ms=1_005, code="overlap", next_ms=2_005),
    e.ScheduleStopped(code="zone_unknown", parameters={"zone": "Europe/Berlin"}),
    e.ScheduleReset(settled_ms=5, next_ms=1_005),
    e.ScheduleCarried(False, EVERY, 5, 1_005, 2_005, "poll@1970-01-01T00:00:01.005Z", 1_005),
    e.JournalAppended(first=3, entries=2, digest="ab" * 32, size_bytes=9, task="t", fence=2),
    e.JournalClosed(),
    e.JournalCarried(entries=4, size_bytes=18, first=3, task="t", fence=2),
]


def test_every_event_has_an_example_here() -> None:
    assert set(e.NAMES) == {type(event) for event in EXAMPLES}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: e.NAMES[type(event)])
def test_an_event_reads_back_as_it_was_written(event: e.Recordable) -> None:
    envelope = enclose("task/a", 1, 1_000, event, "me", "task/b@2", "idempotency_key-1")

    assert event == decode(envelope)
    assert event == recorded(envelope).event
    assert envelope.digest == digest_of(envelope)
    assert "task/a@1" == envelope.name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", "task/b"),
        ("stream", "tas/ka"),
        ("version", 2),
        ("version", 1.0),
        ("at_ms", 1_001),
        ("type", "leased"),
        ("schema", 2),
        ("schema", True),
        ("actor", None),
        ("actor", "you"),
        ("cause", "task/b@3"),
        ("idempotency_key", None),
        ("data_key", "key-1"),
        ("body", '{"fence":2,"verb":"complete"}'),
    ],
)
def test_a_change_of_any_field_but_the_position_changes_the_digest(field: str, value: object) -> None:
    """[LOG-4]"""
    envelope = enclose("task/a", 1, 1_000, e.Completed(fence=1, verb="complete"), "me", "task/b@2", "idempotency_key-1")

    changed = msgspec.structs.replace(envelope, **{field: value})

    assert envelope.digest != digest_of(changed)


def test_every_field_but_position_and_digest_is_under_the_digest() -> None:
    """[LOG-4] A field that is added later fails here until it is digested."""
    assert {"position", "digest"} == set(Envelope.__struct_fields__) - {
        "stream", "version", "at_ms", "type", "schema", "actor", "cause", "idempotency_key", "data_key", "body",
    }  # fmt: skip


def test_the_position_is_not_under_the_digest_so_that_an_export_keeps_it() -> None:
    envelope = enclose("task/a", 1, 1_000, e.Completed(fence=1, verb="complete"))

    assert envelope.digest == digest_of(msgspec.structs.replace(envelope, position=9))


def test_the_digest_of_ends_is_what_the_specification_computes_by_hand() -> None:
    """[WAIT-3] The worked example of specs/digest.md, whatever the order of the ends."""
    ends = (TaskEnd("é", 3, State.COMPLETED), TaskEnd("a/b", 12, State.FAILED))
    preimage = "14:sagalog-ends-1,3:a/b,2:12,6:failed,2:é,1:3,9:completed,"

    digest = digest_of_ends(ends)

    assert digest == digest_of_ends(ends[::-1]) == hashlib.sha256(preimage.encode()).hexdigest()
    text = (SPECS / "digest.md").read_text(encoding="utf-8")
    assert preimage in text
    assert digest in text


def test_the_digest_is_what_the_specification_computes_by_hand() -> None:
    """[LOG-4] The worked example of specs/digest.md."""
    body = '{"fence":1,"verb":"complete","result":"é"}'
    preimage = (
        f"15:sagalog-event-2,4:task,1:a,1:3,4:1000,9:completed,1:1,8:worker-1,-,-,-,{len(body.encode())}:{body},"
    ).encode()

    envelope = enclose("task/a", 3, 1_000, e.Completed(fence=1, verb="complete", result="é"), "worker-1")

    assert body == envelope.body
    assert hashlib.sha256(preimage).digest() == envelope.digest
    text = (SPECS / "digest.md").read_text(encoding="utf-8")
    assert preimage.decode() in text
    assert envelope.digest.hex() in text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"type": "invented"}, "type is unknown"),
        ({"data_key": "key-1"}, "encrypted"),
        ({"schema": 2}, "schema is 2"),
        ({"schema": 0}, "schema is 0"),
        ({"body": '{"fence":1,"verb":"complete","invented":1}'}, "invented"),
        ({"body": "{}"}, "fence"),
        ({"body": '{"fence":1,"verb":"complete","type":"completed"}'}, "type"),
        ({"body": '{"fence":"1","verb":"complete"}'}, "fence"),
        ({"body": "[1]"}, "array"),
    ],
)
def test_an_unknown_type_field_or_schema_is_refused_and_named(change: dict[str, object], why: str) -> None:
    """[LOG-5]"""
    envelope = msgspec.structs.replace(enclose("task/a", 3, 1_000, e.Completed(fence=1, verb="complete")), **change)

    with pytest.raises(UnknownEvent, match=why) as caught:
        decode(envelope)

    assert ("task/a", 3, envelope.type) == (caught.value.stream, caught.value.version, caught.value.type)


@pytest.mark.parametrize("body", ["", "{", '{"fence":', '{"fence":1,"verb":"complete","result":' + "[" * 100_000])
def test_a_body_that_is_no_json_is_a_damaged_log(body: str) -> None:
    envelope = msgspec.structs.replace(enclose("task/a", 3, 1_000, e.Completed(fence=1, verb="complete")), body=body)

    with pytest.raises(LogDamaged, match="task/a@3"):
        decode(envelope)


def called_off(body: dict[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """What one event once said by a flag, two say by their names."""
    flag = body.pop("now")
    return (("cancelled", 1), {**body, "to": "cancelled"}) if flag else (("cancel_requested", 1), body)


# A made-up past. `done` became `completed`, whose first schema called the result `value`, whose second counted fences
# from 0; and `called_off` was split.
PAST: dict[Shape, Upcaster] = {
    ("done", 1): lambda body: (("completed", 1), body),
    ("completed", 1): lambda body: (
        ("completed", 2),
        {"fence": body["fence"], "verb": body["verb"], "result": body["value"]},
    ),
    ("completed", 2): lambda body: (("completed", 3), {**body, "fence": body["fence"] + 1}),
    ("called_off", 4): called_off,
}
PRESENT = Shapes(CATEGORIES.values(), {"completed": 3}, PAST)


@pytest.mark.parametrize(
    ("shape", "body", "event"),
    [
        (("done", 1), '{"fence":0,"verb":"complete","value":7}', e.Completed(1, "complete", 7)),
        (("completed", 1), '{"fence":0,"verb":"complete","value":7}', e.Completed(1, "complete", 7)),
        (("completed", 2), '{"fence":0,"verb":"complete","result":7}', e.Completed(1, "complete", 7)),
        (("completed", 3), '{"fence":0,"verb":"complete","result":7}', e.Completed(0, "complete", 7)),
        (("called_off", 4), '{"reason":"odd","now":true}', e.Cancelled(State.CANCELLED, reason="odd")),
        (("called_off", 4), '{"reason":"odd","now":false}', e.CancelRequested("odd")),
    ],
)
def test_an_old_shape_is_brought_to_the_present_one_step_by_step(shape: Shape, body: str, event: e.Recordable) -> None:
    """[LOG-6] Also one that had another name, and one that several events took the place of."""
    assert event == decode(stored(shape, body), PRESENT)


@pytest.mark.parametrize(
    ("shape", "body", "why"),
    [
        (("done", 2), "{}", "its schema is 2 and this version knows up to 1"),
        (("done", 0), "{}", "its schema is 0 and this version knows up to 1"),
        (("completed", 4), "{}", "its schema is 4 and this version knows up to 3"),
        (("called_off", 3), "{}", "its schema is 3 and this version knows up to 4"),
        (("undone", 1), "{}", "its type is unknown"),
        (("completed", 1), '{"fence":0}', "its body does not fit"),
        (("completed", 1), "[]", "its body is no object"),
        (("completed", 2), '{"fence":0,"verb":"complete","result":7,"odd":1}', "its body does not fit"),
    ],
)
def test_an_old_shape_that_is_not_known_wholly_is_refused(shape: Shape, body: str, why: str) -> None:
    """[LOG-5] [LOG-6]"""
    with pytest.raises(UnknownEvent, match=why):
        decode(stored(shape, body), PRESENT)


def stored(shape: Shape, body: str) -> Envelope:
    enclosed = enclose("task/a", 3, 1_000, e.Completed(fence=1, verb="complete"))
    return msgspec.structs.replace(enclosed, type=shape[0], schema=shape[1], body=body)


def test_every_upcaster_leads_from_a_shape_of_the_past() -> None:
    """[LOG-6] What is written now is read as it is."""
    assert not SHAPES.upcasters.keys() & SHAPES.schemas.items()


def structs_of(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """A struct, and all that its fields may hold."""
    ahead: list[Any] = [kind]
    while ahead:
        one = ahead.pop()
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            yield one
            ahead += [field.type for field in msgspec.structs.fields(one)]
        else:
            ahead += get_args(one)


@pytest.mark.parametrize("kind", e.NAMES, ids=lambda kind: e.NAMES[kind])
def test_a_field_may_be_absent_only_for_null_or_an_empty_list(kind: type[e.Recordable]) -> None:
    """[RECORD-4] Any other default would be this version's word for what another one has left out."""
    supplied = {
        f"{one.__name__}.{field.name}"
        for one in structs_of(kind)
        for field in msgspec.structs.fields(one)
        if field.default not in (msgspec.NODEFAULT, None, ()) or field.default_factory is not msgspec.NODEFAULT
    }

    assert not supplied


def test_a_required_field_is_written_and_an_optional_one_left_out() -> None:
    """[RECORD-4] The value of a required field does not matter."""
    undo = Inherited("u", "remove", "task", 3, -1)
    policy = Retry(releases_max=None).resolve()
    created = e.Created("build", "q", 0, 5, policy, State.PENDING, inherited=(undo,))

    body = msgspec.json.decode(enclose("task/a", 1, 0, created).body)

    assert {"kind", "queue", "priority", "run_at_ms", "policy", "to", "inherited"} == set(body)
    assert {"id": "u", "kind": "remove", "task": "task", "version": 3, "index": -1} == body["inherited"][0]
    assert set(policy.__struct_fields__) == set(body["policy"])
    leased = enclose("task/a", 2, 0, e.Leased("w", 1, 1, "work", False))
    assert '{"owner":"w","fence":1,"attempt":1,"purpose":"work","probe":false}' == leased.body


def test_the_schemas_in_specs_are_those_of_the_events() -> None:
    """`python -m sagalog.schemas specs/events` writes them anew."""
    written = {path.name: path.read_text(encoding="utf-8") for path in (SPECS / "events").glob("*.json")}

    expected = schema_files()
    stale = sorted(name for name in expected.keys() | written.keys() if expected.get(name) != written.get(name))
    assert stale == [], "run `python -m sagalog.schemas specs/events`"


# Texts that people and handlers say in their own words.
WORDS = {"text", "reason", "waiver", "message"}


@pytest.mark.parametrize("kind", e.NAMES, ids=lambda kind: e.NAMES[kind])
def test_json_and_words_of_callers_are_marked_as_free_and_nothing_else(kind: type[e.Recordable]) -> None:
    """[RECORD-5] In the structs, and so in the JSON Schemas."""
    for leaf in leaves(kind):
        assert leaf.free == (leaf.type is Any or leaf.path[-1] in WORDS), leaf.path


def test_the_schemas_mark_what_is_free() -> None:
    """[RECORD-5]"""
    created = json.loads(schema_files()["created.1.json"])["$defs"]

    assert created["Created"]["properties"]["payload"] == {"x-free": True, "default": None}
    assert created["Compensation"]["properties"]["reason"]["anyOf"][0] == {"x-free": True, "type": "string"}
    assert "x-free" not in json.dumps(created["Created"]["properties"]["tags"])

"""`create`, `init` and what operators do: what is written, what is answered, and what is refused without a trace."""

from __future__ import annotations

import inspect
import json
import shutil
import stat
from pathlib import Path

import msgspec
import pytest

from sagalog import Engine, Retry
from sagalog.kernel.bounds import BATCH_COMMANDS_MAX
from sagalog.testing import ManualClock
from sagalog_cli.commands.creation import NewTask
from tests.adapters.cli.calls import PAST_MS, call, leased, past, url_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store is, once a test makes it."""
    return tmp_path / "store.db"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is made once, to be copied: what takes its time is syncing a new file."""
    path = tmp_path_factory.mktemp("empty") / "store.db"
    with past(path):
        return path


@pytest.fixture
def db(empty: Path, path: Path) -> str:
    """The URL of a store that exists and is empty."""
    shutil.copy(empty, path)
    return url_of(path)


def ids(db: str) -> list[str]:
    return [task["id"] for task in call("list", "--db", db, "--all", "--json").documents]


# --- init -----------------------------------------------------------------------------------------------------------


def test_init_makes_a_store_and_says_so_and_finds_it_the_second_time(path: Path) -> None:
    first = call("init", "--db", url_of(path), "--json")
    second = call("init", "--db", url_of(path), "--json")

    assert (0, 0) == (first.status, second.status)
    assert [True, False] == [first.documents[0]["made"], second.documents[0]["made"]]
    assert first.documents[0]["store_id"] == second.documents[0]["store_id"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert call("init", "--db", url_of(path)).out.startswith("found store 0")


def test_a_plain_path_names_an_sqlite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert 0 == call("init", "--db", "a b.db").status
    assert 0 == call("init", "--db", str(tmp_path / "c.db")).status
    assert 0 == call("init").status

    assert {"a b.db", "c.db", "sagalog.db"} <= {file.name for file in tmp_path.iterdir()}


def test_the_store_is_named_by_an_option_before_the_environment(tmp_path: Path) -> None:
    """A later option goes before an earlier one."""
    first, second, third = (str(tmp_path / f"{name}.db") for name in "abc")

    urls = [
        call("--db", first, "init", "--db", second, "--json", env={"SAGALOG_DB": third}).documents[0]["url"],
        call("--db", first, "--json", "init", env={"SAGALOG_DB": third}).documents[0]["url"],
        call("--json", "init", env={"SAGALOG_DB": third}).documents[0]["url"],
    ]

    assert [f"sqlite:///{path}" for path in (second, first, third)] == urls


def test_a_store_in_memory_is_refused_since_it_would_be_gone_at_once() -> None:
    answer = call("create", "build", "--db", "memory:")

    assert (2, "") == (answer.status, answer.out)
    assert "keep nothing" in answer.err


# --- create ---------------------------------------------------------------------------------------------------------


def test_create_writes_every_argument_that_it_is_given(db: str, path: Path) -> None:
    words = [
        *("create", "build", '{"n": 1}', "--db", db, "--id", "t", "--queue", "ci", "--priority", "-3"),
        *("--affinity", "gpu", "--key", "k", "--run-at", "2026-11-21T22:55:30.740+01:00", "--retry", "attempts_max=5"),
        *("--retry", "releases_max=none", "--retry", "spent=quarantine", "--compensation", "tidy"),
        *("--compensation", 'remove={"path": "a=b"}', "--compensation", '{"kind": "tell", "id": "c", "reason": "r"}'),
        *(
            "--waive-compensation",
            "nothing to undo",
            "--tag",
            "branch=x=y",
            "--tag",
            "empty=",
            "--correlation-id",
            "c1",
        ),
        *(
            "--parent",
            "p",
            "--trace",
            TRACE,
            "--tracestate",
            "vendor=1",
            "--data-key",
            "tenant-1",
            "--cause",
            "task/p@7",
            "--actor",
            "bob",
            "--idempotency-key",
            "r1",
        ),
    ]

    answer = call(*words)

    assert (0, "t\n", "") == answer
    with past(path) as engine:
        task, first = engine.get("t"), engine.history("t")[0]
    assert task is not None
    assert (task.kind, task.payload, task.queue, task.priority) == ("build", {"n": 1}, "ci", -3)
    assert (task.affinity, task.key, task.run_at_ms) == ("gpu", "k", 1_795_298_130_740)
    assert (task.policy.attempts_max, task.policy.releases_max, task.policy.spent) == (5, None, "quarantine")
    assert [(one.kind, one.params, one.reason) for one in task.compensations] == [
        ("tidy", None, None),
        ("remove", {"path": "a=b"}, None),
        ("tell", None, "r"),
    ]
    assert task.compensations[2].id == "c"
    assert task.tags == {"branch": "x=y", "empty": ""}
    assert (task.correlation_id, task.parent, task.trace, task.tracestate) == ("c1", "p", TRACE, "vendor=1")
    assert task.data_key == "tenant-1"
    assert (first.actor, first.cause, first.idempotency_key) == ("user:bob", "task/p@7", "r1")
    assert msgspec.to_builtins(first.event)["waiver"] == "nothing to undo"


def test_a_creation_that_is_repeated_gives_the_task_that_exists(db: str) -> None:
    first = call("create", "build", "[1]", "--id", "t", "--db", db)
    again = call("create", "build", "[1]", "--id", "t", "--db", db)
    other = call("create", "build", "[2]", "--id", "t", "--db", db, "--json")

    assert (first.out, again.out, again.status) == ("t\n", "t\n", 0)
    assert (3, "already_exists", "t") == (other.status, other.error["code"], other.error["task"])
    assert ids(db) == ["t"]


def test_a_creation_with_other_content_under_its_key_is_a_conflict(db: str) -> None:
    call("create", "build", "[1]", "--id", "t", "--idempotency-key", "r", "--db", db)
    other = call("create", "build", "[2]", "--idempotency-key", "r", "--db", db, "--json")

    assert (5, "conflict", "t") == (other.status, other.error["code"], other.error["task"])
    assert ("r", ["payload"]) == (other.error["idempotency_key"], other.error["differs"])
    assert ids(db) == ["t"]


def test_the_user_who_runs_the_command_is_on_record(db: str, path: Path) -> None:
    """The environment or an option may name another actor."""
    call("create", "build", "--id", "a", "--db", db, env={"SAGALOG_ACTOR": ""})
    call("create", "build", "--id", "b", "--db", db, env={"SAGALOG_ACTOR": "eve"})
    call("create", "build", "--id", "c", "--db", db, "--actor", "bob", env={"SAGALOG_ACTOR": "eve"})

    with past(path) as engine:
        actors = [engine.history(id)[0].actor for id in "abc"]

    assert f"user:{path.owner()}" == actors[0]
    assert ["user:eve", "user:bob"] == actors[1:]


@pytest.mark.parametrize(
    ("payload", "given", "expected"),
    [
        (None, b"", None),
        ("null", b"", None),
        ('"-"', b"", "-"),
        ("-", b'{"a": [1, "\\u00e9"]}\n', {"a": [1, "é"]}),
        ("-", b"null", None),
        ("[]", b"", []),
        ("0", b"", 0),
    ],
)
def test_a_payload_is_json_from_the_line_or_from_standard_input(
    db: str, path: Path, payload: str | None, given: bytes, expected: object
) -> None:
    words = ["create", "build", "--id", "t", "--db", db]

    answer = call(*words, *([] if payload is None else [payload]), given=given)

    assert 0 == answer.status
    with past(path) as engine:
        task = engine.get("t")
        assert task is not None
        assert task.payload == expected


def test_a_negative_number_is_a_payload_behind_two_hyphens(db: str) -> None:
    assert 0 == call("create", "count", "--db", db, "--", "-5").status
    assert [-5] == [task["payload"] for task in call("list", "--db", db, "--json").documents]


def test_a_task_can_be_due_some_time_from_now(db: str) -> None:
    call("create", "build", "--db", db, "--run-at", "+1h30m")

    task = call("list", "--db", db, "--json").documents[0]

    assert abs(task["run_at_ms"] - task["created_ms"] - 5_400_000) < 60_000


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "KIND"),
        (("k", "hello"), "no JSON"),
        (("k", "\udcff"), "UTF-8"),
        (("k", "["), "no JSON"),
        (("k", "[" * 2_000), "nested too deep"),
        (("k", "1", "2"), "extra argument"),
        (("k", "--nope"), "--nope"),
        (("k", "--priority", "high"), "--priority"),
        (("k", "--tag", "a"), "name=value"),
        (("k", "--tag", "a=1", "--tag", "a=2"), "twice"),
        (("k", "--run-at", "tomorrow"), "+10m"),
        (("k", "--run-at", "2026-11-21T22:55:30"), "no zone"),
        (("k", "--retry", "attempts=5"), "attempts_max"),
        (("k", "--retry", "attempts_max=many"), "int"),
        (("k", "--compensation", "undo={"), "no JSON"),
        (("k", "--compensation", '{"params": 1}'), "kind"),
        (("--many", "k"), "KIND"),
        (("--many", "--queue", "q", "--tag", "a=b"), "--queue, --tag"),
    ],
)
def test_wrong_usage_of_create_is_status_2_and_writes_nothing(db: str, words: tuple[str, ...], part: str) -> None:
    answer = call("create", *words, "--db", db)

    assert (2, "") == (answer.status, answer.out)
    assert part in answer.err
    assert answer.err.startswith("error: ")
    assert ids(db) == []


@pytest.mark.parametrize(
    "words",
    [
        ("",),
        ("k", "123456789012345678901234567890"),
        ("k", "--queue", ""),
        ("k", "--priority", "99999999999"),
        ("k", "--retry", "attempts_max=0"),
        ("k", "--run-at", "9999999999999999"),
        ("k", "--id", "x" * 201),
        ("k", "--actor", ""),
        ("k", "--tag", "a\x1b=b"),
        ("k", "-"),
    ],
)
def test_a_value_that_the_engine_refuses_is_status_3_and_writes_nothing(db: str, words: tuple[str, ...]) -> None:
    answer = call("create", *words, "--db", db, "--json", given=b"no JSON")

    assert (3, "", "invalid_value") == (answer.status, answer.out, answer.error["code"])
    assert ids(db) == []


def test_create_makes_an_absent_store_and_says_so(path: Path) -> None:
    answer = call("create", "build", "--db", url_of(path))

    assert 0 == answer.status
    assert f"note: there was no store: made one at {url_of(path)}\n" == answer.err
    assert "" == call("create", "build", "--db", url_of(path)).err


# --- create --many --------------------------------------------------------------------------------------------------


def test_a_line_takes_exactly_the_arguments_of_create() -> None:
    _, *arguments = inspect.signature(Engine.create).parameters

    assert sorted(arguments) == sorted(NewTask.__struct_fields__)


def test_many_tasks_are_created_from_lines_in_one_commit(db: str, path: Path) -> None:
    """Their ids are printed in the order of the lines."""
    lines = (
        b'{"kind": "a", "id": "1", "payload": {"n": 1}, "actor": "eve", "tags": {"x": "y"}, "priority": 7}\n'
        b"\n"
        b'{"kind": "b", "id": "2", "compensations": [{"kind": "u", "params": 5}], "retry": {"attempts_max": 2}}\r\n'
        b'{"kind": "c", "id": "3", "run_at_ms": 1800000000000, "queue": "q"}'
    )

    answer = call("create", "--many", "--db", db, "--actor", "bob", given=lines)

    assert (0, ["1", "2", "3"]) == (answer.status, answer.lines)
    with past(path) as engine:
        one, two, three = engine.find()
        events = engine.events()[1:]
    assert (one.payload, one.tags, one.priority) == ({"n": 1}, {"x": "y"}, 7)
    assert (two.compensations[0].params, two.policy.attempts_max) == (5, 2)
    assert (three.run_at_ms, three.queue) == (1_800_000_000_000, "q")
    assert ["user:eve", "user:bob", "user:bob"] == [event.actor for event in events]
    assert 1 == len({event.at_ms for event in events})


def test_many_tasks_as_json_are_a_line_each(db: str) -> None:
    answer = call("create", "--many", "--db", db, "--json", given=b'{"kind":"a"}\n{"kind":"b"}\n')

    assert [("a", "pending"), ("b", "pending")] == [(task["kind"], task["state"]) for task in answer.documents]


@pytest.mark.parametrize(
    ("line", "part", "code"),
    [
        (b"nonsense", "no JSON", "invalid_value"),
        (b"[]", "object", "invalid_value"),
        (b'{"kind": "\xff"}', "UTF-8", "invalid_value"),
        (b"{}", "kind", "invalid_value"),
        (b'{"kind": "k", "nope": 1}', "nope", "invalid_value"),
        (b'{"kind": "k", "priority": "1"}', "int", "invalid_value"),
        (b'{"kind": "k", "queue": null}', "null", "invalid_value"),
        (b'{"kind": "k", "retry": {"attempts": 1}}', "attempts", "invalid_value"),
        (b'{"kind": ""}', "kind", "invalid_value"),
        (b'{"kind": "other", "id": "there"}', "other content", "already_exists"),
        (b'{"kind": "other", "id": "t1"}', "other content", "already_exists"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_nothing_is_written(db: str, line: bytes, part: str, code: str) -> None:
    call("create", "build", "--id", "there", "--db", db)
    lines = b'{"kind": "fine", "id": "t1"}\n\n' + line + b'\n{"kind": "fine"}\n'

    human = call("create", "--many", "--db", db, given=lines)
    machine = call("create", "--many", "--db", db, "--json", given=lines)

    assert (3, "") == (human.status, human.out)
    assert human.err.startswith("error: line 3: ")
    assert part in human.err
    assert "command" not in human.err
    assert "specs[" not in human.err
    assert (code, 3) == (machine.error["code"], machine.error["line"])
    assert ids(db) == ["there"]


def test_more_lines_than_a_commit_holds_are_refused_with_the_bound(db: str) -> None:
    """The error says how to split them."""
    lines = b'{"kind":"a"}\n' * (BATCH_COMMANDS_MAX + 1)

    answer = call("create", "--many", "--db", db, "--json", given=lines)

    assert (3, "over_bound") == (answer.status, answer.error["code"])
    assert ("batch_commands", BATCH_COMMANDS_MAX) == (answer.error["bound"], answer.error["maximum"])
    assert "split -l 10000" in answer.error["message"]
    assert ids(db) == []


def test_no_line_creates_nothing_and_is_no_error(path: Path) -> None:
    answer = call("create", "--many", "--db", url_of(path), given=b"\n \n")

    assert (0, "") == (answer.status, answer.out)
    assert "note: " in answer.err
    assert not path.exists()


# --- what operators do ----------------------------------------------------------------------------------------------


def test_a_pending_task_is_cancelled_at_once_and_who_asked_is_on_record(db: str, path: Path) -> None:
    with past(path) as engine:
        engine.create("build", id="t")

    answer = call("cancel", "t", "--reason", "no longer wanted", "--actor", "bob", "--idempotency-key", "r", "--db", db)

    assert (0, "t is cancelled\n", "") == answer
    with past(path) as engine:
        last = engine.history("t")[-1]
    assert ("cancelled", "user:bob", "r") == (last.type, last.actor, last.idempotency_key)
    assert msgspec.to_builtins(last.event)["reason"] == "no longer wanted"


def test_a_running_task_is_asked_to_stop_or_loses_its_lease_with_now(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "asked")
        leased(engine, "ended", undos=["u1", "u2"])

    asked = call("cancel", "asked", "--db", db)
    ended = call("cancel", "ended", "--now", "--db", db)

    assert asked.out == "asked is running; its owner is asked to stop\n"
    assert ended.out == "ended is compensating; owed: u2, u1\n"
    assert call("cancel", "ended", "--db", db).status == 0


def test_a_task_is_quarantined_with_what_it_owes_and_a_note_settles_it(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "t", undos=["u1"])

    quarantined = call("quarantine", "t", "--reason", "looks wrong", "--db", db)
    noted = call("note", "t", "undone by hand", "--settles", "u1", "--db", db, "--json")

    assert quarantined.out == "t is quarantined; owed: u1\n"
    assert (0, "noted") == (noted.status, noted.documents[0]["compensations"][0]["status"])


def test_a_compensation_is_waived_by_word(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "t", undos=["u1", "u2"])

    answer = call("waive", "t", "u1", "--reason", "never began", "--db", db, "--json")

    assert ["waived", "owed"] == [one["status"] for one in answer.documents[0]["compensations"]]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("cancel", "done"), 3, "terminal_task"),
        (("quarantine", "done", "--reason", "r"), 3, "terminal_task"),
        (("waive", "done", "u", "--reason", "r"), 4, "not_found"),
        (("waive", "live", "nope", "--reason", "r"), 4, "not_found"),
        (("note", "live", "text", "--settles", "u"), 3, "wrong_state"),
        (("note", "live", " "), 3, "invalid_value"),
        (("cancel", "nobody"), 4, "not_found"),
        (("note", "nobody", "text"), 4, "not_found"),
        (("note", "live", "text", "--idempotency-key", "taken"), 5, "conflict"),
        (("quarantine", "live"), 2, "usage"),
        (("waive", "live", "u"), 2, "usage"),
        (("note", "live"), 2, "usage"),
        (("recover", "--limit", "0"), 2, "usage"),
        (("recover", "--unknown-kind", ""), 3, "invalid_value"),
    ],
)
def test_what_operators_may_not_do_is_refused_with_its_status(
    db: str, path: Path, words: tuple[str, ...], status: int, code: str
) -> None:
    """The status is that of the error's branch."""
    with past(path) as engine:
        leased(engine, "done").complete()
        leased(engine, "live", undos=["u"])
        engine.note("done", "something else", idempotency_key="taken")
        before = len(engine.events())

    answer = call(*words, "--db", db, "--json")

    assert (status, code, "") == (answer.status, answer.error["code"], answer.out)
    with past(path) as engine:
        assert before == len(engine.events())


def test_an_idempotency_key_that_is_repeated_writes_nothing_twice(db: str, path: Path) -> None:
    """[REPEAT-4]"""
    with past(path) as engine:
        engine.create("build", id="t")

    statuses = [call("note", "t", "once", "--idempotency-key", "r", "--db", db).status for _ in range(2)]

    assert [0, 0] == statuses
    with past(path) as engine:
        assert ["created", "noted"] == [event.type for event in engine.history("t")]


# --- recover --------------------------------------------------------------------------------------------------------


def test_recover_ends_leases_that_are_over_once(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "a")
        leased(engine, "b")

    first = call("recover", "--db", db)
    second = call("recover", "--db", db)

    assert ["ID  EVENTS         STATE", "a   lease_expired  pending", "b   lease_expired  pending"] == first.lines
    assert (0, "", "note: nothing was due\n") == second


def test_recover_stops_at_its_limit_and_answers_json_lines(db: str, path: Path) -> None:
    with past(path) as engine:
        for number in range(3):
            leased(engine, str(number))

    answer = call("recover", "--limit", "1", "--db", db, "--json")

    assert [{"task": "0", "events": ["lease_expired"], "state": "pending"}] == answer.documents


def test_recover_quarantines_who_owes_a_kind_that_no_worker_knows(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "t", undos=["teleport"]).fail("broken")
        # Its undo may wait for ever, though the past lies years ago.
        leased(engine, "other", undos=["walk"], retry=Retry(undo_wait_ms=None)).fail("broken")

    answer = call("recover", "--unknown-kind", "teleport", "--db", db, "--json")

    assert [("t", "quarantined")] == [(one["task"], one["state"]) for one in answer.documents]


def test_a_past_lease_is_told_by_the_clock_of_its_own_time(db: str, path: Path) -> None:
    """Nothing here depends on when the test runs: the engine of the past sees its lease alive."""
    with past(path) as engine:
        leased(engine, "t")
        assert engine.stale() == []
    with past(path, ManualClock(PAST_MS + 30_000)) as engine:
        assert [task.id for task in engine.stale()] == ["t"]


def test_answers_of_writes_are_tasks_as_json(db: str) -> None:
    words = [("create", "build", "--id", "t"), ("note", "t", "x"), ("cancel", "t")]

    answers = [call(*one, "--db", db, "--json").out for one in words]

    assert ["pending", "pending", "cancelled"] == [json.loads(answer)["state"] for answer in answers]


@pytest.mark.parametrize(
    ("arguments_", "typed"),
    [
        (("build", "--queue", "q" * 300), ""),
        (("build", "[9223372036854775808]"), ""),
        (("--many",), '{"kind":"build"}\n{"kind":"build","priority":99999999999}\n'),
    ],
)
def test_a_creation_that_is_refused_leaves_no_store_behind(
    tmp_path: Path, arguments_: tuple[str, ...], typed: str
) -> None:
    answer = call("create", *arguments_, "--db", url_of(tmp_path / "new.db"), given=typed)
    assert answer.status == 3
    assert list(tmp_path.iterdir()) == []

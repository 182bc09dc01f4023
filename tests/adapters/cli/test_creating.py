"""`init` and `create`: what is written, what is answered, and what is refused without a trace."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from sagalog import Dedupe
from tests.adapters.cli.calls import call, ids, past, url_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


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
        *("--affinity", "gpu", "--key", "k", "--build", "b1", "--retry", "attempts_max=5"),
        *("--run-at", "2026-11-21T22:55:30.740+01:00"),
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
    assert (task.affinity, task.key, task.build, task.run_at_ms) == ("gpu", "k", "b1", 1_795_298_130_740)
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


def test_a_task_is_created_after_others(db: str, path: Path) -> None:
    """[WAIT-5]"""
    call("create", "build", "--id", "a", "--db", db)
    call("create", "build", "--id", "b", "--db", db)
    after = ("--after", "a", "--after", "b", "--on-failed", "run")

    answer = call("create", "build", "--id", "c", *after, "--db", db)
    unknown = call("create", "build", "--after", "nobody", "--db", db, "--json")
    shown = call("show", "c", "--db", db)

    assert (0, "c\n") == (answer.status, answer.out)
    assert (4, "not_found", "nobody") == (unknown.status, unknown.error["code"], unknown.error["task"])
    assert "after: for a, b" in shown.out
    with past(path) as engine:
        task, created = engine.get("c"), engine.history("c")[0].event
    assert task is not None
    assert task.waiting is not None
    assert (task.waiting.after, msgspec.to_builtins(created)["on_failed"]) == (("a", "b"), "run")


def test_a_task_is_created_with_the_limits_that_it_uses(db: str, path: Path) -> None:
    """[LIMIT-1] One unit where none is given; a limit that is not set is an error."""
    with past(path) as engine:
        engine.set_limit("gpu", slots=2)
        engine.set_limit("memory", slots=8)

    answer = call("create", "build", "--id", "t", "--use", "gpu", "--use", "memory=4", "--db", db)
    unknown = call("create", "build", "--use", "disk", "--db", db, "--json")

    assert (0, "t\n") == (answer.status, answer.out)
    assert (4, "not_found", "disk") == (unknown.status, unknown.error["code"], unknown.error["limit"])
    with past(path) as engine:
        assert [task.uses for task in engine.find()] == [{"gpu": 1, "memory": 4}]


def test_a_repeat_of_a_dedupe_key_prints_the_task_that_has_it(db: str, path: Path) -> None:
    """[DEDUPE-2] Whatever else it says, and with a note."""
    nightly = ("--dedupe", "nightly", "--dedupe-scope", "period", "--dedupe-period", "24h")

    first = call("create", "report", "[1]", "--id", "t", *nightly, "--db", db)
    again = call("create", "report", "[2]", "--queue", "q", "--dedupe", "nightly", "--db", db)
    as_json = call("create", "report", "--dedupe", "nightly", "--db", db, "--json")
    shown = call("show", "t", "--db", db)

    assert (first.out, again.out, again.status) == ("t\n", "t\n", 0)
    assert "note" not in first.err
    assert "note: a task has the dedupe key already, so nothing was created: t" in again.err
    assert as_json.documents[0]["deduplicated"] is True
    assert "dedupe nightly (period)" in " ".join(shown.out.split())
    assert ids(db) == ["t"]
    with past(path) as engine:
        assert [task.dedupe for task in engine.find()] == [Dedupe("nightly", "period", 86_400_000)]


def test_lines_with_one_dedupe_key_create_one_task(db: str) -> None:
    """[DEDUPE-2]"""
    line = b'{"kind": "report", "id": "%s", "dedupe": {"key": "nightly"}}\n'

    answer = call("create", "--many", "--db", db, given=line % b"a" + line % b"b" + line % b"c")

    assert (answer.status, answer.out) == (0, "a\na\na\n")
    assert "note: 2 tasks have the dedupe key already, so nothing was created: a, a" in answer.err
    assert ids(db) == ["a"]


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
        (("k", "--use", "gpu=two"), "--use"),
        (("k", "--use", "gpu", "--use", "gpu=2"), "twice"),
        (("k", "--run-at", "tomorrow"), "+10m"),
        (("k", "--run-at", "2026-11-21T22:55:30"), "no zone"),
        (("k", "--retry", "attempts=5"), "attempts_max"),
        (("k", "--retry", "attempts_max=many"), "int"),
        (("k", "--compensation", "undo={"), "no JSON"),
        (("k", "--compensation", '{"params": 1}'), "kind"),
        (("k", "--dedupe-scope", "ever"), "--dedupe"),
        (("k", "--dedupe", "a", "--dedupe-scope", "always"), "--dedupe-scope"),
        (("k", "--dedupe", "a", "--dedupe-period", "soon"), "--dedupe-period"),
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
        ("k", "--use", "gpu=0"),
        ("k", "--dedupe", ""),
        ("k", "--dedupe", "a", "--dedupe-period", "1h"),
        ("k", "--dedupe", "a", "--dedupe-scope", "period"),
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

"""Text that is no UTF-8, in whatever column: its own task is refused, an audit names it, and all others go on. [LOG-5]

SQLite stores whatever bytes it is given as text, and a disk may change any of them. The columns are taken from the
schema, so a new one is tried too.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

import sagalog
from sagalog.engine import audit
from sagalog.testing import ManualClock
from sagalog_sqlite import migration, rebuild
from sagalog_sqlite.texts import bytes_of, forgiving, key_of
from tests.adapters.cli.calls import call
from tests.adapters.sqlite.stores import START_MS, raw, url_of

TTL_MS = 1_000
# What is compared as bytes and never read as text: the name under which a migration is on record.
UNREAD = {("migrations", "name")}


def columns() -> list[tuple[str, str]]:
    """Every text column of this version's schema."""
    connection = apsw.Connection(":memory:")
    for statement in migration.schema().values():
        if statement is not None and statement.startswith("CREATE TABLE"):
            connection.execute(statement)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = [
        (table, column)
        for table in tables
        for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})")
        if kind == "TEXT"
    ]
    connection.close()
    return sorted(set(found) - UNREAD)


# The row that is changed: one of the task `a`, or of its neighbours.
WHERE = {
    "streams": "id = 'a'",
    "events": "stream = (SELECT number FROM streams WHERE id = 'a')",
    "tasks": "stream = (SELECT number FROM streams WHERE id = 'a')",
    "tags": "stream = (SELECT number FROM streams WHERE id = 'a')",
    "awaited": "true",
    "unhandled": "true",
    "blobs": "true",
    "kept": "true",
    "store": "true",
    "limit_uses": "true",
    "accounts": "true",
    "dedupes": "true",
    "naming": "true",
    "pruned": "true",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which `a` owes an undo and has a tag, bytes and a key, `w` waits for `b`, and `c` for nothing."""
    path = tmp_path_factory.mktemp("sound") / "store.db"
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal", actor="ann") as engine:
        undo = [sagalog.Compensation("remove", id="u")]
        spec, tags = {"spec": b"bytes"}, {"colour": "red"}
        for id in ("a", "b", "c", "w"):
            mine = {"inputs": spec, "tags": tags, "compensations": undo, "idempotency_key": "r"} if id == "a" else {}
            engine.create("build", {"of": id}, id=id, queue="q", affinity="x", cause="task/z@1", **mine)  # type: ignore[arg-type]
        engine.set_limit("gpu", slots=1)
        engine.create("build", id="d", queue="p", uses={"gpu": 1}, dedupe=sagalog.Dedupe("k"))
        [_] = engine.claim("p", owner="ann", ttl_ms=None)
        engine.acquire("a", owner="ann", ttl_ms=TTL_MS).fail("no way on")
        engine.acquire("w", owner="ann", ttl_ms=TTL_MS).park("other", after=["b"])
        engine.create("build", id="e", queue="old", inputs={"spec": b"other bytes"})
        engine.cancel("e")
        engine.prune(0)
        reader = engine.subscribe("reader")
        reader.read(2)
        reader.save()
    connection = raw(path)
    connection.execute("INSERT INTO unhandled(what, task) VALUES ('children', 'b')")
    connection.close()
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copy(sound, tmp_path / "store.db"))


def spoil(path: Path, table: str, column: str) -> None:
    """Put a byte that begins nothing in UTF-8 before the text of a column."""
    connection = raw(path)
    connection.pragma("synchronous", "off")
    connection.execute("BEGIN")
    for name, statement in migration.schema().items():
        if statement is not None and statement.startswith("CREATE TRIGGER"):
            connection.execute(f"DROP TRIGGER {name}")
    changed = f"CAST(x'ff' || CAST(coalesce({column}, '') AS BLOB) AS TEXT)"
    connection.execute(f"UPDATE {table} SET {column} = {changed} WHERE {WHERE[table]}")  # noqa: S608  names of ours
    assert connection.changes() > 0
    for statement in migration.schema().values():
        if statement is not None and statement.startswith("CREATE TRIGGER"):
            connection.execute(statement)
    connection.execute("COMMIT")
    connection.close()


def said(ask: Callable[[], Any]) -> Any:
    """An answer, or the refusal; what is no error of sagalog's own goes through."""
    try:
        return ask()
    except sagalog.SagalogError as refusal:
        return refusal


@pytest.mark.parametrize(("table", "column"), columns())
def test_a_text_that_is_no_utf8_is_named_and_stops_no_other_task(path: Path, table: str, column: str) -> None:
    """[LOG-5] [LOG-4]"""
    spoil(path, table, column)
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        assert not engine.verify().ok
        asks: list[Callable[[], Any]] = [
            engine.find, engine.counts, engine.stale, engine.health, engine.events, engine.recover,
            partial(engine.find, queue="q"), partial(engine.find, tags={"colour": "red"}),
            *(partial(engine.get, id) for id in "abcw"), *(partial(engine.history, id) for id in "abcw"),
            partial(engine.input, "a", "spec"), partial(engine.create, "build", idempotency_key="r"),
            partial(engine.claim, "q", owner="eve", ttl_ms=TTL_MS, purpose="undo"),
            lambda: engine.subscribe("reader").read(), lambda: engine.subscribe(None).read(),
            partial(engine.note, "a", "seen"),
        ]  # fmt: skip
        for ask in asks:
            said(ask)
        others = {"b", "c"} if table != "store" else set()
        assert {task.id for task in engine.find()} >= others
        assert {lease.task.id for lease in engine.claim("q", owner="bob", ttl_ms=TTL_MS, limit=5)} >= others
        for id in others:
            assert engine.get(id) is not None
        engine.rebuild()
        worker = sagalog.Worker("q")
        worker.task("build")(lambda *_: None)
        worker.compensation("remove")(lambda *_: None)
        worker.run(engine, until="idle", handle_signals=False)


@pytest.mark.parametrize(
    ("table", "column"),
    [("events", "body"), ("events", "actor"), ("streams", "id"), ("tasks", "queue"), ("tags", "name")],
)
def test_the_command_line_shows_what_can_be_read_and_names_the_rest(path: Path, table: str, column: str) -> None:
    spoil(path, table, column)
    for words in (["list"], ["stats"], ["stale"], ["show", "a"], ["history", "a"], ["verify"], ["tail", "--no-follow"]):
        answer = call(*words, "--db", str(path))
        assert answer.status in (0, 4, 8), (words, answer.err)
        assert "Unicode" not in answer.err


@pytest.mark.parametrize(
    ("table", "column"),
    [
        one
        for one in columns()
        if one[0] in ("tasks", "awaited", "tags", "store", "limit_uses", "accounts", "dedupes", "naming", "pruned")
    ],
)
def test_what_is_folded_from_the_log_is_mended_by_a_rebuild(path: Path, table: str, column: str) -> None:
    """[RECORD-3]"""
    spoil(path, table, column)
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        assert not engine.verify().ok
        assert engine.rebuild().unreadable == ()
        assert engine.verify().faults == ()


@pytest.mark.parametrize("column", ["type", "actor", "cause", "idempotency_key", "data_key", "body"])
def test_the_task_of_a_spoilt_event_is_refused_and_named(path: Path, column: str) -> None:
    """[LOG-4] [LOG-5]"""
    spoil(path, "events", column)
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        assert {(fault.code, fault.stream) for fault in engine.verify().faults} == {("digest", "task/a")}
        with pytest.raises(sagalog.LogDamaged, match="task/a@1 was changed"):
            engine.history("a")
        assert engine.rebuild().unreadable == ("a",)
        assert [task.id for task in engine.find()] == ["b", "c", "w", "d", "e"]


def test_the_refusal_of_a_task_with_a_spoilt_event_holds_up_no_other(path: Path) -> None:
    """[LOG-5] A statement that was left half-read would keep the connection at what was there before."""
    spoil(path, "events", "body")
    raw(path).execute("UPDATE tasks SET fold = NULL")
    with sagalog.open(url_of(path)) as engine, sagalog.open(url_of(path)) as other:
        gc.disable()
        try:
            refusals = [said(partial(engine.note, "a", "seen")) for _ in range(2)]
            other.note("b", "seen")
            assert engine.note("b", "seen too").version == 3
        finally:
            gc.enable()
    assert [type(refusal) for refusal in refusals] == [sagalog.LogDamaged] * 2


def test_a_spoilt_fold_is_made_again_from_the_log(path: Path) -> None:
    """[RECORD-3]"""
    connection = raw(path)
    spoilt = "CAST(substr(fold, 1, 20) || x'ff' || substr(fold, 22) AS BLOB)"
    connection.execute(f"UPDATE tasks SET fold = {spoilt} WHERE {WHERE['tasks']}")  # noqa: S608  names of ours
    assert connection.changes() == 1
    connection.close()
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        task = engine.get("a")
        assert task is not None
        assert (task.id, task.payload, [one.id for one in task.compensations]) == ("a", {"of": "a"}, ["u"])
        [lease] = engine.claim("q", owner="ann", ttl_ms=TTL_MS, purpose="undo")
        lease.compensation_done("u")
        assert engine.verify().ok


def test_the_row_of_the_store_is_not_needed_to_go_on(path: Path) -> None:
    """[RECORD-3]"""
    with sagalog.open(url_of(path), durability="normal") as engine:
        id = engine.store_id
    spoil(path, "store", "id")
    with sagalog.open(url_of(path), durability="normal") as engine:
        assert engine.store_id == id
        engine.create("build", id="next")
        assert ["file"] == [fault.code for fault in engine.verify().faults]


def test_a_changed_checkpoint_is_not_gone_on_from(path: Path) -> None:
    """[SUBSCRIBE-5]"""
    connection = raw(path)
    connection.execute("UPDATE kept SET value = value + 1 WHERE space = 'subscriptions'")
    connection.close()
    with sagalog.open(url_of(path), durability="normal") as engine:
        with pytest.raises(sagalog.Corrupt, match="'reader' of 'subscriptions' was changed"):
            engine.subscribe("reader")
        assert ["file"] == [fault.code for fault in engine.verify().faults]
        engine.subscribe("another").read()


def test_forgiven_rows_come_in_order_and_each_as_it_is() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t(n INTEGER, v)")
    connection.execute("INSERT INTO t VALUES (3, 'three'), (2, x'ff'), (4, NULL), (5, 5), (6, 'grün')")
    connection.execute("INSERT INTO t VALUES (1, CAST(x'6bff' AS TEXT))")
    with pytest.raises(UnicodeDecodeError):
        connection.execute("SELECT n, v FROM t ORDER BY n").fetchall()
    execute: Callable[..., Any] = forgiving(connection)
    rows = [(1, "k\\xff"), (2, b"\xff"), (3, "three"), (4, None), (5, 5), (6, "grün")]
    assert list(execute("SELECT n, v FROM t ORDER BY n")) == rows
    assert list(execute("SELECT n, v FROM t WHERE n > ? ORDER BY n DESC LIMIT ?", (2, 2))) == [rows[5], rows[4]]
    assert execute("SELECT v FROM t WHERE n = 1").fetchone() == ("k\\xff",)
    execute("DELETE FROM t WHERE n < ?", (6,))
    assert execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert bytes_of(key_of(b"k\xff")) == b"k\xff"
    connection.close()


def test_a_page_that_leads_back_ends_the_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that a disk has made another type's sorts behind all others; a reader that goes on would begin again."""
    monkeypatch.setattr(audit, "_SLICE", 1)
    monkeypatch.setattr(rebuild, "SLICE", 1)
    strict = "UPDATE sqlite_schema SET sql = replace(sql, {!r}, {!r}) WHERE name = 'tags'"
    for statements in (
        [strict.format("STRICT, WITHOUT", "WITHOUT")],
        ["INSERT INTO tags SELECT x'61', 'red', number FROM streams", strict.format(") WITHOUT", ") STRICT, WITHOUT")],
    ):
        connection = raw(path)
        connection.pragma("writable_schema", 1)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        for statement in statements:
            connection.execute(statement)
        connection.close()
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        assert not engine.verify().ok
        said(engine.rebuild)
        assert len(engine.find()) == 6

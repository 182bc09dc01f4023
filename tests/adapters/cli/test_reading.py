"""`list`, `show`, `history`, `stale`, `stats`, `verify`, `rebuild`: what they tell, as text and as JSON."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import msgspec
import pytest

import sagalog
from sagalog import Failure
from sagalog.codec import digest_of
from sagalog.testing import ManualClock
from sagalog.versions import RUNNING
from tests.adapters.cli.calls import PAST_MS, TTL_MS, call, leased, past, url_of
from tests.contract.tampering import tamper


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tasks in four states, all of one past moment; made once, to be copied."""
    path = tmp_path_factory.mktemp("original") / "store.db"
    with past(path) as engine:
        engine.create("build", {"n": 1}, id="waits", tags={"branch": "main", "os": "linux"}, run_at_ms=PAST_MS + 5)
        engine.create("deploy", id="waits-too", queue="ops", tags={"branch": "main"})
        leased(engine, "runs", queue="ops")
        leased(engine, "undoes", undos=["first", "second"]).fail(Failure("exit", "status 3\nand more", {"n": 3}))
        leased(engine, "done").complete({"ok": True})
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "store.db"))


@pytest.fixture
def db(path: Path) -> str:
    return url_of(path)


# --- list -----------------------------------------------------------------------------------------------------------


def test_a_piped_listing_is_plain_and_stable(db: str) -> None:
    """No colour, no width, no time of today: the same store gives the same bytes."""
    moment = "2023-11-14T22:13:20.000Z"
    assert (
        f"""\
ID         STATE         KIND    QUEUE    UPDATED                   OWNER     WAITS_FOR
done       completed     build   default  {moment}  -         -
undoes     compensating  build   default  {moment}  -         undo second, first, {moment}
runs       running       build   ops      {moment}  worker-1  -
waits-too  pending       deploy  ops      {moment}  -         a worker
waits      pending       build   default  {moment}  -         a worker
"""
        == call("list", "--db", db).out
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["waits", "waits-too", "runs", "undoes", "done"]),
        (("--newest",), ["done", "undoes", "runs", "waits-too", "waits"]),
        (("--queue", "ops"), ["waits-too", "runs"]),
        (("--queue", "ops", "--queue", "none"), ["waits-too", "runs"]),
        (("--state", "running", "--state", "completed"), ["runs", "done"]),
        (("--waiting",), []),
        (("--since", "2023-11-14T22:13:20Z"), ["waits", "waits-too", "runs", "undoes", "done"]),
        (("--since", str(PAST_MS + 1)), []),
        (("--since", "2h"), []),
        (("--since", "100000w"), ["waits", "waits-too", "runs", "undoes", "done"]),
        (("--kind", "deploy"), ["waits-too"]),
        (("--state", "compensating"), ["undoes"]),
        (("--tag", "branch=main"), ["waits", "waits-too"]),
        (("--tag", "branch=main", "--tag", "os=linux"), ["waits"]),
        (("--queue", "ops", "--state", "pending"), ["waits-too"]),
        (("--limit", "2"), ["waits", "waits-too"]),
        (("--all",), ["waits", "waits-too", "runs", "undoes", "done"]),
    ],
)
def test_a_listing_holds_what_fits_everything_given(db: str, words: tuple[str, ...], expected: list[str]) -> None:
    order = () if "--newest" in words else ("--oldest",)
    answer = call("list", *order, *words, "--db", db, "--json")

    assert expected == [task["id"] for task in answer.documents]
    assert 0 == answer.status


def test_a_listing_that_is_cut_says_so_beside_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    with past(path) as engine:
        engine.create_many({"kind": "k"} for _ in range(51))

    human, machine = call("list", "--db", str(path)), call("list", "--db", str(path), "--json")

    assert 51 == len(human.lines)
    assert human.err.startswith("note: the newest 50 are shown and there are more")
    assert 50 == len(machine.documents)
    assert '{"note":{"code":"more",' in machine.err
    assert "" == call("list", "--db", str(path), "--limit", "51").err


def test_an_empty_listing_is_an_answer(db: str) -> None:
    human, machine = (call("list", "--queue", "nobody", "--db", db, *more) for more in ((), ("--json",)))

    assert (0, "", "note: no task fits\n") == human
    assert (0, "", '{"note":{"code":"empty","message":"no task fits"}}\n') == machine


@pytest.mark.parametrize(
    "words",
    [("--state", "asleep"), ("--limit", "0"), ("--limit", "x"), ("--tag", "a"), ("extra",), ("--since", "noon")],
)
def test_wrong_usage_of_list_is_status_2(db: str, words: tuple[str, ...]) -> None:
    assert 2 == call("list", *words, "--db", db).status


# --- show -----------------------------------------------------------------------------------------------------------


def test_a_task_is_shown_with_all_that_says_something(db: str) -> None:
    answer = call("show", "undoes", "--db", db)
    fields = dict(line.split(maxsplit=1) for line in answer.lines if "  " in line)

    assert fields["state"] == "compensating"
    assert fields["outcome"] == "failed"
    assert fields["error"] == r"exit: status 3\nand more"
    assert fields["details"] == '{"n":3}'
    assert fields["leases"] == "1, newest fence 1"
    assert fields["created"] == "2023-11-14T22:13:20.000Z"
    assert "attempts_max=3" in fields["policy"]
    assert "undo_wait_ms=604800000" in fields["policy"]
    assert "affinity" not in fields
    assert ["first         first   owed    -       -", "second        second  owed    -       -"] == answer.lines[-2:]


def test_compensations_of_a_completed_task_are_shown_as_void(tmp_path: Path) -> None:
    """[COMP-6] Every answer that shows them says so."""
    with past(tmp_path / "store.db") as engine:
        done = leased(engine, "t", undos=["branch", "worktree"]).complete("built")
        read = engine.get("t")
    db = str(tmp_path / "store.db")

    shown = call("show", "t", "--db", db).lines
    [document] = call("show", "t", "--db", db, "--json").documents
    [listed] = call("list", "--db", db, "--json").documents
    last = call("history", "t", "--db", db).lines[-1]
    whole = call("history", "t", "--db", db, "--full").lines[-1]

    assert read is not None
    for task in (done, read):
        assert ([one.status for one in task.compensations], task.owed) == (["void", "void"], ())
    assert ["void", "void"] == [line.split()[2] for line in shown[-2:]]
    for one in (document, listed):
        assert ["void", "void"] == [undo["status"] for undo in one["compensations"]]
    assert ("completed", "void=branch,worktree") == (last.split()[4], last.split()[-1])
    assert "void" not in whole


def test_a_lease_is_shown_with_its_owner_fence_and_how_long_it_is_over(db: str) -> None:
    line = next(line for line in call("show", "runs", "--db", db).lines if line.startswith("lease "))

    assert "worker-1 for work, fence 1, until 2023-11-14T22:13:50.000Z (" in line
    assert line.endswith(" ago)")


def test_a_task_that_may_kill_its_workers_is_shown_as_a_suspect(tmp_path: Path) -> None:
    """[LEASE-5]"""
    path, clock = tmp_path / "store.db", ManualClock(PAST_MS)
    with past(path, clock) as engine:
        engine.create("build", id="t", retry=sagalog.Retry(expiries_max=2))
        assert "suspect" not in call("show", "t", "--db", url_of(path)).out
        engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
        clock.advance(TTL_MS)
        engine.recover()
    assert (
        "suspect   a lease expired, and the next to expire is the last" in call("show", "t", "--db", url_of(path)).out
    )


def test_a_long_payload_is_clipped_unless_it_is_wanted_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    with past(path) as engine:
        engine.create("k", "x" * 5_000, id="t")

    short, whole = (call("show", "t", "--db", str(path), *more).out for more in ((), ("--full",)))

    assert "(4,002 characters more: --full)" in short
    assert "x" * 5_000 not in short
    assert '"' + "x" * 5_000 + '"' in whole
    assert "x" * 5_000 == call("show", "t", "--db", str(path), "--json").documents[0]["payload"]


def test_a_task_as_json_has_every_field_with_its_unit(db: str) -> None:
    task = call("show", "runs", "--db", db, "--json").documents[0]

    assert ("runs", "running", 2, None) == (task["id"], task["state"], task["version"], task["payload"])
    assert task["lease"] == {
        "owner": "worker-1",
        "fence": 1,
        "attempt": 1,
        "purpose": "work",
        "ttl_ms": TTL_MS,
        "expires_ms": PAST_MS + TTL_MS,
        "renewed_ms": PAST_MS,
        "probe": False,
        "uses": [],
    }
    assert task["policy"]["attempts_max"] == 3


@pytest.mark.parametrize("command", ["show", "history"])
def test_a_task_that_is_not_there_is_status_4(db: str, command: str) -> None:
    human, machine = call(command, "nobody", "--db", db), call(command, "nobody", "--db", db, "--json")

    assert (4, "") == (human.status, human.out)
    assert human.err.startswith("error: there is no task 'nobody'; check the id and the store\nhint: ")
    assert ("not_found", "nobody") == (machine.error["code"], machine.error["task"])


# --- history --------------------------------------------------------------------------------------------------------


def test_a_history_is_a_timeline_that_a_person_can_read(tmp_path: Path) -> None:
    path, clock = tmp_path / "told.db", ManualClock(PAST_MS)
    with past(path, clock) as engine:
        lease = leased(engine, "t", undos=["sweep"], kind="mend roof")
        clock.advance(1_204)
        lease = lease.heartbeat(progress={"step": 1})
        clock.advance(60_000)
        engine.recover()
        engine.acquire("t", owner="worker-2", ttl_ms=None).fail("no ladder")
        clock.step(-100_000)
        engine.waive("t", "sweep", "it was swept already", actor="ann")

    told = call("history", "t", "--db", str(path))

    assert (0, "") == (told.status, told.err)
    assert told.out == (
        "POS  VER  AT                        SINCE     EVENT                ACTOR               DETAILS\n"
        "2    1    2023-11-14T22:13:20.000Z  +0ms      created              -                   "
        'kind="mend roof" queue=default priority=0 run_at=now to=pending compensations=sweep\n'
        "3    2    2023-11-14T22:13:20.000Z  +0ms      leased               worker:worker-1     "
        "owner=worker-1 fence=1 attempt=1 purpose=work ttl=30.000s expires=+30.000s\n"
        "4    3    2023-11-14T22:13:21.204Z  +1.204s   heartbeat            worker:worker-1     "
        'fence=1 ttl=30.000s expires=+30.000s progress={"step":1}\n'
        "5    4    2023-11-14T22:14:21.204Z  +1m01s    lease_expired        system:maintenance  "
        "fence=1 verb=expire why=clock\n"
        "6    5    2023-11-14T22:14:21.204Z  +1m01s    leased               worker:worker-2     "
        "owner=worker-2 fence=2 attempt=1 purpose=work\n"
        "7    6    2023-11-14T22:14:21.204Z  +1m01s    failed               worker:worker-2     "
        'to=compensating code=failed error="error: no ladder" fence=2 verb=fail\n'
        "8    7    2023-11-14T22:12:41.204Z  -38.796s  compensation_waived  user:ann            "
        'id=sweep reason="it was swept already"\n'
        "9    8    2023-11-14T22:12:41.204Z  -38.796s  compensated          user:ann            outcome=failed\n"
    )


def test_a_history_shows_units_by_their_limits_and_an_amended_policy(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with past(path) as engine:
        engine.set_limit("provider", slots=3)
        engine.limit_queue("default", slots=5, per_key_slots=2)
        engine.create("k", id="t", uses={"provider": 2}, key="web")
        engine.amend("t", retry=sagalog.Retry(attempts_max=7))
        engine.acquire("t", owner="worker-1", ttl_ms=TTL_MS)

    created, amended, held = call("history", "t", "--db", str(path)).lines[1:]

    assert created.endswith(" key=web uses=provider=2")
    assert ' policy={"attempts_max":7,' in amended
    assert held.endswith(" uses=queue/default=1,provider=2,key/default/web=1")


def test_limits_queues_and_schedules_have_histories_too(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with past(path) as engine:
        engine.set_limit("provider", breaker=sagalog.Breaker(1))
        engine.limit_queue("q", slots=1)
        engine.set_schedule("nightly", "audit", every_ms=60_000)

    for option, name, first in (
        ("--limit", "provider", "limit_set"),
        ("--queue", "q", "queue_limited"),
        ("--schedule", "nightly", "schedule_set"),
    ):
        documents = call("history", option, name, "--json", "--db", str(path)).documents
        assert [one["type"] for one in documents] == [first]
        assert first in call("history", option, name, "--db", str(path)).out
    assert call("history", "--limit", "nope", "--json", "--db", str(path)).status == 4


@pytest.mark.parametrize("words", [[], ["t", "--limit", "provider"], ["--queue", "q", "--schedule", "s"]])
def test_a_history_is_that_of_one_thing(db: str, words: list[str]) -> None:
    told = call("history", *words, "--db", db)

    assert told.status == 2
    assert "give the ID of a task, or one of --limit, --queue and --schedule" in told.err


def test_a_history_with_full_has_the_bodies_as_they_are_stored(db: str, path: Path) -> None:
    with past(path) as engine:
        bodies = [event.body for event in engine.history("waits")]

    lines = call("history", "waits", "--full", "--db", db).lines

    assert lines[0].endswith("ACTOR  BODY")
    assert [line[line.index("{") :] for line in lines[1:]] == bodies


def test_digests_of_a_history_can_be_computed_from_its_json(db: str) -> None:
    """The envelopes hold all that a digest is made of."""
    events = call("history", "undoes", "--full", "--db", db, "--json").documents

    assert ["created", "leased", "failed"] == [event["type"] for event in events]
    assert [1, 2, 3] == [event["version"] for event in events]
    assert ("exit", 3) == (events[2]["event"]["error"]["code"], events[2]["event"]["error"]["details"]["n"])
    for event in events:
        category, _, id = event["stream"].partition("/")
        fields = [
            *("sagalog-event-2", category, id, event["version"], event["at_ms"], event["type"], event["schema"]),
            *(event["actor"], event["cause"], event["idempotency_key"], event["data_key"], event["body"]),
        ]
        spelled = ["-," if one is None else f"{len(str(one).encode())}:{one}," for one in fields]
        assert event["digest"] == hashlib.sha256("".join(spelled).encode()).hexdigest()
    assert "body" not in call("history", "undoes", "--db", db, "--json").documents[0]


NOTHING = "note: no lease is over, and no undo waits for a worker\n"
UNDOS = [{"queue": "default", "kind": kind, "tasks": 1, "since_ms": 1_700_000_000_000} for kind in ("first", "second")]


# --- stale and stats ------------------------------------------------------------------------------------------------


def test_stale_lists_leases_that_are_over_until_recover_ends_them(db: str) -> None:
    before = call("stale", "--db", db)
    documents = call("stale", "--db", db, "--json").documents
    call("recover", "--db", db)
    after = call("stale", "--db", db)

    assert before.lines[1:] == [
        "runs  running  build  ops    1      2023-11-14T22:13:50.000Z  worker-1",
        "",
        "UNDO    QUEUE    TASKS  DUE",
        "first   default  1      2023-11-14T22:13:20.000Z",
        "second  default  1      2023-11-14T22:13:20.000Z",
    ]
    task, *undos = documents
    assert (task["id"], task["lease"]["owner"]) == ("runs", "worker-1")
    assert undos == [{"undo": one} for one in UNDOS]
    # The undo has waited for years, which no policy allows.
    assert (0, "", NOTHING) == after


def test_stale_says_so_where_nothing_is(tmp_path: Path) -> None:
    with past(tmp_path / "s.db") as engine:
        engine.create("build")
    assert (0, "", NOTHING) == call("stale", "--db", str(tmp_path / "s.db"))


def test_stats_count_by_queue_and_state_and_the_events_of_the_log(db: str, path: Path) -> None:
    with past(path) as engine:
        store_id, events = engine.store_id, len(engine.events())

    human, machine = call("stats", "--db", db), call("stats", "--db", db, "--json").documents[0]

    file, undos = machine.pop("file"), machine.pop("undos")
    assert (file["path"], file["durability"], file["links"], file["checkpoint_error"]) == (str(path), "full", 1, None)
    assert undos == UNDOS
    assert (machine.pop("errors"), machine.pop("builds")) == ([], [])
    assert machine == {
        "store_id": store_id,
        "writer": RUNNING,
        "events": events,
        "tasks": 5,
        "queues": {"default": {"pending": 1, "compensating": 1, "completed": 1}, "ops": {"pending": 1, "running": 1}},
    }
    assert human.lines[:5] == [
        f"store {store_id}, newest writer sagalog {RUNNING}: 5 tasks, {events} events",
        "",
        "QUEUE    PENDING  RUNNING  COMPENSATING  COMPLETED",
        "default  1        0        1             1",
        "ops      1        1        0             0",
    ]
    assert human.lines[6].split() == ["DURABILITY", "WAL", "CHECKPOINT", "LINKS", "FREE", "FILE"]
    sizes = human.lines[7].split()
    assert (sizes[1][-1], sizes[4][-1]) == ("B", "B")
    assert [line.split()[0] for line in human.lines[9:]] == ["UNDO", "first", "second"]
    assert ["ops"] == list(call("stats", "--queue", "ops", "--db", db, "--json").documents[0]["queues"])


def test_stats_tell_what_has_to_be_mended_beside_the_answer(db: str, path: Path) -> None:
    path.with_name("second-name.db").hardlink_to(path)
    said = call("stats", "--db", db, "--json")
    assert said.status in (0, 6)  # opening may refuse such a file
    assert "2 names" in said.err or "link" in said.err


@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 6, 7, 8, 30])
def test_stats_find_the_newest_position_of_a_log_of_any_length(tmp_path: Path, tasks: int) -> None:
    """[LOG-1] Positions have no gaps, and the founding of the store is the first."""
    with past(tmp_path / "s.db") as engine:
        engine.create_many({"kind": "k"} for _ in range(tasks))

    assert tasks + 1 == call("stats", "--db", str(tmp_path / "s.db"), "--json").documents[0]["events"]


# --- verify and rebuild ---------------------------------------------------------------------------------------------


def test_a_sound_store_is_verified_and_rebuilt(db: str) -> None:
    assert (0, "ok: 11 events of 5 tasks were read\n", "") == call("verify", "--db", db)
    assert (0, "folded 5 tasks afresh\n", "") == call("rebuild", "--db", db)
    verified = {"ok": True, "events": 11, "tasks": 5, "faults": [], "pruned": 0, "pruned_bytes": 0}
    assert verified == call("verify", "--db", db, "--json").documents[0]
    assert {"tasks": 5, "unreadable": []} == call("rebuild", "--db", db, "--json").documents[0]


def test_a_changed_event_is_named_and_is_status_8(db: str, path: Path) -> None:
    tamper(path, ("UPDATE events SET actor = 'mallory' WHERE position = 5", []))

    human, machine = call("verify", "--db", db), call("verify", "--db", db, "--json")

    assert 8 == human.status
    assert human.lines[0].startswith("FAULTS: ")
    assert human.lines[2].startswith("digest  task/runs@2  ")
    assert human.err.startswith("error: the audit found 1 fault\nhint: ")
    assert [("digest", "task/runs", 2)] == [
        (one["code"], one["stream"], one["version"]) for one in machine.documents[0]["faults"]
    ]
    assert (8, "corrupt", 1) == (machine.status, machine.error["code"], machine.error["faults"])


def test_an_event_of_a_newer_version_hurts_its_own_task_only(db: str, path: Path) -> None:
    """[LOG-5]"""
    with past(path) as engine:
        [_, event, *_] = engine.events()
    fitting = digest_of(msgspec.structs.replace(event, schema=99))
    tamper(path, ("UPDATE events SET schema = 99, digest = ? WHERE position = 2", [{"hex": fitting.hex()}]))

    history = call("history", "waits", "--db", db, "--json")
    rebuilt = call("rebuild", "--db", db)

    assert (8, "unknown_event", "task/waits") == (history.status, history.error["code"], history.error["stream"])
    assert (8, "unreadable: waits") == (rebuilt.status, rebuilt.lines[-1])
    assert 8 == call("show", "waits", "--db", db).status
    assert 0 == call("show", "runs", "--db", db).status
    assert 11 == call("stats", "--db", db, "--json").documents[0]["events"]


def test_one_thing_is_counted_in_the_singular(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    with past(path) as engine:
        engine.create("k", id="t")
    events = len(call("tail", "--no-follow", "--from-start", "--json", "--db", str(path)).documents)

    assert f": 1 task, {events} events" in call("stats", "--db", str(path)).lines[0]
    assert call("verify", "--db", str(path)).out == f"ok: {events} events of 1 task were read\n"

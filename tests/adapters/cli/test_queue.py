"""`sagalog queue` but for `work`, and `sagalog retry`: what is answered, what is refused, what a script can rely on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sagalog import LeaseLost
from sagalog_cli.times import parse_duration
from sagalog_queue import Queue, open_queue
from tests.adapters.cli.calls import Answer, call, environment, past, run, start, url_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store is that exists and is empty."""
    with past(tmp_path / "store.db"):
        return tmp_path / "store.db"


def queue(path: Path, *words: str, **settings: Any) -> Answer:
    return call("queue", *words, "--db", url_of(path), **settings)


def popped(path: Path, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = queue(path, "pop", "--json", *words).documents[0]
    return document


def counts(path: Path) -> tuple[int, int, int]:
    document = queue(path, "depth", "--json").documents[0]
    return document["depth"], document["in_flight"], document["quarantined"]


def payloads(path: Path) -> list[Any]:
    return [task["payload"] for task in call("list", "--oldest", "--json", "--all", "--db", url_of(path)).documents]


# --- push ------------------------------------------------------------------------------------------------------------


def test_items_come_out_in_the_order_in_which_they_went_in(path: Path) -> None:
    for number in range(3):
        assert queue(path, "push", str(number)).status == 0

    assert [0, 1, 2] == [popped(path)["payload"] for _ in range(3)]


def test_a_push_makes_an_absent_store_and_says_so(tmp_path: Path) -> None:
    """A push that is refused makes none."""
    new = tmp_path / "new.db"

    assert queue(new, "push", "[9223372036854775808]").status == 3
    assert queue(new, "push", "1", "--queue", "q" * 300).status == 3
    assert list(tmp_path.iterdir()) == []
    answer = queue(new, "push", "1")
    assert (answer.status, "note: there was no store" in answer.err) == (0, True)


@pytest.mark.parametrize("words", [("pop",), ("ack", "i", "1"), ("nack", "i", "1"), ("depth",), ("watch",)])
def test_every_other_command_of_the_queue_makes_no_store(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert queue(tmp_path / "new.db", *words).status == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("push", "1"), ("pop",), ("depth",), ("watch",), ("work", "true")])
def test_a_queue_in_memory_is_refused(words: tuple[str, ...]) -> None:
    answer = call("queue", words[0], "--db", "memory:", *words[1:])

    assert (answer.status, "keep nothing" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "given", "stored"),
    [
        ((), "", None),
        (('{"a": 1}',), "", {"a": 1}),
        (("-",), '"x"', "x"),
        (("--text", "3"), "", "3"),
        (("--text", "-"), "two\nlines\n", "two\nlines"),
    ],
)
def test_a_payload_is_json_or_text_on_the_line_or_on_standard_input(
    path: Path, words: tuple[str, ...], given: str, stored: object
) -> None:
    assert queue(path, "push", *words, given=given).status == 0
    assert [stored] == payloads(path)


def test_many_items_are_pushed_in_one_commit_or_none(path: Path) -> None:
    refused = queue(path, "push", "--many", "--json", given="1\n\n[9223372036854775808]\n")
    broken = queue(path, "push", "--many", "--json", given="1\n{\n")
    latin = queue(path, "push", "--many", "--text", "--json", given=b"a\n\xff\n")

    assert [(3, 3), (3, 2), (3, 2)] == [(one.status, one.error["line"]) for one in (refused, broken, latin)]
    assert refused.error["message"].startswith("line 3: payload")
    assert payloads(path) == []
    answer = queue(path, "push", "--many", given='1\n"b"\n')
    assert len(answer.lines) == 2
    assert queue(path, "push", "--many", "--text", given="1\r\nb").status == 0
    assert [1, "b", "1", "b"] == payloads(path)


def test_the_same_id_adds_nothing_twice_and_other_content_is_refused(path: Path) -> None:
    answers = [queue(path, "push", word, "--id", "mine") for word in ("1", "1", "2")]

    assert [(0, "mine\n"), (0, "mine\n"), (3, "")] == [(one.status, one.out) for one in answers]
    assert [1] == payloads(path)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("push", "{"), "PAYLOAD"),
        (("push", "--text"), "PAYLOAD"),
        (("push", "1", "--many"), "PAYLOAD"),
        (("push", "--many", "--id", "x"), "--id"),
        (("push", "--returns-max", "0"), "--returns-max"),
        (("push", "--returns-max", "often"), "--returns-max"),
        (("pop", "--timeout", "5"), "--timeout"),
        (("pop", "--timeout", "9999999999999999w"), "--timeout"),
        (("pop", "--visibility", "0s"), "--visibility"),
        (("pop", "--visibility", "soon"), "--visibility"),
        (("ack", "x", "0"), "FENCE"),
        (("ack", "x"), "FENCE"),
        (("nack", "x", "one"), "FENCE"),
        (("nack", "x", "1", "--delay", "-1s"), "--delay"),
        (("nack", "x", "1", "--drop", "--delay", "1s"), "--drop"),
        (("watch", "--timeout", "x"), "--timeout"),
        (("work", "--grace", "x", "true"), "--grace"),
        (("work",), "COMMAND"),
        (("psuh",), "'push'"),
    ],
)
def test_wrong_usage_names_what_is_wrong(path: Path, words: tuple[str, ...], named: str) -> None:
    answer = call("queue", *words, env={"SAGALOG_DB": url_of(path)})

    assert (answer.status, answer.out) == (2, "")
    assert named in answer.err.splitlines()[0]
    assert payloads(path) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("push", "1", "--queue", ""), "--queue"),
        (("push", "1", "--id", ""), "--id"),
        (("pop", "--owner", ""), "--owner"),
        (("depth", "--queue", "a\nb"), "--queue"),
    ],
)
def test_a_value_that_the_engine_refuses_is_named(path: Path, words: tuple[str, ...], named: str) -> None:
    answer = queue(path, *words)

    assert (answer.status, answer.out) == (3, "")
    assert answer.err.startswith(f"error: {named}")


# --- pop, ack, nack --------------------------------------------------------------------------------------------------


def test_a_shell_reads_the_fields_of_an_item_whatever_its_payload(path: Path) -> None:
    text = 'tab\there, "quotes", back\\slash, é and a\nbreak'
    queue(path, "push", json.dumps(text), "--id", "an id")
    script = 'IFS=$\'\\t\' read -r id fence attempts payload; printf "%s\\0" "$id" "$fence" "$attempts" "$payload"'

    line = queue(path, "pop").out
    done = subprocess.run(["bash", "-c", script], input=line.encode(), capture_output=True, check=True)

    assert line.count("\n") == 1
    id, fence, attempts, payload, _ = done.stdout.decode().split("\0")
    assert (id, fence, attempts, json.loads(payload)) == ("an id", "1", "1", text)


def test_the_json_of_a_pop_has_what_the_reference_says(path: Path) -> None:
    queue(path, "push", "[1]", "--id", "i")

    item = popped(path, "--owner", "me", "--visibility", "none")

    assert item == {"id": "i", "payload": [1], "attempts": 1, "owner": "me", "fence": 1, "expires_ms": None}


def test_nothing_to_pop_is_status_4_so_that_a_loop_ends(path: Path) -> None:
    assert queue(path, "pop", "--json").error["code"] == "not_found"
    assert queue(path, "pop").status == 4
    started = time.monotonic()
    assert queue(path, "pop", "--timeout", "150ms").status == 4
    assert time.monotonic() - started >= 0.15


def test_a_pop_that_waits_gets_what_another_process_pushes(path: Path) -> None:
    waiting = start("queue", "pop", "--timeout", "60s", "--json", "--db", str(path))
    assert queue(path, "push", "7").status == 0

    out, _ = waiting.communicate(timeout=60)

    assert (waiting.returncode, json.loads(out)["payload"]) == (0, 7)


def test_an_item_that_the_popping_process_cannot_print_goes_back(path: Path) -> None:
    queue(path, "push", "1")
    with open("/dev/full", "wb") as full:
        full_disk = run("queue", "pop", "--db", str(path), stdout=full)
    assert (full_disk.status, counts(path)) == (9, (1, 0, 0))

    process = start("queue", "pop", "--timeout", "60s", "--queue", "other", "--db", str(path))
    assert process.stdout is not None
    process.stdout.close()
    queue(path, "push", "2", "--queue", "other")
    assert process.wait(60) == 141
    assert popped(path, "--queue", "other")["attempts"] == 2
    for stream in (process.stdin, process.stderr):
        assert stream is not None
        stream.close()


def test_an_ack_by_id_and_fence_completes_the_item_and_may_be_repeated(path: Path) -> None:
    queue(path, "push", "1", "--id", "i")
    fence = str(popped(path)["fence"])

    answers = [queue(path, "ack", "i", fence) for _ in range(2)]

    assert [(0, "i is completed\n", "")] * 2 == answers
    assert counts(path) == (0, 0, 0)


def test_an_unknown_item_is_harmless_and_a_task_that_is_no_item_is_one(path: Path) -> None:
    call("create", "build", "--id", "task", "--db", url_of(path))

    for verb in ("ack", "nack"):
        for id in ("nobody", "task"):
            answer = queue(path, verb, id, "1", "--json")
            assert (answer.status, answer.out) == (0, "")
            assert json.loads(answer.err)["note"]["code"] == "unknown_item"


def test_a_wrong_fence_and_a_lost_lease_are_status_5(path: Path) -> None:
    queue(path, "push", "1", "--id", "i")
    first = popped(path, "--visibility", "1ms")
    second = popped(path, "--timeout", "5s")

    late = queue(path, "ack", "i", str(first["fence"]), "--json")
    wrong = queue(path, "nack", "i", "99", "--json")

    assert second["fence"] > first["fence"]
    assert [(5, "lease_lost")] * 2 == [(one.status, one.error["code"]) for one in (late, wrong)]
    assert counts(path) == (0, 1, 0)
    assert queue(path, "ack", "i", str(second["fence"])).status == 0


def test_a_nack_gives_back_and_after_so_many_returns_quarantines(path: Path) -> None:
    queue(path, "push", "1", "--id", "i", "--returns-max", "2")

    said = [queue(path, "nack", "i", str(popped(path)["fence"]), "--reason", "no").out for _ in range(2)]

    assert said == ["i is pending\n", "i is quarantined\n"]
    assert counts(path) == (0, 0, 1)


def test_a_dropped_item_has_failed_and_a_delayed_one_lets_others_go_first(path: Path) -> None:
    queue(path, "push", "--many", given="1\n2\n3\n")
    first = popped(path)
    assert "is failed" in queue(path, "nack", first["id"], str(first["fence"]), "--drop").out
    second = popped(path)
    assert "is pending" in queue(path, "nack", second["id"], str(second["fence"]), "--delay", "1h").out

    assert popped(path)["payload"] == 3
    assert counts(path) == (1, 1, 0)


def test_an_item_of_another_queue_than_the_one_named_is_not_touched(path: Path) -> None:
    queue(path, "push", "1", "--id", "i", "--queue", "jobs")
    fence = str(popped(path, "--queue", "jobs")["fence"])

    answer = queue(path, "ack", "i", fence, "--queue", "items")
    assert (answer.status, "'jobs'" in answer.err) == (3, True)
    assert queue(path, "ack", "i", fence).status == 0


def test_the_library_takes_up_an_item_by_its_id_and_fence() -> None:
    with open_queue("memory:") as items:
        id = items.push([1])
        item = items.pop("me", 0)
        assert item is not None
        resumed = Queue(items.engine).resume(id, item.lease.fence)
        assert resumed == item
        assert items.resume("nobody", 1) is None
        with pytest.raises(LeaseLost) as lost:
            items.resume(id, item.lease.fence + 1)
        assert (lost.value.task, lost.value.current) == (id, item.lease.fence)
        assert resumed is not None
        assert items.ack(resumed)


# --- depth and watch -------------------------------------------------------------------------------------------------


def test_depth_counts_what_waits_what_is_held_and_what_is_quarantined(path: Path) -> None:
    queue(path, "push", "--many", given="1\n2\n3\n")
    popped(path)

    assert queue(path, "depth").lines == ["DEPTH  IN_FLIGHT  QUARANTINED", "2      1          0"]
    assert queue(path, "depth", "--json").documents == [
        {"queue": "items", "depth": 2, "in_flight": 1, "quarantined": 0}
    ]


def test_watch_says_every_change_once_and_ends_when_nothing_is_left(path: Path) -> None:
    queue(path, "push", "1")
    process = start("queue", "watch", "--until-empty", "--json", "--db", str(path))
    assert process.stdout is not None

    def said() -> tuple[int, int]:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        return document["depth"], document["in_flight"]

    assert said() == (1, 0)
    item = popped(path)
    assert said() == (0, 1)
    call("create", "build", "--db", url_of(path))  # a change, but none of these counts
    queue(path, "ack", item["id"], str(item["fence"]))
    assert said() == (0, 0)
    rest, err = process.communicate(timeout=60)
    assert (process.returncode, rest, err) == (0, b"", b"")


def test_watch_sees_a_visibility_pass_that_no_process_wrote_down(path: Path) -> None:
    queue(path, "push", "1")
    process = start("queue", "watch", "--timeout", "20s", "--json", "--db", str(path))
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["depth"] == 1
    popped(path, "--visibility", "1s")

    seen = [json.loads(process.stdout.readline()) for _ in range(2)]

    assert [(0, 1), (1, 0)] == [(one["depth"], one["in_flight"]) for one in seen]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in err) == (130, False)


def test_watch_gives_up_after_its_time_with_status_6(path: Path) -> None:
    queue(path, "push", "1")

    answer = queue(path, "watch", "--until-empty", "--timeout", "50ms", "--json")

    assert (answer.status, answer.error["code"], answer.error["depth"]) == (6, "unavailable", 1)


def test_watch_ends_when_its_reader_has_gone_though_nothing_changes(path: Path) -> None:
    process = start("queue", "watch", "--db", str(path), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"depth=0" in process.stdout.readline()
    process.stdout.close()

    assert (process.wait(60), process.stderr.read()) == (141, b"")
    process.stderr.close()


# --- the options of the group, lengths of time, retry ----------------------------------------------------------------


def test_the_store_and_the_form_may_be_named_before_and_behind_every_word(path: Path) -> None:
    url = url_of(path)
    for words in (
        ("--db", url, "--json", "queue", "depth"),
        ("queue", "--db", url, "--json", "depth"),
        ("queue", "depth", "--db", url, "--json"),
    ):
        assert call(*words).documents[0]["depth"] == 0


def test_another_command_does_not_import_the_queue(path: Path) -> None:
    code = (
        "import sys; from sagalog_cli import main; main(standalone_mode=False); "
        "sys.exit(40 + ('sagalog_queue' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, "list", "--db", str(path)], env=environment(), check=False)
    assert done.returncode == 40


@pytest.mark.parametrize(("text", "length_ms"), [("0", 0), ("500ms", 500), ("2s", 2_000), ("1h30m", 5_400_000)])
def test_a_length_of_time_is_read(text: str, length_ms: int) -> None:
    assert parse_duration(text) == length_ms


@pytest.mark.parametrize("text", ["", "5", "+5s", "-1s", "1.5s", "1 s", "s", "1S"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        parse_duration(text)


def test_retry_prints_the_successor_and_show_names_it(path: Path) -> None:
    queue(path, "push", "[1]", "--id", "i", "--returns-max", "1")
    queue(path, "nack", "i", str(popped(path)["fence"]))
    db = url_of(path)

    early = call("retry", "nobody", "--db", db)
    first = call("retry", "i", "--db", db)
    second = call("retry", "i", "--db", db, "--json").documents[0]

    assert early.status == 4
    assert (first.status, first.out) == (0, f"{second['id']}\n")
    assert (second["predecessor"], second["state"], second["payload"]) == ("i", "pending", [1])
    shown = dict(line.split(maxsplit=1) for line in call("show", "i", "--db", db).lines)
    assert shown["successor"] == second["id"]
    assert counts(path) == (1, 0, 0)
    assert call("retry", second["id"], "--db", db).status == 3
    written = call("history", "i", "--json", "--db", db).documents[-1]
    assert written["actor"] == "user:ann"

"""Every parameter of every command, given wrongly: refused by its name, with status and advice; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from sagalog_cli.command_line import COMMANDS
from sagalog_cli.lazy_group import LazyGroup
from tests.adapters.cli.bad_calls import (
    CODES,
    NAMES,
    OF_A_GATEWAY,
    PLACES,
    Place,
    command_of,
    refused,
    told,
    word_of,
    words,
)
from tests.adapters.cli.calls import call, leased, past, url_of


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store with an item that is held and two tasks that begin alike; at the end it is as it was."""
    path = tmp_path_factory.mktemp("bad") / "store.db"
    with past(path) as engine:
        leased(engine, "held", kind="item", undos=["c"], queue="items")
        for id in ("alike-1", "alike-2"):
            engine.create("k", id=id)
        before = [one.digest for one in engine.events()]
    yield url_of(path)
    with past(path) as engine:
        assert [one.digest for one in engine.events()] == before


# --- wrong values ---------------------------------------------------------------------------------------------------

Wrong = tuple[int, str]  # (status, value)

FOLDER: Final = str(Path(__file__).parent)
ABSENT: Final = f"{FOLDER}/absent"
CONTROL, LONG, BYTES = "a\x1bb", "x" * 300, "\udcff"

NAME: Final[list[Wrong]] = [(3, ""), (3, CONTROL), (3, LONG), (3, BYTES)]
SENTENCE: Final[list[Wrong]] = [(3, " "), (3, BYTES)]
TEXT: Final[list[Wrong]] = [(3, BYTES)]
JSON: Final[list[Wrong]] = [(2, "{"), (2, "{'a': 1}"), (2, "hello"), (2, ""), (2, BYTES), (2, "[" * 2_000)]
VALUE: Final[list[Wrong]] = [*JSON, (3, "123456789012345678901234567890")]
WHEN: Final = ["", "tomorrow", "2026-11-21T22:55:30", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-5m"]
TIME: Final[list[Wrong]] = [
    *((2, one) for one in WHEN),
    (3, "0001-01-01T00:00:00Z"),
    (3, "+9999999999999w"),
    (3, "9999999999999999"),
]
DURATION: Final[list[Wrong]] = [(2, ""), (2, "soon"), (2, "5"), (2, "-5s"), (2, "1.5s"), (2, "9999999999999w")]
NUMBER: Final[list[Wrong]] = [(2, ""), (2, "x"), (2, "1.5"), (2, "0"), (2, "-1")]
BREAKER: Final[list[Wrong]] = [
    *((2, one) for one in ("", "x", "5/", "5/soon", "5/60s..", "5/60s..x")),
    *((3, one) for one in ("0", "1000001", "5/0", "5/60s..1s", "5/9999w")),
]
RATE: Final[list[Wrong]] = [
    *((2, one) for one in ("", "10", "10/soon", "x/60s", "10/60s:x")),
    *((3, one) for one in ("0/60s", "1000001/60s", "1/0", "1/9999w", "1/60s:0")),
]
SLOTS: Final[list[Wrong]] = [(2, ""), (2, "x"), (2, "1.5"), (3, "0"), (3, "-1"), (3, "1000001")]
WORD: Final[list[Wrong]] = [(2, ""), (2, "nope")]
FILE: Final[list[Wrong]] = [(2, ABSENT), (2, FOLDER), (2, ""), (2, LONG)]
TAG: Final[list[Wrong]] = [(2, "a"), (3, "=b"), (3, f"a={CONTROL}"), (3, f"a={LONG}")]

OF_EVERY: Final[dict[str, list[Wrong]]] = {
    "ID": NAME,
    "KIND": NAME,
    "NAME": NAME,
    "SCHEDULE": NAME,
    "BREAKER": [*NAME, (3, "provider"), (3, "limit"), (3, "limit/"), (3, "key/q/k")],
    "LIMIT": NAME,
    "QUEUE": NAME,
    "REASON": SENTENCE,
    "COUNT": [*NUMBER, (2, "1001")],
    "COMPENSATION": NAME,
    "TEXT": SENTENCE,
    "PAYLOAD": VALUE,
    "DATA": VALUE,
    "FENCE": [*NUMBER, (2, "9223372036854775808")],
    "FILE": FILE,
    "MODEL": [(3, ""), (3, CONTROL), (3, BYTES)],
    "PROMPT": TEXT,
    "--db": [(2, ""), (2, "nope://x"), (2, "memory:"), (2, "sqlite://x.db"), (2, BYTES)],
    "--actor": NAME,
    "--affinity": NAME,
    "--after": [(2, "x"), (2, "-1"), (3, "99"), (3, "99999999999999999999")],
    "--cause": NAME,
    "--compensation": [(2, "{"), (2, '{"params": 1}'), (2, "c={"), (2, "c="), (3, "=1"), (3, CONTROL)],
    "--concurrency": [*NUMBER, (3, "99999999999")],
    "--correlation-id": NAME,
    "--cron": [(3, one) for one in ("", "* * * * * *", "@reboot", "0 0 31 2 *", BYTES)],
    "--data-key": NAME,
    "--deadline": TIME,
    "--delay": DURATION,
    "--every": [*DURATION, (3, "999ms"), (3, "0")],
    "--expires": [*DURATION, (3, "0")],
    "--exit": [(2, "x"), (2, "256"), (2, "-65")],
    "--folder": [(2, FOLDER), (2, __file__), (2, "")],
    "--grace": DURATION,
    "--handlers": [(2, one) for one in ("", "json", "json:", ":x", "absent_module:worker", "json:nope", "json:loads")],
    "--id": NAME,
    "--idempotency-key": NAME,
    "--input": [(2, "a"), (2, f"a={ABSENT}"), (2, f"a={FOLDER}"), (3, "=/dev/null")],
    "--key": NAME,
    "--kind": NAME,
    "--limit": [*NUMBER, (2, "9999999999")],
    "--missed": WORD,
    "--name": NAME,
    "--build": NAME,
    "--now": TIME,
    "--older-than": DURATION,
    "--option": [(2, "num_ctx"), (2, "=1"), (2, ""), (3, f"stop={BYTES}")],
    "--overlap": WORD,
    "--owner": NAME,
    "--parent": NAME,
    "--priority": [(2, "x"), (2, "1.5"), (3, "2147483648"), (3, "99999999999999999999")],
    "--payload": VALUE,
    "--processes": NUMBER,
    "--queue": NAME,
    "--reason": SENTENCE,
    "--rerun": NAME,
    "--result": [(2, "a"), (2, "a={"), (2, "a="), (3, "=1")],
    "--retry": [
        (2, "a"),
        (2, "a=1"),
        (2, "attempts_max=x"),
        (2, "spent=x"),
        (3, "attempts_max=0"),
        (3, "delay_min_ms=-1"),
    ],
    "--rate": RATE,
    "--bind": [(3, one) for one in ("", "127.0.0.1", "::1:80", "127.0.0.1:70000", "127.0.0.1:x", BYTES)],
    "--breaker": BREAKER,
    "--affinity-wait": [*DURATION, (3, "0")],
    "--per-key-rate": RATE,
    "--slots": SLOTS,
    "--per-key-slots": SLOTS,
    "--returns-max": [*NUMBER, (2, "1000001")],
    "--run-at": TIME,
    "--schedule": NAME,
    "--scope": WORD,
    "--settings": FILE,
    "--settles": NAME,
    "--since": [(2, "tomorrow"), (2, "0000-01-01T00:00:00Z"), (3, "0001-01-01T00:00:00Z"), (3, "9999999999999999")],
    "--start-by": TIME,
    "--state": WORD,
    "--stderr": FILE,
    "--system": TEXT,
    "--tag": TAG,
    "--target": [(3, one) for one in ("", "box", "ftp://box", "http://box/v1", "http://me:word@box", "http://box:0")],
    "--task": NAME,
    "--timeout": DURATION,
    "--token": [(2, ""), (2, "a b"), (2, CONTROL), (2, BYTES), (2, "k\u00e4se")],
    "--trace": [(3, ""), (3, "nope"), (3, LONG)],
    "--tracestate": [(3, "nope")],
    "--ttl": [*DURATION, (3, "0")],
    "--type": WORD,
    "--unknown-kind": NAME,
    "--until": WORD,
    "--url": [(2, one) for one in ("", "ftp://box", "http://", "http://box:x", "http://me:word@box", "a b", BYTES)],
    "--use": [(2, "gpu=two"), (2, "gpu="), (3, ""), (3, CONTROL), (3, "=1"), (3, "gpu=0"), (3, LONG)],
    "--visibility": [*DURATION, (2, "0")],
    "--waiting": NAME,
    "--waive-compensation": SENTENCE,
    "--with": [(2, one) for one in ("", "nope", f"{ABSENT}.toml", __file__)],
    "--without": WORD,
    "--zone": [(2, one) for one in ("Nope", "../etc/passwd", BYTES)],
}
# Where a command takes under the same word what others do not.
OF_ONE: Final[dict[Place, list[Wrong]]] = {
    Place("create", "--after"): NAME,
    Place("history", "--limit"): NAME,
    Place("journal show", "--after"): [(3, "nope"), (3, "1"), (3, "1-x"), (3, ""), (3, "01-1")],
    Place("journal show", "NAME"): [(3, ""), (3, CONTROL), (3, LONG)],
    Place("explain", "--schedule"): [*NAME, (3, "x" * 171)],
    Place("create", "--on-failed"): WORD,
    Place("create", "--dedupe"): [(3, ""), (3, CONTROL), (3, LONG), (3, BYTES)],
    Place("create", "--dedupe-scope"): WORD,
    Place("create", "--dedupe-period"): DURATION,
    Place("schedule set", "--zone"): [(3, one) for one in ("", "Nope", "../etc/passwd", BYTES)],
    Place("artifact", "NAME"): [],  # any text may be asked for: what is not there is status 4
    Place("input", "NAME"): [],
    Place("command classify", "--db"): [(2, ""), (2, BYTES)],  # it opens no store
    Place("cancel", "--reason"): TEXT,
    Place("queue nack", "--reason"): TEXT,
    # Any command may be asked for; test_queue_work has those that cannot be started.
    Place("queue work", "WORDS"): [],
}


def wrong(place: Place) -> list[Wrong]:
    return OF_ONE[place] if place in OF_ONE else OF_EVERY[place.word]


def test_each_parameter_of_each_command_is_known_here() -> None:
    known = {*OF_EVERY, *(place.word for place in OF_ONE)}

    assert known == {place.word for place in PLACES}
    assert set(OF_ONE) <= set(PLACES)


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_a_wrong_value_is_refused_by_the_name_of_its_parameter(db: str, place: Place) -> None:
    spelled = place.word.lstrip("-").replace("-", "_").lower()

    for status, value in wrong(place):
        error = told(call("--json", "--db", db, *words(place.command, (place.word, value))), status)
        assert error["code"] == CODES[status]
        assert place.word in error["message"] or spelled in error["message"], error["message"]


# --- missing, unknown, too many -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_argument_is_named(db: str, name: str) -> None:
    for param in command_of(name).params:
        if param.required:
            shown = "COMMAND" if word_of(param) == "WORDS" else word_of(param)
            # The last one that is left out is the first that is missed.
            refused(2, [*name.split(), *ended(name, word_of(param))], shown, db=db)


def ended(name: str, first: str) -> list[str]:
    """The words of the command up to this parameter, left out with all arguments behind it."""
    command = command_of(name)
    arguments = [word_of(param) for param in command.params if isinstance(param, click.Argument)]
    whole = words(name, without=first)[len(name.split()) :]
    kept = arguments.index(first) if first in arguments else len(arguments)
    return [*whole[: whole.index("--") + 1], *whole[whole.index("--") + 1 :][:kept]]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_command_does_not_take_is_wrong_usage(db: str, name: str) -> None:
    refused(2, words(name, more=("--nope",)), "--nope", db=db)
    refused(2, words(name, more=("--json=yes",)), "--json", db=db)
    if name != "queue work":
        # Behind all that it may take: more words than any of them has.
        refused(2, [*words(name), "1", "1", "one-too-many"], "one-too-many", db=db)


GROUPS: Final = [name for name in COMMANDS if isinstance(command_of(name), LazyGroup)]


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_a_group_asks_for_a_command_and_knows_no_other(db: str, group: str) -> None:
    refused(2, group.split(), "Missing command", db=db)
    refused(2, [*group.split(), "nope"], "nope", db=db)


# --- ids ------------------------------------------------------------------------------------------------------------

# Every parameter that names a task which has to be there; what `create` takes is used as it is, and a gateway has jobs.
OF_A_TASK: Final = [
    place
    for place in PLACES
    if place.word in ("ID", "--task", "--parent") and place.command not in ("create", "queue push", *OF_A_GATEWAY)
]
# Listings answer with nothing, and settling an unknown item is harmless, each with a remark.
HARMLESS: Final = frozenset({"tail", "list", "queue ack", "queue nack"})


@pytest.mark.parametrize("place", OF_A_TASK, ids=" ".join)
def test_an_id_that_is_unknown_short_or_ambiguous_is_told_as_such(db: str, place: Place) -> None:
    def given(id: str) -> list[str]:
        return words(place.command, (place.word, id))

    if place.command in HARMLESS:
        answer = call("--db", db, *given("nothing-like-it"))
        assert (0, "") == (answer.status, answer.out)
        assert answer.err.startswith("note: ")
    else:
        assert refused(4, given("nothing-like-it"), "'nothing-like-it'", db=db)["task"] == "nothing-like-it"
    assert refused(4, given("ali"), "from 4 characters on", db=db)["task"] == "ali"
    error = refused(3, given("alike"), "'alike' begins the ids of 2 tasks", db=db)
    assert [one["id"] for one in error["candidates"]] == ["alike-1", "alike-2"]
    rows = call("--db", db, *given("alike")).err.splitlines()
    assert [row.split()[:3] for row in rows[2:-1]] == [["alike-1", "k", "pending"], ["alike-2", "k", "pending"]]


def test_each_command_that_names_a_task_is_known_by_that_parameter() -> None:
    """A new one would have to be added where `OF_A_TASK` is read off."""
    named = {place.command for place in PLACES if place.word in ("ID", "--id", "--task")}

    assert named - {"create", "queue push", *OF_A_GATEWAY} == {place.command for place in OF_A_TASK} - {"list"}


# --- where JSON is none ---------------------------------------------------------------------------------------------

# (text, what is wrong with it, line, column)
NO_JSON: Final = [
    ('{"a":\n  x}', "invalid character", 2, 3),
    ('{"a" 1}', "expected ':'", 1, 6),
    ("{'a': 1}", "object keys must be strings", 1, 2),
    ("[1 2]", "expected ',' or ']'", 1, 4),
    ("1 2", "trailing characters", 1, 3),
    ('"\\x"', "invalid escape character in string", 1, 2),
    ('"\u00e4\u00e4" 2', "trailing characters", 1, 6),
    ('{"a":\r\n[1,\r\n  nope]}', "invalid character", 3, 3),
    ('{"a": [1\n', "it ends too early", 1, 9),
    ('{"a":\n "b\\ud800"}', "it has half of a surrogate pair", 2, 4),
    ('{"a": "\\ud83d\\ude00 \\\\ud800', "it ends too early", 1, 28),
    ("\ufeff1", "invalid character", 1, 1),
]


@pytest.mark.parametrize(("text", "reason", "line", "column"), NO_JSON)
def test_what_is_no_json_is_told_with_its_line_and_column(
    db: str, text: str, reason: str, line: int, column: int
) -> None:
    where = f"this is no JSON: {reason}"
    place = f"(line {line}, column {column})"

    for name, word in (("create", "PAYLOAD"), ("signal", "DATA"), ("queue push", "PAYLOAD")):
        assert place in refused(2, words(name, (word, text)), where, db=db)["message"]
    error = refused(3, words("signal", ("DATA", "-")), f"standard input: {where}", db=db, input=text)
    assert (place in error["message"], error["line"], error["column"]) == (True, line, column)
    for option, name in (("--result", "retry"), ("--compensation", "create")):
        assert place in refused(2, words(name, (option, f"step={text}")), f"step: {where}", db=db)["message"]


@pytest.mark.parametrize("name", ["create", "queue push"])
def test_in_lines_of_json_the_line_is_that_of_standard_input(db: str, name: str) -> None:
    for bad, reason, column in (
        (b'{"kind": x}', "this is no JSON: invalid character", 10),
        (b'{"kind": "k"', "this is no JSON: it ends too early", 13),
        ('{"ä": '.encode() + b'"\xff"}', "this is no UTF-8, which JSON has to be", 8),
    ):
        given = b'{"kind": "k"}\n\n' + bad + b'\n{"kind": "k"}\n'
        error = refused(3, [*name.split(), "--many"], f"line 3: {reason} (column {column})", db=db, input=given)
        assert (error["line"], error["column"]) == (3, column)


def test_text_on_standard_input_that_is_no_utf8_is_refused(db: str) -> None:
    refused(3, ["queue", "push", "--text", "-"], "UTF-8", db=db, input=b"caf\xe9")
    refused(3, ["queue", "push", "--text", "--many"], "line 2: ", db=db, input=b"cafe\ncaf\xe9\n")
    assert "line 1, column 6" in refused(3, ["create", "k", "-"], "UTF-8", db=db, input=b'["caf\xe9"]')["message"]


def test_what_other_readers_take_for_numbers_is_named(db: str) -> None:
    for text, name in (("[1, NaN]", "NaN"), ("-Infinity", "-Infinity")):
        refused(2, ["create", "k", "--", text], f"this is no JSON: it has no {name}", db=db)


def test_empty_json_is_told_to_be_empty(db: str) -> None:
    refused(2, ["create", "k", " "], "this is no JSON: it is empty", db=db)
    refused(3, ["create", "k", "-"], "standard input: this is no JSON: it is empty", db=db)


def test_an_input_without_an_end_is_refused_at_the_bound(db: str) -> None:
    error = refused(3, ["create", "k", "--input", "a=/dev/zero"], "'/dev/zero'", db=db, code="over_bound")

    assert (error["bound"], error["maximum"]) == ("blob_bytes", 16_777_216)


@pytest.mark.parametrize("name", ["queue ack", "queue nack"])
def test_a_queue_that_is_none_is_refused_though_the_item_is_unknown(db: str, name: str) -> None:
    refused(3, words(name, ("ID", "nothing-like-it"), ("--queue", CONTROL)), "--queue", db=db)

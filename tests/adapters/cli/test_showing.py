"""What is shown to people: hostile text made harmless, tables on a terminal and in a pipe, times."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import termios
import unicodedata
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sagalog
from sagalog import Failure
from sagalog_cli import json_output, tracebacks
from sagalog_cli.tables import Cell, Table, printable, show_table
from sagalog_cli.times import distance, duration, instant, offset, parse_instant
from tests.adapters.cli.calls import PAST_MS, TTL_MS, call, environment, leased, past, run
from tests.adapters.cli.forked import start

# Steers a terminal, reorders a line, forges one, breaks a table, or is markup.
HOSTILE = (
    "\x1b[31m\x1b]0;owned\x07 \x9b2J \u202eevil\u202c \r\noverwritten\tx \x00 [red]red[/red] :smile: \u200b\ufeff\x7f"
)
STORABLE = HOSTILE.replace("\x00", "")
SEEN = r"\x1b[31m\x1b]0;owned\x07 \x9b2J \u202eevil\u202c \r\noverwritten\tx "


def on_terminal(*words: str, columns: int = 80, **changes: str) -> str:
    """What a terminal of so many columns gets from a real process of the command."""
    ours, theirs = os.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    variables = {name: value for name, value in environment(TERM="xterm", **changes).items() if name != "COLUMNS"}
    process = start(*words, stdin=subprocess.DEVNULL, stdout=theirs, env=variables)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the last writer has gone
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert (0, b"") == (process.wait(60), process.communicate()[1])
    return said.decode().replace("\r\n", "\n")


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every free text, and every name as far as it may, is hostile."""
    path = tmp_path_factory.mktemp("made") / "store.db"
    with past(path) as engine:
        name = "[bold]x[/bold]"
        lease = leased(
            engine, name, kind=name, queue=name, undos=[name], payload={STORABLE: STORABLE}, tags={name: name}
        )
        lease.fail(Failure(name, STORABLE, STORABLE))
        engine.note(name, STORABLE, actor=name)
        engine.waive(name, name, STORABLE)
        leased(engine, "held", queue=name).heartbeat(progress=STORABLE)
        waiter = leased(engine, "waits", inputs={name: b"bytes"})
        engine.signal("waits", name, STORABLE)
        waiter.step(name, STORABLE).put_artifact(name, b"bytes", name).park(name, signal=name)
    return path


@pytest.fixture
def hostile(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(made, tmp_path / "store.db"))


# --- hostile text ---------------------------------------------------------------------------------------------------

SHOWING = [
    ["list"],
    ["show", "[bold]x[/bold]", "--full"],
    ["history", "[bold]x[/bold]"],
    ["history", "[bold]x[/bold]", "--full"],
    ["history", "held"],
    ["show", "waits", "--full"],
    ["history", "waits"],
    ["stale"],
    ["stats"],
    ["recover"],
    ["note", "held", HOSTILE.replace("\x00", "")],
    ["show", "nobody\x1b[31m"],
    ["create", HOSTILE.replace("\x00", "")],
    ["create", "k", "--tag", HOSTILE],
    [HOSTILE],
    ["list", "--" + HOSTILE],
    ["list", "--db", HOSTILE],
]


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["human", "json"])
@pytest.mark.parametrize("words", SHOWING, ids=lambda words: words[0][:8].strip("\x1b"))
def test_nothing_that_was_stored_or_typed_reaches_a_terminal_raw(
    hostile: Path, words: list[str], flags: list[str]
) -> None:
    answer = call(*flags, *words, env={"SAGALOG_DB": str(hostile)})

    for text in (answer.out, answer.err):
        assert [one for one in text if not one.isprintable() and one not in "\n\u00a0"] == []
        # A forged line would begin with what follows the line break in the data.
        assert not any(line.startswith("overwritten") for line in text.splitlines())
    assert "Traceback" not in answer.err


def test_hostile_text_is_shown_as_what_it_is(hostile: Path) -> None:
    shown = call("show", "[bold]x[/bold]", "--db", str(hostile)).out

    assert re.search(r"^error +\[bold\]x\[/bold\]: " + re.escape(SEEN), shown, re.MULTILINE)
    assert "[red]red[/red] :smile: \\u200b\\ufeff\\x7f\n" in shown
    assert re.search(r"^tags +\[bold\]x\[/bold\]=\[bold\]x\[/bold\]$", shown, re.MULTILINE)


def test_hostile_text_survives_json_as_it_was(hostile: Path) -> None:
    task = call("show", "[bold]x[/bold]", "--db", str(hostile), "--json").documents[0]

    assert task["payload"] == {STORABLE: STORABLE}
    assert task["error"]["message"] == STORABLE


@pytest.mark.parametrize("columns", [20, 200])
def test_a_terminal_gets_no_escape_but_our_colours(hostile: Path, columns: int) -> None:
    for words in SHOWING[:3]:
        shown = on_terminal("--db", str(hostile), *words, columns=columns)

        assert "\x1b[" in shown or words[0] == "show"
        assert [one for one in uncoloured(shown) if not one.isprintable() and one != "\n"] == []
        assert "[bold]x[/bold]" in uncoloured(shown).replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("word", [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"])
def test_bytes_that_are_no_text_are_refused_with_a_sentence(hostile: Path, word: bytes) -> None:
    text = os.fsdecode(word)
    places = [["show"], ["create"], ["create", "k"], ["list", "--tag"], ["list", "--db"], [], ["note", "held"]]
    for place in places:
        human = call(*place, text, env={"SAGALOG_DB": str(hostile)})
        machine = call("--json", *place, text, env={"SAGALOG_DB": str(hostile)})

        assert human.status in (2, 3), place
        assert human.err.startswith("error: ")
        assert machine.status == human.status
        assert machine.error["message"]


def test_a_real_process_answers_to_bytes_that_are_no_text_as_a_call_does(hostile: Path) -> None:
    word = b"\xff caf\xe9 \xed\xa0\x80"

    real = run("show", word, env=environment(SAGALOG_DB=str(hostile)))

    assert real == call("show", os.fsdecode(word), env={"SAGALOG_DB": str(hostile)})


def test_a_terminal_that_cannot_spell_a_character_gets_it_escaped(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with past(path) as engine:
        engine.create("größe", id="日本")

    human = run("list", "--db", str(path), env=environment(PYTHONIOENCODING="latin-1", LC_ALL="C"))
    machine = run("list", "--db", str(path), "--json", env=environment(PYTHONIOENCODING="latin-1"))

    assert 0 == human.status
    assert "\\u65e5\\u672c" in human.out
    assert ("日本", "größe") == (machine.documents[0]["id"], machine.documents[0]["kind"])


@settings(deadline=None)
@given(st.text())
def test_printable_text_is_printable_and_says_which_characters_there_were(text: str) -> None:
    shown = printable(text)

    assert all(one.isprintable() or unicodedata.category(one) == "Zs" for one in shown)
    if text.isprintable():
        assert shown == text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@settings(deadline=None)
@given(JSON)
def test_json_is_one_printable_line_that_means_the_same(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        value = None

    line = json_output.encode(value)

    assert line.isprintable() or all(one.isprintable() for one in line)
    assert json.loads(line) == value


# --- tables ---------------------------------------------------------------------------------------------------------


def test_a_column_is_as_wide_as_its_characters_are(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(Table(("A", "B"), [("日本", "x"), ("e\u0301", ""), (Cell("four", "red", short="4"), "y")]))

    assert "A     B\n日本  x\ne\u0301     -\nfour  y\n" == capsys.readouterr().out


def test_a_table_without_rows_is_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(Table(("A", "B"), []))

    assert "" == capsys.readouterr().out


def test_a_terminal_gets_colours_and_distances_and_a_pipe_gets_times(hostile: Path) -> None:
    terminal = on_terminal("--db", str(hostile), "list", columns=120)
    plain = on_terminal("--db", str(hostile), "list", columns=120, NO_COLOR="1")

    assert "\x1b[34mrunning\x1b[0m" in terminal
    assert re.search(r"\d+d\d\dh ago", terminal)
    assert "\x1b[3" not in plain


def test_a_terminal_gets_no_empty_column_and_names_what_is_below_a_row(tmp_path: Path) -> None:
    """A pipe gets every column, because scripts count them."""
    path = tmp_path / "store.db"
    with sagalog.open(f"sqlite:///{path}") as engine:
        engine.set_limit("a" * 30, slots=1)
        engine.pause(limit="a" * 30, reason="the disk is full")
        engine.set_limit("b", slots=1)

    head, first, below, second = map(uncoloured, on_terminal("limit", "ls", "--db", str(path)).splitlines())
    assert head.split() == ["NAME", "ALLOWED", "USED", "FREE", "HELD"]
    assert first.split() == ["a" * 30, "1", "slot", "0", "1", "0"]
    assert re.fullmatch(r"    PAUSED: [0-9.]+m?s ago: the disk is full", below)
    assert second.split() == ["b", "1", "slot", "0", "1", "0"]
    plain_head, *_ = call("limit", "ls", "--db", str(path)).out.splitlines()
    assert plain_head.split() == ["NAME", "ALLOWED", "USED", "FREE", "HELD", "BREAKER", "PAUSED"]


def test_a_narrow_terminal_hangs_the_details_below_their_event(hostile: Path) -> None:
    wide = on_terminal("--db", str(hostile), "history", "held", columns=400).splitlines()
    narrow = on_terminal("--db", str(hostile), "history", "held", columns=70).splitlines()

    assert 4 == len(wide)
    below = [line for line in map(uncoloured, narrow) if line.startswith("    ")]
    assert 4 == len(narrow) - len(below)
    assert below[0] == "    DETAILS"
    assert below[1].startswith("    kind=build queue=[bold]x[/bold] ")
    assert max(len(line) for line in map(uncoloured, narrow)) <= 70


# --- what was recorded, and what is waited for -----------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """A store in which the task `t` has recorded all there is and waits, and `plain` has done nothing of that."""
    path = tmp_path / "recorded.db"
    with past(path) as engine:
        engine.create("build", id="plain")
        engine.create("build", id="t", inputs={"spec": b"bytes", "more": b"x" * 1_234})
        engine.signal("t", "approved", {"by": "ann"})
        lease = engine.acquire("t", owner="worker-1", ttl_ms=TTL_MS)
        lease.step("checkout", {"path": "wt"}).step("build").put_artifact("log", b"said", "text/plain")
        lease.park("approval", signal="approved")
        engine.signal("t", "noise")
        lease = engine.acquire("t", owner="worker-1", ttl_ms=TTL_MS)
        lease.park("children", after=["plain"], until_ms=PAST_MS + 60_000)
    return str(path)


def test_show_tells_what_was_recorded_and_what_is_waited_for(recorded: str) -> None:
    said = call("--db", recorded, "show", "t").out
    rows = dict(line.split(maxsplit=1) for line in said.splitlines())

    assert rows["inputs"] == "spec (5 bytes), more (1,234 bytes)"
    assert (rows["steps"], rows["artifacts"], rows["waits"], rows["signals"]) == (
        "checkout, build",
        "log",
        "approval",
        "noise",
    )
    assert rows["waiting"].startswith("children: for plain until 2023-11-14T22:14:20")
    assert "due" not in rows


def test_show_says_nothing_of_what_there_is_none_of(recorded: str) -> None:
    said = call("--db", recorded, "show", "plain").out
    rows = {line.split(maxsplit=1)[0] for line in said.splitlines()}

    assert "due" in rows
    assert not rows & {"inputs", "steps", "artifacts", "waits", "waiting", "signals"}


def test_show_gives_all_of_it_as_json(recorded: str) -> None:
    [task] = call("--json", "--db", recorded, "show", "t").documents

    assert [(one["name"], one["size_bytes"]) for one in task["inputs"]] == [("spec", 5), ("more", 1_234)]
    names = ("steps", "artifacts", "waits", "signals")
    assert [task[name] for name in names] == [["checkout", "build"], ["log"], {"approval": 1}, ["noise"]]
    assert task["waiting"] == {
        "name": "children",
        "number": 1,
        "signal": None,
        "after": ["plain"],
        "until_ms": PAST_MS + 60_000,
    }


def test_history_tells_what_was_recorded_and_never_the_bytes(recorded: str) -> None:
    said = call("--db", recorded, "history", "t").out
    documents = call("--json", "--db", recorded, "history", "t").documents
    told = {one["type"]: one["event"] for one in documents}

    assert "inputs=spec,more" in said
    assert "fence=2 verb=park name=children number=1 after=plain until=2023-11-14T22:14:20" in said
    assert "wait=approval number=1 by=signal signal_version=2" in said
    assert told["step_completed"]["name"] == "build"
    assert told["signalled"]["name"] == "noise"
    assert (told["parked"]["after"], told["unblocked"]["by"]) == (["plain"], "signal")
    assert (told["artifact_put"]["size_bytes"], told["artifact_put"]["media_type"]) == (4, "text/plain")
    assert "said" not in said


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1795301730740", 1_795_301_730_740),
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T01:00:00.001+01:00", 1),
        ("1969-12-31T23:59:59Z", -1_000),
        ("+5ms", 1_005),
        ("+10m", 601_000),
        ("+1h30m", 5_401_000),
        ("+1w2d", 777_601_000),
    ],
)
def test_a_point_in_time_is_read(text: str, expected: int) -> None:
    assert expected == parse_instant(text, now_ms=1_000)


@pytest.mark.parametrize(
    "text", ["", "+", "+10", "10m", "-10m", "+1.5h", "noon", "2026-11-21", "9" * 17, "٣", "+9" * 9_000]
)
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time|no zone"):
        parse_instant(text, now_ms=0)


@settings(deadline=None)
@given(st.integers(0, 253_402_300_799_999), st.integers())
def test_a_time_that_is_written_is_read_as_the_same(time_ms: int, now_ms: int) -> None:
    """[TIME-1]"""
    assert time_ms == parse_instant(instant(time_ms), now_ms)


def test_a_time_beyond_every_calendar_is_written_as_it_is() -> None:
    assert "9007199254740991 ms" == instant(2**53 - 1)


@pytest.mark.parametrize(
    ("span_ms", "expected"),
    [
        (0, "0ms"),
        (999, "999ms"),
        (1_000, "1.000s"),
        (59_999, "59.999s"),
        (60_000, "1m00s"),
        (3_599_999, "59m59s"),
        (3_600_000, "1h00m"),
        (86_399_999, "23h59m"),
        (86_400_000, "1d00h"),
        (1_000_000_000_000, "11574d01h"),
        (-1_500, "-1.500s"),
    ],
)
def test_a_length_of_time_is_written_in_its_two_largest_units(span_ms: int, expected: str) -> None:
    assert expected == duration(span_ms)


def test_distances_say_their_direction() -> None:
    assert ["+1.000s", "+0ms", "-1.000s"] == [offset(1_000), offset(0), offset(-1_000)]
    assert ["in 1.000s", "0ms ago", "1.000s ago"] == [distance(at, 1_000) for at in (2_000, 1_000, 0)]


# --- tracebacks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("details", "lines", "rest"),
    [
        ({"traceback": ["a", "b"]}, ["a", "b"], None),
        ({"traceback": ["a"], "n": 1}, ["a"], {"n": 1}),
        ({"said": {"traceback": ["a"]}, "left_out": ["x"]}, ["a"], {"left_out": ["x"]}),
        ({"said": {"traceback": ["a"], "n": 1}}, ["a"], {"said": {"n": 1}}),
        ({"traceback": "a\nb"}, [], {"traceback": "a\nb"}),
        ({"traceback": []}, [], {"traceback": []}),
        ({"traceback": ["a", 1]}, [], {"traceback": ["a", 1]}),
        (["a"], [], ["a"]),
        (None, [], None),
    ],
)
def test_a_traceback_is_told_apart_from_the_other_details(details: Any, lines: list[str], rest: Any) -> None:
    assert lines == tracebacks.lines_in(details)
    assert rest == tracebacks.without(details)


def test_on_a_terminal_a_traceback_is_below_its_event_and_harmless(tmp_path: Path) -> None:
    """It steers nothing of the terminal."""
    with past(tmp_path / "sagalog.db") as engine:
        leased(engine, "t").retry(Failure("ValueError", "no", {"traceback": ["File one", f"    {STORABLE}"]}))

    lines = uncoloured(on_terminal("history", "t", "--db", str(tmp_path / "sagalog.db"))).splitlines()

    at = next(n for n, line in enumerate(lines) if line == "  File one")
    assert lines[at + 1].startswith("      " + SEEN[:20])
    assert "retried" in "".join(lines[:at])

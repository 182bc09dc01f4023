"""Every command whose output is closed, full or without a reader, or whose input, terminal or locale is unusual."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Final, TextIO

import pytest

import sagalog
from sagalog.worker.config import WorkerConfig
from sagalog.worker.registration import Registration
from sagalog_cli import main
from sagalog_http.tokens import Tokens
from tests.adapters.cli.bad_calls import NAMES, OF_A_GATEWAY, OF_A_STORE, words
from tests.adapters.cli.calls import call, environment, leased, past, run, url_of
from tests.adapters.ollama.gateways import Gateway, gateway
from tests.faulty_upstream import FaultyUpstream, Script
from tests.ollama_server.examples import EXAMPLES


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which each command has something to answer."""
    path = tmp_path_factory.mktemp("sound") / "store.db"
    with past(path) as engine:
        lease = leased(engine, "held", kind="item", undos=["c"], queue="other", inputs={"n": b"bytes"})
        lease.put_artifact("n", b"bytes")
        engine.create("k", id="ended")
        engine.quarantine("ended", "it was wrong")
        engine.create("a-kind-of-some-length", id="a-task-of-some-length", payload={"text": "word " * 40})
    return path


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Callable[[], str]:
    """Makes one more copy of it."""
    return lambda: str(shutil.copy(sound, tmp_path / f"{len(list(tmp_path.iterdir()))}.db"))


@pytest.fixture
def db(copy: Callable[[], str]) -> str:
    """A copy of it."""
    return copy()


# --- standard output ------------------------------------------------------------------------------------------------

# `queue work` answers nothing itself, and `queue pop` has nothing to pop there.
SILENT: Final = {"queue work": 0, "queue pop": 4}
# Those that end, with status 0, where their reader has gone.
FOLLOWING: Final = {"tail": 0}


def output_to(stdout: TextIO | None, patch: pytest.MonkeyPatch, given: list[str]) -> tuple[int, str]:
    """Make a call that writes to this standard output: its status and its standard error."""
    said = io.StringIO()
    with patch.context() as streams:
        streams.setattr(sys, "stdout", stdout)
        streams.setattr(sys, "stderr", said)
        streams.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        status = main(given, standalone_mode=False)
    assert "Traceback" not in said.getvalue()
    return status, said.getvalue()


def without_remarks(said: str) -> list[str]:
    return [line for line in said.splitlines() if not line.startswith(("note: ", '{"note"'))]


def assert_refused(status: int, said: str, why: str, flags: tuple[str, ...]) -> None:
    """Status 9, and why standard output has not taken the answer."""
    assert status == 9, said
    [first, *_] = without_remarks(said)
    assert f"the answer could not be written: {why}" in first
    assert not flags or json.loads(first)["error"]["code"] == "output"


# `ollama serve` answers nothing here: its clients get what it has to say.
@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["human", "json"])
@pytest.mark.parametrize("name", [*(name for name in OF_A_STORE if name != "ollama serve"), "command classify"])
def test_a_closed_or_full_output_is_status_9_and_no_reader_is_status_141(
    copy: Callable[[], str], name: str, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def given() -> list[str]:
        db = copy()
        if name.startswith("worker "):
            with sagalog.open(url_of(Path(db)), durability="normal") as engine:
                Registration(engine, "n", WorkerConfig(("q",), {}, {}, 1, 0, 1_000, False))
        elif name.startswith("journal "):
            with sagalog.open(url_of(Path(db)), durability="normal") as engine:
                engine.journal("n").append([b"line\n"])
        elif name.startswith("breaker "):
            with sagalog.open(url_of(Path(db)), durability="normal") as engine:
                engine.set_limit("n", breaker=sagalog.Breaker())
        elif name.startswith("token ") and name != "token create":
            with sagalog.open(url_of(Path(db)), durability="normal") as engine:
                Tokens(engine).create("n", ["read"])
                if name == "token rm":
                    Tokens(engine).revoke("n")
        elif name.startswith("schedule ") and name != "schedule set":
            with sagalog.open(url_of(Path(db)), durability="normal") as engine:
                engine.set_schedule("n", "build", every_ms=3_600_000)
                if name == "schedule resume":
                    engine.pause(schedule="n")
        elif name.startswith(("limit ", "kind ", "queue ")):
            with sagalog.open(url_of(Path(db)), durability="normal") as engine:
                engine.set_limit("n", slots=1)
                engine.pause(queue="n")
                engine.pause(kind="n")
                if name in ("limit holders", "queue holders"):
                    engine.resume(queue="n")
                    engine.resume(kind="n")
                    engine.create("n", queue="n", uses={"n": 1}, key="n")
                    engine.claim("n", owner="ann", ttl_ms=None)
        return [*flags, "--db", db, *words(name, *([("ID", "ended")] if name == "retry" else []))]

    with open("/dev/full", "w", encoding="utf-8") as full:
        for stdout, why in ((None, "standard output is closed"), (full, "No space left on device")):
            status, said = output_to(stdout, monkeypatch, given())
            if name in SILENT:
                assert status == SILENT[name], (name, said)
            else:
                assert_refused(status, said, f"{'[Errno 28] ' if stdout else ''}{why}", flags)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as gone:
        status, said = output_to(gone, monkeypatch, given())
        assert status == SILENT.get(name, FOLLOWING.get(name, 141))
        assert status == 4 or without_remarks(said) == []


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that answers every chat."""
    with FaultyUpstream() as upstream:
        upstream.have_models("tiny")
        upstream.always("/api/chat", Script.example(EXAMPLES["chat stream"]))
        upstream.always("/api/generate", Script.answer({"done": True, "done_reason": "load"}))
        with gateway(tmp_path_factory.mktemp("serving"), upstream.url) as running:
            yield running


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["human", "json"])
@pytest.mark.parametrize("name", [*OF_A_GATEWAY, "ollama jobs --answer", "ollama submit --detach"])
def test_of_a_gateway_a_closed_or_full_output_is_9_and_no_reader_141(
    serving: Gateway, name: str, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, option, more = name.partition(" --")
    id = serving.submit()
    serving.ended(id)
    given = [*flags, *words(name, ("ID", id), more=((option + more).strip(),) if more else ())]
    monkeypatch.setenv("OLLAMA_HOST", serving.url)

    with open("/dev/full", "w", encoding="utf-8") as full:
        assert_refused(*output_to(None, monkeypatch, given), "standard output is closed", flags)
        assert_refused(*output_to(full, monkeypatch, given), "[Errno 28] No space left on device", flags)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as gone:
        status, said = output_to(gone, monkeypatch, given)
    assert (141, []) == (status, without_remarks(said))


@pytest.mark.parametrize("name", NAMES)
def test_help_on_forty_columns_breaks_no_option(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is never narrower than 50 columns, which is click's choice."""
    monkeypatch.setenv("COLUMNS", "40")

    assert main([*name.split(), "--help"], standalone_mode=False) == 0

    out, err = capsys.readouterr()
    assert err == ""
    assert [line for line in out.splitlines() if len(line) > 50 and max(map(len, line.split())) < 40] == []
    assert set(re.findall(r"--[a-z-]+", call(*name.split(), "--help").out)) <= set(re.findall(r"--[a-z-]+", out))


def test_help_on_a_closed_output_says_nothing_and_is_no_defect(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)

    assert main(["--help"], standalone_mode=False) == 0


# --- standard error -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OF_A_STORE, *OF_A_GATEWAY])
def test_without_standard_error_the_status_still_says_it(
    db: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")  # nothing listens there
    for stderr in (None, open("/dev/full", "w", encoding="utf-8")):  # noqa: SIM115  closed below
        answer = io.TextIOWrapper(io.BytesIO())
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", answer)
            patch.setattr(sys, "stderr", stderr)
            patch.setattr(sys, "stdin", None)
            status = main(["--db", str(tmp_path / "no" / "store.db"), *words(name)], standalone_mode=False)
        if stderr is not None:
            stderr.close()
        assert (status, answer.buffer.getvalue()) == (6, b"")


# --- standard input -------------------------------------------------------------------------------------------------

READING: Final = [
    ["create", "k", "-"],
    ["create", "--many"],
    ["signal", "held", "n", "-"],
    ["queue", "push", "-"],
    ["queue", "push", "--many"],
    ["queue", "push", "--text", "-"],
    ["queue", "push", "--text", "--many"],
    ["ollama", "submit", "tiny", "-"],
    ["command", "classify", "--with", "exit_status", "-"],
    ["command", "classify", "--with", "exit_status", "--stderr", "-", "/dev/null"],
]


@pytest.mark.parametrize("given", READING, ids=" ".join)
def test_a_closed_input_is_wrong_usage(
    db: str, given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")  # nothing listens there

    status = main(["--json", "--db", db, *given], standalone_mode=False)

    out, err = capsys.readouterr()
    error = json.loads(err)["error"]
    assert (status, out, error["code"]) == (2, "", "usage")
    assert "standard input is closed, and this command reads from it" in error["message"]
    assert error["hint"]


@pytest.mark.parametrize("given", READING[:-2], ids=" ".join)
def test_on_a_terminal_it_says_that_it_reads(
    serving: Gateway, db: str, given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = os.openpty()
    os.write(ours, b'"x"\n\x04' if "--many" not in given or given[0] == "queue" else b'{"kind": "k"}\n\x04')
    with open(theirs, encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setenv("OLLAMA_HOST", serving.url)
        status = main(["--json", "--db", db, *given], standalone_mode=False)
    os.close(ours)

    _, err = capsys.readouterr()
    assert status == 0
    assert json.loads(err.splitlines()[0])["note"] == {
        "code": "reading",
        "message": "reading from the terminal; Ctrl-D ends the input",
    }


# --- terminals ------------------------------------------------------------------------------------------------------

SHOWN: Final = ["list", "show", "explain", "history", "tail", "stats", "stale", "verify", "queue depth", "queue watch"]
# What is copied from a terminal is on one line.
WHOLE: Final = re.compile(r"a-task-of-some-length|held|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A terminal of so many columns to write to, and what it got so far."""
    ours, theirs = os.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    got: list[bytes] = []

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the last writer has gone
                return
            got.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    writer = open(theirs, "w", encoding="utf-8")  # noqa: SIM115  closed where it is read

    def said() -> str:
        writer.close()
        reader.join()
        return b"".join(got).decode().replace("\r\n", "\n")

    try:
        yield writer, said
    finally:
        writer.close()
        reader.join()
        os.close(ours)


def shown(db: str, name: str, monkeypatch: pytest.MonkeyPatch, columns: int, **variables: str) -> str:
    with terminal(columns) as (stdout, said), monkeypatch.context() as patch:
        for variable in ("COLUMNS", "LINES", "NO_COLOR"):
            patch.delenv(variable, raising=False)
        for variable, value in {"TERM": "xterm", **variables}.items():
            patch.setenv(variable, value)
        id = [("ID", "a-task-of-some-length")] if name in ("show", "history") else []
        status, err = output_to(stdout, patch, ["--db", db, *words(name, *id)])
        assert (status, without_remarks(err)) == (0, []), err
        return said()


@pytest.mark.parametrize("name", SHOWN)
def test_on_forty_columns_ids_and_times_stay_whole(db: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = whole(shown(db, name, monkeypatch, 200))

    assert whole(shown(db, name, monkeypatch, 40)) == wide
    for width in ("40", "1", "0", "-1", "wide"):
        assert whole(shown(db, name, monkeypatch, 40, COLUMNS=width)) == wide


@pytest.mark.parametrize("name", SHOWN)
def test_no_color_and_a_dumb_terminal_get_plain_text(db: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        text = shown(db, name, monkeypatch, 80, **plain)
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)
    assert "\x1b" not in shown(db, name, monkeypatch, 80, TERM="dumb")


@pytest.mark.parametrize("name", SHOWN)
def test_in_a_pipe_no_variable_of_a_terminal_changes_a_line(db: str, name: str) -> None:
    given = ["--db", db, *words(name)]

    usual = call(*given)
    narrow = call(*given, env={"COLUMNS": "40", "TERM": "dumb", "FORCE_COLOR": "1", "LINES": "x"})

    assert "\x1b" not in usual.out
    assert re.sub(r"\d", "0", narrow.out) == re.sub(r"\d", "0", usual.out)


def whole(text: str) -> list[str]:
    """The ids and times that are there in one piece; one time is like another."""
    return [re.sub(r"\d", "0", one) for one in WHOLE.findall(re.sub(r"\x1b\[[0-9;]*m", "", text))]


# --- locales --------------------------------------------------------------------------------------------------------


def test_in_an_ascii_locale_words_beyond_it_are_refused_and_data_is_not(db: str) -> None:
    """Real processes: how words are decoded is settled before anything of ours runs."""
    ascii_only = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="", PYTHONCOERCECLOCALE="0", SAGALOG_DB=db)

    refused = run("--json", "create", "käse".encode(), env=ascii_only)
    made = run("create", "k", "-", "--id", "t", given='"käse"'.encode(), env=ascii_only)
    shown = run("show", "t", "--full", env=ascii_only)

    assert (refused.status, refused.out, refused.error["code"]) == (3, "", "invalid_value")
    assert refused.error["message"].startswith("KIND: ")
    assert "surrogate" in refused.error["message"]
    assert (made.status, made.out) == (0, "t\n")
    assert (shown.status, shown.err) == (0, "")
    assert 'payload   "käse"\n' in shown.out

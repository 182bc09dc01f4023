"""However a command fails: one sentence, the status of the branch, no traceback, and nothing made or changed."""

from __future__ import annotations

import fcntl
import json
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import apsw
import pytest

from sagalog import errors, failpoints
from sagalog_cli import main as package_main
from sagalog_cli.advice import ADVICE
from sagalog_cli.command_line import COMMANDS, Place, main
from sagalog_cli.render import EXIT_STATUS, exit_status
from tests.adapters.cli import forked
from tests.adapters.cli import misbehaving as misbehaving_commands
from tests.adapters.cli.calls import ROOT, call, environment, past, run, start, url_of
from tests.contract.tampering import tamper


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `misbehave` beside the others."""
    place = Place("tests.adapters.cli.misbehaving", "misbehave", "Misbehave.")
    monkeypatch.setitem(COMMANDS, "misbehave", place)


# --- what the file is -----------------------------------------------------------------------------------------------

READING = ["list", "stats", "stale", "recover", "verify", "rebuild"]
OF_A_TASK = [
    ["show", "t"],
    ["history", "t"],
    ["cancel", "t"],
    ["note", "t", "x"],
    ["quarantine", "t", "--reason", "x"],
    ["waive", "t", "c", "--reason", "x"],
]


@pytest.mark.parametrize("words", [*([one] for one in READING), *OF_A_TASK], ids=lambda words: words[0])
def test_a_command_that_makes_no_store_makes_no_file_over_a_typo(tmp_path: Path, words: list[str]) -> None:
    human = call(*words, "--db", str(tmp_path / "stroe.db"))
    machine = call(*words, "--db", str(tmp_path / "stroe.db"), "--json")

    assert (6, "") == (human.status, human.out)
    assert "hint: `sagalog init` makes a new store" in human.err
    assert ("unavailable", str(tmp_path / "stroe.db")) == (machine.error["code"], machine.error["path"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"this is a text and no store\n" * 100, b"SQLite format 3\0" + b"\xff" * 8_000], ids=len
)
@pytest.mark.parametrize("command", ["init", "create", "list"])
def test_what_is_no_store_is_status_8_and_left_as_it_is(path: Path, content: bytes, command: str) -> None:
    path.write_bytes(content)

    answer = call(command, *(["k"] if command == "create" else []), "--db", str(path), "--json")

    assert (8, "corrupt", "") == (answer.status, answer.error["code"], answer.out)
    assert path.read_bytes() == content


def test_a_foreign_database_is_status_8(path: Path) -> None:
    make = f"import apsw; apsw.Connection({str(path)!r}).execute('CREATE TABLE mine(x)')"
    subprocess.run([sys.executable, "-c", make], check=True)

    answer = call("list", "--db", str(path))

    assert 8 == answer.status
    assert "no sagalog store" in answer.err


@pytest.mark.parametrize(
    "statement", ["INSERT INTO migrations(number, name, at_ms) VALUES (99, 'later', 0)", "UPDATE store SET format = 99"]
)
def test_a_store_of_a_newer_version_is_status_8_and_says_which(path: Path, statement: str) -> None:
    with past(path) as engine:
        engine.create("k", id="t")
    tamper(path, (statement, []))

    answer = call("create", "k", "--db", str(path), "--json")

    assert (8, "schema_mismatch") == (answer.status, answer.error["code"])
    assert 99 == answer.error["found"]


def test_a_folder_is_status_6(tmp_path: Path) -> None:
    assert 6 == call("list", "--db", str(tmp_path)).status
    assert 6 == call("init", "--db", str(tmp_path / "no" / "folder.db")).status


def test_a_store_that_may_not_be_written_is_status_6_whichever_user_asks(tmp_path: Path) -> None:
    """As another user where the tests run as root, for root may write anywhere."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # others must be able to get there
        path = Path(folder) / "store.db"
        with past(path):
            pass
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        # Everything is imported before the rights are given up: the interpreter itself may lie out of reach after it.
        program = (
            "import os, sys\n"
            "from sagalog_cli import main\n"
            f"assert main(['--db', {str(tmp_path / 'other.db')!r}, 'init'], standalone_mode=False) == 0\n"
            f"assert main(['--db', {str(tmp_path / 'other.db')!r}, 'list'], standalone_mode=False) == 0\n"
            "if os.getuid() == 0:\n"
            "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"main(['--db', {str(path)!r}, '--json', 'list'])\n"
        )
        done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
        Path(folder).chmod(0o700)

    assert 6 == done.returncode
    assert "unavailable" == json.loads(done.stderr.splitlines()[-1])["error"]["code"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("postgresql://host/db", "memory, sqlite"),
        ("sqlite://x.db", "sqlite:///relative.db"),
        ("sqlite:///", "sqlite:///relative.db"),
        (":memory:", "sqlite:///relative.db"),
        ("a?b", "sqlite:///relative.db"),
        ("", "nothing"),
        ("\udce9.db", "UTF-8"),
    ],
)
def test_a_url_that_names_no_store_is_wrong_usage(url: str, part: str) -> None:
    answer = call("list", "--db", url)

    assert (2, "") == (answer.status, answer.out)
    assert answer.err.startswith("error: ")
    assert part in answer.err


# --- errors and their statuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", misbehaving_commands.subclasses(), ids=lambda kind: kind.code)
def test_an_error_ends_with_the_status_of_its_branch_in_one_sentence(
    misbehaving: None, kind: type[errors.SagalogError]
) -> None:
    branches: dict[type[errors.SagalogError], int] = {
        errors.NotFound: 4,
        errors.Rejected: 3,
        errors.Conflict: 5,
        errors.Unavailable: 6,
        errors.Unknown: 7,
        errors.Corrupt: 8,
        errors.SagalogError: 1,
    }
    expected = next(status for branch, status in branches.items() if issubclass(kind, branch))

    misbehaving_commands.ends_with.append(kind("it went wrong", task="t", fence=7, hint="do better"))
    human = call("misbehave")
    misbehaving_commands.ends_with.append(kind("it went wrong", task="t", fence=7, code="not me"))
    machine = call("misbehave", "--json")

    assert (expected, "", "error: it went wrong\nhint: do better\n") == human
    assert (expected, "") == (machine.status, machine.out)
    fields = {"task": "t", "fence": 7, "hint": advice_of(expected)}
    assert machine.error == {"code": kind.code, "message": "it went wrong", **fields}


def advice_of(status: int) -> str:
    """What is advised where an error says nothing itself: that of its branch, which is what a status means."""
    code = next(code for code, number in EXIT_STATUS.items() if number == status)
    return ADVICE[code]


def test_an_error_of_another_package_has_the_status_of_its_branch() -> None:
    class Throttled(errors.Unavailable):
        code = "throttled"

    assert EXIT_STATUS["unavailable"] == exit_status(Throttled("later"))


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["human", "json"])
@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 6, "unavailable"),
        (BrokenPipeError(), 141, None),
        (ZeroDivisionError("by zero\x1b[31m\x07\u202e\nerror: forged"), 1, "bug"),
        (RecursionError("too deep"), 1, "bug"),
    ],
)
def test_whatever_else_is_raised_has_a_status_and_no_traceback(
    misbehaving: None, raised: BaseException, status: int, code: str | None, flags: list[str]
) -> None:
    misbehaving_commands.ends_with.append(raised)

    answer = call("misbehave", *flags)

    assert (status, "") == (answer.status, answer.out)
    assert "Traceback" not in answer.err
    assert all(line.isprintable() for line in answer.err.split("\n"))
    assert "\nerror: " not in answer.err
    if code is None:
        assert answer.err == ""
    elif flags:
        assert code == answer.error["code"]


def test_a_defect_shows_where_it_happened_to_those_who_ask(misbehaving: None) -> None:
    misbehaving_commands.ends_with.append(ZeroDivisionError("by zero"))

    answer = call("misbehave", env={"SAGALOG_TRACEBACK": "1"})

    assert 1 == answer.status
    assert "Traceback" in answer.err
    assert "misbehaving.py" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "lsit"],
        ["list", "--json", "--nope"],
        ["create", "--json"],
        ["--json"],
        ["--db", "", "--json", "list"],
    ],
)
def test_wrong_usage_is_told_as_json_too_wherever_json_was_asked_for(words: list[str]) -> None:
    answer = call(*words)

    assert (2, "", "usage") == (answer.status, answer.out, answer.error["code"])


def test_the_word_json_behind_two_hyphens_is_no_option(path: Path) -> None:
    with past(path):
        pass

    assert call("note", "--db", str(path), "--", "nobody", "--json").err.startswith("error: ")


def test_a_misspelled_command_is_answered_with_the_one_that_was_meant() -> None:
    assert (
        call("histroy", "t").err
        == "error: No such command 'histroy'; did you mean 'history'?\nhint: sagalog --help says how\n"
    )


def test_an_interrupted_commit_leaves_nothing_and_holds_up_no_other_caller(path: Path) -> None:
    with past(path):
        pass

    def interrupt() -> None:
        raise KeyboardInterrupt

    failpoints.armed["commit.before_commit"] = interrupt
    try:
        first = call("create", "k", "--id", "t", "--db", url_of(path))
    finally:
        del failpoints.armed["commit.before_commit"]
    second = call("list", "--db", url_of(path))

    assert (130, "") == (first.status, first.out)
    assert (0, "") == (second.status, second.out)
    assert 0 == call("create", "k", "--id", "t", "--db", url_of(path)).status


def test_a_creation_of_unknown_outcome_names_the_id_to_repeat_it_with(path: Path) -> None:
    """[REPEAT-2]"""
    with past(path):
        pass

    def fail() -> None:
        raise apsw.IOError("the disk has gone")

    failpoints.armed["commit.after_commit"] = fail
    try:
        first = call("create", "k", "--db", url_of(path), "--json")
    finally:
        del failpoints.armed["commit.after_commit"]
    id = first.error["identity"]["id"]
    second = call("create", "k", "--id", id, "--db", url_of(path))

    assert (7, "unknown", "") == (first.status, first.error["code"], first.out)
    assert "--id" in first.error["hint"]
    assert (0, f"{id}\n") == (second.status, second.out)
    assert [id] == [task["id"] for task in call("list", "--db", url_of(path), "--json").documents]


# --- one command never hurts another --------------------------------------------------------------------------------


def test_a_missing_or_broken_command_hurts_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "demo", Place("sagalog_cli.not_installed", "demo", "Gone."))
    monkeypatch.setitem(COMMANDS, "verify", Place("sagalog_cli.not_installed.command", "verify", "Gone."))
    monkeypatch.setitem(COMMANDS, "broken", Place("this", "s", "Raises."))

    assert 0 == call("init", "--db", str(path)).status
    assert "Gone." not in call("--help").out
    assert "Raises." in call("--help").out
    assert 2 == call("demo").status
    assert 2 == call("verify").status


def test_each_command_is_found_with_the_help_that_the_list_gives_it() -> None:
    import click

    context = click.Context(main)
    for name, place in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None, name
        assert name == command.name
        if command.short_help is not None:
            assert command.short_help == place.short_help
        assert 0 == call(name, "--help").status


def test_the_package_exports_the_command() -> None:
    assert package_main is main
    assert run("--version").out.startswith("sagalog ")


def test_a_listing_imports_nothing_that_it_does_not_need(path: Path) -> None:
    with past(path) as engine:
        engine.create("k", id="t")

    program = (
        "import sys; from sagalog_cli import main\n"
        f"assert main(['--db', {str(path)!r}, 'list'], standalone_mode=False) == 0\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    imported = set(done.stderr.splitlines())

    assert "sagalog_cli.commands.queries" in imported
    assert {name for name in imported if name.partition(".")[0] in {"rich", "transitions", "ulid"}} == set()
    assert {name for name in imported if name.startswith("sagalog_cli.demo")} == set()
    assert "sagalog_cli.commands.creation" not in imported


# --- real processes -------------------------------------------------------------------------------------------------


@pytest.fixture
def long(path: Path) -> Path:
    """A store whose listing is longer than a pipe is wide."""
    with past(path) as engine:
        engine.create_many({"kind": "k", "payload": "x" * 2_000} for _ in range(200))
    return path


def test_a_reader_that_goes_away_ends_the_command_without_a_word(long: Path) -> None:
    process = forked.start("list", "--all", "--json", "--db", str(long), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b'{"id"')
    process.stdout.close()

    said = process.stderr.read()

    assert (141, b"") == (process.wait(60), said)
    process.stderr.close()


def test_no_part_of_an_answer_is_lost_unsaid_where_python_buffers_nothing(path: Path) -> None:
    """With PYTHONUNBUFFERED, as images of containers set it, Python itself forgets what a write has left over."""
    with past(path) as engine:
        engine.create_many({"kind": "k" * 60} for _ in range(2_000))
    env = environment(PYTHONUNBUFFERED="1")
    process = start("list", "--all", "--db", str(path), stdin=subprocess.DEVNULL, env=env)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(3) == b"ID "
    process.stdout.close()

    assert (141, b"") == (process.wait(60), process.stderr.read())
    process.stderr.close()


@pytest.mark.parametrize("words", [["list"], ["history", "t", "--json"], ["stats"], ["create", "k"]])
def test_an_answer_that_cannot_be_written_is_status_9(path: Path, words: list[str]) -> None:
    with past(path) as engine:
        engine.create("k", id="t")
    with open("/dev/full", "wb") as full:
        answer = forked.run(*words, stdout=full, env=environment(SAGALOG_DB=str(path)))

    assert 9 == answer.status
    assert "the answer could not be written: [Errno 28] No space left on device" in answer.err
    assert (1 if "--json" in words else 2) == len(answer.err.splitlines())
    assert ADVICE["output"] in answer.err


def test_closed_streams_are_no_defect(path: Path) -> None:
    with past(path) as engine:
        engine.create("k", id="t")

    def shell(redirections: str, *words: str) -> tuple[int, str]:
        command = f'exec "$@" {redirections}'
        done = subprocess.run(
            ["sh", "-c", command, "sh", sys.executable, "-m", "sagalog_cli", "--db", str(path), *words],
            env=environment(),
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr

    told = f"error: the answer could not be written: standard output is closed\nhint: {ADVICE['output']}\n"
    assert (9, told) == shell(">&-", "list")
    assert (0, "") == shell("2>&-", "list")
    assert (4, "") == shell(">&- 2>&- <&-", "show", "nobody")
    assert 2 == shell("<&-", "create", "--many")[0]


def test_where_standard_error_is_full_the_status_still_says_it(path: Path) -> None:
    with past(path):
        pass
    with open("/dev/full", "wb") as full:
        env = environment(SAGALOG_DB=str(path))

        assert (4, "", "") == forked.run("show", "nobody", stderr=full, env=env)
        assert (0, "", "") == forked.run("list", "--queue", "nobody", stderr=full, env=env)


def test_ctrl_c_while_reading_is_status_130_and_writes_nothing(path: Path) -> None:
    process = forked.start("create", "--many", "--db", str(path))
    assert process.stdin is not None
    process.stdin.write(b'{"kind": "k"}\n')
    process.stdin.flush()
    give_up = time.monotonic() + 30
    # Once the pipe is empty, the command is past its imports and reads.
    while struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, b"\0\0\0\0"))[0]:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (130, b"") == (process.returncode, out)
    assert b"Traceback" not in err
    assert b"error: interrupted" in err
    assert not path.exists()


def test_a_pipe_of_commands_works_as_one(tmp_path: Path) -> None:
    """Ids in, ids out: what `list` tells, `--many` takes."""
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    with past(first) as engine:
        engine.create_many({"kind": "k", "id": str(number)} for number in range(3))
    pick = "import json, sys; [print(json.dumps({n: json.loads(l)[n] for n in ('id', 'kind')})) for l in sys.stdin]"
    script = (
        'set -e; sagalog() { "$python" -m sagalog_cli "$@"; }\n'
        f'sagalog list --oldest --json --db "$1" | "$python" -c "{pick}" | sagalog create --many --db "$2"'
    )

    done = subprocess.run(
        ["sh", "-c", script, "sh", str(first), str(second)],
        env=environment(python=sys.executable),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert (0, "0\n1\n2\n") == (done.returncode, done.stdout)

"""A command is run: what it gets, what it leaves, what becomes of its task, and which secrets no reader sees."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sagalog import Failed, Interrupted, Permanent, Quarantine, Transient
from sagalog_command import EXIT_STATUS, Classifier, Command, handler, load_classifier, run
from tests.adapters.command.attempt import VARIABLES, Attempt, python


@pytest.fixture
def attempt() -> Attempt:
    return Attempt()


def go(attempt: Attempt, command: Command, classifier: Classifier = EXIT_STATUS, **more: str) -> dict[str, Any]:
    return run(attempt, command, classifier, variables={**VARIABLES, **more})


# --- what a command gets, and what it leaves ---------------------------------------------------------------------


def test_a_command_that_ends_well_gives_a_small_result_and_its_output(attempt: Attempt) -> None:
    result = go(attempt, python("import sys; print('out'); print('err', file=sys.stderr)"))

    assert result.pop("duration_ms") >= 0
    assert {
        "class": "ok",
        "rule": "success",
        "exit_status": 0,
        "lingered": False,
        "stdout_bytes": 4,
        "stderr_bytes": 4,
        "stdout_truncated": False,
        "stderr_truncated": False,
        "fields": {},
    } == result
    assert {"stdout": b"out\n", "stderr": b"err\n"} == attempt.artifacts
    assert {"text/plain; charset=utf-8"} == set(attempt.media_types.values())


def test_a_command_finds_its_task_and_only_the_variables_it_was_given(attempt: Attempt) -> None:
    """The other variables of the worker do not reach it."""
    command = python(
        "import json, os; print(json.dumps(dict(os.environ)))", environment={"A": "1", "LANG": "x"}, inherit=("B",)
    )

    go(attempt, command, A="0", B="2", C="3", LANG="C", TOKEN="t")  # noqa: S106  no secret

    found = json.loads(attempt.text("stdout"))
    found.pop("LC_CTYPE", None)  # Python's own
    assert {
        **VARIABLES,
        "A": "1",
        "B": "2",
        "LANG": "x",
        "SAGALOG_STORE_ID": attempt.store_id,
        "SAGALOG_TASK_ID": "task-1",
        "SAGALOG_TASK_ATTEMPT": "2",
        "SAGALOG_TASK_FENCE": "4294967299",
    } == found


def test_a_command_gets_its_input_and_its_folder(attempt: Attempt, tmp_path: Path) -> None:
    go(attempt, python("import os, sys; print(os.getcwd(), sys.stdin.read())", input="ä" * 100_000, cwd=str(tmp_path)))

    assert f"{tmp_path} {'ä' * 100_000}\n" == attempt.text("stdout")


@pytest.mark.parametrize("given", [None, "some text"])
def test_a_command_that_reads_for_ever_comes_to_the_end_of_its_input(attempt: Attempt, given: str | None) -> None:
    assert 0 == go(attempt, python("import sys; sys.stdin.read()", input=given))["exit_status"]


def test_input_that_the_command_does_not_read_holds_up_no_worker(attempt: Attempt) -> None:
    assert 0 == go(attempt, python("pass", input="x" * 10_000_000))["exit_status"]


def test_a_failure_says_how_the_command_ended_and_what_it_complained_of(attempt: Attempt) -> None:
    with pytest.raises(Failed) as failed:
        go(attempt, python("import sys; print('no such branch', file=sys.stderr); sys.exit(3)"))

    assert ("exit 3: no such branch", "exit") == (failed.value.message, failed.value.code)
    assert 3 == failed.value.details["exit_status"]
    assert b"no such branch\n" == attempt.artifacts["stderr"]


def test_a_command_that_dies_of_a_signal_has_failed(attempt: Attempt) -> None:
    with pytest.raises(Failed, match="killed by SIGKILL") as failed:
        go(attempt, python("import os; os.kill(os.getpid(), 9)"))

    assert "signal" == failed.value.code


def test_a_command_that_another_process_asked_to_end_has_no_outcome(attempt: Attempt) -> None:
    with pytest.raises(Interrupted, match="killed by SIGTERM"):
        go(attempt, python("import os; os.kill(os.getpid(), 15)"))


def test_a_temporary_failure_costs_no_attempt(attempt: Attempt) -> None:
    with pytest.raises(Transient) as failed:
        go(attempt, python("import sys; sys.exit(75)"))

    assert ("overloaded", "transient") == (failed.value.code, failed.value.budget)


def test_a_classifier_may_call_for_a_human(attempt: Attempt) -> None:
    rules = [{"name": "login", "class": "permanent.auth", "exits": [4]}]
    classifier = load_classifier({"name": "own", "rules": rules, "quarantines": ["permanent.auth"]})

    with pytest.raises(Quarantine) as called:
        go(attempt, python("import sys; sys.exit(4)"), classifier)

    assert "auth" == called.value.code


# --- commands that cannot be started -------------------------------------------------------------------------------


def test_a_command_that_does_not_exist_fails_for_good(attempt: Attempt) -> None:
    with pytest.raises(Permanent, match="no-such-command") as failed:
        go(attempt, Command(("no-such-command",)))

    assert "config" == failed.value.code
    assert {} == attempt.artifacts


def test_a_folder_that_does_not_exist_fails_for_good(attempt: Attempt, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="not-here") as failed:
        go(attempt, python("pass", cwd=str(tmp_path / "not-here")))

    assert "config" == failed.value.code


def test_a_file_that_cannot_be_run_fails_for_good(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no program", encoding="utf-8")

    with pytest.raises(Permanent, match="Permission denied"):
        go(attempt, Command((str(tmp_path / "notes"),)))


def test_a_secret_that_the_worker_lacks_fails_for_good(attempt: Attempt) -> None:
    with pytest.raises(Permanent, match="no variable TOKEN") as failed:
        go(attempt, python("pass", secrets=("TOKEN",)))

    assert "config" == failed.value.code


def test_a_payload_that_is_no_command_fails_for_good_and_names_the_path(attempt: Attempt) -> None:
    with pytest.raises(Permanent, match=r"payload\.words") as failed:
        handler()(attempt, {"words": "ls"})

    assert ("invalid", {"path": "payload.words"}) == (failed.value.code, failed.value.details)


def test_a_handler_runs_the_command_of_its_payload(attempt: Attempt) -> None:
    assert 0 == handler()(attempt, {"words": [sys.executable, "-c", "print(1)"]})["exit_status"]
    assert b"1\n" == attempt.artifacts["stdout"]


# --- output ----------------------------------------------------------------------------------------------------


def test_output_without_a_line_end_and_without_utf_8_is_kept_as_it_is(attempt: Attempt) -> None:
    result = go(attempt, python("import os; os.write(1, bytes(range(256)) * 4)"))

    assert bytes(range(256)) * 4 == attempt.artifacts["stdout"]
    assert "application/octet-stream" == attempt.media_types["stdout"]
    assert 1_024 == result["stdout_bytes"]


def test_a_complaint_that_no_store_could_hold_is_made_sound(attempt: Attempt) -> None:
    with pytest.raises(Failed) as failed:
        go(attempt, python("import os; os.write(2, b'a\\0\\xff' + b'b' * 5000); os._exit(1)"))

    assert failed.value.message.startswith("exit 1: a\ufffd\ufffdbbb")
    assert 1_000 == len(failed.value.message)


def test_long_output_is_cut_and_says_so(attempt: Attempt) -> None:
    result = go(attempt, python("print('a' * 500 + 'b' * 500)", output_bytes_max=10))

    assert result["stdout_truncated"]
    assert b"aaaaa\n[... 991 bytes left out ...]\nbbbb\n" == attempt.artifacts["stdout"]


def test_fields_that_are_large_are_cut_or_left_out(attempt: Attempt) -> None:
    selected = {"select": {"type": "end"}}
    names = ("text", "list", "nul", "big", "good")
    classifier = load_classifier(
        {
            "name": "own",
            "rules": [{"name": "good", "class": "ok", "exits": [0]}],
            "fields": {name: {**selected, "path": name} for name in names},
        }
    )
    program = (
        "import json; print(json.dumps({'type': 'end', 'text': 'x' * 9999, 'list': [1] * 99999, "
        "'nul': ['a\\0'], 'big': [2**70], 'good': {'a': [1]}}))"
    )

    fields = go(attempt, python(program), classifier)["fields"]

    assert {"a": [1]} == fields["good"]
    assert (4_096, "x…") == (len(fields["text"]), fields["text"][-2:])
    assert {"text", "good"} == set(fields)


# --- secrets ---------------------------------------------------------------------------------------------------

TOKEN = "hunter2-hunter2"  # noqa: S105  no secret


def test_a_secret_reaches_the_command_and_nothing_that_is_kept(attempt: Attempt) -> None:
    program = """
import os, sys, time
token = os.environ["TOKEN"].encode()
for stream in (1, 2):
    os.write(stream, b"x" * 100 + token[:5])
    time.sleep(0.05)
    os.write(stream, token[5:9])
    time.sleep(0.05)
    os.write(stream, token[9:] + b" end")
sys.exit(3)
"""
    with pytest.raises(Failed) as failed:
        go(attempt, python(program, secrets=("TOKEN",)), TOKEN=TOKEN)

    assert "x" * 100 + "[secret TOKEN] end" == attempt.text("stdout") == attempt.text("stderr")
    assert f"exit 3: {'x' * 100}[secret TOKEN] end" == failed.value.message
    assert TOKEN not in json.dumps(failed.value.details)


def test_a_secret_at_the_edge_of_what_is_kept_is_not_kept_in_part(attempt: Attempt) -> None:
    go(attempt, python(f"print('a' * 8 + '{TOKEN}' + 'b' * 99)", secrets=("TOKEN",), output_bytes_max=20), TOKEN=TOKEN)

    assert attempt.text("stdout").startswith("aaaaaaaa[s\n[... ")


def test_a_secret_in_a_frame_does_not_become_a_field(attempt: Attempt) -> None:
    classifier = load_classifier(
        {
            "name": "own",
            "rules": [{"name": "good", "class": "ok", "exits": [0]}],
            "fields": {"said": {"select": {"type": "end"}, "path": "said"}},
        }
    )
    program = "import json, os; print(json.dumps({'type': 'end', 'said': 'ä' + os.environ['TOKEN']}))"

    result = go(attempt, python(program, secrets=("TOKEN",)), classifier, TOKEN='a"ä\\b')  # noqa: S106  no secret

    assert "ä[secret TOKEN]" == result["fields"]["said"]


def test_a_secret_in_an_error_of_starting_is_not_told(attempt: Attempt) -> None:
    with pytest.raises(Permanent) as failed:
        go(attempt, Command((f"/nowhere/{TOKEN}",), secrets=("TOKEN",)), TOKEN=TOKEN)

    assert TOKEN not in failed.value.message

"""What the engine says is recorded as a code and read as a sentence. [RECORD-6]"""

from __future__ import annotations

from typing import get_args

import pytest

from sagalog import Compensation, Engine, Failure, InvalidValue, Retry
from sagalog.kernel import events as e
from sagalog.kernel.values import KernelCode, Parameters
from sagalog.sentences import SENTENCES, fields_of, reason_of, sentence, worded

WORKERS = {"interrupted", "not_begun", "not_ended", "undo_settled", "time_limit", "invalid_payload", "invalid_params"}


def test_every_code_that_is_written_has_a_sentence_and_no_other_has() -> None:
    """[RECORD-6] The kernel or a worker may write the code."""
    assert set(SENTENCES) == set(get_args(KernelCode)) | WORKERS


@pytest.mark.parametrize(
    ("code", "parameters", "text", "said"),
    [
        ("bound", {"waits": 3, "maximum": 3}, None, "the task has waited 3 times and the bound is 3 (waits); go on in"),
        ("bound", {"stream_events": 9}, None, "its stream has 9 events and there is no room for another lease"),
        ("unknown_compensation", {"kinds": ("a", "b")}, None, "no worker knows the compensation kinds 'a', 'b'"),
        ("compensation_required", {"instead_of": "failed"}, None, "failed: the task was leased and has neither a"),
        ("compensation_required", {"instead_of": "x"}, "tired", "waiver on record: tired"),
        ("unstorable_result", {"step": "s"}, "why", "step 's' was carried out and its result cannot be stored: why"),
        (
            "over_bound",
            {"child": "c", "step": "s"},
            "why",
            "the child 'c', which comes with step 's', cannot be",
        ),
        ("interrupted", None, "shutdown", "interrupted: shutdown"),
        ("interrupted", None, None, "its handler was interrupted"),
        ("time_limit", {"time_limit_ms": 5}, "", "its handler did not end within 5 ms, nor when it was told to"),
        ("time_limit", None, "", "its handler was told to end at its time limit"),
        ("bound", {"maximum": 3}, "as a newer version says", "as a newer version says"),
        ("of_a_newer_version", {"n": 3}, "in its words {n}", "in its words {n}"),
    ],
)
def test_a_code_its_parameters_and_a_text_make_a_sentence(
    code: str, parameters: Parameters | None, text: str | None, said: str
) -> None:
    """[RECORD-6]"""
    assert said in str(sentence(code, parameters, text))


def test_a_code_that_says_nothing_has_no_sentence() -> None:
    assert sentence("of_a_newer_version", {"n": 3}) is None
    assert sentence("failed") is None


def test_what_a_worker_or_an_operator_said_is_kept_as_it_was_said() -> None:
    """[RECORD-6]"""
    assert worded(Failure("time_limit", "mine")).message == "mine"
    assert worded(Failure("odd", "")).message == "odd"
    assert reason_of(e.Quarantined("bound", "because of {this}")) == "because of {this}"
    assert reason_of(e.Noted("looked at it")) == "looked at it"
    assert reason_of(e.Released(1, "release", 0, "tired")) == "tired"


def test_what_the_engine_notes_is_told_by_the_successor_that_it_names() -> None:
    """[RECORD-6]"""
    assert reason_of(e.Noted(code="retried_as_new", successor="t2")) == "retried as t2"
    assert reason_of(e.Noted(code="left_over", successor="t2")) == "undone by t2"
    assert reason_of(e.Released(1, "release", 0, "shutdown", "interrupted")) == "interrupted: shutdown"


def test_no_sentence_of_the_engine_is_in_the_log_and_the_task_tells_it(engine: Engine) -> None:
    """[RECORD-6]"""
    engine.create("build", id="t", retry=Retry(undo_attempts_max=1), compensations=[Compensation("close", id="u")])
    engine.acquire("t", owner="ann", ttl_ms=None).fail("no way on")
    engine.acquire("t", owner="ann", ttl_ms=None, purpose="undo").compensation_failed("u", "stuck")
    event = engine.history("t")[-1].event
    assert isinstance(event, e.Quarantined)
    assert (event.reason, event.parameters) == (None, {"compensation": "u", "kind": "close", "failures": 1})
    task = engine.get("t")
    assert task is not None
    assert task.reason == "compensation 'u' of kind 'close' failed 1 times"
    assert task.error == Failure("error", "stuck")


def test_a_failure_that_is_said_by_its_code_is_read_in_words(engine: Engine) -> None:
    """[RECORD-6]"""
    engine.create("build", id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=None)
    lease.retry(Failure("time_limit", "", parameters={"time_limit_ms": 50}))
    event = engine.history("t")[-1].event
    assert isinstance(event, e.Retried)
    assert event.error == Failure("time_limit", "", None, {"time_limit_ms": 50})
    task = engine.get("t")
    assert task is not None
    assert task.error is not None
    assert task.error.message == "its handler did not end within 50 ms, nor when it was told to"


@pytest.mark.parametrize("parameters", [{"": 1}, {"n": 1.5}, {"n": None}, {"n": ("", "a")}, {"n": 2**63}, {"n": True}])
def test_parameters_are_names_numbers_and_lists_of_names(engine: Engine, parameters: Parameters) -> None:
    """[RECORD-6]"""
    engine.create("build", id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=None)
    with pytest.raises(InvalidValue, match="parameters"):
        lease.quarantine(Failure("odd", "so", parameters=parameters))


def test_no_template_names_what_no_event_has() -> None:
    known = {
        "instead_of", "compensation", "kind", "failures", "due_for_ms", "kinds", "waits", "wait_names", "maximum",
        "stream_events", "successor", "text", "time_limit_ms", "type", "failed", "task", "state", "parent", "outcome",
    }  # fmt: skip
    assert {field for templates in SENTENCES.values() for one in templates for field in fields_of(one)} == known

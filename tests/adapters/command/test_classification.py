"""What an end means: the order of rules, forms of other versions, and what is no evidence."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import Any

import pytest

from sagalog_command import (
    CLAUDE,
    CODEX,
    EXIT_STATUS,
    GEMINI,
    Class,
    Classifier,
    Ending,
    Verdict,
    classify,
)

NOW_MS = round(datetime(2026, 1, 15, 12, 0, tzinfo=UTC).timestamp() * 1_000)
HOUR_MS = 3_600_000


def of(classifier: Classifier, status: int = 0, *frames: dict[str, Any], **ended: Any) -> Verdict:
    return classify(classifier, Ending(status, frames, **ended), NOW_MS)


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": "done", **fields}


def synthetic(text: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"type": "assistant", "message": {"model": "<synthetic>", "content": content}, **fields}


def said(text: str) -> dict[str, Any]:
    return {"type": "assistant", "message": {"model": "claude", "content": [{"type": "text", "text": text}]}}


# --- plain commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "class_"),
    [
        (0, "ok"),
        (1, "unknown"),
        (2, "unknown"),
        (75, "transient.overloaded"),
        (127, "unknown"),
        (143, "interrupted"),
        (-signal.SIGTERM, "interrupted"),
        (-signal.SIGINT, "interrupted"),
        (137, "unknown"),
        (-signal.SIGKILL, "unknown"),
        (-signal.SIGSEGV, "unknown"),
    ],
)
def test_an_exit_status_has_its_class(status: int, class_: str) -> None:
    assert class_ == of(EXIT_STATUS, status).class_


def test_an_end_that_no_rule_knows_is_told_with_its_complaint() -> None:
    """The message holds the last line of standard error that is not blank."""
    assert "exit 3: no such branch" == of(EXIT_STATUS, 3, stderr_tail="trying\nno such branch\n\n").message
    assert "killed by SIGSEGV" == of(EXIT_STATUS, -signal.SIGSEGV).message
    assert "its time was over" == of(EXIT_STATUS, -signal.SIGTERM, is_over_time=True).message


def test_the_status_of_a_command_whose_time_was_over_says_nothing() -> None:
    assert Class.UNKNOWN is of(EXIT_STATUS, -signal.SIGTERM, is_over_time=True).class_
    assert Class.UNKNOWN is of(EXIT_STATUS, 0, is_over_time=True).class_


def test_the_status_of_a_lingering_command_says_nothing() -> None:
    """The runner has ended the command after its last word, so the status is not the command's own."""
    for status in (-signal.SIGTERM, 0, 75):
        verdict = of(EXIT_STATUS, status, is_lingering=True)
        assert (Class.UNKNOWN, "it did not end after its last word") == (verdict.class_, verdict.message)


# --- claude: forms of other versions and of subscriptions -------------------------------------------------------


def test_status_zero_is_no_success_where_the_result_is_an_error() -> None:
    verdict = of(CLAUDE, 0, result(is_error=True, api_error_status=429, result="API Error: Request rejected (429)"))

    assert (Class.RATE_LIMIT, "API Error: Request rejected (429)") == (verdict.class_, verdict.message)


def test_status_zero_is_no_success_where_the_last_message_is_an_error() -> None:
    """Older versions of claude told a limit so, under a result without an error."""
    verdict = of(
        CLAUDE, 0, synthetic("You've hit your limit · resets 1pm (Europe/Lisbon)", error="rate_limit"), result()
    )

    assert (Class.QUOTA, HOUR_MS) == (verdict.class_, verdict.retry_after_ms)


def test_status_zero_is_no_success_without_a_result() -> None:
    assert Class.UNKNOWN is of(CLAUDE, 0, {"type": "system", "subtype": "init"}).class_


def test_an_error_that_was_overcome_is_none() -> None:
    assert Class.OK is of(CLAUDE, 0, synthetic("API Error: 529", error="server_error"), said("done"), result()).class_


def test_an_error_of_a_part_of_the_work_is_none_of_the_whole() -> None:
    part = synthetic("API Error: 529", error="server_error", parent_tool_use_id="toolu_1")

    assert Class.OK is of(CLAUDE, 0, said("done"), part, result()).class_


@pytest.mark.parametrize(
    ("text", "wait_ms"),
    [
        ("You've hit your limit · resets 1pm (Europe/Lisbon)", HOUR_MS),
        ("You\u2019ve hit your session limit · resets 2:30pm (Europe/Paris)", HOUR_MS + HOUR_MS // 2),
        ("You've hit your limit · resets Jan 17 at 10am (America/Mexico_City)", 52 * HOUR_MS),
        (f"Claude AI usage limit reached|{(NOW_MS + HOUR_MS) // 1_000}", HOUR_MS),
        ("You've hit your limit", None),
    ],
)
def test_a_limit_is_known_by_its_sentence_in_every_form_of_output(text: str, wait_ms: int | None) -> None:
    verdicts = [
        of(CLAUDE, 1, result(is_error=True, api_error_status=429, result=text)),
        of(CLAUDE, 1, result(is_error=True, result=text)),
        of(CLAUDE, 1, synthetic(text, error="rate_limit")),
        of(CLAUDE, 1, stdout_tail=f"{text}\n"),
    ]

    for verdict in verdicts:
        assert (Class.QUOTA, wait_ms) == (verdict.class_, verdict.retry_after_ms)
        assert verdict.message.replace("\u2019", "'") == text.replace("\u2019", "'")


@pytest.mark.parametrize("is_nested", [True, False])
def test_a_rejected_limit_says_from_when_on_there_is_a_new_one(is_nested: bool) -> None:
    info = {"status": "rejected", "resetsAt": NOW_MS // 1_000 + 3_600, "rateLimitType": "five_hour"}
    event = {"type": "rate_limit_event", **({"rate_limit_info": info} if is_nested else info)}
    verdict = of(CLAUDE, 1, event, result(is_error=True, api_error_status=429))

    assert (Class.QUOTA, HOUR_MS) == (verdict.class_, verdict.retry_after_ms)


def test_a_limit_that_was_only_warned_of_or_has_passed_decides_nothing() -> None:
    rejected = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1}}
    allowed = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning"}}

    assert Class.OVERLOADED is of(CLAUDE, 1, rejected, allowed, result(is_error=True, api_error_status=529)).class_
    assert Class.INVALID is of(CLAUDE, 1, rejected, result(is_error=True, api_error_status=400)).class_
    assert Class.OK is of(CLAUDE, 0, rejected, result()).class_


@pytest.mark.parametrize(
    ("status", "class_"),
    [
        (400, "permanent.invalid"),
        (401, "permanent.auth"),
        (403, "permanent.auth"),
        (404, "permanent.config"),
        (408, "transient.network"),
        (413, "permanent.invalid"),
        (422, "permanent.invalid"),
        (425, "transient.network"),
        (429, "transient.rate_limit"),
        (500, "transient.overloaded"),
        (503, "transient.overloaded"),
        (529, "transient.overloaded"),
        (418, "unknown"),
        ("429", "transient.rate_limit"),
    ],
)
def test_a_status_of_http_has_its_class(status: Any, class_: str) -> None:
    assert class_ == of(CLAUDE, 1, result(is_error=True, api_error_status=status)).class_


@pytest.mark.parametrize(
    ("error", "class_"),
    [
        ("authentication_failed", "permanent.auth"),
        ("oauth_org_not_allowed", "permanent.auth"),
        ("billing_error", "permanent.auth"),
        ("rate_limit", "transient.rate_limit"),
        ("overloaded", "transient.overloaded"),
        ("server_error", "transient.overloaded"),
        ("invalid_request", "permanent.invalid"),
        ("model_not_found", "permanent.config"),
        ("max_output_tokens", "unknown"),
        ("unknown", "unknown"),
    ],
)
def test_the_name_of_an_error_has_its_class_where_there_is_no_status(error: str, class_: str) -> None:
    assert class_ == of(CLAUDE, 1, synthetic("it failed", error=error)).class_


@pytest.mark.parametrize("word", ["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENOTFOUND", "fetch failed"])
def test_a_failed_connection_is_known_by_its_word(word: str) -> None:
    """There is no status of HTTP where no server has answered."""
    text = f"API Error: no connection ({word})"

    assert Class.NETWORK is of(CLAUDE, 1, result(is_error=True, api_error_status=None, result=text)).class_
    assert Class.NETWORK is of(CLAUDE, 1, stdout_tail=f"{text}\n").class_


def test_what_a_model_wrote_is_no_evidence() -> None:
    prose = "API Error: Request rejected (429)\nYou've hit your limit · resets 1pm (Europe/Lisbon)"

    assert Class.OK is of(CLAUDE, 0, said(prose), result(result=prose), stdout_tail=prose).class_
    assert Class.OK is of(CLAUDE, 1, said(prose), result(result=prose), stdout_tail=prose).class_
    assert Class.UNKNOWN is of(CLAUDE, 1, said(prose), stdout_tail=prose).class_
    assert Class.UNKNOWN is of(CLAUDE, 1, stdout_tail=f"{prose}\nand so the test passes\n").class_
    assert Class.OK is of(CLAUDE, 0, stdout_tail=prose).class_
    message = {"type": "item.completed", "item": {"type": "agent_message", "text": "hit your usage limit"}}
    assert Class.OK is of(CODEX, 0, message, {"type": "turn.completed"}).class_


def test_denied_tools_are_told_with_the_result() -> None:
    verdict = of(CLAUDE, 0, result(permission_denials=[{"tool_name": "Bash"}]))

    assert (Class.OK, [{"tool_name": "Bash"}]) == (verdict.class_, verdict.fields["permission_denials"])


# --- codex -----------------------------------------------------------------------------------------------------


def turn_failed(message: str) -> dict[str, Any]:
    return {"type": "turn.failed", "error": {"message": message}}


def test_a_time_of_day_may_hold_a_space_that_does_not_break() -> None:
    verdict = of(CODEX, 1, turn_failed("You\u2019ve hit your usage limit. Try again at 1:00\u202fPM."))

    assert (Class.QUOTA, HOUR_MS) == (verdict.class_, verdict.retry_after_ms)


def test_a_retry_that_was_overcome_is_no_error() -> None:
    retry = {"type": "error", "message": "Reconnecting... 1/1 (unexpected status 529 <unknown>)"}

    assert Class.OK is of(CODEX, 0, {"type": "turn.started"}, retry, {"type": "turn.completed"}).class_


def test_only_a_wait_that_lasts_to_the_end_is_a_lack_of_network() -> None:
    """An answer after the wait, or an end before the time is over, shows that there was a network."""
    waiting = {"type": "error", "message": "Reconnecting... waiting for network (Connection failed)"}
    answer = {"type": "item.completed", "item": {"type": "agent_message", "text": "hi"}}

    assert Class.NETWORK is of(CODEX, -signal.SIGTERM, waiting, is_over_time=True).class_
    assert Class.UNKNOWN is of(CODEX, -signal.SIGTERM, waiting, answer, is_over_time=True).class_
    assert Class.UNKNOWN is of(CODEX, 1, waiting).class_


# --- overage ---------------------------------------------------------------------------------------------------

WINDOW_USED_UP = {
    "type": "rate_limit_event",
    "rate_limit_info": {"status": "rejected", "resetsAt": NOW_MS // 1_000 + 3_600, "isUsingOverage": True},
}


def test_a_run_that_goes_on_with_overage_ends_for_its_own_reason() -> None:
    turns = {"type": "result", "subtype": "error_max_turns", "is_error": True, "errors": ["Reached 8 turns"]}
    verdict = of(CLAUDE, 1, WINDOW_USED_UP, turns)

    assert (Class.UNKNOWN, "Reached 8 turns", None) == (verdict.class_, verdict.message, verdict.retry_after_ms)
    assert Class.OVERLOADED is of(CLAUDE, 1, WINDOW_USED_UP, result(is_error=True, api_error_status=529)).class_
    assert Class.OK is of(CLAUDE, 0, WINDOW_USED_UP, result()).class_


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_a_used_up_window_does_not_explain_a_server_that_failed(status: int) -> None:
    rejected = {"type": "rate_limit_event", "status": "rejected", "resetsAt": NOW_MS // 1_000 + 3_600}

    assert Class.OVERLOADED is of(CLAUDE, 1, rejected, result(is_error=True, api_error_status=status)).class_
    assert Class.QUOTA is of(CLAUDE, 1, rejected, result(is_error=True, api_error_status=429)).class_
    assert Class.QUOTA is of(CLAUDE, 1, rejected).class_


# --- the order of trust ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classifier", [CLAUDE, CODEX, GEMINI])
def test_the_builtin_rules_keep_the_order_of_trust(
    classifier: Classifier,
) -> None:
    """The final frame comes first, then how the process ended, and last words come last."""
    success, *others = classifier.rules
    assert (success.class_, success.exits, success.signals) == (Class.OK, (), ())
    # How the process ended counts only where no frame has told an error.
    assert all(any(test.is_not for test in rule.frames) for rule in others if rule.signals)
    tiers = [bool(rule.text) for rule in classifier.rules if rule.name not in ("error", "turn failed")]
    assert sorted(tiers) == tiers

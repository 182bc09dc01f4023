"""Rules of a classifier of one's own: what they can say, and which of them decides."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import Any

from sagalog_command import Class, Classifier, Ending, Verdict, classify, load_classifier

NOW_MS = round(datetime(2026, 1, 15, 12, 0, tzinfo=UTC).timestamp() * 1_000)
HOUR_MS = 3_600_000

OWN = {
    "name": "own",
    "streams": ["stderr"],
    "wordings": {"quota": ["no more today"], "busy": ["try \\w+ later", "come back"]},
    "final": [{"select": {"event": ["begin", "end"]}, "where": {"event": "end"}}],
    "errors": [
        {"frames": [{"select": {"event": "end"}}], "path": "error.text|reason"},
        {"exits": ["1-9"], "text": {"stream": "stdout", "matches": "^failed: (?P<error>.*)"}},
        {"signals": ["SIGTERM"], "text": {"stream": "stdout", "line": "last", "says": "busy"}},
    ],
    "rules": [
        {"name": "limit", "class": "transient.quota", "error": {"says": "quota"}, "reset": {"form": "sentence"}},
        {"name": "busy", "class": "transient.overloaded", "error": {"says": ["busy"], "matches": "crowded"}},
        {"name": "access", "class": "permanent.auth", "error": {"says": "access"}},
        {
            "name": "odd",
            "class": "interrupted",
            "frames": [{"select": {"n": {"in": [1, 2], "matches": "^x", "missing": True}}}],
        },
    ],
}


def of(classifier: Classifier, status: int = 0, *frames: dict[str, Any]) -> Verdict:
    return classify(classifier, Ending(status, frames), NOW_MS)


def own(status: int, stdout: bytes = b"", stderr: bytes = b"") -> Verdict:
    classifier = load_classifier(OWN)
    return classify(classifier, Ending.from_output(classifier, status, stdout, stderr), NOW_MS)


def test_the_first_rule_that_holds_decides() -> None:
    rules = [{"name": "first", "class": "ok", "exits": [3]}, {"name": "second", "class": "unknown", "exits": [3]}]

    assert "first" == of(load_classifier({"name": "own", "rules": rules}), 3).rule
    assert "second" == of(load_classifier({"name": "own", "rules": rules[::-1]}), 3).rule


def test_true_is_no_one_and_null_is_as_good_as_nothing() -> None:
    def frame_rule(test: Any) -> Classifier:
        frames = [{"select": {"type": "end"}, "where": {"ok": test}}]
        return load_classifier({"name": "own", "rules": [{"name": "it", "class": "ok", "frames": frames}]})

    assert of(frame_rule(1), 9, {"type": "end", "ok": True}).rule is None
    assert of(frame_rule(1), 9, {"type": "end", "ok": 1}).rule == "it"
    assert of(frame_rule(None), 9, {"type": "end", "ok": None}).rule == "it"
    assert of(frame_rule(None), 9, {"type": "end"}).rule == "it"
    assert of(frame_rule(None), 9, {"type": "end", "ok": False}).rule is None


def test_a_classifier_says_where_a_program_speaks() -> None:
    """Its rules pick families of wordings, of its own and built-in ones, for the sentence that it finds there."""
    found = own(1, b"failed: once\nfailed: no more today, try again in 2 hours\n")
    assert ("limit", 2 * HOUR_MS, "no more today, try again in 2 hours") == (
        found.rule,
        found.retry_after_ms,
        found.message,
    )
    assert "limit" == own(0, stderr=b'{"event": "end", "reason": "No more today"}').rule
    assert (
        "busy"
        == own(0, stderr=b'{"event": "end", "error": {"text": "try much later"}, "reason": "no more today"}').rule
    )
    assert "busy" == own(3, b"failed: crowded").rule
    # A family that it does not define is the built-in one, and one that it defines is no longer.
    assert "access" == own(9, b"failed: Not logged in").rule
    assert own(9, b"failed: You've hit your usage limit").rule is None


def test_a_sentence_counts_only_under_the_conditions_of_its_source() -> None:
    assert own(10, b"failed: no more today").rule is None
    assert own(1, b'{"event": "end", "reason": "no more today"}').rule is None
    assert "busy" == own(-signal.SIGTERM, b"come back\n\n").rule
    assert own(-signal.SIGTERM, b"come back later\n").rule is None
    assert own(-signal.SIGTERM, b"I say come back\n").rule is None
    assert own(-signal.SIGTERM, b"come back\nor not\n").rule is None


def test_a_test_holds_if_any_of_its_parts_does() -> None:
    for line in (b'{"n": 1}', b'{"n": "xy"}', b'{"n": null}', b'{"m": 1}'):
        assert "odd" == own(0, stderr=line).rule
    for line in (b'{"n": 3}', b'{"n": "yx"}', b'{"n": true}'):
        assert own(0, stderr=line).rule is None


def test_a_sentence_that_no_rule_knows_is_the_message_all_the_same() -> None:
    verdict = own(1, b"failed: the moon is wrong")

    assert (Class.UNKNOWN, None, "the moon is wrong") == (verdict.class_, verdict.rule, verdict.message)

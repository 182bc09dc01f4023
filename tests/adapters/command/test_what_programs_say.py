"""What programs say of their errors is known by what it means, in every form of output; answers are no errors."""

# ruff: noqa: E501  sentences are as they were printed

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from sagalog_command import CLAUDE, CODEX, GEMINI, Classifier, Ending, Verdict, classify

NOW_MS = round(datetime(2026, 1, 15, 12, 0, tzinfo=UTC).timestamp() * 1_000)
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# (class, wait in ms or None, sentence); what the programs print, as it was reported in public.
CLAUDE_SAYS: list[tuple[str, int | None, str]] = [
    ("transient.quota", 1 * HOUR_MS, "You've hit your limit · resets 1pm (Europe/Lisbon)"),
    ("transient.quota", 3 * HOUR_MS, "You've hit your session limit · resets 3pm"),
    ("transient.quota", 3 * DAY_MS + 12 * HOUR_MS, "You've hit your weekly limit · resets Mon 12:00am"),
    ("transient.quota", 4 * HOUR_MS + 30 * MINUTE_MS, "You\u2019ve hit your Opus limit ∙ resets 4:30 PM"),
    ("transient.quota", 3 * HOUR_MS, "You've hit your extra usage spend limit ∙ Your limit resets at 3:00 PM"),
    ("transient.quota", 52 * HOUR_MS, "You've hit your limit · resets Jan 17 at 10am (America/Mexico_City)"),
    ("transient.quota", 4 * HOUR_MS, "You're out of extra usage · resets 1pm (America/Cordoba)"),
    ("transient.quota", 6 * HOUR_MS, "Limit reached · resets 11:30pm (Asia/Calcutta) · /upgrade to Max"),
    ("transient.quota", 8 * HOUR_MS, "Claude usage limit reached. Your limit will reset at 3pm (America/Bogota)."),
    ("transient.quota", 3 * HOUR_MS, "5-hour limit reached ∙ resets 3pm"),
    ("transient.quota", 2 * HOUR_MS, "Weekly limit reached ∙ resets in 2 hours"),
    ("transient.quota", HOUR_MS, f"Claude AI usage limit reached|{(NOW_MS + HOUR_MS) // 1_000}"),
    ("transient.quota", None, "You have reached your monthly spending limit."),
    ("transient.quota", None, "Your workspace has hit its usage limit"),
    ("permanent.auth", None, "Credit balance is too low"),
    ("permanent.auth", None, "Credit balance too low · Add funds: https://platform.claude.example/settings/billing"),
    (
        "permanent.auth",
        None,
        'API Error: 400 {"error":{"message":"Your credit balance is too low to access the API."}}',
    ),
    ("permanent.auth", None, "API Error: Extra usage is required for 1M context · run /extra-usage to turn it on"),
    ("permanent.auth", None, "API Error: Usage credits required for 1M context"),
    ("permanent.auth", None, "Not logged in · Please run /login"),
    ("permanent.auth", None, "Invalid API key · Fix external API key"),
    ("permanent.auth", None, "OAuth token revoked · Please run /login"),
    ("permanent.auth", None, "OAuth token has expired. Please obtain a new token or refresh your existing token."),
    ("permanent.auth", None, "Failed to authenticate: OAuth session expired and could not be refreshed"),
    ("permanent.auth", None, "Failed to authenticate. API Error: 401 OAuth token has expired."),
    ("permanent.auth", None, 'API Error: 401 {"type":"error","error":{"type":"authentication_error"}}'),
    ("permanent.auth", None, "API Error: 403 Request not allowed"),
    ("permanent.auth", None, "This organization has been disabled."),
    (
        "permanent.auth",
        None,
        "Your organization has disabled Claude subscription access for Claude Code · Use an API key",
    ),
    ("permanent.auth", None, "API Error: OAuth token does not meet scope requirement user:profile"),
    ("permanent.auth", None, "API Error: Could not resolve authentication method"),
    ("permanent.config", None, "API Error: Unable to connect to API: SSL certificate verification failed"),
    ("permanent.config", None, "API Error: Unable to connect to API: Self-signed certificate detected"),
    ("permanent.config", None, 'API Error: 404 {"type":"error","error":{"type":"not_found_error"}}'),
    ("permanent.config", None, "API Error: There's an issue with the selected model (claude-x). It may not exist."),
    ("permanent.config", None, "There's an issue with the selected model (claude-x). Run --model to pick another."),
    ("permanent.invalid", None, "Prompt is too long"),
    ("permanent.invalid", None, "Request too large (max 32MB)"),
    ("permanent.invalid", None, "API Error: 413 request_too_large"),
    ("permanent.invalid", None, 'API Error: 400 {"error":{"type":"invalid_request_error","message":"tool_use ids"}}'),
    ("permanent.invalid", None, "API Error: Image was too large"),
    ("transient.rate_limit", None, "API Error: Request rejected (429) · this may be a temporary capacity issue"),
    ("transient.rate_limit", None, "API Error: Server is temporarily limiting requests (not your usage limit)"),
    ("transient.rate_limit", None, "API Error: 429 This request would exceed your account's rate limit. Try later."),
    ("transient.rate_limit", None, "API Error: Number of concurrent connections has exceeded your rate limit"),
    ("transient.overloaded", None, "API Error: Repeated 529 Overloaded errors"),
    ("transient.overloaded", None, 'API Error: 529 {"type":"error","error":{"type":"overloaded_error"}}'),
    ("transient.overloaded", None, 'API Error: 500 {"error":{"type":"api_error","message":"Internal server error"}}'),
    ("transient.overloaded", None, "API Error (503 upstream connect error. reset reason: connection timeout)"),
    ("transient.overloaded", None, "API Error: Opus is experiencing high load, please use /model to switch to Sonnet"),
    ("transient.overloaded", None, "API Error: 502 Bad Gateway"),
    ("transient.network", None, "API Error: Connection error."),
    ("transient.network", None, "API Error: Request timed out."),
    ("transient.network", None, "API Error (Connection error.) · Retrying in 40 seconds… (attempt 10/10)"),
    ("transient.network", None, "API Error: Unable to connect to API (ECONNRESET)"),
    ("transient.network", None, "API Error: Unable to connect. Is the computer able to access the url?"),
    ("transient.network", None, "API Error: fetch failed"),
    ("transient.network", None, "API Error: Connection closed mid-response"),
    ("transient.network", None, "API Error: Response stalled mid-stream"),
    ("transient.network", None, "API Error: getaddrinfo EAI_AGAIN api.example.com"),
    ("transient.network", None, "Request timed out. Check your internet connection and proxy settings"),
    ("unknown", None, "API Error: something that no rule has seen yet"),
]

CODEX_SAYS: list[tuple[str, int | None, str]] = [
    (
        "transient.quota",
        3 * HOUR_MS + 2 * MINUTE_MS,
        "You've hit your usage limit. Upgrade or try again in 3 hours 2 minutes.",
    ),
    (
        "transient.quota",
        5 * DAY_MS + HOUR_MS,
        "You've hit your usage limit. Upgrade to Pro or try again in 5 days 1 hour.",
    ),
    (
        "transient.quota",
        11 * HOUR_MS + 2 * MINUTE_MS,
        "You\u2019ve hit your usage limit for GPT-5.3. Try again at 11:02 PM.",
    ),
    (
        "transient.quota",
        4 * DAY_MS,
        "You've hit your usage limit. Visit x to purchase more credits or try again at Jan 19th, 2026 12:00 PM.",
    ),
    (
        "transient.quota",
        None,
        "You've hit your usage limit. To get more access now, send a request to your admin or try again later.",
    ),
    ("transient.quota", None, "unexpected status 429 Too Many Requests: usage_limit_reached"),
    ("permanent.auth", None, "Quota exceeded. Check your plan and billing details."),
    (
        "permanent.auth",
        None,
        "stream disconnected before completion: You exceeded your current quota, please check your plan and billing details.",
    ),
    ("permanent.auth", None, '{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}'),
    ("permanent.auth", None, "To use Codex with your ChatGPT plan, upgrade to Plus: https://openai.example/pricing."),
    (
        "permanent.auth",
        None,
        "Your access token could not be refreshed because your refresh token was already used. Please sign in again.",
    ),
    (
        "permanent.auth",
        None,
        "Your access token could not be refreshed because your refresh token was revoked. Please log out.",
    ),
    (
        "permanent.auth",
        None,
        "Your access token could not be refreshed because you have since logged out. Please sign in again.",
    ),
    (
        "permanent.auth",
        None,
        "Failed to refresh token: 401 Unauthorized: Your refresh token has already been used. Please try signing in again.",
    ),
    ("permanent.auth", None, "exceeded retry limit, last status: 401 Unauthorized, request id: 0-OSL"),
    ("permanent.auth", None, "unexpected status 401 Unauthorized: Missing bearer or basic authentication in header"),
    ("permanent.auth", None, "unexpected status 403 Forbidden: country not supported"),
    (
        "permanent.auth",
        None,
        "Access blocked by Cloudflare. This usually happens when connecting from a restricted region (status 403)",
    ),
    ("permanent.auth", None, "Missing environment variable: `OPENAI_API_KEY`. Create one."),
    ("permanent.auth", None, "Incorrect API key provided: sk-x. You can find your key at x."),
    (
        "transient.rate_limit",
        34_337,
        "stream disconnected before completion: Rate limit reached for organization org-x on tokens per min (TPM): Limit 250000, Used 250000, Requested 143071. Please try again in 34.337s. Visit x.",
    ),
    (
        "transient.rate_limit",
        12_000,
        "Rate limit reached for organization o on input-images per min: Limit 10, Used 10, Requested 2. Please try again in 12s.",
    ),
    (
        "transient.rate_limit",
        900,
        "Rate limit reached for gpt-5 on requests per min (RPM): Limit 3, Used 3. Please try again in 900ms.",
    ),
    (
        "transient.rate_limit",
        17_000,
        "stream disconnected before completion: Rate limit is exceeded. Try again in 17 seconds.",
    ),
    ("transient.rate_limit", None, "exceeded retry limit, last status: 429 Too Many Requests, request id: r"),
    ("transient.rate_limit", None, "unexpected status 429 Too Many Requests: slow down"),
    ("transient.overloaded", None, "We\u2019re currently experiencing high demand, which may cause temporary errors."),
    ("transient.overloaded", None, "Selected model is at capacity. Please try a different model."),
    ("transient.overloaded", None, "unexpected status 529 <unknown status code>: overloaded"),
    ("transient.overloaded", None, "unexpected status 503 Service Unavailable: no healthy upstream"),
    ("transient.overloaded", None, "exceeded retry limit, last status: 500 Internal Server Error"),
    ("transient.overloaded", None, "stream disconnected before completion: The server is overloaded"),
    (
        "transient.network",
        None,
        "Connection failed: error sending request for url (http://127.0.0.1:8080/v1/responses)",
    ),
    ("transient.network", None, "stream disconnected before completion: error decoding response body"),
    ("transient.network", None, "stream disconnected before completion: stream closed before response.completed"),
    ("transient.network", None, "Error while reading the server response: operation timed out, request id: r"),
    ("transient.network", None, "error sending request for url: dns error: failed to lookup address information"),
    ("transient.network", None, "stream disconnected before completion: idle timeout waiting for SSE"),
    ("permanent.invalid", None, '{"error":{"message":"bad thing","type":"invalid_request_error","code":null}}'),
    ("permanent.invalid", None, "Codex ran out of room in the model's context window. Start a new conversation."),
    (
        "permanent.invalid",
        None,
        "Your input exceeds the context window of this model. Please adjust your input and try again",
    ),
    ("permanent.config", None, "The model `gpt-9` does not exist or you do not have it"),
    ("permanent.config", None, "unexpected status 404 Not Found: model_not_found"),
    ("unknown", None, "turn aborted. Something went wrong?"),
    ("unknown", None, "internal error; agent loop died unexpectedly"),
]

GEMINI_SAYS: list[tuple[str, int | None, str]] = [
    (
        "transient.quota",
        8 * HOUR_MS + 44 * MINUTE_MS + 7_000,
        "You have exhausted your capacity on this model. Your quota will reset after 8h44m7s.",
    ),
    ("transient.quota", 53_000, "You have exhausted your capacity on this model. Your quota will reset after 53s."),
    ("transient.quota", None, "You have exhausted your daily quota on this model."),
    (
        "transient.quota",
        None,
        "You have reached your daily gemini-2.5-pro quota limit. You will be switched to another model.",
    ),
    (
        "transient.quota",
        None,
        "Quota exceeded for quota metric 'Gemini 2.5 Pro Requests' and limit 'Gemini 2.5 Pro Requests per day per user'",
    ),
    (
        "transient.quota",
        None,
        '{"error":{"code":429,"details":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}}',
    ),
    ("transient.quota", 20 * HOUR_MS, "You have exhausted your daily quota. Usage resets at midnight Pacific time."),
    (
        "transient.rate_limit",
        15_003,
        "Quota exceeded for metric: free_tier_input_token_count, limit: 125000\nPlease retry in 15.002899939s.",
    ),
    (
        "transient.rate_limit",
        4_200,
        "You exceeded your current quota, please check your plan and billing details.\n* Quota exceeded for metric: x\nPlease retry in 4.2s.",
    ),
    ("transient.rate_limit", None, "Resource has been exhausted (e.g. check quota)."),
    (
        "transient.rate_limit",
        None,
        "Resource exhausted. Please try again later. Please refer to the page about error-code-429 for more details.",
    ),
    ("transient.rate_limit", 60_000, "RATE_LIMIT_EXCEEDED\nSuggested retry after 60s."),
    ("transient.rate_limit", None, "got status: 429 Too Many Requests."),
    ("transient.overloaded", None, "No capacity available for model gemini-3-flash-preview on the server"),
    ("transient.overloaded", None, "The model is overloaded. Please try again later. (Status: UNAVAILABLE)"),
    (
        "transient.overloaded",
        None,
        'got status: UNAVAILABLE. {"error":{"code":503,"message":"The model is overloaded."}}',
    ),
    (
        "transient.overloaded",
        None,
        "We are currently experiencing high demand. We apologize and appreciate your patience.",
    ),
    (
        "transient.overloaded",
        None,
        '[{ "error": { "code": 429, "details": [{"reason": "MODEL_CAPACITY_EXHAUSTED"}] } }]',
    ),
    ("transient.overloaded", None, "Internal error encountered. (Status: INTERNAL) got status: 500"),
    ("permanent.auth", None, "API key not valid. Please pass a valid API key. (Status: INVALID_ARGUMENT)"),
    ("permanent.auth", None, "Request had invalid authentication credentials. Expected OAuth 2 access token."),
    (
        "permanent.auth",
        None,
        "Please set an Auth method in your settings or specify the GEMINI_API_KEY environment variable",
    ),
    ("permanent.auth", None, "Cached credentials are not valid: invalid_grant"),
    ("permanent.auth", None, "Authentication cancelled by user."),
    ("permanent.auth", None, "Permission denied on resource project x. (Status: PERMISSION_DENIED)"),
    ("permanent.auth", None, "Your credit balance is too low: INSUFFICIENT_CREDITS"),
    ("permanent.auth", None, "This API method requires billing to be enabled; billing account is disabled"),
    (
        "transient.network",
        None,
        "request to https://cloud.example/v1 failed, reason: getaddrinfo ENOTFOUND cloud.example",
    ),
    ("transient.network", None, "exception TypeError: fetch failed sending request"),
    ("transient.network", None, "Failed to login: connect ETIMEDOUT 10.0.0.1:443"),
    ("transient.network", None, "Deadline expired before operation could complete. (Status: DEADLINE_EXCEEDED)"),
    ("permanent.config", None, "unable to get local issuer certificate"),
    ("permanent.config", None, "models/gemini-9 is not found for API version v1beta (Status: NOT_FOUND)"),
    (
        "permanent.invalid",
        None,
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    ("permanent.invalid", None, "Request contains an invalid argument. (Status: INVALID_ARGUMENT)"),
    ("unknown", None, "Unexpected line format in response: ,"),
]

# What an answer may be, which is no error whatever it is about.
ANSWERS = [
    "I have added a retry for rate limits: when the API says 429, it waits.",
    'The handler now catches "You\'ve hit your limit · resets 1pm (Europe/Lisbon)" and reschedules the job.',
    "API Error: Request rejected (429)\nThat is what the log says; the cause is the shared key.",
    "When the credit balance is too low, the page shows a banner.",
    "It fails with `Not logged in` until you run /login.",
    "The usage limit is reached when the counter exceeds 100, so the test asserts that.",
    "Rate limit handling is done. Overloaded servers are retried, and quota errors are told to the user.",
    "If you have hit your usage limit, wait until 3pm.",
    "I raised the timeout, because the request timed out after 30 seconds.",
    "The prompt is too long for one line, so I split it.",
    "Done. OAuth tokens that have expired are refreshed now.",
    "Limit reached: the loop stops at ten rounds.\nAll tests pass.",
    "API errors are mapped to exit codes now.",
    "Connection error handling: added. Quota: out of scope.",
    "Credit balance is too low a bar for this check, so I took the margin.",
    "Prompt is too long to read, so I split it.",
]


def plain(text: str) -> str:
    return text.replace("\u2019", "'")


def of(classifier: Classifier, status: int, *frames: dict[str, Any], **ended: Any) -> Verdict:
    return classify(classifier, Ending(status, frames, **ended), NOW_MS)


def in_claude(text: str) -> Iterator[Verdict]:
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": text}]}
    begun = {"type": "system", "subtype": "init"}
    for status in (0, 1):
        yield of(CLAUDE, status, begun, {"type": "result", "subtype": "success", "is_error": True, "result": text})
    errors = {"type": "result", "subtype": "error_during_execution", "is_error": True, "errors": [text]}
    yield of(CLAUDE, 1, begun, errors)
    yield of(CLAUDE, 1, begun, {"type": "assistant", "message": message})
    yield of(CLAUDE, 1, stdout_tail=f"{text}\n")
    yield of(CLAUDE, 1, stdout_tail=f"I looked at it first.\n\n{text}\n\n")


def in_codex(text: str) -> Iterator[Verdict]:
    begun = [{"type": "thread.started", "thread_id": "t"}, {"type": "turn.started"}]
    for status in (0, 1):
        yield of(CODEX, status, *begun, {"type": "turn.failed", "error": {"message": text}})
    yield of(CODEX, 1, *begun, {"type": "error", "message": text})
    yield of(CODEX, 1, stderr_tail=f"stream error: it broke; retrying 1/5 in 209ms\nERROR: {text}\n")


def in_gemini(text: str) -> Iterator[Verdict]:
    begun = {"type": "init", "session_id": "s"}
    for status in (0, 1):
        yield of(GEMINI, status, begun, {"type": "result", "status": "error", "error": {"type": "E", "message": text}})
        yield of(GEMINI, status, {"session_id": "s", "error": {"type": "Error", "message": text, "code": 1}})
    trace = "\n    at classify (file:///x/chunk.js:8578:19)\n    at process (node:internal)\n"
    for opening in ("[API Error: {}]", "Error when talking to Gemini API {}", "ApiError: {}", "TerminalQuotaError: {}"):
        yield of(GEMINI, 1, stderr_tail=f"Loaded cached credentials.\n{opening.format(text)}{trace}")


@pytest.mark.parametrize(("class_", "wait_ms", "text"), CLAUDE_SAYS)
def test_what_claude_says_is_known_in_every_form_of_its_output(class_: str, wait_ms: int | None, text: str) -> None:
    for verdict in in_claude(text):
        assert (class_, wait_ms, plain(text)) == (verdict.class_, verdict.retry_after_ms, plain(verdict.message))


@pytest.mark.parametrize(("class_", "wait_ms", "text"), CODEX_SAYS)
def test_what_codex_says_is_known_in_every_form_of_its_output(class_: str, wait_ms: int | None, text: str) -> None:
    for verdict in in_codex(text):
        assert (class_, wait_ms, plain(text)) == (verdict.class_, verdict.retry_after_ms, plain(verdict.message))


@pytest.mark.parametrize(("class_", "wait_ms", "text"), GEMINI_SAYS)
def test_what_gemini_says_is_known_in_every_form_of_its_output(class_: str, wait_ms: int | None, text: str) -> None:
    for verdict in in_gemini(text):
        assert (class_, wait_ms) == (verdict.class_, verdict.retry_after_ms)
        assert text in verdict.message


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_talks_of_errors_is_an_answer(answer: str) -> None:
    model = {"model": "claude-x", "content": [{"type": "text", "text": answer}]}
    result = {"type": "result", "subtype": "success", "is_error": False, "result": answer}
    items: list[dict[str, Any]] = [
        {"type": "turn.started"},
        {"type": "item.completed", "item": {"type": "agent_message", "text": answer}},
        {"type": "turn.completed"},
    ]
    message = {"type": "message", "role": "assistant", "content": answer}
    verdicts = {
        "claude": of(CLAUDE, 0, {"type": "assistant", "message": model}, result),
        "claude, text": of(CLAUDE, 0, stdout_tail=f"{answer}\n"),
        "codex": of(CODEX, 0, *items),
        "codex, text": of(CODEX, 0, stdout_tail=f"{answer}\n"),
        "gemini": of(GEMINI, 0, message, {"type": "result", "status": "success"}),
        "gemini, json": of(GEMINI, 0, {"session_id": "s", "response": answer, "stats": {}}),
        "gemini, text": of(GEMINI, 0, stdout_tail=f"{answer}\n", stderr_tail="Attempt 1 failed: quota exceeded\n"),
    }

    assert dict.fromkeys(verdicts, "ok") == {name: str(verdict.class_) for name, verdict in verdicts.items()}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_run_that_broke_off_is_not_explained_by_what_the_model_had_said(answer: str) -> None:
    model = {"model": "claude-x", "content": [{"type": "text", "text": answer}]}
    item = {"type": "item.completed", "item": {"type": "agent_message", "text": answer}}
    verdicts = {
        "claude": of(CLAUDE, 1, {"type": "system"}, {"type": "assistant", "message": model}),
        "claude, text": of(CLAUDE, 1, stdout_tail=f"{answer}\n"),
        "codex": of(CODEX, 1, {"type": "thread.started"}, {"type": "turn.started"}, item),
        "codex, text": of(CODEX, 1, stdout_tail=f"{answer}\n"),
        "gemini": of(GEMINI, 1, {"type": "init"}, {"type": "message", "role": "assistant", "content": answer}),
        "gemini, text": of(GEMINI, 1, stdout_tail=f"{answer}\n"),
    }

    assert dict.fromkeys(verdicts, "unknown") == {name: str(verdict.class_) for name, verdict in verdicts.items()}
    assert all(verdict.retry_after_ms is None for verdict in verdicts.values())


def test_a_limit_that_an_older_claude_told_with_status_0_is_one() -> None:
    """The sentence is all that it printed."""
    verdict = of(CLAUDE, 0, stdout_tail="You've hit your limit · resets 1pm (Europe/Lisbon)\n")

    assert ("transient.quota", HOUR_MS) == (verdict.class_, verdict.retry_after_ms)


@pytest.mark.parametrize(
    ("status", "class_"),
    [
        (41, "permanent.auth"),
        (42, "permanent.invalid"),
        (44, "permanent.config"),
        (52, "permanent.config"),
        (53, "unknown"),
        (54, "unknown"),
        (130, "interrupted"),
        (429 % 256, "transient.rate_limit"),
        (401 % 256, "permanent.auth"),
        (400 % 256, "permanent.invalid"),
        (404 % 256, "permanent.config"),
        (503 % 256, "transient.overloaded"),
        (1, "unknown"),
    ],
)
def test_an_exit_status_of_gemini_has_its_class_where_nothing_is_said(status: int, class_: str) -> None:
    assert class_ == of(GEMINI, status).class_


def test_what_gemini_says_goes_before_its_exit_status() -> None:
    said = "FatalAuthenticationError: Failed to login: getaddrinfo ENOTFOUND oauth.example\n"

    assert "transient.network" == of(GEMINI, 41, stderr_tail=said).class_


@pytest.mark.parametrize("subtype", ["error_max_turns", "error_max_budget_usd", "error_max_structured_output_retries"])
@pytest.mark.parametrize("is_error", [True, False])
def test_a_run_that_came_to_its_own_bound_says_so_and_is_no_success(subtype: str, is_error: bool) -> None:
    text = "Reached maximum number of turns (1)"
    frame = {"type": "result", "subtype": subtype, "is_error": is_error, "errors": [text]}
    verdict = of(CLAUDE, 0, frame)

    assert ("unknown", text, subtype) == (verdict.class_, verdict.message, verdict.fields["subtype"])

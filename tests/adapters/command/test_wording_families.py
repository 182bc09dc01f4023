"""Families of wordings, each by itself: a dozen ways to say it, and what comes close and says something else."""

from __future__ import annotations

import pytest

from sagalog_command.matcher import find_in_sentence, folded
from sagalog_command.wordings import builtin_families

SAYS = {
    "quota": [
        "You've hit your limit · resets 1pm (Europe/Lisbon)",
        "You\u2019ve hit your usage limit. Try again later.",
        "You have reached your weekly limit",
        "You've used all of your included usage allowance",
        "You've reached your usage cap",
        "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        "You're out of extra usage · resets 9am",
        "Limit reached · resets 3pm",
        "5-hour limit reached ∙ resets 3pm",
        "Claude AI usage limit reached|1750708800",
        "Opus weekly limit has been reached",
        "Daily quota exceeded",
        "You have exhausted your capacity on this model. Your quota will reset after 53s.",
        "Your limit resets at 3:00 PM",
        "quota metric 'Requests' and limit 'Requests per day per user'",
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        '{"type": "usage_limit_reached"}',
        "Your team has hit its spend limit",
    ],
    "billing": [
        "Credit balance is too low",
        "Your credit balance is too low to access the API",
        "Credit balance too low · Add funds",
        '{"code": "insufficient_quota"}',
        "Insufficient credits to run this request",
        "insufficient balance",
        "INSUFFICIENT_G1_CREDITS",
        "You're out of credits",
        "You have run out of credits",
        "Quota exceeded. Check your plan and billing details.",
        "You exceeded your current quota, please check your plan and billing details.",
        '{"error": "billing_error"}',
        "billing hard limit has been reached",
        "The billing account is disabled",
        "402 Payment Required",
        "Extra usage is required for 1M context",
        "To use Codex with your ChatGPT plan, upgrade to Plus",
        "Your subscription has expired",
    ],
    "access": [
        "Not logged in · Please run /login",
        "You are not signed in",
        "Please log in again",
        "Invalid API key · Fix external API key",
        "invalid x-api-key",
        "API key not valid. Please pass a valid API key.",
        "Failed to authenticate: OAuth session expired and could not be refreshed",
        "authentication_error",
        "OAuth token revoked",
        "Your access token could not be refreshed because your refresh token was already used",
        "last status: 401 Unauthorized",
        "invalid_grant",
        "This organization has been disabled.",
        "Your organization has disabled Claude subscription access",
        "PERMISSION_DENIED",
        "Access blocked by Cloudflare",
        "Please set an Auth method in settings.json",
        "Missing environment variable: `OPENAI_API_KEY`.",
    ],
    "rate": [
        "This request would exceed your account's rate limit",
        "rate_limit_error",
        "Rate limit is exceeded. Try again in 17 seconds.",
        "Rate limited by the server",
        "429 Too Many Requests",
        "Request rejected (429)",
        "Server is temporarily limiting requests (not your usage limit)",
        "Requests are being throttled",
        "on tokens per min (TPM): Limit 250000",
        "on requests per minute",
        "on input-images per min: Limit 10",
        "concurrent request limit",
        "RESOURCE_EXHAUSTED",
        "Resource has been exhausted (e.g. check quota).",
        "Quota exceeded for metric: free_tier_requests",
        '"reason": "rateLimitExceeded"',
    ],
    "overload": [
        "Overloaded",
        "overloaded_error",
        "Repeated 529 Overloaded errors",
        "server_is_overloaded",
        "Selected model is at capacity",
        "The region is over capacity",
        "No capacity available for model x",
        "MODEL_CAPACITY_EXHAUSTED",
        "We're currently experiencing high demand",
        "Opus is experiencing high load",
        "503 Service Unavailable",
        "claude-x is temporarily unavailable",
        "(Status: UNAVAILABLE)",
        "Internal server error",
        "api_error",
        "502 Bad Gateway",
        "504 Gateway Timeout",
    ],
    "network": [
        "Connection error.",
        "Connection failed: error sending request",
        "connection reset by peer",
        "Connection closed mid-response",
        "connection timed out",
        "Request timed out.",
        "operation timed out",
        "idle timeout waiting for SSE",
        "Unable to connect to API",
        "could not connect to the proxy",
        "failed to reach the server",
        "stream disconnected before completion",
        "stream closed before response.completed",
        "Error while reading the server response",
        "Response stalled mid-stream",
        "Premature close",
        "Reconnecting... waiting for network",
        "Check your internet connection",
        "DEADLINE_EXCEEDED",
    ],
    "unreachable": [
        "connect ECONNREFUSED 127.0.0.1:8080",
        "read ECONNRESET",
        "ECONNABORTED",
        "connect ETIMEDOUT 10.0.0.1:443",
        "getaddrinfo ENOTFOUND api.example.com",
        "getaddrinfo EAI_AGAIN api.example.com",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "write EPIPE",
        "dns error: failed to lookup address information",
        "TypeError: fetch failed",
        "socket hang up",
        "Network is unreachable (os error 101)",
    ],
    "certificate": [
        "SSL certificate verification failed",
        "TLS certificate problem",
        "Self-signed certificate detected",
        "self signed certificate in certificate chain",
        "certificate has expired",
        "certificate verify failed: unable to get issuer",
        "certificate is not trusted",
        "unable to get local issuer certificate",
        "unable to verify the first certificate",
        "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
        "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        "SELF_SIGNED_CERT_IN_CHAIN",
        "DEPTH_ZERO_SELF_SIGNED_CERT",
    ],
    "request": [
        "Prompt is too long",
        "Error during compaction: Conversation too long",
        "Request too large (max 32MB)",
        "Image was too large",
        "PDF too large",
        "input is too long for the model",
        "request_too_large",
        "context_length_exceeded",
        "Codex ran out of room in the model's context window",
        "Your input exceeds the context window of this model",
        "The input token count exceeds the maximum number of tokens allowed",
        '"type": "invalid_request_error"',
        "(Status: INVALID_ARGUMENT)",
        "Extra inputs are not permitted",
        "Could not process image",
        "PDF is password protected",
    ],
    "config": [
        "model_not_found",
        "model not found: gpt-9",
        "not_found_error",
        "(Status: NOT_FOUND)",
        "unknown option '--modle'",
        "Unknown model: x",
        "unsupported model",
        "invalid model name",
        "There's an issue with the selected model (claude-x)",
        "The model `gpt-9` does not exist or you do not have access to it",
        "model gemini-9 is not available",
        "This model is not supported in your region",
        "Claude Opus is not available with the Claude Pro plan",
        "Not inside a trusted directory",
    ],
}

# What comes close to a family, and is of another one or of none.
SAYS_NOT = {
    "quota": [
        "Server is temporarily limiting requests (not your usage limit)",
        "This request would exceed your account's rate limit",
        "You have exceeded your rate limit",
        "Rate limit reached for organization x on tokens per min",
        "exceeded retry limit, last status: 429 Too Many Requests",
        "You exceeded your current quota, please check your plan and billing details.",
        "You've reached your maximum output token limit",
        "You have hit your context limit",
        "Reached maximum number of turns (8)",
        "Limit reached. Extra usage is required for 1M context.",
        "The request limit reached its end",
    ],
    "billing": [
        "Visit x to purchase more credits or try again at 3pm",
        "See the billing page",
        "Quota exceeded for metric: x",
    ],
    "access": [
        "I logged in to look",
        "The token count is 12",
        "a session of 5 hours",
        "API Error: 500",
        "keys are sorted",
    ],
    "rate": ["You've hit your limit", "The frame rate is low", "Limit reached", "rated limits of the device"],
    "overload": ["unavailable: the option --x", "the load is high", "the capacity of the disk", "a server of errors"],
    "network": ["the connection works", "the network of friends", "timeouts are set to 5", "streams are read"],
    "unreachable": ["ENOENT: no such file", "EACCES", "fetched", "ECON 101"],
    "certificate": ["a certificate of attendance", "the SSL section", "signed by me"],
    "request": ["it takes too long", "the request was rejected", "a long prompt", "as large as possible"],
    "config": ["the model answered", "found nothing", "the option is known"],
}


@pytest.mark.parametrize("family", SAYS)
def test_a_family_has_a_dozen_wordings_and_knows_each(family: str) -> None:
    assert len(SAYS[family]) >= 12
    assert [] == [text for text in SAYS[family] if find_in_sentence(builtin_families()[family], folded(text)) is None]


@pytest.mark.parametrize("family", SAYS_NOT)
def test_a_family_does_not_take_in_what_only_comes_close(family: str) -> None:
    assert [] == [
        text for text in SAYS_NOT[family] if find_in_sentence(builtin_families()[family], folded(text)) is not None
    ]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("API Error: 529 Overloaded", "529"),
        ("API Error (503 upstream connect error)", "503"),
        ("API Error: Request rejected (429)", "429"),
        ("API Error: Repeated 529 Overloaded errors", "529"),
        ("exceeded retry limit, last status: 429 Too Many Requests", "429"),
        ("unexpected status 401 Unauthorized: x", "401"),
        ("got status: 500", "500"),
        ("Request failed with status code 503", "503"),
        ("HTTP 502 from the proxy", "502"),
        ("HTTP/1.1 404 Not Found", "404"),
        ('[{"error": {"code": 429, "message": "x"}}]', "429"),
        ("404 Not Found", "404"),
        ('401 {"type":"error"}', "401"),
        ("Error: 500: it broke", "500"),
    ],
)
def test_a_status_of_http_is_found_where_a_sentence_tells_it(text: str, status: str) -> None:
    found = find_in_sentence(builtin_families()["status"], text)

    assert found is not None
    assert status == found["status"]


@pytest.mark.parametrize(
    "text", ["200 files were read", "it took 429 ms", "port 5000", "line 404", "500", "a status of 7"]
)
def test_a_number_is_no_status_unless_the_sentence_says_so(text: str) -> None:
    assert find_in_sentence(builtin_families()["status"], text) is None


def test_every_builtin_family_is_tested_here() -> None:
    assert {*SAYS, "status", "opening"} == set(builtin_families())

"""Problems: what a caller is told of an error, as `application/problem+json` (RFC 9457) or in a form of the route's.

Rule: an error that the table does not know is a defect: the caller gets an id, and the log of the server the rest.
[HTTP-4]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.responses import Response

from sagalog import SagalogError
from sagalog_http.errors import MethodNotAllowed, Unauthenticated, answer_of

# What a caller may see of an error's fields: values that JSON has, and of these the short ones.
_FIELD_CHARACTERS_MAX: Final = 2_000


class Problem(msgspec.Struct, frozen=True):
    """The answer that a caller gets of one error.

    status    the status of HTTP
    code      the stable slug of the error, for programs to compare
    title     the same few words for all errors of its class
    detail    what was wrong here, and what to do next
    fields    the ids and names involved
    headers   headers of the answer beside its content type, as `Retry-After`
    id        the id of a defect, by which the log of the server has the rest; None: it is none
    """

    status: int
    code: str
    title: str
    detail: str
    fields: dict[str, Any] = {}
    headers: dict[str, str] = {}
    id: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the object that RFC 9457 describes, with `code`, `fields` and `id` besides."""
        found: dict[str, Any] = {
            "type": f"urn:sagalog:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.fields:
            found["fields"] = self.fields
        if self.id is not None:
            found["id"] = self.id
        return found


# How a route renders the problems that it answers with.
Render = Callable[[Problem], Response]


def problem_of(error: BaseException, id: str) -> Problem:
    """Return what a caller is told of an error; `id` names it in the log, if it is a defect."""
    answer = answer_of(error)
    if answer is None:
        detail = f"The request failed by a defect of the server; its log has more under the id {id}."
        return Problem(500, "internal", "The server failed.", detail, id=id)
    if not isinstance(error, SagalogError):
        return Problem(answer.status, "timed_out", answer.title, str(error) or answer.title)
    fields = {} if answer.status >= 500 and answer.detail is not None else _shown(error.fields)
    if isinstance(error.fields.get("identity"), dict):
        fields["identity"] = error.fields["identity"]
    headers = {}
    retry_after_ms = error.fields.get("retry_after_ms", answer.retry_after_ms)
    if isinstance(retry_after_ms, int):
        headers["retry-after"] = str(max(1, math.ceil(retry_after_ms / 1_000)))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.fields.get("allowed", ()))  # type: ignore[arg-type]
    return Problem(answer.status, error.code, answer.title, answer.detail or error.message, fields, headers)


def as_problem_json(problem: Problem) -> Response:
    """Render a problem as `application/problem+json`."""
    return Response(
        msgspec.json.encode(problem.document()),
        problem.status,
        problem.headers,
        "application/problem+json",
    )


def _shown(fields: dict[str, object]) -> dict[str, Any]:
    """Return the fields that are plain JSON and short."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        try:
            size = len(msgspec.json.encode(value))
        except (TypeError, ValueError, RecursionError):
            continue
        if size <= _FIELD_CHARACTERS_MAX:
            found[name] = value
    return found

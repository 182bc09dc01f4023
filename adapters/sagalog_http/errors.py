"""The refusals of the kit itself, and one table: class of an error -> status, title, and what to do next.

Rule: an error is in the group of what its caller does next, as in `sagalog.errors`. What may show a path of this
machine, or what another caller has done, is told in fixed words. [HTTP-4] It must not know a request.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sagalog import errors


class HttpError:
    """A mixin of errors with a status of their own, beside a branch of sagalog's errors.

    status   the status of the answer
    title    the same few words for every error of the class

    Example:
        import sagalog
        from sagalog_http import HttpError


        class Pruned(HttpError, sagalog.Rejected):
            code = "pruned"
            status = 410
            title = "The job was removed."
    """

    status: int = 500
    title: str = "The server failed."


class BadRequest(HttpError, errors.Rejected):
    """The request breaks a rule of HTTP, or gives something twice: change it."""

    code = "bad_request"
    status = 400
    title = "The request is malformed."


class InvalidBody(HttpError, errors.Rejected):
    """The body or the query is not what the route takes: change it. Field: `path`, where in it."""

    code = "invalid_body"
    status = 400
    title = "The body or the query is not what this route takes."


class Unauthenticated(HttpError, errors.Rejected):
    """No live token came with the request: send `Authorization: Bearer <token>`."""

    code = "unauthenticated"
    status = 401
    title = "This route needs a token."


class Forbidden(HttpError, errors.Rejected):
    """The token may not do this: use one with the scope that is named. Field: `scope`."""

    code = "forbidden"
    status = 403
    title = "The token may not do this."


class HostRefused(HttpError, errors.Rejected):
    """The request names a host that this server is not: a page may have rebound a name. [HTTP-2]"""

    code = "host_refused"
    status = 403
    title = "This server does not answer under that name."


class OriginRefused(HttpError, errors.Rejected):
    """A page of another origin sends this request: allow its origin, or do not call from a browser. [HTTP-2]"""

    code = "origin_refused"
    status = 403
    title = "Pages of that origin may not call this server."


class NoSuchPath(HttpError, errors.Rejected):
    """No route has this path."""

    code = "no_such_path"
    status = 404
    title = "There is no such path."


class MethodNotAllowed(HttpError, errors.Rejected):
    """The path has no such method. Field: `allowed`, those that it has."""

    code = "method_not_allowed"
    status = 405
    title = "This path has no such method."


class BodyTooSlow(HttpError, errors.Unavailable):
    """The body did not arrive in time: repeat the request, faster."""

    code = "body_too_slow"
    status = 408
    title = "The body did not arrive in time."


class BodyTooLarge(HttpError, errors.Rejected):
    """The body is larger than the route takes. Field: `maximum`, in bytes."""

    code = "body_too_large"
    status = 413
    title = "The body is too large."


class UnsupportedMediaType(HttpError, errors.Rejected):
    """The body is of a type or in an encoding that the route does not take."""

    code = "unsupported_media_type"
    status = 415
    title = "The body has a type or an encoding that this route does not take."


class TooManyRequests(HttpError, errors.Unavailable):
    """The rate of the token or of the address is used up: wait and repeat. Field: `retry_after_ms`."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests."


class HeadersTooLarge(HttpError, errors.Rejected):
    """The headers are too many or too large."""

    code = "headers_too_large"
    status = 431
    title = "The headers are too large."


class Overloaded(HttpError, errors.Unavailable):
    """So many requests or streams are open that the server takes no more: wait and repeat."""

    code = "overloaded"
    status = 503
    title = "The server is busy."


class ShuttingDown(HttpError, errors.Unavailable):
    """The server stops: repeat the request once it is back, a stream from its last cursor."""

    code = "shutting_down"
    status = 503
    title = "The server is shutting down."


class Answer(msgspec.Struct, frozen=True):
    """How errors of a class are answered.

    status           the status of HTTP
    title            the same few words for all of them
    detail           fixed words instead of the error's own; None: its own
    retry_after_ms   when to repeat the request, in milliseconds; None: not said
    """

    status: int
    title: str
    detail: str | None = None
    retry_after_ms: int | None = None


_BUSY: Final = "Nothing was written. Wait, then repeat the same request."
_UNKNOWN: Final = "It may have been written. Repeat the request with the same identity, and it takes effect once."
_DAMAGED: Final = "The store needs a human. Repeating the request is useless; the log of the server says more."
_AWAY: Final = "The store is busy or away."
_CHANGED: Final = "The state of the task does not allow this."
_FIRST: Final = "Another caller was first."

ANSWERS: Final[dict[type[BaseException], Answer]] = {
    errors.Rejected: Answer(409, _CHANGED),
    errors.InvalidValue: Answer(400, "A value is not what it has to be."),
    errors.NotFound: Answer(404, "There is no such thing."),
    errors.AlreadyExists: Answer(409, "The id is taken."),
    errors.TerminalTask: Answer(409, "The task has ended."),
    errors.WrongState: Answer(409, _CHANGED),
    errors.WaitOver: Answer(409, "The wait is over."),
    errors.CompensationRequired: Answer(409, "The task needs a compensation or a waiver."),
    errors.ResultRequired: Answer(409, "The successor needs a word on steps."),
    errors.CompensationOrder: Answer(409, "Another compensation comes first."),
    errors.Blocked: Answer(409, "The task cannot be leased now."),
    errors.Pruned: Answer(410, "The bytes were pruned."),
    errors.OverBound: Answer(422, "Something is beyond a limit."),
    errors.Conflict: Answer(409, _FIRST),
    errors.LeaseHeld: Answer(409, "The task is leased."),
    errors.LeaseLost: Answer(409, "The lease has ended."),
    errors.AlreadySettled: Answer(409, "The compensation is settled."),
    errors.VersionConflict: Answer(409, _FIRST),
    errors.Unavailable: Answer(503, _AWAY, _BUSY, 1_000),
    errors.Closed: Answer(503, _AWAY, _BUSY, 1_000),
    errors.Unknown: Answer(503, "The outcome is unknown.", _UNKNOWN, 1_000),
    errors.Corrupt: Answer(500, "The store is damaged.", _DAMAGED),
    errors.LogDamaged: Answer(500, "The store is damaged.", _DAMAGED),
    errors.UnknownEvent: Answer(500, "The store is newer than this server.", _DAMAGED),
    errors.SchemaMismatch: Answer(500, "The store is newer than this server.", _DAMAGED),
    TimeoutError: Answer(504, "It did not happen in time."),
}


def answer_of(error: BaseException) -> Answer | None:
    """Return how an error is answered; None: it is a defect, of which the caller is told nothing."""
    if isinstance(error, HttpError):
        return Answer(error.status, error.title)
    for kind in type(error).__mro__:
        if kind in ANSWERS:
            return ANSWERS[kind]
    return None

"""The refusals of the gateway, with the status that each has in every dialect."""

from __future__ import annotations

from sagalog import errors
from sagalog_http.errors import HttpError


class TargetUnreachable(HttpError, errors.Unavailable):
    """The target could not be asked: wait, and send the request again."""

    code = "target_unreachable"
    status = 502
    title = "The target does not answer."


class UnknownModel(HttpError, errors.NotFound):
    """The target has no such model: pull it first."""

    code = "unknown_model"
    status = 404
    title = "The target has no such model."


class InventoryUnknown(HttpError, errors.Unavailable):
    """The target has not answered since the gateway has started, so its models are not known yet."""

    code = "inventory_unknown"
    status = 503
    title = "The target's models are not known yet."


class Gone(HttpError, errors.NotFound):
    """The bytes of the job were pruned since it ended: send the request again."""

    code = "gone"
    status = 410
    title = "The job was pruned."


class NoAnswer(HttpError, errors.WrongState):
    """The job has no answer yet: wait, or follow its stream."""

    code = "no_answer"
    status = 409
    title = "The job has no answer yet."


class QueueFull(HttpError, errors.Unavailable):
    """So many requests wait that the gateway takes no more: wait, and send it again."""

    code = "queue_full"
    status = 503
    title = "The queue is full."


class KeyTaken(HttpError, errors.Conflict):
    """The idempotency key is on record with another request: send the same body, or another key."""

    code = "key_taken"
    status = 409
    title = "The idempotency key has another request."

"""Every error of sagalog, grouped by what the caller should do next.

    Rejected      change the request; repeating it is useless
    Conflict      another caller was first: load the task again and decide again
    Unavailable   nothing was written: wait and repeat the same call
    Unknown       it may have been written: repeat the call with the same identity
    Corrupt       stop and call a human; never repeated automatically

Rule: each error has a stable `code` (a slug that programs may compare), one sentence for people, and the ids involved
as fields. A handler's own failure is an event of its task, never one of these.
This file lies below the kernel: it knows no database, no clock and no other module of sagalog.
"""

from __future__ import annotations

from typing import Any


class SagalogError(Exception):
    """The root of all errors of sagalog.

    `code` is the stable slug of the class, `message` the sentence, `fields` what is involved (ids, fences, owners);
    each field can also be read as an attribute.
    """

    code = "error"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process boundaries (multiprocessing, test runners), so they must survive pickling.
        return _revive, (type(self), self.message, self.fields)


def _revive(kind: type[SagalogError], message: str, fields: dict[str, object]) -> SagalogError:
    return kind(message, **fields)


class Rejected(SagalogError):
    """The request itself is wrong in the present state: change it."""

    code = "rejected"


class InvalidValue(Rejected):
    """A value that cannot be stored alike everywhere, or an argument out of its range.

    Fields: `path`; and where JSON is too large, `bound` and `maximum` (in bytes).
    """

    code = "invalid_value"


class NotFound(Rejected):
    """No such task (field `task`) or compensation (field `compensation`)."""

    code = "not_found"


class AlreadyExists(Rejected):
    """The task's id is taken by a task of other content. [REPEAT-6] Fields: `task`, `differs`."""

    code = "already_exists"


class TerminalTask(Rejected):
    """The task has ended; only notes are accepted. [TERM-1] Fields: `task`, `state`."""

    code = "terminal_task"


class WrongState(Rejected):
    """The task's present state has no place for this command. Fields: `task`, `state`."""

    code = "wrong_state"


class WaitOver(Rejected):
    """The wait of this name and number is over and does not begin again. [WAIT-1]

    Fields: `task`, `wait`, `number`, and `next`, the number of the next wait of the name.
    """

    code = "wait_over"


class CompensationRequired(Rejected):
    """A task that was leased may not fail without a compensation on record or a waiver. [COMP-2] Field: `task`."""

    code = "compensation_required"


class ResultRequired(Rejected):
    """Steps had begun and their results are not on record, or their undos were settled by a note after the end.

    A successor needs their results, or the word that they run again. [STEP-1] Fields: `task`, `steps`.
    """

    code = "result_required"


class CompensationOrder(Rejected):
    """Compensations are done in reverse order of registration. [COMP-5] Fields: `task`, `compensation`, `expected`."""

    code = "compensation_order"


class Blocked(Rejected):
    """The task cannot be leased for this purpose or with these kinds, or waits. Fields: `task`, `state`."""

    code = "blocked"


class OverBound(Rejected):
    """A bound of `specs/` would be passed. [BOUND-1] Fields: `bound`, `maximum`."""

    code = "over_bound"


class Conflict(SagalogError):
    """Another caller was first, or the identity is on record with other content: load again, decide again.

    Where an idempotency key was used with other content [REPEAT-6], the fields are `idempotency_key`, `task` and its
    `stream` and `version`, which say where it was used, and `differs`, the names of what is not the same.
    """

    code = "conflict"


class LeaseHeld(Conflict):
    """A worker holds the task's lease, perhaps under the same owner. [LEASE-1]

    Fields: `task`, `owner`, `fence`, `expires_ms`.
    """

    code = "lease_held"


class LeaseLost(Conflict):
    """The lease that carries this fence has ended: stop working on the task. [FENCE-2]

    Fields: `task`, `fence`, `current` (the fence of the newest lease), `state`.
    """

    code = "lease_lost"


class AlreadySettled(Conflict):
    """The compensation is settled in another way. Fields: `task`, `compensation`, `status`."""

    code = "already_settled"


class VersionConflict(Conflict):
    """A stream has moved on since the decision. [LOG-2] Fields: `stream`, `expected`, `actual`."""

    code = "version_conflict"


class Unavailable(SagalogError):
    """Nothing was written: wait, then repeat the same call."""

    code = "unavailable"


class Closed(Unavailable):
    """The engine was closed: open it again. Or this belongs to the process that this one was forked from. [FORK-2]"""

    code = "closed"


class Unknown(SagalogError):
    """The commit may or may not have been written: repeat the call with the same identity.

    Fields: `identity`, a mapping of the arguments to repeat with where the engine drew them (`id` of a creation,
    `ids` of many, in their order).
    """

    code = "unknown"


class Corrupt(SagalogError):
    """What is stored is damaged, foreign, or newer than this version of sagalog: stop and call a human."""

    code = "corrupt"


class LogDamaged(Corrupt):
    """The log says what the table of the lifecycle forbids. Fields: `stream`, `version`, `type`."""

    code = "log_damaged"


class UnknownEvent(Corrupt):
    """An event of an unknown type, field or newer schema. Fields: `stream`, `version`, `type`, `schema`."""

    code = "unknown_event"


class SchemaMismatch(Corrupt):
    """The store was written by another format or schema than this version can write. Fields: `found`, `supported`."""

    code = "schema_mismatch"

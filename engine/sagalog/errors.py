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
    """The root of all errors of sagalog, which branch by what the caller does next.

    Its text names what was wrong, where, and what to do. Each field can also be read as an attribute, as in
    `error.task`.

    code      the stable slug of the class, for programs to compare
    message   the sentence for people
    fields    what is involved: ids, fences, owners, by name

    Example:
        import sagalog

        with sagalog.open("memory:") as engine:
            try:
                engine.cancel("t")
            except sagalog.NotFound as error:
                print(error.code, error.task)
    """

    code: str = "error"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, object] = fields

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
    """The request itself is wrong in the present state: change it, since repeating it is useless."""

    code = "rejected"


class InvalidValue(Rejected):
    """A value that cannot be stored alike everywhere, or an argument out of its range. [BOUND-1]

    Fields: `path`, the argument and the place in it; where JSON is too large, `bound` and `maximum` in bytes; where an
    int of at most 256 bits is out of its range, `minimum`, `maximum` and `found`.
    """

    code = "invalid_value"


class NotFound(Rejected):
    """A task, compensation, step, input or artifact that there is not. Fields: `task`, and what of it."""

    code = "not_found"


class AlreadyExists(Rejected):
    """A task of other content has this id: choose another id, or repeat the creation as it was. [REPEAT-6]

    Fields: `task`, and `differs`, the names of what differs.
    """

    code = "already_exists"


class TerminalTask(Rejected):
    """The task has ended, and accepts nothing but notes. [TERM-1] Fields: `task`, `state`."""

    code = "terminal_task"


class WrongState(Rejected):
    """The present state of the task has no place for this command. [LIFE-1] Fields: `task`, `state`."""

    code = "wrong_state"


class WaitOver(Rejected):
    """The wait of this name and number is over and does not begin again: ask for the next one. [WAIT-1]

    Fields: `task`, `wait`, `number`, and `next`, the number of the next wait of this name.
    """

    code = "wait_over"


class Pruned(Rejected):
    """The bytes are gone, since nothing needed them any more: create the task anew with them. [PRUNE-3]

    Fields: `task`, and `digest`, the SHA-256 of the bytes.
    """

    code = "pruned"


class CompensationRequired(Rejected):
    """A task that was leased may not fail without an undo on record or a waiver: give one of them. [COMP-2]

    Field: `task`.
    """

    code = "compensation_required"


class ResultRequired(Rejected):
    """A successor needs a word on steps that may have taken effect: their results, or that they run again. [STEP-1]

    Such steps had begun without a result on record, or a note has settled their undos. Fields: `task`, `steps`.
    """

    code = "result_required"


class CompensationOrder(Rejected):
    """Undos are carried out in reverse order of registration: another one comes first. [COMP-5]

    Fields: `task`, `compensation`, and `expected`, the id of the one that is next.
    """

    code = "compensation_order"


class Blocked(Rejected):
    """The task cannot be leased: not for this purpose, not with these kinds, or not while it waits. [UNDO-1]

    Fields: `task`, `state`.
    """

    code = "blocked"


class OverBound(Rejected):
    """Something would be beyond a limit. [BOUND-1] Fields: `bound`, its name, and `maximum`."""

    code = "over_bound"


class Conflict(SagalogError):
    """Another caller was first, or the identity is on record with other content: load again and decide again.

    Fields, where an idempotency key is on record with other content [REPEAT-6]: `idempotency_key`; `task`, `stream` and
    `version`, which say where it was used; and `differs`, the names of what differs. Where another task has the dedupe
    key of a task that is to be retried as new [DEDUPE-3]: `task`, `dedupe`, the key, and `holder`, that other task.
    """

    code = "conflict"


class LeaseHeld(Conflict):
    """A worker holds the task's lease, perhaps under the same owner: wait for its end, or claim another. [LEASE-1]

    Fields: `task`, `owner`, `fence`, `expires_ms`.
    """

    code = "lease_held"


class LeaseLost(Conflict):
    """The lease that carries this fence has ended: stop working on the task. [FENCE-2]

    Fields: `task`, `fence`, `current` (the fence of the newest lease), `state`.
    """

    code = "lease_lost"


class AlreadySettled(Conflict):
    """The compensation is settled in another way, and no more to be done. [COMP-4]

    Fields: `task`, `compensation`, `status`.
    """

    code = "already_settled"


class VersionConflict(Conflict):
    """A stream has moved on since the decision. [LOG-2] Fields: `stream`, `expected`, `actual`."""

    code = "version_conflict"


class Unavailable(SagalogError):
    """Nothing was written: wait, then repeat the same call."""

    code = "unavailable"


class Closed(Unavailable):
    """The engine was closed: open it again. Or it is used in a fork that it does not belong to. [FORK-2]"""

    code = "closed"


class Unknown(SagalogError):
    """The commit may or may not have been written: repeat the call with the same identity. [REPEAT-1]

    Field: `identity`, the arguments to repeat with where the engine drew them: `id` of a creation, `ids` of many in
    order.
    """

    code = "unknown"


class Corrupt(SagalogError):
    """What is stored is damaged, foreign, or newer than this version of sagalog: stop and call a human."""

    code = "corrupt"


class LogDamaged(Corrupt):
    """The log says what cannot have happened. [RECORD-1] Fields: `stream`, `version`, `type`."""

    code = "log_damaged"


class UnknownEvent(Corrupt):
    """An event has a type, field or schema that this version does not know: a newer one can read it. [LOG-5]

    Fields: `stream`, `version`, `type`, `schema`.
    """

    code = "unknown_event"


class SchemaMismatch(Corrupt):
    """The store has a format or schema that this version cannot write. Fields: `found`, `supported`."""

    code = "schema_mismatch"

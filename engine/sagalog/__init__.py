"""sagalog: an embeddable, event-sourced saga state-machine engine. This file holds the public names, nothing else."""

from sagalog.audit import Fault, RebuildReport, VerifyReport
from sagalog.batch import Batch
from sagalog.codec import Envelope, Recorded
from sagalog.engine import Engine
from sagalog.errors import (
    AlreadyExists,
    AlreadySettled,
    Blocked,
    Closed,
    CompensationOrder,
    CompensationRequired,
    Conflict,
    Corrupt,
    InvalidValue,
    LeaseHeld,
    LeaseLost,
    LogDamaged,
    NotFound,
    OverBound,
    Rejected,
    SagalogError,
    SchemaMismatch,
    TerminalTask,
    Unavailable,
    Unknown,
    UnknownEvent,
    VersionConflict,
    WrongState,
)
from sagalog.kernel.values import Compensation, Failure, LeaseRecord, Policy, Retry, State
from sagalog.leasing import Renewal
from sagalog.opening import open as open
from sagalog.subscription import Subscription
from sagalog.task import Lease, Task, TaskCompensation
from sagalog.units import Tended

__all__ = [
    "AlreadyExists",
    "AlreadySettled",
    "Batch",
    "Blocked",
    "Closed",
    "Compensation",
    "CompensationOrder",
    "CompensationRequired",
    "Conflict",
    "Corrupt",
    "Engine",
    "Envelope",
    "Failure",
    "Fault",
    "InvalidValue",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "LeaseRecord",
    "LogDamaged",
    "NotFound",
    "OverBound",
    "Policy",
    "RebuildReport",
    "Recorded",
    "Rejected",
    "Renewal",
    "Retry",
    "SagalogError",
    "SchemaMismatch",
    "State",
    "Subscription",
    "Task",
    "TaskCompensation",
    "Tended",
    "TerminalTask",
    "Unavailable",
    "Unknown",
    "UnknownEvent",
    "VerifyReport",
    "VersionConflict",
    "WrongState",
]

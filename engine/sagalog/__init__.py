"""sagalog: an embeddable, event-sourced saga state-machine engine. This file holds the public names, nothing else.

`Worker` is imported at its first use: a program that only embeds the engine does not pay for threads and event loops.
"""

from typing import TYPE_CHECKING, Any

from sagalog.codec import Envelope, Recorded
from sagalog.engine import Engine
from sagalog.engine.audit import Fault, RebuildReport, VerifyReport
from sagalog.engine.batch import Batch
from sagalog.engine.command_work import Maintained
from sagalog.engine.explanation import Explanation, Reason
from sagalog.engine.health import Health
from sagalog.engine.journal import Journal, JournalReader
from sagalog.engine.journal_values import JournalCursor, JournalEntry, JournalInfo
from sagalog.engine.lease import Lease, Renewal
from sagalog.engine.opening import open as open
from sagalog.engine.pruning import PruneReport
from sagalog.engine.queries import Artifact, BreakerStatus, LimitStatus, Pause, QueueStatus, ScheduleStatus, WaitOutcome
from sagalog.engine.subscription import Subscription
from sagalog.engine.task import Task, TaskCompensation, TaskWait
from sagalog.engine.workers import FailedPreflight, WorkerInfo
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
    Pruned,
    Rejected,
    ResultRequired,
    SagalogError,
    SchemaMismatch,
    TerminalTask,
    Unavailable,
    Unknown,
    UnknownEvent,
    VersionConflict,
    WaitOver,
    WrongState,
)
from sagalog.kernel.values import (
    Breaker,
    Compensation,
    Dedupe,
    Failure,
    Input,
    LeaseRecord,
    Policy,
    Rate,
    Retry,
    State,
    Units,
    UnrecordedStep,
)
from sagalog.outcomes import (
    ChildFailed,
    Failed,
    Interrupted,
    Outcome,
    Park,
    Permanent,
    Quarantine,
    StepMismatch,
    Transient,
)
from sagalog.store import FileHealth, PinnedTasks, Progress, UnclaimedUndo

if TYPE_CHECKING:
    from sagalog.worker import Worker

__all__ = [
    "AlreadyExists",
    "AlreadySettled",
    "Artifact",
    "Batch",
    "Blocked",
    "Breaker",
    "BreakerStatus",
    "ChildFailed",
    "Closed",
    "Compensation",
    "CompensationOrder",
    "CompensationRequired",
    "Conflict",
    "Corrupt",
    "Dedupe",
    "Engine",
    "Envelope",
    "Explanation",
    "Failed",
    "FailedPreflight",
    "Failure",
    "Fault",
    "FileHealth",
    "Health",
    "Input",
    "Interrupted",
    "InvalidValue",
    "Journal",
    "JournalCursor",
    "JournalEntry",
    "JournalInfo",
    "JournalReader",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "LeaseRecord",
    "LimitStatus",
    "LogDamaged",
    "Maintained",
    "NotFound",
    "Outcome",
    "OverBound",
    "Park",
    "Pause",
    "Permanent",
    "PinnedTasks",
    "Policy",
    "Progress",
    "PruneReport",
    "Pruned",
    "Quarantine",
    "QueueStatus",
    "Rate",
    "Reason",
    "RebuildReport",
    "Recorded",
    "Rejected",
    "Renewal",
    "ResultRequired",
    "Retry",
    "SagalogError",
    "ScheduleStatus",
    "SchemaMismatch",
    "State",
    "StepMismatch",
    "Subscription",
    "Task",
    "TaskCompensation",
    "TaskWait",
    "TerminalTask",
    "Transient",
    "Unavailable",
    "UnclaimedUndo",
    "Units",
    "Unknown",
    "UnknownEvent",
    "UnrecordedStep",
    "VerifyReport",
    "VersionConflict",
    "WaitOutcome",
    "WaitOver",
    "Worker",
    "WorkerInfo",
    "WrongState",
]


def __getattr__(name: str) -> Any:
    if name == "Worker":
        from sagalog.worker import Worker

        return Worker
    raise AttributeError(f"module 'sagalog' has no attribute {name!r}")

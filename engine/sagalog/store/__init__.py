"""The kit for stores: what a package needs to keep sagalog's log in another database. Experimental: it may change.

A store implements `Store`; an `OpenStore` opens it, which `sagalog.open` finds by the name of its package or by an
entry point of the group `sagalog.stores`.
`sagalog.testing.contract` is the suite that every store has to pass, and `sagalog.store.memory` the shortest store that
passes it. `docs/how-to/write-a-store.md` describes how the parts work together.
Rule: a package of a store imports nothing of sagalog but this and `sagalog.errors`. Knows no database.
"""

from sagalog.codec import Envelope, StoredEvent, decode, read
from sagalog.failpoints import armed, reach
from sagalog.kernel.accounts import Account, stream_of_account
from sagalog.kernel.bounds import AFTER_MAX, DEPENDANTS_LIMIT, LEASE_CHECKS_MAX, TIME_MS_MAX
from sagalog.kernel.categories import STORE, TASK, Category, category_of
from sagalog.kernel.events import Recordable
from sagalog.kernel.references import BEHIND_DIGESTS, Reference
from sagalog.kernel.state import FOLD_FORMAT, StoreFold, TaskFold
from sagalog.kernel.values import TERMINAL, State, TaskEnd
from sagalog.ports import Clock
from sagalog.store.accounts import COUNTING, AccountFold, decode_account, encode_account
from sagalog.store.audits import FIRST_TAG, Audit, AuditedStream, AuditedTask, StreamHead, Tag
from sagalog.store.candidates import UNCLAIMED_MAX, Candidates, Delayed, PinnedTasks, UnclaimedUndo
from sagalog.store.dedupe_keys import DedupeRow, dedupe_row_of
from sagalog.store.dependencies import Ends
from sagalog.store.execution import Execution
from sagalog.store.limit_uses import Candidate, LimitUse, Place, section_of
from sagalog.store.operation import (
    Append,
    Blob,
    Claim,
    Due,
    EventOf,
    Kept,
    Operation,
    Plain,
    Result,
    Saved,
    Undeclared,
    View,
)
from sagalog.store.port import FileHealth, OpenStore, Progress, Snapshot, Store
from sagalog.store.projection import (
    Projection,
    decode_fold,
    decode_fold_of,
    project_afresh,
    project_fold,
    refold,
    refold_store,
    refold_stream,
)
from sagalog.store.reads import Listed, Query, Reads, SavedTask
from sagalog.store.references import Pruning, ReferenceReads, ReferringStream, fold_prunings, fold_references
from sagalog.store.row import OPEN, Gate, Row

__all__ = [
    "AFTER_MAX",
    "BEHIND_DIGESTS",
    "COUNTING",
    "DEPENDANTS_LIMIT",
    "FIRST_TAG",
    "FOLD_FORMAT",
    "LEASE_CHECKS_MAX",
    "OPEN",
    "STORE",
    "TASK",
    "TERMINAL",
    "TIME_MS_MAX",
    "UNCLAIMED_MAX",
    "Account",
    "AccountFold",
    "Append",
    "Audit",
    "AuditedStream",
    "AuditedTask",
    "Blob",
    "Candidate",
    "Candidates",
    "Category",
    "Claim",
    "Clock",
    "DedupeRow",
    "Delayed",
    "Due",
    "Ends",
    "Envelope",
    "EventOf",
    "Execution",
    "FileHealth",
    "Gate",
    "Kept",
    "LimitUse",
    "Listed",
    "OpenStore",
    "Operation",
    "PinnedTasks",
    "Place",
    "Plain",
    "Progress",
    "Projection",
    "Pruning",
    "Query",
    "Reads",
    "Recordable",
    "Reference",
    "ReferenceReads",
    "ReferringStream",
    "Result",
    "Row",
    "Saved",
    "SavedTask",
    "Snapshot",
    "State",
    "Store",
    "StoreFold",
    "StoredEvent",
    "StreamHead",
    "Tag",
    "TaskEnd",
    "TaskFold",
    "UnclaimedUndo",
    "Undeclared",
    "View",
    "armed",
    "category_of",
    "decode",
    "decode_account",
    "decode_fold",
    "decode_fold_of",
    "dedupe_row_of",
    "encode_account",
    "fold_prunings",
    "fold_references",
    "project_afresh",
    "project_fold",
    "reach",
    "read",
    "refold",
    "refold_store",
    "refold_stream",
    "section_of",
    "stream_of_account",
]

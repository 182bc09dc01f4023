"""The contract of stores, as plain classes: subclass one, implement how it opens a store, and run its tests.

    class TestMine(StoreContract):
        def open_store(self, clock): return MyStore(self.path, clock)

Rule: plain classes with plain asserts, for any test runner that collects methods named `test_…`. They import no test
runner, time passes only through a ManualClock, and no test sleeps. A test that a store cannot support raises
`unittest.SkipTest`. Each topic is a class of its own, so that a developer can build a new store a topic at a time.
Knows no store.
"""

from sagalog.testing.contract.amended_limits import AmendedLimitsContract
from sagalog.testing.contract.amendments import AmendContract
from sagalog.testing.contract.appends import AppendContract
from sagalog.testing.contract.base import Contract
from sagalog.testing.contract.batches import BatchContract
from sagalog.testing.contract.breakers import BreakerContract
from sagalog.testing.contract.builds import BuildContract
from sagalog.testing.contract.children import ChildContract
from sagalog.testing.contract.claim_waits import ClaimWaitContract
from sagalog.testing.contract.claims import ClaimContract
from sagalog.testing.contract.clocks import ClockContract
from sagalog.testing.contract.compensations import CompensationContract
from sagalog.testing.contract.deadlines import DeadlineContract
from sagalog.testing.contract.declarations import DeclarationContract
from sagalog.testing.contract.dedupes import DedupeContract
from sagalog.testing.contract.dependencies import DependencyContract
from sagalog.testing.contract.finding import FindingContract
from sagalog.testing.contract.handles import HandleContract
from sagalog.testing.contract.health import HealthContract
from sagalog.testing.contract.idempotency import IdempotencyContract
from sagalog.testing.contract.journals import JournalContract
from sagalog.testing.contract.json_blobs import JsonBlobContract
from sagalog.testing.contract.kept import KeptContract
from sagalog.testing.contract.leases import LeaseContract
from sagalog.testing.contract.limits import LimitContract
from sagalog.testing.contract.maintenance import MaintenanceContract
from sagalog.testing.contract.orders import OrderContract
from sagalog.testing.contract.parking import ParkingContract
from sagalog.testing.contract.plain_calls import PlainCallContract
from sagalog.testing.contract.projections import ProjectionContract
from sagalog.testing.contract.pruning import PruneContract
from sagalog.testing.contract.queue_settings import QueueSettingContract
from sagalog.testing.contract.races import RaceContract
from sagalog.testing.contract.records import RecordingContract
from sagalog.testing.contract.schedules import ScheduleContract
from sagalog.testing.contract.snapshots import SnapshotContract
from sagalog.testing.contract.subscriptions import SubscriptionContract
from sagalog.testing.contract.successors import SuccessorContract
from sagalog.testing.contract.suspects import SuspectContract
from sagalog.testing.contract.task_waits import TaskWaitContract
from sagalog.testing.contract.unreadable_events import UnreadableEventContract

__all__ = [
    "AmendContract",
    "AmendedLimitsContract",
    "AppendContract",
    "BatchContract",
    "BreakerContract",
    "BuildContract",
    "ChildContract",
    "ClaimContract",
    "ClaimWaitContract",
    "ClockContract",
    "CompensationContract",
    "Contract",
    "DeadlineContract",
    "DeclarationContract",
    "DedupeContract",
    "DependencyContract",
    "FindingContract",
    "HandleContract",
    "HealthContract",
    "IdempotencyContract",
    "JournalContract",
    "JsonBlobContract",
    "KeptContract",
    "LeaseContract",
    "LimitContract",
    "MaintenanceContract",
    "OrderContract",
    "ParkingContract",
    "PlainCallContract",
    "ProjectionContract",
    "PruneContract",
    "QueueSettingContract",
    "RaceContract",
    "RecordingContract",
    "ScheduleContract",
    "SnapshotContract",
    "StoreContract",
    "SubscriptionContract",
    "SuccessorContract",
    "SuspectContract",
    "TaskWaitContract",
    "UnreadableEventContract",
]


class StoreContract(
    AppendContract,
    DeadlineContract,
    DeclarationContract,
    PlainCallContract,
    LeaseContract,
    ClaimContract,
    BuildContract,
    OrderContract,
    SuspectContract,
    ParkingContract,
    TaskWaitContract,
    DependencyContract,
    ChildContract,
    ClaimWaitContract,
    RecordingContract,
    PruneContract,
    JsonBlobContract,
    JournalContract,
    CompensationContract,
    SuccessorContract,
    MaintenanceContract,
    LimitContract,
    QueueSettingContract,
    BreakerContract,
    ClockContract,
    IdempotencyContract,
    BatchContract,
    ProjectionContract,
    UnreadableEventContract,
    SnapshotContract,
    FindingContract,
    SubscriptionContract,
    KeptContract,
    HandleContract,
    RaceContract,
    HealthContract,
    AmendContract,
    AmendedLimitsContract,
    DedupeContract,
    ScheduleContract,
):
    """All topics together."""

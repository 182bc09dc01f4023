"""What every store must keep, as plain classes: subclass, say how a store is opened, and run them.

    class TestMine(StoreContract):
        def open_store(self, clock): return MyStore(self.path, clock)

Rule: plain classes with plain asserts, for any test runner that collects methods named `test_…`; no test runner is
imported, time passes only through a ManualClock, and nothing sleeps. What a store cannot show is skipped with
`unittest.SkipTest`. Each topic is a class of its own, so that a new store can be grown a topic at a time.
"""

from sagalog.testing.contract.appending import AppendingContract
from sagalog.testing.contract.awaiting import AwaitingContract
from sagalog.testing.contract.base import Contract
from sagalog.testing.contract.batches import BatchContract
from sagalog.testing.contract.claims import ClaimContract
from sagalog.testing.contract.clocks import ClockContract
from sagalog.testing.contract.declaring import DeclaringContract
from sagalog.testing.contract.faring import HealthContract
from sagalog.testing.contract.handles import HandleContract
from sagalog.testing.contract.leases import LeaseContract
from sagalog.testing.contract.parking import ParkingContract
from sagalog.testing.contract.plainness import PlainContract
from sagalog.testing.contract.projections import ProjectionContract
from sagalog.testing.contract.racing import RaceContract
from sagalog.testing.contract.recording import RecordingContract
from sagalog.testing.contract.repeats import RepeatContract
from sagalog.testing.contract.snapshots import SnapshotContract
from sagalog.testing.contract.subscribing import SubscribeContract
from sagalog.testing.contract.succeeding import SuccessorContract
from sagalog.testing.contract.suspects import SuspectContract
from sagalog.testing.contract.undoing import UndoContract
from sagalog.testing.contract.unreadable import UnreadableContract
from sagalog.testing.contract.upkeep import UpkeepContract
from sagalog.testing.contract.waiting import WaitContract

__all__ = [
    "AppendingContract",
    "AwaitingContract",
    "BatchContract",
    "ClaimContract",
    "ClockContract",
    "Contract",
    "DeclaringContract",
    "HandleContract",
    "HealthContract",
    "LeaseContract",
    "ParkingContract",
    "PlainContract",
    "ProjectionContract",
    "RaceContract",
    "RecordingContract",
    "RepeatContract",
    "SnapshotContract",
    "StoreContract",
    "SubscribeContract",
    "SuccessorContract",
    "SuspectContract",
    "UndoContract",
    "UnreadableContract",
    "UpkeepContract",
    "WaitContract",
]


class StoreContract(
    AppendingContract,
    DeclaringContract,
    PlainContract,
    LeaseContract,
    ClaimContract,
    SuspectContract,
    ParkingContract,
    AwaitingContract,
    WaitContract,
    RecordingContract,
    UndoContract,
    SuccessorContract,
    UpkeepContract,
    ClockContract,
    RepeatContract,
    BatchContract,
    ProjectionContract,
    UnreadableContract,
    SnapshotContract,
    SubscribeContract,
    HandleContract,
    RaceContract,
    HealthContract,
):
    """All topics together."""

"""Every bound of the engine, each with its unit. [BOUND-1]

Rule: the engine refuses a write past a bound and names the bound. It cuts texts of errors, reasons and notes instead,
and what ends a lease or a task always fits. Knows no other module.
"""

from typing import Final

# What a caller may give. A larger value than the second of these bounds is a blob, and its event names it. [BLOB-2]
PAYLOAD_BYTES_MAX: Final = 16_777_216
INLINE_BYTES_MAX: Final = 65_536
NESTING_MAX: Final = 64
ID_CHARACTERS_MAX: Final = 200
NAME_CHARACTERS_MAX: Final = 200
# The longest name of an event, `<category>/<id>@<version>`, and some room for categories to come.
CAUSE_CHARACTERS_MAX: Final = 240
# A name with its class in front.
ACTOR_CHARACTERS_MAX: Final = 220
TEXT_CHARACTERS_MAX: Final = 8_192
TAGS_MAX: Final = 32
# The bounds of W3C Trace Context: every system that implements it passes on so much.
TRACESTATE_CHARACTERS_MAX: Final = 512
TRACESTATE_MEMBERS_MAX: Final = 32
PROGRESS_BYTES_MAX: Final = 8_192
DETAILS_BYTES_MAX: Final = 65_536
# Blobs go through the WAL like everything else; callers keep larger ones beside the store.
BLOB_BYTES_MAX: Final = 16_777_216
# What is kept beside the log under a name: how far a reader is, or what a worker says of itself. [KEEP-3]
KEPT_BYTES_MAX: Final = 65_536

# Integers that every store and every reader of JSON keeps exactly.
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
TIME_MS_MAX: Final = 2**53 - 1
PRIORITY_MIN: Final = -(2**31)
PRIORITY_MAX: Final = 2**31 - 1
BUDGET_MAX: Final = 1_000_000

# What one event and one fold may take as JSON. A store saves the fold with every write of its task. Within the reserve
# the engine writes only what ends or settles something, and none of that adds more than the reserve holds. [BOUND-4]
EVENT_BYTES_MAX: Final = 2_097_152
FOLD_BYTES_MAX: Final = 524_288
FOLD_BYTES_RESERVE: Final = 32_768

# What one task may hold.
COMPENSATIONS_MAX: Final = 256
# A fold holds all steps by name and is saved with every write: a thousand cost about 20 kB each time.
STEPS_MAX: Final = 1_000
# Sleeps of one name are one count in the fold; a wait costs three events of the stream.
WAIT_NAMES_MAX: Final = 1_000
WAITS_MAX: Final = 3_000
SIGNALS_MAX: Final = 256
AFTER_MAX: Final = 10_000
# The ids of one wait as JSON: with the rest of the event, less than an event may take.
AFTER_BYTES_MAX: Final = 2_088_960
# The event that ends a wait names each end of so many tasks, and otherwise counts them and has a digest. [WAIT-3]
ENDS_NAMED_MAX: Final = 256
ARTIFACTS_MAX: Final = 256
INPUTS_MAX: Final = 64
# Heartbeats do not count. No worker leases a task at the bound; what settles and ends it fits in the reserve.
STREAM_EVENTS_MAX: Final = 10_000
STREAM_EVENTS_RESERVE: Final = 600

# [LIMIT-1] How many named limits a task may use, how many units of each, and how long a period may be: a year.
LIMITS_MAX: Final = 4
UNITS_MAX: Final = 1_000_000
PERIOD_MS_MAX: Final = 31_622_400_000
# [LIMIT-5] How many tasks are ready at most of those that one limit holds back, by queue and kind; and how many tasks
# one look moves, so that a commit stays short whatever waits.
READY_MAX: Final = 64
MOVES_MAX: Final = 64
# How many held tasks one commit looks at, of all sections, though they may stay.
LET_IN_LOOKS_MAX: Final = 512
# [BREAKER-1] For how many failures in a row a breaker may wait, and how long its pause may be, or a quota keep it open:
# a week.
BREAKER_FAILURES_MAX: Final = 1_000_000
BREAKER_OPEN_MS_MAX: Final = 604_800_000
# [LIMIT-6] How long smaller tasks may pass a larger one, and for how many larger ones an account remembers that.
PASS_MS: Final = 60_000
# [LIMIT-6] How soon maintenance looks again whether others may pass the first in line.
LINE_LOOK_MS: Final = 5_000
REFUSED_MAX: Final = 64
# [PAUSE-1] How many keys of a queue, and how many kinds, may be paused at once.
PAUSES_MAX: Final = 1_000
# [DEDUPE-1] How long a dedupe key is, and how many rows of periods that are over a creation with a key removes.
DEDUPE_CHARACTERS_MAX: Final = 256
DEDUPES_OVER_LIMIT: Final = 8
# [CARRY-1] After so many events a stream without an end carries its whole fold.
CARRY_EVENTS: Final = 1_000
# [JOURNAL-1] A journal has so many events more than settings that it carries its counts more rarely; how many entries
# one append may have; and how many bytes a handler's flush takes, unless one entry is larger.
JOURNAL_CARRY_EVENTS: Final = 5_000
JOURNAL_ENTRIES_MAX: Final = 10_000
JOURNAL_FLUSH_BYTES: Final = 65_536
# [JOURNAL-4] How long an entry of a handler waits for others before a flush takes it, and how many bytes of entries
# wait at most before `append` does.
JOURNAL_FLUSH_MS: Final = 20
JOURNAL_UNFLUSHED_BYTES_MAX: Final = 1_048_576

# [SCHEDULE-1] A schedule's name leaves room for a nominal time in the id of its task. What it creates is in its fold,
# which every firing saves. An interval is at least a second and at most a year.
SCHEDULE_NAME_CHARACTERS_MAX: Final = 170
SCHEDULE_BYTES_MAX: Final = 65_536
CRON_CHARACTERS_MAX: Final = 1_000
EVERY_MS_MIN: Final = 1_000
EVERY_MS_MAX: Final = 31_622_400_000
# [SCHEDULE-4] How many missed nominal times `all` makes up for, and how late the newest one may be with `skip`.
MISSED_MAX: Final = 100
LATE_MS: Final = 60_000
# [SCHEDULE-6] How many schedules one look fires at most; it begins none once it has as many tasks as `MISSED_MAX`.
SCHEDULES_LIMIT: Final = 16

# [PRUNE-1] What one slice of a pruning deletes at most, and at how many tasks and names it looks; one blob always fits.
PRUNE_DIGESTS_MAX: Final = 256
PRUNE_BYTES: Final = 67_108_864
PRUNE_LOOKS: Final = 8_192

# What one call may do.
BATCH_COMMANDS_MAX: Final = 10_000
# How often one write may begin again because it needs tasks that it has not declared, and how many of them. [BOUND-5]
ROUNDS_MAX: Final = 8
UNDECLARED_MAX: Final = 1_024
CLAIM_LIMIT_MAX: Final = 1_000
QUEUES_MAX: Final = 64
KINDS_MAX: Final = 1_000
# Queues x kinds: a claim searches each queue for each kind while it holds the write lock.
CLAIM_LOOKS_MAX: Final = 4_096
# [UPKEEP-2] How much maintenance a claim does before its own work: enough to keep up, too little to slow it down.
UPKEEP_LIMIT: Final = 64
# [UPKEEP-1] How many live leases it also checks, and moves to their expiry.
LEASE_CHECKS_MAX: Final = 256
# [WAIT-5] [CANCEL-4] How many tasks that wait for one which ends, and how many of its children, a commit handles.
DEPENDANTS_LIMIT: Final = 64
# [WAIT-4] How many edges the search for a circle follows before the wait is refused.
CIRCLE_EDGES_MAX: Final = 10_000

# The low half of a fence counts the leases of a task, the high half is the store's epoch. [FENCE-1]
FENCE_EPOCH: Final = 2**32

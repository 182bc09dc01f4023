-- Format 0: the log (streams, events, blobs), what is folded from it (tasks, awaited, unhandled, limit_uses, accounts, dedupes,
-- naming, pruned, tags, folds, store), what is kept beside it under names (kept), and what was applied (migrations).
-- The log is the truth. A program may throw away all of tasks, tags and store, and fold it again.

CREATE TABLE migrations(
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

-- One row: which format of the log may write here, and the store's own stream, folded (id is null until founded).
CREATE TABLE store(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    id TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    writer TEXT,
    paused_kinds TEXT,
    checksum INTEGER
) STRICT;

INSERT INTO store(one, format) VALUES (1, 0);

-- Numbers name streams inside this file only; they grow with creation, so they are also the order of age.
CREATE TABLE streams(
    number INTEGER PRIMARY KEY,
    category TEXT NOT NULL,
    id TEXT NOT NULL,
    UNIQUE (category, id)
) STRICT;

-- Nothing is ever deleted, so the next free position is always one more than the last: no gaps.
CREATE TABLE events(
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams(number),
    version INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    schema INTEGER NOT NULL,
    actor TEXT,
    cause TEXT,
    idempotency_key TEXT,
    data_key TEXT,
    body TEXT NOT NULL,
    digest BLOB NOT NULL,
    UNIQUE (stream, version)
) STRICT;

CREATE INDEX keyed ON events(idempotency_key) WHERE idempotency_key IS NOT NULL;

-- [LOG-3] Whatever program opens the file, nothing of the log is changed or taken away.
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only: an event is never changed'); END;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only: an event is never deleted'); END;

CREATE TRIGGER streams_are_not_changed BEFORE UPDATE ON streams
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a stream is never renamed'); END;

CREATE TRIGGER streams_are_not_deleted BEFORE DELETE ON streams
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a stream is never deleted'); END;

-- REPLACE deletes what is in its way without asking a DELETE trigger, unless the connection wants it so. An event's
-- digest is not looked for: it has no index, so each insert would read the whole log. A number that SQLite is to draw is
-- -1 here, and no row has that position.
CREATE TRIGGER events_are_not_replaced BEFORE INSERT ON events
WHEN (NEW.position <> -1 AND EXISTS (SELECT 1 FROM events WHERE position = NEW.position))
    OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: an event is never replaced'); END;

CREATE TRIGGER streams_are_not_replaced BEFORE INSERT ON streams
WHEN (NEW.number <> -1 AND EXISTS (SELECT 1 FROM streams WHERE number = NEW.number))
    OR EXISTS (SELECT 1 FROM streams WHERE category = NEW.category AND id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a stream is never replaced'); END;

-- A task that was never folded (it cannot be read) has a gate and nothing else.
CREATE TABLE tasks(
    stream INTEGER PRIMARY KEY,
    queue TEXT,
    kind TEXT,
    state TEXT,
    gate TEXT,
    owed TEXT,
    priority INTEGER,
    affinity TEXT,
    parent TEXT,
    correlation_id TEXT,
    cancel_ms INTEGER,
    build TEXT,
    wait TEXT,
    held TEXT,
    holds INTEGER,
    follows TEXT,
    run_at_ms INTEGER,
    undo_ms INTEGER,
    overdue_ms INTEGER,
    updated_ms INTEGER,
    check_ms INTEGER,
    affinity_ms INTEGER,
    expires_ms INTEGER,
    renewed_ms INTEGER,
    format INTEGER,
    version INTEGER,
    fold BLOB
) STRICT;

-- Streams that are neither a task's nor the store's have a fold and are found by their name.
CREATE TABLE folds(
    stream INTEGER PRIMARY KEY,
    format INTEGER NOT NULL,
    version INTEGER NOT NULL,
    fold BLOB NOT NULL
) STRICT;

-- The stream's number is the last key of each index, so equal priorities come in order of age.
-- [BUILD-1] A claim looks among the tasks that are pinned to no build, and among those of its own; it meets no others.
CREATE INDEX ready ON tasks(queue, build, kind, priority) WHERE gate = 'ready';
CREATE INDEX ready_affinity ON tasks(queue, build, affinity, kind, priority)
    WHERE gate = 'ready' AND affinity IS NOT NULL;
-- [ORDER-2] Ready tasks with an affinity, by how long they wait; a task without an affinity has no row here.
-- Nor does it have the gate, which nearly every write moves.
CREATE INDEX affinity_waits ON tasks(queue, build, kind, affinity_ms) WHERE affinity_ms IS NOT NULL;
CREATE INDEX undo ON tasks(queue, owed, priority) WHERE gate = 'undo';
-- [LEASE-5] Suspects have gates of their own, so that a claim which passes them over does not even meet them.
CREATE INDEX ready_alone ON tasks(queue, build, kind, priority) WHERE gate = 'ready_alone';
CREATE INDEX ready_alone_affinity ON tasks(queue, build, affinity, kind, priority)
    WHERE gate = 'ready_alone' AND affinity IS NOT NULL;
CREATE INDEX undo_alone ON tasks(queue, owed, priority) WHERE gate = 'undo_alone';
CREATE INDEX later ON tasks(queue, run_at_ms) WHERE gate = 'later';
-- [TIME-3] What waits for a time, by its last event: where a clock was set back, those ahead of it.
CREATE INDEX delayed ON tasks(updated_ms) WHERE updated_ms IS NOT NULL;
-- Not by the expiry, which every heartbeat changes: by a time that is never later than it.
CREATE INDEX leased ON tasks(queue, check_ms) WHERE check_ms IS NOT NULL;
-- [DEADLINE-2] What has to be cancelled, or asked to stop; a task without a deadline has no row here.
CREATE INDEX cancelling ON tasks(queue, cancel_ms) WHERE cancel_ms IS NOT NULL;
CREATE INDEX states ON tasks(state, queue);
-- What listings ask for; a task without any of these pays nothing. All that is parked, in order of age, by its wait.
CREATE INDEX parked ON tasks(stream, wait) WHERE wait IS NOT NULL;
CREATE INDEX children ON tasks(parent) WHERE parent IS NOT NULL;
-- [CANCEL-4] Live children that are cancelled when their parent is cancelled or fails.
CREATE INDEX followers ON tasks(follows) WHERE follows IS NOT NULL;
CREATE INDEX correlated ON tasks(correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX unreadable ON tasks(gate) WHERE gate = 'unreadable';

-- The second half of the gates: a wait that time ends, and tasks for whom another has ended since they were looked at.
CREATE INDEX waiting ON tasks(queue, run_at_ms) WHERE gate = 'waiting' AND run_at_ms IS NOT NULL;
CREATE INDEX waking ON tasks(queue) WHERE gate = 'waking';

-- Undos that no worker has leased: what is owed in each queue and since when, and what has waited for too long.
CREATE INDEX unclaimed ON tasks(queue, owed, undo_ms) WHERE undo_ms IS NOT NULL;
CREATE INDEX overdue ON tasks(queue, overdue_ms) WHERE overdue_ms IS NOT NULL;

-- [BUILD-4] Which builds tasks wait for.
CREATE INDEX pinned ON tasks(build, queue) WHERE build IS NOT NULL;

-- Who waits for whom: an edge from a stream to each task that its wait names, until that has ended and was handled.
CREATE TABLE awaited(
    task TEXT NOT NULL,
    stream INTEGER NOT NULL,
    PRIMARY KEY (task, stream)
) STRICT, WITHOUT ROWID;

CREATE INDEX awaiting ON awaited(stream);

-- [LIMIT-5] The places of tasks under limits: who may be leased next, who is held back, who has units. A task that uses no
-- limit has no row.
CREATE TABLE limit_uses(
    account TEXT NOT NULL,
    place TEXT NOT NULL,
    section TEXT NOT NULL,
    priority INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (account, place, section, priority, stream)
) STRICT, WITHOUT ROWID;

CREATE INDEX limit_uses_of ON limit_uses(stream);

-- [LIMIT-7] What is used of each limit, and when maintenance has to look at those that it holds back.
CREATE TABLE accounts(
    name TEXT PRIMARY KEY,
    due_ms INTEGER,
    since_ms INTEGER,
    account BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX accounts_due ON accounts(due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX accounts_since ON accounts(since_ms, due_ms) WHERE since_ms IS NOT NULL;
-- A lease with units of a named limit is looked at by the claims of every queue.
CREATE INDEX holding ON tasks(holds, check_ms) WHERE holds = 1;

-- [DEDUPE-1] Which task has a dedupe key of its kind, and until when (null: until its end, or for ever). A task without a
-- key has no row.
CREATE TABLE dedupes(
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    stream INTEGER NOT NULL,
    until_ms INTEGER,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX dedupe_of ON dedupes(stream);
CREATE INDEX dedupes_over ON dedupes(until_ms) WHERE until_ms IS NOT NULL;

-- Tasks whose end has more `dependants` or `children` than one commit handles: maintenance goes on with them.
CREATE TABLE unhandled(
    what TEXT NOT NULL,
    task TEXT NOT NULL,
    PRIMARY KEY (what, task)
) STRICT, WITHOUT ROWID;

-- [PRUNE-2] Who refers to what: a stream to bytes by their digest, or to a task that it succeeds or awaits. The task is the
-- one for which it does; null: that of the stream itself. A stream that refers to nothing has no row.
CREATE TABLE naming(
    name TEXT NOT NULL,
    stream INTEGER NOT NULL,
    task TEXT,
    PRIMARY KEY (name, stream)
) STRICT, WITHOUT ROWID;

CREATE INDEX naming_of ON naming(stream);

-- [PRUNE-1] Bytes that are gone, and the version of the event in the store's stream that says so. A digest whose bytes are
-- kept has no row.
CREATE TABLE pruned(
    digest TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Bytes that events name by their SHA-256. They are part of the log: nothing of them is changed, and nothing is taken away
-- but what an event has pruned.
CREATE TABLE blobs(
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    data BLOB NOT NULL
) STRICT;

CREATE TRIGGER blobs_are_not_changed BEFORE UPDATE ON blobs
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a blob is never changed'); END;

CREATE TRIGGER blobs_are_not_deleted BEFORE DELETE ON blobs
WHEN NOT EXISTS (SELECT 1 FROM pruned WHERE digest = OLD.digest)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a blob is never deleted'); END;

-- [PRUNE-2] An event that names bytes again brings them with it.
CREATE TRIGGER blobs_are_kept_again AFTER INSERT ON blobs
BEGIN DELETE FROM pruned WHERE digest = NEW.digest; END;

CREATE TRIGGER blobs_are_not_replaced BEFORE INSERT ON blobs
WHEN (NEW.number <> -1 AND EXISTS (SELECT 1 FROM blobs WHERE number = NEW.number))
    OR EXISTS (SELECT 1 FROM blobs WHERE digest = NEW.digest)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a blob is never replaced'); END;

CREATE TABLE tags(
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    stream INTEGER NOT NULL,
    PRIMARY KEY (name, value, stream)
) STRICT, WITHOUT ROWID;

-- [KEEP-2] What readers and workers keep under names: no event tells it, so no fold gives it back. The index of names
-- holds no value, since some values are long.
CREATE TABLE kept(
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (space, name)
) STRICT;

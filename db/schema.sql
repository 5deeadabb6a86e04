-- The schema, version 1. Embedded in the program and run once, inside the transaction that makes the database
-- (migrate.c). A later version adds a script of its own; this one never changes after its release.
--
-- What must stay true, and which file keeps it so:
--   job.state is what job_state.c derives from the job's tasks and flags, stored in the transaction that moves it.
--   task.unmet counts the tasks that this one waits for and that have not succeeded (task.c).
--   task.held is 0 unless the job's flags keep the task from being claimed (job_state.c).
-- With the last two in the row, one partial index holds exactly the tasks that a worker may claim.

PRAGMA application_id = 0x766d7276;                  -- "vmrv"

CREATE TABLE job (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE CHECK (length(id) = 36),
    spec             TEXT NOT NULL,                  -- JSON, URLs without their query
    state            TEXT NOT NULL CHECK (state IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    paused           INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    delete_requested INTEGER NOT NULL DEFAULT 0 CHECK (delete_requested IN (0, 1, 2)),    -- no, keep the disks, all
    created_at_ms    INTEGER NOT NULL,
    updated_at_ms    INTEGER NOT NULL,
    vm_id            TEXT,
    generation       INTEGER NOT NULL DEFAULT 0 CHECK (generation IN (0, 1, 2)),
    idempotency_key  TEXT,
    body_sha256      BLOB CHECK (body_sha256 IS NULL OR length(body_sha256) = 32)
) STRICT;
CREATE INDEX job_by_state ON job (state, seq);
CREATE UNIQUE INDEX job_by_key ON job (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_to_delete ON job (seq) WHERE delete_requested > 0;

CREATE TABLE disk (
    job          INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    disk         INTEGER NOT NULL CHECK (disk >= 0),
    credential   TEXT,
    url          TEXT,                               -- blob sources: without its query
    sealed_url   BLOB,                               -- the whole URL when it has a query, sealed as "job/<id>/disk/<n>"
    path         TEXT,                               -- NULL until known, as the next two
    format       TEXT NOT NULL DEFAULT 'auto',
    virtual_size INTEGER NOT NULL DEFAULT 0 CHECK (virtual_size >= 0),
    PRIMARY KEY (job, disk)
) STRICT, WITHOUT ROWID;
CREATE INDEX disk_by_credential ON disk (credential, job) WHERE credential IS NOT NULL;

CREATE TABLE task (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,    -- within a job in graph order, then by disk
    job              INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    kind             TEXT NOT NULL,
    disk             INTEGER NOT NULL CHECK (disk >= -1),  -- -1: of the whole job
    lane             TEXT NOT NULL CHECK (lane IN ('network', 'disk', 'hypervisor')),
    state            TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'cancelled', 'skipped')),
    unmet            INTEGER NOT NULL CHECK (unmet >= 0),
    held             INTEGER NOT NULL DEFAULT 0,
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    not_before_ms    INTEGER NOT NULL DEFAULT 0,           -- 0: no backoff
    started_at_ms    INTEGER NOT NULL DEFAULT 0,           -- 0: not yet
    finished_at_ms   INTEGER NOT NULL DEFAULT 0,
    heartbeat_at_ms  INTEGER NOT NULL DEFAULT 0,
    total_bytes      INTEGER NOT NULL DEFAULT 0,
    done_bytes       INTEGER NOT NULL DEFAULT 0,
    transferred_bytes INTEGER NOT NULL DEFAULT 0,
    skipped_bytes    INTEGER NOT NULL DEFAULT 0,
    bytes_per_second INTEGER NOT NULL DEFAULT 0,
    eta_seconds      INTEGER NOT NULL DEFAULT -1,
    error            TEXT,                                 -- JSON
    params           TEXT,                                 -- JSON
    UNIQUE (job, kind, disk)
) STRICT;
CREATE INDEX task_claimable ON task (lane, not_before_ms) WHERE state = 'pending' AND unmet = 0 AND held = 0;
CREATE INDEX task_running ON task (job) WHERE state = 'running';
CREATE INDEX task_by_kind ON task (kind, state);      -- for counting

CREATE TABLE task_need (                             -- `task` waits for `needs`; skipped tasks are resolved away
    needs INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    task  INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    PRIMARY KEY (needs, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_need_by_task ON task_need (task);

CREATE TABLE resource (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    job       INTEGER NOT NULL REFERENCES job (seq),  -- no cascade: a job with resources cannot be forgotten
    disk      INTEGER NOT NULL CHECK (disk >= -1),
    kind      TEXT NOT NULL,
    ident     TEXT NOT NULL,
    user_data INTEGER NOT NULL CHECK (user_data IN (0, 1)),
    made      INTEGER NOT NULL DEFAULT 0 CHECK (made IN (0, 1)),
    UNIQUE (job, kind, ident)
) STRICT;

CREATE TABLE transfer (
    job               INTEGER NOT NULL,
    disk              INTEGER NOT NULL,
    length            INTEGER NOT NULL,
    etag              TEXT NOT NULL,
    last_modified     TEXT NOT NULL,
    listed_bytes      INTEGER NOT NULL,
    transferred_bytes INTEGER NOT NULL,
    runs              INTEGER NOT NULL,
    PRIMARY KEY (job, disk),
    FOREIGN KEY (job, disk) REFERENCES disk (job, disk) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,         -- never used again, also after pruning
    at_ms INTEGER NOT NULL,
    job   INTEGER REFERENCES job (seq) ON DELETE CASCADE,
    type  TEXT NOT NULL,
    data  TEXT NOT NULL                              -- JSON object
) STRICT;
CREATE INDEX event_by_job ON event (job, id) WHERE job IS NOT NULL;
CREATE INDEX event_by_time ON event (at_ms);

CREATE TABLE credential (
    name          TEXT PRIMARY KEY NOT NULL,
    type          TEXT NOT NULL,
    account       TEXT,
    sealed        BLOB NOT NULL,                     -- the secret, sealed as "credential/<name>"
    updated_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

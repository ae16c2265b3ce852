-- The number of the last event, and of the one before the first that is kept.
ALTER TABLE tenant_states ADD COLUMN last_event INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant_states ADD COLUMN events_before INTEGER NOT NULL DEFAULT 0;

-- What happened to calls lately, written with the change that it tells of. Numbers of a tenant have no gaps.
CREATE TABLE call_events (
    tenant_id BLOB NOT NULL,
    event_id INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    -- call.started, call.ended, call.failed or call.error
    kind TEXT NOT NULL,
    call_id BLOB NOT NULL,
    occurred_at INTEGER NOT NULL,
    workflow_id BLOB,
    workflow_slug TEXT,
    agent TEXT,
    -- Of an end: NULL when it never came.
    duration_us INTEGER,
    end_reason TEXT,
    -- Of an error.
    position INTEGER,
    service TEXT,
    level TEXT,
    message TEXT,
    PRIMARY KEY (tenant_id, event_id)
) STRICT, WITHOUT ROWID;

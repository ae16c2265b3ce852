-- The number of the last event, and of the one before the first that is kept.
ALTER TABLE tenant_states ADD COLUMN last_event bigint NOT NULL DEFAULT 0;
ALTER TABLE tenant_states ADD COLUMN events_before bigint NOT NULL DEFAULT 0;

-- What happened to calls lately, written with the change that it tells of. Numbers of a tenant have no gaps.
CREATE TABLE call_events (
    tenant_id uuid NOT NULL,
    event_id bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- call.started, call.ended, call.failed or call.error
    kind text NOT NULL,
    call_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    workflow_id uuid,
    workflow_slug text,
    agent text,
    -- Of an end: NULL when it never came.
    duration_us bigint,
    end_reason text,
    -- Of an error.
    position integer,
    service text,
    level text,
    message text,
    PRIMARY KEY (tenant_id, event_id)
);

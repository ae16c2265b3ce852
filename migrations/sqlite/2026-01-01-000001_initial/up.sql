-- Identifiers are UUIDs as 16 bytes. Instants are microseconds since the Unix epoch, UTC.
-- Every key and every index starts with tenant_id; only the hash of an API key, which is what finds a tenant, does not.

CREATE TABLE tenants (
    tenant_id BLOB NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a tenant's writers agree on, one row a tenant. A writer raises the revision before it reads anything, and so
-- holds off all other writers of the tenant until it commits.
CREATE TABLE tenant_states (
    tenant_id BLOB NOT NULL PRIMARY KEY,
    -- The number of batches.
    revision INTEGER NOT NULL,
    -- Calls that started before it are no longer kept; their rollups may be. NULL: every call is kept.
    calls_kept_from INTEGER,
    -- The number of corrections by `rollups rebuild`: two rebuilds at one time must not both add what they found missing.
    rebuilds INTEGER NOT NULL DEFAULT 0,
    -- The number of the last event, and of the one before the first that is kept.
    last_event INTEGER NOT NULL DEFAULT 0,
    events_before INTEGER NOT NULL DEFAULT 0,
    -- Calls that are active.
    active_calls INTEGER NOT NULL DEFAULT 0,
    -- Rows of calls and of call_errors.
    stored_rows INTEGER NOT NULL DEFAULT 0,
    -- Error entries logged by records that arrived on a day of UTC, and the start of that day.
    errors_day INTEGER,
    errors_logged INTEGER NOT NULL DEFAULT 0,
    -- Rows of groups.
    groups INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    tenant_id BLOB NOT NULL,
    key_id BLOB NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    name TEXT,
    -- Words separated by spaces.
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    -- A limit of requests of its own, both or neither; NULL: the server's limit. 0 requests a second: none.
    requests_per_second INTEGER,
    burst INTEGER,
    PRIMARY KEY (tenant_id, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflows (
    tenant_id BLOB NOT NULL,
    workflow_id BLOB NOT NULL,
    -- The number of its group.
    group_id INTEGER NOT NULL,
    slug TEXT NOT NULL,
    -- NULL until a record gives one.
    name TEXT,
    -- The start of the call that slug and name are taken from: the newest one wins, in whatever order calls arrive.
    -- 4000 years earlier for a call that gave no name, so that one with a name always wins over it.
    named_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflows_by_slug ON workflows (tenant_id, slug);

-- The values of a tenant's dimensions, each with a number that rollups know it by: from 1, without gaps, and never changed.
-- Past the bound of a dimension, a new value goes into the group (other).
CREATE TABLE groups (
    tenant_id BLOB NOT NULL,
    -- The code of a dimension: 1 workflow, 2 provider, 3 error_kind, 4 agent, 5 end_reason,
    -- 6 agent_version, 7 environment, 8 direction, 9 language, 10 source, 11 end_category, 12 outcome, 13 model.
    dimension INTEGER NOT NULL,
    group_id INTEGER NOT NULL,
    -- A workflow's id, the stage and name of a provider or model as stt:deepgram, an error's service and level as stt:error, or a text.
    value TEXT NOT NULL,
    PRIMARY KEY (tenant_id, dimension, group_id)
) STRICT, WITHOUT ROWID;

-- Rows are wide and ids random, so they lie in order of arrival, and only the key's index is in random order.
CREATE TABLE calls (
    tenant_id BLOB NOT NULL,
    call_id BLOB NOT NULL,
    -- active, completed or failed
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    workflow_id BLOB,
    -- What a record says in a short text.
    end_reason TEXT,
    end_category TEXT,
    outcome TEXT,
    agent TEXT,
    agent_version TEXT,
    environment TEXT,
    direction TEXT,
    language TEXT,
    source TEXT,
    external_id TEXT,
    -- Whole numbers that are known, such as tokens, by code.
    numbers BLOB NOT NULL,
    -- Every latency, of turns and by provider and model, in a versioned layout of the server's own.
    latencies BLOB NOT NULL,
    -- Keys and values of tags.
    tags BLOB NOT NULL,
    -- The service and level of each error by position, one byte each.
    error_kinds BLOB NOT NULL,
    -- Rows of call_errors: fewer than its errors when it arrived past a bound of the log.
    logged_errors INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, call_id)
) STRICT;
CREATE INDEX calls_by_start ON calls (tenant_id, started_at);
CREATE INDEX active_calls_by_start ON calls (tenant_id, started_at, workflow_id) WHERE status = 'active';

CREATE TABLE call_errors (
    tenant_id BLOB NOT NULL,
    call_id BLOB NOT NULL,
    position INTEGER NOT NULL,
    call_started_at INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    service TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    -- A JSON object as the client wrote it.
    details TEXT,
    agent TEXT,
    provider_name TEXT,
    PRIMARY KEY (tenant_id, call_id, position)
) STRICT, WITHOUT ROWID;
-- One for each shape of the error log's filter, so that every page is read from one range of one index.
CREATE INDEX errors_by_time
    ON call_errors (tenant_id, occurred_at DESC, call_id, position, call_started_at);
CREATE INDEX errors_by_service
    ON call_errors (tenant_id, service, occurred_at DESC, call_id, position, call_started_at);
CREATE INDEX errors_by_level
    ON call_errors (tenant_id, level, occurred_at DESC, call_id, position, call_started_at);
CREATE INDEX errors_by_kind
    ON call_errors (tenant_id, service, level, occurred_at DESC, call_id, position, call_started_at);

-- Sums of contributions of the calls that started in a bucket: one column a measure.
CREATE TABLE rollup_sums (
    tenant_id BLOB NOT NULL,
    -- The code of a dimension; 0 is the whole tenant.
    dimension INTEGER NOT NULL,
    -- 0 minute, 1 fifteen minutes, 2 hour, 3 day
    resolution INTEGER NOT NULL,
    -- Of the table groups; 0 of the whole tenant.
    group_id INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    calls INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    duration_us INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    unsuccessful INTEGER NOT NULL DEFAULT 0,
    total_tokens INTEGER NOT NULL DEFAULT 0,
    token_calls INTEGER NOT NULL DEFAULT 0,
    token_duration_us INTEGER NOT NULL DEFAULT 0,
    token_succeeded INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    input_token_calls INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    output_token_calls INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    cached_token_calls INTEGER NOT NULL DEFAULT 0,
    cost_microusd INTEGER NOT NULL DEFAULT 0,
    priced_calls INTEGER NOT NULL DEFAULT 0,
    priced_duration_us INTEGER NOT NULL DEFAULT 0,
    priced_succeeded INTEGER NOT NULL DEFAULT 0,
    turns INTEGER NOT NULL DEFAULT 0,
    turn_calls INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    interruption_calls INTEGER NOT NULL DEFAULT 0,
    interruptible_turns INTEGER NOT NULL DEFAULT 0,
    turn_interruptions INTEGER NOT NULL DEFAULT 0,
    tool_calls INTEGER NOT NULL DEFAULT 0,
    tool_call_calls INTEGER NOT NULL DEFAULT 0,
    turn_samples INTEGER NOT NULL DEFAULT 0,
    turn_latency_us INTEGER NOT NULL DEFAULT 0,
    stt_samples INTEGER NOT NULL DEFAULT 0,
    stt_latency_us INTEGER NOT NULL DEFAULT 0,
    llm_samples INTEGER NOT NULL DEFAULT 0,
    llm_latency_us INTEGER NOT NULL DEFAULT 0,
    tts_samples INTEGER NOT NULL DEFAULT 0,
    tts_latency_us INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, dimension, resolution, group_id, bucket)
) STRICT, WITHOUT ROWID;

-- Counted latencies and durations of the same calls.
CREATE TABLE rollup_distributions (
    tenant_id BLOB NOT NULL,
    dimension INTEGER NOT NULL,
    resolution INTEGER NOT NULL,
    group_id INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    -- Each distribution that is not empty: its code, its sum, and its counts by value, in a versioned layout of the server's own.
    histograms BLOB NOT NULL,
    PRIMARY KEY (tenant_id, dimension, resolution, group_id, bucket)
) STRICT, WITHOUT ROWID;

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

-- Who did what to which key, written in the transaction that did it. Ids are in the order of time.
CREATE TABLE key_audits (
    tenant_id BLOB NOT NULL,
    audit_id BLOB NOT NULL,
    audited_at INTEGER NOT NULL,
    -- "cli", "key:" and the id of an API key, or "jwt:" and the subject of a token.
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    key_id BLOB NOT NULL,
    PRIMARY KEY (tenant_id, audit_id)
) STRICT, WITHOUT ROWID;

-- Tickets that were not used yet: each opens one socket, once, within seconds.
CREATE TABLE tickets (
    tenant_id BLOB NOT NULL,
    -- SHA-256 of the ticket's text.
    ticket_hash BLOB NOT NULL,
    -- Words separated by spaces.
    scopes TEXT NOT NULL,
    -- Whose credential it was made with: "key:" and the id of an API key, or "jwt:" and the subject of a token.
    holder TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    -- When the holder's credential expires.
    credential_expires_at INTEGER,
    PRIMARY KEY (tenant_id, ticket_hash)
) STRICT, WITHOUT ROWID;

-- Calls whose telemetry arrives in pieces.
CREATE TABLE assemblies (
    tenant_id BLOB NOT NULL,
    -- livekit or pipecat
    framework TEXT NOT NULL,
    -- What the framework's telemetry knows the call by: a room, or a trace in hex.
    key TEXT NOT NULL,
    call_id BLOB NOT NULL,
    -- active, ended or lost
    state TEXT NOT NULL,
    -- The number of changes, which is the version of the call's record.
    revision INTEGER NOT NULL,
    -- What its segments hold.
    facts INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    -- Ids of the errors of the last record in their order, eight bytes each.
    reported_errors BLOB NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    -- When it is deleted. NULL while the call is active.
    purge_at INTEGER,
    PRIMARY KEY (tenant_id, framework, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX assemblies_by_purge ON assemblies (tenant_id, purge_at) WHERE purge_at IS NOT NULL;

-- The facts of assemblies, as requests brought them.
CREATE TABLE assembly_segments (
    tenant_id BLOB NOT NULL,
    framework TEXT NOT NULL,
    key TEXT NOT NULL,
    -- From 0, the oldest.
    number INTEGER NOT NULL,
    -- The first byte names the layout.
    bytes BLOB NOT NULL,
    PRIMARY KEY (tenant_id, framework, key, number)
) STRICT;

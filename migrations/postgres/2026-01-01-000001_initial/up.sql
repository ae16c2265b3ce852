-- Every key and every index starts with tenant_id; only the hash of an API key, which is what finds a tenant, does not.

CREATE TABLE tenants (
    tenant_id uuid NOT NULL PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);

-- What a tenant's writers agree on, one row a tenant. A writer raises the revision before it reads anything, and so
-- holds off all other writers of the tenant until it commits.
CREATE TABLE tenant_states (
    tenant_id uuid NOT NULL PRIMARY KEY,
    -- The number of batches.
    revision bigint NOT NULL,
    -- Calls that started before it are no longer kept; their rollups may be. NULL: every call is kept.
    calls_kept_from timestamptz,
    -- The number of corrections by `rollups rebuild`: two rebuilds at one time must not both add what they found missing.
    rebuilds bigint NOT NULL DEFAULT 0,
    -- The number of the last event, and of the one before the first that is kept.
    last_event bigint NOT NULL DEFAULT 0,
    events_before bigint NOT NULL DEFAULT 0,
    -- Calls that are active.
    active_calls bigint NOT NULL DEFAULT 0,
    -- Rows of calls and of call_errors.
    stored_rows bigint NOT NULL DEFAULT 0,
    -- Error entries logged by records that arrived on a day of UTC, and the start of that day.
    errors_day timestamptz,
    errors_logged bigint NOT NULL DEFAULT 0,
    -- Rows of groups.
    groups bigint NOT NULL DEFAULT 0
);

CREATE TABLE api_keys (
    tenant_id uuid NOT NULL,
    key_id uuid NOT NULL,
    secret_hash bytea NOT NULL UNIQUE,
    name text,
    -- Words separated by spaces.
    scopes text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    -- A limit of requests of its own, both or neither; NULL: the server's limit. 0 requests a second: none.
    requests_per_second integer,
    burst integer,
    PRIMARY KEY (tenant_id, key_id)
);

CREATE TABLE workflows (
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    -- The number of its group.
    group_id integer NOT NULL,
    slug text NOT NULL,
    -- NULL until a record gives one.
    name text,
    -- The start of the call that slug and name are taken from: the newest one wins, in whatever order calls arrive.
    -- 4000 years earlier for a call that gave no name, so that one with a name always wins over it.
    named_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id)
);
CREATE INDEX workflows_by_slug ON workflows (tenant_id, slug);

-- The values of a tenant's dimensions, each with a number that rollups know it by: from 1, without gaps, and never changed.
-- Past the bound of a dimension, a new value goes into the group (other).
CREATE TABLE groups (
    tenant_id uuid NOT NULL,
    -- The code of a dimension: 1 workflow, 2 provider, 3 error_kind, 4 agent, 5 end_reason,
    -- 6 agent_version, 7 environment, 8 direction, 9 language, 10 source, 11 end_category, 12 outcome, 13 model.
    dimension smallint NOT NULL,
    group_id integer NOT NULL,
    -- A workflow's id, the stage and name of a provider or model as stt:deepgram, an error's service and level as stt:error, or a text.
    value text NOT NULL,
    PRIMARY KEY (tenant_id, dimension, group_id)
);

CREATE TABLE calls (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    -- active, completed or failed
    status text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    workflow_id uuid,
    -- What a record says in a short text.
    end_reason text,
    end_category text,
    outcome text,
    agent text,
    agent_version text,
    environment text,
    direction text,
    language text,
    source text,
    external_id text,
    -- Whole numbers that are known, such as tokens, by code.
    numbers bytea NOT NULL,
    -- Every latency, of turns and by provider and model, in a versioned layout of the server's own.
    latencies bytea NOT NULL,
    -- Keys and values of tags.
    tags bytea NOT NULL,
    -- The service and level of each error by position, one byte each.
    error_kinds bytea NOT NULL,
    -- Rows of call_errors: fewer than its errors when it arrived past a bound of the log.
    logged_errors integer NOT NULL
);
CREATE INDEX calls_by_start ON calls (tenant_id, started_at);
CREATE INDEX active_calls_by_start ON calls (tenant_id, started_at, workflow_id) WHERE status = 'active';
-- The last index: of two that seem to cost the same, as while the table is empty, PostgreSQL takes the one made last, and
-- by its start a call would be looked for among all of the tenant.
ALTER TABLE calls ADD PRIMARY KEY (tenant_id, call_id);

CREATE TABLE call_errors (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    position integer NOT NULL,
    call_started_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    service text NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    -- A JSON object as the client wrote it.
    details text,
    agent text,
    provider_name text,
    PRIMARY KEY (tenant_id, call_id, position)
);
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
-- Rollups are updated again and again in columns that no index has: with room on its page (fillfactor), a new version
-- needs no new entry in the index.
CREATE TABLE rollup_sums (
    tenant_id uuid NOT NULL,
    -- The code of a dimension; 0 is the whole tenant.
    dimension smallint NOT NULL,
    -- 0 minute, 1 fifteen minutes, 2 hour, 3 day
    resolution smallint NOT NULL,
    -- Of the table groups; 0 of the whole tenant.
    group_id integer NOT NULL,
    bucket timestamptz NOT NULL,
    calls bigint NOT NULL DEFAULT 0,
    completed bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    ended bigint NOT NULL DEFAULT 0,
    duration_us bigint NOT NULL DEFAULT 0,
    succeeded bigint NOT NULL DEFAULT 0,
    unsuccessful bigint NOT NULL DEFAULT 0,
    total_tokens bigint NOT NULL DEFAULT 0,
    token_calls bigint NOT NULL DEFAULT 0,
    token_duration_us bigint NOT NULL DEFAULT 0,
    token_succeeded bigint NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    input_token_calls bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    output_token_calls bigint NOT NULL DEFAULT 0,
    cached_tokens bigint NOT NULL DEFAULT 0,
    cached_token_calls bigint NOT NULL DEFAULT 0,
    cost_microusd bigint NOT NULL DEFAULT 0,
    priced_calls bigint NOT NULL DEFAULT 0,
    priced_duration_us bigint NOT NULL DEFAULT 0,
    priced_succeeded bigint NOT NULL DEFAULT 0,
    turns bigint NOT NULL DEFAULT 0,
    turn_calls bigint NOT NULL DEFAULT 0,
    interruptions bigint NOT NULL DEFAULT 0,
    interruption_calls bigint NOT NULL DEFAULT 0,
    interruptible_turns bigint NOT NULL DEFAULT 0,
    turn_interruptions bigint NOT NULL DEFAULT 0,
    tool_calls bigint NOT NULL DEFAULT 0,
    tool_call_calls bigint NOT NULL DEFAULT 0,
    turn_samples bigint NOT NULL DEFAULT 0,
    turn_latency_us bigint NOT NULL DEFAULT 0,
    stt_samples bigint NOT NULL DEFAULT 0,
    stt_latency_us bigint NOT NULL DEFAULT 0,
    llm_samples bigint NOT NULL DEFAULT 0,
    llm_latency_us bigint NOT NULL DEFAULT 0,
    tts_samples bigint NOT NULL DEFAULT 0,
    tts_latency_us bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, dimension, resolution, group_id, bucket)
) WITH (fillfactor = 70);

-- Counted latencies and durations of the same calls.
CREATE TABLE rollup_distributions (
    tenant_id uuid NOT NULL,
    dimension smallint NOT NULL,
    resolution smallint NOT NULL,
    group_id integer NOT NULL,
    bucket timestamptz NOT NULL,
    -- Each distribution that is not empty: its code, its sum, and its counts by value, in a versioned layout of the server's own.
    histograms bytea NOT NULL,
    PRIMARY KEY (tenant_id, dimension, resolution, group_id, bucket)
) WITH (fillfactor = 70);

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

-- Who did what to which key, written in the transaction that did it. Ids are in the order of time.
CREATE TABLE key_audits (
    tenant_id uuid NOT NULL,
    audit_id uuid NOT NULL,
    audited_at timestamptz NOT NULL,
    -- "cli", "key:" and the id of an API key, or "jwt:" and the subject of a token.
    actor text NOT NULL,
    action text NOT NULL,
    key_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, audit_id)
);

-- Tickets that were not used yet: each opens one socket, once, within seconds.
CREATE TABLE tickets (
    tenant_id uuid NOT NULL,
    -- SHA-256 of the ticket's text.
    ticket_hash bytea NOT NULL,
    -- Words separated by spaces.
    scopes text NOT NULL,
    -- Whose credential it was made with: "key:" and the id of an API key, or "jwt:" and the subject of a token.
    holder text NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When the holder's credential expires.
    credential_expires_at timestamptz,
    PRIMARY KEY (tenant_id, ticket_hash)
);

-- Calls whose telemetry arrives in pieces. Each request updates its row, in columns that no index has.
CREATE TABLE assemblies (
    tenant_id uuid NOT NULL,
    -- livekit or pipecat
    framework text NOT NULL,
    -- What the framework's telemetry knows the call by: a room, or a trace in hex.
    key text NOT NULL,
    call_id uuid NOT NULL,
    -- active, ended or lost
    state text NOT NULL,
    -- The number of changes, which is the version of the call's record.
    revision bigint NOT NULL,
    -- What its segments hold.
    facts integer NOT NULL,
    segments integer NOT NULL,
    -- Ids of the errors of the last record in their order, eight bytes each.
    reported_errors bytea NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    -- When it is deleted. NULL while the call is active.
    purge_at timestamptz,
    PRIMARY KEY (tenant_id, framework, key)
) WITH (fillfactor = 70);
CREATE INDEX assemblies_by_purge ON assemblies (tenant_id, purge_at) WHERE purge_at IS NOT NULL;

-- The facts of assemblies, as requests brought them.
CREATE TABLE assembly_segments (
    tenant_id uuid NOT NULL,
    framework text NOT NULL,
    key text NOT NULL,
    -- From 0, the oldest.
    number integer NOT NULL,
    -- The first byte names the layout.
    bytes bytea NOT NULL,
    PRIMARY KEY (tenant_id, framework, key, number)
);

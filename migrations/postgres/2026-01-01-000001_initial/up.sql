-- Every key and every index starts with tenant_id; only the hash of an API key, which is what finds a tenant, does not.

CREATE TABLE tenants (
    tenant_id uuid NOT NULL PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);

-- The number of batches written for a tenant. A writer raises it before it reads anything, and so holds all other
-- writers of the tenant off until it commits.
CREATE TABLE tenant_revisions (
    tenant_id uuid NOT NULL PRIMARY KEY,
    revision bigint NOT NULL
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
    PRIMARY KEY (tenant_id, key_id)
);

CREATE TABLE workflows (
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    slug text NOT NULL,
    -- NULL until a record gives one.
    name text,
    -- The start of the call that slug and name are taken from: the newest one wins, in whatever order calls arrive.
    -- 4000 years earlier for a call that gave no name, so that one with a name always wins over it.
    named_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id)
);
CREATE INDEX workflows_by_slug ON workflows (tenant_id, slug);

CREATE TABLE calls (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    -- active, completed or failed
    status text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text,
    workflow_id uuid,
    agent text,
    total_tokens bigint NOT NULL,
    -- Every latency sample by provider, in a versioned layout of the server's own.
    latencies bytea NOT NULL,
    -- The service and level of each error by position, one byte each.
    error_kinds bytea NOT NULL,
    PRIMARY KEY (tenant_id, call_id)
);
CREATE INDEX calls_by_start ON calls (tenant_id, started_at);
CREATE INDEX active_calls_by_start ON calls (tenant_id, started_at, workflow_id) WHERE status = 'active';

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

-- Sums of contributions of the calls that started in a bucket. The nil workflow stands for the whole tenant.
CREATE TABLE call_rollups (
    tenant_id uuid NOT NULL,
    -- minute, quarter, hour or day
    resolution text NOT NULL,
    workflow_id uuid NOT NULL,
    bucket timestamptz NOT NULL,
    total bigint NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    ended bigint NOT NULL,
    duration_us bigint NOT NULL,
    total_tokens bigint NOT NULL,
    stt_samples bigint NOT NULL,
    stt_latency_us bigint NOT NULL,
    llm_samples bigint NOT NULL,
    llm_latency_us bigint NOT NULL,
    tts_samples bigint NOT NULL,
    tts_latency_us bigint NOT NULL,
    PRIMARY KEY (tenant_id, resolution, workflow_id, bucket)
);

CREATE TABLE provider_rollups (
    tenant_id uuid NOT NULL,
    resolution text NOT NULL,
    bucket timestamptz NOT NULL,
    -- stt, llm or tts
    provider_type text NOT NULL,
    provider_name text NOT NULL,
    call_count bigint NOT NULL,
    latency_us bigint NOT NULL,
    -- A histogram; its first byte names the layout.
    histogram bytea NOT NULL,
    PRIMARY KEY (tenant_id, resolution, bucket, provider_type, provider_name)
);

CREATE TABLE error_rollups (
    tenant_id uuid NOT NULL,
    resolution text NOT NULL,
    bucket timestamptz NOT NULL,
    -- stt, llm, tts, workflow or tool
    service text NOT NULL,
    -- error or warning
    level text NOT NULL,
    error_count bigint NOT NULL,
    PRIMARY KEY (tenant_id, resolution, bucket, service, level)
);

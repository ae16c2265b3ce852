-- Identifiers are UUIDs as 16 bytes. Instants are microseconds since the Unix epoch, UTC.
-- Every key and every index starts with tenant_id; only the hash of an API key, which is what finds a tenant, does not.

CREATE TABLE tenants (
    tenant_id BLOB NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The number of batches written for a tenant. A writer raises it before it reads anything, and so holds all other
-- writers of the tenant off until it commits.
CREATE TABLE tenant_revisions (
    tenant_id BLOB NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
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
    PRIMARY KEY (tenant_id, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflows (
    tenant_id BLOB NOT NULL,
    workflow_id BLOB NOT NULL,
    slug TEXT NOT NULL,
    -- NULL until a record gives one.
    name TEXT,
    -- The start of the call that slug and name are taken from: the newest one wins, in whatever order calls arrive.
    -- 4000 years earlier for a call that gave no name, so that one with a name always wins over it.
    named_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflows_by_slug ON workflows (tenant_id, slug);

-- Rows are wide and ids random, so they lie in order of arrival, and only the key's index is in random order.
CREATE TABLE calls (
    tenant_id BLOB NOT NULL,
    call_id BLOB NOT NULL,
    -- active, completed or failed
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    end_reason TEXT,
    workflow_id BLOB,
    agent TEXT,
    total_tokens INTEGER NOT NULL,
    -- Every latency sample by provider, in a versioned layout of the server's own.
    latencies BLOB NOT NULL,
    -- The service and level of each error by position, one byte each.
    error_kinds BLOB NOT NULL,
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

-- Sums of contributions of the calls that started in a bucket. The nil workflow stands for the whole tenant.
CREATE TABLE call_rollups (
    tenant_id BLOB NOT NULL,
    -- minute, quarter, hour or day
    resolution TEXT NOT NULL,
    workflow_id BLOB NOT NULL,
    bucket INTEGER NOT NULL,
    total INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    stt_samples INTEGER NOT NULL,
    stt_latency_us INTEGER NOT NULL,
    llm_samples INTEGER NOT NULL,
    llm_latency_us INTEGER NOT NULL,
    tts_samples INTEGER NOT NULL,
    tts_latency_us INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, resolution, workflow_id, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE provider_rollups (
    tenant_id BLOB NOT NULL,
    resolution TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    -- stt, llm or tts
    provider_type TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    call_count INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    -- A histogram; its first byte names the layout.
    histogram BLOB NOT NULL,
    PRIMARY KEY (tenant_id, resolution, bucket, provider_type, provider_name)
) STRICT, WITHOUT ROWID;

CREATE TABLE error_rollups (
    tenant_id BLOB NOT NULL,
    resolution TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    -- stt, llm, tts, workflow or tool
    service TEXT NOT NULL,
    -- error or warning
    level TEXT NOT NULL,
    error_count INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, resolution, bucket, service, level)
) STRICT, WITHOUT ROWID;

//! Rows, and how they become values of the domain and back.

use crate::codec::{decode_kinds, decode_providers, encode_kinds, encode_providers};
use crate::errors::damaged;
use crate::schema::{
    api_keys, call_errors, call_rollups, calls, error_rollups, provider_rollups, tenant_states, tenants, workflows,
};
use crate::sql::{Id, Time, Word};
use callscope_analytics::ports::{LoggedError, StoreError};
use callscope_domain::{
    AgentName, ApiKey, Call, CallError, CallFacts, CallStatus, CallTotals, DisplayName, ErrorKind, HistogramSum,
    LatencyHistogram, Level, Message, Provider, ProviderName, ProviderTotals, ProviderType, Resolution, Scope, Service,
    Slug, StageTotals, Tenant, TenantId, Timestamp,
};
use diesel::prelude::{Insertable, Queryable, Selectable};
use std::collections::BTreeMap;

/// A whole call, to be written.
#[derive(Insertable)]
#[diesel(table_name = calls, treat_none_as_default_value = false)]
pub struct CallRow {
    tenant_id: Id,
    call_id: Id,
    status: Word<CallStatus>,
    started_at: Time,
    ended_at: Option<Time>,
    end_reason: Option<String>,
    workflow_id: Option<Id>,
    agent: Option<String>,
    total_tokens: i64,
    latencies: Vec<u8>,
    error_kinds: Vec<u8>,
}

impl CallRow {
    /// The row of a tenant's call.
    pub fn new(tenant: TenantId, call: &Call) -> Self {
        let facts = call.facts();
        Self {
            tenant_id: tenant.into(),
            call_id: facts.id.into(),
            status: Word(facts.status),
            started_at: facts.started_at.into(),
            ended_at: facts.ended_at.map(Time),
            end_reason: call.end_reason().map(ToString::to_string),
            workflow_id: facts.workflow_id.map(Id::from),
            agent: call.agent().map(ToString::to_string),
            total_tokens: facts.total_tokens,
            latencies: encode_providers(&facts.providers),
            error_kinds: encode_kinds(&facts.error_kinds),
        }
    }
}

/// The part of a call that figures are made of, as it is read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = calls)]
pub struct CallFactsRow {
    call_id: Id,
    status: Word<CallStatus>,
    started_at: Time,
    ended_at: Option<Time>,
    workflow_id: Option<Id>,
    total_tokens: i64,
    latencies: Vec<u8>,
    error_kinds: Vec<u8>,
}

impl TryFrom<CallFactsRow> for CallFacts {
    type Error = StoreError;

    fn try_from(row: CallFactsRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.call_id.into(),
            status: row.status.0,
            started_at: row.started_at.0,
            ended_at: row.ended_at.map(|time| time.0),
            workflow_id: row.workflow_id.map(Into::into),
            total_tokens: row.total_tokens,
            providers: decode_providers(&row.latencies).map_err(damaged)?,
            error_kinds: decode_kinds(&row.error_kinds).map_err(damaged)?,
        })
    }
}

/// One error of a call, to be written.
#[derive(Insertable)]
#[diesel(table_name = call_errors, treat_none_as_default_value = false)]
pub struct CallErrorRow {
    tenant_id: Id,
    call_id: Id,
    position: i32,
    call_started_at: Time,
    occurred_at: Time,
    service: Word<Service>,
    level: Word<Level>,
    message: String,
    details: Option<String>,
    agent: Option<String>,
}

impl CallErrorRow {
    /// The rows of a call's errors.
    pub fn of_call(tenant: TenantId, call: &Call) -> impl Iterator<Item = Self> {
        let facts = call.facts();
        (0..).zip(call.errors()).map(move |(position, error)| Self {
            tenant_id: tenant.into(),
            call_id: facts.id.into(),
            position,
            call_started_at: facts.started_at.into(),
            occurred_at: error.timestamp.into(),
            service: Word(error.kind.service),
            level: Word(error.kind.level),
            message: error.message.to_string(),
            details: error.details.as_ref().map(ToString::to_string),
            agent: error.agent.as_ref().map(ToString::to_string),
        })
    }
}

/// One error as the log reads it.
#[derive(Queryable, Selectable)]
#[diesel(table_name = call_errors)]
pub struct LoggedErrorRow {
    call_id: Id,
    position: i32,
    occurred_at: Time,
    service: Word<Service>,
    level: Word<Level>,
    message: String,
    details: Option<String>,
    agent: Option<String>,
}

impl TryFrom<LoggedErrorRow> for LoggedError {
    type Error = StoreError;

    fn try_from(row: LoggedErrorRow) -> Result<Self, StoreError> {
        Ok(Self {
            call_id: row.call_id.into(),
            position: u32::try_from(row.position).map_err(damaged)?,
            error: CallError {
                timestamp: row.occurred_at.0,
                kind: ErrorKind { service: row.service.0, level: row.level.0 },
                message: Message::new(row.message).map_err(damaged)?,
                details: row.details.map(Into::into),
                agent: row.agent.map(AgentName::new).transpose().map_err(damaged)?,
            },
        })
    }
}

/// Totals of one workflow, or of the whole tenant, in one bucket.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = call_rollups, treat_none_as_default_value = false)]
pub struct CallRollupRow {
    tenant_id: Id,
    resolution: Word<Resolution>,
    /// Nil for the whole tenant.
    pub workflow_id: Id,
    /// The start of the bucket.
    pub bucket: Time,
    total: i64,
    completed: i64,
    failed: i64,
    ended: i64,
    duration_us: i64,
    total_tokens: i64,
    stt_samples: i64,
    stt_latency_us: i64,
    llm_samples: i64,
    llm_latency_us: i64,
    tts_samples: i64,
    tts_latency_us: i64,
}

impl CallRollupRow {
    /// The row of a tenant's bucket.
    pub fn new(
        tenant: TenantId,
        resolution: Resolution,
        bucket: Timestamp,
        workflow_id: Id,
        totals: &CallTotals,
    ) -> Self {
        Self {
            tenant_id: tenant.into(),
            resolution: Word(resolution),
            workflow_id,
            bucket: bucket.into(),
            total: totals.total,
            completed: totals.completed,
            failed: totals.failed,
            ended: totals.ended,
            duration_us: totals.duration_us,
            total_tokens: totals.total_tokens,
            stt_samples: totals.stt.samples,
            stt_latency_us: totals.stt.latency_us,
            llm_samples: totals.llm.samples,
            llm_latency_us: totals.llm.latency_us,
            tts_samples: totals.tts.samples,
            tts_latency_us: totals.tts.latency_us,
        }
    }
}

impl From<&CallRollupRow> for CallTotals {
    fn from(row: &CallRollupRow) -> Self {
        let stage = |samples, latency_us| StageTotals { samples, latency_us };
        Self {
            total: row.total,
            completed: row.completed,
            failed: row.failed,
            ended: row.ended,
            duration_us: row.duration_us,
            total_tokens: row.total_tokens,
            stt: stage(row.stt_samples, row.stt_latency_us),
            llm: stage(row.llm_samples, row.llm_latency_us),
            tts: stage(row.tts_samples, row.tts_latency_us),
        }
    }
}

/// Totals of one provider in one bucket, to be written.
#[derive(Insertable)]
#[diesel(table_name = provider_rollups, treat_none_as_default_value = false)]
pub struct ProviderRollupRow {
    tenant_id: Id,
    resolution: Word<Resolution>,
    bucket: Time,
    provider_type: Word<ProviderType>,
    provider_name: String,
    call_count: i64,
    latency_us: i64,
    histogram: Vec<u8>,
}

impl ProviderRollupRow {
    /// The row of a tenant's bucket.
    pub fn new(
        tenant: TenantId,
        resolution: Resolution,
        bucket: Timestamp,
        provider: &Provider,
        totals: &ProviderTotals,
    ) -> Self {
        Self {
            tenant_id: tenant.into(),
            resolution: Word(resolution),
            bucket: bucket.into(),
            provider_type: Word(provider.provider_type),
            provider_name: provider.provider_name.to_string(),
            call_count: totals.calls,
            latency_us: totals.latency_us,
            histogram: totals.histogram.to_bytes(),
        }
    }
}

/// Totals of one provider in one bucket, as they are read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = provider_rollups)]
pub struct ProviderTotalsRow {
    /// The start of the bucket.
    pub bucket: Time,
    provider_type: Word<ProviderType>,
    provider_name: String,
    call_count: i64,
    latency_us: i64,
    histogram: Vec<u8>,
}

impl ProviderTotalsRow {
    fn provider_key(&self) -> (ProviderType, &str) {
        (self.provider_type.0, &self.provider_name)
    }
}

impl TryFrom<ProviderTotalsRow> for (Provider, ProviderTotals) {
    type Error = StoreError;

    fn try_from(row: ProviderTotalsRow) -> Result<Self, StoreError> {
        let provider_name = ProviderName::new(row.provider_name).map_err(damaged)?;
        let histogram = LatencyHistogram::from_bytes(&row.histogram).map_err(damaged)?;
        let totals = ProviderTotals { calls: row.call_count, latency_us: row.latency_us, histogram };
        Ok((Provider { provider_type: row.provider_type.0, provider_name }, totals))
    }
}

/// The sum of each provider's rows.
pub fn sum_by_provider(mut rows: Vec<ProviderTotalsRow>) -> Result<BTreeMap<Provider, ProviderTotals>, StoreError> {
    // One provider after the other, so that only one array of all cells is in memory.
    rows.sort_unstable_by(|left, right| left.provider_key().cmp(&right.provider_key()));
    let sums = rows.chunk_by(|left, right| left.provider_key() == right.provider_key()).map(|rows| {
        let (provider_type, name) = rows[0].provider_key();
        let provider_name = ProviderName::new(name).map_err(damaged)?;
        let mut histogram = HistogramSum::default();
        let mut totals = ProviderTotals::default();
        for row in rows {
            totals.calls = totals.calls.wrapping_add(row.call_count);
            totals.latency_us = totals.latency_us.wrapping_add(row.latency_us);
            histogram.add_bytes(&row.histogram).map_err(damaged)?;
        }
        totals.histogram = histogram.into();
        Ok((Provider { provider_type, provider_name }, totals))
    });
    sums.collect()
}

/// The number of errors of one kind in one bucket, to be written.
#[derive(Insertable)]
#[diesel(table_name = error_rollups, treat_none_as_default_value = false)]
pub struct ErrorRollupRow {
    tenant_id: Id,
    resolution: Word<Resolution>,
    bucket: Time,
    service: Word<Service>,
    level: Word<Level>,
    error_count: i64,
}

impl ErrorRollupRow {
    /// The row of a tenant's bucket.
    pub fn new(tenant: TenantId, resolution: Resolution, bucket: Timestamp, kind: ErrorKind, errors: i64) -> Self {
        Self {
            tenant_id: tenant.into(),
            resolution: Word(resolution),
            bucket: bucket.into(),
            service: Word(kind.service),
            level: Word(kind.level),
            error_count: errors,
        }
    }
}

/// The number of errors of one kind in one bucket, as it is read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = error_rollups)]
pub struct ErrorCountRow {
    /// The start of the bucket.
    pub bucket: Time,
    service: Word<Service>,
    level: Word<Level>,
    /// The number.
    pub error_count: i64,
}

impl ErrorCountRow {
    /// What is counted.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind { service: self.service.0, level: self.level.0 }
    }
}

/// A workflow's label.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = workflows, treat_none_as_default_value = false)]
pub struct WorkflowRow {
    /// Whose it is.
    pub tenant_id: Id,
    /// Which workflow.
    pub workflow_id: Id,
    /// Its slug.
    pub slug: String,
    /// Its name, if a record gave one.
    pub name: Option<String>,
    /// The start of the call that both are taken from.
    pub named_at: Time,
}

/// What a tenant's writers agree on.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tenant_states)]
pub struct TenantStateRow {
    /// Calls that started before it are no longer kept.
    pub calls_kept_from: Option<Time>,
    /// The number of changes of rollups that were not additions of contributions.
    pub rebuilds: i64,
}

/// A tenant.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = tenants, treat_none_as_default_value = false)]
pub struct TenantRow {
    tenant_id: Id,
    slug: String,
    name: String,
    created_at: Time,
}

impl From<&Tenant> for TenantRow {
    fn from(tenant: &Tenant) -> Self {
        Self {
            tenant_id: tenant.id.into(),
            slug: tenant.slug.to_string(),
            name: tenant.name.to_string(),
            created_at: tenant.created_at.into(),
        }
    }
}

impl TryFrom<TenantRow> for Tenant {
    type Error = StoreError;

    fn try_from(row: TenantRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.tenant_id.into(),
            slug: Slug::new(row.slug).map_err(damaged)?,
            name: DisplayName::new(row.name).map_err(damaged)?,
            created_at: row.created_at.0,
        })
    }
}

/// An API key.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = api_keys, treat_none_as_default_value = false)]
pub struct ApiKeyRow {
    tenant_id: Id,
    key_id: Id,
    secret_hash: Vec<u8>,
    name: Option<String>,
    scopes: String,
    created_at: Time,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
}

impl ApiKeyRow {
    /// The row of a key.
    pub fn new(key: &ApiKey, secret_hash: &[u8; 32]) -> Self {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        Self {
            tenant_id: key.tenant_id.into(),
            key_id: key.id.into(),
            secret_hash: secret_hash.to_vec(),
            name: key.name.as_ref().map(ToString::to_string),
            scopes: scopes.join(" "),
            created_at: key.created_at.into(),
            expires_at: key.expires_at.map(Time),
            revoked_at: key.revoked_at.map(Time),
        }
    }
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: ApiKeyRow) -> Result<Self, StoreError> {
        let scopes: Result<Vec<Scope>, _> = row.scopes.split_whitespace().map(str::parse).collect();
        Ok(Self {
            id: row.key_id.into(),
            tenant_id: row.tenant_id.into(),
            name: row.name.map(DisplayName::new).transpose().map_err(damaged)?,
            scopes: scopes.map_err(damaged)?,
            created_at: row.created_at.0,
            expires_at: row.expires_at.map(|time| time.0),
            revoked_at: row.revoked_at.map(|time| time.0),
        })
    }
}

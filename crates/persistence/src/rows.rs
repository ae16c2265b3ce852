//! Rows of calls and of what is summed over them, and how they become values of the domain and back.

use crate::bulk::columns;
use crate::codec::{decode_kinds, decode_providers, encode_kinds, encode_providers};
use crate::errors::damaged;
use crate::schema::{call_errors, call_rollups, calls, error_rollups, provider_rollups, tenant_states, workflows};
use crate::sql::{Id, Instant, Key, Time, Word};
use callscope_analytics::kept::KeptCounts;
use callscope_analytics::ports::{LoggedError, StoreError};
use callscope_domain::{
    AgentName, Call, CallError, CallFacts, CallStatus, CallTotals, ErrorKind, HistogramSum, LatencyHistogram, Level,
    Message, Provider, ProviderName, ProviderTotals, ProviderType, Resolution, Service, StageTotals, Timestamp,
};
use diesel::prelude::{Queryable, Selectable};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use std::collections::BTreeMap;

columns! {
    /// The keys of calls.
    CallKeys {
        call_id: Id as Key,
    }
}

columns! {
    /// Whole calls, to be written.
    CallColumns {
        call_id: Id as Key,
        status: Word<CallStatus> as Text,
        started_at: Time as Instant,
        ended_at: Option<Time> as Nullable<Instant>,
        end_reason: Option<String> as Nullable<Text>,
        workflow_id: Option<Id> as Nullable<Key>,
        agent: Option<String> as Nullable<Text>,
        total_tokens: i64 as BigInt,
        latencies: Vec<u8> as Binary,
        error_kinds: Vec<u8> as Binary,
        logged_errors: i32 as Integer,
    }
}

impl CallColumns {
    /// Adds a call, so many of whose errors go into the log.
    pub fn push_call(&mut self, call: &Call, logged_errors: usize) {
        let facts = call.facts();
        self.push((
            facts.id.into(),
            Word(facts.status),
            facts.started_at.into(),
            facts.ended_at.map(Time),
            call.end_reason().map(ToString::to_string),
            facts.workflow_id.map(Id::from),
            call.agent().map(ToString::to_string),
            facts.total_tokens,
            encode_providers(&facts.providers),
            encode_kinds(&facts.error_kinds),
            i32::try_from(logged_errors).unwrap_or(i32::MAX),
        ));
    }
}

/// The part of a call that figures are made of, as it is read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = calls)]
pub struct CallFactsRow {
    call_id: Id,
    status: Word<CallStatus>,
    /// When it started.
    pub started_at: Time,
    ended_at: Option<Time>,
    workflow_id: Option<Id>,
    total_tokens: i64,
    latencies: Vec<u8>,
    error_kinds: Vec<u8>,
}

/// The same of a call that a writer has locked, and how many of its errors the log has.
pub type LockedCallRow = (CallFactsRow, i32);

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

/// The errors of a call, as they are counted.
#[derive(Queryable, Selectable)]
#[diesel(table_name = calls)]
pub struct ErrorKindsRow {
    /// When the call started.
    pub started_at: Time,
    error_kinds: Vec<u8>,
}

impl ErrorKindsRow {
    /// The kind of each error.
    pub fn kinds(&self) -> Result<Vec<ErrorKind>, StoreError> {
        decode_kinds(&self.error_kinds).map_err(damaged)
    }
}

columns! {
    /// Errors of calls, to be written.
    CallErrorColumns {
        call_id: Id as Key,
        position: i32 as Integer,
        call_started_at: Time as Instant,
        occurred_at: Time as Instant,
        service: Word<Service> as Text,
        level: Word<Level> as Text,
        message: String as Text,
        details: Option<String> as Nullable<Text>,
        agent: Option<String> as Nullable<Text>,
    }
}

impl CallErrorColumns {
    /// Adds the first errors of a call, so many.
    pub fn push_errors_of(&mut self, call: &Call, logged_errors: usize) {
        let facts = call.facts();
        for (position, error) in (0..).zip(call.errors().iter().take(logged_errors)) {
            self.push((
                facts.id.into(),
                position,
                facts.started_at.into(),
                error.timestamp.into(),
                Word(error.kind.service),
                Word(error.kind.level),
                error.message.to_string(),
                error.details.as_ref().map(ToString::to_string),
                error.agent.as_ref().map(ToString::to_string),
            ));
        }
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

columns! {
    /// Totals of one workflow, or of the whole tenant, in one bucket, to be written.
    CallRollupColumns {
        resolution: Word<Resolution> as Text,
        workflow_id: Id as Key,
        bucket: Time as Instant,
        total: i64 as BigInt,
        completed: i64 as BigInt,
        failed: i64 as BigInt,
        ended: i64 as BigInt,
        duration_us: i64 as BigInt,
        total_tokens: i64 as BigInt,
        stt_samples: i64 as BigInt,
        stt_latency_us: i64 as BigInt,
        llm_samples: i64 as BigInt,
        llm_latency_us: i64 as BigInt,
        tts_samples: i64 as BigInt,
        tts_latency_us: i64 as BigInt,
    }
}

impl CallRollupColumns {
    /// Adds a bucket's totals.
    pub fn push_totals(&mut self, resolution: Resolution, bucket: Timestamp, workflow: Id, totals: &CallTotals) {
        self.push((
            Word(resolution),
            workflow,
            bucket.into(),
            totals.total,
            totals.completed,
            totals.failed,
            totals.ended,
            totals.duration_us,
            totals.total_tokens,
            totals.stt.samples,
            totals.stt.latency_us,
            totals.llm.samples,
            totals.llm.latency_us,
            totals.tts.samples,
            totals.tts.latency_us,
        ));
    }
}

/// Totals of one workflow, or of the whole tenant, in one bucket, as they are read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = call_rollups)]
pub struct CallRollupRow {
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

columns! {
    /// The keys of provider rollups.
    ProviderRollupKeys {
        resolution: Word<Resolution> as Text,
        bucket: Time as Instant,
        provider_type: Word<ProviderType> as Text,
        provider_name: String as Text,
    }
}

columns! {
    /// Totals of one provider in one bucket, to be written.
    ProviderRollupColumns {
        resolution: Word<Resolution> as Text,
        bucket: Time as Instant,
        provider_type: Word<ProviderType> as Text,
        provider_name: String as Text,
        call_count: i64 as BigInt,
        latency_us: i64 as BigInt,
        histogram: Vec<u8> as Binary,
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

columns! {
    /// The number of errors of one kind in one bucket, to be written.
    ErrorRollupColumns {
        resolution: Word<Resolution> as Text,
        bucket: Time as Instant,
        service: Word<Service> as Text,
        level: Word<Level> as Text,
        error_count: i64 as BigInt,
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

/// The number of errors in some buckets, as it is read.
#[derive(Queryable)]
pub struct ErrorSumRow {
    /// The start of the first of them.
    pub bucket: Time,
    /// The number.
    pub error_count: i64,
}

columns! {
    /// Labels of workflows, to be written.
    WorkflowColumns {
        workflow_id: Id as Key,
        slug: String as Text,
        name: Option<String> as Nullable<Text>,
        named_at: Time as Instant,
    }
}

/// A workflow's label, as it is read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = workflows)]
pub struct WorkflowRow {
    /// Which workflow.
    pub workflow_id: Id,
    /// Its slug.
    pub slug: String,
    /// Its name, if a record gave one.
    pub name: Option<String>,
}

/// What a tenant's writers agree on.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tenant_states)]
pub struct TenantStateRow {
    /// Calls that started before it are no longer kept.
    pub calls_kept_from: Option<Time>,
    /// The number of changes of rollups that were not additions of contributions.
    pub rebuilds: i64,
    active_calls: i64,
    stored_rows: i64,
    errors_day: Option<Time>,
    errors_logged: i64,
    values_revision: i64,
}

impl TenantStateRow {
    /// What is stored of the tenant.
    pub fn counts(&self) -> KeptCounts {
        KeptCounts {
            active_calls: self.active_calls,
            stored_rows: self.stored_rows,
            errors_day: self.errors_day.map(|day| day.0),
            errors_logged: self.errors_logged,
            values_revision: self.values_revision,
        }
    }
}

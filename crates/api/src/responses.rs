//! What the read endpoints answer, as it is written on the wire. Rounding happens here and nowhere else.

use crate::error_details::ErrorDetails;
use crate::words;
use callscope_analytics::ports::LoggedError;
use callscope_analytics::service::{ErrorLog, Summary, WorkflowFigures};
use callscope_domain::{CallTotals, Interval, Provider, ProviderTotals, Span, Timestamp};
use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

/// The figures of a window.
#[derive(Serialize, ToSchema)]
pub struct SummaryResponse {
    /// Calls of any status that started in the window.
    #[schema(minimum = 0, example = 1247)]
    total_calls: i64,
    /// Calls that completed.
    #[schema(minimum = 0, example = 1180)]
    completed_calls: i64,
    /// Calls that failed, those included that were closed because their end never came.
    #[schema(minimum = 0, example = 64)]
    failed_calls: i64,
    /// Calls that are active now, whatever the window.
    #[schema(minimum = 0, example = 3)]
    active_calls: u64,
    /// Average duration of finished calls, in seconds to one decimal. Null when none has finished.
    #[schema(required, example = 145.2)]
    avg_duration_seconds: Option<f64>,
    /// 100 * completed / (completed + failed), to one decimal. Null when none has finished.
    #[schema(required, example = 94.9)]
    success_rate: Option<f64>,
    /// Sum of the tokens that language models used.
    #[schema(minimum = 0, example = 125_000)]
    total_tokens: i64,
    /// Average latency over all speech-to-text turns, in milliseconds to one decimal. Null without a turn.
    #[schema(required, example = 120.5)]
    avg_stt_latency_ms: Option<f64>,
    /// Average latency over all language-model turns, in milliseconds to one decimal. Null without a turn.
    #[schema(required, example = 280.3)]
    avg_llm_latency_ms: Option<f64>,
    /// Average latency over all text-to-speech turns, in milliseconds to one decimal. Null without a turn.
    #[schema(required, example = 85.2)]
    avg_tts_latency_ms: Option<f64>,
}

impl From<Summary> for SummaryResponse {
    fn from(summary: Summary) -> Self {
        let totals = summary.totals;
        Self {
            total_calls: totals.total,
            completed_calls: totals.completed,
            failed_calls: totals.failed,
            active_calls: summary.active_calls,
            avg_duration_seconds: totals.avg_duration_seconds().map(rounded),
            success_rate: totals.success_rate().map(rounded),
            total_tokens: totals.total_tokens,
            avg_stt_latency_ms: totals.stt.avg_latency_ms().map(rounded),
            avg_llm_latency_ms: totals.llm.avg_latency_ms().map(rounded),
            avg_tts_latency_ms: totals.tts.avg_latency_ms().map(rounded),
        }
    }
}

/// A series of call counts.
#[derive(Serialize, ToSchema)]
pub struct CallVolumeResponse {
    /// The width of the buckets.
    interval: words::Interval,
    /// One entry a bucket, ascending, empty buckets included: from the one that holds the window's start to the one
    /// that holds its last instant. The first and the last count only calls of the window.
    data: Vec<CallVolumeBucket>,
}

/// The calls that started in one bucket.
#[derive(Serialize, ToSchema)]
pub struct CallVolumeBucket {
    /// The start of the bucket, in UTC.
    #[schema(format = DateTime, example = "2026-01-17T10:00:00Z")]
    timestamp: String,
    /// Calls of any status.
    #[schema(minimum = 0, example = 45)]
    total: i64,
    /// Calls that completed.
    #[schema(minimum = 0, example = 42)]
    completed: i64,
    /// Calls that failed.
    #[schema(minimum = 0, example = 3)]
    failed: i64,
}

impl CallVolumeResponse {
    /// The answer for a series.
    pub fn new(interval: Interval, buckets: Vec<(Timestamp, CallTotals)>) -> Self {
        let bucket = |(start, totals): (Timestamp, CallTotals)| CallVolumeBucket {
            timestamp: rfc3339(start),
            total: totals.total,
            completed: totals.completed,
            failed: totals.failed,
        };
        Self { interval: words::Interval(interval), data: buckets.into_iter().map(bucket).collect() }
    }
}

/// The figures of one workflow.
#[derive(Serialize, ToSchema)]
pub struct WorkflowStats {
    /// The workflow's id: from the records, or derived from tenant and slug.
    #[schema(example = "0f4a1e8e-6c3c-5b60-9d1c-6b8c1f0f6a51")]
    workflow_id: Uuid,
    /// Its name; its slug when no record has given a name.
    #[schema(example = "Daily Health Check")]
    workflow_name: String,
    /// Its slug.
    #[schema(example = "daily-call")]
    workflow_slug: String,
    /// Calls of any status that started in the window.
    #[schema(minimum = 0, example = 500)]
    total_calls: i64,
    /// Calls that completed.
    #[schema(minimum = 0, example = 475)]
    completed_calls: i64,
    /// Calls that failed.
    #[schema(minimum = 0, example = 25)]
    failed_calls: i64,
    /// 100 * completed / (completed + failed), to one decimal. Null when none has finished.
    #[schema(required, example = 95.0)]
    success_rate: Option<f64>,
    /// Average duration of finished calls, in seconds to one decimal. Null when none has finished.
    #[schema(required, example = 180.5)]
    avg_duration_seconds: Option<f64>,
}

impl From<WorkflowFigures> for WorkflowStats {
    fn from(figures: WorkflowFigures) -> Self {
        let WorkflowFigures { workflow, totals } = figures;
        Self {
            workflow_id: workflow.id.0,
            workflow_name: workflow.name,
            workflow_slug: workflow.slug.to_string(),
            total_calls: totals.total,
            completed_calls: totals.completed,
            failed_calls: totals.failed,
            success_rate: totals.success_rate().map(rounded),
            avg_duration_seconds: totals.avg_duration_seconds().map(rounded),
        }
    }
}

/// The latency of one provider. Percentiles are nearest-rank over every turn, within 0.5 % of the true value
/// and never outside the samples.
#[derive(Serialize, ToSchema)]
pub struct ProviderLatency {
    /// The stage that it serves.
    provider_type: words::ProviderType,
    /// Its name.
    #[schema(example = "deepgram")]
    provider_name: String,
    /// Average over all turns, in milliseconds to one decimal. Null without a turn.
    #[schema(required, example = 120.5)]
    avg_latency_ms: Option<f64>,
    /// Median over all turns, in milliseconds to one decimal. Null without a turn.
    #[schema(required, example = 108.4)]
    p50_latency_ms: Option<f64>,
    /// 95th percentile over all turns, in milliseconds to one decimal. Null without a turn.
    #[schema(required, example = 180.7)]
    p95_latency_ms: Option<f64>,
    /// 99th percentile over all turns, in milliseconds to one decimal. Null without a turn.
    #[schema(required, example = 241.0)]
    p99_latency_ms: Option<f64>,
    /// Distinct calls that used the provider, with or without a measured turn.
    #[schema(minimum = 0, example = 1247)]
    call_count: i64,
}

impl From<(Provider, ProviderTotals)> for ProviderLatency {
    fn from((provider, totals): (Provider, ProviderTotals)) -> Self {
        let percentile = |percent| totals.percentile_ms(percent).map(rounded);
        Self {
            provider_type: words::ProviderType(provider.provider_type),
            provider_name: provider.provider_name.to_string(),
            avg_latency_ms: totals.avg_latency_ms().map(rounded),
            p50_latency_ms: percentile(50),
            p95_latency_ms: percentile(95),
            p99_latency_ms: percentile(99),
            call_count: totals.calls,
        }
    }
}

/// A page of the error log.
#[derive(Serialize, ToSchema)]
pub struct ErrorLogResponse {
    /// The page: newest first, ties by call id, then position.
    items: Vec<LoggedErrorItem>,
    /// How many errors match, whatever the page.
    #[schema(minimum = 0, example = 67)]
    total: u64,
}

/// One error of a call.
#[derive(Serialize, ToSchema)]
pub struct LoggedErrorItem {
    /// The call's id, a hyphen, and the error's position in the call, from 0.
    #[schema(example = "31c02e4f-12e0-4af0-869b-aab222503a09-0")]
    id: String,
    /// The call in which it happened.
    #[schema(example = "31c02e4f-12e0-4af0-869b-aab222503a09")]
    call_id: Uuid,
    /// When it happened, in UTC.
    #[schema(format = DateTime, example = "2026-01-17T10:31:00Z")]
    timestamp: String,
    /// Where it arose.
    service: words::Service,
    /// How bad it is.
    level: words::Level,
    /// What went wrong.
    #[schema(example = "Connection timeout to Deepgram")]
    message: String,
    /// More about it, as the client sent it.
    #[schema(required, value_type = Option<ErrorDetails>)]
    details: Option<Box<RawValue>>,
    /// The agent in which it arose.
    #[schema(required, example = "meal-agent")]
    agent: Option<String>,
}

impl From<ErrorLog> for ErrorLogResponse {
    fn from(log: ErrorLog) -> Self {
        Self { items: log.items.into_iter().map(Into::into).collect(), total: log.total }
    }
}

impl From<LoggedError> for LoggedErrorItem {
    fn from(logged: LoggedError) -> Self {
        let LoggedError { call_id, position, error } = logged;
        Self {
            id: format!("{call_id}-{position}"),
            call_id: call_id.0,
            timestamp: rfc3339(error.timestamp),
            service: words::Service(error.kind.service),
            level: words::Level(error.kind.level),
            message: error.message.to_string(),
            // It was an object when it was accepted.
            details: error.details.and_then(|text| RawValue::from_string(text.into()).ok()),
            agent: error.agent.map(|agent| agent.to_string()),
        }
    }
}

/// How many calls are active.
#[derive(Serialize, ToSchema)]
pub struct ActiveCallsResponse {
    /// Calls that are active now.
    #[schema(minimum = 0, example = 3)]
    pub count: u64,
}

/// How long a call lasted, in seconds to one decimal.
pub fn duration_seconds(duration: Span) -> f64 {
    rounded(duration.as_micros() as f64 / 1e6)
}

/// To one decimal, halves away from zero.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// An instant as RFC 3339 in UTC, with as many decimals as it needs.
pub fn rfc3339(instant: Timestamp) -> String {
    instant.to_datetime().unwrap_or_default().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_one_decimal() {
        assert_eq!([94.64, 94.65, 0.04, 0.05].map(|value| rounded(value).to_string()), ["94.6", "94.7", "0", "0.1"]);
    }
}

//! What the read endpoints answer, as it is written on the wire. Rounding happens here and nowhere else.

use crate::error_details::ErrorDetails;
use crate::words;
use callscope_analytics::ports::LoggedError;
use callscope_analytics::service::ErrorLog;
use callscope_domain::{
    Cell, Figures, FiguresRow, GroupValue, Metric, MetricValue, ShownValue, Span, Timestamp, VolumeInterval,
};
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

impl From<&Figures> for SummaryResponse {
    fn from(figures: &Figures) -> Self {
        let row = figures.rows.first();
        let count = |metric| row.map_or(0, |row| whole(row, metric));
        let value = |metric| row.and_then(|row| real(row, metric));
        Self {
            total_calls: count(Metric::TotalCalls),
            completed_calls: count(Metric::CompletedCalls),
            failed_calls: count(Metric::FailedCalls),
            active_calls: figures.active_calls,
            avg_duration_seconds: value(Metric::AvgDurationSeconds),
            success_rate: value(Metric::SuccessRate),
            total_tokens: count(Metric::TokensUsed),
            avg_stt_latency_ms: value(Metric::AvgSttLatencyMs),
            avg_llm_latency_ms: value(Metric::AvgLlmLatencyMs),
            avg_tts_latency_ms: value(Metric::AvgTtsLatencyMs),
        }
    }
}

/// A series of call counts.
#[derive(Serialize, ToSchema)]
pub struct CallVolumeResponse {
    /// The width of the buckets.
    interval: words::VolumeInterval,
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
    pub fn new(interval: VolumeInterval, figures: &Figures) -> Self {
        let bucket = |row: &FiguresRow| CallVolumeBucket {
            timestamp: if let Cell::Bucket(start) = row.cell { rfc3339(start) } else { String::new() },
            total: whole(row, Metric::TotalCalls),
            completed: whole(row, Metric::CompletedCalls),
            failed: whole(row, Metric::FailedCalls),
        };
        Self { interval: words::VolumeInterval(interval), data: figures.rows.iter().map(bucket).collect() }
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

impl WorkflowStats {
    /// The answer for a row of a workflow; none for one of anything else.
    pub fn new(row: &FiguresRow) -> Option<Self> {
        let ShownValue { value: GroupValue::Workflow(id), label: Some(label), .. } = row.first_value()? else {
            return None;
        };
        Some(Self {
            workflow_id: id.0,
            workflow_name: label.name.clone(),
            workflow_slug: label.slug.to_string(),
            total_calls: whole(row, Metric::TotalCalls),
            completed_calls: whole(row, Metric::CompletedCalls),
            failed_calls: whole(row, Metric::FailedCalls),
            success_rate: real(row, Metric::SuccessRate),
            avg_duration_seconds: real(row, Metric::AvgDurationSeconds),
        })
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

impl ProviderLatency {
    /// The answer for a row of a provider; none for one of anything else.
    pub fn new(row: &FiguresRow) -> Option<Self> {
        let GroupValue::Provider(provider) = &row.first_value()?.value else { return None };
        let [avg, p50, p95, p99] = Metric::latencies_of(provider.provider_type).map(|metric| real(row, metric));
        Some(Self {
            provider_type: words::ProviderType(provider.provider_type),
            provider_name: provider.provider_name.to_string(),
            avg_latency_ms: avg,
            p50_latency_ms: p50,
            p95_latency_ms: p95,
            p99_latency_ms: p99,
            call_count: whole(row, Metric::TotalCalls),
        })
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
    rounded(duration.as_micros() as f64 / 1e6, 1)
}

/// A metric that is a whole number.
fn whole(row: &FiguresRow, metric: Metric) -> i64 {
    match row.value(metric) {
        Some(MetricValue::Whole(value)) => value,
        Some(MetricValue::Real(_)) | None => 0,
    }
}

/// A metric as it is shown, or null without data.
fn real(row: &FiguresRow, metric: Metric) -> Option<f64> {
    match row.value(metric)? {
        MetricValue::Real(value) => Some(rounded(value, metric.row().decimals)),
        MetricValue::Whole(_) => None,
    }
}

/// To some decimals, halves away from zero.
pub fn rounded(value: f64, decimals: u8) -> f64 {
    let scale = 10_f64.powi(decimals.into());
    (value * scale).round() / scale
}

/// An instant as RFC 3339 in UTC, with as many decimals as it needs.
pub fn rfc3339(instant: Timestamp) -> String {
    instant.to_datetime().unwrap_or_default().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_the_nearest() {
        assert_eq!([94.64, 94.65, 0.04, 0.05].map(|value| rounded(value, 1).to_string()), ["94.6", "94.7", "0", "0.1"]);
    }
}

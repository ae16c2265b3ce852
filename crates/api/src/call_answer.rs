//! Calls, as they are written on the wire.

use crate::call_cursor::cursor_text;
use crate::error_details::ErrorDetails;
use crate::responses::{duration_seconds, rfc3339, rounded};
use crate::words;
use callscope_analytics::call_list::{CallPage, WholeCall};
use callscope_analytics::ports::LoggedError;
use callscope_domain::{CallFacts, CallStatus, Latency, NumberFact, TextFact, WorkflowLabel};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// A page of calls.
#[derive(Serialize, ToSchema)]
pub struct CallListResponse {
    /// The calls of the page.
    items: Vec<CallItem>,
    /// Where the next page begins; null at the end of the list.
    #[schema(required, example = "AAYzh2u7QAAABjOHa7tAADHALk8S4ErwhpuqsiJQOgk")]
    next_cursor: Option<String>,
    /// The number of all calls of the list, where it was asked for and sums tell it.
    #[schema(required, example = 1247)]
    total: Option<u64>,
}

impl CallListResponse {
    /// The answer for a page.
    pub fn new(page: &CallPage) -> Self {
        let label = |call: &CallFacts| call.workflow_id.and_then(|id| page.labels.get(&id));
        Self {
            items: page.calls.iter().map(|call| CallItem::new(call, label(call))).collect(),
            next_cursor: page.next.map(cursor_text),
            total: page.total,
        }
    }
}

/// A call: what its record says. What it does not say is null.
#[derive(Serialize, ToSchema)]
pub struct CallItem {
    /// The call's id.
    #[schema(example = "31c02e4f-12e0-4af0-869b-aab222503a09")]
    call_id: Uuid,
    /// Its id in the system that it comes from.
    #[schema(required, example = "RM_x2yGmRa")]
    external_id: Option<String>,
    /// The system that it comes from.
    #[schema(required, example = "livekit")]
    source: Option<String>,
    /// How far it has come.
    status: words::CallStatus,
    /// When it started, in UTC.
    #[schema(format = DateTime, example = "2026-01-17T10:30:00Z")]
    started_at: String,
    /// When it ended, in UTC; null while it is active, and when its end never came.
    #[schema(required, format = DateTime, example = "2026-01-17T10:33:00Z")]
    ended_at: Option<String>,
    /// How long it lasted, in seconds to one decimal.
    #[schema(required, example = 180.0)]
    duration_seconds: Option<f64>,
    /// Why it ended, in the client's words.
    #[schema(required, example = "user_hangup")]
    end_reason: Option<String>,
    /// Why it ended, in one vocabulary for all sources.
    #[schema(required, example = "caller_hangup")]
    end_category: Option<String>,
    /// Whether it reached what it was for: success, failure or unknown.
    #[schema(required, example = "success")]
    outcome: Option<String>,
    /// The workflow that it ran through.
    #[schema(required)]
    workflow: Option<CallWorkflow>,
    /// The agent that ran it.
    #[schema(required, example = "greeter-agent")]
    agent: Option<String>,
    /// The version of the agent.
    #[schema(required, example = "2026-01-12")]
    agent_version: Option<String>,
    /// Where the agent runs.
    #[schema(required, example = "production")]
    environment: Option<String>,
    /// Which way it went: inbound, outbound or web.
    #[schema(required, example = "inbound")]
    direction: Option<String>,
    /// Its language.
    #[schema(required, example = "en-US")]
    language: Option<String>,
    /// Its tags.
    #[schema(example = json!({"campaign": "spring"}))]
    tags: BTreeMap<String, String>,
    /// Turns of the agent.
    #[schema(required, example = 9)]
    turns: Option<i64>,
    /// How often the caller interrupted the agent.
    #[schema(required, example = 1)]
    interruptions: Option<i64>,
    /// Tools that the agent called.
    #[schema(required, example = 2)]
    tool_calls: Option<i64>,
    /// The longest latency of a turn, in milliseconds to one decimal.
    #[schema(required, example = 1040.5)]
    worst_turn_latency_ms: Option<f64>,
    /// Tokens that language models used.
    #[schema(required, example = 1500)]
    total_tokens: Option<i64>,
    /// Those of them that went in.
    #[schema(required, example = 1320)]
    input_tokens: Option<i64>,
    /// Those of them that came out.
    #[schema(required, example = 180)]
    output_tokens: Option<i64>,
    /// Those that went in and were read from a cache.
    #[schema(required, example = 900)]
    cached_input_tokens: Option<i64>,
    /// What it cost, in US dollars.
    #[schema(required, example = 0.0431)]
    cost_usd: Option<f64>,
    /// The version of its record.
    #[schema(required, example = 3)]
    version: Option<i64>,
    /// Its errors.
    #[schema(example = 1)]
    error_count: usize,
}

/// The workflow of a call.
#[derive(Serialize, ToSchema)]
pub struct CallWorkflow {
    /// Its id.
    #[schema(example = "0f4a1e8e-6c3c-5b60-9d1c-6b8c1f0f6a51")]
    id: Uuid,
    /// What it is known by in URLs.
    #[schema(example = "daily-call")]
    slug: String,
    /// What people call it; its slug when no record has given a name.
    #[schema(example = "Daily Health Check")]
    name: String,
}

impl CallItem {
    fn new(call: &CallFacts, label: Option<&WorkflowLabel>) -> Self {
        let text = |fact| call.texts.get(fact).map(str::to_owned);
        let number = |fact| call.numbers.get(fact);
        let workflow = call.workflow_id.zip(label).map(|(id, label)| CallWorkflow {
            id: id.0,
            slug: label.slug.to_string(),
            name: label.name.clone(),
        });
        Self {
            call_id: call.id.0,
            external_id: text(TextFact::ExternalId),
            source: text(TextFact::Source),
            status: words::CallStatus(call.status),
            started_at: rfc3339(call.started_at),
            ended_at: call.ended_at.map(rfc3339),
            duration_seconds: call.duration().map(duration_seconds),
            end_reason: text(TextFact::EndReason),
            end_category: text(TextFact::EndCategory),
            outcome: text(TextFact::Outcome),
            workflow,
            agent: text(TextFact::Agent),
            agent_version: text(TextFact::AgentVersion),
            environment: text(TextFact::Environment),
            direction: text(TextFact::Direction),
            language: text(TextFact::Language),
            tags: call.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            turns: number(NumberFact::Turns),
            interruptions: number(NumberFact::Interruptions),
            tool_calls: number(NumberFact::ToolCalls),
            worst_turn_latency_ms: call.turn_latencies.iter().max().map(|latency| milliseconds(*latency)),
            total_tokens: number(NumberFact::TotalTokens),
            input_tokens: number(NumberFact::InputTokens),
            output_tokens: number(NumberFact::OutputTokens),
            cached_input_tokens: number(NumberFact::CachedInputTokens),
            cost_usd: number(NumberFact::CostMicrousd).map(|cost| cost as f64 / 1e6),
            version: number(NumberFact::Version),
            error_count: call.error_kinds.len(),
        }
    }
}

/// A call whole.
#[derive(Serialize, ToSchema)]
pub struct CallDetail {
    #[serde(flatten)]
    call: CallItem,
    /// One latency for each turn that was measured, in milliseconds.
    #[schema(example = json!([812.0, 1040.5]))]
    turn_latencies_ms: Vec<f64>,
    /// What it used of each provider and model.
    stages: Vec<CallStage>,
    /// What went wrong, by position: those errors that the log has.
    errors: Vec<CallErrorItem>,
    /// What happened, in order.
    events: Vec<CallEventItem>,
    /// The turns of calls of its workflow (of all calls, without one) within a day of it; null without a measured turn.
    #[schema(required)]
    comparison: Option<CallComparison>,
}

/// What a call used of one model of a provider.
#[derive(Serialize, ToSchema)]
pub struct CallStage {
    /// The stage.
    provider_type: words::ProviderType,
    /// The provider.
    #[schema(example = "deepgram")]
    provider_name: String,
    /// The model.
    #[schema(required, example = "nova-3")]
    model: Option<String>,
    /// One latency a turn, in milliseconds.
    #[schema(example = json!([118.2, 131.5]))]
    latencies_ms: Vec<f64>,
    /// Their median, nearest rank.
    #[schema(required, example = 118.2)]
    p50_latency_ms: Option<f64>,
    /// Their 95th percentile, nearest rank.
    #[schema(required, example = 131.5)]
    p95_latency_ms: Option<f64>,
    /// Their 99th percentile, nearest rank.
    #[schema(required, example = 131.5)]
    p99_latency_ms: Option<f64>,
}

/// An error of a call.
#[derive(Serialize, ToSchema)]
pub struct CallErrorItem {
    /// The error's position in the call, from 0.
    #[schema(example = 0)]
    position: u32,
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
    /// The provider that it arose at.
    #[schema(required, example = "deepgram")]
    provider_name: Option<String>,
}

/// Something that happened to a call.
#[derive(Serialize, ToSchema)]
pub struct CallEventItem {
    /// When, in UTC.
    #[schema(format = DateTime, example = "2026-01-17T10:30:00Z")]
    timestamp: String,
    /// What: `call.started`, `call.error`, `call.ended` or `call.failed`.
    #[schema(example = "call.started")]
    kind: &'static str,
    /// The position of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0)]
    error: Option<u32>,
}

/// What a call is compared with.
#[derive(Serialize, ToSchema)]
pub struct CallComparison {
    /// The window.
    #[schema(format = DateTime, example = "2026-01-16T10:30:00Z")]
    started_after: String,
    /// Its end.
    #[schema(format = DateTime, example = "2026-01-18T10:30:00Z")]
    started_before: String,
    /// The 95th percentile of the latency of turns in it, in milliseconds to one decimal.
    #[schema(required, example = 1220.4)]
    p95_turn_latency_ms: Option<f64>,
    /// The longest latency of a turn of this call, in milliseconds to one decimal.
    #[schema(required, example = 1040.5)]
    worst_turn_latency_ms: Option<f64>,
}

impl CallDetail {
    /// The answer for a call.
    pub fn new(whole: WholeCall) -> Self {
        let WholeCall { facts, label, errors, p95_turn_latency_ms, compared_window } = whole;
        let events = events(&facts, &errors);
        let call = CallItem::new(&facts, label.as_ref());
        let comparison = compared_window.filter(|_| !facts.turn_latencies.is_empty()).map(|window| CallComparison {
            started_after: rfc3339(window.start()),
            started_before: rfc3339(window.end()),
            p95_turn_latency_ms: p95_turn_latency_ms.map(|latency| rounded(latency, 1)),
            worst_turn_latency_ms: call.worst_turn_latency_ms,
        });
        let mut uses: Vec<_> = facts.providers.iter().collect();
        uses.sort_by_key(|usage| usage.provider.provider_type);
        let stages = uses.into_iter().map(|usage| {
            let percentile = |percent| percentile_ms(&usage.latencies, percent);
            CallStage {
                provider_type: words::ProviderType(usage.provider.provider_type),
                provider_name: usage.provider.provider_name.to_string(),
                model: usage.model.as_ref().map(ToString::to_string),
                latencies_ms: all_ms(&usage.latencies),
                p50_latency_ms: percentile(50),
                p95_latency_ms: percentile(95),
                p99_latency_ms: percentile(99),
            }
        });
        Self {
            turn_latencies_ms: all_ms(&facts.turn_latencies),
            stages: stages.collect(),
            errors: errors.into_iter().map(error_item).collect(),
            events,
            comparison,
            call,
        }
    }
}

fn error_item(logged: LoggedError) -> CallErrorItem {
    let LoggedError { position, error, .. } = logged;
    CallErrorItem {
        position,
        timestamp: rfc3339(error.timestamp),
        service: words::Service(error.kind.service),
        level: words::Level(error.kind.level),
        message: error.message.to_string(),
        // It was an object when it was accepted.
        details: error.details.and_then(|text| RawValue::from_string(text.into()).ok()),
        agent: error.agent.map(|agent| agent.to_string()),
        provider_name: error.provider_name.map(|name| name.to_string()),
    }
}

/// What the record tells of the course of the call.
fn events(call: &CallFacts, errors: &[LoggedError]) -> Vec<CallEventItem> {
    let mut events = vec![(call.started_at, "call.started", None)];
    events.extend(errors.iter().map(|logged| (logged.error.timestamp, "call.error", Some(logged.position))));
    events.sort_by_key(|(at, ..)| *at);
    let kind = match call.status {
        CallStatus::Active => None,
        CallStatus::Completed => Some("call.ended"),
        CallStatus::Failed => Some("call.failed"),
    };
    events.extend(call.ended_at.zip(kind).map(|(at, kind)| (at, kind, None)));
    let item = |(at, kind, error)| CallEventItem { timestamp: rfc3339(at), kind, error };
    events.into_iter().map(item).collect()
}

fn milliseconds(latency: Latency) -> f64 {
    f64::from(latency.as_micros()) / 1000.0
}

fn all_ms(latencies: &[Latency]) -> Vec<f64> {
    latencies.iter().copied().map(milliseconds).collect()
}

/// The nearest-rank percentile of a few latencies.
fn percentile_ms(latencies: &[Latency], percent: usize) -> Option<f64> {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied().map(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample() {
        let latencies: Vec<Latency> = [4, 1, 3, 2].into_iter().filter_map(|ms| Latency::from_ms(ms.into())).collect();
        let of = |percent| percentile_ms(&latencies, percent);
        assert_eq!((of(50), of(95), percentile_ms(&[], 50)), (Some(2.0), Some(4.0), None));
    }
}

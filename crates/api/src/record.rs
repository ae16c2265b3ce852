//! A call record on the wire. How it becomes a call is the business of [`crate::reading`].

use crate::error_details::ErrorDetails;
use crate::json::{Bounded, Tags, Whole};
use crate::object::Object;
use crate::words;
use callscope_domain::{ERRORS_PER_CALL_MAX, PROVIDERS_PER_CALL_MAX, SAMPLES_PER_CALL_MAX};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use utoipa::ToSchema;

/// The whole state of one call. A later record replaces an earlier one; sending one twice changes nothing.
// The schema is that of a record whose path names the call; `schemas::BatchRecord` is that of one in a batch.
#[derive(Deserialize, ToSchema)]
#[schema(as = CallState, example = json!({
    "call_id": "31c02e4f-12e0-4af0-869b-aab222503a09", "external_id": "RM_x2yGmRa", "source": "livekit", "version": 3,
    "status": "completed", "started_at": "2026-01-17T10:30:00Z", "ended_at": "2026-01-17T10:33:00Z",
    "end_reason": "user_hangup", "end_category": "caller_hangup", "outcome": "success",
    "workflow": {"slug": "daily-call", "name": "Daily Health Check"},
    "agent": "greeter-agent", "agent_version": "2026-01-12", "environment": "production", "direction": "inbound",
    "language": "en-US", "tags": {"campaign": "spring"},
    "turns": 9, "interruptions": 1, "tool_calls": 2, "turn_latencies_ms": [812.0, 1040.5],
    "total_tokens": 1500, "input_tokens": 1320, "output_tokens": 180, "cached_input_tokens": 900, "cost_usd": 0.0431,
    "providers": [{"provider_type": "stt", "provider_name": "deepgram", "model": "nova-3", "latencies_ms": [118.2, 131.5]}],
    "errors": [{"timestamp": "2026-01-17T10:31:00Z", "service": "stt", "level": "error", "provider_name": "deepgram",
                "message": "Connection timeout to Deepgram", "details": {"timeout_ms": 5000}, "agent": "meal-agent"}]
}))]
pub struct CallRecord<'a> {
    /// The call's id. The path gives it; here it may be left out, and must be the same if it is there.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Uuid>, example = "31c02e4f-12e0-4af0-869b-aab222503a09")]
    pub(crate) call_id: Option<Cow<'a, str>>,
    /// The system that the call comes from, such as `livekit`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    pub(crate) source: Option<Cow<'a, str>>,
    /// The call's id in that system. With `source` it makes the call's id where there is no `call_id`: the same pair
    /// always gives the same id.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256, pattern = "^[^\\u0000]*$")]
    pub(crate) external_id: Option<Cow<'a, str>>,
    /// How far the call has come. An `active` record never reopens a finished call: it is accepted and ignored.
    #[serde(borrow, default)]
    #[schema(value_type = words::CallStatus, required)]
    pub(crate) status: Option<Cow<'a, str>>,
    /// When the call started, RFC 3339; at most 24 hours in the future, and not before the retention horizon, if there is
    /// one.
    #[serde(borrow, default)]
    #[schema(value_type = String, format = DateTime, required, example = "2026-01-17T10:30:00Z")]
    pub(crate) started_at: Option<Cow<'a, str>>,
    /// When the call ended, RFC 3339: not before its start, at most 24 hours after it. Required when the call is
    /// completed or failed, absent while it is active.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-17T10:33:00Z")]
    pub(crate) ended_at: Option<Cow<'a, str>>,
    /// Why the call ended.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[^\\u0000]*$", example = "user_hangup")]
    pub(crate) end_reason: Option<Cow<'a, str>>,
    /// The workflow that the call ran through.
    #[serde(borrow, default)]
    #[schema(value_type = Option<WorkflowRecord>)]
    pub(crate) workflow: Option<Object<WorkflowRecord<'a>>>,
    /// The agent that ran the call.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[^\\u0000]*$", example = "greeter-agent")]
    pub(crate) agent: Option<Cow<'a, str>>,
    /// The version of the agent.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[^\\u0000]*$", example = "2026-01-12")]
    pub(crate) agent_version: Option<Cow<'a, str>>,
    /// Where the agent runs, such as `production` or `test`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[^\\u0000]*$", example = "production")]
    pub(crate) environment: Option<Cow<'a, str>>,
    /// Which way the call went.
    #[serde(borrow, default)]
    #[schema(value_type = Option<words::Direction>)]
    pub(crate) direction: Option<Cow<'a, str>>,
    /// The language of the call, such as `en-US`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 35, pattern = "^[^\\u0000]*$", example = "en-US")]
    pub(crate) language: Option<Cow<'a, str>>,
    /// Whether the call reached what it was for.
    #[serde(borrow, default)]
    #[schema(value_type = Option<words::Outcome>)]
    pub(crate) outcome: Option<Cow<'a, str>>,
    /// Why the call ended, in one vocabulary for all sources.
    #[serde(borrow, default)]
    #[schema(value_type = Option<words::EndCategory>)]
    pub(crate) end_category: Option<Cow<'a, str>>,
    /// Up to 8 facts of your own: a key is a slug, a value has at most 256 characters.
    #[serde(borrow, default)]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub(crate) tags: Option<Tags<'a>>,
    /// Orders the records of a call: one with a lower version than the last is accepted and ignored.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 3)]
    pub(crate) version: Option<Whole>,
    /// Turns of the agent.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 100_000, example = 9)]
    pub(crate) turns: Option<Whole>,
    /// How often the caller interrupted the agent.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 100_000, example = 1)]
    pub(crate) interruptions: Option<Whole>,
    /// Tools that the agent called.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 100_000, example = 2)]
    pub(crate) tool_calls: Option<Whole>,
    /// One latency for each turn that was measured, in milliseconds: the user stops speaking to the agent is heard. What is
    /// no latency is dropped, as with `providers`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Option<f64>>>, max_items = 10_000, example = json!([812.0, 1040.5]))]
    pub(crate) turn_latencies_ms: Option<Bounded<Option<f64>, SAMPLES_PER_CALL_MAX>>,
    /// Tokens that language models used; if absent, input and output together.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000, example = 1500)]
    pub(crate) total_tokens: Option<Whole>,
    /// Those of them that went in.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000, example = 1320)]
    pub(crate) input_tokens: Option<Whole>,
    /// Those of them that came out.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000, example = 180)]
    pub(crate) output_tokens: Option<Whole>,
    /// Those that went in and were read from a cache.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000, example = 900)]
    pub(crate) cached_input_tokens: Option<Whole>,
    /// What the call cost, in US dollars; kept in millionths. Leave it out where it is unknown: that is not 0.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000, example = 0.0431)]
    pub(crate) cost_usd: Option<f64>,
    /// What the call used of each provider. Two entries for the same provider and model are merged.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<ProviderRecord>>, max_items = 32)]
    pub(crate) providers: Option<Bounded<Object<ProviderRecord<'a>>, PROVIDERS_PER_CALL_MAX>>,
    /// What went wrong. An error's position in this list is part of its id. All messages and details together: at most
    /// 1 MiB.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<ErrorRecord>>, max_items = 200)]
    pub(crate) errors: Option<Bounded<Object<ErrorRecord<'a>>, ERRORS_PER_CALL_MAX>>,
}

/// A workflow, as a record names it.
#[derive(Deserialize, ToSchema)]
pub struct WorkflowRecord<'a> {
    /// What it is known by in URLs.
    #[serde(borrow, default)]
    #[schema(value_type = String, required, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", example = "daily-call")]
    pub(crate) slug: Option<Cow<'a, str>>,
    /// What people call it. The newest call that gives a name decides.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$", example = "Daily Health Check")]
    pub(crate) name: Option<Cow<'a, str>>,
    /// Its id, not nil; without one it gets one from tenant and slug.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Uuid>)]
    pub(crate) id: Option<Cow<'a, str>>,
}

/// What a call used of one provider.
#[derive(Deserialize, ToSchema)]
pub struct ProviderRecord<'a> {
    /// The stage that it served.
    #[serde(borrow, default)]
    #[schema(value_type = words::ProviderType, required)]
    pub(crate) provider_type: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow, default)]
    #[schema(value_type = String, required, min_length = 1, max_length = 64, pattern = "^[^\\u0000]*$", example = "deepgram")]
    pub(crate) provider_name: Option<Cow<'a, str>>,
    /// The model, such as `nova-3`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[^\\u0000]*$", example = "nova-3")]
    pub(crate) model: Option<Cow<'a, str>>,
    /// One latency a turn, in milliseconds. What is null, not above 0, or above 600,000 is dropped and counted in
    /// `dropped_samples`; at most 10,000 over all providers of a call and its turns.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Option<f64>>>, max_items = 10_000, example = json!([118.2, 131.5]))]
    pub(crate) latencies_ms: Option<Bounded<Option<f64>, SAMPLES_PER_CALL_MAX>>,
}

/// One error of a call.
#[derive(Deserialize, ToSchema)]
pub struct ErrorRecord<'a> {
    /// When it happened, RFC 3339: within the call, give or take 5 minutes.
    #[serde(borrow, default)]
    #[schema(value_type = String, format = DateTime, required, example = "2026-01-17T10:31:00Z")]
    pub(crate) timestamp: Option<Cow<'a, str>>,
    /// Where it arose.
    #[serde(borrow, default)]
    #[schema(value_type = words::Service, required)]
    pub(crate) service: Option<Cow<'a, str>>,
    /// How bad it is.
    #[serde(borrow, default)]
    #[schema(value_type = words::Level, required)]
    pub(crate) level: Option<Cow<'a, str>>,
    /// What went wrong.
    #[serde(borrow, default)]
    #[schema(value_type = String, required, min_length = 1, max_length = 4096, pattern = "^[^\\u0000]*$",
             example = "Connection timeout to Deepgram")]
    pub(crate) message: Option<Cow<'a, str>>,
    /// More about it: a JSON object of at most 16 KiB, nested at most 32 deep.
    #[serde(borrow, default)]
    #[schema(value_type = Option<ErrorDetails>)]
    pub(crate) details: Option<&'a RawValue>,
    /// The agent in which it arose.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[^\\u0000]*$", example = "meal-agent")]
    pub(crate) agent: Option<Cow<'a, str>>,
    /// The provider that it arose at.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[^\\u0000]*$", example = "deepgram")]
    pub(crate) provider_name: Option<Cow<'a, str>>,
}

//! A call record on the wire. How it becomes a call is the business of [`crate::reading`].

use crate::error_details::ErrorDetails;
use crate::json::{Bounded, Whole};
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
    "call_id": "31c02e4f-12e0-4af0-869b-aab222503a09", "status": "completed",
    "started_at": "2026-01-17T10:30:00Z", "ended_at": "2026-01-17T10:33:00Z", "end_reason": "user_hangup",
    "workflow": {"slug": "daily-call", "name": "Daily Health Check"},
    "agent": "greeter-agent", "total_tokens": 1500,
    "providers": [{"provider_type": "stt", "provider_name": "deepgram", "latencies_ms": [118.2, 131.5]}],
    "errors": [{"timestamp": "2026-01-17T10:31:00Z", "service": "stt", "level": "error",
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
    /// Tokens that language models used.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000, default = 0, example = 1500)]
    pub(crate) total_tokens: Option<Whole>,
    /// What the call used of each provider. Two entries for the same provider are merged.
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
    /// One latency a turn, in milliseconds. What is null, not above 0, or above 600,000 is dropped and counted in
    /// `dropped_samples`; at most 10,000 over all providers of a call.
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
}

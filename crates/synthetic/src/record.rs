//! The call record as ingestion reads it, field for field.
//!
//! Nothing is checked here: every field is public, so that tests can also build records that must be refused.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::words::{CallStatus, ErrorLevel, ErrorService, ProviderType};

/// The whole state of one call. Optional fields that are `None` are left out of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallRecord {
    /// Names the call within its tenant.
    pub call_id: Uuid,
    /// Where the call is in its life.
    pub status: CallStatus,
    /// When the call started: RFC 3339 in UTC, with as many digits as it needs.
    #[serde(serialize_with = "serialize_instant")]
    pub started_at: DateTime<Utc>,
    /// When the call ended; `None` while it is active.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_instant")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Why the call ended, such as `user_hangup`; `None` while it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// The flow the call ran through, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowRef>,
    /// The agent that took the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Tokens that the language model read and wrote, over the whole call.
    pub total_tokens: u64,
    /// The providers of the call, in the order stt, llm, tts; within a stage, in the order of use.
    pub providers: Vec<ProviderUse>,
    /// What went wrong, oldest first.
    pub errors: Vec<ErrorRecord>,
}

/// The workflow of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkflowRef {
    /// Names the workflow within its tenant: `[a-z0-9][a-z0-9_-]{0,63}`.
    pub slug: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sender's own id; without it the server derives one from the slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
}

/// One provider's work in one stage of one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProviderUse {
    /// The stage.
    pub provider_type: ProviderType,
    /// A name such as `deepgram`.
    pub provider_name: String,
    /// One sample for each turn, in milliseconds, in the order of the turns.
    pub latencies_ms: Vec<f64>,
}

/// One thing that went wrong in a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorRecord {
    /// When it happened, within the call's life: RFC 3339 in UTC.
    #[serde(serialize_with = "serialize_instant")]
    pub timestamp: DateTime<Utc>,
    /// Where it comes from.
    pub service: ErrorService,
    /// How bad it is.
    pub level: ErrorLevel,
    /// One line for people.
    pub message: String,
    /// An object of figures about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// The agent that was speaking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Writes an instant, or an optional one, with no more digits than it needs.
fn serialize_instant<'a, S: Serializer>(
    instant: impl Into<Option<&'a DateTime<Utc>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match instant.into() {
        Some(instant) => serializer.serialize_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        None => serializer.serialize_none(),
    }
}

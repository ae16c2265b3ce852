//! The call record as ingestion reads it, field for field.
//!
//! Nothing is checked here: every field is public, so that tests can also build records that must be refused.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::words::{CallOutcome, CallStatus, Direction, EndCategory, ErrorLevel, ErrorService, ProviderType};

/// The whole state of one call. Optional fields that are `None` are left out of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallRecord {
    /// Names the call within its tenant.
    pub call_id: Uuid,
    /// The system that the call comes from, such as `livekit`; of the forms of `[a-z0-9][a-z0-9_-]{0,63}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// The call's id in that system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
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
    /// The same in the server's vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_category: Option<EndCategory>,
    /// Whether the call reached its goal; `None` while it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CallOutcome>,
    /// The flow the call ran through, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowRef>,
    /// The agent that took the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The version of that agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<&'static str>,
    /// Where the agent runs: `production`, `staging` or `test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<&'static str>,
    /// Which way the call went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The language of the call, such as `en-US`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'static str>,
    /// Facts of the sender's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// Turns of the agent in answer to the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<u64>,
    /// How often the caller interrupted the agent: at most once a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interruptions: Option<u64>,
    /// Tools that the agent called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// One latency for each measured turn, in milliseconds: from the end of the caller's speech to the answer's first
    /// sound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub turn_latencies_ms: Vec<f64>,
    /// Tokens that the language model read and wrote, over the whole call.
    pub total_tokens: u64,
    /// Those of them that it read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Those of them that it wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Those that it read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    /// What the call cost, in US dollars with at most six decimals; `None` where a price is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// The providers of the call, in the order stt, llm, tts; within a stage, in the order of use.
    pub providers: Vec<ProviderUse>,
    /// What went wrong, oldest first.
    pub errors: Vec<ErrorRecord>,
}

impl CallRecord {
    /// A call that has just started, of which nothing else is known.
    #[must_use]
    pub fn active(call_id: Uuid, started_at: DateTime<Utc>) -> Self {
        Self {
            call_id,
            source: None,
            external_id: None,
            status: CallStatus::Active,
            started_at,
            ended_at: None,
            end_reason: None,
            end_category: None,
            outcome: None,
            workflow: None,
            agent: None,
            agent_version: None,
            environment: None,
            direction: None,
            language: None,
            tags: None,
            turns: None,
            interruptions: None,
            tool_calls: None,
            turn_latencies_ms: Vec::new(),
            total_tokens: 0,
            input_tokens: None,
            output_tokens: None,
            cached_input_tokens: None,
            cost_usd: None,
            providers: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// What was known of the call when it started.
    #[must_use]
    pub fn at_start(&self) -> Self {
        Self {
            source: self.source,
            external_id: self.external_id.clone(),
            workflow: self.workflow.clone(),
            agent: self.agent.clone(),
            agent_version: self.agent_version,
            environment: self.environment,
            direction: self.direction,
            language: self.language,
            tags: self.tags.clone(),
            ..Self::active(self.call_id, self.started_at)
        }
    }
}

/// The tags of a call. On the wire each is a key of one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tags {
    /// What an outbound call is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<&'static str>,
    /// Where the person is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'static str>,
    /// What the customer pays for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<&'static str>,
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
    /// Its model, such as `nova-3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'static str>,
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
    /// The provider that it arose at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<&'static str>,
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

//! What a source says of a call, in the shape of a call record. How a report becomes a stored call, and whether the
//! record is acceptable, is left to the server.

use callscope_domain::{CallStatus, Level, ProviderType, Service};
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Display;
use uuid::Uuid;

/// The whole state of one call, as its source describes it. It serializes as a call record of the ingestion interface;
/// a field that is absent is unknown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallReport {
    /// The call's id, if the source's own id is a UUID. Without it, `source` and `external_id` make the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Uuid>,
    /// The call's id at its source; at most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The source: `livekit`, `pipecat`, `vapi`, ...
    pub source: String,
    /// Orders the reports of one call: a lower version than the stored call's is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// How far the call has come.
    #[serde(serialize_with = "as_word")]
    pub status: CallStatus,
    /// When the call started.
    #[serde(serialize_with = "as_rfc3339")]
    pub started_at: DateTime<Utc>,
    /// When the call ended; absent while it is active.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_rfc3339")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Why the call ended, in the source's words; at most 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// Why the call ended, in words that are the same for all sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_category: Option<EndCategory>,
    /// Whether the call reached its goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The workflow that the call ran through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowReport>,
    /// The agent that ran the call; at most 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The version of that agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The environment, such as `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Who called whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The language, as a BCP 47 tag of at most 35 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The source's own labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The user's turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
    /// The agent's turns that the user interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interruptions: Option<u32>,
    /// Calls of tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u32>,
    /// From the end of the user's speech to the agent's first sound, in milliseconds, one a turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub turn_latencies_ms: Vec<f64>,
    /// Tokens of language models; if absent, the sum of input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<i64>,
    /// Tokens that language models read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<i64>,
    /// Tokens that language models wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<i64>,
    /// The part of the input tokens that was read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<i64>,
    /// What the call cost, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// What the call used of each provider and model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ProviderReport>,
    /// What went wrong. An error's position is part of its id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorReport>,
}

impl CallReport {
    /// A report that says no more than what every report must say.
    #[must_use]
    pub fn new(source: &str, status: CallStatus, started_at: DateTime<Utc>) -> Self {
        Self {
            call_id: None,
            external_id: None,
            source: source.to_owned(),
            version: None,
            status,
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
            tags: BTreeMap::new(),
            turns: None,
            interruptions: None,
            tool_calls: None,
            turn_latencies_ms: Vec::new(),
            total_tokens: None,
            input_tokens: None,
            output_tokens: None,
            cached_input_tokens: None,
            cost_usd: None,
            providers: Vec::new(),
            errors: Vec::new(),
        }
    }
}

/// A workflow, as a source names it. It has a slug, a name or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkflowReport {
    /// The name for URLs: `[a-z0-9][a-z0-9_-]{0,63}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// The display name; at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The id, if the source gives a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
}

/// What a call used of one provider and model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProviderReport {
    /// The stage that the provider served.
    #[serde(serialize_with = "as_word")]
    pub provider_type: ProviderType,
    /// The canonical name; at most 64 characters.
    pub provider_name: String,
    /// The model; at most 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Latency samples in milliseconds.
    pub latencies_ms: Vec<f64>,
}

/// One error of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorReport {
    /// When it happened.
    #[serde(serialize_with = "as_rfc3339")]
    pub timestamp: DateTime<Utc>,
    /// Where it arose.
    #[serde(serialize_with = "as_word")]
    pub service: Service,
    /// How bad it is.
    #[serde(serialize_with = "as_word")]
    pub level: Level,
    /// The canonical name of the provider that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<String>,
    /// What went wrong; 1 to 4,096 characters.
    pub message: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
    /// The agent in which it arose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Why a call ended, in words that are the same for all sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCategory {
    /// The caller hung up.
    CallerHangup,
    /// The agent hung up.
    AgentHangup,
    /// The agent ended the call because its task was done.
    TaskCompleted,
    /// The call went on with somebody else.
    Transferred,
    /// An answering machine.
    Voicemail,
    /// The caller said nothing for too long.
    Silence,
    /// The longest duration that the source allows was reached.
    MaxDuration,
    /// The agent's process was shut down.
    Shutdown,
    /// The call ended, and the source does not say why.
    Unknown,
    /// The call was not answered.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// The callee declined.
    Declined,
    /// The callee could not be reached.
    Unreachable,
    /// The call was canceled before it was answered.
    Canceled,
    /// The call was blocked.
    Blocked,
    /// A quota, a subscription or a concurrency limit.
    Limit,
    /// A provider of STT, LLM or TTS failed.
    ProviderError,
    /// The agent's program failed.
    AgentError,
    /// The source's platform failed.
    PlatformError,
    /// The telephone network failed.
    TelephonyError,
    /// The call stayed active for too long and was closed.
    Timeout,
    /// The call's telemetry stopped before its end.
    Lost,
}

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The user called the agent.
    Inbound,
    /// The agent called the user.
    Outbound,
    /// The call came over the web, without a telephone.
    Web,
}

/// Whether a call reached its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did.
    Success,
    /// It did not.
    Failure,
    /// The source cannot tell.
    Unknown,
}

fn as_word<S: Serializer>(word: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(word)
}

/// RFC 3339 in UTC. callscope keeps microseconds, so finer digits are cut off.
fn as_rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.trunc_subsecs(6).to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn as_optional_rfc3339<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

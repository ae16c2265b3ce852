//! A call as its source reports it, in the shape of a call record. How a report becomes a stored call, and whether the
//! record is acceptable, is left to the server.

use callscope_domain::{
    CallStatus, Direction, EndCategory, Level, Outcome, PROVIDERS_PER_CALL_MAX, ProviderType, Service,
};
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Serialize, Serializer};
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
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_word")]
    pub end_category: Option<EndCategory>,
    /// Whether the call reached its goal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_word")]
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
    /// The direction of the call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_word")]
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
    /// A report with only the fields that every report must have.
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

/// What a call used of each provider and model, in the order in which they were added; at most as many as a record may
/// have.
#[derive(Debug, Default)]
pub(crate) struct Uses(Vec<ProviderReport>);

impl Uses {
    /// The samples of one stage, provider and model. None if there are as many others as a record may have.
    pub(crate) fn place(&mut self, stage: ProviderType, name: &str, model: Option<&str>) -> Option<usize> {
        let is_same = |known: &ProviderReport| {
            known.provider_type == stage && known.provider_name == name && known.model.as_deref() == model
        };
        let place = self.0.iter().position(is_same);
        if place.is_some() || self.0.len() >= PROVIDERS_PER_CALL_MAX {
            return place;
        }
        let (provider_name, model) = (name.to_owned(), model.map(str::to_owned));
        self.0.push(ProviderReport { provider_type: stage, provider_name, model, latencies_ms: Vec::new() });
        Some(self.0.len() - 1)
    }

    /// The samples at a place.
    pub(crate) fn latencies_ms(&mut self, place: usize) -> &mut Vec<f64> {
        &mut self.0[place].latencies_ms
    }

    pub(crate) fn into_reports(self) -> Vec<ProviderReport> {
        self.0
    }
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

fn as_word<S: Serializer>(word: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(word)
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn as_optional_word<W: Display, S: Serializer>(word: &Option<W>, serializer: S) -> Result<S::Ok, S::Error> {
    match word {
        Some(word) => as_word(word, serializer),
        None => serializer.serialize_none(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_of_one_provider_and_model_are_one_and_there_are_at_most_as_many_as_a_record_has() {
        let mut uses = Uses::default();
        for number in 0..PROVIDERS_PER_CALL_MAX {
            assert_eq!(uses.place(ProviderType::Llm, "openai", Some(&number.to_string())), Some(number));
        }
        assert_eq!(uses.place(ProviderType::Llm, "openai", Some("1")), Some(1));
        assert_eq!(uses.place(ProviderType::Llm, "openai", None), None);
        assert_eq!(uses.place(ProviderType::Tts, "openai", Some("1")), None);
        uses.latencies_ms(1).push(2.5);
        let reports = uses.into_reports();
        assert_eq!((reports.len(), &reports[1].latencies_ms), (PROVIDERS_PER_CALL_MAX, &vec![2.5]));
    }
}

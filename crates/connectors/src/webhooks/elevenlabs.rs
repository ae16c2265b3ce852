//! ElevenLabs Agents: `{"type", "event_timestamp", "data"}`.
//!
//! Units: all times and latencies are in **seconds**. `cost` counts credits and is no money; `cost_fiat` is in US dollars.
//! Audio comes as a message of its own, chunked and too large to be kept: [`type_of_prefix`] identifies it.

use super::draft::{
    Draft, Ending, Rank, Uses, deliver, direction, error, named_workflow, to_micro_dollars, workflow_by_id,
};
use super::{Delivery, Ignored, WebhookContext, WebhookFault, WebhookProvider};
use crate::json::{Counted, Entries, Items, Lenient, Maybe, Number, Text, read};
use crate::mapping::{End, EndTable, end_of, normalize_provider, vendor_of_model};
use crate::report::{CallReport, WorkflowReport};
use callscope_domain::{Direction, EndCategory, ProviderType, Service};
use chrono::{DateTime, Utc};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Type of the message that carries the recording.
pub const AUDIO: &str = "post_call_audio";
/// The message's type stands in the first bytes of its body.
pub const TYPE_WITHIN: usize = 64 << 10;
/// Bytes of a message with audio.
pub const AUDIO_BODY_MAX: u64 = 256 << 20;

const ELEVENLABS: &str = "elevenlabs";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    r#type: Maybe<Text>,
    event_timestamp: Maybe<Number>,
    data: Lenient<Data>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    conversation_id: Maybe<Text>,
    agent_id: Maybe<Text>,
    agent_name: Maybe<Text>,
    status: Maybe<Text>,
    failure_reason: Maybe<Text>,
    metadata: Lenient<Metadata>,
    transcript: Lenient<Items<Spoken>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    start_time_unix_secs: Maybe<Number>,
    call_duration_secs: Maybe<Number>,
    cost_fiat: Maybe<Number>,
    termination_reason: Maybe<Text>,
    error: Lenient<MetadataError>,
    phone_call: Lenient<PhoneCall>,
    main_language: Maybe<Text>,
    charging: Lenient<Charging>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetadataError {
    reason: Maybe<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PhoneCall {
    direction: Maybe<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Charging {
    llm_usage: Lenient<ChargedUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChargedUsage {
    initiated_generation: Lenient<Usage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    model_usage: Lenient<Entries<ModelUsage>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ModelUsage {
    /// Input that was not in the cache.
    input: Lenient<Tokens>,
    input_cache_read: Lenient<Tokens>,
    input_cache_write: Lenient<Tokens>,
    output_total: Lenient<Tokens>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    tokens: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spoken {
    role: Maybe<Text>,
    time_in_call_secs: Maybe<Number>,
    interrupted: Maybe<bool>,
    producing_llm: Maybe<Text>,
    llm_usage: Lenient<Usage>,
    tool_calls: Counted,
    tool_results: Lenient<Items<ToolResult>>,
    conversation_turn_metrics: Lenient<TurnMetrics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToolResult {
    tool_name: Maybe<Text>,
    is_error: Maybe<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TurnMetrics {
    metrics: Maybe<Latencies>,
    convai_asr_provider: Maybe<Text>,
    convai_tts_model: Maybe<Text>,
    // Older messages have the latencies here.
    convai_asr_trailing_service_latency: Lenient<Elapsed>,
    convai_llm_service_ttfb: Lenient<Elapsed>,
    convai_tts_service_ttfb: Lenient<Elapsed>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Latencies {
    convai_asr_trailing_service_latency: Lenient<Elapsed>,
    convai_llm_service_ttfb: Lenient<Elapsed>,
    convai_tts_service_ttfb: Lenient<Elapsed>,
}

impl TurnMetrics {
    /// Milliseconds of STT, LLM and TTS.
    fn latencies_ms(&self) -> [Option<f64>; 3] {
        let elapsed: [&Elapsed; 3] = match &*self.metrics {
            Some(newer) => [
                &newer.convai_asr_trailing_service_latency,
                &newer.convai_llm_service_ttfb,
                &newer.convai_tts_service_ttfb,
            ],
            None => [
                &self.convai_asr_trailing_service_latency,
                &self.convai_llm_service_ttfb,
                &self.convai_tts_service_ttfb,
            ],
        };
        elapsed.map(Elapsed::ms)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Elapsed {
    elapsed_time: Maybe<Number>,
}

impl Elapsed {
    /// Milliseconds, to the microsecond.
    fn ms(&self) -> Option<f64> {
        self.elapsed_time.map(|seconds| (seconds.get() * 1e6).round() / 1e3).filter(|ms| *ms > 0.0)
    }
}

pub(super) fn parse(body: &[u8], context: &WebhookContext<'_>) -> Result<Delivery, WebhookFault> {
    let body: Body = read(body)?;
    let sent_at = body.event_timestamp.and_then(Number::as_unix_seconds);
    match body.r#type.as_deref() {
        Some("post_call_transcription") => transcription(&body.data, sent_at, context),
        Some("call_initiation_failure") => initiation_failure(&body.data, sent_at, context),
        _ => Ok(Delivery::Ignored(Ignored::OtherMessage)),
    }
}

fn initiation_failure(
    data: &Data,
    sent_at: Option<DateTime<Utc>>,
    context: &WebhookContext<'_>,
) -> Result<Delivery, WebhookFault> {
    let reason = data.failure_reason.as_deref().map(str::to_owned);
    let known = reason.as_deref().and_then(|reason| end_of(EndTable::ElevenLabsFailure, reason));
    let end = known.unwrap_or(End::UNKNOWN);
    let draft = Draft {
        source: WebhookProvider::ElevenLabs,
        id: data.conversation_id.as_deref(),
        rank: Rank::Final,
        sent_at,
        started_at: sent_at,
        ended_at: sent_at,
        ending: Some(Ending { reason, end, is_failure: true, message: None }),
    };
    let mut report = draft.into_report(context)?;
    (report.workflow, report.agent) = names(data);
    Ok(deliver(report))
}

fn transcription(
    data: &Data,
    sent_at: Option<DateTime<Utc>>,
    context: &WebhookContext<'_>,
) -> Result<Delivery, WebhookFault> {
    let ending = ending(data);
    let metadata = &data.metadata;
    let started_at = metadata.start_time_unix_secs.and_then(Number::as_unix_seconds);
    let duration = metadata.call_duration_secs.and_then(Number::seconds).unwrap_or_default();
    let draft = Draft {
        source: WebhookProvider::ElevenLabs,
        id: data.conversation_id.as_deref(),
        rank: if ending.is_some() { Rank::Final } else { Rank::Active },
        sent_at,
        started_at,
        ended_at: started_at.and_then(|start| start.checked_add_signed(duration)),
        ending,
    };
    let mut report = draft.into_report(context)?;
    fill(&mut report, data);
    Ok(deliver(report))
}

/// `None` while the call is active.
fn ending(data: &Data) -> Option<Ending> {
    let metadata = &data.metadata;
    let reason = metadata.termination_reason.as_deref().or(metadata.error.reason.as_deref()).map(str::to_owned);
    let (end, is_failure) = match data.status.as_deref() {
        Some("failed") => (End::of(EndCategory::PlatformError), true),
        Some("done") => {
            let known = reason.as_deref().and_then(|reason| end_of(EndTable::ElevenLabsTermination, reason));
            (known.unwrap_or(End::UNKNOWN), false)
        }
        _ => return None,
    };
    Some(Ending { reason, end, is_failure, message: None })
}

fn names(data: &Data) -> (Option<WorkflowReport>, Option<String>) {
    let (name, id) = (data.agent_name.as_deref(), data.agent_id.as_deref());
    let workflow = name.and_then(named_workflow).or_else(|| id.and_then(workflow_by_id));
    (workflow, name.or(id).map(str::to_owned))
}

fn fill(report: &mut CallReport, data: &Data) {
    let metadata = &data.metadata;
    let talk = &data.transcript;
    (report.workflow, report.agent) = names(data);
    report.direction = metadata.phone_call.direction.as_deref().map_or(Some(Direction::Web), direction);
    report.language = metadata.main_language.as_deref().map(str::to_owned);
    report.cost_usd = metadata.cost_fiat.map(|usd| to_micro_dollars(usd.get()));

    let charged = &metadata.charging.llm_usage.initiated_generation.model_usage;
    let of_turns = talk.iter().flat_map(|spoken| spoken.llm_usage.model_usage.iter());
    let usage: Vec<&(String, ModelUsage)> =
        if charged.is_empty() { of_turns.collect() } else { charged.iter().collect() };
    fill_tokens(report, usage.iter().map(|(_, usage)| usage));
    fill_providers(report, talk, usage.first().map(|(model, _)| model.as_str()));

    let count = |of: &dyn Fn(&Spoken) -> usize| u32::try_from(talk.iter().map(of).sum::<usize>()).ok();
    report.turns = count(&|spoken| usize::from(spoken.role.as_deref() == Some("user")));
    report.interruptions = count(&|spoken| usize::from(*spoken.interrupted == Some(true)));
    report.tool_calls = count(&|spoken| spoken.tool_calls.len());
    for spoken in talk.iter() {
        let into_call = spoken.time_in_call_secs.and_then(Number::seconds).unwrap_or_default();
        let at = report.started_at.checked_add_signed(into_call).unwrap_or(report.started_at);
        let failed = spoken.tool_results.iter().filter(|result| *result.is_error == Some(true));
        let names = failed.map(|result| result.tool_name.as_deref().unwrap_or("tool"));
        report.errors.extend(names.map(|name| error(at, Service::Tool, format!("{name} failed"))));
    }
}

/// Here the cached tokens are not part of `input`; in a record they are.
fn fill_tokens<'a>(report: &mut CallReport, usage: impl Iterator<Item = &'a ModelUsage>) {
    let count = |tokens: &Tokens| tokens.tokens.map_or(0, Number::count);
    let sums = usage.map(|usage| {
        let cached = count(&usage.input_cache_read);
        let input = count(&usage.input).saturating_add(cached).saturating_add(count(&usage.input_cache_write));
        [input, count(&usage.output_total), cached]
    });
    let total = sums.reduce(|left, right| std::array::from_fn(|index| left[index].saturating_add(right[index])));
    if let Some([input, output, cached]) = total {
        (report.input_tokens, report.output_tokens, report.cached_input_tokens) =
            (Some(input), Some(output), Some(cached));
    }
}

fn fill_providers(report: &mut CallReport, talk: &[Spoken], only_model: Option<&str>) {
    let tts_model = talk.iter().rev().find_map(|spoken| spoken.conversation_turn_metrics.convai_tts_model.as_deref());
    let mut uses = Uses::default();
    for spoken in talk {
        let metrics = &spoken.conversation_turn_metrics;
        let [stt_ms, llm_ms, tts_ms] = metrics.latencies_ms();
        if let Some(ms) = stt_ms {
            let name = metrics.convai_asr_provider.as_deref().unwrap_or(ELEVENLABS);
            uses.add(ProviderType::Stt, &normalize_provider(name, None, Some(ProviderType::Stt)), None, [ms]);
        }
        if let Some(ms) = llm_ms {
            let model = spoken.producing_llm.as_deref().or(only_model);
            let name = model.and_then(vendor_of_model).unwrap_or(ELEVENLABS);
            uses.add(ProviderType::Llm, name, model, [ms]);
        }
        if let Some(ms) = tts_ms {
            uses.add(ProviderType::Tts, ELEVENLABS, tts_model, [ms]);
        }
    }
    report.providers = uses.into_reports();
}

/// The `type` of a message of which only the beginning has arrived; `None` if the beginning does not have it.
#[must_use]
pub fn type_of_prefix(prefix: &[u8]) -> Option<String> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(prefix);
    // The end of the prefix is an error, and so is the stop once the type is found.
    let _ = TypeSearch(&mut found).deserialize(&mut deserializer);
    found
}

struct TypeSearch<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for TypeSearch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TypeSearch<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "type" {
                *self.0 = Some(map.next_value()?);
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_before_the_body_is_whole() {
        let audio = br#"{"event_timestamp": 1, "type": "post_call_audio", "data": {"full_audio": "SUQz"#;
        assert_eq!(type_of_prefix(audio).as_deref(), Some(AUDIO));
        for without in [&b"{\"data\": {\"type\": \"inner\""[..], b"[", b"", b"{\"type\": 3", b"{\"type\": \"post_call"]
        {
            assert_eq!(type_of_prefix(without), None);
        }
    }
}

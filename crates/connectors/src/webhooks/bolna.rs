//! Bolna: the whole execution, posted at each change of its status.
//!
//! Units: latencies are in milliseconds, durations in seconds. `total_cost` is not read, since its unit is contradictory in
//! Bolna's own documents. The transcriber's latency is that of a partial result and not comparable with other sources'.

use super::draft::{Draft, Ending, Rank, Uses, deliver, direction, workflow_by_id};
use super::{Delivery, Ignored, WebhookContext, WebhookFault, WebhookProvider};
use crate::json::{Entries, Id, Items, Lenient, Maybe, Number, Text, Time, read};
use crate::mapping::{End, EndTable, end_of, normalize_provider};
use crate::report::{CallReport, ProviderReport};
use callscope_domain::{CallStatus, EndCategory, ProviderType};
use chrono::{DateTime, Utc};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Execution {
    id: Maybe<Id>,
    agent_id: Maybe<Text>,
    status: Maybe<Text>,
    created_at: Maybe<Time>,
    updated_at: Maybe<Time>,
    error_message: Maybe<Text>,
    answered_by_voice_mail: Maybe<bool>,
    conversation_duration: Maybe<Number>,
    telephony_data: Lenient<Telephony>,
    usage_breakdown: Lenient<Usage>,
    latency_data: Lenient<Latencies>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Telephony {
    call_type: Maybe<Text>,
    duration: Maybe<Number>,
    ring_duration: Maybe<Number>,
    hangup_reason: Maybe<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    /// `vendor:model`.
    transcriber_model: Maybe<Text>,
    /// `vendor:model`.
    synthesizer_model: Maybe<Text>,
    llm_tokens: Maybe<Number>,
    /// By model.
    llm_model: Lenient<Entries<ModelUsage>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ModelUsage {
    input: Maybe<Number>,
    output: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Latencies {
    transcriber: Lenient<Turns<HeardTurn>>,
    llm: Lenient<Turns<Turn>>,
    synthesizer: Lenient<Turns<Turn>>,
}

#[derive(Deserialize)]
#[serde(default, bound = "T: Deserialize<'de>")]
struct Turns<T> {
    turns: Lenient<Items<T>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { turns: Lenient::default() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeardTurn {
    turn_latency: Lenient<Items<Sequence>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sequence {
    audio_to_text_latency: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Turn {
    time_to_first_token: Maybe<Number>,
}

pub(super) fn parse(body: &[u8], context: &WebhookContext<'_>) -> Result<Delivery, WebhookFault> {
    let execution: Execution = read(body)?;
    let status = execution.status.as_deref().unwrap_or_default();
    if matches!(status, "scheduled" | "queued" | "rescheduled") {
        return Ok(Delivery::Ignored(Ignored::NotBegun));
    }
    let (rank, end) = match end_of(EndTable::BolnaStatus, status) {
        Some(end) => (Rank::Final, Some(end)),
        // The final message comes minutes later, or not at all.
        None if status == "call-disconnected" => (Rank::Ended, Some(End::UNKNOWN)),
        None => (Rank::Active, None),
    };
    let started_at = started_at(&execution);
    let draft = Draft {
        source: WebhookProvider::Bolna,
        id: execution.id.as_deref(),
        rank,
        sent_at: execution.updated_at.map(|time| time.0),
        started_at,
        ended_at: ended_at(&execution, started_at),
        ending: end.map(|end| ending(&execution, end)),
    };
    let mut report = draft.into_report(context)?;
    fill(&mut report, &execution);
    Ok(deliver(report))
}

/// An execution is created before the telephone rings.
fn started_at(execution: &Execution) -> Option<DateTime<Utc>> {
    let ringing = execution.telephony_data.ring_duration.and_then(Number::seconds).unwrap_or_default();
    execution.created_at.and_then(|created| created.0.checked_add_signed(ringing))
}

fn ended_at(execution: &Execution, started_at: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let talk = execution.conversation_duration.filter(|duration| duration.get() > 0.0);
    let duration = talk.or(*execution.telephony_data.duration).and_then(Number::seconds).unwrap_or_default();
    started_at?.checked_add_signed(duration)
}

fn ending(execution: &Execution, end: End) -> Ending {
    let hangup = execution.telephony_data.hangup_reason.as_deref();
    let is_completed = |end: &End| end.status == CallStatus::Completed;
    let of_hangup = hangup.and_then(|reason| end_of(EndTable::BolnaHangup, reason)).filter(is_completed);
    let category = match of_hangup {
        _ if *execution.answered_by_voice_mail == Some(true) => EndCategory::Voicemail,
        Some(hangup) if is_completed(&end) => hangup.category,
        _ => end.category,
    };
    let message = execution.error_message.as_deref().map(str::to_owned);
    Ending {
        reason: message.clone().or_else(|| hangup.map(str::to_owned)),
        end: End { category, ..end },
        is_failure: false,
        message,
    }
}

fn fill(report: &mut CallReport, execution: &Execution) {
    let usage = &execution.usage_breakdown;
    report.workflow = execution.agent_id.as_deref().and_then(workflow_by_id);
    report.direction = execution.telephony_data.call_type.as_deref().and_then(direction);
    let sum = |field: fn(&ModelUsage) -> &Maybe<Number>| {
        let counts = usage.llm_model.iter().map(|(_, usage)| field(usage).map_or(0, Number::count));
        counts.reduce(i64::saturating_add)
    };
    report.input_tokens = sum(|usage| &usage.input);
    report.output_tokens = sum(|usage| &usage.output);
    report.total_tokens = usage.llm_tokens.map(Number::count).filter(|_| report.input_tokens.is_none());
    report.providers = providers(usage, &execution.latency_data);
}

fn providers(usage: &Usage, latencies: &Latencies) -> Vec<ProviderReport> {
    let heard = latencies.transcriber.turns.iter().filter_map(|turn| turn.turn_latency.last());
    let heard_ms = heard.filter_map(|last| last.audio_to_text_latency.map(Number::get)).collect();
    let first_tokens_ms = |turns: &Turns<Turn>| -> Vec<f64> {
        turns.turns.iter().filter_map(|turn| turn.time_to_first_token.map(Number::get)).collect()
    };
    let (transcriber, transcriber_model) = vendor_and_model(usage.transcriber_model.as_deref());
    let (synthesizer, synthesizer_model) = vendor_and_model(usage.synthesizer_model.as_deref());
    let model = usage.llm_model.first().map(|(model, _)| model.as_str());

    let mut uses = Uses::default();
    let mut add = |stage, vendor: &str, model: Option<&str>, latencies_ms: Vec<f64>| {
        if !vendor.is_empty() || model.is_some() || !latencies_ms.is_empty() {
            uses.add(stage, &normalize_provider(vendor, model, Some(stage)), model, latencies_ms);
        }
    };
    add(ProviderType::Stt, transcriber, transcriber_model, heard_ms);
    add(ProviderType::Llm, "", model, first_tokens_ms(&latencies.llm));
    add(ProviderType::Tts, synthesizer, synthesizer_model, first_tokens_ms(&latencies.synthesizer));
    uses.into_reports()
}

fn vendor_and_model(text: Option<&str>) -> (&str, Option<&str>) {
    let text = text.unwrap_or_default();
    text.split_once(':').map_or((text, None), |(vendor, model)| (vendor, Some(model)))
}

//! Retell AI: `{"event", "call"}`.
//!
//! Units: timestamps, durations and latencies are in milliseconds, money is in **cents**. Messages have no time of their own;
//! the event alone orders them.

use super::draft::{
    Draft, Ending, Rank, Uses, deliver, direction, error, named_workflow, to_micro_dollars, workflow_by_id,
};
use super::{Delivery, Ignored, WebhookContext, WebhookFault, WebhookProvider};
use crate::json::{Items, Lenient, Maybe, Number, Text, read};
use crate::mapping::{End, EndTable, end_of, normalize_provider, vendor_of_model};
use crate::report::{CallReport, ProviderReport};
use callscope_domain::{Direction, ProviderType, Service};
use chrono::{DateTime, Utc};
use serde::Deserialize;

const CENTS_PER_DOLLAR: f64 = 100.0;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    event: Maybe<Text>,
    call: Lenient<Call>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call {
    call_id: Maybe<Text>,
    call_type: Maybe<Text>,
    call_status: Maybe<Text>,
    direction: Maybe<Text>,
    agent_id: Maybe<Text>,
    agent_name: Maybe<Text>,
    start_timestamp: Maybe<Number>,
    end_timestamp: Maybe<Number>,
    duration_ms: Maybe<Number>,
    disconnection_reason: Maybe<Text>,
    latency: Lenient<Latency>,
    call_cost: Lenient<CallCost>,
    llm_token_usage: Lenient<TokenUsage>,
    transcript_with_tool_calls: Lenient<Items<Spoken>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Latency {
    e2e: Lenient<Values>,
    asr: Lenient<Values>,
    llm: Lenient<Values>,
    tts: Lenient<Values>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Values {
    values: Lenient<Items<Number>>,
}

impl Values {
    fn ms(&self) -> impl Iterator<Item = f64> {
        self.values.iter().map(|value| value.get())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenUsage {
    /// Tokens of each request, input and output together.
    values: Lenient<Items<Number>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CallCost {
    combined_cost: Maybe<Number>,
    product_costs: Lenient<Items<ProductCost>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProductCost {
    product: Maybe<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spoken {
    role: Maybe<Text>,
    tool_call_id: Maybe<Text>,
    name: Maybe<Text>,
    successful: Maybe<bool>,
}

impl Spoken {
    fn is(&self, role: &str) -> bool {
        self.role.as_deref() == Some(role)
    }
}

pub(super) fn parse(body: &[u8], context: &WebhookContext<'_>) -> Result<Delivery, WebhookFault> {
    let body: Body = read(body)?;
    let rank = match body.event.as_deref() {
        Some("call_started") => Rank::Active,
        Some("call_ended") => Rank::Ended,
        Some("call_analyzed") => Rank::Final,
        _ => return Ok(Delivery::Ignored(Ignored::OtherMessage)),
    };
    let call = &*body.call;
    let ended_at = call.end_timestamp.and_then(Number::as_unix_ms);
    let draft = Draft {
        source: WebhookProvider::Retell,
        id: call.call_id.as_deref(),
        rank,
        sent_at: None,
        started_at: started_at(call, ended_at),
        ended_at,
        ending: (rank != Rank::Active).then(|| ending(call)),
    };
    let mut report = draft.into_report(context)?;
    fill(&mut report, call);
    Ok(deliver(report))
}

fn started_at(call: &Call, ended_at: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let told = call.start_timestamp.and_then(Number::as_unix_ms);
    told.or_else(|| ended_at?.checked_sub_signed(call.duration_ms.and_then(Number::milliseconds)?))
}

fn ending(call: &Call) -> Ending {
    let reason = call.disconnection_reason.as_deref().map(str::to_owned);
    let end = reason.as_deref().and_then(|reason| end_of(EndTable::Retell, reason)).unwrap_or(End::UNKNOWN);
    let is_failure = matches!(call.call_status.as_deref(), Some("error" | "not_connected"));
    Ending { reason, end, is_failure, message: None }
}

fn fill(report: &mut CallReport, call: &Call) {
    let name = call.agent_name.as_deref();
    report.workflow = name.and_then(named_workflow).or_else(|| call.agent_id.as_deref().and_then(workflow_by_id));
    report.agent = name.map(str::to_owned);
    report.direction = match call.call_type.as_deref() {
        Some("web_call") => Some(Direction::Web),
        _ => call.direction.as_deref().and_then(direction),
    };
    report.cost_usd = call.call_cost.combined_cost.map(|cents| to_micro_dollars(cents.get() / CENTS_PER_DOLLAR));
    let tokens = call.llm_token_usage.values.iter().map(|value| value.count()).reduce(i64::saturating_add);
    report.total_tokens = tokens;
    report.turn_latencies_ms = call.latency.e2e.ms().collect();
    report.providers = providers(call);

    let talk = &call.transcript_with_tool_calls;
    if !talk.is_empty() {
        let count = |role| u32::try_from(talk.iter().filter(|spoken| spoken.is(role)).count()).ok();
        report.turns = count("user");
        report.tool_calls = count("tool_call_invocation");
    }
    // The time of the failure is not in the message: the words' times are those of the recording.
    let at = report.ended_at.unwrap_or(report.started_at);
    let failed = talk.iter().filter(|spoken| spoken.is("tool_call_result") && *spoken.successful == Some(false));
    report.errors.extend(failed.map(|result| error(at, Service::Tool, format!("{} failed", tool_name(result, talk)))));
}

/// A result names its call by id alone.
fn tool_name<'a>(result: &Spoken, talk: &'a [Spoken]) -> &'a str {
    let id = result.tool_call_id.as_deref();
    let is_call = |spoken: &&Spoken| spoken.is("tool_call_invocation") && spoken.tool_call_id.as_deref() == id;
    id.and_then(|_| talk.iter().find(is_call)).and_then(|call| call.name.as_deref()).unwrap_or("tool")
}

/// The products of the bill name the LLM and the TTS. The provider of the other stages is Retell.
fn providers(call: &Call) -> Vec<ProviderReport> {
    const RETELL: &str = "retell";
    let products = || call.call_cost.product_costs.iter().filter_map(|cost| cost.product.as_deref());
    let tts = products().find_map(|product| product.strip_suffix("_tts"));
    let llm = products().find_map(|product| Some((product, vendor_of_model(product)?)));

    let mut uses = Uses::default();
    let mut add = |stage, name: &str, model, values: &Values| {
        if !values.values.is_empty() {
            uses.add(stage, name, model, values.ms());
        }
    };
    // A lag of the stream, not the time from the end of speech to the transcript.
    add(ProviderType::Stt, RETELL, None, &call.latency.asr);
    let llm_name = llm.map_or(RETELL, |(_, vendor)| vendor);
    add(ProviderType::Llm, llm_name, llm.map(|(product, _)| product), &call.latency.llm);
    let tts_name = tts.map_or(RETELL.into(), |vendor| normalize_provider(vendor, None, Some(ProviderType::Tts)));
    add(ProviderType::Tts, &tts_name, None, &call.latency.tts);
    uses.into_reports()
}

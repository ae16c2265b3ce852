//! Vapi: `{"message": {"type", "timestamp", "call", "assistant", "artifact", ...}}`.
//!
//! Units: `timestamp` is in milliseconds, `cost` in US dollars, turn latencies in milliseconds. The averages of
//! `performanceMetrics` are no samples and are not read.

use super::draft::{Draft, Ending, Rank, Uses, deliver, direction, named_workflow, to_micro_dollars, workflow_by_id};
use super::{Delivery, Ignored, WebhookContext, WebhookFault, WebhookProvider};
use crate::json::{Counted, Items, Lenient, Maybe, Number, Text, Time, read};
use crate::mapping::{End, EndTable, end_of, normalize_provider};
use crate::report::{CallReport, ProviderReport, WorkflowReport};
use callscope_domain::ProviderType;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    message: Lenient<Message>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Message {
    r#type: Maybe<Text>,
    timestamp: Maybe<Number>,
    status: Maybe<Text>,
    ended_reason: Maybe<Text>,
    started_at: Maybe<Time>,
    ended_at: Maybe<Time>,
    cost: Maybe<Number>,
    costs: Lenient<Items<Cost>>,
    cost_breakdown: Lenient<CostBreakdown>,
    call: Lenient<Call>,
    assistant: Maybe<Assistant>,
    artifact: Lenient<Artifact>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Call {
    id: Maybe<Text>,
    r#type: Maybe<Text>,
    status: Maybe<Text>,
    ended_reason: Maybe<Text>,
    created_at: Maybe<Time>,
    started_at: Maybe<Time>,
    ended_at: Maybe<Time>,
    cost: Maybe<Number>,
    cost_breakdown: Lenient<CostBreakdown>,
    assistant: Maybe<Assistant>,
    assistant_id: Maybe<Text>,
    squad_id: Maybe<Text>,
    workflow_id: Maybe<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Assistant {
    name: Maybe<Text>,
    transcriber: Maybe<Used>,
    model: Maybe<Used>,
    voice: Maybe<Used>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Cost {
    r#type: Maybe<Text>,
    transcriber: Maybe<Used>,
    model: Maybe<Used>,
    voice: Maybe<Used>,
    prompt_tokens: Maybe<Number>,
    completion_tokens: Maybe<Number>,
    cached_prompt_tokens: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CostBreakdown {
    llm_prompt_tokens: Maybe<Number>,
    llm_completion_tokens: Maybe<Number>,
    llm_cached_prompt_tokens: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Used {
    provider: Maybe<Text>,
    model: Maybe<Text>,
    language: Maybe<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Artifact {
    performance_metrics: Lenient<PerformanceMetrics>,
    messages: Lenient<Items<Spoken>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PerformanceMetrics {
    turn_latencies: Lenient<Items<TurnLatency>>,
    num_assistant_interrupted: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TurnLatency {
    transcriber_latency: Maybe<Number>,
    model_latency: Maybe<Number>,
    voice_latency: Maybe<Number>,
    turn_latency: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spoken {
    role: Maybe<Text>,
    tool_calls: Counted,
}

pub(super) fn parse(body: &[u8], context: &WebhookContext<'_>) -> Result<Delivery, WebhookFault> {
    let body: Body = read(body)?;
    let message = &*body.message;
    let is_report = match message.r#type.as_deref() {
        Some("end-of-call-report") => true,
        Some("status-update") => false,
        Some("assistant-request" | "tool-calls" | "transfer-destination-request" | "knowledge-base-request") => {
            return Ok(Delivery::Ignored(Ignored::ExpectsAnswer));
        }
        _ => return Ok(Delivery::Ignored(Ignored::OtherMessage)),
    };
    let status = message.status.as_deref().or(message.call.status.as_deref());
    let has_ended = is_report || status == Some("ended");
    match status {
        _ if has_ended => {}
        Some("scheduled" | "queued") => return Ok(Delivery::Ignored(Ignored::NotBegun)),
        Some("not-found" | "deletion-failed") => return Ok(Delivery::Ignored(Ignored::NoCall)),
        _ => {}
    }
    let call = &message.call;
    let sent_at = message.timestamp.and_then(Number::as_unix_ms);
    let ended_at = message.ended_at.or(*call.ended_at).map(|time| time.0);
    let draft = Draft {
        source: WebhookProvider::Vapi,
        id: call.id.as_deref(),
        rank: if is_report {
            Rank::Final
        } else if has_ended {
            Rank::Ended
        } else {
            Rank::Active
        },
        sent_at,
        started_at: message.started_at.or(*call.started_at).or(*call.created_at).map(|time| time.0),
        ended_at: ended_at.or(sent_at.filter(|_| has_ended)),
        ending: has_ended.then(|| ending(message)),
    };
    let mut report = draft.into_report(context)?;
    fill(&mut report, message);
    Ok(deliver(report))
}

fn ending(message: &Message) -> Ending {
    let reason = message.ended_reason.as_deref().or(message.call.ended_reason.as_deref()).map(str::to_owned);
    let end = reason.as_deref().and_then(|reason| end_of(EndTable::Vapi, reason)).unwrap_or(End::UNKNOWN);
    Ending { reason, end, is_failure: false, message: None }
}

fn fill(report: &mut CallReport, message: &Message) {
    let call = &message.call;
    let assistant = message.assistant.as_ref().or(call.assistant.as_ref());
    let name = assistant.and_then(|assistant| assistant.name.as_deref());
    report.workflow = name.and_then(named_workflow).or_else(|| workflow_of_ids(call));
    report.agent = name.map(str::to_owned);
    report.direction = call.r#type.as_deref().and_then(direction);
    let transcriber = assistant.and_then(|assistant| assistant.transcriber.as_ref());
    report.language = transcriber.and_then(|used| used.language.as_deref()).map(str::to_owned);
    report.cost_usd = message.cost.or(*call.cost).map(|cost| to_micro_dollars(cost.get()));
    fill_tokens(report, message);

    let metrics = &message.artifact.performance_metrics;
    let spoken = &message.artifact.messages;
    let users = spoken.iter().filter(|spoken| spoken.role.as_deref() == Some("user")).count();
    let turns = if metrics.turn_latencies.is_empty() { users } else { metrics.turn_latencies.len() };
    report.turns = u32::try_from(turns).ok().filter(|turns| *turns > 0);
    report.interruptions = metrics.num_assistant_interrupted.and_then(|number| u32::try_from(number.count()).ok());
    // Results of tools have no error flag.
    let calls = spoken.iter().filter(|spoken| spoken.role.as_deref() == Some("tool_calls"));
    let tool_calls = calls.map(|spoken| spoken.tool_calls.len()).sum::<usize>();
    report.tool_calls = u32::try_from(tool_calls).ok().filter(|_| !spoken.is_empty());
    report.turn_latencies_ms = samples(message, |turn| &turn.turn_latency).collect();
    report.providers = providers(message, assistant);
}

fn workflow_of_ids(call: &Call) -> Option<WorkflowReport> {
    let ids = [&call.workflow_id, &call.squad_id, &call.assistant_id];
    ids.into_iter().find_map(|id| id.as_deref()).and_then(workflow_by_id)
}

/// Tokens of the conversation; those of the analysis afterwards do not count.
fn fill_tokens(report: &mut CallReport, message: &Message) {
    let models: Vec<_> = message.costs.iter().filter(|cost| cost.r#type.as_deref() == Some("model")).collect();
    let sum = |field: fn(&Cost) -> &Maybe<Number>| {
        let counts = models.iter().map(|cost| field(cost).map_or(0, Number::count));
        Some(counts.fold(0_i64, i64::saturating_add)).filter(|_| !models.is_empty())
    };
    let of_breakdown = |field: fn(&CostBreakdown) -> &Maybe<Number>| {
        field(&message.cost_breakdown).or(**field(&message.call.cost_breakdown)).map(Number::count)
    };
    report.input_tokens =
        sum(|cost| &cost.prompt_tokens).or_else(|| of_breakdown(|breakdown| &breakdown.llm_prompt_tokens));
    report.output_tokens =
        sum(|cost| &cost.completion_tokens).or_else(|| of_breakdown(|breakdown| &breakdown.llm_completion_tokens));
    report.cached_input_tokens = sum(|cost| &cost.cached_prompt_tokens)
        .or_else(|| of_breakdown(|breakdown| &breakdown.llm_cached_prompt_tokens));
}

fn samples(message: &Message, field: fn(&TurnLatency) -> &Maybe<Number>) -> impl Iterator<Item = f64> {
    message.artifact.performance_metrics.turn_latencies.iter().filter_map(move |turn| field(turn).map(Number::get))
}

/// The providers that were paid for, else those that the assistant names. The first of a stage gets its samples, because
/// the message does not say which one a turn's latency belongs to.
fn providers(message: &Message, assistant: Option<&Assistant>) -> Vec<ProviderReport> {
    let mut uses = Uses::default();
    let paid = |kind: &'static str, used: fn(&Cost) -> Option<&Used>| {
        let costs = message.costs.iter().filter(move |cost| cost.r#type.as_deref() == Some(kind));
        costs.filter_map(used).collect::<Vec<_>>()
    };
    let named = |used: fn(&Assistant) -> Option<&Used>| assistant.and_then(used);
    let mut add = |stage, paid: Vec<&Used>, named: Option<&Used>, field: fn(&TurnLatency) -> &Maybe<Number>| {
        let served = if paid.is_empty() { Vec::from_iter(named) } else { paid };
        for (position, used) in served.into_iter().enumerate() {
            let model = used.model.as_deref();
            let name = normalize_provider(used.provider.as_deref().unwrap_or_default(), model, Some(stage));
            uses.add(stage, &name, model, samples(message, field).filter(|_| position == 0));
        }
    };
    add(
        ProviderType::Stt,
        paid("transcriber", |cost| cost.transcriber.as_ref()),
        named(|assistant| assistant.transcriber.as_ref()),
        |turn| &turn.transcriber_latency,
    );
    add(
        ProviderType::Llm,
        paid("model", |cost| cost.model.as_ref()),
        named(|assistant| assistant.model.as_ref()),
        |turn| &turn.model_latency,
    );
    add(
        ProviderType::Tts,
        paid("voice", |cost| cost.voice.as_ref()),
        named(|assistant| assistant.voice.as_ref()),
        |turn| &turn.voice_latency,
    );
    uses.into_reports()
}

//! Turns, tokens and latencies of a call.

use super::{ProviderNaming, Sessions, measures_dialogue};
use crate::facts::{Event, Fact, Framework, Model, Sample, Speaker, Tokens};
use crate::report::{CallReport, ProviderReport, Uses};
use crate::text::cut;
use callscope_domain::{COUNT_MAX, MODEL_MAX, PROVIDER_NAME_MAX, ProviderType, SAMPLES_PER_CALL_MAX, TOKENS_MAX};
use std::collections::HashMap;

/// Fills in the figures. Spans are preferred to session reports, because a report has one latency for each message and
/// spans have one for each request.
pub fn write(
    report: &mut CallReport,
    framework: Framework,
    facts: &[&Fact],
    sessions: &Sessions<'_>,
    naming: ProviderNaming,
) {
    let has_spans = facts.iter().any(|fact| measures_dialogue(fact));
    let dialogue = if has_spans { Dialogue::of_spans(facts) } else { Dialogue::of_reports(sessions) };
    if has_spans || !sessions.roots.is_empty() || !sessions.reports.is_empty() {
        report.turns = Some(bounded_count(dialogue.turns));
        report.interruptions = Some(bounded_count(dialogue.interruptions));
        // Pipecat has no spans of tools.
        let tools = facts.iter().filter(|fact| matches!(fact.event, Event::Tool { .. })).count();
        report.tool_calls =
            (framework == Framework::LiveKit).then(|| bounded_count(u32::try_from(tools).unwrap_or(u32::MAX)));
    }
    // Turn latencies count as samples of the call.
    let remaining = SAMPLES_PER_CALL_MAX.saturating_sub(dialogue.samples.len());
    report.turn_latencies_ms =
        dialogue.latencies_us.iter().take(remaining).map(|micros| milliseconds(*micros)).collect();
    report.providers = merge_snapshots(uses(&dialogue.samples, naming));
    if let Some(tokens) = tokens(facts, sessions) {
        let bounded = |tokens: u64| i64::try_from(tokens).map_or(TOKENS_MAX, |tokens| tokens.min(TOKENS_MAX));
        report.input_tokens = Some(bounded(tokens.input));
        report.output_tokens = Some(bounded(tokens.output));
        report.cached_input_tokens = Some(bounded(tokens.cached_input));
        report.total_tokens = Some(bounded(tokens.total()));
    }
}

#[derive(Default)]
struct Dialogue<'f> {
    turns: u32,
    interruptions: u32,
    latencies_us: Vec<u32>,
    samples: Vec<&'f Sample>,
}

impl<'f> Dialogue<'f> {
    fn of_spans(facts: &[&'f Fact]) -> Self {
        let mut dialogue = Self::default();
        let newest = facts.iter().filter_map(|fact| match &fact.event {
            Event::Turn { number, .. } => Some(*number),
            _ => None,
        });
        let newest = newest.max().unwrap_or(0);
        for fact in facts {
            dialogue.samples.extend(&fact.sample);
            if let Event::Turn { speaker, number, is_interrupted, latency_us, .. } = &fact.event {
                // The end of a conversation "interrupts" Pipecat's last turn.
                let is_end = *speaker == Speaker::Both && *number == newest;
                dialogue.interruptions += u32::from(*is_interrupted && !is_end);
                dialogue.turns += u32::from(*speaker != Speaker::Agent);
                dialogue.latencies_us.extend(latency_us);
            }
        }
        dialogue
    }

    fn of_reports(sessions: &Sessions<'f>) -> Self {
        let mut dialogue = Self::default();
        for turn in sessions.reports.iter().flat_map(|(_, report)| &report.turns) {
            dialogue.samples.extend(&turn.samples);
            dialogue.interruptions += u32::from(turn.is_interrupted);
            dialogue.turns += u32::from(turn.is_user);
            dialogue.latencies_us.extend(turn.latency_us);
        }
        dialogue
    }
}

/// The sums over spans, or over reports, whichever are more: each can only miss some. None if no fact has tokens.
fn tokens(facts: &[&Fact], sessions: &Sessions<'_>) -> Option<Tokens> {
    let of_spans = facts.iter().filter_map(|fact| fact.tokens).reduce(Tokens::plus);
    let of_reports = sessions.reports.iter().map(|(_, report)| report.tokens).reduce(Tokens::plus);
    let of_reports = of_reports.filter(|tokens| *tokens != Tokens::default());
    match (of_spans, of_reports) {
        (Some(spans), Some(reports)) => Some(if reports.total() > spans.total() { reports } else { spans }),
        (spans, reports) => spans.or(reports),
    }
}

/// The samples by stage, provider and model.
fn uses(samples: &[&Sample], naming: ProviderNaming) -> Vec<ProviderReport> {
    let mut uses = Uses::default();
    // Facts share their models, so each is named once. `None`: past the bound on providers.
    let mut places: HashMap<(ProviderType, *const Model), Option<usize>> = HashMap::new();
    for sample in samples.iter().take(SAMPLES_PER_CALL_MAX) {
        let place = *places.entry((sample.stage, std::ptr::from_ref(&*sample.model))).or_insert_with(|| {
            let model: Option<String> = sample.model.name.as_deref().and_then(|name| cut(name, MODEL_MAX));
            uses.place(sample.stage, &provider_name(naming, sample.stage, &sample.model), model.as_deref())
        });
        if let Some(place) = place {
            uses.latencies_ms(place).push(milliseconds(sample.latency_us));
        }
    }
    uses.into_reports()
}

/// Pipecat names the model as configured in a call's first request, and in later ones the snapshot that answered:
/// `gpt-4.1`, then `gpt-4.1-2025-04-14`. Where a call has both, they are one model.
fn merge_snapshots(providers: Vec<ProviderReport>) -> Vec<ProviderReport> {
    let (snapshots, mut named): (Vec<_>, Vec<_>) =
        providers.into_iter().partition(|entry| entry.model.as_deref().and_then(model_of_snapshot).is_some());
    for snapshot in snapshots {
        let model = snapshot.model.as_deref().and_then(model_of_snapshot);
        let is_same = |entry: &&mut ProviderReport| {
            entry.provider_type == snapshot.provider_type
                && entry.provider_name == snapshot.provider_name
                && entry.model.as_deref() == model
        };
        match named.iter_mut().find(is_same) {
            Some(entry) => entry.latencies_ms.extend(snapshot.latencies_ms),
            None => named.push(snapshot),
        }
    }
    named
}

/// The model of `MODEL-2025-04-14` or `MODEL-20250414`.
fn model_of_snapshot(name: &str) -> Option<&str> {
    let is_date = |date: &str| date.bytes().filter(u8::is_ascii_digit).count() == 8;
    [10, 8].into_iter().find_map(|length| {
        let (model, date) = name.split_at_checked(name.len().checked_sub(length)?)?;
        let has_form = match length {
            10 => date.bytes().enumerate().all(|(place, byte)| (byte == b'-') == matches!(place, 4 | 7)),
            _ => true,
        };
        let model = model.strip_suffix('-')?;
        (has_form && is_date(date) && !model.is_empty()).then_some(model)
    })
}

/// The canonical name of a provider, within the bounds of a record.
pub fn provider_name(naming: ProviderNaming, stage: ProviderType, model: &Model) -> String {
    let name = naming(stage, model.provider.as_deref().unwrap_or(""), model.name.as_deref().unwrap_or(""));
    cut(&name, PROVIDER_NAME_MAX).unwrap_or_else(|| "unknown".to_owned())
}

/// Session reports of many jobs may have more turns than a record can say.
fn bounded_count(count: u32) -> u32 {
    u32::try_from(COUNT_MAX).map_or(count, |max| count.min(max))
}

fn milliseconds(micros: u32) -> f64 {
    f64::from(micros) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_stays_within_the_bounds_of_a_record() {
        assert_eq!(bounded_count(7), 7);
        assert_eq!(i64::from(bounded_count(u32::MAX)), COUNT_MAX);
    }

    #[test]
    fn snapshots_end_in_a_date() {
        assert_eq!(model_of_snapshot("gpt-4.1-2025-04-14"), Some("gpt-4.1"));
        assert_eq!(model_of_snapshot("claude-sonnet-4-20250514"), Some("claude-sonnet-4"));
        for other in ["gpt-4.1", "nova-3-general", "-2025-04-14", "2025-04-14", "gpt-2025-0414-", "é025-04-14", ""] {
            assert_eq!(model_of_snapshot(other), None, "{other}");
        }
    }

    #[test]
    fn a_snapshot_counts_as_its_model_if_the_call_used_both() {
        let of = |model: &str, latency: f64| ProviderReport {
            provider_type: ProviderType::Llm,
            provider_name: "openai".to_owned(),
            model: Some(model.to_owned()),
            latencies_ms: vec![latency],
        };
        let merged = merge_snapshots(vec![of("a-2025-01-02", 1.0), of("b-2025-01-02", 2.0), of("a", 3.0)]);
        assert_eq!(merged, [ProviderReport { latencies_ms: vec![3.0, 1.0], ..of("a", 3.0) }, of("b-2025-01-02", 2.0)]);
    }
}

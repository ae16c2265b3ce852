//! The further facts of a full record: their rules, and how they hang together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::{CallRecord, CallStatus, Detail, Profile, calls, share};
use crate::{CallOutcome, Direction, EndCategory, ErrorService, ProviderType, ProviderUse};

const COUNT: usize = 20_000;

static FULL: LazyLock<Vec<CallRecord>> = LazyLock::new(|| calls(1, &Profile::default(), COUNT));

fn latency_sum(record: &CallRecord, stage: ProviderType) -> f64 {
    record.providers.iter().filter(|used| used.provider_type == stage).flat_map(|used| &used.latencies_ms).sum()
}

/// The record with only the fields of a plain one.
fn plain(mut record: CallRecord) -> CallRecord {
    let active = CallRecord::active(record.call_id, record.started_at);
    for used in &mut record.providers {
        used.model = None;
    }
    for error in &mut record.errors {
        error.provider_name = None;
    }
    CallRecord {
        status: record.status,
        ended_at: record.ended_at,
        end_reason: record.end_reason,
        workflow: record.workflow,
        agent: record.agent,
        total_tokens: record.total_tokens,
        providers: record.providers,
        errors: record.errors,
        ..active
    }
}

#[test]
fn a_plain_record_is_the_full_one_without_the_further_fields() {
    for samples_per_call in [None, Some(18)] {
        let full = Profile { samples_per_call, ..Profile::default() };
        let of_full: Vec<CallRecord> = calls(1, &full, 2000).into_iter().map(plain).collect();
        assert_eq!(calls(1, &Profile { detail: Detail::Plain, ..full }, 2000), of_full);
    }
}

#[test]
fn every_finished_call_tells_the_further_facts() {
    for record in FULL.iter() {
        assert_eq!(record.source.is_some(), record.external_id.is_some());
        assert!(record.end_category.is_some() && record.outcome.is_some());
        assert!(record.agent_version.is_some() && record.environment.is_some());
        assert!(record.direction.is_some() && record.language.is_some() && record.tags.is_some());
        assert!(record.turns.is_some() && record.tool_calls.is_some());
        assert!(record.providers.iter().all(|used| used.model.is_some()));
    }
}

#[test]
fn tokens_add_up_and_cached_ones_were_read() {
    for record in FULL.iter() {
        let (input, output) = (record.input_tokens.unwrap(), record.output_tokens.unwrap());
        assert_eq!(input + output, record.total_tokens);
        assert!(record.cached_input_tokens.unwrap() <= input);
    }
}

#[test]
fn the_end_category_agrees_with_the_end_reason_and_the_status() {
    use EndCategory as Category;
    let mut seen = BTreeSet::new();
    for record in FULL.iter() {
        let category = record.end_category.unwrap();
        seen.insert(category);
        let reason = record.end_reason.as_deref().unwrap();
        let is_completed = matches!(
            category,
            Category::CallerHangup
                | Category::AgentHangup
                | Category::TaskCompleted
                | Category::Transferred
                | Category::Voicemail
                | Category::Silence
        );
        assert_eq!(record.status == CallStatus::Completed, is_completed, "{reason}: {category:?}");
        let is_unanswered = matches!(category, Category::NoAnswer | Category::Busy | Category::Declined);
        assert_eq!(record.ended_at == Some(record.started_at), is_unanswered, "{reason}: {category:?}");
        let is_provider = ["stt_failure", "llm_failure", "tts_failure"].contains(&reason);
        assert_eq!(category == Category::ProviderError, is_provider, "{reason}");
        assert_eq!(category == Category::CallerHangup, reason == "user_hangup");
    }
    assert_eq!(seen.len(), 13);
}

#[test]
fn a_call_that_failed_or_met_a_machine_is_no_success() {
    let records = &*FULL;
    let is_success = |record: &CallRecord| record.outcome == Some(CallOutcome::Success);
    for record in records.iter().filter(|record| is_success(record)) {
        assert_eq!(record.status, CallStatus::Completed);
        assert_ne!(record.end_category, Some(EndCategory::Voicemail));
    }
    let success_rate = share(records, is_success);
    assert!((0.7..0.9).contains(&success_rate), "{success_rate}");
    let unknown_share = share(records, |record| record.outcome == Some(CallOutcome::Unknown));
    assert!((0.005..0.05).contains(&unknown_share), "{unknown_share}");
}

#[test]
fn a_turn_takes_its_stages_and_the_endpointing() {
    let mut measured = (0, 0);
    for record in FULL.iter() {
        let turns = usize::try_from(record.turns.unwrap()).unwrap();
        assert!(record.turn_latencies_ms.len() <= turns);
        assert!(record.interruptions.unwrap() <= record.turns.unwrap());
        measured = (measured.0 + record.turn_latencies_ms.len(), measured.1 + turns);
        if record.turn_latencies_ms.len() < turns || turns == 0 {
            continue;
        }
        let heard_and_thought = latency_sum(record, ProviderType::Stt) + latency_sum(record, ProviderType::Llm);
        let rest = record.turn_latencies_ms.iter().sum::<f64>() - heard_and_thought;
        let spoken = latency_sum(record, ProviderType::Tts);
        // Endpointing takes 210 to 780 ms a turn; the greeting belongs to no turn.
        let turns = turns as f64;
        assert!(rest > 200.0 * turns && rest < spoken + 781.0 * turns, "{rest} {spoken} {turns}");
    }
    let share = f64::from(u32::try_from(measured.0).unwrap()) / f64::from(u32::try_from(measured.1).unwrap());
    assert!((0.96..0.98).contains(&share), "{share}");
}

#[test]
fn the_samples_of_a_benchmark_give_turns_too() {
    let profile = Profile { samples_per_call: Some(18), ..Profile::default() };
    for record in calls(1, &profile, 500) {
        assert_eq!(record.turns, Some(6));
        assert!(record.turn_latencies_ms.len() <= 6);
    }
}

#[test]
fn a_few_percent_of_the_calls_have_no_price_and_longer_calls_cost_more() {
    let records = &*FULL;
    let unpriced = share(records, |record| record.cost_usd.is_none());
    assert!((0.01..0.04).contains(&unpriced), "{unpriced}");
    for record in records {
        let Some(cost_usd) = record.cost_usd else { continue };
        assert!(((cost_usd * 1e6).round() - cost_usd * 1e6).abs() < 1e-6);
        assert_eq!(cost_usd > 0.0, record.turns != Some(0));
        let minutes = (record.ended_at.unwrap() - record.started_at).as_seconds_f64() / 60.0;
        assert!((0.005 * minutes..=0.1 * minutes + 0.05).contains(&cost_usd), "{cost_usd} for {minutes} min");
    }
}

#[test]
fn an_error_of_a_stage_names_a_provider_of_its_call() {
    let mut named = 0;
    for record in FULL.iter() {
        for error in &record.errors {
            let is_stage = !matches!(error.service, ErrorService::Workflow | ErrorService::Tool);
            assert_eq!(error.provider_name.is_some(), is_stage);
            if let Some(name) = error.provider_name {
                let is_its = |used: &ProviderUse| {
                    used.provider_type.as_str() == error.service.as_str() && used.provider_name == name
                };
                assert!(record.providers.iter().any(is_its), "{name}");
                named += 1;
            }
        }
    }
    assert!(named > 500);
}

#[test]
fn the_vocabularies_are_small_and_unequally_used() {
    let records = &*FULL;
    let count = |fact: fn(&CallRecord) -> Option<&str>| {
        let mut counts = BTreeMap::<&str, usize>::new();
        for value in records.iter().filter_map(fact) {
            *counts.entry(value).or_default() += 1;
        }
        counts
    };
    assert_eq!(count(|record| record.language).len(), 4);
    assert_eq!(count(|record| record.source).keys().copied().collect::<Vec<_>>(), ["livekit", "pipecat", "vapi"]);
    assert_eq!(count(|record| record.tags.as_ref()?.campaign).len(), 3);
    assert_eq!(count(|record| Some(record.direction?.as_str())).len(), 3);
    let environments = count(|record| record.environment);
    assert!(environments["production"] > 10 * environments["staging"] && environments["test"] > 500);
    let models: BTreeSet<_> =
        records.iter().flat_map(|record| &record.providers).filter_map(|used| used.model).collect();
    assert!(models.len() > 9, "{models:?}");
    let external_ids: BTreeSet<_> = records.iter().filter_map(|record| record.external_id.as_deref()).collect();
    assert_eq!(external_ids.len(), records.iter().filter(|record| record.source.is_some()).count());
    assert!(records.iter().all(|record| record.source != Some("vapi") || record.direction != Some(Direction::Web)));
}

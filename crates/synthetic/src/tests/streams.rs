//! What many records show together: the profile's shares, and figures that people would believe.

use std::collections::{BTreeMap, BTreeSet};

use super::{CallRecord, CallStatus, ErrorLevel, Profile, calls, share};
use crate::ProviderType;

const COUNT: usize = 40_000;

/// Shares of [`COUNT`] calls lie closer to the rate than this: over four standard deviations at a rate of one half.
const TOLERANCE: f64 = 0.011;

fn is_failed(record: &CallRecord) -> bool {
    record.status == CallStatus::Failed
}

fn is_unanswered(record: &CallRecord) -> bool {
    record.ended_at == Some(record.started_at)
}

fn duration_s(record: &CallRecord) -> i64 {
    (record.ended_at.unwrap() - record.started_at).num_seconds()
}

fn sample_count(record: &CallRecord) -> usize {
    record.providers.iter().map(|used| used.latencies_ms.len()).sum()
}

#[test]
fn the_same_seed_gives_the_same_records_and_another_seed_others() {
    let profile = Profile::default();
    assert_eq!(calls(3, &profile, 500), calls(3, &profile, 500));
    assert!(
        calls(3, &profile, 500).iter().zip(calls(4, &profile, 500)).all(|(one, other)| one.call_id != other.call_id)
    );
}

#[test]
fn call_ids_are_distinct() {
    let ids: BTreeSet<_> = calls(1, &Profile::default(), COUNT).iter().map(|record| record.call_id).collect();
    assert_eq!(ids.len(), COUNT);
}

#[test]
fn the_default_stream_looks_like_a_platform() {
    let records = calls(1, &Profile::default(), COUNT);
    assert!((share(&records, is_failed) - 0.08).abs() < TOLERANCE);
    assert!((share(&records, |record| !record.errors.is_empty()) - 0.07).abs() < TOLERANCE);
    assert!((share(&records, |record| record.workflow.is_none()) - 0.01).abs() < TOLERANCE);
    assert!(share(&records, |record| (30..=480).contains(&duration_s(record))) > 0.85);
    assert!(records.iter().all(|record| record.errors.len() <= 3));
    let providers: BTreeSet<_> = records
        .iter()
        .flat_map(|record| &record.providers)
        .map(|used| (used.provider_type, used.provider_name.as_str()))
        .collect();
    assert_eq!(providers.len(), 9);
}

#[test]
fn some_calls_go_unanswered_and_have_no_conversation() {
    let mut records = calls(1, &Profile::default(), COUNT);
    let unanswered_share = share(&records, is_unanswered);
    assert!((0.015..0.045).contains(&unanswered_share), "{unanswered_share}");
    records.retain(is_unanswered);
    assert!(records.iter().all(is_failed));
    assert!(records.iter().all(|record| record.providers.is_empty()));
    assert!(records.iter().all(|record| record.total_tokens == 0));
    assert!(records.iter().any(|record| record.end_reason.as_deref() == Some("no_answer")));
}

#[test]
fn a_call_with_errors_that_fails_ends_with_its_last_error() {
    let mut records = calls(1, &Profile::default(), COUNT);
    records.retain(|record| is_failed(record) && !record.errors.is_empty());
    assert!(!records.is_empty());
    for record in records {
        let last = record.errors.last().unwrap();
        assert_eq!(last.level, ErrorLevel::Error);
        assert_eq!(Some(last.timestamp), record.ended_at);
        assert!(record.end_reason.unwrap().starts_with(last.service.as_str()));
    }
}

#[test]
fn rates_reach_their_extremes() {
    for (failure_rate, error_rate) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2)] {
        let profile = Profile { failure_rate, error_rate, ..Profile::default() };
        let records = calls(1, &profile, COUNT);
        assert!((share(&records, is_failed) - failure_rate).abs() < TOLERANCE);
        let with_errors = share(&records, |record| !record.errors.is_empty());
        assert!((with_errors - error_rate).abs() < TOLERANCE);
    }
}

#[test]
fn samples_per_call_is_exact() {
    for total in [0, 1, 2, 3, 18, 20] {
        let profile = Profile { samples_per_call: Some(total), ..Profile::default() };
        for record in calls(1, &profile, 2000) {
            assert_eq!(sample_count(&record), total);
            assert_eq!(record.providers.len(), total.min(3));
            assert!(!is_unanswered(&record));
            for used in &record.providers {
                assert!((total / 3..=total.div_ceil(3)).contains(&used.latencies_ms.len()));
            }
        }
    }
}

#[test]
fn longer_calls_have_more_turns() {
    let records = calls(1, &Profile::default(), COUNT);
    let mean_samples = |range: std::ops::Range<i64>| {
        let counts: Vec<_> =
            records.iter().filter(|record| range.contains(&duration_s(record))).map(sample_count).collect();
        counts.iter().sum::<usize>() / counts.len()
    };
    assert!(mean_samples(200..300) > 3 * mean_samples(30..60));
}

#[test]
fn workflows_are_as_many_as_asked_for_and_unequally_busy() {
    for (asked, given) in [(0, 1), (1, 1), (8, 8), (9, 9), (200, 200), (1000, 200)] {
        let profile = Profile { workflows: asked, ..Profile::default() };
        let mut counts = BTreeMap::<String, usize>::new();
        for workflow in calls(1, &profile, COUNT).into_iter().filter_map(|record| record.workflow) {
            *counts.entry(workflow.slug).or_default() += 1;
        }
        assert_eq!(counts.len(), given);
        assert_eq!(counts.iter().max_by_key(|(_, count)| **count).unwrap().0, "daily-call");
        assert_eq!(counts.contains_key("workflow-009"), given >= 9);
    }
}

#[test]
fn latencies_have_believable_medians_and_heavy_tails() {
    let records = calls(1, &Profile::default(), COUNT);
    for (stage, median_bounds) in
        [(ProviderType::Stt, 100.0..160.0), (ProviderType::Llm, 400.0..650.0), (ProviderType::Tts, 90.0..160.0)]
    {
        let mut samples: Vec<f64> = records
            .iter()
            .flat_map(|record| &record.providers)
            .filter(|used| used.provider_type == stage)
            .flat_map(|used| used.latencies_ms.iter().copied())
            .collect();
        samples.sort_by(f64::total_cmp);
        let median = samples[samples.len() / 2];
        let p99 = samples[samples.len() / 100 * 99];
        assert!(median_bounds.contains(&median), "{stage:?}: {median}");
        assert!((2.5 * median..6.0 * median).contains(&p99), "{stage:?}: {median} {p99}");
    }
}

#[test]
fn a_fallback_changes_the_provider_within_its_stage() {
    let profile = Profile { fallback_rate: 1.0, ..Profile::default() };
    let records = calls(1, &profile, 2000);
    assert!(share(&records, |record| record.providers.len() == 6) > 0.8);
    for used in records.iter().flat_map(|record| record.providers.windows(2)) {
        assert_ne!(used[0].provider_name, used[1].provider_name);
    }
}

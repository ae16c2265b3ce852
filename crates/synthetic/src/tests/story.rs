//! The story shows in the figures: those that the six endpoints give, computed anew from the records.

use super::{CallRecord, CallStatus, DateTime, Generator, TimeDelta, Utc, instant, share};
use crate::{CallOutcome, ProviderType, SLOW_MODEL_NAME, Story};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

const SEED: u64 = 2026;
const COUNT: usize = 30_000;

struct Told {
    now: DateTime<Utc>,
    story: Story,
    records: Vec<CallRecord>,
}

/// The stories that end on each day of a week, at different hours, with their records.
static WEEK: LazyLock<Vec<Told>> = LazyLock::new(|| {
    let monday = instant("2026-03-02T00:30:00Z");
    let instants = (0..7).map(|day| monday + TimeDelta::hours(27 * day));
    let tell = |now| {
        let story = Story::until(now);
        Told { now, records: told(&story), story }
    };
    instants.map(tell).collect()
});

fn told(story: &Story) -> Vec<CallRecord> {
    let mut generator = Generator::telling(SEED, story.clone());
    story.start_times(SEED, COUNT).into_iter().map(|start| generator.call(start)).collect()
}

fn started_in(records: &[CallRecord], span: &Range<DateTime<Utc>>) -> Vec<CallRecord> {
    records.iter().filter(|record| span.contains(&record.started_at)).cloned().collect()
}

fn of_workflow(records: &[CallRecord], slug: &str) -> Vec<CallRecord> {
    let is_its = |record: &&CallRecord| record.workflow.as_ref().is_some_and(|workflow| workflow.slug == slug);
    records.iter().filter(is_its).cloned().collect()
}

fn success_rate(records: &[CallRecord]) -> f64 {
    share(records, |record| record.status == CallStatus::Completed)
}

/// The 50th and 95th percentile of a language model's latencies.
fn latencies(records: &[CallRecord], provider: &str) -> [f64; 2] {
    let uses = records.iter().flat_map(|record| &record.providers);
    let its = uses.filter(|used| used.provider_type == ProviderType::Llm && used.provider_name == provider);
    let mut samples: Vec<f64> = its.flat_map(|used| used.latencies_ms.iter().copied()).collect();
    samples.sort_by(f64::total_cmp);
    [50, 95].map(|percent| samples[samples.len() * percent / 100])
}

fn errors_with(records: &[CallRecord], words: &str) -> usize {
    records.iter().flat_map(|record| &record.errors).filter(|error| error.message.contains(words)).count()
}

#[test]
fn the_same_instant_and_seed_tell_the_same_story() {
    let story = Story::until(instant("2026-03-04T12:00:00Z"));
    assert_eq!(told(&story), told(&Story::until(instant("2026-03-04T12:00:00Z"))));
}

#[test]
fn what_happens_lies_on_weekdays_of_the_past_week_and_apart() {
    for Told { now, story, .. } in WEEK.iter() {
        let (incident, burst) = (story.incident(), &story.burst());
        assert_eq!(incident.end - incident.start, TimeDelta::hours(2));
        assert!(burst.end < incident.start && incident.end <= *now - TimeDelta::hours(24), "{now}");
        assert!(story.model_slowdown().end < burst.start, "{now}");
        for start in [story.model_slowdown().start, story.interrupted_since()] {
            assert!(start >= *now - TimeDelta::days(7), "{now}: {start}");
        }
        assert!((9..=11).contains(&(*now - story.released_at()).num_days()), "{now}");
    }
}

#[test]
fn an_incident_makes_one_provider_slow_for_two_hours_and_its_calls_fail() {
    for Told { now, story, records } in WEEK.iter() {
        let during = started_in(records, &story.incident());
        let [median, p95] = latencies(records, story.incident_provider());
        let [median_during, p95_during] = latencies(&during, story.incident_provider());
        assert!(median_during > 3.0 * median && p95_during > 2.0 * p95, "{now}: {p95} {p95_during}");
        assert!(latencies(&during, "anthropic")[0] < 1.5 * latencies(records, "anthropic")[0], "{now}");
        assert!(success_rate(&during) < success_rate(records) - 0.1, "{now}: {}", success_rate(&during));
        let outages = errors_with(&during, "is degraded");
        assert!(outages > 10 && outages == errors_with(records, "is degraded"), "{now}: {outages}");
    }
}

#[test]
fn a_release_makes_one_workflow_worse_and_no_other() {
    for Told { now, story, records } in WEEK.iter() {
        let before = started_in(records, &(story.month().start..story.released_at()));
        let since = started_in(records, &(story.released_at()..story.month().end));
        let fall = |slug| success_rate(&of_workflow(&before, slug)) - success_rate(&of_workflow(&since, slug));
        assert!(fall(story.released_workflow()) > 0.18, "{now}: {}", fall(story.released_workflow()));
        assert!(fall("daily-call").abs() < 0.03, "{now}: {}", fall("daily-call"));
        assert_eq!(errors_with(&before, "Release 2.4.0"), 0);
        assert!(errors_with(&since, "Release 2.4.0") > 300, "{now}");
    }
}

#[test]
fn the_tools_refuse_calls_for_an_hour() {
    for Told { now, story, records } in WEEK.iter() {
        let during = errors_with(&started_in(records, &story.burst()), "certificate");
        assert!(during > 15 && during == errors_with(records, "certificate"), "{now}: {during}");
    }
}

#[test]
fn one_model_is_slow() {
    let records = &WEEK[2].records;
    let slow = latencies(records, SLOW_MODEL_NAME)[0];
    for other in ["openai", "anthropic", "groq"] {
        assert!(slow > 2.0 * latencies(records, other)[0], "{other}");
    }
}

#[test]
fn workflows_succeed_unequally_often() {
    let records = &WEEK[2].records;
    let rates = ["order-status", "daily-call", "billing-inquiry", "tech-support", "satisfaction-survey"];
    let rates = rates.map(|slug| success_rate(&of_workflow(records, slug)));
    assert!(rates.is_sorted_by(|better, worse| *better > worse + 0.002), "{rates:?}");
    assert!(rates[0] > 0.95 && rates[4] < 0.7, "{rates:?}");
}

#[test]
fn calls_grow_from_week_to_week_and_rest_on_weekends() {
    let story = &WEEK[2].story;
    let times = story.start_times(SEED, COUNT);
    let week = |number: i64| {
        let from = story.month().start + TimeDelta::days(7 * number);
        times.iter().filter(|time| (from..from + TimeDelta::days(7)).contains(*time)).count()
    };
    let weeks = [week(0), week(1), week(2), week(3)];
    assert!(weeks.is_sorted_by(|earlier, later| earlier < later) && weeks[3] > weeks[0] * 5 / 4, "{weeks:?}");
    let days: BTreeSet<_> = times.iter().map(DateTime::date_naive).collect();
    assert!(days.len() >= 30);
}

/// The turns, or what else a record counts, of those that `holds` is true of.
fn total(records: &[CallRecord], holds: impl Fn(&CallRecord) -> bool, of: impl Fn(&CallRecord) -> f64) -> f64 {
    records.iter().filter(|record| holds(record)).map(of).sum()
}

/// The median latency of the turns of the calls that `holds` is true of.
fn turn_median_ms(records: &[CallRecord], holds: impl Fn(&CallRecord) -> bool) -> f64 {
    let its = records.iter().filter(|record| holds(record));
    let mut samples: Vec<f64> = its.flat_map(|record| record.turn_latencies_ms.iter().copied()).collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn uses_model(record: &CallRecord, model: &str) -> bool {
    record.providers.iter().any(|used| used.model == Some(model))
}

#[test]
fn a_model_is_slower_for_two_hours_and_the_other_of_its_provider_is_not() {
    for Told { now, story, records } in WEEK.iter() {
        let during = started_in(records, &story.model_slowdown());
        let median = |records: &[CallRecord], model| turn_median_ms(records, |record| uses_model(record, model));
        let slower = |model| median(&during, model) / median(records, model);
        assert!(slower(story.slowed_model()) > 2.0, "{now}: {}", slower(story.slowed_model()));
        assert!(slower("claude-sonnet-4-5") < 1.3, "{now}: {}", slower("claude-sonnet-4-5"));
        assert!(success_rate(&during) > success_rate(records) - 0.08, "{now}: {}", success_rate(&during));
        let warnings = errors_with(&during, "is slow");
        assert!(warnings > 4 && warnings == errors_with(records, "is slow"), "{now}: {warnings}");
    }
}

#[test]
fn a_release_is_interrupted_more_often() {
    for Told { now, story, records } in WEEK.iter() {
        let rate = |version: &str| {
            let is_its = |record: &CallRecord| record.agent_version == Some(version);
            let count = |number: Option<u64>| number.unwrap() as f64;
            total(records, is_its, |record| count(record.interruptions))
                / total(records, is_its, |record| count(record.turns))
        };
        let [before, since] = [rate("3.1.0"), rate(story.interrupted_version())];
        assert!(since > 2.0 * before, "{now}: {before} {since}");
        for record in records.iter().filter(|record| record.agent_version == Some(story.interrupted_version())) {
            assert!(record.started_at >= story.interrupted_since());
            assert_eq!(record.agent.as_deref(), Some(story.interrupted_agent()));
        }
    }
}

#[test]
fn the_release_that_broke_a_workflow_is_a_version_of_its_agent() {
    let Told { story, records, .. } = &WEEK[2];
    for record in of_workflow(records, story.released_workflow()) {
        let is_new = record.agent_version == Some("2.4.0");
        assert_eq!(is_new, record.started_at >= story.released_at());
        assert!(is_new || errors_with(std::slice::from_ref(&record), "Release 2.4.0") == 0);
    }
}

#[test]
fn one_agent_costs_more_than_twice_as_much_as_any_other_per_success() {
    let Told { story, records, .. } = &WEEK[2];
    let agents: BTreeSet<&str> = records.iter().filter_map(|record| record.agent.as_deref()).collect();
    let cost = |agent: &str| {
        let is_its = |record: &CallRecord| record.agent.as_deref() == Some(agent) && record.cost_usd.is_some();
        let is_success = |record: &CallRecord| is_its(record) && record.outcome == Some(CallOutcome::Success);
        total(records, is_its, |record| record.cost_usd.unwrap()) / total(records, is_success, |_| 1.0)
    };
    let expensive = cost(story.expensive_agent());
    for agent in agents.into_iter().filter(|agent| *agent != story.expensive_agent()) {
        assert!(expensive > 2.0 * cost(agent), "{agent}: {} {expensive}", cost(agent));
    }
}

#[test]
fn a_model_without_a_price_leaves_its_calls_without_a_cost() {
    let records = &WEEK[2].records;
    let is_slow = |record: &CallRecord| uses_model(record, "llama-3.1-70b-int4");
    assert!(records.iter().filter(|record| is_slow(record)).all(|record| record.cost_usd.is_none()));
    let unpriced = share(records, |record| record.cost_usd.is_none());
    assert!((0.04..0.1).contains(&unpriced), "{unpriced}");
}

#[test]
fn test_calls_are_slower_than_those_of_production() {
    let records = &WEEK[2].records;
    let median = |environment| turn_median_ms(records, |record| record.environment == Some(environment));
    assert!(median("test") > 1.4 * median("production"), "{} {}", median("test"), median("production"));
    let tests = share(records, |record| record.environment == Some("test"));
    assert!((0.03..0.05).contains(&tests), "{tests}");
}

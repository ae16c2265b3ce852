//! The story shows in the figures: those that the six endpoints give, computed anew from the records.

use super::{CallRecord, CallStatus, DateTime, Generator, TimeDelta, Utc, instant, share};
use crate::{ProviderType, SLOW_MODEL_NAME, Story};
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
        assert!(burst.start >= *now - TimeDelta::days(7), "{now}: {burst:?}");
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

//! What each endpoint should answer: loops over the calls of a window, and nothing else.

use crate::windows::Window;
use crate::world::{Call, Use, World};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

const HOUR_US: i64 = 3_600_000_000;

/// Stages in the order of the answer.
const STAGES: [&str; 3] = ["stt", "llm", "tts"];

/// How a series is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    Hour,
    Day,
    Week,
}

impl Interval {
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }
}

fn calls_in<'a>(world: &'a World, window: &Window, workflow: Option<&str>) -> Vec<&'a Call> {
    let starts_inside = |call: &&Call| window.from_us <= call.started_us && call.started_us < window.to_us;
    let belongs = |call: &&Call| workflow.is_none_or(|slug| has_slug(call, slug));
    world.calls.values().filter(starts_inside).filter(belongs).collect()
}

fn has_slug(call: &Call, slug: &str) -> bool {
    call.workflow.as_ref().is_some_and(|workflow| workflow.slug == slug)
}

fn count(calls: &[&Call], status: &str) -> usize {
    calls.iter().filter(|call| call.status == status).count()
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn success_rate(calls: &[&Call]) -> Option<f64> {
    let outcomes: Vec<f64> = calls
        .iter()
        .filter(|call| call.is_finished())
        .map(|call| if call.status == "completed" { 100.0 } else { 0.0 })
        .collect();
    average(&outcomes)
}

fn avg_duration_seconds(calls: &[&Call]) -> Option<f64> {
    let ended = calls.iter().filter_map(|call| Some((call.ended_us? - call.started_us) as f64 / 1e6));
    average(&ended.collect::<Vec<f64>>())
}

fn avg_latency_ms(calls: &[&Call], stage: &str) -> Option<f64> {
    let uses = calls.iter().flat_map(|call| &call.uses).filter(|usage| usage.stage == stage);
    average(&uses.flat_map(|usage| usage.latencies_ms.clone()).collect::<Vec<f64>>())
}

/// `summary`
pub fn summary(world: &World, window: &Window, workflow: Option<&str>) -> Value {
    let calls = calls_in(world, window, workflow);
    let belongs = |call: &&Call| workflow.is_none_or(|slug| has_slug(call, slug));
    json!({
        "total_calls": calls.len(),
        "completed_calls": count(&calls, "completed"),
        "failed_calls": count(&calls, "failed"),
        "active_calls": world.calls.values().filter(|call| !call.is_finished()).filter(belongs).count(),
        "avg_duration_seconds": avg_duration_seconds(&calls),
        "success_rate": success_rate(&calls),
        "total_tokens": calls.iter().filter_map(|call| call.tokens).sum::<u64>(),
        "avg_stt_latency_ms": avg_latency_ms(&calls, "stt"),
        "avg_llm_latency_ms": avg_latency_ms(&calls, "llm"),
        "avg_tts_latency_ms": avg_latency_ms(&calls, "tts"),
    })
}

/// `active-calls`
pub fn active_calls(world: &World) -> Value {
    json!({"count": world.calls.values().filter(|call| !call.is_finished()).count()})
}

/// `workflow-stats`; without an id of the sender's own, a workflow's id is made of the tenant's id and the slug.
pub fn workflow_stats(world: &World, window: &Window, tenant_id: &str, limit: usize) -> Value {
    let mut by_slug: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls_in(world, window, None) {
        if let Some(workflow) = &call.workflow {
            by_slug.entry(&workflow.slug).or_default().push(call);
        }
    }
    let mut busiest_first: Vec<_> = by_slug.into_iter().collect();
    busiest_first.sort_by_key(|(slug, calls)| (Reverse(calls.len()), *slug));
    let tenant_id = Uuid::parse_str(tenant_id).unwrap();
    let figures = busiest_first.into_iter().take(limit).map(|(slug, calls)| {
        let given = calls.iter().find_map(|call| call.workflow.as_ref()?.id.clone());
        json!({
            "workflow_id": given.unwrap_or_else(|| Uuid::new_v5(&tenant_id, slug.as_bytes()).to_string()),
            "workflow_name": world.name(slug),
            "workflow_slug": slug,
            "total_calls": calls.len(),
            "completed_calls": count(&calls, "completed"),
            "failed_calls": count(&calls, "failed"),
            "success_rate": success_rate(&calls),
            "avg_duration_seconds": avg_duration_seconds(&calls),
        })
    });
    figures.collect()
}

/// `provider-latency`
pub fn provider_latency(world: &World, window: &Window) -> Value {
    let mut by_provider: BTreeMap<(usize, &str), (usize, Vec<f64>)> = BTreeMap::new();
    for call in calls_in(world, window, None) {
        let key = |usage: &'_ Use| STAGES.iter().position(|stage| *stage == usage.stage).unwrap();
        let mut seen = Vec::new();
        for usage in &call.uses {
            let provider = (key(usage), usage.name.as_str());
            let (calls, latencies_ms) = by_provider.entry(provider).or_default();
            latencies_ms.extend(&usage.latencies_ms);
            if !seen.contains(&provider) {
                seen.push(provider);
                *calls += 1;
            }
        }
    }
    let mut in_order: Vec<_> = by_provider.into_iter().collect();
    in_order.sort_by_key(|((stage, name), (calls, _))| (*stage, Reverse(*calls), *name));
    let figures = in_order.into_iter().map(|((stage, name), (calls, mut latencies_ms))| {
        latencies_ms.sort_by(f64::total_cmp);
        json!({
            "provider_type": STAGES[stage],
            "provider_name": name,
            "avg_latency_ms": average(&latencies_ms),
            "p50_latency_ms": nearest_rank(&latencies_ms, 50),
            "p95_latency_ms": nearest_rank(&latencies_ms, 95),
            "p99_latency_ms": nearest_rank(&latencies_ms, 99),
            "call_count": calls,
        })
    });
    figures.collect()
}

/// Metrics that are worked out for each group of calls.
pub const METRICS: [&str; 9] = [
    "total_calls",
    "completed_calls",
    "failed_calls",
    "success_rate",
    "avg_duration_seconds",
    "total_tokens",
    "avg_llm_latency_ms",
    "total_errors",
    "errors_per_call",
];

/// The figures of the calls of a window by a text of theirs, `agent` or `end_reason`.
pub fn by_text(world: &World, window: &Window, dimension: &str) -> BTreeMap<String, Vec<(&'static str, Option<f64>)>> {
    let mut groups: BTreeMap<String, Vec<&Call>> = BTreeMap::new();
    for call in calls_in(world, window, None) {
        let text = if dimension == "agent" { &call.agent } else { &call.end_reason };
        if let Some(text) = text {
            groups.entry(text.clone()).or_default().push(call);
        }
    }
    let figures = |calls: Vec<&Call>| {
        let errors: usize = calls.iter().map(|call| call.errors.len()).sum();
        // What no call gives is unknown.
        let tokens: Vec<u64> = calls.iter().filter_map(|call| call.tokens).collect();
        let tokens = (!tokens.is_empty()).then(|| tokens.iter().sum::<u64>() as f64);
        let values = [
            Some(calls.len() as f64),
            Some(count(&calls, "completed") as f64),
            Some(count(&calls, "failed") as f64),
            success_rate(&calls),
            avg_duration_seconds(&calls),
            tokens,
            avg_latency_ms(&calls, "llm"),
            Some(errors as f64),
            Some(errors as f64 / calls.len() as f64),
        ];
        METRICS.into_iter().zip(values).collect()
    };
    groups.into_iter().map(|(text, calls)| (text, figures(calls))).collect()
}

/// The smallest value that at least so many per cent of all values do not exceed.
fn nearest_rank(ascending: &[f64], percent: usize) -> Option<f64> {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.max(1) - 1).copied()
}

/// `errors`
pub fn errors(
    world: &World,
    window: &Window,
    (service, level): (Option<&str>, Option<&str>),
    (offset, limit): (usize, usize),
) -> Value {
    let mut found = Vec::new();
    for call in calls_in(world, window, None) {
        for (position, error) in call.errors.iter().enumerate() {
            if service.is_none_or(|service| service == error.service) && level.is_none_or(|level| level == error.level)
            {
                found.push((Reverse(error.at_us), &call.id, position, error));
            }
        }
    }
    found.sort_by_key(|(at, id, position, _)| (*at, *id, *position));
    let total = found.len();
    let items = found.into_iter().skip(offset).take(limit).map(|(_, id, position, error)| {
        json!({
            "id": format!("{id}-{position}"),
            "call_id": id,
            "timestamp": instant(error.at_us).to_rfc3339(),
            "service": error.service,
            "level": error.level,
            "message": error.message,
            "details": error.details,
            "agent": error.agent,
        })
    });
    json!({"items": items.collect::<Vec<Value>>(), "total": total})
}

/// `call-volume`
pub fn call_volume(world: &World, window: &Window, interval: Interval, zone: Tz, workflow: Option<&str>) -> Value {
    let mut buckets: BTreeMap<i64, Vec<&Call>> = BTreeMap::new();
    let last = bucket_start(window.to_us - 1, interval, zone);
    let mut start = bucket_start(window.from_us, interval, zone);
    while start <= last {
        buckets.insert(start, Vec::new());
        start = next_bucket(start, interval, zone);
    }
    for call in calls_in(world, window, workflow) {
        let start = bucket_start(call.started_us, interval, zone);
        buckets.get_mut(&start).expect("every call of a window lies in a bucket of it").push(call);
    }
    let data = buckets.into_iter().map(|(start, calls)| {
        json!({
            "timestamp": instant(start).to_rfc3339(),
            "total": calls.len(),
            "completed": count(&calls, "completed"),
            "failed": count(&calls, "failed"),
        })
    });
    json!({"interval": interval.word(), "data": data.collect::<Vec<Value>>()})
}

/// The start of the bucket that holds an instant, for zones whose clocks change by whole hours.
fn bucket_start(at_us: i64, interval: Interval, zone: Tz) -> i64 {
    let local = instant(at_us).with_timezone(&zone);
    match interval {
        Interval::Hour => at_us - i64::from(local.minute() * 60 + local.second()) * 1_000_000 - at_us % 1_000_000,
        Interval::Day => midnight(local.date_naive(), zone),
        Interval::Week => {
            let since_monday = local.weekday().num_days_from_monday();
            midnight(local.date_naive() - Days::new(since_monday.into()), zone)
        }
    }
}

fn next_bucket(start: i64, interval: Interval, zone: Tz) -> i64 {
    let date = instant(start).with_timezone(&zone).date_naive();
    match interval {
        Interval::Hour => start + HOUR_US,
        Interval::Day => midnight(date + Days::new(1), zone),
        Interval::Week => midnight(date + Days::new(7), zone),
    }
}

fn midnight(date: NaiveDate, zone: Tz) -> i64 {
    zone.from_local_datetime(&date.and_time(NaiveTime::MIN)).earliest().unwrap().timestamp_micros()
}

pub fn instant(at_us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at_us).unwrap()
}

//! Records as the field sends them: late, twice, in the wrong order, corrected, with latencies that are none.

use crate::world::micros;
use callscope_synthetic::{CallRecord, Detail, Generator, Profile, start_times};
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Utc};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};

/// What clients report that is no latency.
const NO_LATENCIES: [Option<f64>; 6] = [None, Some(0.0), Some(-1.5), Some(600_000.001), Some(1e12), Some(-0.0)];
/// The shortest and the longest latencies that are.
const ODD_LATENCIES: [f64; 4] = [0.1, 0.7, 59_999.9, 600_000.0];

/// The workflow whose id comes from the sender.
const WITH_ID: (&str, &str) = ("order-status", "6f9619ff-8b86-4d01-b42d-00cf4fc964ff");
/// The workflow whose name changes with the calls.
const RENAMED: &str = "onboarding";

/// A span of time, and how many calls start in it.
pub type Stretch = (DateTime<Utc>, DateTime<Utc>, usize);

/// Calls with errors and failures enough to have ties and full pages. Their records are plain: a full one changes far more
/// groups, and these tests have bounds on the size of disks and on times.
pub fn calls(seed: u64, stretches: &[Stretch]) -> Vec<CallRecord> {
    let profile = Profile { failure_rate: 0.15, error_rate: 0.2, workflowless_rate: 0.05, ..Profile::default() };
    let mut generator = Generator::new(seed, Profile { fallback_rate: 0.1, detail: Detail::Plain, ..profile });
    let starts = stretches.iter().flat_map(|&(from, to, count)| start_times(seed, from, to, count));
    starts.map(|start| generator.call(start)).collect()
}

/// A call's final record, made odder than the generator's: times to the microsecond and in other zones, latencies
/// that do not count, the same provider twice, errors at the same moment, fields left out, calls without an end.
pub fn vary(random: &mut StdRng, record: &CallRecord) -> Value {
    let mut json = serde_json::to_value(record).unwrap();
    vary_times(random, &mut json);
    vary_providers(random, &mut json);
    for error in json["errors"].as_array_mut().unwrap() {
        vary_error(random, error);
    }
    vary_workflow(random, &mut json["workflow"], record.started_at);
    if random.random_bool(0.05) {
        // Without a total, the server adds up its parts.
        for field in ["total_tokens", "input_tokens", "output_tokens"] {
            json.as_object_mut().unwrap().remove(field);
        }
    }
    if random.random_bool(0.01) {
        json["status"] = "active".into();
        json["ended_at"] = Value::Null;
        json.as_object_mut().unwrap().remove("end_reason");
    }
    json
}

fn vary_times(random: &mut StdRng, json: &mut Value) {
    let is_unanswered = json["started_at"] == json["ended_at"];
    let shift = TimeDelta::nanoseconds(random.random_range(0..1_000_000));
    let zone = FixedOffset::east_opt(*[0, 0, 0, 19_800, -14_400].choose(random).unwrap()).unwrap();
    let digits = *[SecondsFormat::AutoSi, SecondsFormat::Micros, SecondsFormat::Nanos].choose(random).unwrap();
    let started = (at(&json["started_at"]) + shift).with_timezone(&zone);
    json["started_at"] = started.to_rfc3339_opts(digits, true).into();
    if is_unanswered {
        json["ended_at"] = json["started_at"].clone();
    }
}

fn vary_workflow(random: &mut StdRng, workflow: &mut Value, started_at: DateTime<Utc>) {
    if workflow["slug"] == WITH_ID.0 {
        workflow["id"] = WITH_ID.1.into();
    }
    if workflow["slug"] == RENAMED {
        workflow["name"] = format!("Onboarding of {}", started_at.date_naive()).into();
    }
    if workflow.is_object() && random.random_bool(0.1) {
        workflow["name"] = Value::Null;
    }
}

fn vary_providers(random: &mut StdRng, json: &mut Value) {
    let providers = json["providers"].as_array_mut().unwrap();
    if providers.is_empty() {
        return;
    }
    let index = random.random_range(0..providers.len());
    match random.random_range(0..100) {
        0..15 => {
            let latencies = providers[index]["latencies_ms"].as_array_mut().unwrap();
            for _ in 0..random.random_range(1..4) {
                let place = random.random_range(0..=latencies.len());
                latencies.insert(place, json!(NO_LATENCIES.choose(random).unwrap()));
            }
        }
        15..18 => providers[index]["latencies_ms"] = json!([0, null]),
        18..20 => providers[index]["latencies_ms"] = json!([]),
        20..25 => {
            let again = providers[index].clone();
            providers.push(again);
        }
        25..27 => {
            let odd = json!(ODD_LATENCIES.choose(random).unwrap());
            providers[index]["latencies_ms"].as_array_mut().unwrap().push(odd);
        }
        _ => {}
    }
}

fn vary_error(random: &mut StdRng, error: &mut Value) {
    if random.random_bool(0.5) {
        // At most 4 minutes earlier, which is within the skew that is allowed.
        let timestamp = at(&error["timestamp"]);
        let tied = timestamp - TimeDelta::milliseconds(timestamp.timestamp_millis() % 240_000);
        error["timestamp"] = tied.to_rfc3339().into();
    }
    match random.random_range(0..10) {
        0 => error["details"] = Value::Null,
        1 => drop(error.as_object_mut().unwrap().remove("details")),
        2 => error["agent"] = Value::Null,
        3 => drop(error.as_object_mut().unwrap().remove("agent")),
        _ => {}
    }
}

/// All that is sent of one call, in order.
pub fn life(random: &mut StdRng, last: &Value) -> Vec<Value> {
    let mut records = vec![last.clone()];
    if random.random_bool(0.05) {
        records.insert(0, earlier_version(random, last));
    }
    if random.random_bool(0.1) {
        records.insert(0, as_active(last));
    }
    if random.random_bool(0.1) {
        records.push(last.clone());
    }
    // An unfinished call's state is whatever came last, so only a finished one can be followed by less.
    if last["status"] != "active" && random.random_bool(0.1) {
        records.push(as_active(last));
    }
    records
}

/// The record that a client sends at a call's start.
pub fn as_active(last: &Value) -> Value {
    json!({"call_id": last["call_id"], "status": "active", "started_at": last["started_at"],
           "workflow": last["workflow"]})
}

/// What was believed of a call before it was corrected: an earlier start, another outcome.
fn earlier_version(random: &mut StdRng, last: &Value) -> Value {
    let mut earlier = last.clone();
    let shift = TimeDelta::milliseconds(random.random_range(0..3 * 86_400_000));
    let shifted = |timestamp: &Value| Value::from((at(timestamp) - shift).to_rfc3339());
    for field in ["started_at", "ended_at"] {
        if last[field].is_string() {
            earlier[field] = shifted(&last[field]);
        }
    }
    for error in earlier["errors"].as_array_mut().unwrap() {
        error["timestamp"] = shifted(&error["timestamp"]);
    }
    if last["status"] == "completed" {
        earlier["status"] = "failed".into();
        earlier["providers"].as_array_mut().unwrap().truncate(1);
        let mistaken = json!({
            "timestamp": earlier["started_at"], "service": "tool", "level": "error", "message": "mistaken"
        });
        earlier["errors"].as_array_mut().unwrap().push(mistaken);
    }
    earlier["total_tokens"] = 77.into();
    earlier
}

/// Mixes the lives of calls, each of which stays in its order.
pub fn shuffled(random: &mut StdRng, lives: Vec<Vec<Value>>) -> Vec<Value> {
    let mut turns: Vec<usize> =
        lives.iter().enumerate().flat_map(|(call, life)| std::iter::repeat_n(call, life.len())).collect();
    turns.shuffle(random);
    let mut lives: Vec<_> = lives.into_iter().map(Vec::into_iter).collect();
    turns.into_iter().filter_map(|call| lives[call].next()).collect()
}

/// The slug of each workflow that calls ran through.
pub fn slugs(calls: &[CallRecord]) -> Vec<&str> {
    let mut slugs: Vec<&str> = calls.iter().filter_map(|call| Some(call.workflow.as_ref()?.slug.as_str())).collect();
    slugs.sort_unstable();
    slugs.dedup();
    slugs
}

pub fn starts_us(records: &[Value]) -> Vec<i64> {
    records.iter().map(|record| micros(&record["started_at"])).collect()
}

fn at(timestamp: &Value) -> DateTime<Utc> {
    timestamp.as_str().unwrap().parse().unwrap()
}

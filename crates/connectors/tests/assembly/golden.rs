//! Each capture in its own order: what is known after each request, and the record in the end.

use crate::captures::{self, Capture, Request};
use crate::store::{Store, sample_count};
use callscope_connectors::derivation::Derived;
use callscope_connectors::facts::AssemblyKey;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[test]
fn each_capture_gives_its_record() {
    for capture in captures::all() {
        let mut store = Store::default();
        let steps = capture.expected["after_each_request"].as_array().unwrap();
        assert_eq!(steps.len(), capture.requests.len(), "{}", capture.name);
        for (number, (request, expected)) in capture.requests.iter().zip(steps).enumerate() {
            let known: Map<String, Value> = request.facts().into_iter().map(|call| step(&mut store, call)).collect();
            assert_eq!(Value::Object(known), *expected, "{} after request {number}", capture.name);
        }
        assert_records(&capture, &store.records_if_idle());
    }
}

#[test]
fn what_the_resource_and_the_stt_say_is_in_the_record() {
    let mut store = Store::default();
    store.submit_all(captures::named("pipecat_normal").requests.iter().flat_map(Request::facts));
    let record = serde_json::to_value(&store.records_if_idle()[0].1.report).unwrap();
    let uses: Vec<_> = record["providers"].as_array().unwrap().iter().map(|entry| entry["model"].clone()).collect();
    let dimensions = ["environment", "language", "source", "status"].map(|name| record[name].as_str());
    assert_eq!(dimensions, [Some("development"), Some("en"), Some("pipecat"), Some("completed")]);
    assert_eq!(uses, ["gpt-4.1", "sonic-3.6", "nova-3-general"]);
    assert_eq!(record["call_id"], "0339c9e1-a5be-5658-8972-8412af3ede9f");
    assert_eq!(record["started_at"], "2026-11-22T08:16:12.157891Z");
    // What is not known is left out.
    assert_eq!(record.get("agent"), None);
    assert_eq!(record.get("tool_calls"), None);
}

fn step(store: &mut Store, call: callscope_connectors::extraction::CallFacts) -> (String, Value) {
    let key = call.key.key.clone();
    let derived = store.submit(call);
    let known = derived.map(|Derived { report, .. }| {
        json!({
            "status": report.status.as_str(),
            "samples": sample_count(&report),
            "tokens": report.total_tokens.unwrap_or(0),
            "errors": report.errors.len(),
        })
    });
    (key, known.unwrap_or_default())
}

pub fn assert_records(capture: &Capture, records: &[(AssemblyKey, Derived)]) {
    let mut expected: Vec<Value> =
        capture.expected["records_if_idle_afterwards"].as_array().unwrap().iter().map(sorted).collect();
    expected.sort_by_key(|record| record["key"].as_str().unwrap().to_owned());
    let mut found: Vec<Value> = records.iter().map(|(key, derived)| sorted(&record(key, derived))).collect();
    found.sort_by_key(|record| record["key"].as_str().unwrap().to_owned());
    assert_eq!(found, expected, "{}", capture.name);
}

/// A record in the words of the expected ones, which have no models.
fn record(key: &AssemblyKey, derived: &Derived) -> Value {
    let report = &derived.report;
    let mut providers: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for provider in &report.providers {
        let name = (provider.provider_type.as_str(), &*provider.provider_name);
        providers.entry(name).or_default().extend(&provider.latencies_ms);
    }
    let providers = providers
        .iter()
        .map(|((stage, name), latencies)| json!({"type": stage, "name": name, "latencies_ms": latencies}));
    let errors = report.errors.iter().map(|error| {
        json!({
            "timestamp_us": error.timestamp.timestamp_micros(),
            "service": error.service.as_str(),
            "level": error.level.as_str(),
            "message": error.message,
            "details": error.details,
        })
    });
    json!({
        "key": key.key,
        "family": report.source,
        "external_id": report.external_id,
        "status": report.status.as_str(),
        "started_us": report.started_at.timestamp_micros(),
        "ended_us": report.ended_at.map(|end| end.timestamp_micros()),
        "end_reason": report.end_reason,
        "workflow": report.workflow.as_ref().and_then(|workflow| workflow.slug.as_deref()),
        "agent": report.agent,
        "tokens": {
            "input": report.input_tokens.unwrap_or(0),
            "output": report.output_tokens.unwrap_or(0),
            "cached_input": report.cached_input_tokens.unwrap_or(0),
            "total": report.total_tokens.unwrap_or(0),
        },
        "turns": report.turns.unwrap_or(0),
        "interruptions": report.interruptions.unwrap_or(0),
        "tool_calls": report.tool_calls.unwrap_or(0),
        "e2e_ms": report.turn_latencies_ms,
        "providers": providers.collect::<Vec<_>>(),
        "errors": errors.collect::<Vec<_>>(),
    })
}

/// The lists whose order says nothing, in one order.
fn sorted(record: &Value) -> Value {
    let mut record = record.clone();
    let by_text = |list: &mut Value| list.as_array_mut().unwrap().sort_by_key(Value::to_string);
    by_text(&mut record["e2e_ms"]);
    by_text(&mut record["errors"]);
    record["providers"].as_array_mut().unwrap().iter_mut().for_each(|provider| by_text(&mut provider["latencies_ms"]));
    by_text(&mut record["providers"]);
    record
}

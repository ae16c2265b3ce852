//! Bad providers and errors of a record.

use crate::bad_record::{AT, Case, case, refusals, sound};
use crate::records::{active, call_id, error};
use crate::server::Server;
use crate::wire::Request;
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::{Value, json};

on_each_backend!(
    providers,
    errors,
    parts_at_their_bounds_are_accepted,
    a_field_twice_inside_details_is_the_clients_own_business
);

fn provider(name: &str, latencies: impl Into<Value>) -> Value {
    json!({"provider_type": "stt", "provider_name": name, "latencies_ms": latencies.into()})
}

fn with_latencies(text: &str) -> String {
    sound().with("providers", vec![provider("deepgram", "LATENCIES")]).to_string().replace("\"LATENCIES\"", text)
}

fn with_details(text: &str) -> String {
    let mut error = error(AT, "stt", "error", "Timeout");
    error["details"] = "DETAILS".into();
    sound().error(error).to_string().replace("\"DETAILS\"", text)
}

async fn providers(backend: Backend) {
    let of = |name, value: Value| case(name, "providers", value);
    let named = |number: usize| provider(&format!("stt-{number}"), json!([]));
    let table: Vec<Case> = vec![
        of("providers not a list", json!({"stt": "deepgram"})),
        of("a provider as text", json!(["deepgram"])),
        of("a provider as a list", json!([["stt", "deepgram", [118.2]]])),
        of("provider_type missing", json!([{"provider_name": "deepgram"}])),
        of("provider_type unknown", json!([{"provider_type": "asr", "provider_name": "deepgram"}])),
        of("provider_type null", json!([{"provider_type": null, "provider_name": "deepgram"}])),
        of("provider_name missing", json!([{"provider_type": "stt"}])),
        of("provider_name empty", json!([provider("", json!([]))])),
        of("provider_name too long", json!([provider(&"x".repeat(65), json!([]))])),
        of("provider_name with NUL", json!([provider("a\0", json!([]))])),
        of("unknown field", json!([{"provider_type": "stt", "provider_name": "deepgram", "latency_ms": 5}])),
        (
            "field twice",
            sound()
                .provider("stt", "a", &[])
                .to_string()
                .replace(r#"{"latencies_ms""#, r#"{"latencies_ms":[],"latencies_ms""#),
        ),
        of("the second of two", json!([named(1), {"provider_type": "x"}])),
        of("too many providers", (0..33).map(named).collect()),
        of("latencies as text", json!([provider("deepgram", "118.2")])),
        of("a latency as text", json!([provider("deepgram", json!([118.2, "131.5"]))])),
        ("a latency past any number", with_latencies("[118.2,1e999]")),
        ("a latency that is no JSON number", with_latencies("[NaN]")),
        of("too many latencies in one", json!([provider("deepgram", vec![118.2; 10_001])])),
        of("too many that are no latencies", json!([provider("deepgram", vec![0; 100_000])])),
        of("too many latencies in all", json!([provider("a", vec![1; 5000]), provider("b", vec![1; 5001])])),
    ];
    assert_snapshot!(refusals(backend, &table).await, @"
    providers not a list
      422 validation_error: providers: must be a list
    a provider as text
      422 validation_error: providers[0]: must be an object
    a provider as a list
      422 validation_error: providers[0]: must be an object
    provider_type missing
      422 validation_error: providers[0].provider_type: is required
    provider_type unknown
      422 validation_error: providers[0].provider_type: must be one of stt, llm, tts
    provider_type null
      422 validation_error: providers[0].provider_type: is required
    provider_name missing
      422 validation_error: providers[0].provider_name: is required
    provider_name empty
      422 validation_error: providers[0].provider_name: must not be empty
    provider_name too long
      422 validation_error: providers[0].provider_name: must be at most 64 characters long
    provider_name with NUL
      422 validation_error: providers[0].provider_name: must not contain the NUL character
    unknown field
      422 validation_error: providers[0].latency_ms: is unknown; allowed: provider_type, provider_name, model, latencies_ms
    field twice
      422 validation_error: providers[0].latencies_ms: must not be given more than once
    the second of two
      422 validation_error: 2 fields are at fault
        providers[1].provider_type: must be one of stt, llm, tts
        providers[1].provider_name: is required
    too many providers
      422 validation_error: providers: must have at most 32 entries
    latencies as text
      422 validation_error: providers[0].latencies_ms: must be a list
    a latency as text
      422 validation_error: providers[0].latencies_ms[1]: must be a number
    a latency past any number
      400 malformed_request: the body is not valid JSON: number out of range (column 125)
    a latency that is no JSON number
      400 malformed_request: the body is not valid JSON: expected value (column 115)
    too many latencies in one
      422 validation_error: providers[0].latencies_ms: must have at most 10000 entries
    too many that are no latencies
      422 validation_error: providers[0].latencies_ms: must have at most 10000 entries
    too many latencies in all
      422 validation_error: providers: must have at most 10000 latencies in total
    ");
}

async fn errors(backend: Backend) {
    let of = |name, value: Value| case(name, "errors", value);
    let one = || error(AT, "stt", "error", "Timeout");
    let set = |field: &str, value: Value| {
        let mut error = one();
        error[field] = value;
        json!([error])
    };
    let without = |field: &str| {
        let mut error = one();
        error.as_object_mut().expect("an object").remove(field);
        json!([one(), error])
    };
    let at = |timestamp: &str| set("timestamp", timestamp.into());
    let large_details = || {
        let errors = set("details", json!({"x": "y".repeat(16 * 1024 - 8)}));
        Value::from(vec![errors[0].clone(); 64 + 1])
    };
    let deep = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({"in": inner}));
    let table: Vec<Case> = vec![
        of("errors not a list", json!("Timeout")),
        of("an error as text", json!(["Timeout"])),
        of("an error as a list", json!([[AT, "stt", "error", "Timeout"]])),
        of("timestamp missing", without("timestamp")),
        of("timestamp no timestamp", at("10:00")),
        of("timestamp before the call", at("2026-01-17T09:54:59.999999Z")),
        of("timestamp after the call", at("2026-01-17T10:06:00.000001Z")),
        (
            "timestamp more than a day after an active call's start",
            active(1, AT).error(error("2026-01-18T10:05:00.000001Z", "stt", "error", "Late")).to_string(),
        ),
        of("service missing", without("service")),
        of("service unknown", set("service", "asr".into())),
        of("level missing", without("level")),
        of("level unknown", set("level", "fatal".into())),
        of("message missing", without("message")),
        of("message empty", set("message", "".into())),
        of("message too long", set("message", "x".repeat(4097).into())),
        of("message with NUL", set("message", "a\0".into())),
        of("agent empty", set("agent", "".into())),
        of("agent too long", set("agent", "x".repeat(129).into())),
        of("details a list", set("details", json!([1]))),
        of("details text", set("details", "timeout".into())),
        of("details too large", set("details", json!({"x": "y".repeat(16 * 1024 - 7)}))),
        ("details with a number past any", with_details(r#"{"a":1e400}"#)),
        ("details with half a surrogate pair", with_details(r#"{"a":"\ud800"}"#)),
        of("details too deep", set("details", deep(32))),
        of("unknown field", set("code", 504.into())),
        of(
            "several at once",
            set("service", Value::Null).as_array().map_or(Value::Null, |list| json!([list[0], {"level": "x"}])),
        ),
        of("too many errors", vec![one(); 201].into()),
        of("1 MiB of details and 65 messages", large_details()),
        of("far too many errors, all empty", vec![json!({}); 100_000].into()),
    ];
    assert_snapshot!(refusals(backend, &table).await, @"
    errors not a list
      422 validation_error: errors: must be a list
    an error as text
      422 validation_error: errors[0]: must be an object
    an error as a list
      422 validation_error: errors[0]: must be an object
    timestamp missing
      422 validation_error: errors[1].timestamp: is required
    timestamp no timestamp
      422 validation_error: errors[0].timestamp: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    timestamp before the call
      422 validation_error: errors[0].timestamp: must lie within the call, give or take 5 minutes
    timestamp after the call
      422 validation_error: errors[0].timestamp: must lie within the call, give or take 5 minutes
    timestamp more than a day after an active call's start
      422 validation_error: errors[0].timestamp: must lie within the call, give or take 5 minutes
    service missing
      422 validation_error: errors[1].service: is required
    service unknown
      422 validation_error: errors[0].service: must be one of stt, llm, tts, workflow, tool
    level missing
      422 validation_error: errors[1].level: is required
    level unknown
      422 validation_error: errors[0].level: must be one of error, warning
    message missing
      422 validation_error: errors[1].message: is required
    message empty
      422 validation_error: errors[0].message: must not be empty
    message too long
      422 validation_error: errors[0].message: must be at most 4096 characters long
    message with NUL
      422 validation_error: errors[0].message: must not contain the NUL character
    agent empty
      422 validation_error: errors[0].agent: must not be empty
    agent too long
      422 validation_error: errors[0].agent: must be at most 128 characters long
    details a list
      422 validation_error: errors[0].details: must be a JSON object
    details text
      422 validation_error: errors[0].details: must be a JSON object
    details too large
      422 validation_error: errors[0].details: must be at most 16384 bytes of JSON
    details with a number past any
      422 validation_error: errors[0].details: must not hold half a surrogate pair, nor a number past the range of 64-bit floats
    details with half a surrogate pair
      422 validation_error: errors[0].details: must not hold half a surrogate pair, nor a number past the range of 64-bit floats
    details too deep
      422 validation_error: errors[0].details: must be nested at most 32 deep
    unknown field
      422 validation_error: errors[0].code: is unknown; allowed: timestamp, service, level, message, details, agent, provider_name
    several at once
      422 validation_error: 5 fields are at fault
        errors[0].service: is required
        errors[1].timestamp: is required
        errors[1].service: is required
        errors[1].level: must be one of error, warning
        errors[1].message: is required
    too many errors
      422 validation_error: errors: must have at most 200 entries
    1 MiB of details and 65 messages
      422 validation_error: errors: must have at most 1048576 bytes of messages and details in total
    far too many errors, all empty
      422 validation_error: 20 fields are at fault
        errors[0].timestamp: is required
        errors[0].service: is required
        errors[0].level: is required
        errors[0].message: is required
        errors[1].timestamp: is required
        errors[1].service: is required
        errors[1].level: is required
        errors[1].message: is required
        errors[2].timestamp: is required
        errors[2].service: is required
        errors[2].level: is required
        errors[2].message: is required
        errors[3].timestamp: is required
        errors[3].service: is required
        errors[3].level: is required
        errors[3].message: is required
        errors[4].timestamp: is required
        errors[4].service: is required
        errors[4].level: is required
        errors[4].message: is required
    ");
}

async fn parts_at_their_bounds_are_accepted(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let details = |details: Value| {
        let mut error = error(AT, "tool", "warning", &"é".repeat(4096));
        error["details"] = details;
        error
    };
    let deep = (0..31).fold(json!({}), |inner, _| json!({"in": inner}));
    acme.given(&[
        sound()
            .with("providers", (0..32).map(|number| provider(&format!("stt-{number}"), json!([1]))).collect::<Value>()),
        active(2, AT).with("providers", vec![provider(&"x".repeat(64), vec![118.2; 10_000])]),
        active(3, AT).with("errors", vec![error(AT, "stt", "error", "Timeout"); 200]),
        active(4, AT).error(error("2026-01-17T09:55:00Z", "stt", "error", "Early")),
        active(5, AT).error(error("2026-01-18T10:05:00Z", "stt", "error", "Late")),
        active(6, AT).error(details(json!({"x": "y".repeat(16 * 1024 - 8)}))),
        active(7, AT).error(details(deep)),
        active(8, AT).error(details(json!({"brackets": "[{[{\"\\".repeat(100)}))),
        active(9, AT).error(details(Value::Null)),
    ])
    .await;
    let value = acme.errors("?limit=200").await.value();
    assert_eq!(value["total"], 206);
}

async fn a_field_twice_inside_details_is_the_clients_own_business(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let json = sound()
        .with("errors", vec![error(AT, "stt", "error", "Timeout")])
        .to_string()
        .replace(r#""level""#, r#""details":{"a":1,"a":2},"level""#);
    let put = Request::new("PUT", format!("{}/{}", crate::client::INGEST, call_id(1))).json(json);
    assert_eq!(acme.send(&put).await.status, 201);
    assert!(acme.errors("").await.text().contains(r#""details":{"a":1,"a":2}"#));
}

//! Bad fields of a record itself, and rules that join two of them.

use crate::bad_record::{AT, Case, case, refusals, sound};
use crate::records::{active, call_id, completed};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::{Value, json};

on_each_backend!(ids_states_and_texts, times, workflows, values_at_their_bounds_are_accepted);

async fn ids_states_and_texts(backend: Backend) {
    let table: Vec<Case> = vec![
        case("call_id that is no UUID", "call_id", "call-1"),
        case("call_id of another type", "call_id", 1),
        ("status missing", sound().without("status").to_string()),
        case("status null", "status", Value::Null),
        case("status unknown", "status", "done"),
        case("status in capitals", "status", "Completed"),
        case("status of another type", "status", true),
        case("end_reason empty", "end_reason", ""),
        case("end_reason too long", "end_reason", "x".repeat(129)),
        case("end_reason with NUL", "end_reason", "a\0b"),
        case("agent empty", "agent", ""),
        case("agent too long", "agent", "é".repeat(129)),
        case("agent with NUL", "agent", "\0"),
        case("agent of another type", "agent", json!({"name": "greeter"})),
        case("tokens negative", "total_tokens", -1),
        case("tokens huge", "total_tokens", 1_000_000_001),
        case("tokens that fit no integer", "total_tokens", u64::MAX),
        case("tokens with a fraction", "total_tokens", 1.5),
        case("tokens as text", "total_tokens", "1500"),
        (
            "tokens past any number",
            sound().with("total_tokens", 9).to_string().replace(":9,", ":1e999,").replace(":9}", ":1e999}"),
        ),
        case("unknown field", "duration", 60),
        ("field twice", sound().to_string().replacen('{', r#"{"status":"failed","#, 1)),
        ("an empty list", "[]".to_owned()),
        ("the fields as a list", json!([call_id(1), "active", AT]).to_string()),
        ("a number", "7".to_owned()),
        ("null", "null".to_owned()),
        ("nothing but an id", json!({"call_id": call_id(1)}).to_string()),
    ];
    assert_snapshot!(refusals(backend, &table).await, @"
    call_id that is no UUID
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09; for an id of another form, send source and external_id instead
    call_id of another type
      422 validation_error: call_id: must be a string
    status missing
      422 validation_error: status: is required
    status null
      422 validation_error: status: is required
    status unknown
      422 validation_error: status: must be one of active, completed, failed
    status in capitals
      422 validation_error: status: must be one of active, completed, failed
    status of another type
      422 validation_error: status: must be a string
    end_reason empty
      422 validation_error: end_reason: must not be empty
    end_reason too long
      422 validation_error: end_reason: must be at most 128 characters long
    end_reason with NUL
      422 validation_error: end_reason: must not contain the NUL character
    agent empty
      422 validation_error: agent: must not be empty
    agent too long
      422 validation_error: agent: must be at most 128 characters long
    agent with NUL
      422 validation_error: agent: must not contain the NUL character
    agent of another type
      422 validation_error: agent: must be a string
    tokens negative
      422 validation_error: total_tokens: must be between 0 and 1000000000
    tokens huge
      422 validation_error: total_tokens: must be between 0 and 1000000000
    tokens that fit no integer
      422 validation_error: total_tokens: must be a whole number
    tokens with a fraction
      422 validation_error: total_tokens: must be a whole number
    tokens as text
      422 validation_error: total_tokens: must be a whole number
    tokens past any number
      400 malformed_request: the body is not valid JSON: number out of range (column 161)
    unknown field
      422 validation_error: duration: is unknown; allowed: call_id, source, external_id, status, started_at, ended_at, end_reason, workflow, agent, agent_version, environment, direction, language, outcome, end_category, tags, version, turns, interruptions, tool_calls, turn_latencies_ms, total_tokens, input_tokens, output_tokens, cached_input_tokens, cost_usd, providers, errors
    field twice
      422 validation_error: status: must not be given more than once
    an empty list
      422 validation_error: (record): must be an object
    the fields as a list
      422 validation_error: (record): must be an object
    a number
      422 validation_error: (record): must be an object
    null
      422 validation_error: (record): must be an object
    nothing but an id
      422 validation_error: 2 fields are at fault
        status: is required
        started_at: is required
    ");
}

async fn times(backend: Backend) {
    let table: Vec<Case> = vec![
        ("started_at missing", sound().without("started_at").to_string()),
        case("started_at null", "started_at", Value::Null),
        case("started_at empty", "started_at", ""),
        case("started_at of another type", "started_at", 1_768_644_000),
        case("started_at without an offset", "started_at", "2026-01-17T10:00:00"),
        case("started_at that no calendar has", "started_at", "2026-02-29T10:00:00Z"),
        case("started_at with a space", "started_at", "17 January 2026"),
        ("started_at more than 24 h ahead", active(1, "2026-01-18T12:00:00.000001Z").to_string()),
        ("ended_at missing", sound().without("ended_at").to_string()),
        case("ended_at null", "ended_at", Value::Null),
        case("ended_at no timestamp", "ended_at", "later"),
        case("ended_at before started_at", "ended_at", "2026-01-17T09:59:59.999999Z"),
        ("ended_at while active", sound().with("status", "active").to_string()),
        ("longer than 24 h", completed(1, "2026-01-10T10:00:00Z", 86_401).to_string()),
        (
            "several rules at once",
            active(1, "2026-01-20T10:00:00Z")
                .with("ended_at", AT)
                .with("total_tokens", -1)
                .with("agent", "")
                .to_string(),
        ),
    ];
    assert_snapshot!(refusals(backend, &table).await, @"
    started_at missing
      422 validation_error: started_at: is required
    started_at null
      422 validation_error: started_at: is required
    started_at empty
      422 validation_error: started_at: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    started_at of another type
      422 validation_error: started_at: must be a string
    started_at without an offset
      422 validation_error: started_at: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    started_at that no calendar has
      422 validation_error: started_at: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    started_at with a space
      422 validation_error: started_at: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    started_at more than 24 h ahead
      422 validation_error: started_at: must be at most 24 hours in the future
    ended_at missing
      422 validation_error: ended_at: is required when the call is completed or failed
    ended_at null
      422 validation_error: ended_at: is required when the call is completed or failed
    ended_at no timestamp
      422 validation_error: ended_at: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ended_at before started_at
      422 validation_error: ended_at: must not be before started_at
    ended_at while active
      422 validation_error: ended_at: must be absent while the call is active
    longer than 24 h
      422 validation_error: ended_at: must be at most 24 hours after started_at
    several rules at once
      422 validation_error: 5 fields are at fault
        agent: must not be empty
        ended_at: must be absent while the call is active
        ended_at: must not be before started_at
        started_at: must be at most 24 hours in the future
        total_tokens: must be between 0 and 1000000000
    ");
}

async fn workflows(backend: Backend) {
    let workflow = |name, value| case(name, "workflow", value);
    let table: Vec<Case> = vec![
        workflow("workflow as text", json!("daily-call")),
        workflow("workflow as a list", json!(["daily-call", "Daily"])),
        workflow("slug missing", json!({"name": "Daily"})),
        workflow("slug empty", json!({"slug": ""})),
        workflow("slug in capitals", json!({"slug": "Daily"})),
        workflow("slug too long", json!({"slug": "x".repeat(65)})),
        workflow("slug with NUL", json!({"slug": "a\0"})),
        workflow("slug of another type", json!({"slug": 5})),
        workflow("name empty", json!({"slug": "daily", "name": ""})),
        workflow("name too long", json!({"slug": "daily", "name": "x".repeat(201)})),
        workflow("name with NUL", json!({"slug": "daily", "name": "a\0"})),
        workflow("id no UUID", json!({"slug": "daily", "id": "7"})),
        workflow("id nil", json!({"slug": "daily", "id": "00000000-0000-0000-0000-000000000000"})),
        workflow("unknown field", json!({"slug": "daily", "version": 2})),
        (
            "field twice",
            active(1, AT).workflow("daily", "Daily").to_string().replace(r#"{"name""#, r#"{"name":"","name""#),
        ),
    ];
    assert_snapshot!(refusals(backend, &table).await, @"
    workflow as text
      422 validation_error: workflow: must be an object
    workflow as a list
      422 validation_error: workflow: must be an object
    slug missing
      422 validation_error: workflow.slug: is required
    slug empty
      422 validation_error: workflow.slug: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    slug in capitals
      422 validation_error: workflow.slug: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    slug too long
      422 validation_error: workflow.slug: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    slug with NUL
      422 validation_error: workflow.slug: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    slug of another type
      422 validation_error: workflow.slug: must be a string
    name empty
      422 validation_error: workflow.name: must not be empty
    name too long
      422 validation_error: workflow.name: must be at most 200 characters long
    name with NUL
      422 validation_error: workflow.name: must not contain the NUL character
    id no UUID
      422 validation_error: workflow.id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    id nil
      422 validation_error: workflow.id: must not be the nil UUID
    unknown field
      422 validation_error: workflow.version: is unknown; allowed: slug, name, id
    field twice
      422 validation_error: workflow.name: must not be given more than once
    ");
}

async fn values_at_their_bounds_are_accepted(backend: Backend) {
    let server = crate::server::Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        sound().with("end_reason", "x".repeat(128)).with("agent", "é".repeat(128)).tokens(1_000_000_000),
        completed(2, "2026-01-10T10:00:00Z", 86_400),
        completed(3, AT, 0),
        active(4, "2026-01-18T12:00:00Z").with("ended_at", Value::Null).tokens(0),
        active(5, "1970-01-01T00:00:00Z"),
        active(6, AT).with("workflow", json!({"slug": "x".repeat(64), "name": "🎙".repeat(200)})),
        active(7, AT).with("workflow", Value::Null).with("providers", Value::Null).with("errors", Value::Null),
        active(8, AT).with("end_reason", Value::Null).with("agent", Value::Null).with("total_tokens", Value::Null),
    ])
    .await;
}

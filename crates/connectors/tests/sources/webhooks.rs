//! Sample payloads of each source and the records that they must give.

use crate::{data, json, names};
use callscope_connectors::mapping::EndOverrides;
use callscope_connectors::report::CallReport;
use callscope_connectors::webhooks::{Delivery, Ignored, WebhookContext, WebhookFault, WebhookProvider, parse};
use callscope_domain::{CallStatus, EndCategory};
use chrono::DateTime;
use serde_json::{Value, json as value};

/// The time of a message that tells none, in the vectors.
const RECEIVED_AT_US: i64 = 1_795_000_000_000_000;

fn read_with(overrides: &EndOverrides, provider: WebhookProvider, body: &[u8]) -> Result<Delivery, WebhookFault> {
    let received_at = DateTime::from_timestamp_micros(RECEIVED_AT_US).expect("a time");
    parse(provider, body, &WebhookContext { received_at, overrides })
}

fn read(provider: WebhookProvider, body: &Value) -> Result<Delivery, WebhookFault> {
    read_with(&EndOverrides::default(), provider, body.to_string().as_bytes())
}

fn call(provider: WebhookProvider, body: &Value) -> CallReport {
    match read(provider, body) {
        Ok(Delivery::Call(report)) => *report,
        other => panic!("{body}: {other:?}"),
    }
}

fn provider_of(name: &str) -> WebhookProvider {
    let word = name.split(['_', '.']).next().expect("a first word");
    word.parse().expect("a provider")
}

/// A report in the words of the vectors.
fn as_vector(report: &CallReport) -> Value {
    let micros = |time: &DateTime<chrono::Utc>| time.timestamp_micros();
    let written = serde_json::to_value(report).expect("a record");
    let total = report.total_tokens.or_else(|| Some(report.input_tokens? + report.output_tokens?)).unwrap_or(0);
    #[expect(clippy::cast_possible_truncation, reason = "micro-dollars of test data")]
    let cost = report.cost_usd.map(|usd| (usd * 1e6).round() as i64);
    value!({
        "source": report.source, "external_id": report.external_id, "version": report.version,
        "status": written["status"], "started_us": micros(&report.started_at),
        "ended_us": report.ended_at.as_ref().map(micros), "end_reason": report.end_reason,
        "end_category": written["end_category"], "agent": report.agent, "direction": written["direction"],
        "language": report.language, "cost_microusd": cost, "input_tokens": report.input_tokens,
        "output_tokens": report.output_tokens, "cached_input_tokens": report.cached_input_tokens,
        "total_tokens": total, "interruptions": report.interruptions,
        "turns": report.turns, "tool_calls": report.tool_calls, "turn_latencies_ms": report.turn_latencies_ms,
        "providers": report.providers.iter().map(|used| value!({
            "type": used.provider_type.as_str(), "name": used.provider_name, "model": used.model,
            "latencies_ms": used.latencies_ms,
        })).collect::<Vec<_>>(),
        "errors": report.errors.iter().map(|error| value!({
            "timestamp_us": micros(&error.timestamp), "service": error.service.as_str(),
            "level": error.level.as_str(), "message": error.message,
        })).collect::<Vec<_>>(),
    })
}

/// Numbers as floats, so that 1195 and 1195.0 are equal.
fn with_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => value!(number.as_f64()),
        Value::Array(items) => items.iter().map(with_floats).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), with_floats(value))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn every_sample_payload_gives_its_record() {
    for name in names("payloads") {
        let body = json(&format!("payloads/{name}"));
        let report = call(provider_of(&name), &body);
        let mut expected = json(&format!("webhooks/{name}"))["record"].clone();
        let fields = expected.as_object_mut().expect("a record");

        let call_id = fields.remove("call_id").expect("an id");
        if let Some(id) = report.call_id {
            assert_eq!(call_id, value!(id.to_string()), "{name}");
        }
        let workflow = fields.remove("workflow").expect("a workflow or null");
        let told = report.workflow.as_ref().and_then(|workflow| workflow.name.as_ref().or(workflow.slug.as_ref()));
        assert_eq!(workflow, value!(told), "{name}");
        assert_eq!(with_floats(&as_vector(&report)), with_floats(&expected), "{name}");
    }
}

#[test]
fn what_is_said_and_by_whom_is_in_no_record() {
    const PRIVATE: [&str; 8] =
        ["appointment", "hi how are you", "+1", "recording", "Hello", "John Doe", "user-123", "timeout"];
    for name in names("payloads") {
        let report = call(provider_of(&name), &json(&format!("payloads/{name}")));
        let written = serde_json::to_string(&report).expect("a record");
        for word in PRIVATE {
            assert!(!written.contains(word), "{name}: {word}");
        }
    }
}

/// Whatever a field holds, the message is read or has no id; it never fails for the field's type.
#[test]
fn a_field_of_another_type_costs_no_more_than_itself() {
    let wrong = [Value::Null, value!(true), value!(-1e300), value!("\u{0}"), value!([[]]), value!({"values": 1})];
    for name in names("payloads") {
        let body = json(&format!("payloads/{name}"));
        for pointer in pointers(&body) {
            for wrong in &wrong {
                let mut body = body.clone();
                *body.pointer_mut(&pointer).expect("it is there") = wrong.clone();
                if pointer.is_empty() {
                    continue;
                }
                match read(provider_of(&name), &body) {
                    Ok(_) | Err(WebhookFault::NoCallId) => {}
                    Err(fault) => panic!("{name} {pointer} {wrong}: {fault}"),
                }
            }
        }
    }
}

fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        found.extend(pointers(child).into_iter().map(|rest| format!("/{name}{rest}")));
    }
    found
}

#[test]
fn a_body_that_is_no_object_is_refused_and_one_without_an_id_too() {
    for &provider in WebhookProvider::ALL {
        for body in [&b""[..], b"[]", b"null", b"{", b"\xFF"] {
            let refused = read_with(&EndOverrides::default(), provider, body);
            assert_eq!(refused, Err(WebhookFault::NotJson), "{provider}");
        }
    }
    let without_id = [
        (WebhookProvider::Vapi, value!({"message": {"type": "end-of-call-report", "call": {"id": ""}}})),
        (WebhookProvider::Retell, value!({"event": "call_ended", "call": {}})),
        (WebhookProvider::ElevenLabs, value!({"type": "post_call_transcription"})),
        (WebhookProvider::Bland, value!({})),
        (WebhookProvider::Bolna, value!({"id": "x".repeat(257), "status": "completed"})),
        (WebhookProvider::Tap, value!({"type": "call.started", "data": {"call_id": null}})),
    ];
    for (provider, body) in without_id {
        assert_eq!(read(provider, &body), Err(WebhookFault::NoCallId), "{provider}");
    }
}

#[test]
fn messages_that_say_nothing_of_a_call_are_ignored() {
    let vapi = |kind: &str, status: Value| value!({"message": {"type": kind, "status": status, "call": {"id": "x"}}});
    let ignored = [
        (WebhookProvider::Vapi, vapi("transcript", Value::Null), Ignored::OtherMessage),
        (WebhookProvider::Vapi, vapi("assistant-request", Value::Null), Ignored::ExpectsAnswer),
        (WebhookProvider::Vapi, vapi("status-update", value!("queued")), Ignored::NotBegun),
        (WebhookProvider::Vapi, vapi("status-update", value!("not-found")), Ignored::NoCall),
        (WebhookProvider::Retell, value!({"event": "chat_started"}), Ignored::OtherMessage),
        (WebhookProvider::ElevenLabs, value!({"type": "post_call_audio", "data": {}}), Ignored::OtherMessage),
        (WebhookProvider::Bolna, value!({"id": "x", "status": "scheduled"}), Ignored::NotBegun),
        (WebhookProvider::Tap, value!({"type": "workflow.created", "data": {"call_id": "x"}}), Ignored::OtherMessage),
    ];
    for (provider, body, why) in ignored {
        assert_eq!(read(provider, &body), Ok(Delivery::Ignored(why)), "{body}");
    }
}

#[test]
fn a_later_state_of_a_call_has_a_higher_version_whatever_the_order() {
    let retell = |event: &str| {
        let body = value!({"event": event, "call": {"call_id": "x", "call_status": "ended", "start_timestamp": 1}});
        call(WebhookProvider::Retell, &body)
    };
    let [started, ended, analyzed] = ["call_started", "call_ended", "call_analyzed"].map(retell);
    assert!(started.version < ended.version && ended.version < analyzed.version);
    assert_eq!((started.status, ended.status), (CallStatus::Active, CallStatus::Completed));
    assert!(started.ended_at.is_none() && started.end_category.is_none() && started.errors.is_empty());

    let vapi = |kind: &str, status: &str, timestamp: i64| {
        let message = value!({"type": kind, "status": status, "timestamp": timestamp, "call": {"id": "x"}});
        call(WebhookProvider::Vapi, &value!({"message": message}))
    };
    let at = RECEIVED_AT_US / 1000;
    let going_on = vapi("status-update", "in-progress", at + 5);
    let report = vapi("end-of-call-report", "", at);
    assert_eq!(vapi("status-update", "a-new-status", at).status, CallStatus::Active);
    assert!(vapi("status-update", "ringing", at).version < going_on.version);
    assert!(going_on.version < vapi("status-update", "ended", at).version);
    assert!(vapi("status-update", "ended", at + 5).version < report.version);
}

#[test]
fn a_failed_call_has_one_error_at_its_end() {
    let message = value!({"type": "end-of-call-report", "endedReason": "pipeline-error-openai-llm-failed",
        "startedAt": "2026-06-16T10:00:00.000Z", "endedAt": "2026-06-16T10:01:00.000Z", "call": {"id": "x"}});
    let report = call(WebhookProvider::Vapi, &value!({"message": message}));
    assert_eq!((report.status, report.end_category), (CallStatus::Failed, Some(EndCategory::ProviderError)));
    let [error] = &report.errors[..] else { panic!("{:?}", report.errors) };
    assert_eq!((error.service.as_str(), error.message.as_str()), ("llm", "pipeline-error-openai-llm-failed"));
    assert_eq!(Some(error.timestamp), report.ended_at);

    let unconnected = value!({"event": "call_ended", "call": {"call_id": "x", "call_status": "not_connected",
        "disconnection_reason": "user_hangup"}});
    let report = call(WebhookProvider::Retell, &unconnected);
    assert_eq!((report.status, report.errors.len()), (CallStatus::Failed, 1));
    assert_eq!(report.ended_at, Some(report.started_at));
}

#[test]
fn an_unknown_end_reason_is_kept_with_the_category_unknown() {
    let body = value!({"event": "call_ended", "call": {"call_id": "x", "disconnection_reason": "a_new_reason"}});
    let report = call(WebhookProvider::Retell, &body);
    assert_eq!(report.end_reason.as_deref(), Some("a_new_reason"));
    assert_eq!((report.end_category, report.status), (Some(EndCategory::Unknown), CallStatus::Completed));
}

#[test]
fn a_tenant_puts_an_end_reason_into_another_category() {
    let overrides: EndOverrides = [("bland", "completed", EndCategory::TaskCompleted)].into_iter().collect();
    let body = data("payloads/bland_post_call.json");
    let Ok(Delivery::Call(report)) = read_with(&overrides, WebhookProvider::Bland, &body) else { panic!("a call") };
    assert_eq!(report.end_category, Some(EndCategory::TaskCompleted));
    assert_eq!(report.end_reason.as_deref(), Some("completed"));
}

#[test]
fn money_is_in_dollars_whatever_the_source_counts_in() {
    let cents = value!({"event": "call_ended", "call": {"call_id": "x", "call_cost": {"combined_cost": 12.345_678}}});
    assert_eq!(call(WebhookProvider::Retell, &cents).cost_usd, Some(0.123_457));
    let dollars = value!({"call_id": "x", "price": "0.09"});
    assert_eq!(call(WebhookProvider::Bland, &dollars).cost_usd, Some(0.09));
    let credits =
        value!({"type": "post_call_transcription", "data": {"conversation_id": "x", "metadata": {"cost": 84}}});
    assert_eq!(call(WebhookProvider::ElevenLabs, &credits).cost_usd, None);
    let contradictory = value!({"id": 7, "status": "completed", "total_cost": 4.2});
    assert_eq!(call(WebhookProvider::Bolna, &contradictory).cost_usd, None);
    let absurd = value!({"call_id": "x", "price": 1e9});
    assert_eq!(call(WebhookProvider::Bland, &absurd).cost_usd, None);
}

#[test]
fn a_uuid_is_the_calls_own_id_and_other_ids_are_not() {
    let id = |external: &str| {
        let report = call(WebhookProvider::Tap, &value!({"type": "call.started", "data": {"call_id": external}}));
        assert_eq!(report.external_id.as_deref(), Some(external));
        report.call_id.map(|id| id.to_string())
    };
    assert_eq!(id("31C02E4F-12E0-4AF0-869B-AAB222503A09").as_deref(), Some("31c02e4f-12e0-4af0-869b-aab222503a09"));
    assert_eq!(id("31c02e4f12e04af0869baab222503a09"), None);
    assert_eq!(id("call-17"), None);
}

#[test]
fn a_tool_that_failed_is_an_error_with_its_name_and_without_its_result() {
    let talk = value!([
        {"role": "tool_call_invocation", "tool_call_id": "t1", "name": "get_slots", "arguments": "secret"},
        {"role": "tool_call_result", "tool_call_id": "t1", "successful": false, "content": "secret"},
        {"role": "tool_call_result", "tool_call_id": "t2", "successful": true},
    ]);
    let body = value!({"event": "call_ended", "call": {"call_id": "x", "transcript_with_tool_calls": talk}});
    let report = call(WebhookProvider::Retell, &body);
    let [error] = &report.errors[..] else { panic!("{:?}", report.errors) };
    assert_eq!((error.service.as_str(), error.message.as_str()), ("tool", "get_slots failed"));
    assert_eq!(report.tool_calls, Some(1));
}

#[test]
fn a_record_stays_within_the_bounds_of_ingestion() {
    let turns = vec![value!({"turnLatency": 5}); 12_000];
    let messages = vec![value!({"role": "user"})];
    let message = value!({"type": "end-of-call-report", "endedReason": "x".repeat(500), "call": {"id": "x"},
        "assistant": {"name": "n".repeat(500), "transcriber": {"provider": "p", "model": "m".repeat(500)}},
        "costs": [{"type": "model", "promptTokens": 1e18, "completionTokens": 3}],
        "artifact": {"performanceMetrics": {"turnLatencies": turns}, "messages": messages}});
    let report = call(WebhookProvider::Vapi, &value!({"message": message}));
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    assert_eq!((length(&report.end_reason), length(&report.agent)), (128, 128));
    assert_eq!(report.turn_latencies_ms.len(), 10_000);
    assert_eq!((report.input_tokens, report.output_tokens), (None, Some(3)));
    assert_eq!(report.providers.first().map(|used| length(&used.model)), Some(128));
    let workflow = report.workflow.expect("a workflow");
    assert_eq!((length(&workflow.name), length(&workflow.slug)), (200, 64));
}

//! What writers of OTLP's JSON disagree about.

use crate::captures::{logs, received_at, spans};
use callscope_connectors::extraction::{Extracted, ExtractionSettings, extract_logs, extract_spans};
use callscope_connectors::facts::Event;
use callscope_connectors::otlp::Encoding;
use serde_json::{Value, json};

fn span() -> Value {
    json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "EEE19B7EC3C1B174", "parentSpanId": null, "name": "stt",
        "startTimeUnixNano": "1795335372757712255", "endTimeUnixNano": 1_795_335_373_531_414_795_u64,
        "attributes": [{"key": "metrics.ttfb", "value": {"doubleValue": 0.25}}],
    })
}

fn request(spans: &[Value]) -> String {
    let scope = json!({"scope": {"name": "pipecat"}, "spans": spans});
    json!({"resourceSpans": [{"scopeSpans": [scope], "schemaUrl": "?"}], "unknown": {"deep": [[{}]]}}).to_string()
}

fn extracted(spans_of_request: &[Value]) -> Extracted {
    spans(request(spans_of_request).as_bytes(), Encoding::Json)
}

fn with(name: &str, value: Value) -> Value {
    let mut span = span();
    span[name] = value;
    span
}

fn latency_of(span: Value) -> Option<u32> {
    extracted(&[span]).calls[0].facts[0].sample.as_ref().map(|sample| sample.latency_us)
}

#[test]
fn missing_and_null_lists_are_empty() {
    for body in ["{}", "null", r#"{"resourceSpans": null}"#, r#"{"resourceSpans": []}"#] {
        assert_eq!(spans(body.as_bytes(), Encoding::Json), Extracted::default(), "{body}");
        assert_eq!(logs(body.as_bytes(), Encoding::Json), Extracted::default(), "{body}");
    }
    for body in [
        r#"{"resourceSpans": [null, {}, {"resource": null, "scopeSpans": null}]}"#,
        r#"{"resourceSpans": [{"resource": {"attributes": null}, "scopeSpans": [{"scope": null, "spans": null}]}]}"#,
    ] {
        assert_eq!(spans(body.as_bytes(), Encoding::Json), Extracted::default(), "{body}");
    }
    for name in ["attributes", "events", "status"] {
        assert_eq!(extracted(&[with(name, Value::Null)]).kept, 1, "{name}");
    }
}

#[test]
fn numbers_may_be_texts_and_whole_numbers_may_have_a_fraction_of_zero() {
    assert_eq!(latency_of(span()), Some(250_000));
    let value = |value: Value| with("attributes", json!([{"key": "metrics.ttfb", "value": value}]));
    assert_eq!(latency_of(value(json!({"doubleValue": "0.25"}))), Some(250_000));
    assert_eq!(latency_of(value(json!({"intValue": "7"}))), Some(7_000_000));
    assert_eq!(latency_of(value(json!({"intValue": 7.0}))), Some(7_000_000));
    for nothing in [
        json!({"doubleValue": "NaN"}),
        json!({"doubleValue": "Infinity"}),
        json!({"stringValue": "NOT_GIVEN"}),
        json!({"boolValue": true}),
        json!({"arrayValue": {}}),
        json!({"kvlistValue": {"values": [{"key": "a", "value": {}}]}}),
        json!({}),
        Value::Null,
    ] {
        assert_eq!(latency_of(value(nothing.clone())), None, "{nothing}");
    }
}

#[test]
fn a_record_that_is_not_valid_does_not_cost_the_others() {
    for invalid in [
        with("traceId", json!("5b8efff798038103d269b633813fc6")),
        with("traceId", json!("5b8efff798038103d269b633813fc60x")),
        with("traceId", json!("00000000000000000000000000000000")),
        with("traceId", json!(5)),
        with("spanId", Value::Null),
        with("parentSpanId", json!("eee1")),
        with("startTimeUnixNano", json!(0)),
        with("startTimeUnixNano", json!("1295335372757712255")),
        with("endTimeUnixNano", json!("1895335372757712255")),
        with("endTimeUnixNano", json!(-1)),
        with("attributes", json!({"metrics.ttfb": 0.25})),
        json!("a span"),
    ] {
        let extracted = extracted(&[invalid.clone(), span()]);
        assert_eq!((extracted.kept, extracted.invalid), (1, 1), "{invalid}");
    }
}

#[test]
fn a_body_that_is_no_request_is_refused_without_its_bytes() {
    for body in ["", "secret", "[\"secret\"]", "{\"resourceSpans\": {\"secret\": 1}}", "{\"resourceSpans\": []} secret"]
    {
        let settings = ExtractionSettings::default();
        let error = extract_spans(body.as_bytes(), Encoding::Json, &settings, received_at()).unwrap_err();
        assert_eq!(error.to_string(), "the body is not an ExportTraceServiceRequest");
        let body = body.replace("Spans", "Logs");
        let error = extract_logs(body.as_bytes(), Encoding::Json, &settings, received_at()).unwrap_err();
        assert_eq!(error.to_string(), "the body is not an ExportLogsServiceRequest");
    }
}

#[test]
fn the_first_exception_is_the_reason() {
    let event = |name: &str, message: &str| {
        let attribute = json!({"key": "exception.message", "value": {"stringValue": message}});
        json!({"timeUnixNano": "1795335373000000000", "name": name, "attributes": [attribute]})
    };
    let mut failed = with("events", json!([event("log", "a"), event("exception", "b"), event("exception", "c")]));
    failed["name"] = json!("tts");
    failed["status"] = json!({"code": 2});
    let extracted = extracted(&[failed]);
    let Event::Problem { failure, .. } = &extracted.calls[0].facts[0].event else { panic!("{extracted:?}") };
    assert_eq!((&*failure.message, failure.at_us), ("b", 1_795_335_373_000_000));
}

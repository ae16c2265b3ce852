//! The bytes of answers.

use callscope_connectors::otlp::answer::{self, Rejected, StatusCode};
use callscope_connectors::otlp::{Encoding, Signal};
use serde_json::{Value, json};

/// What Python's `opentelemetry-proto` writes for the same answers.
const PARTIAL_SUCCESS: &[u8] = b"\x0a\x3b\x08\x03\x12\x37\
    3 spans were not kept: 3 exceed the limit of their call";
const UNAVAILABLE: &[u8] = b"\x08\x0e\x12\x1dthe server has too much to do";
const RETRY_INFO: &[u8] = b"\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn a_success_says_nothing() {
    let of = |encoding| answer::export_response(Signal::Logs, encoding, &Rejected::default());
    assert_eq!(of(Encoding::Protobuf), b"");
    assert_eq!(of(Encoding::Json), b"{}");
}

#[test]
fn a_partial_success_counts_what_was_refused() {
    let rejected = Rejected { beyond_call: 3, ..Rejected::default() };
    let of = |signal, encoding| answer::export_response(signal, encoding, &rejected);
    assert_eq!(of(Signal::Traces, Encoding::Protobuf), PARTIAL_SUCCESS);
    for (signal, name, records) in [
        (Signal::Traces, "rejectedSpans", "spans"),
        (Signal::Logs, "rejectedLogRecords", "log records"),
        (Signal::Metrics, "rejectedDataPoints", "data points"),
    ] {
        let message = format!("3 {records} were not kept: 3 exceed the limit of their call");
        let expected = json!({"partialSuccess": {name: "3", "errorMessage": message}});
        assert_eq!(json(&of(signal, Encoding::Json)), expected);
    }
}

#[test]
fn rejected_records_are_explained_by_their_reasons() {
    let rejected = Rejected { invalid: 1, beyond_request: 2, beyond_call: 4, beyond_tenant: 8 };
    let message = "15 log records were not kept: 1 have an invalid id or time, 2 exceed the limit of a request, \
        4 exceed the limit of their call, 8 exceed the limit of open calls";
    let expected = json!({"partialSuccess": {"rejectedLogRecords": "15", "errorMessage": message}});
    assert_eq!(json(&answer::export_response(Signal::Logs, Encoding::Json, &rejected)), expected);
}

#[test]
fn an_error_is_a_status() {
    let message = "the server has too much to do";
    assert_eq!(answer::error(Encoding::Protobuf, StatusCode::Unavailable, message), UNAVAILABLE);
    let expected = json!({"code": 14, "message": message});
    assert_eq!(json(&answer::error(Encoding::Json, StatusCode::Unavailable, message)), expected);
    let expected = [UNAVAILABLE, RETRY_INFO].concat();
    assert_eq!(answer::error_with_retry(StatusCode::Unavailable, message, 1), expected);
}

#[test]
fn content_types_are_read_without_their_parameters() {
    for (content_type, encoding) in [
        ("application/x-protobuf", Some(Encoding::Protobuf)),
        ("Application/Protobuf; charset=utf-8", Some(Encoding::Protobuf)),
        ("application/json;charset=utf-8", Some(Encoding::Json)),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(Encoding::of_content_type(content_type), encoding, "{content_type}");
    }
}

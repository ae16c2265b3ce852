//! The bodies of answers to OTLP requests, in the encoding of the request.

use crate::otlp::{Encoding, Signal};
use prost::Message;
use serde_json::json;

/// Records that were not kept, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// With an id or a time that is not valid.
    pub invalid: usize,
    /// Past the limit of a request.
    pub beyond_request: usize,
    /// Past the limit of their call.
    pub beyond_call: usize,
    /// Of new calls of a tenant that has reached its bounds.
    pub beyond_tenant: usize,
}

impl Rejected {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.invalid + self.beyond_request + self.beyond_call + self.beyond_tenant
    }

    fn message(&self, signal: Signal) -> String {
        let reasons = [
            (self.invalid, "have an invalid id or time"),
            (self.beyond_request, "exceed the limit of a request"),
            (self.beyond_call, "exceed the limit of their call"),
            (self.beyond_tenant, "exceed the limit of open calls"),
        ];
        let reasons = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} {reason}"));
        let records = match signal {
            Signal::Traces => "spans",
            Signal::Logs => "log records",
            Signal::Metrics => "data points",
        };
        format!("{} {records} were not kept: {}", self.total(), reasons.collect::<Vec<_>>().join(", "))
    }
}

/// The body of status 200: a success, or a partial success if records were rejected.
#[must_use]
pub fn export_response(signal: Signal, encoding: Encoding, rejected: &Rejected) -> Vec<u8> {
    match rejected.total() {
        0 => success(encoding),
        total => partial_success(signal, encoding, total, &rejected.message(signal)),
    }
}

/// The codes of `google.rpc.Status` that these routes answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusCode {
    /// With 400.
    InvalidArgument = 3,
    /// With 403.
    PermissionDenied = 7,
    /// With 413 and 429.
    ResourceExhausted = 8,
    /// With 503.
    Unavailable = 14,
    /// With 401.
    Unauthenticated = 16,
}

/// The body of an error.
#[must_use]
pub fn error(encoding: Encoding, code: StatusCode, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => {
            Status { code: code as i32, message: message.to_owned(), details: Vec::new() }.encode_to_vec()
        }
        Encoding::Json => json!({"code": code as i32, "message": message}).to_string().into_bytes(),
    }
}

/// The body of an error after which LiveKit's agent sends its recording again: a status in protobuf with a `RetryInfo`.
/// Without it the agent gives the recording up, whatever the status and headers of the answer.
#[must_use]
pub fn error_with_retry(code: StatusCode, message: &str, delay_s: i64) -> Vec<u8> {
    let retry = RetryInfo { retry_delay: Some(Duration { seconds: delay_s }) };
    let detail = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: retry.encode_to_vec() };
    Status { code: code as i32, message: message.to_owned(), details: vec![detail] }.encode_to_vec()
}

/// The body of a success: all records were kept, or ignored on purpose. `partial_success` must be unset.
fn success(encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => Vec::new(),
        Encoding::Json => b"{}".to_vec(),
    }
}

/// The body of a success of which some records were refused. A client must not send them again.
fn partial_success(signal: Signal, encoding: Encoding, rejected: usize, message: &str) -> Vec<u8> {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    match encoding {
        Encoding::Protobuf => {
            let partial_success = Some(PartialSuccess { rejected, error_message: message.to_owned() });
            ExportResponse { partial_success }.encode_to_vec()
        }
        Encoding::Json => {
            let name = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
            };
            json!({"partialSuccess": {name: rejected.to_string(), "errorMessage": message}}).to_string().into_bytes()
        }
    }
}

/// The response of all three export services: their fields differ in name only.
#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

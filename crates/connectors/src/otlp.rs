//! OTLP over HTTP: request bodies in both encodings, and the bodies of answers. The meaning of records is left to
//! [`crate::extraction`]; routes, headers, compression and the size of a body are left to the server.
//!
//! Records are decoded one at a time and passed to a callback, because a body of 64 MiB can hold 30 million empty ones:
//! in memory there is only one record besides the body. Metrics are not decoded at all: LiveKit's repeat its spans, and
//! their buckets are too coarse for percentiles.

pub mod answer;
mod attributes;
mod json;
mod protobuf;
mod record;
mod wire;

pub use attributes::{ATTRIBUTES_MAX, Attributes, Value};
pub use record::{Exception, LogRecord, Span};

use crate::times::Times;
use chrono::{DateTime, Utc};
use record::{Invalid, Record};
use serde_json::value::RawValue;
use wire::Malformed;

/// Most spans or log records that are read of one request. The ones after them are counted, and rejected.
pub const RECORDS_PER_REQUEST_MAX: usize = 50_000;

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Data points.
    Metrics,
}

impl Signal {
    /// The name of the request's message in the OTLP schema.
    #[must_use]
    pub const fn request_name(self) -> &'static str {
        match self {
            Self::Traces => "ExportTraceServiceRequest",
            Self::Logs => "ExportLogsServiceRequest",
            Self::Metrics => "ExportMetricsServiceRequest",
        }
    }
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`, in OTLP's own mapping.
    Json,
}

impl Encoding {
    /// The encoding of a `Content-Type`; parameters are ignored. `None` is unsupported.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| media_type.eq_ignore_ascii_case(name);
        if is("application/x-protobuf") || is("application/protobuf") {
            Some(Self::Protobuf)
        } else if is("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    /// The `Content-Type` of an answer in this encoding.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// The body is not the expected request. The message never quotes the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not an {}", .0.request_name())]
pub struct Unreadable(pub Signal);

/// How many records a request held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed on.
    pub read: usize,
    /// Of unwanted scopes; not decoded.
    pub unwanted: usize,
    /// With an id or a time that is not valid.
    pub invalid: usize,
    /// After the first [`RECORDS_PER_REQUEST_MAX`].
    pub beyond_limit: usize,
}

impl Tally {
    fn seen(self) -> usize {
        self.read + self.unwanted + self.invalid
    }
}

/// How to read a request.
#[derive(Clone, Copy)]
pub struct Reading {
    /// When the request arrived: no record may be more than 24 hours ahead of it.
    pub received_at: DateTime<Utc>,
    /// Most records that are read.
    pub records_max: usize,
    /// Whether records of a scope are wanted, by the scope's name.
    pub wants_scope: fn(&str) -> bool,
}

/// Reads the spans of wanted scopes, in order. `each` gets the attributes of the resource, the scope's name and the
/// span. Fails when the body is not a request; the spans before that point have been passed on.
pub fn read_spans<'a>(
    body: &'a [u8],
    encoding: Encoding,
    reading: &Reading,
    each: impl FnMut(&Attributes<'a>, &str, Span<'a>),
) -> Result<Tally, Unreadable> {
    read(body, encoding, reading, each)
}

/// Reads the log records of wanted scopes, as [`read_spans`] reads spans.
pub fn read_logs<'a>(
    body: &'a [u8],
    encoding: Encoding,
    reading: &Reading,
    each: impl FnMut(&Attributes<'a>, &str, LogRecord<'a>),
) -> Result<Tally, Unreadable> {
    read(body, encoding, reading, each)
}

fn read<'a, R: Record<'a>>(
    body: &'a [u8],
    encoding: Encoding,
    reading: &Reading,
    mut each: impl FnMut(&Attributes<'a>, &str, R),
) -> Result<Tally, Unreadable> {
    let result = match encoding {
        Encoding::Protobuf => protobuf::read(body, reading, &mut each).map_err(drop),
        Encoding::Json => json::read(body, reading, &mut each).map_err(drop),
    };
    result.map_err(|()| Unreadable(R::SIGNAL))
}

impl<'a> Record<'a> for Span<'a> {
    const SIGNAL: Signal = Signal::Traces;
    const RESOURCES: [&'static str; 2] = ["resourceSpans", "resource_spans"];
    const SCOPES: [&'static str; 2] = ["scopeSpans", "scope_spans"];
    const RECORDS: [&'static str; 2] = ["spans", "spans"];

    fn of_protobuf(message: &'a [u8], times: Times) -> Result<Result<Self, Invalid>, Malformed> {
        protobuf::span(message, times)
    }

    fn of_json(record: &'a RawValue, times: Times) -> Result<Self, Invalid> {
        json::span(record, times)
    }
}

impl<'a> Record<'a> for LogRecord<'a> {
    const SIGNAL: Signal = Signal::Logs;
    const RESOURCES: [&'static str; 2] = ["resourceLogs", "resource_logs"];
    const SCOPES: [&'static str; 2] = ["scopeLogs", "scope_logs"];
    const RECORDS: [&'static str; 2] = ["logRecords", "log_records"];

    fn of_protobuf(message: &'a [u8], times: Times) -> Result<Result<Self, Invalid>, Malformed> {
        protobuf::log_record(message, times)
    }

    fn of_json(record: &'a RawValue, times: Times) -> Result<Self, Invalid> {
        json::log_record(record, times)
    }
}

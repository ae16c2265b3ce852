//! Spans and log records with checked ids and times, whatever the encoding they came in.

use crate::otlp::Signal;
use crate::otlp::attributes::Attributes;
use crate::otlp::wire::Malformed;
use crate::times::Times;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A record whose ids or times are not valid, in a request that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// What the readers of both encodings need to know of spans and of log records.
pub trait Record<'a>: Sized {
    const SIGNAL: Signal;
    /// The JSON names of the list of resources, of scopes and of records: the one of the OTLP specification, and the
    /// one of the schema, which some writers use.
    const RESOURCES: [&'static str; 2];
    const SCOPES: [&'static str; 2];
    const RECORDS: [&'static str; 2];

    fn of_protobuf(message: &'a [u8], times: Times) -> Result<Result<Self, Invalid>, Malformed>;
    fn of_json(record: &'a RawValue, times: Times) -> Result<Self, Invalid>;
}

/// An operation of an agent, with its start and its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Span<'a> {
    /// The trace. Not zero.
    pub trace_id: [u8; 16],
    /// The span in its trace. Not zero.
    pub span_id: [u8; 8],
    /// The span that this one is part of.
    pub parent_span_id: Option<[u8; 8]>,
    /// The name of the operation.
    pub name: Cow<'a, str>,
    /// Microseconds since 1970.
    pub start_us: i64,
    /// Microseconds since 1970; not before the start.
    pub end_us: i64,
    /// The attributes of the operation.
    pub attributes: Attributes<'a>,
    /// The first event named `exception`.
    pub exception: Option<Exception<'a>>,
    /// Whether the status is `ERROR`.
    pub is_error: bool,
    /// The message of the status; may be empty.
    pub status_message: Cow<'a, str>,
}

/// The event of a span that records an exception.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception<'a> {
    /// Microseconds since 1970; none if the event's time is not valid.
    pub at_us: Option<i64>,
    /// Its attributes, such as `exception.message`.
    pub attributes: Attributes<'a>,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord<'a> {
    /// The time as it was sent, in nanoseconds; may be 0. It is part of the record's identity.
    pub time_unix_nano: u64,
    /// Its time, or else the time at which it was observed, in microseconds since 1970.
    pub at_us: i64,
    /// The severity: 9 is INFO, 13 WARN, 17 ERROR.
    pub severity: i32,
    /// The line, if it is a text.
    pub body: Option<Cow<'a, str>>,
    /// The attributes of the line.
    pub attributes: Attributes<'a>,
    /// The span in which it was written; may be empty.
    pub span_id: Cow<'a, [u8]>,
}

/// The parts of a span before they are checked.
#[derive(Default)]
pub struct SpanParts<'a> {
    pub trace_id: Cow<'a, [u8]>,
    pub span_id: Cow<'a, [u8]>,
    pub parent_span_id: Cow<'a, [u8]>,
    pub name: Cow<'a, str>,
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    pub attributes: Attributes<'a>,
    pub exception: Option<Exception<'a>>,
    pub status_code: i64,
    pub status_message: Cow<'a, str>,
}

/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: i64 = 2;

impl<'a> SpanParts<'a> {
    pub fn check(self, times: Times) -> Result<Span<'a>, Invalid> {
        let start_us = times.micros(self.start_unix_nano).ok_or(Invalid)?;
        let end_us = times.micros(self.end_unix_nano).ok_or(Invalid)?;
        Ok(Span {
            trace_id: id(&self.trace_id)?,
            span_id: id(&self.span_id)?,
            // Some exporters write a root's missing parent as zeros.
            parent_span_id: if self.parent_span_id.iter().all(|byte| *byte == 0) {
                None
            } else {
                Some(id(&self.parent_span_id)?)
            },
            name: self.name,
            start_us,
            end_us: end_us.max(start_us),
            attributes: self.attributes,
            exception: self.exception,
            is_error: self.status_code == STATUS_ERROR,
            status_message: self.status_message,
        })
    }
}

/// The parts of a log record before they are checked.
#[derive(Default)]
pub struct LogParts<'a> {
    pub time_unix_nano: u64,
    pub observed_unix_nano: u64,
    pub severity: i64,
    pub body: Option<Cow<'a, str>>,
    pub attributes: Attributes<'a>,
    pub span_id: Cow<'a, [u8]>,
}

impl<'a> LogParts<'a> {
    pub fn check(self, times: Times) -> Result<LogRecord<'a>, Invalid> {
        let time = if self.time_unix_nano == 0 { self.observed_unix_nano } else { self.time_unix_nano };
        Ok(LogRecord {
            time_unix_nano: self.time_unix_nano,
            at_us: times.micros(time).ok_or(Invalid)?,
            severity: i32::try_from(self.severity).unwrap_or(0),
            body: self.body,
            attributes: self.attributes,
            span_id: self.span_id,
        })
    }
}

/// An id of the right length that is not zero.
fn id<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Invalid> {
    let id: [u8; N] = bytes.try_into().map_err(|_| Invalid)?;
    if id == [0; N] { Err(Invalid) } else { Ok(id) }
}

//! Requests in OTLP's JSON: ids are hex, 64-bit numbers are texts or numbers, enumerations are numbers.
//!
//! Names are lowerCamelCase; those of the schema, with underscores, are understood too. A list that is null or missing
//! is empty. What cannot be understood within a record makes that record invalid, not the request.

mod lenient;

use crate::otlp::attributes::{Attributes, Value};
use crate::otlp::record::{Exception, Invalid, LogParts, LogRecord, Record, Span, SpanParts};
use crate::otlp::{Reading, Tally};
use crate::times::Times;
use lenient::{Elements, Hex, Members, Number, Text};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

type Each<'e, 'a, R> = &'e mut dyn FnMut(&Attributes<'a>, &str, R);
type Raw<'a> = &'a RawValue;

/// Reads a request. The lists are cut into elements level by level, because a scope may stand after its records.
pub fn read<'a, R: Record<'a>>(
    body: &'a [u8],
    reading: &Reading,
    each: Each<'_, 'a, R>,
) -> Result<Tally, serde_json::Error> {
    let mut tally = Tally::default();
    let [resources] = Members::of_body(body, [&R::RESOURCES])?;
    Elements::each(resources, |resource| {
        let [resource, scopes] = Members::of(resource, [&["resource"], &R::SCOPES])?;
        let [attributes] = resource.map_or(Ok([None]), |resource| Members::of(resource, [&["attributes"]]))?;
        let attributes = read_attributes(attributes)?;
        Elements::each(scopes, |scope| {
            let [scope, records] = Members::of(scope, [&["scope"], &R::RECORDS])?;
            read_scope(scope, records, &attributes, reading, &mut tally, each)
        })
    })?;
    Ok(tally)
}

fn read_scope<'a, R: Record<'a>>(
    scope: Option<Raw<'a>>,
    records: Option<Raw<'a>>,
    resource: &Attributes<'a>,
    reading: &Reading,
    tally: &mut Tally,
    each: Each<'_, 'a, R>,
) -> Result<(), serde_json::Error> {
    let [name] = scope.map_or(Ok([None]), |scope| Members::of(scope, [&["name"]]))?;
    let name = name.map_or(Ok(Text::default()), Text::deserialize)?.0.unwrap_or_default();
    let is_wanted = (reading.wants_scope)(&name);
    let times = Times::of_arrival(reading.received_at);
    Elements::each(records, |record| {
        if tally.seen() >= reading.records_max {
            tally.beyond_limit += 1;
        } else if !is_wanted {
            tally.unwanted += 1;
        } else if let Ok(record) = R::of_json(record, times) {
            tally.read += 1;
            each(resource, &name, record);
        } else {
            tally.invalid += 1;
        }
        Ok(())
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonSpan<'a> {
    #[serde(alias = "trace_id")]
    trace_id: Hex,
    #[serde(alias = "span_id")]
    span_id: Hex,
    #[serde(alias = "parent_span_id")]
    parent_span_id: Hex,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(alias = "start_time_unix_nano")]
    start_time_unix_nano: Number,
    #[serde(alias = "end_time_unix_nano")]
    end_time_unix_nano: Number,
    #[serde(borrow)]
    attributes: Option<Raw<'a>>,
    #[serde(borrow)]
    events: Option<Raw<'a>>,
    #[serde(borrow)]
    status: Option<JsonStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonStatus<'a> {
    #[serde(borrow)]
    message: Text<'a>,
    code: Number,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonEvent<'a> {
    #[serde(alias = "time_unix_nano")]
    time_unix_nano: Number,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    attributes: Option<Raw<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonLogRecord<'a> {
    #[serde(alias = "time_unix_nano")]
    time_unix_nano: Number,
    #[serde(alias = "observed_time_unix_nano")]
    observed_time_unix_nano: Number,
    #[serde(alias = "severity_number")]
    severity_number: Number,
    #[serde(borrow)]
    body: Option<Raw<'a>>,
    #[serde(borrow)]
    attributes: Option<Raw<'a>>,
    #[serde(alias = "span_id")]
    span_id: Hex,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonAttribute<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Option<Raw<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonValue<'a> {
    #[serde(borrow, rename = "stringValue", alias = "string_value")]
    text: Text<'a>,
    #[serde(rename = "boolValue", alias = "bool_value")]
    bool: Option<bool>,
    #[serde(rename = "intValue", alias = "int_value")]
    int: Number,
    #[serde(rename = "doubleValue", alias = "double_value")]
    double: Number,
}

/// A span; its ids and times are checked.
pub fn span(record: Raw<'_>, times: Times) -> Result<Span<'_>, Invalid> {
    let span = JsonSpan::deserialize(record).map_err(|_| Invalid)?;
    let status = span.status.unwrap_or_default();
    let parts = SpanParts {
        trace_id: span.trace_id.0.into(),
        span_id: span.span_id.0.into(),
        parent_span_id: span.parent_span_id.0.into(),
        name: span.name.0.unwrap_or_default(),
        start_unix_nano: span.start_time_unix_nano.as_u64().unwrap_or(0),
        end_unix_nano: span.end_time_unix_nano.as_u64().unwrap_or(0),
        attributes: read_attributes(span.attributes).map_err(|_| Invalid)?,
        exception: exception(span.events, times).map_err(|_| Invalid)?,
        status_code: status.code.as_i64().unwrap_or(0),
        status_message: status.message.0.unwrap_or_default(),
    };
    parts.check(times)
}

/// A log record; its time is checked.
pub fn log_record(record: Raw<'_>, times: Times) -> Result<LogRecord<'_>, Invalid> {
    let log = JsonLogRecord::deserialize(record).map_err(|_| Invalid)?;
    let parts = LogParts {
        time_unix_nano: log.time_unix_nano.as_u64().unwrap_or(0),
        observed_unix_nano: log.observed_time_unix_nano.as_u64().unwrap_or(0),
        severity: log.severity_number.as_i64().unwrap_or(0),
        body: match log.body.and_then(value) {
            Some(Value::Text(body)) => Some(body),
            _ => None,
        },
        attributes: read_attributes(log.attributes).map_err(|_| Invalid)?,
        span_id: log.span_id.0.into(),
    };
    parts.check(times)
}

fn exception(events: Option<Raw<'_>>, times: Times) -> Result<Option<Exception<'_>>, serde_json::Error> {
    let mut first = None;
    Elements::each(events, |event| {
        if first.is_none() {
            let event = JsonEvent::deserialize(event)?;
            if event.name.0.as_deref() == Some("exception") {
                first = Some(Exception {
                    at_us: event.time_unix_nano.as_u64().and_then(|nanos| times.micros(nanos)),
                    attributes: read_attributes(event.attributes)?,
                });
            }
        }
        Ok(())
    })?;
    Ok(first)
}

fn read_attributes(list: Option<Raw<'_>>) -> Result<Attributes<'_>, serde_json::Error> {
    let mut attributes = Attributes::default();
    Elements::each(list, |attribute| {
        let JsonAttribute { key: Text(Some(name)), value: Some(raw) } = JsonAttribute::deserialize(attribute)? else {
            return Ok(());
        };
        if let Some(value) = value(raw) {
            attributes.push(name, value);
        }
        Ok(())
    })?;
    Ok(attributes)
}

/// The value of an attribute; none if it is a list, a map, or cannot be understood.
fn value(raw: Raw<'_>) -> Option<Value<'_>> {
    let value = JsonValue::deserialize(raw).ok()?;
    let text: Option<Cow<'_, str>> = value.text.0;
    text.map(Value::Text)
        .or_else(|| value.bool.map(Value::Bool))
        .or_else(|| value.int.as_i64().map(Value::Int))
        .or_else(|| value.double.as_f64().map(Value::Double))
}

//! Requests in protobuf. Only the fields that are used are decoded; unknown ones are skipped.

use crate::otlp::attributes::{Attributes, Value};
use crate::otlp::record::{Exception, Invalid, LogParts, LogRecord, Record, Span, SpanParts};
use crate::otlp::wire::{Field, Malformed, fields};
use crate::otlp::{Reading, Tally};
use crate::times::Times;
use std::borrow::Cow;

type Each<'e, 'a, R> = &'e mut dyn FnMut(&Attributes<'a>, &str, R);

/// Reads `Request {1 resources*}`, `Resources {1 resource, 2 scopes*}`, `Resource {1 attributes*}`,
/// `Scopes {1 scope, 2 records*}`, `Scope {1 name}`: the numbers are the same for spans and log records.
pub fn read<'a, R: Record<'a>>(body: &'a [u8], reading: &Reading, each: Each<'_, 'a, R>) -> Result<Tally, Malformed> {
    let mut tally = Tally::default();
    for field in fields(body) {
        if let (1, resources) = field? {
            read_resource(resources.bytes()?, reading, &mut tally, each)?;
        }
    }
    Ok(tally)
}

fn read_resource<'a, R: Record<'a>>(
    message: &'a [u8],
    reading: &Reading,
    tally: &mut Tally,
    each: Each<'_, 'a, R>,
) -> Result<(), Malformed> {
    // The resource may come after its records.
    let mut attributes = Attributes::default();
    for field in fields(message) {
        if let (1, resource) = field? {
            for field in fields(resource.bytes()?) {
                if let (1, attribute) = field? {
                    push_attribute(&mut attributes, attribute.bytes()?)?;
                }
            }
        }
    }
    for field in fields(message) {
        if let (2, scope) = field? {
            read_scope(scope.bytes()?, &attributes, reading, tally, each)?;
        }
    }
    Ok(())
}

fn read_scope<'a, R: Record<'a>>(
    message: &'a [u8],
    resource: &Attributes<'a>,
    reading: &Reading,
    tally: &mut Tally,
    each: Each<'_, 'a, R>,
) -> Result<(), Malformed> {
    let mut name: Cow<'a, str> = Cow::default();
    for field in fields(message) {
        if let (1, scope) = field? {
            for field in fields(scope.bytes()?) {
                if let (1, value) = field? {
                    name = text(value)?.unwrap_or_default();
                }
            }
        }
    }
    let is_wanted = (reading.wants_scope)(&name);
    let times = Times::of_arrival(reading.received_at);
    for field in fields(message) {
        let (2, record) = field? else { continue };
        let record = record.bytes()?;
        if tally.seen() >= reading.records_max {
            tally.beyond_limit += 1;
        } else if !is_wanted {
            tally.unwanted += 1;
        } else {
            match R::of_protobuf(record, times)? {
                Ok(record) => {
                    tally.read += 1;
                    each(resource, &name, record);
                }
                Err(Invalid) => tally.invalid += 1,
            }
        }
    }
    Ok(())
}

/// A span of wire format; its ids and times are checked.
pub fn span(message: &[u8], times: Times) -> Result<Result<Span<'_>, Invalid>, Malformed> {
    let mut span = SpanParts::default();
    for field in fields(message) {
        match field? {
            (1, value) => span.trace_id = value.bytes()?.into(),
            (2, value) => span.span_id = value.bytes()?.into(),
            (4, value) => span.parent_span_id = value.bytes()?.into(),
            (5, value) => span.name = text(value)?.unwrap_or_default(),
            (7, value) => span.start_unix_nano = value.fixed64()?,
            (8, value) => span.end_unix_nano = value.fixed64()?,
            (9, value) => push_attribute(&mut span.attributes, value.bytes()?)?,
            (11, value) if span.exception.is_none() => span.exception = exception(value.bytes()?, times)?,
            (15, value) => {
                for field in fields(value.bytes()?) {
                    match field? {
                        (2, value) => span.status_message = text(value)?.unwrap_or_default(),
                        (3, value) => span.status_code = value.varint()?.cast_signed(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(span.check(times))
}

/// A log record of wire format; its time is checked.
pub fn log_record(message: &[u8], times: Times) -> Result<Result<LogRecord<'_>, Invalid>, Malformed> {
    let mut log = LogParts::default();
    for field in fields(message) {
        match field? {
            (1, value) => log.time_unix_nano = value.fixed64()?,
            (2, field) => log.severity = field.varint()?.cast_signed(),
            (5, field) => {
                log.body = match value(field.bytes()?)? {
                    Some(Value::Text(body)) => Some(body),
                    _ => None,
                }
            }
            (6, field) => push_attribute(&mut log.attributes, field.bytes()?)?,
            (10, field) => log.span_id = field.bytes()?.into(),
            (11, field) => log.observed_unix_nano = field.fixed64()?,
            _ => {}
        }
    }
    Ok(log.check(times))
}

/// `Event {1 time, 2 name, 3 attributes*}`; none unless it is an exception.
fn exception(message: &[u8], times: Times) -> Result<Option<Exception<'_>>, Malformed> {
    let mut exception = Exception { at_us: None, attributes: Attributes::default() };
    let mut is_exception = false;
    for field in fields(message) {
        match field? {
            (1, value) => exception.at_us = times.micros(value.fixed64()?),
            (2, value) => is_exception = value.bytes()? == b"exception",
            (3, value) => push_attribute(&mut exception.attributes, value.bytes()?)?,
            _ => {}
        }
    }
    Ok(is_exception.then_some(exception))
}

/// `KeyValue {1 key, 2 value}`.
fn push_attribute<'a>(attributes: &mut Attributes<'a>, message: &'a [u8]) -> Result<(), Malformed> {
    let mut name = None;
    let mut found = None;
    for field in fields(message) {
        match field? {
            (1, field) => name = text(field)?,
            (2, field) => found = value(field.bytes()?)?,
            _ => {}
        }
    }
    if let (Some(name), Some(value)) = (name, found) {
        attributes.push(name, value);
    }
    Ok(())
}

/// `AnyValue {1 string, 2 bool, 3 int64, 4 double}`; lists and maps are skipped, however deep they are.
fn value(message: &[u8]) -> Result<Option<Value<'_>>, Malformed> {
    let mut value = None;
    for field in fields(message) {
        value = match field? {
            (1, field) => text(field)?.map(Value::Text),
            (2, field) => Some(Value::Bool(field.varint()? != 0)),
            (3, field) => Some(Value::Int(field.varint()?.cast_signed())),
            (4, field) => Some(Value::Double(f64::from_bits(field.fixed64()?))),
            _ => None,
        };
    }
    Ok(value)
}

/// A text; none if it is not UTF-8, so that one bad text does not cost the request.
fn text(field: Field<'_>) -> Result<Option<Cow<'_, str>>, Malformed> {
    Ok(std::str::from_utf8(field.bytes()?).ok().map(Cow::Borrowed))
}

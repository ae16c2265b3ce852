//! Records and bodies that attacks send.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use std::fmt::Write;
use std::io::Write as _;
use uuid::Uuid;

/// Level at which bodies are compressed: what repeats for megabytes needs no better one.
const ZSTD_LEVEL: i32 = 3;

/// A body unpacks to at most so many times its size: a little less than the server allows.
const RATIO_MAX: usize = 36;

/// A call id that was never used.
pub fn new_id() -> Uuid {
    Uuid::from_u128(rand::random())
}

/// An instant as records have it.
pub fn text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A completed call of one minute with further members, each with a comma before it.
pub fn call_at(id: Uuid, start: DateTime<Utc>, more: &str) -> String {
    let (started, ended) = (text(start), text(start + TimeDelta::seconds(50)));
    format!(r#"{{"call_id":"{id}","status":"completed","started_at":"{started}","ended_at":"{ended}"{more}}}"#)
}

/// A completed call that ended a moment ago.
pub fn call(id: Uuid, more: &str) -> String {
    call_at(id, Utc::now() - TimeDelta::minutes(1), more)
}

/// A call that goes on.
pub fn active_call(id: Uuid, start: DateTime<Utc>) -> String {
    let started = text(start);
    format!(r#"{{"call_id":"{id}","status":"active","started_at":"{started}"}}"#)
}

/// Errors of a call, as the member of a record.
pub fn errors(count: usize, message: &str, details: &str) -> String {
    let at = text(Utc::now() - TimeDelta::minutes(1));
    let mut member = String::from(r#","errors":["#);
    for number in 0..count {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            member,
            r#"{comma}{{"timestamp":"{at}","service":"stt","level":"error","message":"{message}"{details}}}"#
        );
    }
    member.push(']');
    member
}

/// Providers of a call with names of their own, as the member of a record.
pub fn providers(count: usize, first: usize, latencies: &str) -> String {
    let mut member = String::from(r#","providers":["#);
    for number in 0..count {
        let (comma, name) = (if number == 0 { "" } else { "," }, first + number);
        let _ = write!(
            member,
            r#"{comma}{{"provider_type":"stt","provider_name":"p{name}","latencies_ms":[{latencies}]}}"#
        );
    }
    member.push(']');
    member
}

/// Records as lines.
pub fn lines(records: impl Iterator<Item = String>) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records {
        lines.extend_from_slice(record.as_bytes());
        lines.push(b'\n');
    }
    lines
}

/// Bytes, compressed by Zstandard as far as it goes.
pub fn zstd_bomb(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, ZSTD_LEVEL).unwrap_or_default()
}

/// Bytes, compressed by Zstandard, but never further than a server lets pass: where they would be, random white space,
/// which changes nothing for JSON, is added at the end.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let packed = zstd_bomb(bytes);
    let missing = (bytes.len() / RATIO_MAX).saturating_sub(packed.len());
    if missing == 0 {
        return packed;
    }
    // A bit of chance a byte; what is added must be paid for as well.
    let spaces = (0..missing + missing / 4).flat_map(|_| {
        let chance: u8 = rand::random();
        (0..8).map(move |bit| if chance >> bit & 1 == 0 { b' ' } else { b'\t' })
    });
    zstd_bomb(&bytes.iter().copied().chain(spaces).collect::<Vec<u8>>())
}

/// Bytes, compressed by gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

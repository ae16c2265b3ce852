//! The header `traceparent` (W3C Trace Context): which trace a request belongs to, as its client says.

use actix_web::http::header::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const TRACE_ID_DIGITS: usize = 32;
const PARENT_ID_DIGITS: usize = 16;
/// `version-trace_id-parent_id-flags`.
const LENGTH: usize = 2 + 1 + TRACE_ID_DIGITS + 1 + PARENT_ID_DIGITS + 1 + 2;

/// The flag that says that the client keeps the trace.
const SAMPLED: u8 = 1;

/// A valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: String,
    parent_id: String,
    is_sampled: bool,
}

impl TraceParent {
    /// What a request says; `None` where it says nothing, or nothing that can be trusted to be meant.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT);
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, later) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // A later version may go on behind a further hyphen; this one may not.
        let ends_well = if version == "00" { later.is_empty() } else { later.is_empty() || later.starts_with('-') };
        let is_sound = ends_well
            && is_hexadecimal(version, 2)
            && version != "ff"
            && is_id(trace_id, TRACE_ID_DIGITS)
            && is_id(parent_id, PARENT_ID_DIGITS)
            && is_hexadecimal(flags, 2);
        let flags = u8::from_str_radix(flags, 16).ok().filter(|_| is_sound)?;
        Some(Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent_id.to_owned(),
            is_sampled: flags & SAMPLED == SAMPLED,
        })
    }

    /// The trace: 32 hexadecimal digits, not all of them zero.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The client's span: 16 hexadecimal digits, not all of them zero.
    #[must_use]
    pub fn parent_id(&self) -> &str {
        &self.parent_id
    }

    /// Whether the client keeps the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An id of zeros is invalid.
fn is_id(text: &str, digits: usize) -> bool {
    is_hexadecimal(text, digits) && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_sound_header_is_taken_over() {
        for (text, is_sampled) in [
            (format!("00-{TRACE}-{PARENT}-01"), true),
            (format!("00-{TRACE}-{PARENT}-00"), false),
            (format!("00-{TRACE}-{PARENT}-03"), true),
            (format!("01-{TRACE}-{PARENT}-01"), true),
            (format!("cc-{TRACE}-{PARENT}-01-what-comes-later"), true),
        ] {
            let parsed = TraceParent::parse(&text).expect("it is sound");
            assert_eq!((parsed.trace_id(), parsed.parent_id(), parsed.is_sampled()), (TRACE, PARENT, is_sampled));
        }
    }

    #[test]
    fn an_unsound_header_is_ignored() {
        for text in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("01-{TRACE}-{PARENT}-01more"),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}0-{}-01", &PARENT[1..]),
            format!("0x-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-é1"),
        ] {
            assert_eq!(TraceParent::parse(&text), None, "{text}");
        }
    }
}

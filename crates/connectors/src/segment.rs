//! Segments: facts as bytes, the way they are stored. A segment has what one request, or several, say of one call.
//!
//! Layout, version 1; numbers are LEB128 varints, signed ones zigzag:
//!
//! ```text
//! version
//! texts     count, then length and UTF-8 each
//! traces    count, then 16 bytes each
//! contexts  count, then job, service name, workflow, agent name, environment, agent version, language each: 0 is none,
//!           n is text n - 1
//! models    count, then provider, name each: likewise
//! ids       count, then origin (0 log, 1 report, n is trace n - 2) and 8 bytes each: what facts refer to
//! facts     count, then each: tag, origin, 8 bytes of id, start as the difference to the fact before,
//!           duration, context, sample, tokens, and the fields of its event
//! ```
//!
//! The low 4 bits of a tag are the event, then follow one bit each for a sample, for tokens and for two flags of the
//! event. Times are in microseconds.

mod reading;
mod writing;

use crate::facts::Fact;
use callscope_domain::{ProviderType, Service};

const VERSION: u64 = 1;
const EVENT_BITS: u8 = 0x0f;
const HAS_SAMPLE: u8 = 0x10;
const HAS_TOKENS: u8 = 0x20;
const FLAG_A: u8 = 0x40;
const FLAG_B: u8 = 0x80;

/// Events as stored: these numbers never change.
mod code {
    pub const SESSION: u8 = 0;
    pub const SESSION_CLOSE: u8 = 1;
    pub const JOB: u8 = 2;
    pub const JOB_SHUTDOWN: u8 = 3;
    pub const TURN: u8 = 4;
    pub const REQUEST: u8 = 5;
    pub const ATTEMPT: u8 = 6;
    pub const TOOL: u8 = 7;
    pub const PROBLEM: u8 = 8;
    pub const CRASH: u8 = 9;
    pub const MEASUREMENT: u8 = 10;
    pub const REPORT: u8 = 11;
}

/// Stored bytes that are no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored facts of a call cannot be read")]
pub struct SegmentFault;

/// A segment of these facts, in this order.
#[must_use]
pub fn encode(facts: &[Fact]) -> Vec<u8> {
    writing::write(facts)
}

/// The facts of a segment, in its order.
pub fn decode(segment: &[u8]) -> Result<Vec<Fact>, SegmentFault> {
    reading::read(segment)
}

const fn stage_code(stage: ProviderType) -> u64 {
    match stage {
        ProviderType::Stt => 0,
        ProviderType::Llm => 1,
        ProviderType::Tts => 2,
    }
}

const fn service_code(service: Service) -> u64 {
    match service {
        Service::Stt => 0,
        Service::Llm => 1,
        Service::Tts => 2,
        Service::Workflow => 3,
        Service::Tool => 4,
    }
}

//! Assembly: the facts of one call as they are stored, and what a request adds to them. Loading and saving, and the
//! lock that keeps two writers of one call apart, are left to the server.

use crate::derivation::{Derived, Identity, ProviderNaming, ReportedErrors, derive};
use crate::facts::{Event, Fact, FactId, Failure};
use crate::segment::{self, SegmentFault};
use crate::text::cut;
use std::collections::HashSet;

/// Most facts of a call, unless configured otherwise. LiveKit makes 5 a turn: 2 hours with a turn every 10 s make
/// 3,600.
pub const FACTS_PER_CALL_MAX: usize = 20_000;
/// Facts about the call's end that are accepted beyond that bound; without them the call would stay open.
pub const ENDING_FACTS_MAX: usize = 100;
/// Most session reports of a call. A job makes one, and it may be as large as thousands of other facts.
pub const REPORTS_PER_CALL_MAX: usize = 16;
/// Most segments of a call. Before there would be more, the newest ones are merged.
pub const SEGMENTS_MAX: usize = 32;
/// Most bytes of error messages that a call keeps in full: more than a record may have. Later ones are cut to
/// [`SHORT_MESSAGE_MAX`] characters.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Length of a message past that bound, in characters.
pub const SHORT_MESSAGE_MAX: usize = 128;
/// Most bytes that the facts of a call take on average, apart from messages. They take some 40, because names stand once
/// in a segment; with a different agent, job and model in each fact they would take 4 KiB.
pub const FACT_BYTES_MAX: usize = 512;
/// Bytes beyond that bound for the facts about the call's end. A session report of 10,000 turns takes 200 KB.
pub const ENDING_BYTES_MAX: usize = 4 << 20;

/// The facts of one call, each once, in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assembly {
    facts: Vec<Fact>,
    known: HashSet<FactId>,
    /// Oldest first.
    segments: Vec<SegmentSize>,
    reports: usize,
    message_bytes: usize,
}

/// How much a stored segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SegmentSize {
    facts: usize,
    bytes: usize,
}

/// What to write after a request. Segments are numbered from 0, the oldest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing: the request had no new facts.
    Nothing,
    /// One more segment.
    Append(Vec<u8>),
    /// One segment instead of this one and all after it.
    Replace(usize, Vec<u8>),
}

/// What a request added to an assembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// What to write.
    pub write: Write,
    /// New facts.
    pub added: usize,
    /// Facts that the assembly already had.
    pub repeated: usize,
    /// Facts past the bound of a call; they are dropped.
    pub refused: usize,
}

impl Assembly {
    /// Restores an assembly from its stored segments, oldest first.
    pub fn of_segments<'s>(segments: impl IntoIterator<Item = &'s [u8]>) -> Result<Self, SegmentFault> {
        let mut assembly = Self::default();
        for segment in segments {
            let before = assembly.facts.len();
            for fact in segment::decode(segment)? {
                if !assembly.known.contains(&fact.id) {
                    assembly.push(fact);
                }
            }
            assembly.segments.push(SegmentSize { facts: assembly.facts.len() - before, bytes: segment.len() });
        }
        Ok(assembly)
    }

    /// Adds the facts that are new, up to `facts_max` plus [`ENDING_FACTS_MAX`], and returns what to write. Their bytes
    /// are bounded likewise, by [`FACT_BYTES_MAX`] and [`ENDING_BYTES_MAX`].
    pub fn append(&mut self, facts: impl IntoIterator<Item = Fact>, facts_max: usize) -> Appended {
        let before = self.facts.len();
        let mut bytes = self.segments.iter().map(|segment| segment.bytes).sum();
        let (mut repeated, mut refused) = (0, 0);
        for mut fact in facts {
            if self.known.contains(&fact.id) {
                repeated += 1;
                continue;
            }
            if self.message_bytes > MESSAGE_BYTES_MAX {
                shorten(&mut fact.event);
            }
            if let Some(grown) = self.bytes_with(&fact, bytes, facts_max) {
                bytes = grown;
                self.push(fact);
            } else {
                refused += 1;
            }
        }
        let added = self.facts.len() - before;
        Appended { write: self.write(added), added, repeated, refused }
    }

    /// The facts, in the order of arrival.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// How many segments there are once the last [`Write`] is done.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Derives the call's report from its facts: [`derive()`].
    #[must_use]
    pub fn derive(
        &self,
        identity: &Identity,
        reported_errors: &ReportedErrors,
        is_idle: bool,
        naming: ProviderNaming,
    ) -> Option<Derived> {
        derive(identity, &self.facts, reported_errors, is_idle, naming)
    }

    /// The bytes of all facts with this one; `None` if it exceeds a bound of the call. A new fact is measured with its
    /// names, which it may share with others once they are stored.
    fn bytes_with(&self, fact: &Fact, bytes: usize, facts_max: usize) -> Option<usize> {
        let bytes_max = facts_max.saturating_mul(FACT_BYTES_MAX).saturating_add(MESSAGE_BYTES_MAX);
        let (count_max, bytes_max) = if concerns_end(&fact.event) {
            (facts_max.saturating_add(ENDING_FACTS_MAX), bytes_max.saturating_add(ENDING_BYTES_MAX))
        } else {
            (facts_max, bytes_max)
        };
        let is_report = matches!(fact.event, Event::Report(_));
        if self.facts.len() >= count_max || (is_report && self.reports >= REPORTS_PER_CALL_MAX) {
            return None;
        }
        let bytes = bytes + segment::encode(std::slice::from_ref(fact)).len();
        (bytes <= bytes_max).then_some(bytes)
    }

    fn push(&mut self, fact: Fact) {
        self.known.insert(fact.id);
        self.reports += usize::from(matches!(fact.event, Event::Report(_)));
        self.message_bytes += failure_of(&fact.event).map_or(0, |failure| failure.message.len());
        self.facts.push(fact);
    }

    /// Writes the last `added` facts as a segment. Past [`SEGMENTS_MAX`] the newest half of the segments is merged into
    /// it, and so is each one before them that is not larger than what is merged. So each fact is written again a few
    /// times at most, even if each comes in a request of its own.
    fn write(&mut self, added: usize) -> Write {
        if added == 0 {
            return Write::Nothing;
        }
        let mut merged = added;
        let mut first = self.segments.len();
        if first >= SEGMENTS_MAX {
            while first > 0 && (first > SEGMENTS_MAX / 2 || self.segments[first - 1].facts <= merged) {
                first -= 1;
                merged += self.segments[first].facts;
            }
        }
        let segment = segment::encode(&self.facts[self.facts.len() - merged..]);
        let is_new = first == self.segments.len();
        self.segments.truncate(first);
        self.segments.push(SegmentSize { facts: merged, bytes: segment.len() });
        if is_new { Write::Append(segment) } else { Write::Replace(first, segment) }
    }
}

fn concerns_end(event: &Event) -> bool {
    match event {
        Event::Session { .. }
        | Event::SessionClose { .. }
        | Event::Job { .. }
        | Event::JobShutdown { .. }
        | Event::Crash { .. }
        | Event::Report(_) => true,
        Event::Turn { .. }
        | Event::Request { .. }
        | Event::Attempt { .. }
        | Event::Tool { .. }
        | Event::Problem { .. }
        | Event::Measurement => false,
    }
}

fn failure_of(event: &Event) -> Option<&Failure> {
    match event {
        Event::Job { failure } => failure.as_ref(),
        Event::Attempt { failure, .. } | Event::Problem { failure, .. } | Event::Crash { failure } => Some(failure),
        Event::Session { .. }
        | Event::SessionClose { .. }
        | Event::JobShutdown { .. }
        | Event::Turn { .. }
        | Event::Request { .. }
        | Event::Tool { .. }
        | Event::Measurement
        | Event::Report(_) => None,
    }
}

fn shorten(event: &mut Event) {
    let (Event::Attempt { failure, .. }
    | Event::Problem { failure, .. }
    | Event::Crash { failure }
    | Event::Job { failure: Some(failure) }) = event
    else {
        return;
    };
    if let Some(short) = cut(&failure.message, SHORT_MESSAGE_MAX) {
        failure.message = short;
    }
}

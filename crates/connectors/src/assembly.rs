//! Assembly: the facts of one call as they are stored, and what a request adds to them. Loading and saving, and the lock
//! that keeps two writers of one call apart, are left to the server.

use crate::derivation::{Derived, Identity, ProviderNaming, Told, derive};
use crate::facts::{Event, Fact, FactId};
use crate::segment::{self, SegmentFault};
use std::collections::HashSet;

/// Most facts of a call, unless configured otherwise. LiveKit makes 5 a turn: 2 hours with a turn every 10 s make 3,600.
pub const FACTS_PER_CALL_MAX: usize = 20_000;
/// Facts that are let in past that bound because they tell of the call's end; without them it would stay open.
pub const ENDING_FACTS_MAX: usize = 100;
/// Most segments of a call. One more, and all are written as one, so that a client that sends span by span costs no
/// more than linear time.
pub const SEGMENTS_MAX: usize = 32;

/// The facts of one call, each once, in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assembly {
    facts: Vec<Fact>,
    known: HashSet<FactId>,
    segments: usize,
}

/// What to write after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing: the request had no new facts.
    Nothing,
    /// One more segment.
    Append(Vec<u8>),
    /// One segment instead of all that there are.
    Replace(Vec<u8>),
}

/// What a request added to an assembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// What to write.
    pub write: Write,
    /// New facts.
    pub added: usize,
    /// Facts that the assembly had.
    pub repeated: usize,
    /// Facts past the bound of a call; they are dropped.
    pub refused: usize,
}

impl Assembly {
    /// An assembly of its stored segments, oldest first.
    pub fn of_segments<'s>(segments: impl IntoIterator<Item = &'s [u8]>) -> Result<Self, SegmentFault> {
        let mut assembly = Self::default();
        for segment in segments {
            for fact in segment::decode(segment)? {
                if assembly.known.insert(fact.id) {
                    assembly.facts.push(fact);
                }
            }
            assembly.segments += 1;
        }
        Ok(assembly)
    }

    /// Adds the facts that it does not have, up to `facts_max` and [`ENDING_FACTS_MAX`], and says what to write.
    pub fn append(&mut self, facts: impl IntoIterator<Item = Fact>, facts_max: usize) -> Appended {
        let before = self.facts.len();
        let (mut repeated, mut refused) = (0, 0);
        for fact in facts {
            let bound = if tells_of_end(&fact) { facts_max.saturating_add(ENDING_FACTS_MAX) } else { facts_max };
            if self.known.contains(&fact.id) {
                repeated += 1;
            } else if self.facts.len() >= bound {
                refused += 1;
            } else {
                self.known.insert(fact.id);
                self.facts.push(fact);
            }
        }
        let added = self.facts.len() - before;
        let write = if added == 0 {
            Write::Nothing
        } else if self.segments >= SEGMENTS_MAX {
            self.segments = 1;
            Write::Replace(segment::encode(&self.facts))
        } else {
            self.segments += 1;
            Write::Append(segment::encode(&self.facts[before..]))
        };
        Appended { write, added, repeated, refused }
    }

    /// The facts, in the order of arrival.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// How many segments there are once the last [`Write`] is done.
    #[must_use]
    pub const fn segments(&self) -> usize {
        self.segments
    }

    /// What its facts say together: [`derive`].
    #[must_use]
    pub fn derive(&self, identity: &Identity, told: &Told, is_idle: bool, naming: ProviderNaming) -> Option<Derived> {
        derive(identity, &self.facts, told, is_idle, naming)
    }
}

fn tells_of_end(fact: &Fact) -> bool {
    match fact.event {
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

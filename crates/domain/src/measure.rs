//! Measures: the whole numbers that a call adds to sums. One row of the table below is one measure.
//!
//! A row is enough for a sum: contributions, columns of rollups, the check of rollups and plans go over [`Measure::ALL`].
//! Beside the row, a new measure needs the field of [`CallFacts`] that feeds it, and its column in `rollup_sums`.

use crate::call::{CallFacts, CallStatus};
use crate::errors::ErrorKind;
use crate::provider::{ProviderType, ProviderUse};
use crate::words;

/// What is counted: a call, its use of one provider, or one of its errors. It decides which measures can be grouped by
/// which dimensions, see [`Measure::is_summed_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A call, once.
    Call,
    /// Each use of a provider by a call.
    Use,
    /// Each error of a call.
    Error,
}

words!(Subject { Call = "call", Use = "use", Error = "error" });

/// How a measure is taken from its subject.
#[derive(Clone, Copy)]
pub enum Source {
    /// From the call as a whole.
    Call(fn(&CallFacts) -> i64),
    /// From each use of a provider; a call adds the sum over its uses.
    Use(fn(&ProviderUse) -> i64),
    /// From each error; a call adds the sum over its errors.
    Error(fn(ErrorKind) -> i64),
}

/// Makes the enumeration of measures: each row is a variant, the name of its column, and its source.
macro_rules! measures {
    ($($variant:ident = $column:literal, $subject:ident($source:expr);)+) => {
        /// A whole number that one call adds to a sum. The word is the name of the column.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each row says with its source what the measure is")]
        pub enum Measure {
            $($variant),+
        }

        words!(Measure { $($variant = $column),+ });

        impl Measure {
            /// How it is taken from its subject.
            #[must_use]
            pub const fn source(self) -> Source {
                match self { $(Self::$variant => Source::$subject($source)),+ }
            }
        }
    };
}

measures! {
    Calls        = "calls",          Call(|_| 1);
    Completed    = "completed",      Call(|call| i64::from(call.status == CallStatus::Completed));
    Failed       = "failed",         Call(|call| i64::from(call.status == CallStatus::Failed));
    Ended        = "ended",          Call(|call| i64::from(call.ended_at.is_some()));
    DurationUs   = "duration_us",    Call(duration_us);
    TotalTokens  = "total_tokens",   Call(|call| call.total_tokens);
    SttSamples   = "stt_samples",    Use(|usage| samples(usage, ProviderType::Stt));
    SttLatencyUs = "stt_latency_us", Use(|usage| latency_us(usage, ProviderType::Stt));
    LlmSamples   = "llm_samples",    Use(|usage| samples(usage, ProviderType::Llm));
    LlmLatencyUs = "llm_latency_us", Use(|usage| latency_us(usage, ProviderType::Llm));
    TtsSamples   = "tts_samples",    Use(|usage| samples(usage, ProviderType::Tts));
    TtsLatencyUs = "tts_latency_us", Use(|usage| latency_us(usage, ProviderType::Tts));
    Errors       = "errors",         Error(|_| 1);
}

impl Measure {
    /// The number of measures.
    pub const COUNT: usize = Self::ALL.len();

    /// What it counts.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self.source() {
            Source::Call(_) => Subject::Call,
            Source::Use(_) => Subject::Use,
            Source::Error(_) => Subject::Error,
        }
    }

    /// Whether groups of a subject have sums of it. Every measure can be summed over calls. A measure of calls can be
    /// summed over the calls that used a provider or had an error, each call once; but a latency is of no error, and an
    /// error of no provider.
    #[must_use]
    pub fn is_summed_by(self, subject: Subject) -> bool {
        subject == Subject::Call || self.subject() == Subject::Call || self.subject() == subject
    }
}

/// Zero for a call whose end is unknown.
fn duration_us(call: &CallFacts) -> i64 {
    call.ended_at.map_or(0, |ended_at| ended_at.since(call.started_at).as_micros())
}

fn samples(usage: &ProviderUse, stage: ProviderType) -> i64 {
    if usage.provider.provider_type == stage { i64::try_from(usage.latencies.len()).unwrap_or(i64::MAX) } else { 0 }
}

fn latency_us(usage: &ProviderUse, stage: ProviderType) -> i64 {
    if usage.provider.provider_type != stage {
        return 0;
    }
    usage.latencies.iter().map(|latency| i64::from(latency.as_micros())).sum()
}

/// One sum for each measure. Sums wrap around at the ends of `i64`, so that the laws of addition hold for all values.
/// Calls of three minutes take 5 * 10^10 of them to get there; a million records that use every bound to the full would,
/// and the database then refuses them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums([i64; Measure::COUNT]);

impl Sums {
    /// Sums from outside.
    #[must_use]
    pub const fn new(sums: [i64; Measure::COUNT]) -> Self {
        Self(sums)
    }

    /// The sums, in the order of [`Measure::ALL`].
    #[must_use]
    pub const fn as_array(&self) -> &[i64; Measure::COUNT] {
        &self.0
    }

    /// Adds to the sum of one measure.
    pub const fn add(&mut self, measure: Measure, value: i64) {
        self.0[measure as usize] = self.0[measure as usize].wrapping_add(value);
    }

    /// The sums of some measures, zero for all others.
    #[must_use]
    pub fn only(&self, measures: &[Measure]) -> Self {
        let mut only = Self::default();
        for &measure in measures {
            only.add(measure, self[measure]);
        }
        only
    }

    /// What a call adds by itself, without its uses and errors.
    pub(crate) fn of_call(call: &CallFacts) -> Self {
        Self::filled(|source| if let Source::Call(value) = source { value(call) } else { 0 })
    }

    /// What one use of a provider adds.
    pub(crate) fn of_use(usage: &ProviderUse) -> Self {
        Self::filled(|source| if let Source::Use(value) = source { value(usage) } else { 0 })
    }

    /// What one error adds.
    pub(crate) fn of_error(kind: ErrorKind) -> Self {
        Self::filled(|source| if let Source::Error(value) = source { value(kind) } else { 0 })
    }

    fn filled(value: impl Fn(Source) -> i64) -> Self {
        let mut sums = [0; Measure::COUNT];
        for (sum, measure) in sums.iter_mut().zip(Measure::ALL) {
            *sum = value(measure.source());
        }
        Self(sums)
    }
}

impl std::ops::Index<Measure> for Sums {
    type Output = i64;

    fn index(&self, measure: Measure) -> &i64 {
        &self.0[measure as usize]
    }
}

impl std::ops::AddAssign<&Self> for Sums {
    fn add_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = mine.wrapping_add(*theirs);
        }
    }
}

impl std::ops::SubAssign<&Self> for Sums {
    fn sub_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = mine.wrapping_sub(*theirs);
        }
    }
}

//! Measures: the whole numbers that a call adds to sums. One row of the table below is one measure.
//!
//! A row is enough for a sum: contributions, columns of rollups, the check of rollups and plans go over [`Measure::ALL`].
//! Beside the row, a new measure needs the field of [`CallFacts`] that feeds it, and its column in `rollup_sums`.

use crate::call::{CallFacts, CallStatus};
use crate::errors::ErrorKind;
use crate::fact::{NumberFact, Outcome, TextFact};
use crate::provider::{Latency, ProviderType, ProviderUse};
use crate::time::Span;
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

use NumberFact as Number;

measures! {
    Calls              = "calls",                 Call(|_| 1);
    Completed          = "completed",             Call(|call| i64::from(call.status == CallStatus::Completed));
    Failed             = "failed",                Call(|call| i64::from(call.status == CallStatus::Failed));
    Ended              = "ended",                 Call(|call| i64::from(call.ended_at.is_some()));
    DurationUs         = "duration_us",           Call(duration_us);
    Succeeded          = "succeeded",             Call(|call| has_outcome(call, Outcome::Success));
    Unsuccessful       = "unsuccessful",          Call(|call| has_outcome(call, Outcome::Failure));
    // What a record gives as a number, and how many calls give it: what no call gives is unknown, and not zero.
    TotalTokens        = "total_tokens",          Call(|call| number(call, Number::TotalTokens));
    TokenCalls         = "token_calls",           Call(|call| gives(call, Number::TotalTokens));
    TokenDurationUs    = "token_duration_us",     Call(|call| gives(call, Number::TotalTokens) * duration_us(call));
    TokenSucceeded     = "token_succeeded",       Call(|call| gives(call, Number::TotalTokens) * has_outcome(call, Outcome::Success));
    InputTokens        = "input_tokens",          Call(|call| number(call, Number::InputTokens));
    InputTokenCalls    = "input_token_calls",     Call(|call| gives(call, Number::InputTokens));
    OutputTokens       = "output_tokens",         Call(|call| number(call, Number::OutputTokens));
    OutputTokenCalls   = "output_token_calls",    Call(|call| gives(call, Number::OutputTokens));
    CachedTokens       = "cached_tokens",         Call(|call| number(call, Number::CachedInputTokens));
    CachedTokenCalls   = "cached_token_calls",    Call(|call| gives(call, Number::CachedInputTokens));
    CostMicrousd       = "cost_microusd",         Call(|call| number(call, Number::CostMicrousd));
    PricedCalls        = "priced_calls",          Call(|call| gives(call, Number::CostMicrousd));
    PricedDurationUs   = "priced_duration_us",    Call(|call| gives(call, Number::CostMicrousd) * duration_us(call));
    PricedSucceeded    = "priced_succeeded",      Call(|call| gives(call, Number::CostMicrousd) * has_outcome(call, Outcome::Success));
    Turns              = "turns",                 Call(|call| number(call, Number::Turns));
    TurnCalls          = "turn_calls",            Call(|call| gives(call, Number::Turns));
    Interruptions      = "interruptions",         Call(|call| number(call, Number::Interruptions));
    InterruptionCalls  = "interruption_calls",    Call(|call| gives(call, Number::Interruptions));
    // Of the calls that give both.
    InterruptibleTurns = "interruptible_turns",   Call(|call| gives(call, Number::Interruptions) * number(call, Number::Turns));
    TurnInterruptions  = "turn_interruptions",    Call(|call| gives(call, Number::Turns) * number(call, Number::Interruptions));
    ToolCalls          = "tool_calls",            Call(|call| number(call, Number::ToolCalls));
    ToolCallCalls      = "tool_call_calls",       Call(|call| gives(call, Number::ToolCalls));
    TurnSamples        = "turn_samples",          Call(|call| count(&call.turn_latencies));
    TurnLatencyUs      = "turn_latency_us",       Call(|call| sum_us(&call.turn_latencies));
    SttSamples         = "stt_samples",           Use(|usage| samples(usage, ProviderType::Stt));
    SttLatencyUs       = "stt_latency_us",        Use(|usage| latency_us(usage, ProviderType::Stt));
    LlmSamples         = "llm_samples",           Use(|usage| samples(usage, ProviderType::Llm));
    LlmLatencyUs       = "llm_latency_us",        Use(|usage| latency_us(usage, ProviderType::Llm));
    TtsSamples         = "tts_samples",           Use(|usage| samples(usage, ProviderType::Tts));
    TtsLatencyUs       = "tts_latency_us",        Use(|usage| latency_us(usage, ProviderType::Tts));
    Errors             = "errors",                Error(|_| 1);
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
    call.duration().map_or(0, Span::as_micros)
}

/// Zero for what the record does not give.
fn number(call: &CallFacts, number: NumberFact) -> i64 {
    call.numbers.get(number).unwrap_or(0)
}

fn gives(call: &CallFacts, number: NumberFact) -> i64 {
    i64::from(call.numbers.get(number).is_some())
}

fn has_outcome(call: &CallFacts, outcome: Outcome) -> i64 {
    i64::from(call.texts.get(TextFact::Outcome) == Some(outcome.as_str()))
}

fn count(latencies: &[Latency]) -> i64 {
    i64::try_from(latencies.len()).unwrap_or(i64::MAX)
}

fn sum_us(latencies: &[Latency]) -> i64 {
    latencies.iter().map(|latency| i64::from(latency.as_micros())).sum()
}

fn samples(usage: &ProviderUse, stage: ProviderType) -> i64 {
    if usage.provider.provider_type == stage { count(&usage.latencies) } else { 0 }
}

fn latency_us(usage: &ProviderUse, stage: ProviderType) -> i64 {
    if usage.provider.provider_type == stage { sum_us(&usage.latencies) } else { 0 }
}

/// One sum for each measure. Sums wrap around at the ends of `i64`, so that the laws of addition hold for all values.
/// Calls of three minutes take 5 * 10^10 of them to get there; a million records that use every bound to the full would,
/// and the database then refuses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums([i64; Measure::COUNT]);

impl Default for Sums {
    fn default() -> Self {
        Self([0; Measure::COUNT])
    }
}

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

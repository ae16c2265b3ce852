//! Distributions: counted latencies of one stage, or durations, from which percentiles come.

use crate::histogram::LatencyHistogram;
use crate::measure::{Measure, Subject};
use crate::provider::{Latency, ProviderType};
use crate::time::Span;
use crate::words;

/// A kind of values that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distribution {
    /// Latencies of speech-to-text turns.
    Stt,
    /// Of language-model turns.
    Llm,
    /// Of text-to-speech turns.
    Tts,
    /// Of whole turns: the user stops speaking to the agent is heard.
    Turn,
    /// Durations of calls, counted in milliseconds where latencies are in microseconds: the percentiles are then in seconds.
    Duration,
}

words!(Distribution { Stt = "stt", Llm = "llm", Tts = "tts", Turn = "turn", Duration = "duration" });

impl Distribution {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The number that stands for it in storage. It never changes.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Stt => 0,
            Self::Llm => 1,
            Self::Tts => 2,
            Self::Turn => 3,
            Self::Duration => 4,
        }
    }

    /// The distribution that a code stands for.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|distribution| distribution.code() == code)
    }

    /// The measure that counts the same values.
    #[must_use]
    pub const fn samples(self) -> Measure {
        match self {
            Self::Stt => Measure::SttSamples,
            Self::Llm => Measure::LlmSamples,
            Self::Tts => Measure::TtsSamples,
            Self::Turn => Measure::TurnSamples,
            Self::Duration => Measure::Ended,
        }
    }

    /// The measure that sums the same latencies; none for durations, which are counted in another unit.
    #[must_use]
    pub const fn latency_us(self) -> Option<Measure> {
        match self {
            Self::Stt => Some(Measure::SttLatencyUs),
            Self::Llm => Some(Measure::LlmLatencyUs),
            Self::Tts => Some(Measure::TtsLatencyUs),
            Self::Turn => Some(Measure::TurnLatencyUs),
            Self::Duration => None,
        }
    }

    /// What its values are of: of each use of a provider, or of the call.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self {
            Self::Stt | Self::Llm | Self::Tts => Subject::Use,
            Self::Turn | Self::Duration => Subject::Call,
        }
    }

    /// That of the latencies of a stage.
    #[must_use]
    pub const fn of_stage(stage: ProviderType) -> Self {
        match stage {
            ProviderType::Stt => Self::Stt,
            ProviderType::Llm => Self::Llm,
            ProviderType::Tts => Self::Tts,
        }
    }
}

/// A duration as it is counted: a millisecond takes the place of a latency's microsecond. The longest call has 24 hours,
/// which fits; percentiles of milliseconds are then in seconds.
#[must_use]
pub fn duration_value(duration: Span) -> Latency {
    let milliseconds = u32::try_from(duration.as_micros() / 1000).unwrap_or(u32::MAX);
    Latency::from_micros(milliseconds.max(Latency::MIN.as_micros())).unwrap_or(Latency::MAX)
}

/// Counted values and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyTotals {
    /// The sum of the latencies, in microseconds.
    pub sum_us: i64,
    /// The latencies, counted.
    pub histogram: LatencyHistogram,
}

impl LatencyTotals {
    /// Some values, counted.
    #[must_use]
    pub fn of(values: &[Latency]) -> Self {
        let mut totals = Self::default();
        for &value in values {
            totals.sum_us = totals.sum_us.wrapping_add(i64::from(value.as_micros()));
            totals.histogram.record(value);
        }
        totals
    }

    /// The nearest-rank percentile in milliseconds, as [`LatencyHistogram::percentile_ms`] gives it.
    #[must_use]
    pub fn percentile_ms(&self, percent: u8) -> Option<f64> {
        self.histogram.percentile_ms(percent, self.sum_us)
    }

    /// Whether it is zero: it adds nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.sum_us == 0 && self.histogram.is_empty()
    }
}

impl std::ops::AddAssign<&Self> for LatencyTotals {
    fn add_assign(&mut self, other: &Self) {
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
        self.histogram += &other.histogram;
    }
}

impl std::ops::SubAssign<&Self> for LatencyTotals {
    fn sub_assign(&mut self, other: &Self) {
        self.sum_us = self.sum_us.wrapping_sub(other.sum_us);
        self.histogram -= &other.histogram;
    }
}

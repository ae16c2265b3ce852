//! Distributions: counted latencies of one stage, from which percentiles come.

use crate::histogram::LatencyHistogram;
use crate::measure::{Measure, Sums};
use crate::provider::{Latency, ProviderType};
use crate::words;

/// A kind of latencies that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distribution {
    /// Of speech-to-text turns.
    Stt,
    /// Of language-model turns.
    Llm,
    /// Of text-to-speech turns.
    Tts,
}

words!(Distribution { Stt = "stt", Llm = "llm", Tts = "tts" });

impl Distribution {
    /// The number that stands for it in storage. It never changes.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Stt => 0,
            Self::Llm => 1,
            Self::Tts => 2,
        }
    }

    /// The distribution that a code stands for.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|distribution| distribution.code() == code)
    }

    /// The measures that count the same latencies, and sum them.
    #[must_use]
    pub const fn measures(self) -> (Measure, Measure) {
        match self {
            Self::Stt => (Measure::SttSamples, Measure::SttLatencyUs),
            Self::Llm => (Measure::LlmSamples, Measure::LlmLatencyUs),
            Self::Tts => (Measure::TtsSamples, Measure::TtsLatencyUs),
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

/// Counted latencies, their sum, and the calls that they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyTotals {
    /// Calls that used the stage, with or without latencies.
    pub calls: i64,
    /// The sum of the latencies, in microseconds.
    pub sum_us: i64,
    /// The latencies, counted.
    pub histogram: LatencyHistogram,
}

impl LatencyTotals {
    /// Counts the latencies of a use of a provider.
    pub fn record_all(&mut self, latencies: &[Latency]) {
        for &latency in latencies {
            self.sum_us = self.sum_us.wrapping_add(i64::from(latency.as_micros()));
            self.histogram.record(latency);
        }
    }

    /// What they say of the measures of their distribution.
    #[must_use]
    pub fn sums(&self, distribution: Distribution) -> Sums {
        let (samples, latency_us) = distribution.measures();
        let mut sums = Sums::default();
        sums.add(Measure::Calls, self.calls);
        sums.add(samples, self.histogram.len());
        sums.add(latency_us, self.sum_us);
        sums
    }

    /// The nearest-rank percentile in milliseconds, as [`LatencyHistogram::percentile_ms`] gives it.
    #[must_use]
    pub fn percentile_ms(&self, percent: u8) -> Option<f64> {
        self.histogram.percentile_ms(percent, self.sum_us)
    }

    /// Whether it is zero: it adds nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.calls == 0 && self.sum_us == 0 && self.histogram.is_empty()
    }
}

impl std::ops::AddAssign<&Self> for LatencyTotals {
    fn add_assign(&mut self, other: &Self) {
        self.calls = self.calls.wrapping_add(other.calls);
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
        self.histogram += &other.histogram;
    }
}

impl std::ops::SubAssign<&Self> for LatencyTotals {
    fn sub_assign(&mut self, other: &Self) {
        self.calls = self.calls.wrapping_sub(other.calls);
        self.sum_us = self.sum_us.wrapping_sub(other.sum_us);
        self.histogram -= &other.histogram;
    }
}

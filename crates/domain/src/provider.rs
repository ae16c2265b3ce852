//! Providers and the latencies measured of them.

use crate::text::{ModelName, ProviderName};
use crate::words;

/// The stage of a voice pipeline that a provider serves, in pipeline order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderType {
    /// Speech to text.
    Stt,
    /// Language model.
    Llm,
    /// Text to speech.
    Tts,
}

words!(ProviderType { Stt = "stt", Llm = "llm", Tts = "tts" });

/// Who did the work of a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provider {
    /// The stage.
    pub provider_type: ProviderType,
    /// The name, such as `deepgram`; case matters.
    pub provider_name: ProviderName,
}

/// What one call used of one model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderUse {
    /// The provider.
    pub provider: Provider,
    /// The model; none when the record does not say.
    pub model: Option<ModelName>,
    /// One latency per turn, in the order received; may be empty.
    pub latencies: Vec<Latency>,
}

/// Longest latency that is believed, in milliseconds; also the upper end of the histogram.
pub const LATENCY_MAX_MS: u32 = 600_000;

/// One turn's latency: 1 µs to [`LATENCY_MAX_MS`], in whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Latency(u32);

impl Latency {
    /// The shortest.
    pub const MIN: Self = Self(1);
    /// The longest.
    pub const MAX: Self = Self(LATENCY_MAX_MS * 1000);

    /// A latency from milliseconds, rounded to the microsecond. `None` for what is no latency: zero or less (clients
    /// report 0 for "unknown"), more than [`LATENCY_MAX_MS`] (clock jumps), or not a number.
    #[must_use]
    pub fn from_ms(milliseconds: f64) -> Option<Self> {
        if milliseconds > 0.0 && milliseconds <= f64::from(LATENCY_MAX_MS) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 < value <= 6e8")]
            let micros = (milliseconds * 1000.0).round() as u32;
            Some(Self(micros.max(Self::MIN.0)))
        } else {
            None
        }
    }

    /// A latency from whole microseconds; `None` outside the bounds.
    #[must_use]
    pub const fn from_micros(micros: u32) -> Option<Self> {
        if micros >= Self::MIN.0 && micros <= Self::MAX.0 { Some(Self(micros)) } else { None }
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_latency_is_one() {
        for nonsense in [0.0, -0.0, -1.0, 600_000.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Latency::from_ms(nonsense), None, "{nonsense}");
        }
        assert_eq!(Latency::from_ms(118.2).map(Latency::as_micros), Some(118_200));
        assert_eq!(Latency::from_ms(600_000.0), Some(Latency::MAX));
        assert_eq!(Latency::from_ms(f64::MIN_POSITIVE), Some(Latency::MIN));
    }
}

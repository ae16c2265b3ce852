//! Which times of a source are plausible: one wrong clock must not put a call into another century.

use callscope_domain::FUTURE_START_MAX;
use chrono::{DateTime, Utc};

/// 2015-01-01T00:00:00Z in microseconds: no telemetry and no message of a voice agent is older.
const TIME_MIN_US: i64 = 1_420_070_400_000_000;

/// The range of plausible times of what arrived at an instant.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    max_us: i64,
}

impl Times {
    /// Up to the latest start that a record may have.
    pub(crate) fn of_arrival(received_at: DateTime<Utc>) -> Self {
        Self { max_us: received_at.timestamp_micros().saturating_add(FUTURE_START_MAX.as_micros()) }
    }

    /// Microseconds since 1970; none if the time is 0 or absurd.
    pub(crate) fn micros(self, unix_nano: u64) -> Option<i64> {
        let micros = i64::try_from(unix_nano / 1000).ok()?;
        self.is_plausible(micros).then_some(micros)
    }

    /// Whether a time, in microseconds since 1970, is in the range.
    pub(crate) fn is_plausible(self, micros: i64) -> bool {
        (TIME_MIN_US..=self.max_us).contains(&micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_plausible_from_2015_to_a_day_ahead() {
        let received_at: DateTime<Utc> = "2026-11-23T12:00:00Z".parse().expect("a time");
        let times = Times::of_arrival(received_at);
        let is_plausible = |text: &str| {
            let time: DateTime<Utc> = text.parse().expect("a time");
            times.is_plausible(time.timestamp_micros())
        };
        assert!(is_plausible("2015-01-01T00:00:00Z") && is_plausible("2026-11-24T12:00:00Z"));
        assert!(!is_plausible("2014-12-31T23:59:59.999999Z") && !is_plausible("2026-11-24T12:00:00.000001Z"));
        assert_eq!(times.micros(1_795_335_372_000_000_999), Some(1_795_335_372_000_000));
        assert_eq!((times.micros(0), times.micros(u64::MAX)), (None, None));
    }
}

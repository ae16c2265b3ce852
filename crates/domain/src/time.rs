//! Instants and spans, in whole microseconds of UTC.
//!
//! A microsecond is what both databases keep; finer digits of an input are cut off on the way in, so that a stored
//! value equals the value that was computed with.

use chrono::{DateTime, Utc};

/// An instant: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The first instant that RFC 3339 can name: the start of the year 0.
const NAMEABLE_FROM: Timestamp = Timestamp(-62_167_219_200_000_000);
/// The first one that it cannot: the start of the year 10,000.
const NAMEABLE_TO: Timestamp = Timestamp(253_402_300_800_000_000);

impl Timestamp {
    /// Whether RFC 3339, whose years have four digits, can name it in UTC.
    #[must_use]
    pub fn is_nameable(self) -> bool {
        NAMEABLE_FROM <= self && self < NAMEABLE_TO
    }

    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The span from `earlier` to `self`; negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The last multiple of `width`, counted from the epoch, that is not after `self`.
    #[must_use]
    pub const fn floor(self, width: Span) -> Self {
        Self(self.0.div_euclid(width.0) * width.0)
    }

    /// The first multiple of `width`, counted from the epoch, that is not before `self`.
    #[must_use]
    pub const fn ceil(self, width: Span) -> Self {
        let floor = self.floor(width);
        if floor.0 == self.0 { self } else { Self(floor.0 + width.0) }
    }

    /// The same instant for calendars; `None` past the year 262,000, which no accepted input reaches.
    #[must_use]
    pub const fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    /// Cuts off what is finer than a microsecond.
    fn from(instant: DateTime<Utc>) -> Self {
        Self(instant.timestamp_micros())
    }
}

impl std::ops::Add<Span> for Timestamp {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl std::ops::Sub<Span> for Timestamp {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// A length of time in microseconds, possibly negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From whole microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// From whole minutes.
    #[must_use]
    pub const fn from_minutes(minutes: i64) -> Self {
        Self::from_seconds(minutes * 60)
    }

    /// From whole hours.
    #[must_use]
    pub const fn from_hours(hours: i64) -> Self {
        Self::from_minutes(hours * 60)
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole days of 24 hours, the rest cut off.
    #[must_use]
    pub const fn as_whole_days(self) -> i64 {
        self.0 / Self::from_hours(24).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_of_four_digits_are_nameable() {
        let at = |text: &str| Timestamp::from(text.parse::<DateTime<Utc>>().unwrap());
        let micro = Span::from_micros(1);
        assert_eq!(
            (at("0000-01-01T00:00:00Z"), at("9999-12-31T23:59:59.999999Z") + micro),
            (NAMEABLE_FROM, NAMEABLE_TO)
        );
        for (instant, is_nameable) in
            [(NAMEABLE_FROM, true), (NAMEABLE_FROM - micro, false), (NAMEABLE_TO - micro, true), (NAMEABLE_TO, false)]
        {
            assert_eq!(instant.is_nameable(), is_nameable, "{instant:?}");
        }
    }
}

//! The span of call starts that a question is about.

use crate::time::{Span, Timestamp};
use crate::words;

/// A half-open, non-empty span `[started_after, started_before)` that a call's start must fall in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    started_after: Timestamp,
    started_before: Timestamp,
}

/// Why two instants do not bound a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be later than started_after")]
pub struct WindowFault;

impl Window {
    /// The window between two instants.
    pub fn new(started_after: Timestamp, started_before: Timestamp) -> Result<Self, WindowFault> {
        if started_after < started_before { Ok(Self { started_after, started_before }) } else { Err(WindowFault) }
    }

    /// The window that the three parameters ask for: from `started_after`, else from `period` before the end; up to
    /// `started_before`, else up to now.
    pub fn resolve(
        period: Period,
        started_after: Option<Timestamp>,
        started_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, WindowFault> {
        let end = started_before.unwrap_or(now);
        Self::new(started_after.unwrap_or(end - period.span()), end)
    }

    /// The first instant inside.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        self.started_after
    }

    /// The first instant outside.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        self.started_before
    }

    /// Whether an instant lies inside.
    #[must_use]
    pub fn contains(self, instant: Timestamp) -> bool {
        self.started_after <= instant && instant < self.started_before
    }
}

/// A named window length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Period {
    /// One hour.
    Hour,
    /// 24 hours.
    #[default]
    Day,
    /// Seven times 24 hours.
    Week,
    /// Thirty times 24 hours.
    Month,
    /// Ninety times 24 hours.
    Quarter,
}

words!(Period { Hour = "1h", Day = "24h", Week = "7d", Month = "30d", Quarter = "90d" });

impl Period {
    /// Its length.
    #[must_use]
    pub const fn span(self) -> Span {
        match self {
            Self::Hour => Span::from_hours(1),
            Self::Day => Span::from_hours(24),
            Self::Week => Span::from_hours(7 * 24),
            Self::Month => Span::from_hours(30 * 24),
            Self::Quarter => Span::from_hours(90 * 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn reversed_and_empty_bounds_are_no_window() {
        assert_eq!(Window::new(at(2), at(1)), Err(WindowFault));
        assert_eq!(Window::new(at(1), at(1)), Err(WindowFault));
    }

    #[test]
    fn a_start_alone_means_until_now_and_an_end_alone_the_period_before_it() {
        let now = at(1_000_000_000_000_000);
        let hour = Span::from_hours(1);
        let resolve = |after, before| Window::resolve(Period::Hour, after, before, now).unwrap();
        assert_eq!(resolve(None, None), Window::new(now - hour, now).unwrap());
        assert_eq!(resolve(Some(at(5)), None), Window::new(at(5), now).unwrap());
        assert_eq!(resolve(None, Some(at(5))), Window::new(at(5) - hour, at(5)).unwrap());
        assert_eq!(resolve(Some(at(5)), Some(at(7))), Window::new(at(5), at(7)).unwrap());
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        let window = Window::new(at(5), at(7)).unwrap();
        assert!(window.contains(at(5)) && window.contains(at(6)));
        assert!(!window.contains(at(4)) && !window.contains(at(7)));
    }
}

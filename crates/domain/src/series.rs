//! The cells of a time series: hours, days and weeks as a time zone's clocks and calendars have them.

use crate::plan::Resolution;
use crate::time::{Span, Timestamp};
use crate::window::Window;
use crate::words;
use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

/// Most buckets of one series.
pub const SERIES_BUCKETS_MAX: usize = 10_000;

/// The width of a series' buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Minutes.
    Minute,
    /// Quarters of the hours of the zone's clock.
    FifteenMinutes,
    /// Hours of the zone's clock.
    Hour,
    /// Calendar days.
    Day,
    /// Calendar weeks, from Monday.
    Week,
    /// Calendar months.
    Month,
}

words!(Interval {
    Minute = "minute",
    FifteenMinutes = "15m",
    Hour = "hour",
    Day = "day",
    Week = "week",
    Month = "month",
});

/// The width of the buckets of `call-volume`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeInterval {
    /// Hours.
    #[default]
    Hour,
    /// Days.
    Day,
    /// Weeks.
    Week,
}

words!(VolumeInterval { Hour = "hour", Day = "day", Week = "week" });

impl From<VolumeInterval> for Interval {
    fn from(interval: VolumeInterval) -> Self {
        match interval {
            VolumeInterval::Hour => Self::Hour,
            VolumeInterval::Day => Self::Day,
            VolumeInterval::Week => Self::Week,
        }
    }
}

/// Hours of a week, from Monday 0:00.
pub const HOURS_OF_WEEK: usize = 7 * 24;

/// A time zone of the IANA database. The default is UTC.
///
/// Offsets with seconds, which no zone has had since 1972, are cut to the minute: every boundary is a whole minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

/// Why a string names no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an IANA time zone name, such as Europe/Berlin or UTC")]
pub struct ZoneFault;

impl Default for Zone {
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl std::str::FromStr for Zone {
    type Err = ZoneFault;

    fn from_str(name: &str) -> Result<Self, ZoneFault> {
        name.parse().map(Self).map_err(|_| ZoneFault)
    }
}

impl Zone {
    /// What clocks show more than UTC at an instant.
    fn offset(self, instant: Timestamp) -> Span {
        let seconds = self.0.offset_from_utc_datetime(&utc(instant)).fix().local_minus_utc();
        Span::from_minutes(i64::from(seconds).div_euclid(60))
    }

    fn local_date(self, instant: Timestamp) -> NaiveDate {
        utc(instant + self.offset(instant)).date()
    }

    /// The first instant at which clocks show `date`; where no clock ever does, the first one after.
    fn day_start(self, date: NaiveDate) -> Timestamp {
        // A skipped midnight (clocks go forward at 0:00) is looked for minute by minute. Two days are enough: the
        // longest time ever skipped is one day (Samoa, 30 December 2011).
        let midnight = date.and_time(NaiveTime::MIN);
        (0..=2 * 24 * 60)
            .filter_map(|minutes| midnight.checked_add_signed(TimeDelta::minutes(minutes)))
            .find_map(|local| self.0.from_local_datetime(&local).earliest())
            .map_or(Timestamp::from(midnight.and_utc()), |start| Timestamp::from(start.with_timezone(&Utc)))
            .floor(Resolution::Minute.width())
    }

    /// The start of the calendar bucket that holds an instant, and the start of the next one: `first_day` says where the
    /// bucket of a date begins, and `next` where the one after a first day does.
    fn calendar_bucket(
        self,
        instant: Timestamp,
        first_day: impl Fn(NaiveDate) -> NaiveDate,
        next: impl Fn(NaiveDate) -> NaiveDate,
    ) -> (Timestamp, Timestamp) {
        let mut date = first_day(self.local_date(instant));
        // Where clocks go back across midnight, an instant may show the date of the bucket before or after its own.
        while self.day_start(date) > instant && date != NaiveDate::MIN {
            date = first_day(back(date, 1));
        }
        let mut start = self.day_start(date);
        loop {
            date = next(date);
            let end = self.day_start(date);
            if end > instant || date == NaiveDate::MAX {
                return (start, end);
            }
            start = end;
        }
    }

    /// The start of the bucket of the zone's clock that holds an instant, and the start of the next one. It ends early
    /// where the offset changes inside it.
    fn clock_bucket(self, instant: Timestamp, width: Span) -> (Timestamp, Timestamp) {
        let offset = self.offset(instant);
        let start = (instant + offset).floor(width) - offset;
        let end = start + width;
        (self.last_change(start, instant).unwrap_or(start), self.last_change(instant, end).unwrap_or(end))
    }

    /// The instant in `(from, to)` from which the offset is that of `to`'s last moment, if it differs from `from`'s.
    fn last_change(self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let minute = Resolution::Minute.width();
        let (mut before, mut after) = (from.floor(minute), (to - Span::from_micros(1)).max(from).floor(minute));
        let (old, new) = (self.offset(before), self.offset(after));
        if old == new {
            return None;
        }
        while after.since(before) > minute {
            let middle = (before + Span::from_micros(after.since(before).as_micros() / 2)).floor(minute);
            if self.offset(middle) == old { before = middle } else { after = middle }
        }
        Some(after)
    }

    /// The start of the bucket that holds an instant, and the start of the next one.
    #[must_use]
    pub fn bucket(self, interval: Interval, instant: Timestamp) -> (Timestamp, Timestamp) {
        match interval {
            Interval::Minute => self.clock_bucket(instant, Span::from_minutes(1)),
            Interval::FifteenMinutes => self.clock_bucket(instant, Span::from_minutes(15)),
            Interval::Hour => self.clock_bucket(instant, Span::from_hours(1)),
            Interval::Day => self.calendar_bucket(instant, |date| date, |date| forward(date, 1)),
            Interval::Week => {
                let monday = |date: NaiveDate| back(date, u64::from(date.weekday().num_days_from_monday()));
                self.calendar_bucket(instant, monday, |date| forward(date, 7))
            }
            Interval::Month => {
                let first = |date: NaiveDate| back(date, u64::from(date.day0()));
                let next = |date: NaiveDate| date.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX);
                self.calendar_bucket(instant, first, next)
            }
        }
    }

    /// The hour of the week that clocks show at an instant: 0 is Monday 0:00 to 1:00.
    #[must_use]
    pub fn hour_of_week(self, instant: Timestamp) -> usize {
        let local = utc(instant + self.offset(instant));
        (local.weekday().num_days_from_monday() * 24 + local.hour()) as usize
    }

    /// What clocks show at an instant, as if it were UTC: to find the same time of another day.
    #[must_use]
    pub fn wall_clock(self, instant: Timestamp) -> Timestamp {
        instant + self.offset(instant)
    }

    /// The name in the IANA database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

fn utc(instant: Timestamp) -> NaiveDateTime {
    instant.to_datetime().unwrap_or(DateTime::UNIX_EPOCH).naive_utc()
}

fn back(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN)
}

fn forward(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}

/// What a series is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Buckets of the zone's clock and calendar.
    Buckets(Interval, Zone),
    /// The hours of the week of the zone's clock, each summed over all weeks.
    HoursOfWeek(Zone),
}

/// The cells that a window is cut into: the adjacent buckets from the one that holds its start to the one that holds its
/// last instant, or the hours of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Buckets, ascending, never empty.
    starts: Vec<Timestamp>,
    /// The zone of the hours of a week, where those are the cells.
    hours_of: Option<Zone>,
}

/// Which cell of a series it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The whole window: there is no series.
    Window,
    /// The bucket that starts here.
    Bucket(Timestamp),
    /// An hour of the week.
    HourOfWeek(usize),
}

/// Why a window has no series; there is one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gives more than {SERIES_BUCKETS_MAX} buckets: ask for a shorter window or a wider interval")]
pub struct SeriesFault;

impl Series {
    /// The series of a window.
    pub fn new(window: Window, cut: Cut) -> Result<Self, SeriesFault> {
        let (interval, zone, hours_of) = match cut {
            Cut::Buckets(interval, zone) => (interval, zone, None),
            Cut::HoursOfWeek(zone) => (Interval::Hour, zone, Some(zone)),
        };
        let (first, mut next) = zone.bucket(interval, window.start());
        let mut starts = vec![first];
        while next < window.end() {
            if starts.len() == SERIES_BUCKETS_MAX {
                return Err(SeriesFault);
            }
            starts.push(next);
            (_, next) = zone.bucket(interval, next);
        }
        Ok(Self { starts, hours_of })
    }

    /// The cells, in their order.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        match self.hours_of {
            None => self.starts.iter().copied().map(Cell::Bucket).collect(),
            Some(_) => (0..HOURS_OF_WEEK).map(Cell::HourOfWeek).collect(),
        }
    }

    /// The index of the cell that holds an instant of the window.
    #[must_use]
    pub fn index_of(&self, instant: Timestamp) -> usize {
        match self.hours_of {
            None => self.starts.partition_point(|&start| start <= instant).saturating_sub(1),
            Some(zone) => zone.hour_of_week(instant),
        }
    }

    /// The widest resolution none of whose buckets lies in two buckets of the series.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        let boundaries = self.starts.get(1..).unwrap_or_default();
        let widest = Resolution::widest_dividing(boundaries).unwrap_or(Resolution::Minute);
        // A week has an hour in more than one bucket, so what is wider than one is of several hours.
        if self.hours_of.is_some() { widest.min(Resolution::Hour) } else { widest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc).into()
    }

    fn series(after: &str, before: &str, interval: Interval, zone: &str) -> Vec<String> {
        let window = Window::new(at(after), at(before)).unwrap();
        let series = Series::new(window, Cut::Buckets(interval, zone.parse().unwrap())).unwrap();
        series.starts.iter().map(|&start| utc(start).format("%d %H:%M").to_string()).collect()
    }

    #[test]
    fn a_series_starts_before_its_window_and_ends_with_its_last_instant() {
        let starts = series("2026-01-17T10:30:00Z", "2026-01-17T12:00:00Z", Interval::Hour, "UTC");
        assert_eq!(starts, ["17 10:00", "17 11:00"]);
        let starts = series("2026-01-17T10:30:00Z", "2026-01-17T12:00:00.000001Z", Interval::Hour, "UTC");
        assert_eq!(starts, ["17 10:00", "17 11:00", "17 12:00"]);
    }

    #[test]
    fn berlin_has_a_day_of_23_and_a_day_of_25_hours() {
        let days = |after, before| series(after, before, Interval::Day, "Europe/Berlin");
        assert_eq!(days("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"), ["27 23:00", "28 23:00", "29 22:00"]);
        assert_eq!(days("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"), ["23 22:00", "24 22:00", "25 23:00"]);
    }

    #[test]
    fn new_york_changes_on_its_own_days() {
        let starts = series("2026-03-08T00:00:00Z", "2026-03-10T00:00:00Z", Interval::Day, "America/New_York");
        assert_eq!(starts, ["07 05:00", "08 05:00", "09 04:00"]);
        let starts = series("2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z", Interval::Day, "America/New_York");
        assert_eq!(starts, ["31 04:00", "01 04:00", "02 05:00"]);
    }

    #[test]
    fn kolkata_has_its_hours_on_the_half_hour() {
        let starts = series("2026-01-17T10:00:00Z", "2026-01-17T11:31:00Z", Interval::Hour, "Asia/Kolkata");
        assert_eq!(starts, ["17 09:30", "17 10:30", "17 11:30"]);
        let starts = series("2026-01-17T10:00:00Z", "2026-01-18T20:00:00Z", Interval::Day, "Asia/Kolkata");
        assert_eq!(starts, ["16 18:30", "17 18:30", "18 18:30"]);
    }

    #[test]
    fn a_repeated_hour_is_two_buckets_and_a_skipped_one_none() {
        let hours = |after, before| series(after, before, Interval::Hour, "Europe/Berlin");
        assert_eq!(hours("2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z"), ["25 00:00", "25 01:00", "25 02:00"]);
        assert_eq!(hours("2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z"), ["29 00:00", "29 01:00", "29 02:00"]);
    }

    #[test]
    fn a_change_of_half_an_hour_cuts_an_hour_short() {
        let starts = series("2026-04-04T14:00:00Z", "2026-04-04T17:00:00Z", Interval::Hour, "Australia/Lord_Howe");
        assert_eq!(starts, ["04 14:00", "04 15:00", "04 15:30", "04 16:30"]);
    }

    #[test]
    fn a_week_starts_on_monday_of_the_zone() {
        // 2026-01-18 is a Sunday; in Auckland its last hours are Monday already.
        let starts = series("2026-01-18T12:00:00Z", "2026-01-19T12:00:00Z", Interval::Week, "UTC");
        assert_eq!(starts, ["12 00:00", "19 00:00"]);
        let starts = series("2026-01-18T12:00:00Z", "2026-01-19T12:00:00Z", Interval::Week, "Pacific/Auckland");
        assert_eq!(starts, ["18 11:00"]);
    }

    #[test]
    fn a_month_has_its_own_length_and_a_quarter_stands_on_the_clock() {
        let starts = series("2024-02-10T00:00:00Z", "2024-04-02T00:00:00Z", Interval::Month, "UTC");
        assert_eq!(starts, ["01 00:00", "01 00:00", "01 00:00"]);
        let starts = series("2026-01-17T10:20:00Z", "2026-01-17T10:50:00Z", Interval::FifteenMinutes, "Asia/Kathmandu");
        assert_eq!(starts, ["17 10:15", "17 10:30", "17 10:45"]);
    }

    #[test]
    fn the_hours_of_a_week_are_those_of_the_zone_and_always_all() {
        // 2026-01-18 is a Sunday; in Auckland, 13 hours ahead, its noon is Monday 1:00.
        let zone = |name: &str| name.parse::<Zone>().unwrap();
        assert_eq!(zone("UTC").hour_of_week(at("2026-01-18T12:00:00Z")), 6 * 24 + 12);
        assert_eq!(zone("Pacific/Auckland").hour_of_week(at("2026-01-18T12:00:00Z")), 1);
        let window = Window::new(at("2026-01-17T10:30:00Z"), at("2026-01-17T12:00:00Z")).unwrap();
        let series = Series::new(window, Cut::HoursOfWeek(zone("Asia/Kolkata"))).unwrap();
        assert_eq!((series.cells().len(), series.resolution()), (HOURS_OF_WEEK, Resolution::FifteenMinutes));
        assert_eq!(series.index_of(at("2026-01-17T10:30:00Z")), 5 * 24 + 16);
    }

    #[test]
    fn a_day_that_never_was_has_no_bucket() {
        let starts = series("2011-12-29T12:00:00Z", "2012-01-01T00:00:00Z", Interval::Day, "Pacific/Apia");
        assert_eq!(starts, ["29 10:00", "30 10:00", "31 10:00"]);
    }

    #[test]
    fn a_skipped_midnight_starts_the_day_late() {
        // Clocks in Beirut go from 0:00 to 1:00.
        let starts = series("2026-03-28T23:00:00Z", "2026-03-30T00:00:00Z", Interval::Day, "Asia/Beirut");
        assert_eq!(starts, ["28 22:00", "29 21:00"]);
    }

    #[test]
    fn more_buckets_than_the_bound_are_refused() {
        let hours =
            |count| Window::new(at("2020-01-01T00:00:00Z"), at("2020-01-01T00:00:00Z") + Span::from_hours(count));
        let series = |count| Series::new(hours(count).unwrap(), Cut::Buckets(Interval::Hour, Zone::default()));
        assert_eq!(series(10_000).map(|series| series.starts.len()), Ok(10_000));
        assert_eq!(series(10_001), Err(SeriesFault));
    }

    fn zones() -> impl Strategy<Value = Zone> {
        (0..chrono_tz::TZ_VARIANTS.len()).prop_map(|index| Zone(chrono_tz::TZ_VARIANTS[index]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn buckets_of_any_zone_are_adjacent_and_hold_their_instants(
            zone in zones(),
            interval in 0..Interval::ALL.len(),
            seconds in -3_000_000_000_i64..6_000_000_000,
        ) {
            let interval = Interval::ALL[interval];
            let instant = Timestamp::from_micros(seconds * 1_000_000 + 1);
            let (start, end) = zone.bucket(interval, instant);
            prop_assert!(start <= instant && instant < end, "{start:?} {instant:?} {end:?}");
            prop_assert_eq!(zone.bucket(interval, start), (start, end));
            prop_assert_eq!(zone.bucket(interval, end - Span::from_micros(1)), (start, end));
            prop_assert_eq!(zone.bucket(interval, end).0, end);
        }
    }
}

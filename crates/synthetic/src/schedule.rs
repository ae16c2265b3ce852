//! When calls start: evenly, or by a curve of days and nights.
//!
//! All times are whole milliseconds, so that they survive every store and every format unchanged.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday};

use crate::draws::{Draws, whole_ms};

/// How busy each hour of a weekday is in UTC: nearly nothing at night, most between 9 and 18 h, a dip at noon.
const HOUR_RATES: [f64; 24] = [
    0.05, 0.03, 0.02, 0.02, 0.03, 0.06, 0.15, 0.35, 0.70, 1.00, 1.15, 1.10, //
    0.85, 0.95, 1.10, 1.10, 1.00, 0.85, 0.55, 0.38, 0.28, 0.20, 0.13, 0.08,
];

/// How busy an hour of a weekend is, in terms of the same hour of a weekday.
const WEEKEND_FACTOR: f64 = 0.4;

const HOUR_MS: i64 = 60 * 60 * 1000;

/// `count` starts in `[from, to)`, ascending, drawn from a curve of busy days (9 to 18 h UTC), quiet nights and
/// quieter weekends. Equal arguments give equal times; none when no whole millisecond lies in the range.
#[must_use]
pub fn start_times(seed: u64, from: DateTime<Utc>, to: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
    growing_start_times(seed, from, to, count, 1.0)
}

/// Like [`start_times`]; at the end of the range calls are `growth` times as frequent as at its start, and more
/// frequent by the same factor each day.
pub(crate) fn growing_start_times(
    seed: u64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    count: usize,
    growth: f64,
) -> Vec<DateTime<Utc>> {
    let Some(range) = Range::new(from, to) else {
        return Vec::new();
    };
    let mut hours = range.hours();
    for hour in &mut hours {
        hour.rate *= growth.powf(hour.offset_ms / range.length_ms as f64);
    }
    let total_load: f64 = hours.iter().map(Hour::load).sum();

    // The arrivals of a steady stream, scaled to the load of the range, are `count` independent draws in order.
    let mut draws = Draws::new(seed);
    let mut elapsed = 0.0;
    let arrivals: Vec<f64> = (0..count)
        .map(|_| {
            elapsed += draws.exponential();
            elapsed
        })
        .collect();
    let load_per_arrival = total_load / (elapsed + draws.exponential());

    let mut load_before = 0.0;
    let mut current = 0;
    arrivals
        .into_iter()
        .map(|arrival| {
            let target = arrival * load_per_arrival;
            while current + 1 < hours.len() && target >= load_before + hours[current].load() {
                load_before += hours[current].load();
                current += 1;
            }
            let hour = &hours[current];
            range.at(hour.offset_ms + (target - load_before) / hour.rate)
        })
        .collect()
}

/// `count` starts in `[from, to)`, ascending, the first at `from` and the rest at equal distances, to the
/// millisecond; none when no whole millisecond lies in the range.
#[must_use]
pub fn even_start_times(from: DateTime<Utc>, to: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
    let Some(range) = Range::new(from, to) else {
        return Vec::new();
    };
    let step_ms = range.length_ms as f64 / count as f64;
    (0..count).map(|index| range.at(index as f64 * step_ms)).collect()
}

/// Cuts what lies beyond whole milliseconds.
pub(crate) fn floor_to_ms(instant: DateTime<Utc>) -> DateTime<Utc> {
    let rest_ns = instant.timestamp_subsec_nanos() % 1_000_000;
    instant - TimeDelta::nanoseconds(i64::from(rest_ns))
}

/// The first whole millisecond that is not earlier.
fn ceil_to_ms(instant: DateTime<Utc>) -> DateTime<Utc> {
    let floor = floor_to_ms(instant);
    if floor == instant { floor } else { floor + TimeDelta::milliseconds(1) }
}

/// The whole milliseconds of a half-open span; there is at least one.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: DateTime<Utc>,
    length_ms: i64,
}

/// The part of a clock hour that lies in a range.
#[derive(Clone, Copy, Debug)]
struct Hour {
    /// From the range's first millisecond.
    offset_ms: f64,
    length_ms: f64,
    /// Calls per millisecond, to a common scale; above 0.
    rate: f64,
}

impl Hour {
    /// The calls that fall in this part, to the scale of the rate.
    fn load(&self) -> f64 {
        self.length_ms * self.rate
    }
}

impl Range {
    fn new(from: DateTime<Utc>, to: DateTime<Utc>) -> Option<Self> {
        let first = ceil_to_ms(from);
        let length_ms = (ceil_to_ms(to) - first).num_milliseconds();
        (length_ms > 0).then_some(Self { first, length_ms })
    }

    /// The instant so far into the range; rounding never carries it past the end.
    fn at(self, offset_ms: f64) -> DateTime<Utc> {
        let offset_ms = whole_ms(offset_ms).clamp(0, self.length_ms - 1);
        self.first + TimeDelta::milliseconds(offset_ms)
    }

    /// The clock hours that the range touches, in order.
    fn hours(self) -> Vec<Hour> {
        let mut hours = Vec::new();
        let mut offset_ms = 0;
        while offset_ms < self.length_ms {
            let start = self.first + TimeDelta::milliseconds(offset_ms);
            let rest_of_hour_ms = HOUR_MS - start.timestamp_millis().rem_euclid(HOUR_MS);
            let length_ms = rest_of_hour_ms.min(self.length_ms - offset_ms);
            hours.push(Hour { offset_ms: offset_ms as f64, length_ms: length_ms as f64, rate: rate(start) });
            offset_ms += length_ms;
        }
        hours
    }
}

fn rate(instant: DateTime<Utc>) -> f64 {
    let weekday_rate = HOUR_RATES[instant.hour() as usize];
    match instant.weekday() {
        Weekday::Sat | Weekday::Sun => weekday_rate * WEEKEND_FACTOR,
        _ => weekday_rate,
    }
}

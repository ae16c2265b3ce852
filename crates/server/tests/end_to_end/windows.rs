//! Windows to ask about: random and unaligned, aligned, tiny, and with only one bound.

use crate::figures::instant;
use chrono::{FixedOffset, SecondsFormat};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;

/// Named periods.
pub const PERIODS: [(&str, i64); 4] = [("1h", HOUR_US), ("24h", DAY_US), ("7d", 7 * DAY_US), ("30d", 30 * DAY_US)];

/// A half-open span of starts, and the query that asks for it.
#[derive(Clone, Debug)]
pub struct Window {
    pub query: String,
    pub from_us: i64,
    pub to_us: i64,
}

impl Window {
    /// A window with both bounds.
    pub fn between(from_us: i64, to_us: i64) -> Self {
        let query = format!("started_after={}&started_before={}", written(from_us, 0), written(to_us, 0));
        Self { query, from_us, to_us }
    }

    /// A window that ends now.
    pub fn of_period((word, length_us): (&str, i64), now_us: i64) -> Self {
        Self { query: format!("period={word}"), from_us: now_us - length_us, to_us: now_us }
    }
}

/// An instant as a query writes it, in a zone of so many minutes east.
fn written(at_us: i64, east_minutes: i32) -> String {
    let zone = FixedOffset::east_opt(east_minutes * 60).unwrap();
    instant(at_us).with_timezone(&zone).to_rfc3339_opts(SecondsFormat::AutoSi, true).replace('+', "%2B")
}

/// Windows about the starts of calls, at most 30 days long.
pub fn windows(random: &mut StdRng, starts_us: &[i64]) -> Vec<Window> {
    let mut windows = Vec::new();
    for _ in 0..16 {
        windows.push(unaligned(random, starts_us));
    }
    for unit_us in [MINUTE_US, 15 * MINUTE_US, HOUR_US, DAY_US] {
        for _ in 0..4 {
            windows.push(aligned(random, starts_us, unit_us));
        }
    }
    for _ in 0..10 {
        windows.push(inside_a_minute(random, starts_us));
        windows.push(one_bound(random, starts_us));
        windows.push(on_the_edge(random, starts_us));
    }
    windows
}

fn near_a_call(random: &mut StdRng, starts_us: &[i64], distance_us: i64) -> i64 {
    starts_us.choose(random).unwrap() + random.random_range(-distance_us..=distance_us)
}

/// From a second to 30 days, each order of magnitude as likely, to the microsecond or the millisecond.
fn unaligned(random: &mut StdRng, starts_us: &[i64]) -> Window {
    let seconds = (30.0 * 86_400.0_f64).powf(random.random());
    #[expect(clippy::cast_possible_truncation, reason = "at most 30 days")]
    let length_us = (seconds * 1e6) as i64;
    let inside_us = near_a_call(random, starts_us, SECOND_US);
    let mut from_us = inside_us - random.random_range(0..=length_us);
    let mut to_us = from_us + length_us;
    if random.random_bool(0.5) {
        from_us -= from_us % 1000;
        to_us -= to_us % 1000;
    }
    let zone = *[0, 330, -300, 60].choose(random).unwrap();
    let query = format!("started_after={}&started_before={}", written(from_us, zone), written(to_us, zone));
    Window { query, from_us, to_us }
}

fn aligned(random: &mut StdRng, starts_us: &[i64], unit_us: i64) -> Window {
    let at_us = near_a_call(random, starts_us, SECOND_US);
    let from_us = at_us - at_us.rem_euclid(unit_us) - random.random_range(0..4) * unit_us;
    Window::between(from_us, from_us + random.random_range(4..20) * unit_us)
}

fn inside_a_minute(random: &mut StdRng, starts_us: &[i64]) -> Window {
    let minute_us = near_a_call(random, starts_us, 0) / MINUTE_US * MINUTE_US;
    let from = random.random_range(0..MINUTE_US - 1);
    let to = random.random_range(from + 1..MINUTE_US);
    Window::between(minute_us + from, minute_us + to)
}

/// An end alone: the window begins a period before it, 24 hours when no period is named.
fn one_bound(random: &mut StdRng, starts_us: &[i64]) -> Window {
    let bound_us = near_a_call(random, starts_us, HOUR_US);
    let (word, length_us) = *PERIODS.choose(random).unwrap();
    let period = if length_us == DAY_US { String::new() } else { format!("period={word}&") };
    let query = format!("{period}started_before={}", written(bound_us, 0));
    Window { query, from_us: bound_us - length_us, to_us: bound_us }
}

/// Both bounds are starts of calls: the first call is inside, the last is not.
fn on_the_edge(random: &mut StdRng, starts_us: &[i64]) -> Window {
    let (one, other) = (*starts_us.choose(random).unwrap(), *starts_us.choose(random).unwrap());
    let (from_us, to_us) = (one.min(other), one.max(other));
    Window::between(from_us, to_us.min(from_us + 30 * DAY_US).max(from_us + 1))
}

//! What every generated record must satisfy, and what a stream of them must look like.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday};

use crate::{
    CallRecord, CallStatus, Detail, ErrorLevel, Generator, Profile, even_start_times, start_times, write_ndjson,
};

mod facts;
mod records;
mod schedule;
mod story;
mod streams;

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn monday() -> DateTime<Utc> {
    instant("2026-01-12T00:00:00Z")
}

/// `count` calls of this profile in one week.
fn calls(seed: u64, profile: &Profile, count: usize) -> Vec<CallRecord> {
    let mut generator = Generator::new(seed, profile.clone());
    even_start_times(monday(), monday() + TimeDelta::days(7), count)
        .into_iter()
        .map(|started_at| generator.call(started_at))
        .collect()
}

/// The share of `records` for which `holds` is true.
fn share(records: &[CallRecord], holds: impl Fn(&CallRecord) -> bool) -> f64 {
    records.iter().filter(|record| holds(record)).count() as f64 / records.len() as f64
}

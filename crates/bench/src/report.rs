//! What was measured against what is wanted.

use std::fmt;
use std::time::Duration;

/// What is wanted of a ratio.
#[derive(Clone, Copy)]
pub enum Bound {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

/// A ratio and its bound.
struct Claim {
    name: String,
    value: f64,
    bound: Bound,
}

/// The claims about one database.
pub struct Report {
    database: &'static str,
    claims: Vec<Claim>,
}

impl Report {
    /// Nothing claimed yet.
    pub const fn new(database: &'static str) -> Self {
        Self { database, claims: Vec::new() }
    }

    /// Prints a ratio beside what is wanted of it, and keeps both for the end.
    pub fn claim(&mut self, name: impl Into<String>, value: f64, bound: Bound) {
        let claim = Claim { name: name.into(), value, bound };
        println!("{}: {claim}", claim.name);
        self.claims.push(claim);
    }

    /// Prints all claims once more, together.
    pub fn print(&self) {
        println!("\n# {}: all ratios with a bound", self.database);
        for claim in &self.claims {
            println!("{:<84} {claim}", claim.name);
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, bound, is_kept) = match self.bound {
            Bound::AtLeast(bound) => ("least", bound, self.value >= bound),
            Bound::AtMost(bound) => ("most", bound, self.value <= bound),
        };
        let missed = if is_kept { "" } else { ", MISSED" };
        write!(formatter, "{:.2} (wanted: at {word} {bound}{missed})", self.value)
    }
}

/// Prints a row of a table.
pub fn print_row(name: &str, cells: impl Iterator<Item = String>) {
    println!("{name:<20}{}", cells.collect::<Vec<_>>().concat());
}

/// The nearest-rank percentile, in milliseconds.
pub fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or_default().as_secs_f64() * 1000.0
}

/// A number of calls, as short as it can be said.
pub fn short(calls: usize) -> String {
    match calls {
        calls if calls >= 1_000_000 && calls.is_multiple_of(1_000_000) => format!("{} M", calls / 1_000_000),
        calls if calls >= 1000 && calls.is_multiple_of(1000) => format!("{} k", calls / 1000),
        calls => calls.to_string(),
    }
}

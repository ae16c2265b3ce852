//! How fast questions are answered, uncached, over 30 days with unaligned edges.

use crate::client::Asker;
use crate::report::{percentile_ms, print_row};
use crate::server::Instance;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// The endpoints, with parameters besides the window; without any, not even a window.
const QUESTIONS: &[(&str, Option<&str>)] = &[
    ("summary", Some("")),
    ("summary?workflow", Some("&workflow=daily-call")),
    ("call-volume hour", Some("&interval=hour")),
    ("call-volume Kolkata", Some("&interval=hour&timezone=Asia/Kolkata")),
    ("workflow-stats", Some("")),
    ("provider-latency", Some("")),
    ("errors", Some("")),
    ("errors rare", Some("&service=tool&level=warning")),
    ("active-calls", None),
];

/// A 30-day window as text, its start and its end.
pub struct Window(pub String, pub String);

/// Windows that differ from one another and end within the last hour of the records, with edges inside minutes.
pub struct Windows {
    end: DateTime<Utc>,
    random: Xoshiro256PlusPlus,
}

impl Windows {
    /// Windows over records that end then.
    pub fn new(end: DateTime<Utc>) -> Self {
        Self { end, random: Xoshiro256PlusPlus::seed_from_u64(7) }
    }

    /// Another one.
    pub fn draw(&mut self) -> Window {
        let mut up_to_an_hour = || TimeDelta::microseconds(self.random.random_range(0..3_600_000_000_i64));
        let end = self.end - up_to_an_hour();
        let start = end - TimeDelta::days(30) + up_to_an_hour();
        let text = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Micros, true);
        Window(text(start), text(end))
    }
}

impl Window {
    /// The path of a question about it.
    pub fn path(&self, endpoint: &str, parameters: &str) -> String {
        let Self(after, before) = self;
        format!("{endpoint}?started_after={after}&started_before={before}{parameters}")
    }
}

/// How fast one question was answered.
#[derive(Clone, Copy)]
pub struct Latency {
    /// The median, in milliseconds.
    pub p50: f64,
    /// The 99th percentile, in milliseconds.
    pub p99: f64,
}

impl From<&mut [Duration]> for Latency {
    fn from(times: &mut [Duration]) -> Self {
        Self { p50: percentile_ms(times, 50), p99: percentile_ms(times, 99) }
    }
}

/// How fast each database answered each question.
pub struct Comparison {
    /// A name for each database.
    labels: Vec<String>,
    /// By question, then by database.
    rows: Vec<(&'static str, Vec<Latency>)>,
}

/// So often each question has its turn, spread over the whole measurement, each time on new connections: asked in one
/// go, the medians of one question to one database differ by a fifth from one time to the next.
const TURNS: usize = 10;

/// Asks every server the same questions in turn, so that a slow moment of the machine meets all of them.
pub fn compare(instances: &[(String, &Instance)], questions: usize, end: DateTime<Utc>) -> anyhow::Result<Comparison> {
    let labels = instances.iter().map(|(label, _)| label.clone()).collect();
    let mut times = vec![vec![Vec::with_capacity(questions); instances.len()]; QUESTIONS.len()];
    let mut windows = Windows::new(end);
    // The first turn warms the caches of the database and the machine up.
    for turn in 0..=TURNS {
        for (&(name, parameters), times) in QUESTIONS.iter().zip(&mut times) {
            let endpoint = name.split([' ', '?']).next().unwrap_or_default();
            let mut askers: Vec<(usize, Asker)> =
                instances.iter().map(|(_, instance)| instance.asker()).enumerate().collect();
            for question in 0..=questions.div_ceil(TURNS) {
                let window = windows.draw();
                let path = parameters.map_or_else(|| endpoint.to_owned(), |more| window.path(endpoint, more));
                for (index, asker) in &askers {
                    let (_, elapsed) = asker.ask(&path)?;
                    // The first one opens the connection.
                    if turn > 0 && question > 0 {
                        times[*index].push(elapsed);
                    }
                }
                // Nobody always comes after the same one.
                askers.reverse();
            }
        }
    }
    let row = |(&(name, _), mut times): (&(_, _), Vec<Vec<Duration>>)| {
        (name, times.iter_mut().map(|times| Latency::from(&mut times[..])).collect())
    };
    Ok(Comparison { labels, rows: QUESTIONS.iter().zip(times).map(row).collect() })
}

impl Comparison {
    /// Prints p50 and p99 of every database, and the p50 of some as a multiple of that of others.
    pub fn print(&self, ratios: &[(usize, usize)]) {
        let labels = self.labels.iter().map(|label| format!("{label:>18}"));
        let ratio_of = |&(of, to): &(usize, usize)| format!("{} / {}", self.labels[of], self.labels[to]);
        let heads = ratios.iter().map(|pair| format!("{:>20}", ratio_of(pair)));
        print_row("p50, p99 in ms", labels.chain(heads));
        for (name, cells) in &self.rows {
            let latencies = cells.iter().map(|cell| format!("{:>9.2}{:>9.2}", cell.p50, cell.p99));
            let ratios = ratios.iter().map(|&(of, to)| format!("{:>20.2}", cells[of].p50 / cells[to].p50));
            print_row(name, latencies.chain(ratios));
        }
    }

    /// The question whose p50 differs most between two databases, and the ratio.
    pub fn worst(&self, of: usize, to: usize) -> (&'static str, f64) {
        let ratios = self.rows.iter().map(|(name, cells)| (*name, cells[of].p50 / cells[to].p50));
        ratios.max_by(|left, right| left.1.total_cmp(&right.1)).unwrap_or_default()
    }
}

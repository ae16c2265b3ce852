//! What an attack may do to others, and whether it did more.

use crate::siege::attacks::Attack;
use crate::siege::measured::{Measured, Series};

/// How many times slower others' requests may become, at the 99th percentile.
const SLOWDOWN_MAX: f64 = 10.0;
/// The slowest that others' requests may become.
pub const P99_MS_MAX: f64 = 500.0;
/// Below this, a percentile is not judged: on a machine that shares its processors with the attacker, it is noise.
const P99_MS_JUDGED: f64 = 20.0;
/// Where it is slower than this without an attack, the machine is too busy with other work.
const IDLE_MS_MAX: f64 = 200.0;
/// The slowest that a health check may become.
const HEALTH_MS_MAX: f64 = 100.0;
/// Bytes on disk for a byte that the attacker sent.
const GROWTH_MAX: f64 = 50.0;
/// Growth that is not judged: pages, and the write-ahead log, which SQLite empties after some megabytes only.
const GROWTH_FREE: f64 = (160_u64 << 20) as f64;
/// Samples that a 99th percentile needs.
const SAMPLES_MIN: usize = 150;

/// What was seen of one attack.
pub struct Evidence<'a> {
    /// The attack.
    pub attack: &'a Attack,
    /// On which database.
    pub database: &'static str,
    /// How memory was limited.
    pub limit: String,
    /// Before.
    pub idle: Measured,
    /// While it ran.
    pub during: Measured,
    /// Bytes on disk that others do not account for.
    pub growth: f64,
    /// Bytes that the attacker sent.
    pub sent: u64,
    /// Requests that it sent.
    pub requests: u64,
    /// What became of them.
    pub outcomes: String,
    /// What is wrong already.
    pub faults: Vec<String>,
}

/// A row of the table.
pub struct Row {
    /// Its cells, in the order of [`HEADINGS`].
    pub cells: Vec<String>,
    /// How memory was limited.
    pub limit: String,
    /// Whether the attack was withstood.
    pub is_passed: bool,
}

impl Row {
    /// A row of an attack that could not be run, which counts as not withstood.
    pub fn not_fought(attack: &Attack, database: &str, error: &anyhow::Error) -> Self {
        let mut cells = vec![String::new(); HEADINGS.len()];
        cells[..3].clone_from_slice(&[attack.name, database, attack.from].map(str::to_owned));
        cells[HEADINGS.len() - 1] = format!("FAIL: could not be run: {error:#}");
        Self { cells, limit: String::new(), is_passed: false }
    }
}

/// What the cells of a row are.
pub const HEADINGS: [&str; 13] = [
    "attack",
    "database",
    "attacker",
    "sent",
    "requests",
    "outcomes",
    "peak RSS, MiB",
    "disk, MiB (bytes per byte sent)",
    "reads p50, ms: idle / during",
    "reads p99, ms: idle / during",
    "writes p99, ms: idle / during",
    "health max, ms: live / ready",
    "verdict",
];

/// Says whether an attack was withstood.
pub fn judge(evidence: Evidence<'_>) -> Row {
    let Evidence { attack, database, limit, mut idle, mut during, growth, sent, requests, outcomes, mut faults } =
        evidence;
    let (reads_idle, reads) = (idle.reads.percentile(99), during.reads.percentile(99));
    let (writes_idle, writes) = (idle.writes.percentile(99), during.writes.percentile(99));
    for (name, idle, p99, series) in
        [("reads", reads_idle, reads, &during.reads), ("writes", writes_idle, writes, &during.writes)]
    {
        faults.extend(slow(name, idle, p99));
        faults.extend((idle > IDLE_MS_MAX).then(|| format!("cannot be judged: idle {name} take {idle:.0} ms already")));
        faults.extend(failed(name, series));
        if series.len() < SAMPLES_MIN {
            faults.push(format!("only {} {name} were measured", series.len()));
        }
    }
    let (liveness, readiness) = (during.live.max(), during.ready.max());
    for (name, max, series) in [("health/live", liveness, &during.live), ("health/ready", readiness, &during.ready)] {
        faults.extend((max > HEALTH_MS_MAX).then(|| format!("{name} took {max:.0} ms")));
        faults.extend(failed(name, series));
    }
    let ratio = growth / sent.max(1) as f64;
    let is_grown = growth > GROWTH_FREE && ratio > GROWTH_MAX;
    faults.extend(is_grown.then(|| format!("{ratio:.0} bytes on disk for a byte sent")));
    let is_passed = faults.is_empty();
    let verdict = if is_passed { "pass".to_owned() } else { format!("FAIL: {}", faults.join("; ")) };
    let cells = vec![
        attack.name.to_owned(),
        database.to_owned(),
        attack.from.to_owned(),
        bytes(sent),
        requests.to_string(),
        outcomes,
        (during.usage.resident_max >> 20).to_string(),
        format!(
            "{:.0} ({})",
            growth / f64::from(1 << 20),
            if sent == 0 { "-".to_owned() } else { format!("{ratio:.1}") }
        ),
        format!("{:.1} / {:.1}", idle.reads.percentile(50), during.reads.percentile(50)),
        format!("{reads_idle:.1} / {reads:.1}"),
        format!("{writes_idle:.1} / {writes:.1}"),
        format!("{liveness:.0} / {readiness:.0}"),
        verdict,
    ];
    Row { cells, limit, is_passed }
}

fn slow(name: &str, idle: f64, during: f64) -> Option<String> {
    let is_slow = during > P99_MS_JUDGED && (during > SLOWDOWN_MAX * idle || during > P99_MS_MAX);
    is_slow.then(|| format!("{name} p99 {idle:.1} -> {during:.0} ms"))
}

fn failed(name: &str, series: &Series) -> Option<String> {
    let failures = series.failures();
    (!failures.is_empty()).then(|| format!("{name}: {failures}"))
}

fn bytes(count: u64) -> String {
    match count {
        count if count >= 10 << 20 => format!("{} MiB", count >> 20),
        count if count >= 10 << 10 => format!("{} KiB", count >> 10),
        count => format!("{count} B"),
    }
}

//! What the neighbours of an attacker feel: reads and writes of another tenant, and health checks, at a modest rate.

use crate::database::Database;
use crate::measure::reads::Windows;
use crate::report::percentile_ms;
use crate::siege::records::{call, new_id};
use crate::siege::target::{Target, Usage, usage};
use std::collections::BTreeMap;
use std::iter::Sum;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Reads, writes of each of some agents, and health checks of each kind, in a second.
const READS_PER_SECOND: u32 = 50;
const AGENTS: u32 = 4;
const WRITES_PER_SECOND: u32 = 10;
const CHECKS_PER_SECOND: u32 = 10;
/// How often memory and disk are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the size of a database of PostgreSQL is asked for.
const LOOKS_PER_SIZE: usize = 10;
/// How long an answer is waited for; a request without one counts as this slow.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What was measured in one stretch of time.
#[derive(Default)]
pub struct Measured {
    /// Reads of a tenant that does not attack.
    pub reads: Series,
    /// Its writes, one call each.
    pub writes: Series,
    /// `/health/live`, each on a connection of its own.
    pub live: Series,
    /// `/health/ready`, likewise.
    pub ready: Series,
    /// The most of each figure.
    pub usage: Usage,
}

/// How long requests of one kind took, from when each was due.
#[derive(Default)]
pub struct Series {
    times: Vec<Duration>,
    /// Requests that did not succeed, by status or word.
    pub failures: BTreeMap<String, u64>,
}

impl Series {
    /// A percentile, in milliseconds.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        percentile_ms(&mut self.times, percent)
    }

    /// The slowest, in milliseconds.
    pub fn max(&mut self) -> f64 {
        self.percentile(100)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Failures, as a cell of the table; empty when there are none.
    pub fn failures(&self) -> String {
        let failures: Vec<String> = self.failures.iter().map(|(name, count)| format!("{name} x{count}")).collect();
        failures.join(", ")
    }
}

impl Sum for Series {
    fn sum<I: Iterator<Item = Self>>(series: I) -> Self {
        series.fold(Self::default(), |mut sum, one| {
            sum.times.extend(one.times);
            for (name, count) in one.failures {
                *sum.failures.entry(name).or_default() += count;
            }
            sum
        })
    }
}

/// Measures for so long. `process` is the server's.
pub fn measure(target: &Target, duration: Duration) -> Measured {
    let end = Instant::now() + duration;
    let is_over = AtomicBool::new(false);
    let url = target.url();
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let (agent, mut windows) = (agent(true), Windows::new(target.end));
            sample(end, READS_PER_SECOND, || {
                let path = windows.draw().path("summary", "");
                let request = agent.get(format!("{url}/api/v1/analytics/{path}"));
                request.header("X-API-Key", &target.measured[0]).call()
            })
        });
        let write = || {
            let agent = agent(true);
            sample(end, WRITES_PER_SECOND, || {
                let id = new_id();
                let request = agent.put(format!("{url}/api/v1/ingest/calls/{id}"));
                let request = request.header("X-API-Key", &target.measured[1]).content_type("application/json");
                request.send(call(id, ""))
            })
        };
        let writes: Vec<_> = (0..AGENTS)
            .map(|_| {
                std::thread::sleep(Duration::from_secs(1) / WRITES_PER_SECOND / AGENTS);
                scope.spawn(write)
            })
            .collect();
        let check = |path: &'static str| {
            let url = &url;
            move || sample(end, CHECKS_PER_SECOND, || agent(false).get(format!("{url}/health/{path}")).call())
        };
        let (liveness, readiness) = (scope.spawn(check("live")), scope.spawn(check("ready")));
        let watch = scope.spawn(|| watch(target.server.id(), &target.database, &is_over));
        let mut measured = Measured {
            reads: reads.join().unwrap_or_default(),
            writes: writes.into_iter().map(|writes| writes.join().unwrap_or_default()).sum(),
            live: liveness.join().unwrap_or_default(),
            ready: readiness.join().unwrap_or_default(),
            usage: Usage::default(),
        };
        is_over.store(true, Ordering::Relaxed);
        measured.usage = watch.join().unwrap_or_default();
        measured
    })
}

fn agent(keeps_connections: bool) -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let config = if keeps_connections { config } else { config.max_idle_connections(0) };
    config.build().into()
}

/// Sends requests one after the other, each when it is due. One that is due while another is waited for counts from when
/// it was due, as a client's would that sends it from elsewhere. What is due before the end, and could not be sent, counts
/// as it stands then.
fn sample(
    end: Instant,
    per_second: u32,
    mut send: impl FnMut() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Series {
    let (mut series, pace, started) = (Series::default(), Duration::from_secs(1) / per_second, Instant::now());
    let mut due = started;
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if Instant::now() < end {
            let outcome = send().and_then(|mut answer| {
                answer.body_mut().read_to_vec()?;
                Ok(answer.status().as_u16())
            });
            match outcome {
                Ok(200 | 201) => {}
                Ok(status) => *series.failures.entry(status.to_string()).or_default() += 1,
                Err(_) => *series.failures.entry("no answer".to_owned()).or_default() += 1,
            }
        }
        series.times.push(due.elapsed());
        due += pace;
    }
    series
}

/// The most memory, disk and descriptors until it is over.
fn watch(process: u32, database: &Database, is_over: &AtomicBool) -> Usage {
    let (mut most, mut looks, nowhere) = (Usage::default(), 0, Database::Sqlite("/nonexistent".into()));
    while !is_over.load(Ordering::Relaxed) {
        // A file's size costs nothing, a question to PostgreSQL does.
        let asks = matches!(database, Database::Sqlite(_)) || looks % LOOKS_PER_SIZE == 0;
        let now = usage(process, if asks { database } else { &nowhere });
        most.resident = most.resident.max(now.resident);
        most.resident_max = most.resident_max.max(now.resident_max);
        most.disk = most.disk.max(now.disk);
        most.descriptors = most.descriptors.max(now.descriptors);
        looks += 1;
        std::thread::sleep(LOOK_INTERVAL);
    }
    most
}

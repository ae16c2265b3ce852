//! What the same answers cost as plain SQL aggregates over raw rows of the same database.

use crate::database::Database;
use crate::measure::Bench;
use crate::measure::reads::{Window, Windows};
use crate::postgres::Session;
use crate::records::Records;
use crate::report::{Bound, percentile_ms};
use crate::server::Instance;
use anyhow::Context;
use callscope_synthetic::CallRecord;
use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Bytes of one message of a COPY.
const CHUNK_BYTES: usize = 1 << 20;

/// Questions to callscope for each one to SQL, which is slow.
const ASKED: usize = 10;

/// Indexes that an aggregate over samples can be read from alone; the better one counts.
const SAMPLE_INDEXES: [(&str, &str); 2] = [
    ("by start", "(tenant_id, started_at) INCLUDE (provider_type, provider_name, latency_ms, call_id)"),
    ("by provider", "(tenant_id, provider_type, provider_name, latency_ms) INCLUDE (started_at, call_id)"),
];

/// The same summary, without its latencies, which SQL cannot read there: so the comparison favours SQL.
pub fn summary(bench: &mut Bench, instance: &Instance) -> anyhow::Result<()> {
    println!("\nsummary against count, filter, avg and sum over the calls by SQL:");
    // Before there is an index that the server's own plans might take.
    let summaries = Summaries::ask(bench, instance)?;
    let calls = RawCalls::open(&instance.database)?;
    let ratio = match &calls {
        RawCalls::Sqlite(_) => {
            let ratio = calls.compare(&summaries, "the indexes of the schema")?;
            calls.run("CREATE INDEX raw_calls ON calls (tenant_id, started_at, status, ended_at, total_tokens)")?;
            calls.compare(&summaries, "a covering index")?;
            ratio
        }
        RawCalls::Postgres(_) => {
            let columns = "(tenant_id, started_at) INCLUDE (status, ended_at, total_tokens)";
            calls.run(&format!("CREATE INDEX raw_calls ON calls {columns}"))?;
            calls.run("VACUUM ANALYZE calls")?;
            calls.compare(&summaries, "a covering index")?
        }
    };
    bench.report.claim("summary by SQL / summary", ratio, Bound::AtLeast(50.0));
    calls.run("DROP INDEX raw_calls")
}

/// What callscope answered.
struct Summaries {
    /// Windows, and the number of calls in each.
    calls: Vec<(Window, i64)>,
    p50_ms: f64,
}

impl Summaries {
    fn ask(bench: &Bench, instance: &Instance) -> anyhow::Result<Self> {
        let (asker, mut windows) = (instance.asker(), Windows::new(bench.end));
        let (mut calls, mut times) = (Vec::new(), Vec::new());
        for _ in 0..bench.arguments.questions {
            let window = windows.draw();
            let (answer, elapsed) = asker.ask(&window.path("summary", ""))?;
            times.push(elapsed);
            let answer: Value = serde_json::from_slice(&answer)?;
            calls.push((window, answer["total_calls"].as_i64().context("a summary counts calls")?));
        }
        // SQL, which is slow, is asked about a tenth.
        calls.truncate((calls.len() / 10).max(5));
        Ok(Self { calls, p50_ms: percentile_ms(&mut times, 50) })
    }
}

/// A connection to the calls of a database with one tenant.
enum RawCalls {
    Sqlite(Connection),
    Postgres(Session),
}

impl RawCalls {
    fn open(database: &Database) -> anyhow::Result<Self> {
        Ok(match database {
            Database::Sqlite(file) => {
                let connection = Connection::open(file)?;
                connection.execute_batch("PRAGMA cache_size = -262144;")?;
                Self::Sqlite(connection)
            }
            Database::Postgres(url) => Self::Postgres(Session::open(url)?),
        })
    }

    fn run(&self, statement: &str) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(statement)?),
            Self::Postgres(session) => session.run(statement),
        }
    }

    /// Gives how much longer SQL takes, by the median; both must speak of the same calls.
    fn compare(&self, summaries: &Summaries, index: &str) -> anyhow::Result<f64> {
        let mut times = Vec::new();
        for (window, known) in &summaries.calls {
            let (calls, elapsed) = self.aggregate(window)?;
            times.push(elapsed);
            anyhow::ensure!(calls == *known, "SQL counts {calls} calls, callscope {known}");
        }
        let (plain, ours) = (percentile_ms(&mut times, 50), summaries.p50_ms);
        println!("  SQL with {index}: {plain:.1} ms; callscope over HTTP: {ours:.2} ms; {:.0} times", plain / ours);
        Ok(plain / ours)
    }

    /// Aggregates the calls of a window; gives their number, as a proof of work.
    fn aggregate(&self, Window(after, before): &Window) -> anyhow::Result<(i64, Duration)> {
        const AGGREGATES: &str = "SELECT count(*), count(*) FILTER (WHERE status = 'completed'), \
            count(*) FILTER (WHERE status = 'failed'), avg(ended_at - started_at), sum(total_tokens) FROM calls \
            WHERE tenant_id = (SELECT tenant_id FROM tenants)";
        match self {
            Self::Sqlite(connection) => {
                let micros = |text: &str| text.parse::<DateTime<Utc>>().map(|instant| instant.timestamp_micros());
                let sql = format!("{AGGREGATES} AND started_at >= ?1 AND started_at < ?2");
                let mut statement = connection.prepare_cached(&sql)?;
                let started = Instant::now();
                let calls = statement.query_row([micros(after)?, micros(before)?], |row| row.get(0))?;
                Ok((calls, started.elapsed()))
            }
            Self::Postgres(session) => {
                let sql = format!("{AGGREGATES} AND started_at >= '{after}' AND started_at < '{before}'");
                let started = Instant::now();
                let rows = session.rows(&sql)?;
                let elapsed = started.elapsed();
                Ok((rows.first().and_then(|row| row.first()).context("one row")?.parse()?, elapsed))
            }
        }
    }
}

/// The same provider latencies from a table with a row for each sample, which is made of the records that the tenant
/// was loaded from. PostgreSQL only: SQLite has no percentiles.
pub fn provider_latency(bench: &mut Bench, instance: &Instance, records: &Records) -> anyhow::Result<()> {
    let Some(session) = instance.database.session()? else { return Ok(()) };
    let tenant = session.rows("SELECT tenant_id FROM tenants")?.concat().pop().context("one tenant")?;
    fill_samples(&session, &tenant, records)?;
    println!("\nprovider-latency against percentile_cont, avg and count(distinct) over raw samples by SQL:");
    let (asker, mut windows) = (instance.asker(), Windows::new(bench.end));
    let (mut best, mut ours) = (f64::INFINITY, Vec::new());
    for (name, index) in SAMPLE_INDEXES {
        session.run(&format!("CREATE INDEX raw_samples_index ON raw_samples {index}"))?;
        session.run("VACUUM ANALYZE raw_samples")?;
        let mut plain = Vec::new();
        for _ in 0..bench.arguments.repetitions {
            let window = windows.draw();
            let started = Instant::now();
            let rows = session.rows(&percentiles(&tenant, &window))?;
            plain.push(started.elapsed());
            for _ in 0..ASKED {
                let (answer, elapsed) = asker.ask(&window.path("provider-latency", ""))?;
                ours.push(elapsed);
                compare_counts(&rows, &answer)?;
            }
        }
        let median = percentile_ms(&mut plain, 50);
        println!("  SQL with a covering index {name}: {median:.0} ms");
        best = best.min(median);
        session.run("DROP INDEX raw_samples_index")?;
    }
    session.run("DROP TABLE raw_samples")?;
    let ours = percentile_ms(&mut ours, 50);
    println!("  callscope over HTTP: {ours:.2} ms");
    bench.report.claim("provider-latency by SQL / provider-latency", best / ours, Bound::AtLeast(100.0));
    Ok(())
}

fn percentiles(tenant: &str, Window(after, before): &Window) -> String {
    format!(
        "SELECT provider_type, provider_name, count(DISTINCT call_id), avg(latency_ms), \
         percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms) FROM raw_samples \
         WHERE tenant_id = '{tenant}' AND started_at >= '{after}' AND started_at < '{before}' \
         GROUP BY provider_type, provider_name"
    )
}

/// Both must speak of the same calls.
fn compare_counts(rows: &[Vec<String>], answer: &[u8]) -> anyhow::Result<()> {
    let plain: BTreeMap<[&str; 2], i64> = rows
        .iter()
        .map(|row| Ok(([row[0].as_str(), row[1].as_str()], row[2].parse()?)))
        .collect::<anyhow::Result<_>>()?;
    let answer: Vec<Value> = serde_json::from_slice(answer)?;
    let text = |provider: &'_ Value, field| provider[field].as_str().unwrap_or_default().to_owned();
    for provider in &answer {
        let (stage, name) = (text(provider, "provider_type"), text(provider, "provider_name"));
        let known = plain.get(&[stage.as_str(), name.as_str()]);
        anyhow::ensure!(provider["call_count"].as_i64().as_ref() == known, "SQL counts {known:?}: {provider}");
    }
    anyhow::ensure!(answer.len() == plain.len(), "SQL knows {} providers, callscope {}", plain.len(), answer.len());
    Ok(())
}

/// A table without a log is faster to fill and as fast to read.
fn fill_samples(session: &Session, tenant: &str, records: &Records) -> anyhow::Result<()> {
    session.run(
        "CREATE UNLOGGED TABLE raw_samples (tenant_id uuid NOT NULL, started_at timestamptz NOT NULL, \
         call_id uuid NOT NULL, provider_type text COLLATE \"C\" NOT NULL, provider_name text COLLATE \"C\" NOT NULL, \
         latency_ms double precision NOT NULL)",
    )?;
    let mut calls = records.generate();
    let chunks = std::iter::from_fn(|| {
        let mut chunk = String::with_capacity(CHUNK_BYTES * 2);
        while chunk.len() < CHUNK_BYTES {
            let Some(call) = calls.next() else { break };
            write_samples(&mut chunk, tenant, &call);
        }
        (!chunk.is_empty()).then(|| chunk.into_bytes())
    });
    session.copy_in(&session.prepare("COPY raw_samples FROM STDIN")?, chunks)
}

fn write_samples(text: &mut String, tenant: &str, call: &CallRecord) {
    let started_at = call.started_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    for provider in &call.providers {
        for latency_ms in &provider.latencies_ms {
            let (stage, name) = (provider.provider_type.as_str(), &provider.provider_name);
            // Writing to a string does not fail.
            let _ = writeln!(text, "{tenant}\t{started_at}\t{}\t{stage}\t{name}\t{latency_ms}", call.call_id);
        }
    }
}

//! How fast questions are answered, uncached, over 30 days with unaligned edges.

use crate::bench::server::Server;
use chrono::{SecondsFormat, TimeDelta, Utc};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// The endpoints, with parameters besides the window.
const QUESTIONS: &[(&str, &str)] = &[
    ("summary", "&"),
    ("summary?workflow", "&workflow=daily-call"),
    ("call-volume hour", "&interval=hour"),
    ("call-volume Kolkata", "&interval=hour&timezone=Asia/Kolkata"),
    ("workflow-stats", "&"),
    ("provider-latency", "&"),
    ("errors", "&"),
    ("errors rare", "&service=tool&level=warning"),
    ("active-calls", ""),
];

/// Asks every server the same questions in turn, so that a slow moment of the machine meets all of them.
pub fn compare(servers: &[(String, Server)], questions: usize) -> anyhow::Result<()> {
    println!("\n## Reads: 30 days, uncached, over HTTP; p50 and p99 in ms, and the p50 as a multiple of the smallest");
    let labels: Vec<String> = servers.iter().map(|(label, _)| format!("{label:>28}")).collect();
    println!("{:<20} {}", "", labels.concat());
    let agent = ureq::Agent::new_with_defaults();
    for (name, parameters) in QUESTIONS {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut times: Vec<Vec<Duration>> = vec![Vec::with_capacity(questions); servers.len()];
        for round in 0..questions + questions / 10 {
            let window = window(&mut random);
            for ((_, server), times) in servers.iter().zip(&mut times) {
                let elapsed = ask(&agent, server, name, parameters, &window)?;
                // The first tenth warms the caches of the database and the machine up.
                if round >= questions / 10 {
                    times.push(elapsed);
                }
            }
        }
        let medians: Vec<f64> = times.iter_mut().map(|times| percentile_ms(times, 50)).collect();
        let cells = times.iter_mut().zip(&medians).map(|(times, median)| {
            format!("{median:>9.2} {:>8.2} {:>7.2}x ", percentile_ms(times, 99), median / medians[0])
        });
        println!("{name:<20} {}", cells.collect::<Vec<_>>().concat());
    }
    Ok(())
}

/// 30 days that end within the last hour, with edges inside minutes.
fn window(random: &mut Xoshiro256PlusPlus) -> (String, String) {
    let end = Utc::now() - TimeDelta::microseconds(random.random_range(600_000_000..3_600_000_000_i64));
    let start = end - TimeDelta::days(30) + TimeDelta::microseconds(random.random_range(0..3_600_000_000_i64));
    (start.to_rfc3339_opts(SecondsFormat::Micros, true), end.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn ask(
    agent: &ureq::Agent,
    server: &Server,
    name: &str,
    parameters: &str,
    (after, before): &(String, String),
) -> anyhow::Result<Duration> {
    let path = name.split([' ', '?']).next().unwrap_or_default();
    let query = match parameters {
        "" => String::new(),
        parameters => format!("?started_after={after}&started_before={before}{}", parameters.trim_end_matches('&')),
    };
    let url = format!("http://{}/api/v1/analytics/{path}{query}", server.address);
    let started = Instant::now();
    agent.get(&url).header("X-API-Key", &server.key).call()?.into_body().read_to_vec()?;
    Ok(started.elapsed())
}

fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or_default().as_secs_f64() * 1000.0
}

/// Asks for the same summary from the raw rows: without latencies, which SQL cannot read there, so the comparison
/// favours SQL.
pub fn against_plain_sql(server: &Server, questions: usize) -> anyhow::Result<()> {
    const SQL: &str = "SELECT count(*), count(*) FILTER (WHERE status = 'completed'), \
        count(*) FILTER (WHERE status = 'failed'), avg(ended_at - started_at), sum(total_tokens) FROM calls \
        WHERE tenant_id = (SELECT tenant_id FROM tenants) AND started_at >= ?1 AND started_at < ?2";
    let connection = Connection::open(server.database())?;
    connection.execute_batch("PRAGMA cache_size = -262144;")?;
    let mut statement = connection.prepare(SQL)?;
    let agent = ureq::Agent::new_with_defaults();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(8);
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..(questions / 10).max(5) {
        let window = window(&mut random);
        let micros = |text: &str| text.parse::<chrono::DateTime<Utc>>().map(|instant| instant.timestamp_micros());
        let bounds = [micros(&window.0)?, micros(&window.1)?];
        let started = Instant::now();
        let _: i64 = statement.query_row(bounds, |row| row.get(0))?;
        plain.push(started.elapsed());
        ours.push(ask(&agent, server, "summary", "&", &window)?);
    }
    let (plain, ours) = (percentile_ms(&mut plain, 50), percentile_ms(&mut ours, 50));
    println!("\nsummary from the raw rows by SQL: {plain:.1} ms; by callscope over HTTP: {ours:.2} ms");
    println!("raw / callscope: {:.0} (wanted: at least 50)", plain / ours);
    Ok(())
}

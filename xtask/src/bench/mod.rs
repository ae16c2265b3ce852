//! Measures the release build: reads, ingestion, bytes on disk, memory. Absolute figures drift with the machine, so
//! each claim is a ratio of two figures of one run.

mod ingestion;
mod reads;
mod server;

use anyhow::Context;
use clap::Args;
use server::Server;
use std::path::Path;
use std::process::Command;

/// How to measure.
#[derive(Args)]
pub struct Arguments {
    /// Calls of the largest tenant.
    #[arg(long, default_value_t = 1_000_000)]
    calls: usize,
    /// Questions per endpoint and size.
    #[arg(long, default_value_t = 200)]
    questions: usize,
    /// A folder for databases and records, some two kilobytes a call; a temporary one if not given.
    #[arg(long)]
    folder: Option<std::path::PathBuf>,
}

/// Runs every benchmark and prints its figures.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let status =
        Command::new(env!("CARGO")).args(["build", "--release", "--locked", "-p", "callscope-server"]).status()?;
    anyhow::ensure!(status.success(), "the release build failed");
    let temporary = tempfile::tempdir()?;
    let folder = arguments.folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    measure(arguments, folder).context("the benchmark failed")
}

fn measure(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    let largest = arguments.calls;
    println!(
        "## Ingestion over HTTP: NDJSON, {} records a request, 18 latency samples a call",
        ingestion::BATCH_RECORDS
    );
    let ordered = ingestion::write_records(&folder.join("ordered.ndjson"), largest, ingestion::Order::Time, 8)?;
    let mut large = Server::create(folder, "large")?;
    let in_order = ingestion::send(&large, &ordered)?;
    println!("in time order: {largest} calls, {in_order:.0} calls/s");
    println!("resident after ingestion: {} MiB", large.resident_mib()?);

    let sizes = [largest / 100, largest / 10];
    let mut servers = Vec::new();
    for size in sizes {
        let records = ingestion::write_records(&folder.join("size.ndjson"), size, ingestion::Order::Time, 8)?;
        let server = Server::create(folder, &format!("calls-{size}"))?;
        ingestion::send(&server, &records)?;
        servers.push((format!("{size} calls"), server));
    }
    let wide = Server::create(folder, "wide")?;
    let records = ingestion::write_records(&folder.join("wide.ndjson"), largest / 10, ingestion::Order::Time, 200)?;
    ingestion::send(&wide, &records)?;
    let start_up = large.restart()?;
    println!("start-up with {largest} calls: {} ms until ready", start_up.as_millis());
    servers.push((format!("{largest} calls"), large));
    servers.push((format!("{} calls, 200 workflows", largest / 10), wide));
    reads::compare(&servers, arguments.questions)?;

    let (_, large) = servers.swap_remove(2);
    drop(servers);
    reads::against_plain_sql(&large, arguments.questions)?;
    println!("resident after reads: {} MiB", large.resident_mib()?);
    let file = large.stop()?;
    let bytes = std::fs::metadata(&file)?.len();
    println!("on disk: {} MiB, {:.0} bytes a call", bytes >> 20, bytes as f64 / largest as f64);

    println!("\n## Ingestion against the floor and in disorder");
    let floor = ingestion::floor(&file, folder)?;
    println!("floor, the same rows into the calls table alone: {floor:.0} calls/s");
    println!("in time order / floor: {:.2} (wanted: at least 0.25)", in_order / floor);
    let shuffled = ingestion::write_records(&folder.join("shuffled.ndjson"), largest, ingestion::Order::Shuffled, 8)?;
    let server = Server::create(folder, "shuffled")?;
    let in_disorder = ingestion::send(&server, &shuffled)?;
    println!("shuffled over 30 days: {in_disorder:.0} calls/s");
    println!("shuffled / in time order: {:.2} (wanted: at least 0.20)", in_disorder / in_order);
    println!("resident after shuffled ingestion: {} MiB", server.resident_mib()?);
    Ok(())
}

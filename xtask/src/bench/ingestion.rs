//! How fast records go in, and how fast they could at most.

use crate::bench::server::Server;
use anyhow::Context;
use callscope_synthetic::{Generator, Profile, even_start_times, write_ndjson};
use chrono::{TimeDelta, Utc};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rusqlite::Connection;
use rusqlite::types::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

/// Records of one request.
pub const BATCH_RECORDS: usize = 5000;
/// Requests that are under way at one time: while two are written together, two are parsed.
const CONNECTIONS: usize = 4;
const SEED: u64 = 1;
/// Rows of one statement of the floor.
const FLOOR_ROWS: usize = 500;
const CALL_COLUMNS: usize = 11;

/// The order in which records are sent.
#[derive(Clone, Copy)]
pub enum Order {
    /// By the start of the calls.
    Time,
    /// None.
    Shuffled,
}

/// Writes records of the past 30 days to a file, outside of every measurement.
pub fn write_records(path: &Path, calls: usize, order: Order, workflows: usize) -> anyhow::Result<PathBuf> {
    let now = Utc::now() - TimeDelta::minutes(10);
    let mut starts = even_start_times(now - TimeDelta::days(30), now, calls);
    if matches!(order, Order::Shuffled) {
        starts.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(SEED));
    }
    let profile = Profile { workflows, samples_per_call: Some(18), ..Profile::default() };
    let mut generator = Generator::new(SEED, profile);
    let mut file = BufWriter::new(File::create(path)?);
    write_ndjson(&mut file, starts.iter().map(|&start| generator.call(start)))?;
    file.flush()?;
    Ok(path.to_owned())
}

/// Sends a file of records; gives calls a second.
pub fn send(server: &Server, records: &Path) -> anyhow::Result<f64> {
    let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(CONNECTIONS);
    let receiver = std::sync::Mutex::new(receiver);
    let started = Instant::now();
    let sent = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| send_batches(server, &receiver))).collect();
        let outcome = read_batches(records, &sender);
        drop(sender);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        outcome
    })?;
    Ok(sent as f64 / started.elapsed().as_secs_f64())
}

fn read_batches(records: &Path, sender: &mpsc::SyncSender<Vec<u8>>) -> anyhow::Result<usize> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(records)?);
    let mut total = 0;
    loop {
        let mut batch = Vec::with_capacity(BATCH_RECORDS * 700);
        let mut lines = 0;
        while lines < BATCH_RECORDS && reader.read_until(b'\n', &mut batch)? > 0 {
            lines += 1;
        }
        if lines == 0 {
            return Ok(total);
        }
        total += lines;
        if sender.send(batch).is_err() {
            anyhow::bail!("the clients stopped");
        }
    }
}

fn send_batches(server: &Server, batches: &std::sync::Mutex<mpsc::Receiver<Vec<u8>>>) -> anyhow::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let url = format!("http://{}/api/v1/ingest/calls", server.address);
    loop {
        let batch = batches.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?.recv();
        let Ok(batch) = batch else { return Ok(()) };
        let request = agent.post(&url).header("X-API-Key", &server.key).header("Content-Type", "application/x-ndjson");
        let answer = request.send(&batch)?.into_body().read_to_string()?;
        anyhow::ensure!(answer.contains(r#""rejected":[]"#), "records were rejected: {answer}");
    }
}

/// Bulk-inserts the calls of a database into the calls table of an empty one: same schema, same durability, prepared
/// statements of many rows, as many rows a transaction as the server gets in a request. Gives calls a second.
pub fn floor(database: &Path, folder: &Path) -> anyhow::Result<f64> {
    let source = Connection::open(database)?;
    let empty = Server::create(folder, "floor")?.stop()?;
    let mut target = Connection::open(&empty)?;
    target.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768; \
         PRAGMA wal_autocheckpoint = 8192;",
    )?;
    let mut select = source.prepare("SELECT * FROM calls ORDER BY rowid")?;
    anyhow::ensure!(select.column_count() == CALL_COLUMNS, "the calls table has changed: mend the benchmark");
    let mut rows = select.query([])?;
    let row = format!("({})", ["?"; CALL_COLUMNS].join(","));
    let insert = format!("INSERT INTO calls VALUES {}", vec![row; FLOOR_ROWS].join(","));
    let (mut total, mut elapsed) = (0, 0.0);
    loop {
        let mut batch: Vec<Value> = Vec::with_capacity(BATCH_RECORDS * CALL_COLUMNS);
        while batch.len() < BATCH_RECORDS * CALL_COLUMNS {
            let Some(row) = rows.next()? else { break };
            for column in 0..CALL_COLUMNS {
                batch.push(row.get(column)?);
            }
        }
        // A rest that fills no statement is left out.
        if batch.len() < BATCH_RECORDS * CALL_COLUMNS {
            break;
        }
        let started = Instant::now();
        let transaction = target.transaction()?;
        for chunk in batch.chunks(FLOOR_ROWS * CALL_COLUMNS) {
            transaction.prepare_cached(&insert)?.execute(rusqlite::params_from_iter(chunk))?;
        }
        transaction.commit()?;
        elapsed += started.elapsed().as_secs_f64();
        total += BATCH_RECORDS;
    }
    (elapsed > 0.0).then(|| total as f64 / elapsed).context("too few calls for a floor")
}

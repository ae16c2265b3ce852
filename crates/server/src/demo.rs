//! A month of made-up calls, and a few that start and end while one looks.

use crate::admin::{NewKey, create_key, create_tenant};
use crate::command_line::DemoArguments;
use crate::serve::{Running, open, serve};
use crate::settings::Settings;
use anyhow::Context;
use callscope_analytics::clock::{Clock, SystemClock};
use callscope_analytics::ingestion::{IngestQueue, ingestion};
use callscope_api::{SWAGGER_PATH, parse_record};
use callscope_domain::{DisplayName, Incoming, Slug, TenantId};
use callscope_synthetic::{CallRecord, Generator, LiveCall, Profile, start_times, write_ndjson};
use chrono::{TimeDelta, Utc};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SEED: u64 = 2026;
const DAYS: i64 = 30;
const CHUNK_RECORDS: usize = 5000;
/// Calls that are live at the same time.
const LIVE_CALLS: usize = 6;
const LIVE_TICK: Duration = Duration::from_secs(3);
const DATABASE_FILE: &str = "demo.db";

/// `callscope demo`
pub async fn demo(mut settings: Settings, arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    remove_earlier(&arguments.folder)?;
    settings.database.url = format!("sqlite://{}", arguments.folder.join(DATABASE_FILE).display()).into();
    let (tenant, key) = fill(&settings, arguments.calls as usize).await?;
    serve(&settings, |running: Running| {
        tokio::spawn(live_calls(tenant, running.ingest));
        print_tour(running.address, &key);
        Ok(())
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

fn remove_earlier(folder: &Path) -> anyhow::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let file = folder.join(format!("{DATABASE_FILE}{suffix}"));
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes the tenant, its key and its past.
async fn fill(settings: &Settings, calls: usize) -> anyhow::Result<(TenantId, String)> {
    let database = open(settings).await?;
    let tenant = create_tenant(&database, Slug::new("demo")?, Some(DisplayName::new("Demo")?)).await?;
    let (_, secret) = create_key(&database, tenant.id, NewKey::default()).await?;
    let (queue, writer) = ingestion(Arc::new(database), settings.into());
    let writer = tokio::spawn(writer.run());
    let now = Utc::now();
    let mut generator = Generator::new(SEED, Profile::default());
    eprintln!("making {calls} calls of the past {DAYS} days …");
    for starts in start_times(SEED, now - TimeDelta::days(DAYS), now, calls).chunks(CHUNK_RECORDS) {
        let records = starts.iter().map(|&start| generator.call(start));
        // What would not have ended yet is left to the live calls.
        let records: Vec<CallRecord> = records.filter(|call| call.ended_at.is_none_or(|end| end <= now)).collect();
        send(&queue, tenant.id, &records).await?;
    }
    queue.close();
    writer.await.context("the writer panicked")?;
    Ok((tenant.id, secret.reveal().to_owned()))
}

/// Sends records the way clients do: as JSON.
async fn send(queue: &IngestQueue, tenant: TenantId, records: &[CallRecord]) -> anyhow::Result<()> {
    let mut json = Vec::new();
    write_ndjson(&mut json, records)?;
    let lines = json.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let parsed = lines.map(|line| parse_record(line, tenant, None, SystemClock.now()));
    let arrivals = parsed.map(|record| record.map(|parsed| Incoming::Record(parsed.call)));
    let arrivals: Result<Vec<Incoming>, _> = arrivals.collect();
    let arrivals = arrivals.map_err(|refused| anyhow::anyhow!("a made-up record was refused: {:?}", refused.errors))?;
    queue.submit(tenant, arrivals).await?;
    Ok(())
}

/// Starts and ends calls for as long as the server runs.
async fn live_calls(tenant: TenantId, queue: IngestQueue) {
    let mut generator = Generator::new(SEED + 1, Profile::default());
    let mut live: Vec<LiveCall> = Vec::new();
    let mut ticks = tokio::time::interval(LIVE_TICK);
    loop {
        ticks.tick().await;
        let now = Utc::now();
        let is_over = |call: &mut LiveCall| call.finished.ended_at.is_some_and(|end| end <= now);
        let mut records: Vec<CallRecord> = live.extract_if(.., is_over).map(|call| call.finished).collect();
        if live.len() < LIVE_CALLS {
            let call = generator.live_call(now);
            records.push(call.active.clone());
            live.push(call);
        }
        if let Err(error) = send(&queue, tenant, &records).await {
            tracing::warn!(%error, "the live calls of the demo stop");
            return;
        }
    }
}

fn print_tour(address: SocketAddr, key: &str) {
    println!("\nThe demo serves at http://{address}\n");
    println!("Swagger UI  http://{address}{SWAGGER_PATH}   (Authorize with the key)");
    println!("API key     {key}");
    println!("Live        curl --no-buffer -H 'X-API-Key: {key}' http://{address}/api/v1/sse/calls/stream\n");
    println!("Try:");
    for question in [
        "summary?period=30d",
        "call-volume?period=7d&interval=day&timezone=Europe/Berlin",
        "workflow-stats?period=30d&limit=3",
        "provider-latency?period=30d",
        "errors?period=7d&service=llm&limit=2",
        "active-calls",
    ] {
        println!("  curl -H 'X-API-Key: {key}' 'http://{address}/api/v1/analytics/{question}'");
    }
    println!("\nCtrl-C ends it.");
}

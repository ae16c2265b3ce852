//! A month of made-up calls, and a few that start and end while one looks.

mod folder;
mod tour;

use crate::admin::{NewKey, create_key, create_tenant};
use crate::command_line::DemoArguments;
use crate::serve::{Running, open, serve, stop_signal};
use crate::settings::Settings;
use anyhow::Context;
use callscope_analytics::clock::{Clock, SystemClock};
use callscope_analytics::ingestion::{IngestQueue, ingestion};
use callscope_api::transport::listen;
use callscope_api::{RecordContext, parse_record};
use callscope_domain::{DisplayName, Incoming, Slug, TenantId};
use callscope_synthetic::{CallRecord, Generator, LiveCall, Story, write_ndjson};
use chrono::Utc;
use folder::DemoFolder;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SEED: u64 = 2026;
const CHUNK_RECORDS: usize = 5000;
/// Calls that are live at the same time.
const LIVE_CALLS: usize = 6;
const LIVE_TICK: Duration = Duration::from_secs(3);

/// `callscope demo`. A demo that cannot run, since its address or its folder is taken, changes nothing.
pub async fn demo(mut settings: Settings, arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let address = arguments.bind.unwrap_or(settings.server.bind);
    let listener = listen(address)
        .with_context(|| format!("cannot listen on {address}; choose another address, as in --bind 127.0.0.1:8090"))?;
    let folder = DemoFolder::lock(&arguments.data)?;
    folder.remove_database()?;
    settings.database.url = folder.database_url().into();
    // Beside everything else: a second demo would find another address taken.
    settings.metrics.bind = None;
    let story = Story::until(Utc::now());
    let stopped = stop_signal()?;
    let (tenant, key) = tokio::select! {
        filled = fill(&settings, &story, arguments.calls as usize) => filled?,
        () = stopped => return Ok(ExitCode::SUCCESS),
    };
    serve(&settings, listener, |running: Running| {
        tokio::spawn(live_calls(tenant, running.ingest, story.clone()));
        tour::print(running.address, &key, &story);
        Ok(())
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the tenant, its key and its past.
async fn fill(settings: &Settings, story: &Story, calls: usize) -> anyhow::Result<(TenantId, String)> {
    let database = open(settings).await?;
    let tenant = create_tenant(&database, Slug::new("demo")?, Some(DisplayName::new("Demo")?)).await?;
    let (_, secret) = create_key(&database, &tenant, NewKey::default(), settings.auth.tenant_keys_max).await?;
    let (queue, writer) = ingestion(Arc::new(database), settings.into());
    let writer = writer.with_kept_limits(settings.into());
    let writer = tokio::spawn(writer.run());
    let now = story.month().end;
    let mut generator = Generator::telling(SEED, story.clone());
    eprintln!("making {calls} calls of the past 30 days …");
    for starts in story.start_times(SEED, calls).chunks(CHUNK_RECORDS) {
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
    let context = RecordContext { tenant, path_id: None, received_at: SystemClock.now(), strict: true };
    let parsed = lines.map(|line| parse_record(line, context));
    let arrivals = parsed.map(|record| record.map(|parsed| Incoming::Record(parsed.call)));
    let arrivals: Result<Vec<Incoming>, _> = arrivals.collect();
    let arrivals = arrivals.map_err(|refused| anyhow::anyhow!("a made-up record was refused: {:?}", refused.errors))?;
    queue.submit(tenant, arrivals).await?;
    Ok(())
}

/// Starts and ends calls for as long as the server runs.
async fn live_calls(tenant: TenantId, queue: IngestQueue, story: Story) {
    let mut generator = Generator::telling(SEED + 1, story);
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

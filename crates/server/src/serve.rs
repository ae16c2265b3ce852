//! Wires everything together and serves it until SIGTERM or Ctrl-C.

use crate::bulk::BulkThreads;
use crate::edge;
use crate::settings::Settings;
use actix_web::dev::Server;
use actix_web::web;
use anyhow::Context;
use callscope_analytics::assembler::Assembler;
use callscope_analytics::assembly_sweeper::AssemblySweeper;
use callscope_analytics::clock::{Clock, SystemClock};
use callscope_analytics::event_pruner::EventPruner;
use callscope_analytics::ingestion::{IngestQueue, ingestion};
use callscope_analytics::live::Live;
use callscope_analytics::retention::Retention;
use callscope_analytics::service::Analytics;
use callscope_analytics::sweeper::Sweeper;
use callscope_api::metrics::MeteredCalls;
use callscope_api::transport::{self, Transport};
use callscope_api::{ApiParts, ApiState, Authenticator, OPENAPI_PATH, SWAGGER_PATH};
use callscope_persistence::{Database, DatabaseOptions};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// What the server is made of, as soon as it listens.
pub struct Running {
    pub address: SocketAddr,
    pub ingest: IngestQueue,
}

/// `callscope serve`
pub async fn serve_settings(settings: &Settings) -> anyhow::Result<ExitCode> {
    let bind = settings.server.bind;
    let listener =
        transport::listen(bind).with_context(|| format!("cannot listen on {bind}; choose another server.bind"))?;
    serve(settings, listener, |_| Ok(())).await?;
    Ok(ExitCode::SUCCESS)
}

/// Most threads that write to PostgreSQL: batches of different tenants are written side by side.
const WRITER_THREADS_MAX: usize = 4;

/// Serves until SIGTERM or Ctrl-C; then lets requests in flight and records that wait finish. `started` is called
/// when the server accepts connections.
pub async fn serve(
    settings: &Settings,
    listener: TcpListener,
    started: impl FnOnce(Running) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let database = open(settings).await?;
    let metrics = edge::metrics(&database);
    let calls = Arc::new(MeteredCalls::new(Arc::new(database.clone()), Arc::clone(&metrics)));
    let (queue, writer) = ingestion(calls, settings.into());
    let bulk = BulkThreads::start(writer_threads(settings))?;
    let writer = writer.with_kept_limits(settings.into()).with_bulk_runtime(bulk.handle());
    let commits = writer.commits();
    let writer = tokio::spawn(writer.run());
    let sweeper = start_sweeper(settings, &database, &queue);
    let retention = start_retention(settings, &database);
    let live =
        Live::new(Arc::new(database.clone()), Arc::new(database.clone()), settings.live.deliveries_per_second_max);
    let announcer = tokio::spawn(live.clone().run(commits));
    let pruner = start_pruner(settings, &database);
    let counter = settings
        .metrics
        .enabled
        .then(|| tokio::spawn(edge::count_active_calls(database.clone(), Arc::clone(&metrics))));

    let analytics = Analytics::new(Arc::new(database.clone()), settings.tenant.call_limits());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(database.clone());
    let assembler = callscope_api::assembler(store, queue.clone(), Arc::clone(&clock), settings.assembly.into());
    let assembly_sweeper = start_assembly_sweeper(&database, &assembler);
    let tenants = edge::tenants(settings, &database, &metrics);
    let ending = live.clone();
    let store = Arc::new(database);
    let authenticator = Authenticator::new(tenants, store, Arc::clone(&clock), &metrics, settings.auth_options()?);
    let state = ApiState::new(ApiParts {
        analytics,
        ingest: queue.clone(),
        authenticator,
        clock,
        live,
        metrics,
        limits: settings.into(),
        live_limits: (&settings.live).into(),
        assembler,
    });
    let mut state = state.with_bulk_runtime(bulk.handle());
    state.cors = settings.cors.rules()?;
    let state = web::Data::new(edge::with_settings(state, settings));
    let metrics_server = edge::metrics_server(settings, &state)?;
    let workers = edge::workers(settings);
    let transport = Transport::new(settings.server.transport(workers)?, &state.metrics);
    let address = listener.local_addr()?;
    let server = transport::serve(&transport, listener, move || callscope_api::app(state.clone()))?;
    let handle = server.handle();
    let metrics_handle = metrics_server.as_ref().map(Server::handle);
    let metrics_server = metrics_server.map(tokio::spawn);
    let stop = stop_signal()?;
    tokio::spawn(async move {
        stop.await;
        tracing::info!("stopping: requests in flight and records that wait will finish");
        // Or they would go on for ever.
        ending.close();
        transport.stop();
        handle.stop(true).await;
    });
    tracing::info!(%address, "listening; explore at http://{address}{SWAGGER_PATH}, document at {OPENAPI_PATH}");
    started(Running { address, ingest: queue.clone() })?;

    server.await?;
    if let (Some(handle), Some(server)) = (metrics_handle, metrics_server) {
        handle.stop(false).await;
        server.await??;
    }
    for task in
        [sweeper, retention, counter, Some(assembly_sweeper), Some(announcer), Some(pruner)].into_iter().flatten()
    {
        task.abort();
    }
    queue.close();
    let written = tokio::time::timeout(settings.server.shutdown_timeout, writer).await;
    written.context("records still wait to be written; they were not acknowledged")?.context("the writer panicked")?;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C, which from now on do nothing else.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}

/// Opens the database, with its schema up to date.
pub async fn open(settings: &Settings) -> anyhow::Result<Database> {
    let migrations = Database::migrate(settings.database.url.reveal()).await?;
    if migrations > 0 {
        tracing::info!(migrations, "brought the schema up to date");
    }
    let undistributed = Database::undistributed(settings.database.url.reveal()).await?;
    if !undistributed.is_empty() {
        let tables = undistributed.join(", ");
        tracing::warn!(tables, "run `callscope migrate --distributed`: these tables are on the coordinator alone");
    }
    Ok(Database::open(&DatabaseOptions::from(&settings.database)).await?)
}

fn start_sweeper(settings: &Settings, database: &Database, queue: &IngestQueue) -> Option<JoinHandle<()>> {
    let timeout = settings.ingest.active_call_timeout;
    if timeout.is_zero() {
        return None;
    }
    let sweeper = Sweeper {
        calls: Arc::new(database.clone()),
        tenants: Arc::new(database.clone()),
        queue: queue.clone(),
        clock: Arc::new(SystemClock),
        timeout,
    };
    Some(tokio::spawn(sweeper.run()))
}

fn start_assembly_sweeper(database: &Database, assembler: &Assembler) -> JoinHandle<()> {
    let sweeper = AssemblySweeper {
        store: Arc::new(database.clone()),
        tenants: Arc::new(database.clone()),
        assembler: assembler.clone(),
        clock: Arc::new(SystemClock),
    };
    tokio::spawn(sweeper.run())
}

fn start_pruner(settings: &Settings, database: &Database) -> JoinHandle<()> {
    let pruner = EventPruner {
        events: Arc::new(database.clone()),
        tenants: Arc::new(database.clone()),
        clock: Arc::new(SystemClock),
        window: settings.live.replay_window,
        events_max: settings.live.replay_events_max,
    };
    tokio::spawn(pruner.run())
}

fn start_retention(settings: &Settings, database: &Database) -> Option<JoinHandle<()>> {
    let retention = Retention {
        store: Arc::new(database.clone()),
        tenants: Arc::new(database.clone()),
        clock: Arc::new(SystemClock),
        periods: settings.retention.periods()?,
    };
    Some(tokio::spawn(retention.run()))
}

/// Threads beside the main one that write records. Requests are served by threads of their own, and so is each SQLite
/// connection; what is left is the writer, which has one lane on SQLite. Fewer threads that hold records keep less memory.
pub fn writer_threads(settings: &Settings) -> usize {
    if settings.is_embedded() {
        return 1;
    }
    std::thread::available_parallelism().map_or(1, usize::from).min(WRITER_THREADS_MAX)
}

//! The binary `callscope`: command line, configuration, wiring; nothing else.

mod admin;
mod audit;
mod authentication;
mod bulk;
mod command_line;
mod configuration;
mod demo;
mod edge;
mod import;
mod jwks;
mod logging;
mod probe;
mod secret;
mod serve;
mod settings;
mod table;
mod traces;
mod units;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use command_line::{Command, CommandLine};
use rustix::process::{Resource, Rlimit};
use settings::{LogAudience, Settings};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use traces::Traces;

/// Thousands of records at a time, made on one thread and freed on another, leave holes; this allocator gives the
/// memory back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The licences of others' work; `cargo xtask licenses` writes the file.
const LICENSES: &str = include_str!("../../../packaging/third-party.txt");

fn main() -> ExitCode {
    let CommandLine { config, licenses, command } = CommandLine::parse();
    if licenses {
        // A reader that has seen enough may have gone.
        let _ = std::io::stdout().write_all(LICENSES.as_bytes());
        return ExitCode::SUCCESS;
    }
    let Some(command) = command else {
        let missing = ErrorKind::MissingSubcommand;
        CommandLine::command().error(missing, "name a command; --help lists them").exit();
    };
    match start(config.as_deref(), command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callscope: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(file: Option<&Path>, command: Command) -> anyhow::Result<ExitCode> {
    // These look at settings and start nothing, not even the log.
    match &command {
        Command::Config { command } => return configuration::config(file, command),
        Command::Health { live } => {
            return probe::health(&Settings::load(file)?, *live).map(|()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    let settings = Settings::load(file)?;
    let traces = traces_of(&command, &settings)?;
    logging::start(&settings.log, traces.as_ref(), log_audience(&command))?;
    let threads = serve::writer_threads(&settings);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    allow_many_sockets();
    let runtime = builder.worker_threads(threads).enable_all().build()?;
    let code = runtime.block_on(run(settings, command));
    if let Some(traces) = traces {
        traces.stop();
    }
    code
}

/// Commands that end by themselves speak on standard output and standard error; lines of the log between would only
/// break their messages up.
fn log_audience(command: &Command) -> LogAudience {
    match command {
        Command::Serve | Command::Demo(_) => LogAudience::Operator,
        _ => LogAudience::CommandLine,
    }
}

/// Only what serves has requests to follow.
fn traces_of(command: &Command, settings: &Settings) -> anyhow::Result<Option<Traces>> {
    match command {
        Command::Serve => Traces::start(&settings.telemetry),
        _ => Ok(None),
    }
}

/// Each socket is an open file, and the usual soft limit of 1,024 is a relic; the hard one is the administrator's.
fn allow_many_sockets() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // Where it is refused, there are fewer.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn run(settings: Settings, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve::serve_settings(&settings).await,
        Command::Migrate { distributed } => admin::migrate(&settings, distributed).await,
        Command::Tenants { command } => admin::tenants(&settings, command).await,
        Command::Keys { command } => admin::keys(&settings, command).await,
        Command::Rollups { command } => audit::rollups(&settings, command).await,
        Command::Import(arguments) => import::import(&settings, &arguments).await,
        Command::Demo(arguments) => demo::demo(settings, &arguments).await,
        Command::Config { .. } | Command::Health { .. } => Ok(ExitCode::SUCCESS),
    }
}

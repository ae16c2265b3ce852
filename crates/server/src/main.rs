//! The binary `callscope`: command line, configuration, wiring; nothing else.

mod admin;
mod audit;
mod command_line;
mod demo;
mod import;
mod serve;
mod settings;

use clap::Parser;
use command_line::{Command, CommandLine};
use settings::Settings;
use std::process::ExitCode;

/// Most threads that write to PostgreSQL: batches of different tenants are written side by side.
const WRITER_THREADS_MAX: usize = 4;

fn main() -> ExitCode {
    match start(CommandLine::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callscope: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command_line: CommandLine) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(command_line.config.as_deref())?;
    settings.log.start()?;
    let threads = runtime_threads(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(run(settings, command_line.command))
}

/// Threads beside the main one. Requests are served by threads of their own, and so is each SQLite connection; what is
/// left is the writer, which has one lane on SQLite. Fewer threads that hold records keep less memory.
fn runtime_threads(settings: &Settings) -> usize {
    if settings.database.url.starts_with("sqlite:") {
        return 1;
    }
    std::thread::available_parallelism().map_or(1, usize::from).min(WRITER_THREADS_MAX)
}

async fn run(settings: Settings, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve::serve(&settings, |_| Ok(())).await.map(|()| ExitCode::SUCCESS),
        Command::Migrate { distributed } => admin::migrate(&settings, distributed).await,
        Command::Tenants { command } => admin::tenants(&settings, command).await,
        Command::Keys { command } => admin::keys(&settings, command).await,
        Command::Rollups { command } => audit::rollups(&settings, command).await,
        Command::Import(arguments) => import::import(&settings, &arguments).await,
        Command::Demo(arguments) => demo::demo(settings, &arguments).await,
    }
}

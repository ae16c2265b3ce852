//! The binary `callscope`: command line, configuration, wiring; nothing else.

mod admin;
mod command_line;
mod demo;
mod import;
mod serve;
mod settings;

use clap::Parser;
use command_line::{Command, CommandLine};
use settings::Settings;
use std::process::ExitCode;

/// One thread beside the main one: requests are served by threads of their own, and so is each SQLite connection. What
/// is left is the writer. Fewer threads that hold records keep less memory.
#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    match run(command_line).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callscope: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command_line: CommandLine) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(command_line.config.as_deref())?;
    settings.log.start()?;
    match command_line.command {
        Command::Serve => serve::serve(&settings, |_| Ok(())).await.map(|()| ExitCode::SUCCESS),
        Command::Migrate => admin::migrate(&settings).await,
        Command::Tenants { command } => admin::tenants(&settings, command).await,
        Command::Keys { command } => admin::keys(&settings, command).await,
        Command::Rollups { command } => admin::rollups(&settings, command).await,
        Command::Import(arguments) => import::import(&settings, &arguments).await,
        Command::Demo(arguments) => demo::demo(settings, &arguments).await,
    }
}

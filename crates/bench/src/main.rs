//! Measures and attacks release builds of the server: `cargo xtask bench` and `cargo xtask siege` run this program.

mod client;
mod database;
mod measure;
mod postgres;
mod records;
mod report;
mod server;
mod siege;

use clap::{Parser, Subcommand};
use std::path::Path;

/// Benchmarks of callscope.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure reads, ingestion, size on disk and memory of the release build, as ratios within one run.
    Measure(measure::Arguments),
    /// Attack a server of this program's own, and measure what that costs the tenants that do not take part.
    Siege(siege::Arguments),
}

fn main() -> anyhow::Result<()> {
    // Cargo starts a program in the caller's folder; `target` is in the workspace's.
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    match CommandLine::parse().command {
        Command::Measure(arguments) => measure::run(&arguments),
        Command::Siege(arguments) => siege::run(&arguments),
    }
}

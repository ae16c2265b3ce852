//! Developer tasks. Nothing here runs in production, and nothing here needs a database: `callscope-bench` does.

mod ci;
mod deny;
mod dependencies;
mod examples;
mod fuzz;
mod licenses;
mod lint;
mod metrics;
mod modules;
mod openapi;
mod program;
mod python;
mod sdk;
mod smoke;

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// Developer tasks of callscope.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write openapi/openapi.json from the annotated handlers.
    Openapi {
        /// Write nothing; fail if the file is not what would be written.
        #[arg(long)]
        check: bool,
        /// Write nothing; check the file by the recommended rules of Redocly and Spectral. Needs node and npm.
        #[arg(long, conflicts_with = "check")]
        lint: bool,
    },
    /// Write docs/metrics.md from the tables of metrics and dimensions.
    Metrics {
        /// Write nothing; fail if the file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Check that crates depend on one another, and modules of a crate import one another, in one direction only.
    Dependencies,
    /// Check licences, duplicates, sources and known vulnerabilities of dependencies, as deny.toml says.
    Deny,
    /// Write packaging/third-party.txt, the notices that the program prints with --licenses.
    Licenses {
        /// Write nothing; fail if the file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Generate clients from openapi/openapi.json into target/sdk.
    Sdk(sdk::Arguments),
    /// Run the clients in LIVE.md against a server.
    Examples,
    /// Try the server with thousands of made-up requests that openapi/openapi.json allows or forbids.
    Fuzz(fuzz::Arguments),
    /// Run the checks that a change must pass.
    Ci {
        #[arg(value_enum, default_value = "full")]
        extent: ci::Extent,
    },
    /// Measure reads, ingestion, size on disk and memory of the release build, as ratios within one run.
    #[command(disable_help_flag = true)]
    Bench(Options),
    /// Attack a server of this program's own, and measure what that costs the tenants that do not take part.
    #[command(disable_help_flag = true)]
    Siege(Options),
}

/// Options of another program, `--help` among them.
#[derive(Args)]
struct Options {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

fn main() -> anyhow::Result<()> {
    // Cargo starts a task in the folder that it was called in.
    std::env::set_current_dir(workspace())?;
    match CommandLine::parse().task {
        Task::Openapi { lint: true, .. } => lint::run(),
        Task::Openapi { check, .. } => openapi::run(check),
        Task::Metrics { check } => metrics::run(check),
        Task::Dependencies => dependencies::check().and_then(|()| modules::check()),
        Task::Deny => deny::run(),
        Task::Licenses { check } => licenses::run(check),
        Task::Sdk(arguments) => sdk::run(&arguments),
        Task::Examples => examples::run(),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Ci { extent } => ci::run(extent),
        Task::Bench(options) => bench("measure", &options),
        Task::Siege(options) => bench("siege", &options),
    }
}

/// Runs the benchmarks' program, built for release: clients that are not optimized would be what is measured.
fn bench(command: &str, options: &Options) -> anyhow::Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--release", "--quiet", "--locked", "--package", "callscope-bench", "--", command]);
    program::run(cargo.args(&options.options))
}

fn workspace() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

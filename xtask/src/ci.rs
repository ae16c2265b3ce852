//! The checks that a change must pass, in the order of what fails soonest.

use anyhow::{Context, bail};
use clap::ValueEnum;
use std::process::Command;
use std::time::Instant;

const FORMAT: Check = Check { name: "format", arguments: &["fmt", "--all", "--check"], environment: &[] };
const CLIPPY: Check = Check {
    name: "clippy",
    arguments: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    environment: &[],
};
const RUSTDOC: Check = Check {
    name: "rustdoc",
    arguments: &["doc", "--workspace", "--no-deps", "--locked"],
    environment: &[("RUSTDOCFLAGS", "-D warnings")],
};
const TESTS: Check = Check { name: "tests", arguments: &["test", "--workspace", "--locked"], environment: &[] };
const TESTS_WITHOUT_BROWSER: Check = Check {
    name: "tests without a browser",
    arguments: &["test", "--workspace", "--locked", "--", "--skip", "browser::"],
    environment: &[],
};

/// How much is checked.
#[derive(Clone, Copy, ValueEnum)]
pub enum Extent {
    /// What a Rust toolchain and PostgreSQL can check: format, clippy, generated files, tests.
    Quick,
    /// Also rustdoc, the tests in a browser, the linters of the document, licences and known vulnerabilities of
    /// dependencies, the generated clients, the clients in LIVE.md, and made-up requests.
    Full,
}

/// A cargo command that must succeed.
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

/// Set by `.ci/run`, which has run the tests already.
const SKIP_TESTS: &str = "CALLSCOPE_CI_TESTS_DONE";

/// Set by `.ci/run`, which has installed what the clients and the made-up requests need.
const REQUIRE_TOOLS: &str = "CALLSCOPE_REQUIRE_TOOLS";

/// Runs the checks, and fails at the first that fails.
pub fn run(extent: Extent) -> anyhow::Result<()> {
    super::dependencies::check()?;
    super::modules::check()?;
    super::openapi::run(true)?;
    super::metrics::run(true)?;
    FORMAT.run()?;
    CLIPPY.run()?;
    match extent {
        Extent::Quick => TESTS_WITHOUT_BROWSER.run(),
        Extent::Full => run_the_rest(),
    }
}

/// What a full run has beside a quick one.
fn run_the_rest() -> anyhow::Result<()> {
    super::licenses::run(true)?;
    RUSTDOC.run()?;
    if std::env::var_os(SKIP_TESTS).is_some() {
        println!("tests were run before, as {SKIP_TESTS} says");
    } else {
        TESTS.run()?;
    }
    let all = std::env::var_os(REQUIRE_TOOLS).is_some();
    super::lint::check(all)?;
    super::deny::check(all)?;
    super::sdk::check(all)?;
    super::examples::check(all)?;
    super::fuzz::check(all)
}

impl Check {
    fn run(&self) -> anyhow::Result<()> {
        let Self { name, arguments, environment } = self;
        println!("--- {name}: cargo {}", arguments.join(" "));
        let started = Instant::now();
        let mut command = Command::new(env!("CARGO"));
        command.args(*arguments).envs(environment.iter().copied());
        let status = command.status().with_context(|| format!("cannot run {name}"))?;
        if !status.success() {
            bail!("{name} failed");
        }
        println!("--- {name}: ok after {} s", started.elapsed().as_secs());
        Ok(())
    }
}

//! Everything that a change must pass, in the order of what fails soonest.

use anyhow::{Context, bail};
use std::process::Command;
use std::time::Instant;

/// The checks after the tests; `.ci/run` runs the tests first, with the command of the README.
const CHECKS: &[(&str, &[&str], &[(&str, &str)])] = &[
    ("format", &["fmt", "--all", "--check"], &[]),
    ("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[]),
    ("rustdoc", &["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")]),
];

/// Set by `.ci/run`, which has run the tests already.
const SKIP_TESTS: &str = "CALLSCOPE_CI_TESTS_DONE";

/// Runs every check, and fails at the first that fails.
pub fn run() -> anyhow::Result<()> {
    super::dependencies::check()?;
    super::openapi::run(true)?;
    for (name, arguments, environment) in CHECKS {
        step(name, arguments, environment)?;
    }
    if std::env::var_os(SKIP_TESTS).is_some() {
        println!("tests were run before, as {SKIP_TESTS} says");
        return Ok(());
    }
    step("tests", &["test", "--workspace", "--locked"], &[])
}

fn step(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    println!("--- {name}: cargo {}", arguments.join(" "));
    let started = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed");
    }
    println!("--- {name}: ok after {} s", started.elapsed().as_secs());
    Ok(())
}

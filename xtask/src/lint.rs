//! The OpenAPI document by the recommended rules of Redocly and Spectral, whose versions are pinned under
//! `openapi/lint`. Any finding is a failure, also a warning or a hint.

use crate::program::{is_installed, run as run_program};
use std::path::Path;
use std::process::Command;

const DOCUMENT: &str = "openapi/openapi.json";
const FOLDER: &str = "openapi/lint";
const TOOLS: &str = "target/lint";
const LOCK: &str = "package-lock.json";

/// Checks the document.
pub fn run() -> anyhow::Result<()> {
    if let Some(reason) = missing() {
        anyhow::bail!("the document cannot be linted: {reason}");
    }
    install()?;
    let mut redocly = tool("redocly");
    redocly.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    redocly.args(["lint", "--max-problems", "1000", "--config"]).arg(Path::new(FOLDER).join("redocly.yaml"));
    run_program(redocly.arg(DOCUMENT))?;
    let mut spectral = tool("spectral");
    spectral.args(["lint", "--fail-severity", "hint", "--ruleset"]).arg(Path::new(FOLDER).join("spectral.yaml"));
    run_program(spectral.arg(DOCUMENT))
}

/// Checks the document if the machine has the tools for it, and says why if not. Where it `must` be, a missing tool is a
/// failure.
pub fn check(must: bool) -> anyhow::Result<()> {
    match missing() {
        Some(reason) if !must => {
            println!("the document is not linted: {reason}");
            Ok(())
        }
        _ => run(),
    }
}

fn missing() -> Option<&'static str> {
    (!is_installed("node") || !is_installed("npm")).then_some("node and npm are not installed")
}

fn tool(name: &str) -> Command {
    Command::new(Path::new(TOOLS).join("node_modules/.bin").join(name))
}

/// Installs what the lock file pins, unless it is there.
fn install() -> anyhow::Result<()> {
    let tools = Path::new(TOOLS);
    let wanted = std::fs::read(Path::new(FOLDER).join(LOCK))?;
    let stamp = tools.join("installed.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    std::fs::create_dir_all(tools)?;
    for file in ["package.json", LOCK] {
        std::fs::copy(Path::new(FOLDER).join(file), tools.join(file))?;
    }
    run_program(
        Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(tools),
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

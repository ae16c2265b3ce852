//! The TypeScript client, by @hey-api/openapi-ts: one function an operation, requests with fetch, dates as `Date`.

use super::{FOLDER, write};
use crate::program::{is_installed, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "sdk/typescript";
const TOOLS: &str = "target/sdk/build/typescript";
const LOCK: &str = "package-lock.json";

/// What is missing to make it; `None` where nothing is.
pub fn missing() -> Option<&'static str> {
    (!is_installed("node") || !is_installed("npm")).then_some("node and npm are not installed")
}

/// Generates the client, and compiles it.
pub fn generate(document: &Value) -> anyhow::Result<()> {
    let document = write(document, "openapi-typescript.json")?;
    install()?;
    let client = client();
    std::fs::create_dir_all(&client)?;
    for file in ["package.json", "tsconfig.json"] {
        std::fs::copy(Path::new(SOURCE).join("client").join(file), client.join(file))?;
    }
    let root = std::env::current_dir()?;
    let mut generator = tool("openapi-ts");
    generator.arg("--file").arg(root.join(SOURCE).join("openapi-ts.config.mjs"));
    generator.env("OPENAPI_DOCUMENT", root.join(document)).env("OPENAPI_OUTPUT", root.join(&client).join("src"));
    run(generator.arg("--silent"))?;
    run(tool("tsc").arg("--project").arg(&client))
}

/// Checks the types of the test; gives the command that runs it.
pub fn test() -> anyhow::Result<Command> {
    for file in ["test.ts", "tsconfig.json"] {
        std::fs::copy(Path::new(SOURCE).join(file), Path::new(TOOLS).join(file))?;
    }
    run(tool("tsc").args(["--project", TOOLS]))?;
    let mut program = Command::new("node");
    program.arg(Path::new(TOOLS).join("out/test.js"));
    Ok(program)
}

fn client() -> PathBuf {
    Path::new(FOLDER).join("typescript")
}

fn tool(name: &str) -> Command {
    Command::new(Path::new(TOOLS).join("node_modules/.bin").join(name))
}

/// Installs what the lock file pins, unless it is there; and the client beside it, as a package.
fn install() -> anyhow::Result<()> {
    let tools = Path::new(TOOLS);
    let wanted = std::fs::read(Path::new(SOURCE).join(LOCK))?;
    let stamp = tools.join("installed.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    std::fs::create_dir_all(tools)?;
    for file in ["package.json", LOCK] {
        std::fs::copy(Path::new(SOURCE).join(file), tools.join(file))?;
    }
    run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(tools))?;
    std::os::unix::fs::symlink("../../../typescript", tools.join("node_modules/callscope-client"))?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

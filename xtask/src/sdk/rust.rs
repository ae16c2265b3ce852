//! The Rust client, by progenitor: builders, requests with reqwest. It takes OpenAPI 3.0.

use super::{FOLDER, document, write};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const MANIFEST: &str = "sdk/rust/Cargo.toml";
const TARGET: &str = "target/sdk/build/rust";

/// Generates the client, as a crate.
pub fn generate(document: &Value) -> anyhow::Result<()> {
    let document = write(&document::as_3_0(document.clone()), "openapi-3.0.json")?;
    let sources = Path::new(FOLDER).join("rust/src");
    std::fs::create_dir_all(&sources)?;
    std::fs::copy("sdk/rust/client/Cargo.toml", Path::new(FOLDER).join("rust/Cargo.toml"))?;
    let library = sources.join("lib.rs");
    // The crate must exist before Cargo reads the manifest of the program that uses it.
    if !library.exists() {
        std::fs::write(&library, "")?;
    }
    let mut generator = cargo("run", "callscope-client-generator");
    crate::program::run(generator.arg("--").arg(document).arg(library))
}

/// Checks the format of what is ours, and compiles the test, which checks its types; gives the command that runs it.
pub fn test() -> anyhow::Result<Command> {
    let mut format = Command::new(env!("CARGO"));
    format.args(["fmt", "--check", "--manifest-path", MANIFEST]);
    format.args(["--package", "callscope-client-generator", "--package", "callscope-client-test"]);
    crate::program::run(&mut format)?;
    crate::program::run(&mut cargo("build", "callscope-client-test"))?;
    Ok(cargo("run", "callscope-client-test"))
}

fn cargo(command: &str, package: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--quiet", "--locked", "--manifest-path", MANIFEST, "--target-dir", TARGET]);
    cargo.args(["--package", package]);
    cargo
}

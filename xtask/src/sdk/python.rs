//! The Python client, by openapi-python-client: classes with attrs, requests with httpx, types for mypy.

use super::document::without_streams;
use super::{FOLDER, write};
use crate::python::{Environment, environment};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "sdk/python";
const TEST: &str = "sdk/python/test_client.py";

/// Generates the client.
pub fn generate(document: &Value) -> anyhow::Result<()> {
    let document = write(&without_streams(document.clone()), "openapi-python.json")?;
    let mut generator = tools()?.program("openapi-python-client");
    generator.args(["generate", "--overwrite", "--fail-on-warning", "--meta", "uv", "--path", &document]);
    generator.args(["--config", &format!("{SOURCE}/config.yml"), "--output-path", &format!("{FOLDER}/python")]);
    crate::trial::run(&mut generator)
}

/// Checks the types of the test; gives the command that runs it.
pub fn test() -> anyhow::Result<Command> {
    let tools = tools()?;
    let client = std::env::current_dir()?.join(FOLDER).join("python");
    let mut check = tools.program("mypy");
    check.args(["--strict", "--cache-dir", &format!("{FOLDER}/build/mypy"), TEST]);
    crate::trial::run(check.env("MYPYPATH", &client))?;
    let mut program = tools.program("python");
    program.arg(TEST).env("PYTHONPATH", client).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(program)
}

fn tools() -> anyhow::Result<Environment> {
    environment(&Path::new(FOLDER).join("build/python"), &Path::new(SOURCE).join("requirements.txt"))
}

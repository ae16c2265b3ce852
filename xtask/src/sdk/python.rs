//! The Python client, by openapi-python-client: classes with attrs, requests with httpx, types for mypy.

use super::document::without_streams;
use super::{FOLDER, write};
use crate::python::{Environment, environment};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "sdk/python";
const TEST: &str = "sdk/python/test_client.py";
const PACKAGE: &str = "callscope_client";

/// Generates the client.
pub fn generate(document: &Value) -> anyhow::Result<()> {
    let document = write(&without_streams(document.clone()), "openapi-python.json")?;
    let mut generator = tools()?.program("openapi-python-client");
    generator.args(["generate", "--overwrite", "--fail-on-warning", "--meta", "uv", "--path", &document]);
    generator.args(["--config", &format!("{SOURCE}/config.yml"), "--output-path", &format!("{FOLDER}/python")]);
    crate::program::run(&mut generator)?;
    let client = Path::new(FOLDER).join("python");
    std::fs::copy(Path::new(SOURCE).join("README.md"), client.join("README.md"))?;
    let package = client.join(PACKAGE);
    take_keywords_only(&package.join("models"))?;
    let live = package.join("api/live");
    std::fs::create_dir_all(&live)?;
    std::fs::copy(Path::new(SOURCE).join("stream_calls.py"), live.join("stream_calls.py"))?;
    let marker = live.join("__init__.py");
    if !marker.exists() {
        std::fs::write(marker, "")?;
    }
    Ok(())
}

/// Makes the constructors of models take keywords only. The generator puts fields in alphabetical order, so a new optional
/// field would change what the second argument means; and it has no setting for it.
fn take_keywords_only(models: &Path) -> anyhow::Result<()> {
    const POSITIONAL: &str = "@_attrs_define\n";
    const KEYWORDS: &str = "@_attrs_define(kw_only=True)\n";
    let mut changed = 0;
    for file in std::fs::read_dir(models)? {
        let file = file?.path();
        let text = std::fs::read_to_string(&file)?;
        if text.contains(POSITIONAL) {
            std::fs::write(&file, text.replace(POSITIONAL, KEYWORDS))?;
            changed += 1;
        }
    }
    anyhow::ensure!(changed > 0, "the generator's models look different: no {POSITIONAL:?} in {}", models.display());
    Ok(())
}

/// Checks the types of the test; gives the command that runs it.
pub fn test() -> anyhow::Result<Command> {
    let tools = tools()?;
    let client = std::env::current_dir()?.join(FOLDER).join("python");
    let mut check = tools.program("mypy");
    check.args(["--strict", "--cache-dir", &format!("{FOLDER}/build/mypy"), TEST]);
    crate::program::run(check.env("MYPYPATH", &client))?;
    let mut program = tools.program("python");
    program.arg(TEST).env("PYTHONPATH", client).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(program)
}

fn tools() -> anyhow::Result<Environment> {
    environment(&Path::new(FOLDER).join("build/python"), &Path::new(SOURCE).join("requirements.txt"))
}

//! The checked-in OpenAPI document.

use anyhow::{Context, bail};
use std::path::Path;

const FILE: &str = "openapi/openapi.json";

/// Writes the document, or checks that it is written.
pub fn run(check: bool) -> anyhow::Result<()> {
    let mut document = callscope_api::openapi_document().to_pretty_json()?;
    document.push('\n');
    if !check {
        std::fs::create_dir_all(Path::new(FILE).parent().context("a file has a folder")?)?;
        std::fs::write(FILE, document)?;
        println!("wrote {FILE}");
        return Ok(());
    }
    if std::fs::read_to_string(FILE).unwrap_or_default() != document {
        bail!("{FILE} is not what the handlers say: run `cargo xtask openapi`");
    }
    println!("{FILE} is up to date");
    Ok(())
}

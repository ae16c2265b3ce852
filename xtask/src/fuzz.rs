//! Requests by the thousand that the OpenAPI document allows or forbids, by schemathesis: no answer may be one that the
//! document does not know.

use crate::python::{environment, missing};
use crate::smoke::SmokeServer;
use callscope_synthetic::{Generator, Profile, even_start_times, write_ndjson};
use chrono::{TimeDelta, Utc};
use clap::Args;
use std::path::Path;

const DOCUMENT: &str = "openapi/openapi.json";
const FOLDER: &str = "fuzz";
const TARGET: &str = "target/fuzz";
const TENANT: &str = "fuzz";
/// Calls that are there before.
const CALLS: usize = 2000;

/// How much.
#[derive(Args)]
pub struct Arguments {
    /// Most requests of each operation, in each phase.
    #[arg(long, default_value_t = 150)]
    cases: u32,
    /// Another one gives other requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Tries a server over a throw-away database.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let tools = environment(&Path::new(TARGET).join("python"), &Path::new(FOLDER).join("requirements.txt"))?;
    // As many requests as come, wrong credentials among them, and as many keys as are made.
    let server = SmokeServer::start(&[
        ("CALLSCOPE__LIMITS__REQUESTS_PER_SECOND", "0"),
        ("CALLSCOPE__LIMITS__TENANT_REQUESTS_PER_SECOND", "0"),
        ("CALLSCOPE__LIMITS__FAILED_CREDENTIALS_PER_MINUTE", "0"),
        ("CALLSCOPE__LIMITS__PAGE_REQUESTS_PER_SECOND", "0"),
        ("CALLSCOPE__AUTH__TENANT_KEYS_MAX", "100000"),
    ])?;
    server.create_tenant(TENANT)?;
    import_calls(&server)?;
    let scopes = ["--scope", "analytics:read", "--scope", "calls:write", "--scope", "keys:manage"];
    let key = server.run(&[&["keys", "create", "--tenant", TENANT][..], &scopes].concat())?;
    let key = key.trim();
    let keys = server.run(&["keys", "list", "--tenant", TENANT])?;
    let root = std::env::current_dir()?;
    let mut program = tools.program("schemathesis");
    program.arg("--config-file").arg(root.join(FOLDER).join("schemathesis.toml"));
    program.arg("run").arg(root.join(DOCUMENT)).args(["--checks", "all"]);
    program.args(["--url", &server.url(), "--header", &format!("X-API-Key: {key}")]);
    program.args(["--max-examples", &arguments.cases.to_string(), "--seed", &arguments.seed.to_string()]);
    program.args(["--continue-on-failure", "--generation-database", "none", "--no-color"]);
    // It leaves files where it runs.
    program.current_dir(TARGET);
    // Where it finds its hooks, and what they must not let anyone revoke.
    program.env("PYTHONPATH", root.join(FOLDER)).env("CALLSCOPE_KEYS", keys);
    crate::program::run(program.env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// Tries a server if the machine has the tools for it, and says why if not. Where it `must` be, a missing tool is a failure.
pub fn check(must: bool) -> anyhow::Result<()> {
    match missing() {
        Some(reason) if must => anyhow::bail!("made-up requests cannot be tried: {reason}"),
        Some(reason) => {
            println!("made-up requests are not tried: {reason}");
            Ok(())
        }
        None => run(&Arguments { cases: 150, seed: 1 }),
    }
}

fn import_calls(server: &SmokeServer) -> anyhow::Result<()> {
    let now = Utc::now();
    let mut generator = Generator::new(1, Profile::default());
    let calls = even_start_times(now - TimeDelta::days(30), now, CALLS).into_iter().map(|start| generator.call(start));
    let mut records = Vec::new();
    write_ndjson(&mut records, calls)?;
    let file = format!("{TARGET}/calls.ndjson");
    std::fs::write(&file, records)?;
    server.run(&["import", "--tenant", TENANT, &file])?;
    Ok(())
}

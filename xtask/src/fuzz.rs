//! Requests by the thousand that the OpenAPI document allows or forbids, by schemathesis: no answer may be one that the
//! document does not know.

use crate::bench::records::{Order, Records};
use crate::python::{environment, missing};
use crate::trial::Trial;
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
    let trial = Trial::start(&[
        ("CALLSCOPE__LIMITS__REQUESTS_PER_SECOND", "0"),
        ("CALLSCOPE__LIMITS__TENANT_REQUESTS_PER_SECOND", "0"),
        ("CALLSCOPE__LIMITS__FAILED_CREDENTIALS_PER_MINUTE", "0"),
        ("CALLSCOPE__AUTH__TENANT_KEYS_MAX", "100000"),
    ])?;
    send_calls(&trial, &trial.create_tenant(TENANT)?)?;
    let scopes = ["--scope", "analytics:read", "--scope", "calls:write", "--scope", "keys:manage"];
    let key = trial.run(&[&["keys", "create", "--tenant", TENANT][..], &scopes].concat())?;
    let key = key.trim();
    let keys = trial.run(&["keys", "list", "--tenant", TENANT])?;
    let root = std::env::current_dir()?;
    let mut program = tools.program("schemathesis");
    program.arg("--config-file").arg(root.join(FOLDER).join("schemathesis.toml"));
    program.arg("run").arg(root.join(DOCUMENT)).args(["--checks", "all"]);
    program.args(["--url", &trial.url(), "--header", &format!("X-API-Key: {key}")]);
    program.args(["--max-examples", &arguments.cases.to_string(), "--seed", &arguments.seed.to_string()]);
    program.args(["--continue-on-failure", "--generation-database", "none", "--no-color"]);
    // It leaves files where it runs.
    program.current_dir(TARGET);
    // Where it finds its hooks, and what they must not let anyone revoke.
    program.env("PYTHONPATH", root.join(FOLDER)).env("CALLSCOPE_KEYS", keys);
    crate::trial::run(program.env("PYTHONDONTWRITEBYTECODE", "1"))
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

fn send_calls(trial: &Trial, key: &str) -> anyhow::Result<()> {
    let records = Records { order: Order::Shuffled, ..Records::in_order(chrono::Utc::now(), CALLS) };
    let mut body = Vec::new();
    records.write(&mut body)?;
    let request = ureq::post(format!("{}/api/v1/ingest/calls", trial.url())).header("X-API-Key", key);
    request.content_type("application/x-ndjson").send(body)?;
    Ok(())
}

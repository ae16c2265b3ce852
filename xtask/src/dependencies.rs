//! The direction of dependencies between crates.

use anyhow::{Context, bail};
use serde_json::Value;
use std::process::Command;

/// What each crate may depend on in its shipped code, besides what everyone may: crates of the workspace first.
const ALLOWED: &[(&str, &[&str])] = &[
    ("callscope-domain", &[]),
    ("callscope-connectors", &["callscope-domain"]),
    ("callscope-synthetic", &[]),
    ("callscope-testkit", &[]),
    ("callscope-bench", &["callscope-synthetic", "callscope-testkit"]),
    ("callscope-analytics", &["callscope-connectors", "callscope-domain"]),
    ("callscope-persistence", &["callscope-analytics", "callscope-domain"]),
    ("callscope-api", &["callscope-analytics", "callscope-connectors", "callscope-domain"]),
    (
        "callscope-server",
        &["callscope-analytics", "callscope-api", "callscope-domain", "callscope-persistence", "callscope-synthetic"],
    ),
];

/// Outer libraries that belong to one layer.
const OWNED: &[(&str, &[&str])] = &[
    ("diesel", &["callscope-persistence"]),
    ("diesel-async", &["callscope-persistence"]),
    ("diesel_migrations", &["callscope-persistence"]),
    ("libsqlite3-sys", &["callscope-persistence"]),
    ("rusqlite", &["callscope-bench"]),
    ("tokio-postgres", &["callscope-bench", "callscope-persistence", "callscope-testkit"]),
    ("rustls", &["callscope-persistence"]),
    ("actix-web", &["callscope-api", "callscope-bench", "callscope-server"]),
    ("utoipa", &["callscope-api"]),
    ("serde", &["callscope-api", "callscope-connectors", "callscope-server", "callscope-synthetic"]),
    (
        "tokio",
        &[
            "callscope-analytics",
            "callscope-api",
            "callscope-bench",
            "callscope-persistence",
            "callscope-server",
            "callscope-testkit",
        ],
    ),
];

/// Fails when a crate has a dependency that it must not have.
pub fn check() -> anyhow::Result<()> {
    let output =
        Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--no-deps", "--locked"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
    let mut faults = Vec::new();
    for name in packages(&metadata).filter_map(|package| package["name"].as_str()) {
        if name != "xtask" && ALLOWED.iter().all(|(known, _)| *known != name) {
            faults.push(format!("{name} is not listed in xtask/src/dependencies.rs: say what it may depend on"));
        }
    }
    for (name, allowed) in ALLOWED {
        let package = packages(&metadata).find(|package| package["name"] == **name);
        let package = package.with_context(|| format!("the workspace has no crate {name}"))?;
        for dependency in shipped_dependencies(package) {
            let is_ours = dependency.starts_with("callscope-");
            let owners = OWNED.iter().find(|(library, _)| *library == dependency).map(|(_, owners)| *owners);
            let is_allowed =
                if is_ours { allowed.contains(&dependency) } else { owners.is_none_or(|owners| owners.contains(name)) };
            if !is_allowed {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    println!("dependencies point one way");
    Ok(())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn shipped_dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies.filter(|dependency| dependency["kind"].is_null()).filter_map(|dependency| dependency["name"].as_str())
}

//! A server for a task: the debug build, over a temporary SQLite database.

use crate::program;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running server. Dropping it stops the server and removes the database.
pub struct SmokeServer {
    _process: Process,
    address: String,
    binary: PathBuf,
    folder: TempDir,
}

impl SmokeServer {
    /// Builds the server and starts it, with more settings in its environment. It accepts requests when this returns.
    pub fn start(environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        program::run(Command::new(env!("CARGO")).args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "callscope-server",
        ]))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let binary = target.join("debug/callscope");
        let folder = tempfile::tempdir()?;
        let mut serve = command(&binary, folder.path());
        serve.envs(environment.iter().copied()).arg("serve").stderr(Stdio::piped());
        let mut process = Process(serve.spawn().context("cannot run the server")?);
        let mut log = BufReader::new(process.0.stderr.take().context("no log")?).lines();
        let address = loop {
            let line = log.next().context("the server ended before it listened")??;
            print_warning(&line);
            if let Some(address) = address(&line) {
                break address;
            }
        };
        // The server blocks once the pipe of its log is full.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| print_warning(&line)));
        Ok(Self { _process: process, address, binary, folder })
    }

    /// Where it listens, as the start of a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates a tenant; gives a key of it.
    pub fn create_tenant(&self, slug: &str) -> anyhow::Result<String> {
        self.run(&["tenants", "create", slug])?;
        Ok(self.run(&["keys", "create", "--tenant", slug])?.trim().to_owned())
    }

    /// Runs a command on its database; gives what it prints.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = command(&self.binary, self.folder.path()).args(arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// A process that is killed when this is dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    let database = folder.join("smoke.db");
    command
        .env_remove("CALLSCOPE_CONFIG")
        .env("CALLSCOPE__DATABASE__URL", format!("sqlite://{}", database.display()))
        .env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0")
        .env("CALLSCOPE__METRICS__BIND", "")
        .env("CALLSCOPE__LOG__FORMAT", "json")
        .env("CALLSCOPE__LOG__LEVEL", "warn,callscope::serve=info");
    command
}

/// The address in the log line that the server writes once it listens.
fn address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["fields"]["address"].as_str().map(str::to_owned)
}

fn print_warning(line: &str) {
    if !line.contains(r#""level":"INFO""#) {
        eprintln!("{line}");
    }
}

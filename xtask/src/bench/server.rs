//! A release server of the benchmark's own, on a database of its own.

use anyhow::Context;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server with one tenant and one key.
pub struct Server {
    database: PathBuf,
    child: Child,
    /// Where it listens.
    pub address: String,
    /// The key of its tenant.
    pub key: String,
}

impl Server {
    /// Makes a database with a tenant and a key, and serves it.
    pub fn create(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let database = folder.join(format!("{name}.db"));
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        let run = |arguments: &[&str]| -> anyhow::Result<String> {
            let output = command(&database).args(arguments).output().context("cannot run the release build")?;
            anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        run(&["tenants", "create", "bench"])?;
        let key = run(&["keys", "create", "--tenant", "bench"])?;
        let (child, address, _) = start(&database)?;
        Ok(Self { database, child, address, key })
    }

    /// Stops the server and starts it again; gives the time until it is ready.
    pub fn restart(&mut self) -> anyhow::Result<Duration> {
        terminate(&mut self.child)?;
        let (child, address, elapsed) = start(&self.database)?;
        (self.child, self.address) = (child, address);
        Ok(elapsed)
    }

    /// Stops the server; gives its database.
    pub fn stop(mut self) -> anyhow::Result<PathBuf> {
        terminate(&mut self.child)?;
        Ok(self.database.clone())
    }

    /// The database.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Its resident memory.
    pub fn resident_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib >> 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(database: &Path) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let mut command = Command::new(target.join("release/callscope"));
    command
        .env("CALLSCOPE__DATABASE__URL", format!("sqlite://{}", database.display()))
        .env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0")
        .env("CALLSCOPE__LOG__FORMAT", "json")
        .env("CALLSCOPE__LOG__LEVEL", "warn,callscope::serve=info");
    command
}

/// Starts a server, and waits until it listens: it is ready then.
fn start(database: &Path) -> anyhow::Result<(Child, String, Duration)> {
    let started = Instant::now();
    let mut child = command(database).arg("serve").stderr(Stdio::piped()).spawn()?;
    let log = BufReader::new(child.stderr.take().context("no log")?);
    let mut lines = log.lines();
    for line in lines.by_ref() {
        let line: Value = serde_json::from_str(&line?).unwrap_or_default();
        if let Some(address) = line["fields"]["address"].as_str() {
            let address = address.to_owned();
            ureq::get(format!("http://{address}/health/ready")).call()?;
            let elapsed = started.elapsed();
            // What else it says must be read, or it would block.
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
            return Ok((child, address, elapsed));
        }
    }
    anyhow::bail!("the server ended before it listened")
}

fn terminate(child: &mut Child) -> anyhow::Result<()> {
    let status = Command::new("kill").arg(child.id().to_string()).status()?;
    anyhow::ensure!(status.success(), "cannot stop the server");
    child.wait()?;
    Ok(())
}

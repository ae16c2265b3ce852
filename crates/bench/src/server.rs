//! Release servers of the benchmark's own, and the commands of the release build.

use crate::client::{Asker, Batch, send};
use crate::database::{Database, Engine};
use crate::records::Records;
use anyhow::Context;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tenant that is measured.
pub const TENANT: &str = "bench";
/// Requests that are under way at one time: while two are written together, two are parsed.
const CONNECTIONS: usize = 8;

/// A running server process.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: String,
}

/// A database with the measured tenant, and a server on it.
pub struct Instance {
    pub database: Database,
    /// The key of the tenant.
    pub key: Arc<str>,
    pub server: Server,
}

/// A build of the server.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    /// Settings that this program knows, and another one may not.
    environment: &'static [(&'static str, &'static str)],
}

impl Program {
    /// The release build of this workspace.
    pub fn built() -> Self {
        Self {
            path: release_build(),
            environment: &[
                ("CALLSCOPE__LIMITS__TENANT_REQUESTS_PER_SECOND", "0"),
                ("CALLSCOPE__SERVER__CONNECTIONS_PER_ADDRESS_MAX", "20000"),
            ],
        }
    }

    /// Another build, such as one of an earlier commit.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), environment: &[] }
    }

    fn command(&self, database: &Database) -> Command {
        let mut command = Command::new(&self.path);
        command
            .envs(self.environment.iter().copied())
            .env("CALLSCOPE__DATABASE__URL", database.url())
            .env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0")
            // All clients of a benchmark have one address.
            .env("CALLSCOPE__METRICS__BIND", "")
            .env("CALLSCOPE__LOG__FORMAT", "json")
            .env("CALLSCOPE__LIMITS__REQUESTS_PER_SECOND", "0")
            .env("CALLSCOPE__LOG__LEVEL", "warn,callscope::serve=info");
        command
    }
}

impl Instance {
    /// Makes a database with one tenant, and serves it.
    pub fn create(engine: &Engine, name: &str) -> anyhow::Result<Self> {
        Self::create_by(&Program::built(), engine, name)
    }

    /// Makes a database with one tenant, and serves it, all with one program.
    pub fn create_by(program: &Program, engine: &Engine, name: &str) -> anyhow::Result<Self> {
        let database = engine.create(name)?;
        run(program.command(&database).args(["tenants", "create", TENANT]))?;
        let key = run(program.command(&database).args(["keys", "create", "--tenant", TENANT]))?.trim().into();
        let server = Server::start_by(program.command(&database).arg("serve").env("CALLSCOPE__CACHE__TTL", "0s"))?;
        Ok(Self { database, key, server })
    }

    /// Makes a database with one tenant, imports its calls, and serves it.
    pub fn import(engine: &Engine, name: &str, records: &Records) -> anyhow::Result<Self> {
        let database = engine.create(name)?;
        let key = create_tenant(&database, TENANT)?;
        import(&database, TENANT, records)?;
        database.settle()?;
        let server = Server::start(&database)?;
        Ok(Self { database, key, server })
    }

    /// Sends batches to the server; gives calls a second.
    pub fn send(&self, batches: impl Iterator<Item = anyhow::Result<Batch>>) -> anyhow::Result<f64> {
        send(&[&self.server.address], CONNECTIONS, batches)
    }

    /// A client of the tenant.
    pub fn asker(&self) -> Asker {
        Asker::new(&self.server.address, &self.key)
    }

    /// Stops the server and starts another one; gives the time until it is ready.
    pub fn restart(&mut self) -> anyhow::Result<Duration> {
        self.server.terminate()?;
        let started = Instant::now();
        self.server = Server::start(&self.database)?;
        Ok(started.elapsed())
    }

    /// Stops the server and removes the database.
    pub fn remove(mut self) -> anyhow::Result<()> {
        self.server.terminate()?;
        self.database.remove()
    }
}

impl Server {
    /// Starts a server that keeps no answers, and waits until it listens: it is ready then.
    pub fn start(database: &Database) -> anyhow::Result<Self> {
        Self::start_by(command(database).arg("serve").env("CALLSCOPE__CACHE__TTL", "0s"))
    }

    /// Starts a server that keeps answers for as long as one does unless told otherwise.
    pub fn start_cached(database: &Database) -> anyhow::Result<Self> {
        // Limits that are counted and never reached.
        let limits = ["REQUESTS_PER_SECOND", "BURST"].map(|key| (format!("CALLSCOPE__LIMITS__{key}"), "1000000"));
        Self::start_by(command(database).arg("serve").env("CALLSCOPE__CACHE__TTL", "1s").envs(limits))
    }

    /// Starts a server by a command that logs JSON, and waits until it listens: it is ready then.
    pub fn start_by(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_listening(command, pass_on)
    }

    /// As [`Self::start_by`], with something else to do with each line of its log.
    pub fn start_listening(command: &mut Command, listen: impl Fn(&str) + Send + 'static) -> anyhow::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("no log")?).lines();
        let mut server = Self { child, address: String::new() };
        while server.address.is_empty() {
            let line = log.next().context("the server ended before it listened")??;
            server.address = address(&line).unwrap_or_default();
            listen(&line);
        }
        ureq::get(format!("http://{}/health/ready", server.address)).call()?;
        // What else it says must be read, or it would block.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| listen(&line)));
        Ok(server)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Its resident memory.
    pub fn resident_mib(&self) -> anyhow::Result<u64> {
        Ok(self.resident_kib()? >> 10)
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
    }

    /// Stops it as its administrator would.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status()?;
        anyhow::ensure!(status.success(), "cannot stop the server");
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address that a server says in its log.
fn address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["fields"]["address"].as_str().map(str::to_owned)
}

/// Shows what a server complains of.
fn pass_on(line: &str) {
    if !line.contains(r#""level":"INFO""#) {
        eprintln!("{line}");
    }
}

/// Builds the server for release; gives the program.
pub fn build() -> anyhow::Result<PathBuf> {
    let arguments = ["build", "--quiet", "--release", "--locked", "--package", "callscope-server"];
    let status = Command::new(env!("CARGO")).args(arguments).status()?;
    anyhow::ensure!(status.success(), "the server cannot be built");
    Ok(release_build())
}

fn release_build() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("release/callscope")
}

/// Creates a tenant; gives a key of it.
pub fn create_tenant(database: &Database, slug: &str) -> anyhow::Result<Arc<str>> {
    run(command(database).args(["tenants", "create", slug]))?;
    Ok(run(command(database).args(["keys", "create", "--tenant", slug]))?.trim().into())
}

/// Imports records while they are made; nothing lies on a disk in between.
fn import(database: &Database, slug: &str, records: &Records) -> anyhow::Result<()> {
    let mut command = command(database);
    command.args(["import", "--tenant", slug, "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().context("cannot run the release build")?;
    let written = records.write(child.stdin.take().context("no input")?);
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "the import failed: {status}");
    written
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("cannot run the release build")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn command(database: &Database) -> Command {
    Program::built().command(database)
}

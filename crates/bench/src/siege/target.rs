//! The attacked server: in its memory limit, over a new database with three tenants, and what it takes of the machine.

use crate::database::{Database, Engine};
use crate::records::Records;
use crate::server::Server;
use crate::siege::attacker::Keys;
use crate::siege::cage::Cage;
use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Calls of the tenant that is measured, over 30 days.
const CALLS: usize = 5000;

/// The scopes of a key that manages keys.
const ALL_SCOPES: [&str; 6] = ["--scope", "analytics:read", "--scope", "calls:write", "--scope", "keys:manage"];

/// A server that may be attacked.
pub struct Target {
    /// The process.
    pub server: Server,
    /// Its database.
    pub database: Database,
    /// Keys of the attackers.
    pub keys: Arc<Keys>,
    /// Keys of the tenant that is measured: for reads, for writes, and for questions after the attack.
    pub measured: [String; 3],
    /// When the calls of that tenant end.
    pub end: DateTime<Utc>,
    /// What it logs.
    pub log: Arc<Log>,
    metrics: SocketAddr,
    cage: Cage,
}

/// What a server has logged.
#[derive(Default)]
pub struct Log {
    /// Bytes.
    pub bytes: AtomicU64,
    panic: Mutex<Option<String>>,
}

impl Log {
    fn add(&self, line: &str) {
        self.bytes.fetch_add(line.len() as u64 + 1, Ordering::Relaxed);
        if line.contains("panicked") {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.to_owned());
        }
    }

    /// A line that tells of a panic, if there was one.
    pub fn panic(&self) -> Option<String> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a server takes of the machine at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Most resident memory so far, in bytes.
    pub resident_max: u64,
    /// Bytes on disk.
    pub disk: u64,
    /// Open descriptors, connections among them.
    pub descriptors: usize,
}

impl Target {
    /// Starts a server on a new database, with settings beside the defaults.
    pub fn start(binary: &Path, engine: &Engine, name: &str, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let database = engine.create(name)?;
        let run = |arguments: &[&str]| run(binary, &database, arguments);
        let acme_id = create_tenant(&run, "acme")?;
        create_tenant(&run, "initech")?;
        create_tenant(&run, "globex")?;
        let key = |tenant: &str, scopes: &[&str]| {
            let arguments = [&["keys", "create", "--tenant", tenant], scopes].concat();
            run(&arguments).map(|key| key.trim().to_owned())
        };
        let (acme, admin, initech) = (key("acme", &[])?, key("acme", &ALL_SCOPES)?, key("initech", &[])?);
        let measured = [key("globex", &[])?, key("globex", &[])?, key("globex", &[])?];
        let cage = Cage::build(name);
        let metrics = free_address()?;
        let mut command = cage.command(binary);
        with_database(&mut command, &database);
        command
            .arg("serve")
            .env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0")
            .env("CALLSCOPE__METRICS__BIND", metrics.to_string())
            .env("CALLSCOPE__LOG__FORMAT", "json")
            .envs(settings.iter().copied());
        let log = Arc::new(Log::default());
        let listening = Arc::clone(&log);
        let server = Server::start_listening(&mut command, move |line| listening.add(line))?;
        let keys = Arc::new(Keys { acme, admin, initech, acme_id });
        let target = Self { server, database, keys, measured, end: Utc::now(), log, metrics, cage };
        target.send_calls(&target.measured[1])?;
        target.send_calls(&target.keys.acme)?;
        Ok(target)
    }

    fn send_calls(&self, key: &str) -> anyhow::Result<()> {
        let mut body = Vec::new();
        Records::in_order(self.end, CALLS).write(&mut body)?;
        let request = ureq::post(format!("{}/api/v1/ingest/calls", self.url())).header("X-API-Key", key);
        request.content_type("application/x-ndjson").send(body)?;
        Ok(())
    }

    /// The file of its database, where it has one.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.database {
            Database::Sqlite(file) => Some(file.clone()),
            Database::Postgres(_) => None,
        }
    }

    /// The start of the server's URLs.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Whether the process runs, the kernel has killed none, and it answers.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        let kills = self.cage.oom_kills()?;
        ensure!(kills == 0, "the kernel killed the server for want of memory");
        ensure!(self.server.is_running()?, "the server has ended");
        if let Some(line) = self.log.panic() {
            bail!("the server panicked: {line}");
        }
        Ok(())
    }

    /// How its memory is limited.
    pub fn limit(&self) -> String {
        self.cage.to_string()
    }

    /// What it takes now.
    pub fn usage(&self) -> Usage {
        usage(self.server.id(), &self.database)
    }

    /// Lines of its metrics: it must not grow with what clients send.
    pub fn metrics_lines(&self) -> anyhow::Result<usize> {
        let text = ureq::get(format!("http://{}/metrics", self.metrics)).call()?.into_body().read_to_string()?;
        Ok(text.lines().count())
    }

    /// Stops the server and removes the database.
    pub fn remove(self) -> anyhow::Result<()> {
        let Self { server, database, cage, .. } = self;
        // It may have ended already.
        drop(server);
        drop(cage);
        database.remove()
    }
}

/// What a process over a database takes now; zeros when it has ended.
pub fn usage(process: u32, database: &Database) -> Usage {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0_u64) << 10
    };
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    Usage { resident: bytes("VmRSS:"), resident_max: bytes("VmHWM:"), disk: disk(database), descriptors }
}

/// Bytes on disk: with SQLite, the write-ahead log among them.
fn disk(database: &Database) -> u64 {
    match database {
        Database::Sqlite(file) => {
            let parts = ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", file.display()));
            parts.iter().filter_map(|part| fs::metadata(part).ok()).map(|part| part.len()).sum()
        }
        Database::Postgres(_) => database.sizes().unwrap_or_default().iter().map(|(_, bytes)| bytes).sum(),
    }
}

/// Creates a tenant; gives its id.
fn create_tenant(run: &impl Fn(&[&str]) -> anyhow::Result<String>, slug: &str) -> anyhow::Result<String> {
    let printed = run(&["tenants", "create", slug])?;
    let id = printed.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    Ok(id.context("no tenant id")?.0.to_owned())
}

fn run(binary: &Path, database: &Database, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(binary);
    with_database(&mut command, database);
    let output = command.args(arguments).stdin(Stdio::null()).output().context("cannot run the server's program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn with_database(command: &mut Command, database: &Database) {
    command.env_remove("CALLSCOPE_CONFIG").env("CALLSCOPE__DATABASE__URL", database.url());
}

/// An address of a port that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

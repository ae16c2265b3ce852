//! Where the benchmark's databases are, how they are made, and how large they are.

use crate::postgres::Session;
use anyhow::Context;
use callscope_testkit::{Postgres, ServerOptions};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// For a machine with two processors and 24 GiB that has other work as well.
const POSTGRES_SETTINGS: [(&str, &str); 6] = [
    ("shared_buffers", "1GB"),
    ("effective_cache_size", "12GB"),
    ("work_mem", "64MB"),
    ("maintenance_work_mem", "512MB"),
    ("max_wal_size", "4GB"),
    // As solid-state disks want it.
    ("random_page_cost", "1.1"),
];

/// A database that every PostgreSQL server has.
const MAINTENANCE: &str = "postgres";

/// What makes databases.
pub enum Engine {
    /// Files in a folder.
    Sqlite(PathBuf),
    /// A server of the benchmark's own.
    Postgres(Box<Postgres>),
}

/// One database, at first without tables.
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A URL.
    Postgres(String),
}

impl Engine {
    /// A PostgreSQL server as durable as it is in production.
    pub fn postgres() -> anyhow::Result<Self> {
        let options = ServerOptions { durable: true, ..ServerOptions::default() };
        let options = POSTGRES_SETTINGS.iter().fold(options, |options, (name, value)| options.with(name, value));
        Ok(Self::Postgres(Box::new(Postgres::start(&options).context("no PostgreSQL")?)))
    }

    /// What people call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// What it is and how it is set up.
    pub fn description(&self) -> anyhow::Result<String> {
        match self {
            Self::Sqlite(_) => Ok(format!("SQLite {}, synchronous = FULL", rusqlite::version())),
            Self::Postgres(server) => {
                let version = Session::open(&server.url(MAINTENANCE))?.rows("SHOW server_version")?.concat().concat();
                let settings = POSTGRES_SETTINGS.map(|(name, value)| format!("{name} = {value}")).join(", ");
                Ok(format!("PostgreSQL {version}, durable, {settings}; parallel plans and JIT as they come"))
            }
        }
    }

    /// A new, empty database.
    pub fn create(&self, name: &str) -> anyhow::Result<Database> {
        match self {
            Self::Sqlite(folder) => Ok(Database::Sqlite(folder.join(format!("{name}.db")))),
            Self::Postgres(server) => {
                Session::open(&server.url(MAINTENANCE))?.run(&format!("CREATE DATABASE \"{name}\""))?;
                Ok(Database::Postgres(server.url(name)))
            }
        }
    }
}

impl Database {
    /// What the server is told.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite://{}", file.display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// A connection, if it is PostgreSQL.
    pub fn session(&self) -> anyhow::Result<Option<Session>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(url) => Session::open(url).map(Some),
        }
    }

    /// Writes what still waits to be written to its final place, so that the next measurement does not pay for it.
    pub fn checkpoint(&self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(file) => {
                let connection = Connection::open(file)?;
                Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
            }
            Self::Postgres(url) => Session::open(url)?.run("CHECKPOINT"),
        }
    }

    /// Does after a load what the database would have done on its own in time.
    pub fn settle(&self) -> anyhow::Result<()> {
        if let Self::Postgres(url) = self {
            Session::open(url)?.run("VACUUM ANALYZE")?;
        }
        self.checkpoint()
    }

    /// Bytes on disk by table, with its indexes, largest first; a file of SQLite is one entry.
    pub fn sizes(&self) -> anyhow::Result<Vec<(String, u64)>> {
        const SQL: &str = "SELECT relname, pg_total_relation_size(oid) FROM pg_class \
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC";
        match self {
            Self::Sqlite(file) => Ok(vec![("the file".to_owned(), std::fs::metadata(file)?.len())]),
            Self::Postgres(url) => Session::open(url)?
                .rows(SQL)?
                .into_iter()
                .map(|row| {
                    let [name, bytes] = <[String; 2]>::try_from(row).ok().context("two columns")?;
                    Ok((name, bytes.parse()?))
                })
                .collect(),
        }
    }

    /// Removes it; nobody may be connected.
    pub fn remove(self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(file) => remove_files(&file),
            Self::Postgres(url) => {
                let (server, name) = url.rsplit_once('/').context("a URL names a database")?;
                Session::open(&format!("{server}/{MAINTENANCE}"))?
                    .run(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"))?;
            }
        }
        Ok(())
    }
}

fn remove_files(file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
}

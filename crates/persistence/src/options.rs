//! How a database is opened: what its settings must be, and what is wrong with those that cannot be.

use crate::pg::{PgAddress, PgAddressFault};
use std::path::PathBuf;
use std::time::Duration;

const SQLITE_SCHEME: &str = "sqlite://";
const POSTGRES_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `sqlite://PATH` or `postgres://…`.
    pub url: String,
    /// A read-only replica that the analytics reads go to; PostgreSQL only.
    pub read_url: Option<String>,
    /// Most connections. SQLite uses one of them to write and the others to read; PostgreSQL one half for the
    /// analytics reads, a tenth for credentials, and the others for everything else.
    pub pool_size: u32,
    /// How long to wait for a connection before giving up.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL may take for one statement; zero for ever.
    pub statement_timeout: Duration,
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting names no database that can be opened.
    #[error(transparent)]
    Setting(#[from] DatabaseFault),
    /// The folder of an SQLite file cannot be made.
    #[error("cannot create the folder {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database cannot be reached.
    #[error("cannot open the database")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the database")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is wrong with a setting of the database.
#[derive(Debug, thiserror::Error)]
#[error("database.{key}: {fault}")]
pub struct DatabaseFault {
    /// Which setting of the section.
    pub key: &'static str,
    /// What is wrong.
    pub fault: UrlFault,
}

/// What is wrong with the URL of a database.
#[derive(Debug, thiserror::Error)]
pub enum UrlFault {
    /// The URL names no database that this program knows.
    #[error("must start with sqlite:// or postgres://")]
    UnknownScheme,
    /// The URL of a PostgreSQL database is not sound.
    #[error(transparent)]
    Postgres(#[from] PgAddressFault),
    /// Only PostgreSQL has replicas.
    #[error("must start with postgres://, and so must database.url: only PostgreSQL has replicas")]
    NoReplica,
    /// The URL names no file.
    #[error("names no file: write sqlite://data/callscope.db, or sqlite:///absolute/path.db")]
    NoPath,
}

impl DatabaseFault {
    pub(crate) const fn url(fault: UrlFault) -> Self {
        Self { key: "url", fault }
    }

    pub(crate) const fn no_replica() -> Self {
        Self { key: "read_url", fault: UrlFault::NoReplica }
    }
}

impl DatabaseOptions {
    /// Whether the URLs can be understood; nothing is opened.
    pub fn check(&self) -> Result<(), DatabaseFault> {
        match (location(&self.url)?, &self.read_url) {
            (Location::Sqlite(_), None) => Ok(()),
            (Location::Sqlite(_), Some(_)) => Err(DatabaseFault::no_replica()),
            (Location::Postgres, read_url) => {
                address("url", &self.url)?;
                match read_url {
                    None => Ok(()),
                    Some(url) if matches!(location(url), Ok(Location::Postgres)) => address("read_url", url).map(drop),
                    Some(_) => Err(DatabaseFault::no_replica()),
                }
            }
        }
    }
}

/// The address in a URL of PostgreSQL.
pub fn address(key: &'static str, url: &str) -> Result<PgAddress, DatabaseFault> {
    PgAddress::parse(url).map_err(|fault| DatabaseFault { key, fault: fault.into() })
}

/// Where a URL points.
pub enum Location {
    /// To a file.
    Sqlite(PathBuf),
    /// To a server.
    Postgres,
}

/// Where a URL points, if it names a database.
pub fn location(url: &str) -> Result<Location, DatabaseFault> {
    if POSTGRES_SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(Location::Postgres);
    }
    let path = url.strip_prefix(SQLITE_SCHEME).ok_or(DatabaseFault::url(UrlFault::UnknownScheme))?;
    // An in-memory database would be another one for each connection, and durable for none.
    if path.is_empty() || path.starts_with(':') {
        return Err(DatabaseFault::url(UrlFault::NoPath));
    }
    Ok(Location::Sqlite(PathBuf::from(path)))
}

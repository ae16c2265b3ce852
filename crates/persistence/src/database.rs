//! The database that a URL names: its pools, and the transactions that they lend.

use crate::conn::{Access, Conn, PgManager};
use crate::errors::unavailable;
use crate::lite::{LiteManager, LiteRole};
use crate::migrations;
use callscope_analytics::ports::StoreError;
use diesel_async::pooled_connection::{ManagerConfig, RecyclingMethod};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SQLITE_SCHEME: &str = "sqlite://";
const POSTGRES_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `sqlite://PATH` or `postgres://…`.
    pub url: String,
    /// Most connections; SQLite uses one of them to write and the others to read.
    pub pool_size: u32,
    /// How long to wait for a connection before giving up.
    pub acquire_timeout: Duration,
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that this program knows.
    #[error("database.url must start with sqlite:// or postgres://")]
    UnknownScheme,
    /// The URL names no file.
    #[error("database.url names no file: write sqlite://data/callscope.db, or sqlite:///absolute/path.db")]
    NoPath,
    /// The folder of an SQLite file cannot be made.
    #[error("cannot create the folder {folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database cannot be reached.
    #[error("cannot open the database: {0}")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A database, behind every port. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pools: Pools,
    pool_size: u32,
}

#[derive(Clone)]
enum Pools {
    Pg(bb8::Pool<PgManager>),
    Lite { writer: bb8::Pool<LiteManager>, readers: bb8::Pool<LiteManager> },
}

impl Database {
    /// Brings the schema up to date, and says how many migrations that took.
    pub async fn migrate(url: &str) -> Result<usize, OpenError> {
        let migrated = match location(url)? {
            Location::Sqlite(path) => {
                create_folder(&path)?;
                let path = path.to_string_lossy().into_owned();
                tokio::task::spawn_blocking(move || migrations::migrate_sqlite(&path)).await
            }
            Location::Postgres => {
                let url = url.to_owned();
                tokio::task::spawn_blocking(move || migrations::migrate_postgres(&url)).await
            }
        };
        migrated.map_err(|error| OpenError::Migrate(error.into()))?.map_err(OpenError::Migrate)
    }

    /// Opens a database whose schema is up to date.
    pub async fn open(options: &DatabaseOptions) -> Result<Self, OpenError> {
        let pools = match location(&options.url)? {
            Location::Sqlite(path) => Pools::Lite {
                writer: pool(options, 1, LiteManager::new(path.clone(), LiteRole::Writer)).await?,
                readers: pool(options, readers_max(options), LiteManager::new(path, LiteRole::Reader)).await?,
            },
            Location::Postgres => {
                let mut config = ManagerConfig::default();
                // A query on each checkout would cost a round trip; a dead connection shows on first use.
                config.recycling_method = RecyclingMethod::Fast;
                let manager = PgManager::new_with_config(&options.url, config);
                Pools::Pg(pool(options, options.pool_size, manager).await?)
            }
        };
        Ok(Self { pools, pool_size: options.pool_size })
    }

    /// Whether the database is one file that one connection writes.
    pub(crate) const fn is_embedded(&self) -> bool {
        matches!(self.pools, Pools::Lite { .. })
    }

    /// Transactions of the writer that may be open side by side: on PostgreSQL all connections but one, which is left
    /// for keys and the sweeper.
    pub(crate) fn writers_max(&self) -> usize {
        let connections = if self.is_embedded() { 1 } else { self.pool_size.saturating_sub(1).max(1) };
        usize::try_from(connections).unwrap_or(usize::MAX)
    }

    /// A connection for single statements.
    pub(crate) async fn connection(&self, access: Access) -> Result<Conn, StoreError> {
        match (&self.pools, access) {
            (Pools::Pg(pool), _) => pool.get_owned().await.map(Conn::Pg).map_err(unavailable),
            (Pools::Lite { writer, .. }, Access::Write) => {
                writer.get_owned().await.map(Conn::Lite).map_err(unavailable)
            }
            (Pools::Lite { readers, .. }, Access::Read) => {
                readers.get_owned().await.map(Conn::Lite).map_err(unavailable)
            }
        }
    }

    /// A connection in a transaction, which is undone unless it is committed.
    pub(crate) async fn transaction(&self, access: Access) -> Result<Conn, StoreError> {
        let mut conn = self.connection(access).await?;
        conn.begin(access).await?;
        Ok(conn)
    }
}

fn readers_max(options: &DatabaseOptions) -> u32 {
    options.pool_size.saturating_sub(1).max(1)
}

async fn pool<M>(options: &DatabaseOptions, size: u32, manager: M) -> Result<bb8::Pool<M>, OpenError>
where
    M: bb8::ManageConnection,
    M::Error: std::error::Error + Send + Sync + 'static,
{
    bb8::Pool::builder()
        .max_size(size.max(1))
        .connection_timeout(options.acquire_timeout)
        .build(manager)
        .await
        .map_err(|error| OpenError::Connect(error.into()))
}

/// Where a URL points.
enum Location {
    Sqlite(PathBuf),
    Postgres,
}

fn location(url: &str) -> Result<Location, OpenError> {
    if POSTGRES_SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(Location::Postgres);
    }
    let path = url.strip_prefix(SQLITE_SCHEME).ok_or(OpenError::UnknownScheme)?;
    // An in-memory database would be another one for each connection, and durable for none.
    if path.is_empty() || path.starts_with(':') {
        return Err(OpenError::NoPath);
    }
    Ok(Location::Sqlite(PathBuf::from(path)))
}

fn create_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { folder: folder.to_owned(), source })
}

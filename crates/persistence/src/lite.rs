//! An SQLite connection for async code: each piece of work moves the connection to a thread for blocking work and
//! back again. Dropping a future half-way costs the connection, never the runtime.

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::result::{DatabaseErrorKind, Error, QueryResult};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, ConnectionError};
use std::path::PathBuf;

/// A connection, unless work on it was abandoned.
pub struct Lite(Option<SqliteConnection>);

impl Lite {
    /// Runs blocking work on the connection.
    pub async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> QueryResult<T> {
        let mut connection = self.0.take().ok_or_else(|| lost("earlier work on this connection was abandoned"))?;
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut connection);
            (connection, outcome)
        });
        let (connection, outcome) = done.await.map_err(|_| lost("work on this connection panicked"))?;
        self.0 = Some(connection);
        outcome
    }

    fn is_broken(&mut self) -> bool {
        self.0.as_mut().is_none_or(AnsiTransactionManager::is_broken_transaction_manager)
    }
}

fn lost(reason: &'static str) -> Error {
    Error::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(reason.to_owned()))
}

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteRole {
    /// The one connection that writes.
    Writer,
    /// One of those that only read.
    Reader,
}

impl LiteRole {
    /// WAL lets readers go on beside the writer. `synchronous = FULL` makes a commit durable before it returns. A
    /// cache holds the pages that a batch of writes comes back to; a reader's is small, since an answer touches few.
    const fn pragmas(self) -> &'static str {
        match self {
            Self::Writer => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 8192; PRAGMA temp_store = MEMORY;"
            }
            Self::Reader => {
                "PRAGMA busy_timeout = 10000; PRAGMA query_only = ON; PRAGMA cache_size = -4096; \
                 PRAGMA temp_store = MEMORY;"
            }
        }
    }
}

/// Opens connections for a pool.
pub struct LiteManager {
    path: PathBuf,
    role: LiteRole,
}

impl LiteManager {
    /// A manager for connections to one file.
    pub const fn new(path: PathBuf, role: LiteRole) -> Self {
        Self { path, role }
    }
}

impl bb8::ManageConnection for LiteManager {
    type Connection = Lite;
    type Error = ConnectionError;

    async fn connect(&self) -> Result<Lite, ConnectionError> {
        let (path, role) = (self.path.to_string_lossy().into_owned(), self.role);
        let opened = tokio::task::spawn_blocking(move || {
            let mut connection = SqliteConnection::establish(&path)?;
            connection.batch_execute(role.pragmas()).map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok::<_, ConnectionError>(connection)
        });
        let connection = opened.await.map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
        Ok(Lite(Some(connection)))
    }

    async fn is_valid(&self, _: &mut Lite) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Lite) -> bool {
        connection.is_broken()
    }
}

//! An SQLite connection for async code: a thread of its own does the work that is sent to it, one piece at a time.
//!
//! Dropping a future half-way leaves the work to be finished there; the pool then closes the connection, which undoes
//! an open transaction. The runtime is never blocked.

use crate::priority::lower_priority;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::result::{DatabaseErrorKind, Error, QueryResult};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, ConnectionError};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce(&mut SqliteConnection) + Send>;

/// A connection; when it is dropped, its thread closes it and ends.
pub struct Lite {
    work: mpsc::Sender<Work>,
    /// Whether work is under way, or was left, or a transaction is open: then no one else may have the connection.
    is_broken: bool,
}

impl Lite {
    /// Opens a file, on a thread of its own.
    async fn open(path: String, role: LiteRole, threads: &Threads) -> Result<Self, ConnectionError> {
        let (work, inbox) = mpsc::channel::<Work>();
        let (opened, outcome) = oneshot::channel();
        let serve = move || {
            if role == LiteRole::Writer {
                lower_priority(WRITER_NICE);
            }
            match establish(&path, role) {
                Ok(mut connection) => {
                    if opened.send(Ok(())).is_ok() {
                        for work in inbox {
                            work(&mut connection);
                        }
                    }
                }
                // Whoever went away does not need the reason.
                Err(error) => drop(opened.send(Err(error))),
            }
        };
        threads.start(serve)?;
        outcome.await.map_err(|_| ConnectionError::BadConnection("the connection's thread ended".to_owned()))??;
        Ok(Self { work, is_broken: false })
    }

    /// Runs blocking work on the connection.
    pub async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> QueryResult<T> {
        let (done, outcome) = oneshot::channel();
        self.is_broken = true;
        let work: Work = Box::new(move |connection| {
            let outcome = work(connection);
            let is_broken = AnsiTransactionManager::is_broken_transaction_manager(connection);
            let _ = done.send((outcome, is_broken));
        });
        self.work.send(work).map_err(|_| lost())?;
        let (outcome, is_broken) = outcome.await.map_err(|_| lost())?;
        self.is_broken = is_broken;
        outcome
    }
}

/// Opens a file.
pub fn establish(path: &str, role: LiteRole) -> Result<SqliteConnection, ConnectionError> {
    let mut connection = SqliteConnection::establish(path)?;
    connection.batch_execute(role.pragmas()).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// The connection's thread has ended: work on it panicked.
fn lost() -> Error {
    let reason = "the connection's thread ended".to_owned();
    Error::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(reason))
}

/// The nice value of the thread that writes: where processors are short, answers come first, and it still gets a fourth
/// of one.
const WRITER_NICE: i32 = 5;

/// Starts the threads of connections, all with the priority of the process: a thread inherits that of the one that starts
/// it, and a connection may be missed first by work of a lower priority.
struct Threads(mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Threads {
    fn new() -> io::Result<Self> {
        let (starts, inbox) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let start = move |serve| std::thread::Builder::new().name("sqlite".to_owned()).spawn(serve);
        // Where one cannot be started, who waits for it hears that its answer will never come.
        std::thread::Builder::new().name("sqlite-starter".to_owned()).spawn(move || {
            for serve in inbox {
                drop(start(serve));
            }
        })?;
        Ok(Self(starts))
    }

    fn start(&self, serve: impl FnOnce() + Send + 'static) -> Result<(), ConnectionError> {
        let ended = |_| ConnectionError::BadConnection("the thread that starts others ended".to_owned());
        self.0.send(Box::new(serve)).map_err(ended)
    }
}

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteRole {
    /// The one connection that writes.
    Writer,
    /// One of those that only read.
    Reader,
    /// The one that makes checkpoints.
    Checkpoints,
}

impl LiteRole {
    /// WAL lets readers go on beside the writer. `synchronous = FULL` makes a commit durable before it returns. A
    /// cache holds the pages that a batch of writes comes back to; a reader's is small, since an answer touches few.
    /// The log keeps the 64 MiB that it may have, so that it is overwritten and not extended again; what a large
    /// transaction or a slow reader made of it beyond that is given back. At that size the writer makes a checkpoint
    /// itself, which only happens where those beside it (`crate::checkpoints`) cannot keep up.
    const fn pragmas(self) -> &'static str {
        match self {
            Self::Writer => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 16384; \
                 PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY;"
            }
            Self::Reader => {
                "PRAGMA busy_timeout = 10000; PRAGMA query_only = ON; PRAGMA cache_size = -4096; \
                 PRAGMA temp_store = MEMORY;"
            }
            Self::Checkpoints => "PRAGMA busy_timeout = 40; PRAGMA synchronous = FULL; PRAGMA cache_size = -1024;",
        }
    }
}

/// Opens connections for a pool.
pub struct LiteManager {
    path: PathBuf,
    role: LiteRole,
    threads: Threads,
}

impl LiteManager {
    /// A manager for connections to one file. Called where threads have the priority of the process.
    pub fn new(path: PathBuf, role: LiteRole) -> io::Result<Self> {
        Ok(Self { path, role, threads: Threads::new()? })
    }
}

impl bb8::ManageConnection for LiteManager {
    type Connection = Lite;
    type Error = ConnectionError;

    async fn connect(&self) -> Result<Lite, ConnectionError> {
        Lite::open(self.path.to_string_lossy().into_owned(), self.role, &self.threads).await
    }

    async fn is_valid(&self, _: &mut Lite) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Lite) -> bool {
        connection.is_broken
    }
}

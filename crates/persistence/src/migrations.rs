//! Brings a schema up to date. Servers that start at the same moment do not get in each other's way: one migrates in
//! one transaction, the others wait and find nothing left to do.

use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, RunQueryDsl};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::error::Error;
use std::time::{Duration, Instant};

const SQLITE: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// The advisory lock that migrations are run under: "callscop" in ASCII.
const MIGRATION_LOCK: i64 = 0x6361_6c6c_7363_6f70;

type BoxError = Box<dyn Error + Send + Sync>;

/// How long a migration waits for another one of the same file.
const LITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long it waits at a time, where SQLite itself does not wait.
const LITE_PAUSE: Duration = Duration::from_millis(20);

/// Migrates an SQLite file, and creates it if need be. Blocks.
pub fn migrate_sqlite(path: &str) -> Result<usize, BoxError> {
    let started = Instant::now();
    loop {
        match try_migrate_sqlite(path) {
            // Who turns a new file to WAL while another one does is refused at once, whatever the busy timeout.
            Err(error) if is_locked(&*error) && started.elapsed() < LITE_WAIT_MAX => std::thread::sleep(LITE_PAUSE),
            outcome => return outcome,
        }
    }
}

fn is_locked(error: &(dyn Error + Send + Sync)) -> bool {
    error.to_string().contains("database is locked")
}

fn try_migrate_sqlite(path: &str) -> Result<usize, BoxError> {
    let mut connection = SqliteConnection::establish(path)?;
    connection.batch_execute("PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL;")?;
    connection.exclusive_transaction(|connection| Ok(connection.run_pending_migrations(SQLITE)?.len()))
}

/// Migrates a PostgreSQL database. Blocks.
pub fn migrate_postgres(connection: AsyncPgConnection) -> Result<usize, BoxError> {
    let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
    connection.transaction(|connection| {
        diesel::sql_query(format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).execute(connection)?;
        Ok(connection.run_pending_migrations(POSTGRES)?.len())
    })
}

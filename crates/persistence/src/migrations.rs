//! Brings a schema up to date. Servers that start at the same moment do not get in each other's way: one migrates in
//! one transaction, the others wait and find nothing left to do.

use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, RunQueryDsl};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::error::Error;

const SQLITE: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// The advisory lock that migrations are run under: "callscop" in ASCII.
const MIGRATION_LOCK: i64 = 0x6361_6c6c_7363_6f70;

type BoxError = Box<dyn Error + Send + Sync>;

/// Migrates an SQLite file, and creates it if need be. Blocks.
pub fn migrate_sqlite(path: &str) -> Result<usize, BoxError> {
    let mut connection = SqliteConnection::establish(path)?;
    connection.batch_execute("PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL;")?;
    connection.exclusive_transaction(|connection| Ok(connection.run_pending_migrations(SQLITE)?.len()))
}

/// Migrates a PostgreSQL database. Blocks.
pub fn migrate_postgres(url: &str) -> Result<usize, BoxError> {
    let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::establish(url)?;
    connection.transaction(|connection| {
        diesel::sql_query(format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).execute(connection)?;
        Ok(connection.run_pending_migrations(POSTGRES)?.len())
    })
}

//! Brings a schema up to date. Servers that start at the same moment do not get in each other's way: one migrates in
//! one transaction, the others wait and find nothing left to do.

use diesel::connection::SimpleConnection;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryableByName, RunQueryDsl};
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
    if is_read_only(&mut connection)? {
        return check_replica(&mut connection);
    }
    connection.transaction(|connection| {
        diesel::sql_query(format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).execute(connection)?;
        Ok(connection.run_pending_migrations(POSTGRES)?.len())
    })
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

fn is_read_only(connection: &mut AsyncConnectionWrapper<AsyncPgConnection>) -> Result<bool, BoxError> {
    let query = diesel::sql_query("SELECT current_setting('transaction_read_only') AS word");
    let settings: Vec<Word> = query.load(connection)?;
    Ok(settings.iter().any(|setting| setting.word == "on"))
}

fn has_migrations(connection: &mut AsyncConnectionWrapper<AsyncPgConnection>) -> Result<bool, BoxError> {
    let query = diesel::sql_query(
        "SELECT tablename::text AS word FROM pg_tables WHERE tablename = '__diesel_schema_migrations'",
    );
    let tables: Vec<Word> = query.load(connection)?;
    Ok(!tables.is_empty())
}

/// A replica, such as one that waits for its promotion, is as good as migrated when its primary is.
fn check_replica(connection: &mut AsyncConnectionWrapper<AsyncPgConnection>) -> Result<usize, BoxError> {
    let applied: Vec<Word> = if has_migrations(connection)? {
        diesel::sql_query("SELECT version::text AS word FROM __diesel_schema_migrations").load(connection)?
    } else {
        Vec::new()
    };
    let known = MigrationSource::<Pg>::migrations(&POSTGRES)?;
    let is_applied = |version: String| applied.iter().any(|row| row.word == version);
    if known.iter().all(|migration| is_applied(migration.name().version().to_string())) {
        return Ok(0);
    }
    Err("the database is read-only, and its schema is not up to date: migrate its primary".into())
}

//! Brings a schema up to date. Servers that start at the same moment do not get in each other's way: one migrates in
//! one transaction, the others wait and find nothing left to do.

use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::migration::{MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite, SqliteConnection};
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
    connection.exclusive_transaction(|connection| {
        check_known(&versions_of::<Sqlite>(&SQLITE)?, &versions(&connection.applied_migrations()?))?;
        Ok(connection.run_pending_migrations(SQLITE)?.len())
    })
}

/// Migrates a PostgreSQL database. Blocks.
pub fn migrate_postgres(connection: AsyncPgConnection) -> Result<usize, BoxError> {
    let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
    if is_read_only(&mut connection)? {
        return check_replica(&mut connection);
    }
    connection.transaction(|connection| {
        diesel::sql_query(format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).execute(connection)?;
        check_known(&versions_of::<Pg>(&POSTGRES)?, &versions(&connection.applied_migrations()?))?;
        Ok(connection.run_pending_migrations(POSTGRES)?.len())
    })
}

/// A schema that this program is too old for: it might not write what newer columns need.
#[derive(Debug, thiserror::Error)]
#[error(
    "the schema is newer than this program, which does not know the migration {}; run the version of callscope that \
     made it, or a newer one",
    .unknown.join(", ")
)]
pub struct NewerSchema {
    unknown: Vec<String>,
}

fn versions_of<DB: Backend>(source: &EmbeddedMigrations) -> Result<Vec<String>, BoxError> {
    let migrations = MigrationSource::<DB>::migrations(source)?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}

fn versions(applied: &[MigrationVersion<'_>]) -> Vec<String> {
    applied.iter().map(ToString::to_string).collect()
}

/// Refuses a schema with migrations that are not among the known ones.
fn check_known(known: &[String], applied: &[String]) -> Result<(), NewerSchema> {
    let mut unknown: Vec<String> = applied.iter().filter(|version| !known.contains(version)).cloned().collect();
    unknown.sort_unstable();
    if unknown.is_empty() { Ok(()) } else { Err(NewerSchema { unknown }) }
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
    let applied: Vec<String> = applied.into_iter().map(|row| row.word).collect();
    let known = versions_of::<Pg>(&POSTGRES)?;
    check_known(&known, &applied)?;
    if known.iter().all(|version| applied.contains(version)) {
        return Ok(0);
    }
    Err("the database is read-only, and its schema is not up to date: migrate its primary".into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// A distributed table takes one statement at a time. The first migration runs before any table is distributed.
    #[test]
    fn every_migration_after_the_first_holds_one_statement() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/postgres");
        let mut migrations: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        migrations.sort_unstable();
        for migration in &migrations[1..] {
            let sql = fs::read_to_string(migration.join("up.sql")).unwrap();
            assert_eq!(statements(&sql), 1, "{}", migration.display());
        }
        assert!(statements(&fs::read_to_string(migrations[0].join("up.sql")).unwrap()) > 10);
    }

    fn statements(sql: &str) -> usize {
        let code: String = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        code.split(';').filter(|statement| !statement.trim().is_empty()).count()
    }
}

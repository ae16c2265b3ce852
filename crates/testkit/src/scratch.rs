//! Databases of one test.

use crate::postgres::Postgres;
use std::io::Write;
use std::sync::Once;
use tempfile::TempDir;

/// When this variable is set, PostgreSQL tests that cannot run fail.
const REQUIRE_POSTGRES: &str = "CALLSCOPE_REQUIRE_POSTGRES";

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file in a folder of its own.
    Sqlite,
    /// A database on the shared server.
    Postgres,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// The last part of a test's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A database of one test. SQLite's files are removed when this is dropped; PostgreSQL's after the process ends, by the
/// next one that uses the server, or with the server.
#[derive(Debug)]
pub struct Scratch {
    url: String,
    /// Keeps the folder of an SQLite file.
    _folder: Option<TempDir>,
}

impl Scratch {
    /// A database with the schema that `migrate` gives to the one at a URL. On PostgreSQL `migrate` runs once for each
    /// test program, on a template.
    ///
    /// # Panics
    ///
    /// When there is no room for files, or no PostgreSQL server.
    pub async fn migrated(backend: Backend, migrate: impl AsyncFnOnce(String)) -> Self {
        match backend {
            Backend::Sqlite => {
                let scratch = Self::empty(backend).await;
                migrate(scratch.url.clone()).await;
                scratch
            }
            Backend::Postgres => Self::on_server(&server().migrated_database(migrate).await),
        }
    }

    /// A database without tables.
    ///
    /// # Panics
    ///
    /// When there is no room for files, or no PostgreSQL server.
    pub async fn empty(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => {
                let folder = TempDir::with_prefix("callscope-").expect("a temporary folder can be made");
                let url = format!("sqlite://{}", folder.path().join("test.db").display());
                Self { url, _folder: Some(folder) }
            }
            Backend::Postgres => Self::on_server(&server().create_database().await),
        }
    }

    fn on_server(database: &str) -> Self {
        Self { url: server().url(database), _folder: None }
    }

    /// The text of every statement that was planned in the database so far, constants replaced; see
    /// [`Postgres::statements`]. None on SQLite.
    ///
    /// # Panics
    ///
    /// When the server cannot be reached.
    pub async fn statements(&self) -> Option<Vec<String>> {
        let (scheme_and_server, database) = self.url.rsplit_once('/')?;
        if scheme_and_server.starts_with("postgres") { server().statements(database).await } else { None }
    }

    /// The URL of the database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Runs a test on one of the databases. Without PostgreSQL server, a test on PostgreSQL passes without being run, and
/// one line on standard error says why.
///
/// # Panics
///
/// When there is no PostgreSQL server although `CALLSCOPE_REQUIRE_POSTGRES` is set.
pub fn run_on(backend: Backend, test: impl FnOnce(Backend)) {
    static SAID: Once = Once::new();
    let missing = if backend == Backend::Postgres { Postgres::shared().err() } else { None };
    let Some(reason) = missing else { return test(backend) };
    assert!(std::env::var_os(REQUIRE_POSTGRES).is_none(), "no PostgreSQL, and {REQUIRE_POSTGRES} is set: {reason}");
    // Written directly: the test runner hides what tests print.
    SAID.call_once(|| drop(writeln!(std::io::stderr(), "PostgreSQL tests are NOT RUN: {reason}")));
}

fn server() -> &'static Postgres {
    Postgres::shared().unwrap_or_else(|error| panic!("{error}"))
}

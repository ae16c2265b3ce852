//! Databases of a test's own.

use crate::postgres::Postgres;
use tempfile::TempDir;

/// Where a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file in a folder of its own.
    Sqlite,
    /// A database on the server of this process.
    Postgres,
}

impl Backend {
    /// Both, in the order in which cases run.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// The first part of a test's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A database that nobody else uses. SQLite's files go when this is dropped, PostgreSQL's when the process ends.
#[derive(Debug)]
pub struct Scratch {
    url: String,
    /// Keeps the folder of an SQLite file.
    _folder: Option<TempDir>,
}

impl Scratch {
    /// A database with the schema that `migrate` gives to the one at a URL. On PostgreSQL `migrate` runs once in a
    /// process, on a template.
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

    /// What the program under test is told.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn server() -> &'static Postgres {
    Postgres::shared().unwrap_or_else(|error| panic!("{error}"))
}

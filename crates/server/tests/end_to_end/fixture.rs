//! A database of a test's own, and commands of the binary that use it.

use crate::client::Client;
use crate::process::{Finished, Server, eventually, run};
use crate::session::{Session, runtime};
use callscope_testkit::{Backend, Scratch};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::sql_types::BigInt;
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Settings by the names of their environment variables.
pub type Environment<'a> = &'a [(&'a str, &'a str)];

/// A folder and an empty database.
pub struct Fixture {
    folder: TempDir,
    url: String,
    /// Keeps the database.
    _scratch: Option<Scratch>,
}

impl Fixture {
    /// An empty database, without schema.
    pub fn new(backend: Backend) -> Self {
        let scratch = runtime().block_on(Scratch::empty(backend));
        Self { url: scratch.url().to_owned(), _scratch: Some(scratch), ..Self::at(String::new()) }
    }

    /// The database at a URL, which somebody else keeps.
    pub fn at(url: String) -> Self {
        Self { folder: TempDir::new().unwrap(), url, _scratch: None }
    }

    /// Where commands run, and where files may lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the database is.
    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// A command that knows no database; of the environment of the tests it sees nothing.
    pub fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
        command.args(arguments).current_dir(self.folder()).env_clear();
        command
    }

    /// A command on the database, with a free port to listen on and a log that can be read.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.env("CALLSCOPE__DATABASE__URL", self.database_url());
        command.env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0").env("CALLSCOPE__LOG__FORMAT", "json");
        // Tests send many requests, and wrong keys.
        command.env("CALLSCOPE__LIMITS__FAILED_CREDENTIALS_PER_MINUTE", "0");
        command.env("CALLSCOPE__LIMITS__REQUESTS_PER_SECOND", "0");
        command.env("CALLSCOPE__LIMITS__TENANT_REQUESTS_PER_SECOND", "0");
        // Many servers run at once: each serves its metrics beside everything else.
        command.env("CALLSCOPE__METRICS__BIND", "");
        // Tests read at once what they have written.
        command.env("CALLSCOPE__CACHE__TTL", "0s");
        command
    }

    /// Runs a command on the database to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        run(self.command(arguments), b"")
    }

    /// What a command complains of that must not start.
    pub fn complaint(&self, arguments: &[&str], environment: Environment<'_>) -> String {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        run(command, b"").stderr_of_failure()
    }

    /// Creates a tenant, and gives a key of it with every scope.
    pub fn create_tenant(&self, slug: &str) -> String {
        self.run(&["tenants", "create", slug]).stdout_of_success();
        self.create_key(&["--tenant", slug])
    }

    /// Creates a key.
    pub fn create_key(&self, arguments: &[&str]) -> String {
        let printed = self.run(&[&["keys", "create"], arguments].concat()).stdout_of_success();
        printed.trim_end().to_owned()
    }

    /// The id of a tenant, as the list shows it.
    pub fn tenant_id(&self, slug: &str) -> String {
        let list = self.run(&["tenants", "list"]).stdout_of_success();
        let line = list.lines().find(|line| line.split_whitespace().nth(1) == Some(slug));
        line.and_then(|line| line.split_whitespace().next()).expect("the tenant is listed").to_owned()
    }

    /// Starts a server.
    pub fn serve(&self, environment: Environment<'_>) -> Server {
        let mut command = self.command(&["serve"]);
        command.envs(environment.iter().copied());
        Server::start(command)
    }

    /// Changes what is stored, behind the program's back.
    pub fn tamper(&self, statement: &str) {
        let url = self.database_url();
        if let Some(path) = url.strip_prefix("sqlite://") {
            let mut connection = SqliteConnection::establish(path).unwrap();
            connection.batch_execute(&format!("PRAGMA busy_timeout = 10000; {statement}")).unwrap();
        } else {
            Session::open(url).execute(statement);
        }
    }

    /// What a query counts behind the program's back.
    pub fn count(&self, query: &str) -> i64 {
        let url = self.database_url();
        if let Some(path) = url.strip_prefix("sqlite://") {
            let mut connection = SqliteConnection::establish(path).unwrap();
            diesel::select(sql::<BigInt>(&format!("({query})"))).get_result(&mut connection).unwrap()
        } else {
            Session::open(url).value(&format!("SELECT ({query})::text")).parse().unwrap()
        }
    }

    /// Waits until at least so many sessions of the database wait for locks.
    pub fn wait_for_waiting(&self, count: usize) {
        // In a transaction it would see the same again and again.
        let session = Session::open(self.database_url());
        let query = format!(
            "SELECT (count(*) >= {count})::text FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'"
        );
        eventually("waiting for a lock", || (session.value(&query) == "true").then_some(()));
    }

    /// Fails unless every rollup equals the sum of its calls.
    pub fn assert_rollups_are_equal(&self) {
        let verdict = self.run(&["rollups", "verify"]).stdout_of_success();
        assert!(!verdict.is_empty() && verdict.lines().all(|line| line.contains(": equal (")), "{verdict}");
    }
}

impl Server {
    /// A client with a key.
    pub fn client(&self, key: &str) -> Client {
        Client::new(&self.url(), Some(key))
    }

    /// A client without one.
    pub fn stranger(&self) -> Client {
        Client::new(&self.url(), None)
    }
}

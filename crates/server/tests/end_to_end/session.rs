//! A session on PostgreSQL beside the program under test.

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

/// A connection. What it began and did not commit is undone when it goes.
pub struct Session {
    client: Client,
    runtime: Runtime,
}

impl Session {
    /// Connects to a database.
    pub fn open(url: &str) -> Self {
        let runtime = runtime();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).unwrap();
        runtime.spawn(connection);
        Self { client, runtime }
    }

    /// Runs statements.
    pub fn execute(&self, statements: &str) {
        self.runtime.block_on(self.client.batch_execute(statements)).unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// The only value of a query, which must be text.
    pub fn value(&self, query: &str) -> String {
        self.runtime.block_on(self.client.query_one(query, &[])).unwrap_or_else(|error| panic!("{error:?}")).get(0)
    }
}

/// Runs what is asynchronous, one thing after the other.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

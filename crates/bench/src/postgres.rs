//! A blocking connection to PostgreSQL, for what the benchmark asks of it directly.

use anyhow::Context;
use futures_util::{SinkExt, TryStreamExt};
use std::io::Cursor;
use std::pin::pin;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, Statement};

/// A connection.
pub struct Session {
    client: Client,
    /// Runs the connection as well, while something is asked.
    runtime: Runtime,
}

impl Session {
    /// Connects.
    pub fn open(url: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).context("cannot connect")?;
        runtime.spawn(connection);
        Ok(Self { client, runtime })
    }

    pub fn run(&self, statement: &str) -> anyhow::Result<()> {
        self.runtime.block_on(self.client.batch_execute(statement)).with_context(|| statement.to_owned())
    }

    /// The rows of a query as text, NULL as an empty one.
    pub fn rows(&self, query: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let messages = self.runtime.block_on(self.client.simple_query(query)).with_context(|| query.to_owned())?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |cell: Option<&str>| cell.unwrap_or_default().to_owned();
        Ok(rows.map(|row| (0..row.len()).map(|column| text(row.get(column))).collect()).collect())
    }

    pub fn prepare(&self, statement: &str) -> anyhow::Result<Statement> {
        self.runtime.block_on(self.client.prepare(statement)).with_context(|| statement.to_owned())
    }

    /// All that a `COPY … TO STDOUT` sends.
    pub fn copy_out(&self, statement: &str) -> anyhow::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let mut stream = pin!(self.client.copy_out(statement).await?);
            let mut copied = Vec::new();
            while let Some(bytes) = stream.try_next().await? {
                copied.extend_from_slice(&bytes);
            }
            Ok(copied)
        })
    }

    /// Feeds a `COPY … FROM STDIN`, which is a transaction of its own.
    pub fn copy_in(&self, statement: &Statement, chunks: impl IntoIterator<Item = Vec<u8>>) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let mut sink = pin!(self.client.copy_in(statement).await?);
            for chunk in chunks {
                sink.feed(Cursor::new(chunk)).await?;
            }
            sink.finish().await?;
            Ok(())
        })
    }
}

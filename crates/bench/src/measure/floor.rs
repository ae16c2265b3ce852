//! How fast the rows of calls could go in at most: bulk-loaded by the fastest path of each database into a bare table
//! like `calls`, with as many rows a transaction as a request has, as durable as the server's.

use crate::database::{Database, Engine};
use crate::postgres::Session;
use crate::records::BATCH_RECORDS;
use crate::server::Instance;
use anyhow::Context;
use rusqlite::Connection;
use rusqlite::types::Value;
use std::time::Instant;

/// Rows of one statement to SQLite.
const STATEMENT_ROWS: usize = 500;
/// What a binary COPY begins with, before the length of its extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0";
/// What it ends with.
const TRAILER: [u8; 2] = [0xff; 2];

/// Loads the calls of a database once more; gives calls a second.
pub fn measure(engine: &Engine, loaded: &Instance) -> anyhow::Result<f64> {
    match &loaded.database {
        Database::Sqlite(file) => {
            let empty = Instance::create(engine, "floor")?;
            let Database::Sqlite(target) = &empty.database else { anyhow::bail!("one engine, one kind of database") };
            let rate = insert(&Connection::open(file)?, &mut Connection::open(target)?);
            empty.remove()?;
            rate
        }
        Database::Postgres(url) => copy(&Session::open(url)?),
    }
}

/// Into another file with the same schema: prepared statements of many rows.
fn insert(source: &Connection, target: &mut Connection) -> anyhow::Result<f64> {
    target.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768; \
         PRAGMA wal_autocheckpoint = 8192;",
    )?;
    let mut select = source.prepare("SELECT * FROM calls ORDER BY rowid")?;
    let columns = select.column_count();
    let mut rows = select.query([])?;
    let row = format!("({})", vec!["?"; columns].join(","));
    let insert = format!("INSERT INTO calls VALUES {}", vec![row; STATEMENT_ROWS].join(","));
    let (mut total, mut elapsed) = (0, 0.0);
    loop {
        let mut batch: Vec<Value> = Vec::with_capacity(BATCH_RECORDS * columns);
        while batch.len() < BATCH_RECORDS * columns {
            let Some(row) = rows.next()? else { break };
            for column in 0..columns {
                batch.push(row.get(column)?);
            }
        }
        // A rest that fills no statement is left out.
        if batch.len() < BATCH_RECORDS * columns {
            break;
        }
        let started = Instant::now();
        let transaction = target.transaction()?;
        for chunk in batch.chunks(STATEMENT_ROWS * columns) {
            transaction.prepare_cached(&insert)?.execute(rusqlite::params_from_iter(chunk))?;
        }
        transaction.commit()?;
        elapsed += started.elapsed().as_secs_f64();
        total += BATCH_RECORDS;
    }
    (elapsed > 0.0).then(|| total as f64 / elapsed).context("too few calls for a floor")
}

/// Into a table with the same columns, key and indexes: one binary COPY a transaction.
fn copy(session: &Session) -> anyhow::Result<f64> {
    session.run("CREATE TABLE floor (LIKE calls INCLUDING ALL)")?;
    let rows = session.copy_out("COPY (SELECT * FROM calls ORDER BY started_at) TO STDOUT (FORMAT binary)")?;
    let (batches, total) = split(&rows, BATCH_RECORDS)?;
    let statement = session.prepare("COPY floor FROM STDIN (FORMAT binary)")?;
    session.run("CHECKPOINT")?;
    let started = Instant::now();
    for batch in batches {
        session.copy_in(&statement, [batch])?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    session.run("DROP TABLE floor")?;
    Ok(total as f64 / elapsed)
}

/// Splits what a binary COPY gave into several that have so many rows each; gives the number of all rows as well.
fn split(copied: &[u8], rows_max: usize) -> anyhow::Result<(Vec<Vec<u8>>, usize)> {
    let rest = copied.strip_prefix(SIGNATURE).context("no binary COPY")?;
    let mut rest = rest.strip_prefix(&[0; 4]).context("a binary COPY with an extension")?;
    let new_batch = || [SIGNATURE, &[0; 4]].concat();
    let (mut batches, mut batch, mut total) = (Vec::new(), new_batch(), 0);
    while !rest.starts_with(&TRAILER) {
        let (row, after) = rest.split_at(row_length(rest).context("a cut row")?);
        batch.extend_from_slice(row);
        (rest, total) = (after, total + 1);
        if total % rows_max == 0 || rest.starts_with(&TRAILER) {
            batch.extend_from_slice(&TRAILER);
            batches.push(std::mem::replace(&mut batch, new_batch()));
        }
    }
    Ok((batches, total))
}

/// The bytes of the first row: the number of its fields, then each field's length, -1 for NULL, and its bytes.
fn row_length(bytes: &[u8]) -> Option<usize> {
    let fields = i16::from_be_bytes(*bytes.first_chunk()?);
    let mut length = 2;
    for _ in 0..fields {
        let field = i32::from_be_bytes(*bytes.get(length..)?.first_chunk()?);
        length += 4 + usize::try_from(field).unwrap_or_default();
    }
    (length <= bytes.len()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_copy_has_every_row_once() -> anyhow::Result<()> {
        let row = |field: &[u8]| {
            let length = i32::try_from(field.len())?.to_be_bytes();
            anyhow::Ok([&[0, 2][..], &length, field, &[0xff; 4]].concat())
        };
        let head = [SIGNATURE, &[0; 4]].concat();
        let rows = [row(b"one")?, row(b"")?, row(b"three")?];
        let copied = [&head[..], &rows.concat(), &TRAILER].concat();
        let (batches, total) = split(&copied, 2)?;
        assert_eq!(total, 3);
        let first = [&head[..], &rows[..2].concat(), &TRAILER].concat();
        let second = [&head[..], &rows[2], &TRAILER].concat();
        assert_eq!(batches, [first, second]);
        Ok(())
    }
}

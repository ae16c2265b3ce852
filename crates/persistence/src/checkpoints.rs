//! Checkpoints of an SQLite file, beside its writer: what is in the write-ahead log is copied to its place a little at
//! a time, by a connection of its own, so that no transaction has to wait for a large one.

use crate::errors::store_error;
use crate::lite::{LiteRole, establish};
use callscope_analytics::ports::StoreError;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Pages that a checkpoint should find in the log: 16 MiB.
const PAGES: i32 = 4096;
/// Pages from which on the log is begun anew: 32 MiB. SQLite does so by itself only in a moment without readers.
const LOG_PAGES_MAX: i32 = 8192;
/// The shortest and the longest pause between two.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The thread that makes checkpoints; it ends when this is dropped.
pub struct Checkpoints {
    _stop: mpsc::Sender<()>,
}

impl Checkpoints {
    /// Starts the thread.
    pub fn start(path: &Path) -> Result<Self, ConnectionError> {
        let mut connection = establish(&path.to_string_lossy(), LiteRole::Checkpoints)?;
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            let (mut pause, mut done, mut is_failing) = (PAUSE_MIN, 0, false);
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                match make(&mut connection) {
                    Ok(copied) => {
                        // The log was begun anew if less is in it than before.
                        let pages = if copied < done { copied } else { copied - done };
                        done = copied;
                        pause = next_pause(pause, pages);
                        is_failing = false;
                    }
                    Err(error) => {
                        // Said once, as it is tried twice a second.
                        if !std::mem::replace(&mut is_failing, true) {
                            tracing::warn!(error = &error as &dyn std::error::Error, "no checkpoint of the database");
                        }
                        pause = PAUSE_MAX;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("sqlite-checkpoints".to_owned());
        thread.spawn(work).map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
        Ok(Self { _stop: stop })
    }
}

fn next_pause(pause: Duration, pages: i32) -> Duration {
    match pages {
        pages if pages > PAGES => (pause / 2).max(PAUSE_MIN),
        pages if pages < PAGES / 2 => (pause * 2).min(PAUSE_MAX),
        _ => pause,
    }
}

/// What SQLite says of a checkpoint, in pages.
#[derive(QueryableByName)]
struct Outcome {
    /// In the log.
    #[diesel(sql_type = Integer)]
    log: i32,
    /// Of these, in their place.
    #[diesel(sql_type = Integer)]
    checkpointed: i32,
}

/// Copies what no reader prevents, and waits for none. A long log is then begun anew: what little is left of it is copied
/// while nothing can be written, as soon as no reader needs it, and not at all if that takes too long.
fn make(connection: &mut SqliteConnection) -> Result<i32, StoreError> {
    let outcome = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
    if outcome.log > LOG_PAGES_MAX {
        checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)")?;
        return Ok(0);
    }
    Ok(outcome.checkpointed)
}

fn checkpoint(connection: &mut SqliteConnection, pragma: &str) -> Result<Outcome, StoreError> {
    diesel::sql_query(pragma).get_result(connection).map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_come_sooner_where_much_is_written() {
        let mut pause = PAUSE_MAX;
        for _ in 0..10 {
            pause = next_pause(pause, PAGES + 1);
        }
        assert_eq!(pause, PAUSE_MIN);
        assert_eq!(next_pause(pause, PAGES), PAUSE_MIN);
        for _ in 0..10 {
            pause = next_pause(pause, 0);
        }
        assert_eq!(pause, PAUSE_MAX);
    }
}

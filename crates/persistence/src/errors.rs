//! From Diesel's errors to the port's.

use callscope_analytics::ports::StoreError;
use diesel::result::{DatabaseErrorKind, Error};
use std::error::Error as StdError;

/// Stored bytes or words that this program did not write.
#[derive(Debug, thiserror::Error)]
#[error("stored data is damaged: {0}")]
pub struct Damaged(pub String);

/// The port's error for one of Diesel's.
pub fn store_error(error: Error) -> StoreError {
    match &error {
        Error::DatabaseError(kind, information) => match kind {
            DatabaseErrorKind::UniqueViolation => StoreError::Duplicate,
            DatabaseErrorKind::SerializationFailure => StoreError::Conflict(error.into()),
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                StoreError::Unavailable(error.into())
            }
            _ if is_deadlock(information.message()) => StoreError::Conflict(error.into()),
            _ if is_passing(information.message()) => StoreError::Unavailable(error.into()),
            _ => StoreError::Broken(error.into()),
        },
        Error::BrokenTransactionManager => StoreError::Unavailable(error.into()),
        _ => StoreError::Broken(error.into()),
    }
}

/// Diesel has no kind of its own for a deadlock; the second is what Citus says.
fn is_deadlock(message: &str) -> bool {
    message.contains("deadlock detected") || message.contains("distributed deadlock")
}

/// Conditions of the machine or the server that end without a change to the program: another process holds SQLite's
/// lock, the disk is full or fails, PostgreSQL starts, stops or has no connection left.
fn is_passing(message: &str) -> bool {
    const SIGNS: &[&str] = &[
        "database is locked",
        "database or disk is full",
        "disk I/O error",
        "unable to open database file",
        "attempt to write a readonly database",
        "the database system is",
        "terminating connection",
        "connection closed",
        "too many connections",
        "No space left on device",
        "could not extend file",
        "canceling statement due to",
        "read-only transaction",
        "during recovery",
        "out of memory",
        "out of shared memory",
        "Input/output error",
        "Disk quota exceeded",
        "could not write",
        // Citus, of a worker.
        "connection to the remote node",
        "server closed the connection",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// No connection could be had.
pub fn unavailable(error: impl StdError + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// Stored data cannot be read.
pub fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(Box::new(Damaged(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_is_broken() {
        let of =
            |message: &str| store_error(Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(message.to_owned())));
        for message in [
            "canceling statement due to statement timeout",
            "terminating connection due to administrator command",
            "could not extend file \"base/1/2\": No space left on device",
            "cannot execute INSERT in a read-only transaction",
            "connection to the remote node worker1:5432 failed with the following error: refused",
        ] {
            assert!(matches!(of(message), StoreError::Unavailable(_)), "{message}");
        }
        let deadlock = "canceling the transaction since it was involved in a distributed deadlock";
        assert!(matches!(of(deadlock), StoreError::Conflict(_)));
        assert!(matches!(of("deadlock detected"), StoreError::Conflict(_)));
        assert!(matches!(of("relation \"calls\" does not exist"), StoreError::Broken(_)));
    }
}

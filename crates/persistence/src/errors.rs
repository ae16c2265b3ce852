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

/// Diesel has no kind of its own for a deadlock.
fn is_deadlock(message: &str) -> bool {
    message.contains("deadlock detected")
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

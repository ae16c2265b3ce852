//! For tests only: throw-away databases, and a harness that runs each case on SQLite and on PostgreSQL.
//!
//! It knows no schema: whoever asks for a database says how it is migrated. Failures are panics, as in any test.

mod harness;
mod postgres;
mod scratch;

pub use harness::{Case, CaseFuture, run};
pub use postgres::{NoPostgres, Postgres};
pub use scratch::{Backend, Scratch};

//! For tests only: throw-away databases and servers, and a harness that runs each case on SQLite and on PostgreSQL.
//!
//! It knows no schema: whoever asks for a database says how it is migrated. Failures are panics, as in any test.

mod cluster;
mod harness;
mod postgres;
mod scratch;

pub use harness::{BlockingCase, Case, CaseFuture, Runnable, run};
pub use postgres::{NoPostgres, Postgres, ServerOptions};
pub use scratch::{Backend, Scratch};

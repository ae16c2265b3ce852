//! For tests only: throw-away databases on SQLite and PostgreSQL, and throw-away PostgreSQL servers.
//!
//! Schemas are left to the callers, which pass a function that migrates. Failures are panics, as in any test.

mod cluster;
mod postgres;
mod scratch;
mod shared;

/// Makes a database of PostgreSQL look like one with Citus, to those who connect afterwards: `pg_dist_partition`,
/// `create_reference_table` and `create_distributed_table`, with `citus.call_log` of their calls, and `citus.refusals`
/// for tables at which they are to fail.
pub const CITUS_STAND_IN: &str = include_str!("citus.sql");

pub use postgres::{NoPostgres, Postgres, ServerOptions};
pub use scratch::{Backend, Scratch, run_on};

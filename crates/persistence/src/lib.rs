//! Storage behind the ports of `callscope-analytics`: Diesel on PostgreSQL and on embedded SQLite.
//!
//! Every query is written once and must be valid on both (the module `conn` sees to that). No SQL here computes a metric: it loads,
//! adds and stores what the domain computed.

mod access;
mod analytics;
mod assemblies;
mod audits;
mod bulk;
mod call_rows;
mod calls;
mod checkpoints;
mod codec;
mod conn;
mod database;
mod distribution;
mod errors;
mod event_rows;
mod events;
mod files;
mod fragment;
mod groups;
mod lite;
mod migrations;
mod options;
mod pg;
mod priority;
mod retention;
mod rollups;
mod rows;
mod scan;
mod schema;
mod sql;
mod statement;
mod states;
mod tenant_rows;
mod tenants;
mod wide;

pub use database::{Database, PoolState};
pub use distribution::DistributionError;
pub use options::{DatabaseFault, DatabaseOptions, OpenError, UrlFault};
pub use pg::PgAddressFault;
pub use priority::lower_priority;
pub use schema::{Placement, TABLES};

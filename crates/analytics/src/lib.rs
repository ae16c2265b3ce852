//! The aggregation service: it turns questions into window plans, plans into loads, and sums of contributions into
//! answers; and it turns incoming records into one transaction a batch.
//!
//! HTTP and SQL are left to other crates. What it needs of a database stands in [`ports`].

pub mod access;
pub mod assembler;
pub mod assemblies;
pub mod assembly_sweeper;
pub mod call_list;
pub mod call_reader;
pub mod clock;
pub mod deltas;
pub mod event_pruner;
pub mod groups;
pub mod ingestion;
pub mod kept;
pub mod key_cache;
pub mod keys;
mod known_groups;
pub mod live;
mod pace;
pub mod ports;
mod queue;
pub mod retention;
pub mod rollup_deltas;
pub mod rollups;
pub mod service;
pub mod shares;
pub mod sweeper;
pub mod tickets;
pub mod turns;
mod writer;

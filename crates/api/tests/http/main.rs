//! The HTTP interface as a client meets it: a real application behind a real socket, over a real store.

mod client;
mod layout;
mod records;
mod server;
mod store;
mod wire;

mod active_calls;
mod call_volume;
mod error_log;
mod provider_latency;
mod summary;
mod workflow_stats;

//! The HTTP interface as a client meets it: a real application behind a real socket, over a real store.

mod client;
mod document;
mod failures;
mod layout;
mod records;
mod schema;
mod server;
mod slow;
mod store;
mod table;
mod wire;

mod active_calls;
mod auth;
mod bad_body;
mod bad_query;
mod bad_record;
mod bad_record_fields;
mod bad_record_parts;
mod bad_route;
mod body_limits;
mod call_volume;
mod error_log;
mod ingest;
mod protocol;
mod provider_latency;
mod summary;
mod tenancy;
mod workflow_stats;

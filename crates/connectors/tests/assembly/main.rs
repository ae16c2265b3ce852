//! Captures of LiveKit Agents and Pipecat, from bytes to records, and the laws that an assembly obeys.
//!
//! `tests/data/captures` has what the frameworks sent in 25 runs, without the attributes that are never read. `expected.json`
//! beside each capture is what an independent implementation makes of it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::doc_markdown, reason = "LiveKit is the name of a product")]

mod answers;
mod bounds;
mod captures;
mod generated;
mod golden;
mod json;
mod laws;
mod measurements;
mod rules;
mod schema;
mod store;

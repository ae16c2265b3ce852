//! Reads what voice-AI platforms send into reports of calls.
//!
//! Everything here is a pure function over bytes and values: no I/O, no async, no clock. Routes, credentials, storage
//! and the acceptance of a record are left to the server.
//!
//! # Telemetry
//!
//! Telemetry comes in pieces, so a call's record is assembled. For each request, a server
//!
//! 1. reads the body with [`extraction::extract_spans`] or [`extraction::extract_logs`], which give the facts by
//!    [`facts::AssemblyKey`]; a LiveKit recording makes a fact with
//!    [`livekit_upload::SessionReport::into_fact`];
//! 2. derives the call's id from the key, and loads the call's segments under a lock. If there are none, the facts are
//!    dropped where the call exists already, since it is sealed, and where [`sealing::may_begin`] says no;
//! 3. restores the [`assembly::Assembly`] from the segments, and appends the facts: [`assembly::Appended::write`] is
//!    what to store;
//! 4. calls [`assembly::Assembly::derive`], and stores [`derivation::Derived::reported_errors`] for the next derivation,
//!    and [`sealing::purge_at`] as the time at which the facts are deleted, in the same transaction;
//! 5. ingests [`derivation::Derived::report`] like any record;
//! 6. answers with [`otlp::answer::export_response`].
//!
//! When [`sealing::is_idle`] holds, the server derives the call again with `is_idle`. The provider names of reports
//! come from the [`derivation::ProviderNaming`] that the server passes: [`mapping::provider_of_telemetry`].
//! `tests/assembly/store.rs` is a small server in memory.

#![warn(missing_docs)]
#![expect(clippy::doc_markdown, reason = "LiveKit and ElevenLabs are names of products")]

pub mod assembly;
pub mod derivation;
pub mod extraction;
pub mod facts;
mod json;
pub mod livekit_upload;
pub mod mapping;
pub mod otlp;
pub mod report;
pub mod sealing;
pub mod segment;
pub mod signature;
mod text;
mod times;
pub mod webhooks;

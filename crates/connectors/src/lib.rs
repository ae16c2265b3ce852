//! What voice-AI platforms send, read into what it says of calls.
//!
//! Everything here is a pure function over bytes and values: no I/O, no async, no clock. Routes, credentials, storage and
//! the acceptance of a record are left to the server.
//!
//! # Telemetry
//!
//! Telemetry comes in pieces, so a call's record is assembled. For each request, a server
//!
//! 1. reads the body with [`extraction::extract_spans`] or [`extraction::extract_logs`] (a LiveKit session report makes a
//!    fact with [`extraction::session_report`]), which gives the facts by [`facts::AssemblyKey`];
//! 2. makes the call's id of the key, loads the call's segments in the lock of its tenant, and asks [`sealing::admit`]
//!    whether the facts are taken;
//! 3. restores the [`assembly::Assembly`] of the segments, and appends the facts: [`assembly::Appended::write`] says what to
//!    store, as bytes;
//! 4. calls [`assembly::Assembly::derive`], treats [`derivation::Derived::report`] as it treats every record, and, if it was
//!    accepted, keeps [`derivation::Derived::told`] for the next time;
//! 5. sets the time at which the facts are deleted to [`sealing::purge_at`];
//! 6. answers with the bytes of [`otlp::answer`].
//!
//! A call that [`sealing::is_idle`] is derived once more, with `is_idle`.

#![warn(missing_docs)]
#![expect(clippy::doc_markdown, reason = "LiveKit and ElevenLabs are names of products")]

pub mod assembly;
pub mod derivation;
pub mod extraction;
pub mod facts;
pub mod otlp;
pub mod report;
pub mod sealing;
pub mod segment;

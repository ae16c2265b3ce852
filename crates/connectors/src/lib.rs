//! What voice-AI platforms send, read into what it says of calls.
//!
//! Everything here is a pure function over bytes and values: no I/O, no async, no clock. Routes, credentials, storage and
//! the acceptance of a record are left to the server.

#![warn(missing_docs)]
#![expect(clippy::doc_markdown, reason = "LiveKit and ElevenLabs are names of products")]

mod json;
pub mod livekit_upload;
pub mod mapping;
pub mod report;
pub mod signature;
pub mod webhooks;

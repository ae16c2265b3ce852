//! LiveKit's observability upload: the recording's multipart body, the session report in it, and the agent's JWT.
//!
//! The upload's traces and logs are OTLP like any other and are read by the OTLP modules. [`SessionReport::into_fact`] makes
//! the fact that assembly adds to those of the call's spans. The answer after which the agent sends its recording again is
//! [`crate::otlp::answer::error_with_retry`]. Which connector a token belongs to is left to the server.

mod multipart;
mod recording;
mod session;
mod token;

pub use multipart::{MultipartFault, MultipartReader, PartSink};
pub use recording::{
    CHAT_HISTORY_MAX, HEADER_MAX, RECORDING_MAX, Recording, RecordingFault, RecordingReader, SessionReport,
};
pub use token::{TokenFault, UploadGrant, UploadToken};

/// An agent that gets 401 with this text in the body stops all uploads of its session and warns once: the answer to a
/// connector that was revoked.
pub const RECORDING_DISABLED: &str = "data recording is disabled";

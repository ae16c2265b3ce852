//! LiveKit's observability upload: the recording's multipart body, the session report in it, and the agent's JWT.
//!
//! The upload's traces and logs are OTLP like any other and are read by the OTLP modules. Which connector a token belongs
//! to is left to the server. [`SessionReport::to_fact`] makes the fact that assembly adds to those of the call's spans.

mod multipart;
mod recording;
mod session;
mod token;

pub use multipart::{MultipartFault, MultipartReader, PartSink};
pub use recording::{
    CHAT_HISTORY_MAX, HEADER_MAX, ModelUsage, RECORDING_MAX, Recording, RecordingFault, RecordingReader,
    ReportedSample, ReportedTurn, Role, SessionReport,
};
pub use token::{TokenFault, UploadGrant, UploadToken};

use prost::Message;

/// An agent that gets 401 with this text in the body stops all uploads of its session and warns once: the answer to a
/// connector that was revoked.
pub const RECORDING_DISABLED: &str = "data recording is disabled";

/// `google.rpc.Code` for a server that cannot take the data now.
const UNAVAILABLE: i32 = 14;

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcDetail>,
}

#[derive(Clone, PartialEq, Message)]
struct RpcDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The body of an answer to a recording that the agent shall repeat: a `google.rpc.Status` with a `RetryInfo`. Without it the
/// agent gives the recording up, whatever the status and headers of the answer.
#[must_use]
pub fn recording_retry_body(message: &str, retry_after_s: i64) -> Vec<u8> {
    let retry_info = RetryInfo { retry_delay: Some(Duration { seconds: retry_after_s }) };
    let detail = RpcDetail {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: retry_info.encode_to_vec(),
    };
    RpcStatus { code: UNAVAILABLE, message: message.to_owned(), details: vec![detail] }.encode_to_vec()
}

//! The bounds of requests.

use callscope_domain::Span;
use std::time::Duration;

/// The bounds of requests and their bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Most bytes of a body, as sent and after decompression.
    pub body_bytes_max: usize,
    pub body_records_max: usize,
    /// Most rows of a body: records, their errors and their providers.
    pub body_rows_max: usize,
    /// Most bytes that a packed body may unpack to for each byte that was sent.
    pub unpack_ratio_max: usize,
    /// Most bytes of all bodies that are being received or parsed at one time, of one tenant at most a quarter.
    pub inflight_bytes_max: usize,
    /// Most bodies that are being received or parsed, or whose records wait to be written, at one time; of one tenant
    /// at most a quarter.
    pub bodies_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long an answer may take, once the request is there.
    pub request_timeout: Duration,
    /// The widest window of a question.
    pub window_max: Span,
}

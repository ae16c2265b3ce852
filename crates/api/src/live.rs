//! Live streams of calls and figures: their messages, their quota, and the WebSocket that carries them.

pub mod boards;
pub mod filter;
mod frames;
pub mod messages;
mod quota;
pub mod socket;

pub use boards::Boards;
pub use quota::{LiveLimits, SocketQuota, StreamSession};
pub use socket::check_handshake;

/// Where calls are followed over a WebSocket.
pub const CALLS_SOCKET_PATH: &str = "/ws/calls";
/// Where figures are followed over a WebSocket.
pub const ANALYTICS_SOCKET_PATH: &str = "/ws/analytics";

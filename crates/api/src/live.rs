//! Live: calls as they happen, over sockets and as server-sent events, and figures that follow them.

mod analytics_socket;
mod boards;
mod calls_socket;
mod filter;
mod frames;
mod messages;
mod room;
mod socket;
mod stream;

pub use boards::Boards;
pub use room::{LiveLimits, SocketRoom};
pub use socket::check_handshake;
pub use stream::routes;

use actix_web::web::{self, ServiceConfig};

/// Where calls are followed over a WebSocket.
pub const CALLS_SOCKET_PATH: &str = "/ws/calls";
/// Where figures are followed over a WebSocket.
pub const ANALYTICS_SOCKET_PATH: &str = "/ws/analytics";

/// The sockets, which OpenAPI has no words for.
pub fn sockets(config: &mut ServiceConfig) {
    config
        .route(CALLS_SOCKET_PATH, web::get().to(calls_socket::open))
        .route(ANALYTICS_SOCKET_PATH, web::get().to(analytics_socket::open));
}

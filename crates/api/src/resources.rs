//! The operations: a file for each resource, with its parameters, answers and handlers.

mod analytics_socket;
pub mod calls;
mod calls_socket;
mod calls_stream;
mod health;
pub mod ingest;
mod keys;
pub mod metrics;
mod otlp;
mod otlp_answers;
mod query;
mod tickets;

pub use health::HEALTH_PATH;
pub use otlp_answers::RpcStatus;

use crate::live::{ANALYTICS_SOCKET_PATH, CALLS_SOCKET_PATH};
use actix_web::web;
use utoipa_actix_web::service_config::ServiceConfig;

/// The routes that the OpenAPI document describes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.configure(query::routes).configure(calls::routes).configure(ingest::routes).configure(calls_stream::routes);
    config.configure(keys::routes).configure(tickets::routes).configure(health::routes);
    config.configure(otlp::routes);
}

/// The sockets, which OpenAPI cannot describe.
pub fn sockets(config: &mut web::ServiceConfig) {
    config
        .route(CALLS_SOCKET_PATH, web::get().to(calls_socket::open))
        .route(ANALYTICS_SOCKET_PATH, web::get().to(analytics_socket::open));
}

//! The HTTP interface: handlers, wire types, authentication, problem details, OpenAPI.
//!
//! JSON, status codes and headers stop here. The crate knows the service and its ports, and no database.

mod access;
mod analytics;
mod asked;
mod auth;
mod body;
mod cache;
mod cors;
mod failed_credentials;
mod field;
mod headers;
mod health;
mod ingest;
mod json;
mod jwks;
mod jwt;
mod keys;
mod live;
pub mod metrics;
mod object;
mod openapi;
mod params;
mod parsing;
mod problem;
mod rates;
mod reading;
mod record;
mod rejections;
mod responses;
mod schemas;
mod signatures;
mod state;
mod swagger;
mod telemetry;
mod tickets;
mod traceparent;
pub mod transport;
mod unpacking;
mod words;

pub use access::{Access, AccessOptions, Credential, KeyRules};
pub use cache::CacheLimits;
pub use cors::{CorsFault, CorsOptions, CorsRules};
pub use field::{FieldCode, FieldError, Rule, Violation};
pub use ingest::fault_of;
pub use jwks::{KeyAges, KeySet, KeySetFault, KeySource};
pub use jwt::{JwtKeys, JwtOptions};
pub use live::LiveLimits;
pub use openapi::document as openapi_document;
pub use reading::{ParsedRecord, RecordContext, RefusedRecord, parse_record};
pub use state::{ApiLimits, ApiState};
pub use telemetry::{Answered, Tracer};
pub use traceparent::TraceParent;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpMessage, web};
use transport::Connection;
use utoipa_actix_web::AppExt;

/// Where the OpenAPI document is served.
pub const OPENAPI_PATH: &str = "/api-docs/openapi.json";
/// Leads to Swagger UI.
const ROOT_PATH: &str = "/";
/// Where Swagger UI is served.
pub const SWAGGER_PATH: &str = "/swagger-ui/";

/// The application, over a state that all workers share.
pub fn app(
    state: web::Data<ApiState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let serves_metrics = state.serves_metrics;
    let cors = state.cors.middleware();
    let (app, _) = App::new().into_utoipa_app().configure(openapi::routes).split_for_parts();
    app.app_data(state)
        .configure(swagger::routes)
        .configure(|config| {
            if serves_metrics {
                metrics::routes(config);
            }
        })
        .configure(live::sockets)
        .default_service(web::to(openapi::no_route))
        .wrap(from_fn(problem::problems_everywhere))
        .wrap(from_fn(rates::rate_headers))
        .wrap(from_fn(head_as_get))
        .wrap(cors)
        // Once more, for preflights that are refused.
        .wrap(from_fn(problem::problems_everywhere))
        .wrap(from_fn(telemetry::request_log))
        .wrap(from_fn(one_at_a_time))
        .wrap(from_fn(headers::protective_headers))
}

/// The application that serves the metrics alone, for an address of their own.
pub fn metrics_app(
    state: web::Data<ApiState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(state)
        .configure(metrics::routes)
        .wrap(from_fn(problem::problems_everywhere))
        .wrap(from_fn(headers::protective_headers))
}

/// Lets other connections have their turn between requests that one sent together: they would all be answered in one go.
async fn one_at_a_time<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    if Connection::of(request.request()).is_some_and(Connection::begins_from_buffer) {
        tokio::task::yield_now().await;
    }
    next.call(request).await
}

/// Marks a request for the head of an answer alone, for answers that have no end.
#[derive(Clone, Copy)]
struct HeadOnly;

/// Answers HEAD as GET is answered: the server's own encoder leaves the body out.
async fn head_as_get<B: MessageBody>(mut request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    if request.method() == Method::HEAD {
        request.head_mut().method = Method::GET;
        request.extensions_mut().insert(HeadOnly);
    }
    next.call(request).await
}

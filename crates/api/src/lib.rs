//! The HTTP interface: handlers, wire types, authentication, problem details, OpenAPI.
//!
//! JSON, status codes and headers stop here. The crate depends on the service and its ports, and on no database.

mod analytics;
mod asked;
mod auth;
mod authenticator;
mod body;
mod cache;
mod call_answer;
mod call_cursor;
mod cors;
mod error_details;
mod failed_credentials;
mod field;
mod filters;
mod headers;
mod json;
mod jwks;
mod jwt;
mod limits;
mod live;
mod methods;
pub mod metrics;
mod object;
mod openapi;
mod params;
mod parsing;
mod problem;
mod problem_responses;
mod query_answer;
mod query_link;
mod query_request;
mod rates;
mod readiness;
mod reading;
mod record;
mod record_order;
mod rejections;
mod reports;
mod request_log;
mod resources;
mod responses;
mod routing;
mod schemas;
mod signatures;
mod state;
mod swagger;
mod traceparent;
mod tracer;
pub mod transport;
mod unpacking;
mod words;

pub use authenticator::{AuthOptions, Authenticator, Credential, KeyRules};
pub use cache::CacheLimits;
pub use cors::{CorsFault, CorsOptions, CorsRules};
pub use field::{FieldCode, FieldError, Rule, Violation};
pub use jwks::{KeyAges, KeySet, KeySetFault, KeySource};
pub use jwt::{JwtKeys, JwtOptions};
pub use limits::ApiLimits;
pub use live::LiveLimits;
pub use openapi::document as openapi_document;
pub use reading::{ParsedRecord, RecordContext, RefusedRecord, parse_record};
pub use record_order::record_order;
pub use reports::assembler;
pub use resources::ingest::fault_of;
pub use resources::metrics::METRICS_PATH;
pub use routing::route_templates;
pub use state::{ApiParts, ApiState};
pub use traceparent::TraceParent;
pub use tracer::{Answered, Tracer};

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
                resources::metrics::routes(config);
            }
        })
        .configure(resources::sockets)
        .default_service(web::to(routing::no_route))
        .wrap(from_fn(problem::problems_everywhere))
        .wrap(from_fn(rates::rate_headers))
        .wrap(from_fn(head_as_get))
        .wrap(cors)
        // A second time, for preflight requests that are refused.
        .wrap(from_fn(problem::problems_everywhere))
        .wrap(from_fn(request_log::request_log))
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
        .configure(resources::metrics::routes)
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

//! The OpenAPI document, generated from the annotated handlers, and what hangs on it: which methods a path knows.

mod examples;

use crate::access::count_page;
use crate::field::{FieldCode, Rule};
use crate::live::{ANALYTICS_SOCKET_PATH, CALLS_SOCKET_PATH};
use crate::metrics::METRICS_PATH;
use crate::problem::{PROBLEM_JSON, Problem, ProblemCode};
use crate::{
    OPENAPI_PATH, ROOT_PATH, SWAGGER_PATH, analytics, asked, auth, health, ingest, keys, live, tickets, words,
};
use actix_web::dev::ResourceDef;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{App, HttpRequest, HttpResponse};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi as _};
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "callscope",
        description = "Analytics of voice-AI calls. Clients send one record per call; the analytics endpoints return exact \
            counts, averages and percentiles.\n\n\
            The credential decides the tenant. Send an API key in `X-API-Key`, or a key or token as \
            `Authorization: Bearer`. Every error is a problem document (RFC 9457): `code` identifies the kind of \
            problem, and `errors` names each invalid field. Every answer carries `X-Request-Id`.\n\n\
            Rate limits apply per credential. Answers to a limited credential carry `RateLimit-Limit` (the largest \
            burst), `RateLimit-Remaining` (requests left now) and `RateLimit-Reset` (seconds until the full burst is \
            available), also as `X-RateLimit-…`. A request over the limit gets 429 with `Retry-After`.",
        contact(name = "The operator of this server"),
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "Analytics", description = "Totals, time series, workflow and provider figures, and errors of the calls that started in a time window"),
        (name = "Ingestion", description = "Send call records: one call, or a batch"),
        (name = "Live", description = "Call events as they happen. Two WebSockets complement this stream: `/ws/calls` \
            sends the same events, and `/ws/analytics` sends updated figures"),
        (name = "Access", description = "Create, list and revoke API keys of the tenant; create tickets for sockets"),
        (name = "Health", description = "Health checks for load balancers and orchestrators. They need no credential")
    ),
    // Those that no answer and no body names: the builder does not look for them among parameters.
    components(schemas(Problem, words::Period, words::Interval, words::Level, words::Service)),
    modifiers(&Credentials)
)]
struct Document;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let key = ApiKeyValue::with_description(auth::API_KEY_HEADER, "An API key: cs_live_…");
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The same API key, or a JSON Web Token of the issuer that the server is configured for"))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// Every route that the document describes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.configure(analytics::routes).configure(ingest::routes).configure(live::routes);
    config.configure(keys::routes).configure(tickets::routes).configure(health::routes);
}

/// The document.
#[must_use]
pub fn document() -> OpenApi {
    let app = App::new().into_utoipa_app().openapi(Document::openapi()).configure(routes);
    let (_, mut document) = app.split_for_parts();
    asked::describe(&mut document);
    examples::complete(&mut document);
    document
}

/// The paths of the document and those of its own pages, with the methods that each knows.
static PATHS: LazyLock<Vec<(ResourceDef, String)>> = LazyLock::new(|| {
    let document = document();
    let described = document.paths.paths.iter().map(|(path, item)| (ResourceDef::new(path.as_str()), methods(item)));
    let pages = [
        ResourceDef::new(ROOT_PATH),
        ResourceDef::new(OPENAPI_PATH),
        ResourceDef::new(CALLS_SOCKET_PATH),
        ResourceDef::new(ANALYTICS_SOCKET_PATH),
        ResourceDef::prefix(SWAGGER_PATH.trim_end_matches('/')),
    ];
    described.chain(pages.map(|page| (page, READ_METHODS.to_owned()))).collect()
});

/// The templates of every route, as the framework names them.
pub fn route_templates() -> impl Iterator<Item = String> {
    let described = PATHS.iter().filter_map(|(path, _)| path.pattern().map(str::to_owned));
    described.chain([swagger_template(), METRICS_PATH.to_owned()])
}

/// The route of everything that Swagger UI loads.
pub fn swagger_template() -> String {
    format!("{SWAGGER_PATH}{{_:.*}}")
}

/// The answer to a method that a path which can be read does not know.
pub async fn only_reads() -> Result<HttpResponse, Problem> {
    Err(unknown_method(READ_METHODS))
}

/// What a path that can be read knows: see [`crate::head_as_get`].
const READ_METHODS: &str = "GET, HEAD";

fn methods(item: &PathItem) -> String {
    let known = [(READ_METHODS, &item.get), ("POST", &item.post), ("PUT", &item.put), ("DELETE", &item.delete)];
    let known: Vec<&str> = known.iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| *name).collect();
    known.join(", ")
}

/// For requests that no route takes: 405 where the path is known, else 404.
pub async fn no_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    count_page(&request)?;
    let known = PATHS.iter().find(|(path, _)| path.is_match(request.path()));
    let Some((_, methods)) = known else {
        return Err(Problem::new(ProblemCode::NotFound, "no operation has this path; see /swagger-ui/"));
    };
    Err(unknown_method(methods))
}

fn unknown_method(methods: &str) -> Problem {
    let problem = Problem::new(ProblemCode::MethodNotAllowed, format!("this path knows {methods}"));
    match HeaderValue::from_str(methods) {
        Ok(methods) => problem.with_header(header::ALLOW, methods),
        Err(_) => problem,
    }
}

macro_rules! problems {
    ($(#[$doc:meta])* $name:ident: $($code:ident = $detail:literal),+ $(,)?) => {
        $(#[$doc])*
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                responses(&[$((ProblemCode::$code, $detail)),+])
            }
        }
    };
}

problems! {
    /// What every read endpoint may answer instead of figures.
    ReadProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    ValidationError = "period unknown_value: must be one of 1h, 24h, 7d, 30d, 90d",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// What the stream may answer instead of events.
    StreamProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    ValidationError = "since invalid_format: must be the id of an event, a whole number from 0 on",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Overloaded = "this tenant has too many sockets open; close some",
}

problems! {
    /// What the endpoint for a batch may answer instead.
    WriteProblems:
    MalformedRequest = "the body is not valid gzip, or is cut short",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope calls:write",
    RequestTimeout = "the body must arrive within a minute",
    PayloadTooLarge = "the body must hold at most 50000 records; split it",
    UnsupportedMediaType = "Content-Type must be application/x-ndjson or application/json",
    ValidationError = "(body) empty: must hold at least one record",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Overloaded = "too many records are waiting to be written; nothing was stored",
}

problems! {
    /// What the endpoint for one record may answer instead.
    PutProblems:
    MalformedRequest = "the body is not valid JSON: expected `,` or `}` (column 12)",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope calls:write",
    RequestTimeout = "the body must arrive within a minute",
    PayloadTooLarge = "the body must be at most 67108864 bytes, as sent and after decompression; split it",
    UnsupportedMediaType = "Content-Type must be application/json",
    ValidationError = "ended_at inconsistent: must not be before started_at",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Overloaded = "too many records are waiting to be written; nothing was stored",
}

problems! {
    /// What the endpoint that makes a key may answer instead.
    CreateKeyProblems:
    MalformedRequest = "the body is not valid JSON: expected `,` or `}` (column 12)",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope keys:manage",
    RequestTimeout = "the body must arrive within a minute",
    LimitReached = "the tenant has 100 valid keys, the most it may have; revoke one first",
    PayloadTooLarge = "the body must be at most 67108864 bytes, as sent and after decompression; split it",
    UnsupportedMediaType = "Content-Type must be application/json",
    ValidationError = "scopes empty: must name at least one scope",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// What the list of keys may answer instead.
    ListKeysProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope keys:manage",
    ValidationError = "limit out_of_range: must be a whole number from 1 to 200",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// What the endpoint that revokes a key may answer instead.
    RevokeKeyProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope keys:manage",
    NotFound = "the tenant has no key with this id",
    ValidationError = "key_id invalid_format: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// What the endpoint for tickets may answer instead.
    TicketProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    ValidationError = "x: is unknown; this operation takes no parameters",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// What a check that asks nothing of the database may answer instead.
    LivenessProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    ValidationError = "x unknown: is not known here; this operation takes no parameters",
}

problems! {
    /// What a check of the database may answer instead.
    HealthProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    ValidationError = "x unknown: is not known here; this operation takes no parameters",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

fn responses(problems: &[(ProblemCode, &'static str)]) -> BTreeMap<String, RefOr<Response>> {
    problems
        .iter()
        .map(|&(code, detail)| (code.status().as_str().to_owned(), RefOr::T(response(code, detail))))
        .collect()
}

fn response(code: ProblemCode, detail: &'static str) -> Response {
    let example = match code {
        ProblemCode::ValidationError => invalid_field(detail),
        _ => Problem::new(code, detail),
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .example(serde_json::to_value(example).ok())
        .build();
    let mut response = ResponseBuilder::new().description(code.title()).content(PROBLEM_JSON, content);
    if let Some((name, description, kind)) = header_of(code) {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        response =
            response.header(name, HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build());
    }
    response.build()
}

/// The example that `field code: message` describes.
fn invalid_field(example: &'static str) -> Problem {
    let (at_fault, message) = example.split_once(": ").unwrap_or(("(body)", example));
    let (field, word) = at_fault.split_once(' ').unwrap_or((at_fault, ""));
    let code = FieldCode::ALL.iter().copied().find(|code| code.as_str() == word);
    Problem::invalid_field(field, Rule::new(code.unwrap_or(FieldCode::InvalidFormat), message))
}

fn header_of(code: ProblemCode) -> Option<(&'static str, &'static str, Type)> {
    match code {
        ProblemCode::AuthenticationError => Some(("WWW-Authenticate", "How to authenticate", Type::String)),
        ProblemCode::AuthorizationError => Some(("WWW-Authenticate", "The scope that is missing", Type::String)),
        ProblemCode::RateLimitExceeded | ProblemCode::Overloaded | ProblemCode::Unavailable => {
            Some(("Retry-After", "Seconds after which to try again", Type::Integer))
        }
        _ => None,
    }
}

//! Problem details (RFC 9457): the one shape of every error, the framework's own included.

use crate::field::{FieldCode, FieldError, Rule, Violation};
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError};
use callscope_analytics::ingestion::SubmitError;
use callscope_analytics::ports::StoreError;
use callscope_analytics::service::ServiceError;
use callscope_domain::{QuestionFault, Scope};
use futures_util::FutureExt;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// When a client may try again after 503, in seconds.
const RETRY_AFTER_S: &str = "1";

/// Every kind of problem: its word, its status and its title, written once.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:ident, $title:literal;)+) => {
        /// What kind of problem it is, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemCode {
            $($(#[$doc])* $name,)+
        }

        impl ProblemCode {
            const ALL: &[Self] = &[$(Self::$name),+];

            /// The word of it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// The status that it comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),+ }
            }

            /// What it is, for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }
        }
    };
}

codes! {
    /// The request cannot be read at all.
    MalformedRequest = "malformed_request", BAD_REQUEST, "The request cannot be read";
    /// No valid credential.
    AuthenticationError = "authentication_error", UNAUTHORIZED, "A valid credential is required";
    /// A valid credential that may not do this.
    AuthorizationError = "authorization_error", FORBIDDEN, "The credential does not allow this";
    /// Nothing at this path.
    NotFound = "not_found", NOT_FOUND, "There is nothing here";
    /// Something at this path, but not for this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// A bound of what the tenant may have is reached.
    LimitReached = "limit_reached", CONFLICT, "A limit of the tenant is reached";
    /// The body took too long.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// The body is too large, or holds too many records.
    PayloadTooLarge = "payload_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body's media type or encoding is unknown.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body's type is not supported";
    /// The request can be read, but asks for what cannot be.
    ValidationError = "validation_error", UNPROCESSABLE_ENTITY, "The request breaks a rule";
    /// The credential has asked too often; later is better.
    RateLimitExceeded = "rate_limit_exceeded", TOO_MANY_REQUESTS, "Too many requests";
    /// Something is wrong with the server.
    InternalError = "internal_error", INTERNAL_SERVER_ERROR, "The server failed";
    /// The server has too much to do; later is better.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The server is overloaded";
    /// The database is away; later is better.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The database is not available";
}

impl Serialize for ProblemCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

// By hand: derived, the schema would list the names of the variants, since the macro hides the words from it.
impl PartialSchema for ProblemCode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .description(Some("What kind of problem it is, for programs."))
            .into()
    }
}

impl ToSchema for ProblemCode {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProblemCode")
    }
}

/// An error, as problem details (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem; a URN, not an address.
    #[serde(rename = "type")]
    #[schema(example = "urn:callscope:problem:validation_error")]
    kind: String,
    /// What it is, for people; the same for all of its kind.
    #[schema(example = "The request breaks a rule")]
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// What is wrong with this request.
    #[schema(example = "period: must be one of 1h, 24h, 7d, 30d, 90d")]
    detail: Cow<'static, str>,
    /// What kind of problem it is, for programs.
    code: ProblemCode,
    /// The fields at fault, when there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    #[serde(skip)]
    #[schema(ignore)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let headers = match code {
            ProblemCode::Overloaded | ProblemCode::Unavailable => {
                vec![(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S))]
            }
            _ => Vec::new(),
        };
        Self {
            kind: format!("urn:callscope:problem:{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
            headers,
        }
    }

    /// A fault of the server that the log explains.
    pub fn internal() -> Self {
        Self::new(ProblemCode::InternalError, INTERNAL_DETAIL)
    }

    /// A request with faults in its fields; there is at least one.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.field, only.message),
            many => format!("{} fields are at fault", many.len()),
        };
        Self { errors, ..Self::new(ProblemCode::ValidationError, detail) }
    }

    /// A request with a fault in one field.
    pub fn invalid_field(field: &str, violation: impl Violation) -> Self {
        Self::invalid(vec![FieldError::new(field, violation)])
    }

    /// No valid credential.
    pub fn unauthenticated(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::AuthenticationError, detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="callscope""#))
    }

    /// A valid credential that may not do this, but might with another scope or another limit.
    pub fn forbidden(detail: String, scope: Scope) -> Self {
        let challenge = format!(r#"Bearer realm="callscope", error="insufficient_scope", scope="{scope}""#);
        let problem = Self::new(ProblemCode::AuthorizationError, detail);
        match HeaderValue::from_str(&challenge) {
            Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
            Err(_) => problem,
        }
    }

    /// Too many requests; the client may try again after some seconds.
    pub fn too_many(detail: &'static str, retry_after_s: u64) -> Self {
        Self::new(ProblemCode::RateLimitExceeded, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_s))
    }

    /// The problem that an error is, or one for an error that is none.
    pub fn of(error: &Error) -> Self {
        let problem = error.as_error::<Self>().cloned();
        problem.unwrap_or_else(|| of_framework(error.as_response_error().status_code(), Some(error)))
    }

    /// Whether the server has too much to do.
    pub fn is_overload(&self) -> bool {
        self.code == ProblemCode::Overloaded
    }

    /// The same problem with another status of the same class.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status: status.as_u16(), ..self }
    }

    /// The problem as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising strings and numbers cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether the request has no valid credential.
    pub fn is_unauthenticated(&self) -> bool {
        self.code == ProblemCode::AuthenticationError
    }

    /// The same problem with one more header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        for header in &self.headers {
            response.insert_header(header.clone());
        }
        response.content_type(PROBLEM_JSON).body(self.to_json())
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Question(fault) => {
                let field = match &fault {
                    QuestionFault::Series(_) => "interval",
                    QuestionFault::NoSuchFigure { dimension, .. } | QuestionFault::Combination(_, dimension) => {
                        dimension.as_str()
                    }
                    QuestionFault::Unaligned(_) => "timezone",
                };
                Self::invalid_field(field, fault)
            }
            ServiceError::TooManyCalls { .. } | ServiceError::TooSlow => {
                Self::invalid_field("period", Rule::owned(FieldCode::OutOfRange, error.to_string()))
            }
            ServiceError::Store(error) => Self::from(&error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<&StoreError> for Problem {
    /// What is internal goes to the log, here and nowhere else.
    fn from(error: &StoreError) -> Self {
        let source = std::error::Error::source(error);
        match error {
            StoreError::Overloaded => {
                Self::new(ProblemCode::Overloaded, "too many reads of this tenant are waiting; try again later")
            }
            StoreError::Unavailable(_) | StoreError::Conflict(_) => {
                tracing::error!(%error, source, "the database did not answer");
                Self::new(ProblemCode::Unavailable, "the database is not available; try again later")
            }
            StoreError::Duplicate | StoreError::Broken(_) => {
                tracing::error!(%error, source, "the database gave an unexpected answer");
                Self::new(ProblemCode::InternalError, INTERNAL_DETAIL)
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Overloaded => {
                Self::new(ProblemCode::Overloaded, "too many records are waiting to be written; nothing was stored")
            }
            SubmitError::Closed => Self::new(ProblemCode::Unavailable, "the server is shutting down"),
            SubmitError::Panicked => Self::new(ProblemCode::InternalError, INTERNAL_DETAIL),
            SubmitError::Store(error) => Self::from(&*error),
        }
    }
}

const INTERNAL_DETAIL: &str = "an unexpected error; the request id in X-Request-Id finds it in the server's log";

/// Marks an error response whose body is not a problem document because its protocol defines another one.
#[derive(Clone, Copy)]
pub struct ProtocolError;

/// Turns every error response that is not a problem yet into one, and a panic into 500.
pub async fn problems_everywhere<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let called = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    let Ok(outcome) = called else {
        tracing::error!("a handler panicked");
        return Err(Problem::new(ProblemCode::InternalError, INTERNAL_DETAIL).into());
    };
    let response = outcome?;
    let status = response.status();
    let is_problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == PROBLEM_JSON);
    let is_done = is_problem || response.response().extensions().contains::<ProtocolError>();
    if is_done || !(status.is_client_error() || status.is_server_error()) {
        return Ok(response.map_into_left_body());
    }
    let problem = of_framework(status, response.response().error());
    let request = response.into_parts().0;
    Ok(ServiceResponse::new(request, problem.error_response()).map_into_right_body())
}

/// The problem for an error that the framework made.
fn of_framework(status: StatusCode, error: Option<&Error>) -> Problem {
    let code = ProblemCode::ALL.iter().copied().find(|code| code.status() == status);
    match code {
        Some(code) if status.is_client_error() => {
            Problem::new(code, error.map_or_else(|| code.title().to_owned(), ToString::to_string))
        }
        _ if status.is_client_error() => Problem::new(ProblemCode::MalformedRequest, "the request cannot be read"),
        _ => {
            tracing::error!(%status, error = error.map(tracing::field::display), "the framework failed");
            Problem::new(ProblemCode::InternalError, INTERNAL_DETAIL)
        }
    }
}

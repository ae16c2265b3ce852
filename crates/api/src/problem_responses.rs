//! The problems that an operation may answer, as responses in the OpenAPI document.

use crate::field::{FieldCode, Rule};
use crate::problem::{PROBLEM_JSON, Problem, ProblemCode};
use std::collections::BTreeMap;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

/// Declares the problems of one operation: a type for its `responses`, with one example for each code.
macro_rules! problems {
    ($(#[$doc:meta])* $visibility:vis $name:ident: $($code:ident = $detail:literal),+ $(,)?) => {
        $(#[$doc])*
        $visibility struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::problem_responses::responses(&[$(($crate::problem::ProblemCode::$code, $detail)),+])
            }
        }
    };
}
pub(crate) use problems;

problems! {
    /// Of every read endpoint.
    pub ReadProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    ValidationError = "period unknown_value: must be one of 1h, 24h, 7d, 30d, 90d",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

/// The responses, by status.
pub fn responses(problems: &[(ProblemCode, &'static str)]) -> BTreeMap<String, RefOr<Response>> {
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

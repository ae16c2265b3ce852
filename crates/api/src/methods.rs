//! Answers to methods that a path does not have.

use crate::problem::{Problem, ProblemCode};
use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};

/// The methods of a path that can only be read: see [`crate::head_as_get`].
pub const READ_METHODS: &str = "GET, HEAD";

/// The answer of a path that can only be read to every other method.
pub async fn only_reads() -> Result<HttpResponse, Problem> {
    Err(method_not_allowed(READ_METHODS))
}

/// 405, with the methods that the path has.
pub fn method_not_allowed(methods: &str) -> Problem {
    let problem = Problem::new(ProblemCode::MethodNotAllowed, format!("allowed methods: {methods}"));
    match HeaderValue::from_str(methods) {
        Ok(methods) => problem.with_header(header::ALLOW, methods),
        Err(_) => problem,
    }
}

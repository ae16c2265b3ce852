//! Answers that are given without the application: to a head that cannot be read, or did not come in time.

use crate::headers;
use crate::problem::{Problem, ProblemCode};
use crate::transport::TransportLimits;
use actix_web::ResponseError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HttpDate};
use std::fmt::Write;
use std::time::SystemTime;
use uuid::Uuid;

/// The answer to a head that did not come in time.
pub fn too_slow(limits: &TransportLimits, id: Uuid) -> Vec<u8> {
    let within = limits.header_timeout.as_secs_f64();
    let detail = format!("the head of the request must arrive within {within} s");
    written(&Problem::new(ProblemCode::RequestTimeout, detail), id)
}

/// The answer in place of one that the framework gave without a body; none for what is not such an answer.
pub fn in_place_of(written_by_framework: &[u8], id: Uuid) -> Option<Vec<u8>> {
    let status = written_by_framework.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let detail = match StatusCode::from_bytes(status).ok()? {
        StatusCode::BAD_REQUEST => "the request is not valid HTTP/1.1",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the head of the request is too large",
        _ => return None,
    };
    let status = StatusCode::from_bytes(status).ok()?;
    Some(written_with(&Problem::new(ProblemCode::MalformedRequest, detail).with_status(status), status, id))
}

fn written(problem: &Problem, id: Uuid) -> Vec<u8> {
    written_with(problem, problem.status_code(), id)
}

fn written_with(problem: &Problem, status: StatusCode, id: Uuid) -> Vec<u8> {
    let body = problem.to_json();
    let (reason, date) = (status.canonical_reason().unwrap_or_default(), HttpDate::from(SystemTime::now()));
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
    let _ = write!(text, "content-type: {}\r\ncontent-length: {}\r\n", crate::problem::PROBLEM_JSON, body.len());
    let mut headers = HeaderMap::new();
    headers::add_to_answer(&mut headers);
    for (name, value) in &headers {
        let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let _ = write!(text, "connection: close\r\nx-request-id: {id}\r\ndate: {date}\r\n\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

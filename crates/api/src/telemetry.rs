//! A request id for every request, and a line in the log for every answer.

use crate::problem::Problem;
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use std::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;

/// Takes over the client's request id or makes one, puts it on the log and on the answer, and logs the answer. Query
/// strings are not logged.
pub async fn request_log<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let id = request_id(&request);
    let method = request.method().clone();
    let path = request.path().to_owned();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let started = Instant::now();
    let mut response = match next.call(request).instrument(span.clone()).await {
        Ok(response) => response,
        // Only a panic gets here: the request is lost, so the answer is made from the error alone.
        Err(error) => return Err(Problem::of(&error).with_header(REQUEST_ID, id).into()),
    };
    response.headers_mut().insert(REQUEST_ID, id);
    let elapsed_ms = started.elapsed().as_micros() as f64 / 1000.0;
    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(%method, path, status, elapsed_ms, "answered"));
    Ok(response)
}

fn request_id(request: &ServiceRequest) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let sound = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_MAX && bytes.iter().all(u8::is_ascii_graphic)
    };
    given.filter(sound).cloned().unwrap_or_else(|| {
        let id = Uuid::now_v7().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}

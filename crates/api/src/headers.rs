//! Headers of every answer that bound what a browser or a cache may do with it, whatever the status.
//!
//! `Permissions-Policy` is left out: no page of this server runs code of others, and answers that are no pages run none.

use crate::SWAGGER_PATH;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};

/// Nothing of an answer is run, loaded or framed.
const ANSWER_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Swagger UI: its own scripts, requests to this server, and the styles and pictures that its scripts write into the
/// page.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What every answer says, unless its handler said otherwise.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // For browsers that do not support `frame-ancestors`.
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Pages of other origins read answers as the rules of CORS say, and embed none.
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    // Answers depend on the credential, which caches of old do not look at.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Adds those headers to an answer.
pub async fn protective_headers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let policy = if request.path().starts_with(SWAGGER_PATH) { PAGE_POLICY } else { ANSWER_POLICY };
    match next.call(request).await {
        Ok(mut response) => {
            add(response.headers_mut(), policy);
            Ok(response)
        }
        // The request is lost after a panic; the server makes the answer of the error alone.
        Err(error) => {
            let mut response: HttpResponse = error.error_response();
            add(response.headers_mut(), policy);
            Err(InternalError::from_response(error, response).into())
        }
    }
}

/// Adds them to an answer that is no page.
pub fn add_to_answer(headers: &mut HeaderMap) {
    add(headers, ANSWER_POLICY);
}

fn add(headers: &mut HeaderMap, policy: HeaderValue) {
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
}

//! A body that never ends, without the wait: the application is called in this process, whose time jumps on.

use crate::server::Server;
use crate::wire::{Request, Response};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Bytes;
use futures_util::stream;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;

type BoxedPayload = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// Sends the request's body and then nothing more, without an end, and waits for the answer.
pub async fn slow_body(server: &Server, request: &Request) -> Response {
    let service = init_service(callscope_api::app(server.state.clone())).await;
    let mut builder =
        TestRequest::with_uri(&request.target).method(Method::from_bytes(request.method.as_bytes()).expect("a method"));
    let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
    for header in headers.chain([("X-API-Key", server.any_key().await.as_str())]) {
        builder = builder.insert_header(header);
    }
    let start = stream::iter([Ok(Bytes::from(request.body.clone()))]);
    let endless: BoxedPayload = Box::pin(start.chain(stream::pending()));
    let (slow, _) = builder.to_request().replace_payload(Payload::Stream { payload: endless });
    tokio::time::pause();
    let response = actix_web::test::call_service(&service, slow).await;
    tokio::time::resume();
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().expect("text").to_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let status = response.status().as_u16();
    let body = actix_web::test::read_body(response).await.to_vec();
    Response { status, headers, body, continued: false }
}

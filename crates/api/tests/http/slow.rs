//! Bodies that stop halfway: the application is called without a socket, so that a test can tell what it has taken,
//! and need not wait where time matters.

use crate::server::Server;
use crate::wire::{Request, Response};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::Bytes;
use futures_util::stream;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Notify;

type Chunk = Result<Bytes, PayloadError>;

/// Sends the request's body and then nothing more, without an end, and waits for the answer.
pub async fn slow_body(server: &Server, request: &Request) -> Response {
    let key = server.any_key().await;
    tokio::time::pause();
    let response = send_with_rest(server, request, &key, stream::pending()).await;
    tokio::time::resume();
    response
}

/// Sends the request's body, says so when the application has taken it, and ends it when told to.
pub async fn held_body(server: &Server, request: &Request, taken: Arc<Notify>, end: Arc<Notify>) -> Response {
    let key = server.any_key().await;
    let rest = stream::once(async move {
        taken.notify_one();
        end.notified().await;
        Ok(Bytes::new())
    });
    send_with_rest(server, request, &key, rest).await
}

async fn send_with_rest(
    server: &Server,
    request: &Request,
    key: &str,
    rest: impl Stream<Item = Chunk> + 'static,
) -> Response {
    let service = init_service(callscope_api::app(server.state.clone())).await;
    let method = Method::from_bytes(request.method.as_bytes()).expect("a method");
    let mut builder = TestRequest::with_uri(&request.target).method(method).insert_header(("X-API-Key", key));
    for (name, value) in &request.headers {
        builder = builder.insert_header((*name, value.as_str()));
    }
    let start = stream::iter([Ok(Bytes::from(request.body.clone()))]);
    let body: Pin<Box<dyn Stream<Item = Chunk>>> = Box::pin(start.chain(rest));
    let (request, _) = builder.to_request().replace_payload(Payload::Stream { payload: body });
    let response = call_service(&service, request).await;
    let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let status = response.status().as_u16();
    let body = read_body(response).await.to_vec();
    Response { status, headers, body, continued: false }
}

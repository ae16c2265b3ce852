//! HTTP itself: connections that live on, HEAD, `Expect`, headers of every answer.

use crate::client::INGEST;
use crate::layout::problem;
use crate::records::{call_id, completed};
use crate::server::Server;
use crate::wire::{Connection, Request};
use callscope_domain::Scope;
use callscope_testkit::Backend;

on_each_backend!(
    head_is_get_without_the_body,
    a_connection_lives_on_after_every_kind_of_refusal,
    a_refusal_before_the_body_is_read_reaches_a_client_that_sends_all_of_it_first,
    a_client_that_waits_for_continue_gets_it,
    every_answer_carries_a_request_id_the_clients_own_if_it_is_sound,
    requests_may_be_sent_before_the_answers_to_earlier_ones_are_read
);

async fn head_is_get_without_the_body(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for path in ["/api/v1/analytics/summary", "/api/v1/analytics/errors?period=1h", "/health", "/api-docs/openapi.json"]
    {
        let get = acme.send(&Request::get(path)).await;
        let head = acme.send(&Request::new("HEAD", path)).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for header in ["Content-Length", "Content-Type"] {
            assert_eq!(head.header(header), get.header(header), "{path}");
            assert!(head.header(header).is_some(), "{path}");
        }
    }
    let faulty = acme.send(&Request::new("HEAD", "/api/v1/analytics/summary?period=2d")).await;
    assert_eq!((faulty.status, faulty.body.len()), (422, 0));
    let nowhere = acme.send(&Request::new("HEAD", INGEST)).await;
    assert_eq!((nowhere.status, nowhere.header("Allow")), (405, Some("POST")));
    assert_eq!(acme.connections_opened(), 1);
}

async fn a_connection_lives_on_after_every_kind_of_refusal(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let put = |body: &str| Request::new("PUT", format!("{INGEST}/{}", call_id(1))).json(body);
    let table = [
        (404, Request::get("/nope")),
        (405, Request::new("DELETE", INGEST)),
        (422, Request::get("/api/v1/analytics/summary?period=2d")),
        (400, Request::get("/api/v1/analytics/summary?period=%ff")),
        (400, put("{")),
        (422, put("{}")),
        (415, put("{}").header("Content-Encoding", "br")),
        (422, Request::new("POST", INGEST).ndjson(" \n ")),
        (401, Request::get("/health").header("X-API-Key", "unused")),
    ];
    for (status, request) in table {
        let response = acme.send(&request).await;
        let status = if request.target == "/health" { 200 } else { status };
        assert_eq!(response.status, status, "{} {}", request.method, request.target);
        assert!(!response.closes(), "{} {}", request.method, request.target);
    }
    assert_eq!(acme.connections_opened(), 1);
}

async fn a_refusal_before_the_body_is_read_reaches_a_client_that_sends_all_of_it_first(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let key = server.key(acme.id, Scope::ALL).await;
    let body = vec![b' '; 8 << 20];
    let table = [
        (401, Request::new("POST", INGEST).ndjson(body.clone())),
        (415, Request::new("POST", INGEST).body("text/plain", body.clone()).header("X-API-Key", key.clone())),
        (422, Request::new("PUT", format!("{INGEST}/1")).json(body.clone()).header("X-API-Key", key.clone())),
        (422, Request::new("POST", format!("{INGEST}?x=1")).json(body.clone()).header("X-API-Key", key)),
        (405, Request::new("DELETE", INGEST).json(body.clone())),
        (404, Request::new("POST", "/nope").json(body)),
    ];
    for (status, request) in table {
        let mut connection = Connection::open(server.address).await;
        connection.write(request.head().as_bytes()).await;
        connection.write(&request.body).await;
        let response = connection.read(request.method).await;
        assert_eq!(response.status, status);
        problem(&response);
    }
}

async fn a_client_that_waits_for_continue_gets_it(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let record = completed(1, "2026-01-17T10:00:00Z", 60);
    let put = Request::new("PUT", format!("{INGEST}/{}", call_id(1))).json(record.to_string());
    let response = acme.send(&put.header("Expect", "100-continue")).await;
    assert_eq!((response.status, response.continued), (201, true));
}

async fn every_answer_carries_a_request_id_the_clients_own_if_it_is_sound(backend: Backend) {
    let server = Server::start(backend).await;
    let stranger = server.stranger();
    for path in ["/health", "/nope", "/api/v1/analytics/summary", "/swagger-ui/", "/swagger-ui"] {
        let response = stranger.send(&Request::get(path)).await;
        assert!(response.header("X-Request-Id").is_some_and(|id| id.len() == 36), "{path}");
        let response = stranger.send(&Request::get(path).header("X-Request-Id", "my-own/1")).await;
        assert_eq!(response.header("X-Request-Id"), Some("my-own/1"), "{path}");
    }
    for unsound in ["", "two words", "é", &"x".repeat(129)] {
        let response = stranger.send(&Request::get("/health").header("X-Request-Id", unsound)).await;
        assert!(response.header("X-Request-Id").is_some_and(|id| id.len() == 36), "{unsound}");
    }
}

async fn requests_may_be_sent_before_the_answers_to_earlier_ones_are_read(backend: Backend) {
    let server = Server::start(backend).await;
    let mut connection = Connection::open(server.address).await;
    let pipelined = ["/health", "/nope", "/health/live"].map(|path| Request::get(path).head()).concat();
    connection.write(pipelined.as_bytes()).await;
    for status in [200, 404, 200] {
        assert_eq!(connection.read("GET").await.status, status);
    }
}

//! When the server has too much to do, or its database does not do its part.

use crate::client::INGEST;
use crate::document;
use crate::layout::problem;
use crate::records::{Record, call_id, completed};
use crate::server::{Server, Setup};
use crate::slow::slow_body;
use crate::store::{Mode, SECRET};
use crate::wire::Request;
use callscope_testkit::Backend;
use insta::assert_snapshot;
use std::fmt::Write;

on_each_backend!(
    past_the_queues_bound_nothing_is_stored_and_what_waits_is_kept,
    a_store_that_fails_is_503_or_500_and_tells_nothing,
    a_bug_in_a_handler_is_500_and_the_server_lives_on,
    a_body_that_takes_more_than_a_minute_is_given_up
);

const AT: &str = "2026-01-17T10:00:00Z";

fn batch(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(|number| completed(number, AT, 60)).collect()
}

fn put(number: u32) -> Request {
    Request::new("PUT", format!("{INGEST}/{}", call_id(number))).json(completed(number, AT, 60).to_string())
}

async fn past_the_queues_bound_nothing_is_stored_and_what_waits_is_kept(backend: Backend) {
    let server = Server::start_with(backend, Setup { queue_records_max: 3, ..Setup::default() }).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    server.store.hold_transactions();
    let (two, overload) = (batch(0..2), async {
        server.store.transaction_asked().await;
        let refused = globex.ingest(&batch(0..2)).await;
        assert_snapshot!(problem(&refused), @"503 overloaded: too many records are waiting to be written; nothing was stored");
        assert_eq!(refused.header("Retry-After"), Some("1"));
        // Reading goes on, and sees nothing of either.
        assert_eq!(acme.summary("").await.value()["total_calls"], 0);
        assert_eq!(globex.summary("").await.value()["total_calls"], 0);
        server.store.release_transactions();
    });
    let writer = server.client(&server.key(acme.id, callscope_domain::Scope::ALL).await);
    tokio::join!(writer.given(&two), overload);
    assert_eq!(acme.summary("").await.value()["total_calls"], 2);
    assert_eq!(globex.summary("").await.value()["total_calls"], 0);
    // There is room again, and alone even a batch larger than the queue is taken.
    assert_eq!(globex.send(&put(9)).await.status, 201);
    globex.given(&batch(0..5)).await;
    assert_eq!(globex.summary("").await.value()["total_calls"], 6);
}

async fn a_store_that_fails_is_503_or_500_and_tells_nothing(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let reads = ["summary", "call-volume", "workflow-stats", "provider-latency", "errors", "active-calls"];
    let reads = reads.map(|path| Request::get(format!("/api/v1/analytics/{path}")));
    let health = ["/health", "/health/ready", "/health/live"].map(Request::get);
    let batch = Request::new("POST", INGEST).ndjson(completed(1, AT, 60).to_string());
    let mut seen = String::new();
    let modes = [Mode::Unavailable, Mode::Broken, Mode::Conflicting, Mode::CommitFails, Mode::KeysUnavailable];
    for mode in modes {
        let _ = writeln!(seen, "{mode:?}");
        for request in reads.iter().chain(&health).chain([&put(1), &batch]) {
            server.store.set(mode);
            let response = acme.send(request).await;
            assert!(!response.text().contains(SECRET) && !response.text().contains("10.0.0.7"), "{}", response.text());
            let outcome = if response.status == 200 { "200".to_owned() } else { problem(&response) };
            let _ = writeln!(seen, "  {} {}\n    {outcome}", request.method, request.target);
        }
        server.store.set(Mode::Sound);
        assert_eq!(acme.summary("").await.value()["total_calls"], 0, "{mode:?}");
    }
    assert_snapshot!(seen, @"
    Unavailable
      GET /api/v1/analytics/summary
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/call-volume
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/workflow-stats
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/provider-latency
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/errors
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/active-calls
        503 unavailable: the database is not available; try again later
      GET /health
        503 unavailable: the database is not available; try again later
      GET /health/ready
        503 unavailable: the database is not available; try again later
      GET /health/live
        200
      PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
        503 unavailable: the database is not available; try again later
      POST /api/v1/ingest/calls
        503 unavailable: the database is not available; try again later
    Broken
      GET /api/v1/analytics/summary
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /api/v1/analytics/call-volume
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /api/v1/analytics/workflow-stats
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /api/v1/analytics/provider-latency
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /api/v1/analytics/errors
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /api/v1/analytics/active-calls
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /health
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /health/ready
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      GET /health/live
        200
      PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      POST /api/v1/ingest/calls
        500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
    Conflicting
      GET /api/v1/analytics/summary
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/call-volume
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/workflow-stats
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/provider-latency
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/errors
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/active-calls
        503 unavailable: the database is not available; try again later
      GET /health
        503 unavailable: the database is not available; try again later
      GET /health/ready
        503 unavailable: the database is not available; try again later
      GET /health/live
        200
      PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
        503 unavailable: the database is not available; try again later
      POST /api/v1/ingest/calls
        503 unavailable: the database is not available; try again later
    CommitFails
      GET /api/v1/analytics/summary
        200
      GET /api/v1/analytics/call-volume
        200
      GET /api/v1/analytics/workflow-stats
        200
      GET /api/v1/analytics/provider-latency
        200
      GET /api/v1/analytics/errors
        200
      GET /api/v1/analytics/active-calls
        200
      GET /health
        200
      GET /health/ready
        200
      GET /health/live
        200
      PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
        503 unavailable: the database is not available; try again later
      POST /api/v1/ingest/calls
        503 unavailable: the database is not available; try again later
    KeysUnavailable
      GET /api/v1/analytics/summary
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/call-volume
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/workflow-stats
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/provider-latency
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/errors
        503 unavailable: the database is not available; try again later
      GET /api/v1/analytics/active-calls
        503 unavailable: the database is not available; try again later
      GET /health
        200
      GET /health/ready
        200
      GET /health/live
        200
      PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
        503 unavailable: the database is not available; try again later
      POST /api/v1/ingest/calls
        503 unavailable: the database is not available; try again later
    ");
    assert_eq!(acme.send(&put(1)).await.status, 201);
}

async fn a_bug_in_a_handler_is_500_and_the_server_lives_on(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    server.store.set(Mode::Panics);
    let response = acme.send(&Request::get("/api/v1/analytics/summary").header("X-Request-Id", "mine")).await;
    assert_snapshot!(problem(&response), @"500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log");
    assert_eq!(response.header("X-Request-Id"), Some("mine"));
    server.store.set(Mode::Sound);
    assert_eq!(acme.summary("").await.status, 200);
}

async fn a_body_that_takes_more_than_a_minute_is_given_up(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    // Opens the connections that credentials are looked up on, which takes time that is not stopped.
    assert_eq!(acme.summary("").await.value()["total_calls"], 0);
    for request in [put(1), Request::new("POST", INGEST).ndjson("{}\n")] {
        let response = slow_body(&server, &request).await;
        document::check(&request, &response);
        assert_eq!(problem(&response), "408 request_timeout: the body must arrive within 1m");
    }
    assert_eq!(acme.summary("").await.value()["total_calls"], 0);
}

//! When the server has too much to do, or its database does not do its part.

use crate::client::INGEST;
use crate::document::{self, analytics};
use crate::layout::problem;
use crate::records::{Record, call_id, completed};
use crate::server::{Server, Setup};
use crate::slow::slow_body;
use crate::store::{Mode, SECRET};
use crate::wire::Request;
use callscope_testkit::Backend;
use insta::assert_snapshot;
use std::collections::BTreeSet;
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
    let reads = analytics().map(|name| Request::get(format!("/api/v1/analytics/{name}"))).collect();
    let batch = Request::new("POST", INGEST).ndjson(completed(1, AT, 60).to_string());
    let groups: [(&str, Vec<Request>); 4] = [
        ("reads", reads),
        ("writes", vec![put(1), batch]),
        ("health", ["/health", "/health/ready"].map(Request::get).into()),
        ("liveness", vec![Request::get("/health/live")]),
    ];
    let mut seen = String::new();
    let modes = [Mode::Unavailable, Mode::Broken, Mode::Conflicting, Mode::CommitFails, Mode::KeysUnavailable];
    for mode in modes {
        let _ = writeln!(seen, "{mode:?}");
        for (name, requests) in &groups {
            let mut outcomes = BTreeSet::new();
            for request in requests {
                server.store.set(mode);
                let response = acme.send(request).await;
                let text = response.text();
                assert!(!text.contains(SECRET) && !text.contains("10.0.0.7"), "{text}");
                outcomes.insert(if response.status == 200 { "200".to_owned() } else { problem(&response) });
            }
            // Requests of a group are answered alike.
            let _ = writeln!(seen, "  {name}: {}", Vec::from_iter(outcomes).join(" or "));
        }
        server.store.set(Mode::Sound);
        assert_eq!(acme.summary("").await.value()["total_calls"], 0, "{mode:?}");
    }
    assert_snapshot!(seen, @"
    Unavailable
      reads: 503 unavailable: the database is not available; try again later
      writes: 503 unavailable: the database is not available; try again later
      health: 503 unavailable: the database is not available; try again later
      liveness: 200
    Broken
      reads: 500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      writes: 500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      health: 500 internal_error: an unexpected error; the request id in X-Request-Id finds it in the server's log
      liveness: 200
    Conflicting
      reads: 503 unavailable: the database is not available; try again later
      writes: 503 unavailable: the database is not available; try again later
      health: 503 unavailable: the database is not available; try again later
      liveness: 200
    CommitFails
      reads: 200
      writes: 503 unavailable: the database is not available; try again later
      health: 200
      liveness: 200
    KeysUnavailable
      reads: 503 unavailable: the database is not available; try again later
      writes: 503 unavailable: the database is not available; try again later
      health: 200
      liveness: 200
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

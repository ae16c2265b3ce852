//! Credentials that are not valid: how many one address may present, and who is let in all the same.

use crate::issuer::{good, shared_secret};
use crate::layout::problem;
use crate::server::{Server, Setup};
use crate::wire::{Request, Response};
use callscope_domain::Scope;
use callscope_testkit::Backend;

on_each_backend!(
    past_the_limit_no_unknown_key_is_looked_up,
    past_the_limit_valid_credentials_are_let_in,
    tickets_and_tokens_count_as_well
);

const SUMMARY: &str = "/api/v1/analytics/summary";
const LIMIT: u32 = 5;

async fn start(backend: Backend) -> Server {
    let setup = Setup { failed_credentials_per_minute: LIMIT, jwt: Some(shared_secret), ..Setup::default() };
    Server::start_with(backend, setup).await
}

/// Asks with a key that does not exist.
async fn guess(server: &Server, number: u32) -> Response {
    let key = format!("cs_live_{number:064x}");
    server.stranger().send(&Request::get(SUMMARY).header("X-API-Key", key)).await
}

async fn exhaust(server: &Server) {
    for number in 0..LIMIT {
        assert_eq!(guess(server, number).await.status, 401);
    }
}

fn assert_limited(response: &Response) {
    let expected =
        "429 rate_limit_exceeded: too many credentials of this client address were not valid; try again later";
    assert_eq!(problem(response), expected);
    let seconds: u64 = response.header("Retry-After").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

async fn past_the_limit_no_unknown_key_is_looked_up(backend: Backend) {
    let server = start(backend).await;
    exhaust(&server).await;
    let lookups = server.store.key_lookups();
    for number in 0..10 {
        assert_limited(&guess(&server, number).await);
    }
    let malformed = Request::get(SUMMARY).header("X-API-Key", "secret");
    assert_limited(&server.stranger().send(&malformed).await);
    assert_eq!(server.store.key_lookups(), lookups);
    // No credential at all is no guess.
    assert_eq!(server.stranger().send(&Request::get(SUMMARY)).await.status, 401);
    let metrics = server.stranger().send(&Request::get("/metrics")).await;
    for line in [
        "callscope_refused_credentials_total{reason=\"not_valid\"} 5\n",
        "callscope_refused_credentials_total{reason=\"address_limit\"} 11\n",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
}

async fn past_the_limit_valid_credentials_are_let_in(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    assert_eq!(acme.summary("").await.status, 200);
    let never_used = server.key(acme.id, Scope::ALL).await;
    exhaust(&server).await;
    for _ in 0..3 {
        assert_eq!(acme.summary("").await.status, 200, "a key that was valid a moment ago");
    }
    let token = Request::get(SUMMARY).header("Authorization", format!("Bearer {}", good(acme.id, Scope::ALL)));
    assert_eq!(server.stranger().send(&token).await.status, 200, "a token, which costs the database nothing");
    // The price of the limit: a key that this server has not seen yet waits.
    assert_limited(&server.client(&never_used).summary("").await);
}

async fn tickets_and_tokens_count_as_well(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    let ticket = format!("/api/v1/sse/calls/stream?ticket=cs_ticket_{}_{}", acme.id, "0".repeat(64));
    let token = Request::get(SUMMARY).header("Authorization", "Bearer a.b.c");
    for _ in 0..2 {
        assert_eq!(server.stranger().send(&Request::get(&ticket)).await.status, 401);
        assert_eq!(server.stranger().send(&token).await.status, 401);
    }
    assert_eq!(guess(&server, 0).await.status, 401);
    for request in [Request::get(&ticket), token] {
        assert_limited(&server.stranger().send(&request).await);
    }
    assert_limited(&guess(&server, 1).await);
}

//! How often a credential may ask, and what every answer says of it.

use crate::issuer::{claims, shared_secret, signed};
use crate::layout::problem;
use crate::server::{Server, Setup};
use crate::wire::{Request, Response};
use callscope_domain::{RateLimit, Scope};
use callscope_testkit::Backend;
use serde_json::json;

on_each_backend!(
    past_the_burst_a_key_must_wait,
    every_answer_says_what_is_left,
    a_key_has_a_limit_of_its_own,
    all_keys_of_a_tenant_share_its_limit,
    a_tokens_requests_are_counted_by_tenant_and_subject,
    pages_have_a_limit_of_each_address,
    without_a_limit_nothing_is_said
);

fn rate(requests_per_second: u32, burst: u32) -> RateLimit {
    RateLimit::new(requests_per_second, burst).expect("a rate")
}

fn setup(rate: RateLimit) -> Setup {
    Setup { rate, jwt: Some(shared_secret), ..Setup::default() }
}

/// Limit, remaining and reset, which stand there twice.
fn allowance(response: &Response) -> Option<[u64; 3]> {
    let values = ["Limit", "Remaining", "Reset"].map(|name| {
        let value = response.header(&format!("RateLimit-{name}"));
        assert_eq!(value, response.header(&format!("X-RateLimit-{name}")));
        value.map(|value| value.parse::<u64>().expect("a number"))
    });
    Some([values[0]?, values[1]?, values[2]?])
}

async fn past_the_burst_a_key_must_wait(backend: Backend) {
    // So slow that the test is faster: one request in each second, and a burst that takes an hour to come back.
    let server = Server::start_with(backend, setup(rate(1, 20))).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let mut passed = 0;
    let refused = loop {
        let response = acme.summary("").await;
        if response.status != 200 {
            break response;
        }
        passed += 1;
    };
    assert!((20..40).contains(&passed), "{passed}");
    assert_eq!(problem(&refused), "429 rate_limit_exceeded: the credential's limit of requests is reached");
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(allowance(&refused), Some([20, 0, 20]));
    assert_eq!(globex.summary("").await.status, 200);
    // Writing is counted with reading, and is held back as well.
    assert_eq!(acme.ingest(&[crate::records::completed(1, "2026-01-17T10:00:00Z", 60)]).await.status, 429);
    // Another key of the tenant has a bucket of its own.
    assert_eq!(server.client(&server.key(acme.id, Scope::ALL).await).summary("").await.status, 200);
}

async fn pages_have_a_limit_of_each_address(backend: Backend) {
    let server = Server::start_with(backend, Setup { page_rate: rate(1, 4), ..Setup::default() }).await;
    let (acme, stranger) = (server.tenant("acme").await, server.stranger());
    let unknown_method = Request::new("DELETE", "/api/v1/analytics/summary");
    for path in ["/", "/api-docs/openapi.json", "/swagger-ui/index.html", "/no/such/path"] {
        assert_ne!(stranger.send(&Request::get(path)).await.status, 429, "{path}");
    }
    for path in ["/", "/api-docs/openapi.json", "/swagger-ui/index.html", "/no/such/path"] {
        let refused = stranger.send(&Request::get(path)).await;
        let expected = "429 rate_limit_exceeded: the limit of requests without a credential is reached";
        assert_eq!(problem(&refused), expected, "{path}");
        assert_eq!(refused.header("Retry-After"), Some("1"));
    }
    assert_eq!(stranger.send(&unknown_method).await.status, 429);
    assert_eq!(stranger.send(&Request::get("/health/live")).await.status, 200);
    assert_eq!(acme.summary("").await.status, 200);
}

async fn all_keys_of_a_tenant_share_its_limit(backend: Backend) {
    let setup = Setup { tenant_rate: rate(1, 20), ..setup(rate(1000, 15)) };
    let server = Server::start_with(backend, setup).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    // The tighter limit is shown: the key's until the tenant has less left.
    assert_eq!(allowance(&acme.summary("").await).map(|[limit, ..]| limit), Some(15));
    let mut refused = None;
    for _ in 0..40 {
        let another = server.client(&server.key(acme.id, Scope::ALL).await);
        let response = another.summary("").await;
        if response.status != 200 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("a tenant with many keys has one limit");
    assert_eq!(problem(&refused), "429 rate_limit_exceeded: the tenant's limit of requests is reached");
    assert_eq!((refused.header("Retry-After"), allowance(&refused)), (Some("1"), Some([20, 0, 20])));
    assert_eq!(globex.summary("").await.status, 200);
}

async fn every_answer_says_what_is_left(backend: Backend) {
    let server = Server::start_with(backend, setup(rate(10, 1000))).await;
    let acme = server.tenant("acme").await;
    let reader = server.client(&server.key(acme.id, &[Scope::AnalyticsRead]).await);
    let ask = |target: &str| Request::get(target);
    for (request, status) in [
        (ask("/api/v1/analytics/summary"), 200),
        (ask("/api/v1/analytics/summary?nonsense=1"), 422),
        (ask("/api/v1/analytics/summary?x=%ff"), 400),
        (ask("/api/v1/keys"), 403),
        (Request::new("POST", "/api/v1/auth/tickets"), 201),
    ] {
        let response = reader.send(&request).await;
        assert_eq!(response.status, status, "{}", request.target);
        let [limit, remaining, reset] = allowance(&response).expect("an allowance");
        assert!(limit == 1000 && (990..1000).contains(&remaining) && reset == 1, "{limit} {remaining} {reset}");
    }
    // Where nobody is known, there is nothing to say.
    for (request, status) in [(ask("/health"), 200), (ask("/api/v1/analytics/summary"), 401), (ask("/nowhere"), 404)] {
        let response = server.stranger().send(&request).await;
        assert_eq!((response.status, allowance(&response)), (status, None), "{}", request.target);
    }
}

async fn a_key_has_a_limit_of_its_own(backend: Backend) {
    let server = Server::start_with(backend, setup(rate(1, 1))).await;
    let acme = server.tenant("acme").await;
    for (own, expected) in [(rate(5, 50), Some(50)), (RateLimit::NONE, None)] {
        let client = server.client(&server.key_with(acme.id, Scope::ALL, |key| key.rate = Some(own)).await);
        for _ in 0..10 {
            let response = client.summary("").await;
            assert_eq!((response.status, allowance(&response).map(|[limit, ..]| limit)), (200, expected));
        }
    }
}

async fn a_tokens_requests_are_counted_by_tenant_and_subject(backend: Backend) {
    let server = Server::start_with(backend, setup(rate(1, 100))).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let remaining = async |tenant, subject: &str, issued_at: i64| {
        let mut claims = claims(tenant, Scope::ALL);
        claims["sub"] = json!(subject);
        claims["iat"] = json!(issued_at);
        let request =
            Request::get("/api/v1/analytics/summary").header("Authorization", format!("Bearer {}", signed(&claims)));
        let response = server.stranger().send(&request).await;
        allowance(&response).expect("an allowance")[1]
    };
    assert_eq!(remaining(acme.id, "ada", 1).await, 99);
    // Another token of the same subject.
    for token in 2..60 {
        assert!(remaining(acme.id, "ada", token).await < 99);
    }
    assert_eq!(remaining(acme.id, "grace", 1).await, 99);
    assert_eq!(remaining(globex.id, "ada", 1).await, 99);
}

async fn without_a_limit_nothing_is_said(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    assert_eq!(allowance(&acme.summary("").await), None);
}

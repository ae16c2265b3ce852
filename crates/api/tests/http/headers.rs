//! Headers that every answer carries, whatever its path and status: [`check`] looks at every answer of every test, and
//! here are the answers that no other test is sure to meet.

use crate::document::{Operation, operations};
use crate::server::{Server, Setup};
use crate::store::Mode;
use crate::wire::{Connection, Request, Response};
use callscope_api::{CorsOptions, CorsRules};
use callscope_domain::Scope;
use callscope_testkit::Backend;
use std::time::Duration;

on_each_backend!(every_operation_and_page_bounds_what_browsers_and_caches_do, answers_of_bugs_are_bound_as_well);

const PAGES: [&str; 7] = [
    "/",
    "/swagger-ui/",
    "/swagger-ui/index.html",
    "/swagger-ui/swagger-ui-bundle.js",
    "/swagger-ui/nope",
    "/api-docs/openapi.json",
    "/metrics",
];

/// Checks the headers of an answer.
pub fn check(request: &Request, response: &Response) {
    let name = format!("{} {} {}", request.method, request.target, response.status);
    for (header, value) in [
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ] {
        assert_eq!(response.header(header), Some(value), "{name}: {header}");
    }
    let policy = response.header("Content-Security-Policy").unwrap_or_else(|| panic!("{name} has no policy"));
    assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"), "{name}");
    assert!(!policy.contains("script-src") || request.target.starts_with("/swagger-ui/"), "{name}: {policy}");
    assert!(!policy.contains("unsafe-eval") && !policy.contains('*'), "{name}: {policy}");
    let cached = response.header("Cache-Control").unwrap_or_else(|| panic!("{name} may be cached"));
    let is_page = ["/swagger-ui", "/api-docs"].iter().any(|page| request.target.starts_with(page));
    match cached {
        "no-store" => {}
        // What is asked again with the credential each time.
        "private, no-cache" => assert_eq!(response.header("Vary").map(vary), Some(true), "{name}"),
        other => assert!(is_page, "{name}: Cache-Control: {other}"),
    }
}

/// Whether caches tell credentials apart.
fn vary(header: &str) -> bool {
    ["X-API-Key", "Authorization"].iter().all(|name| header.contains(name))
}

fn cors() -> CorsRules {
    let (origins, methods) = (["https://dashboard.example".to_owned()], ["GET".to_owned()]);
    let options = CorsOptions {
        allowed_origins: &origins,
        allowed_methods: &methods,
        allowed_headers: &[],
        exposed_headers: &[],
        max_age: Duration::from_hours(1),
    };
    CorsRules::new(&options).expect("rules")
}

/// The requests that an operation answers with success, with a refusal of the credential, of the query string, of the
/// method and of the origin.
fn requests(operation: Operation, key: &str) -> Vec<Request> {
    let good = operation.request().header("X-API-Key", key);
    let elsewhere = Request { target: format!("{}/nope", good.target), ..good.clone() };
    let unknown = Request { target: format!("{}?x=1", good.target), ..good.clone() };
    let unreadable = Request { target: format!("{}?x=%ff", good.target), ..good.clone() };
    let preflight = |origin: &str| {
        let request = Request::new("OPTIONS", good.target.clone()).header("Origin", origin);
        request.header("Access-Control-Request-Method", "GET")
    };
    let origins = [preflight("https://dashboard.example"), preflight("https://elsewhere.example")];
    let method = Request { method: "PATCH", ..good.clone() };
    [good, operation.request(), elsewhere, unknown, unreadable, method].into_iter().chain(origins).collect()
}

async fn every_operation_and_page_bounds_what_browsers_and_caches_do(backend: Backend) {
    let server = Server::start_with(backend, Setup { cors, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let mut statuses = std::collections::BTreeSet::new();
    for operation in operations() {
        let key = server.key(acme.id, Scope::ALL).await;
        for request in requests(operation, &key) {
            let mut connection = Connection::open(server.address).await;
            // What is let in does not end.
            let response = if operation.streams() {
                connection.send_for_head(&request).await
            } else {
                connection.send(&request).await
            };
            check(&request, &response);
            statuses.insert(response.status);
        }
    }
    for page in PAGES {
        for method in ["GET", "HEAD", "POST"] {
            let request = Request::new(method, page);
            let response = Connection::open(server.address).await.send(&request).await;
            check(&request, &response);
            let policy = response.header("Content-Security-Policy").expect("a policy");
            assert_eq!(policy.contains("script-src 'self'"), page.starts_with("/swagger-ui/"), "{page}");
        }
    }
    assert!([200, 201, 400, 401, 404, 405, 422].iter().all(|status| statuses.contains(status)), "{statuses:?}");
}

async fn answers_of_bugs_are_bound_as_well(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for (mode, status) in [(Mode::Panics, 500), (Mode::Broken, 500), (Mode::Unavailable, 503)] {
        server.store.set(mode);
        let request = Request::get("/api/v1/keys");
        let response = acme.send(&request).await;
        assert_eq!(response.status, status, "{mode:?}");
        check(&request, &response);
    }
}

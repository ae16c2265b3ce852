//! Pages of other origins: what their browsers are told.

use crate::layout::problem;
use crate::server::{Server, Setup};
use crate::wire::{Request, Response};
use callscope_api::{CorsOptions, CorsRules};
use callscope_testkit::Backend;
use std::time::Duration;

on_each_backend!(
    a_page_of_an_allowed_origin_may_ask_and_read,
    a_page_of_another_origin_may_not,
    every_page_may_ask_but_never_with_cookies,
    nothing_is_said_unless_an_origin_is_allowed,
);

const OURS: &str = "https://dashboard.example";
const SUMMARY: &str = "/api/v1/analytics/summary";

fn rules(origins: &[&str]) -> CorsRules {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let options = CorsOptions {
        allowed_origins: &owned(origins),
        allowed_methods: &owned(&["GET", "PUT"]),
        allowed_headers: &owned(&["X-API-Key", "Content-Type"]),
        exposed_headers: &owned(&["X-Request-Id", "X-Answered-Window"]),
        max_age: Duration::from_hours(1),
    };
    CorsRules::new(&options).expect("rules")
}

async fn server(backend: Backend, cors: fn() -> CorsRules) -> Server {
    Server::start_with(backend, Setup { cors, ..Setup::default() }).await
}

/// What a browser asks before it sends a request.
fn preflight(origin: &str, method: &str, headers: &str) -> Request {
    let request = Request::new("OPTIONS", SUMMARY).header("Origin", origin);
    request.header("Access-Control-Request-Method", method).header("Access-Control-Request-Headers", headers)
}

/// A list in a header, in order.
fn list(response: &Response, name: &str) -> Vec<String> {
    let header = response.header(name).unwrap_or_default().to_ascii_lowercase();
    let mut list: Vec<String> = header.split(',').map(|element| element.trim().to_owned()).collect();
    list.sort();
    list
}

async fn a_page_of_an_allowed_origin_may_ask_and_read(backend: Backend) {
    let server = server(backend, || rules(&[OURS, "http://localhost:3000"])).await;
    let answer = server.stranger().send(&preflight(OURS, "PUT", "x-api-key,content-type")).await;
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some(OURS)));
    assert_eq!(list(&answer, "Access-Control-Allow-Methods"), ["get", "put"]);
    assert_eq!(list(&answer, "Access-Control-Allow-Headers"), ["content-type", "x-api-key"]);
    assert_eq!(answer.header("Access-Control-Max-Age"), Some("3600"));
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);

    let acme = server.tenant("acme").await;
    let answer = acme.send(&Request::get(SUMMARY).header("Origin", OURS)).await;
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some(OURS)));
    assert_eq!(list(&answer, "Access-Control-Expose-Headers"), ["x-answered-window", "x-request-id"]);
    // Caches must not give one page what another one was answered.
    assert!(list(&answer, "Vary").contains(&"origin".to_owned()), "{:?}", answer.header("Vary"));
    // A page must be able to read what is wrong, too.
    for target in [SUMMARY, "/api/v1/nowhere"] {
        let refused = server.stranger().send(&Request::get(target).header("Origin", OURS)).await;
        assert_eq!(refused.header("Access-Control-Allow-Origin"), Some(OURS), "{target}");
        problem(&refused);
    }
}

async fn a_page_of_another_origin_may_not(backend: Backend) {
    let server = server(backend, || rules(&[OURS])).await;
    let stranger = server.stranger();
    for (origin, method, headers) in [
        ("https://elsewhere.example", "GET", "x-api-key"),
        ("https://dashboard.example.elsewhere.example", "GET", "x-api-key"),
        ("http://dashboard.example", "GET", "x-api-key"),
        ("null", "GET", "x-api-key"),
        (OURS, "DELETE", "x-api-key"),
        (OURS, "GET", "x-api-key,x-other"),
    ] {
        let refused = stranger.send(&preflight(origin, method, headers)).await;
        assert_eq!(refused.status, 400, "{origin} {method} {headers}");
        problem(&refused);
        assert_eq!(refused.header("Access-Control-Allow-Methods"), None);
    }
    let acme = server.tenant("acme").await;
    let answer = acme.send(&Request::get(SUMMARY).header("Origin", "https://elsewhere.example")).await;
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, None));
}

async fn every_page_may_ask_but_never_with_cookies(backend: Backend) {
    let server = server(backend, || rules(&["*"])).await;
    let answer = server.stranger().send(&preflight("https://elsewhere.example", "GET", "x-api-key")).await;
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some("*")));
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);
    let acme = server.tenant("acme").await;
    let answer = acme.send(&Request::get(SUMMARY).header("Origin", "https://elsewhere.example")).await;
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some("*")));
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);
}

async fn nothing_is_said_unless_an_origin_is_allowed(backend: Backend) {
    let server = server(backend, || rules(&[])).await;
    assert_eq!(server.stranger().send(&preflight(OURS, "GET", "x-api-key")).await.status, 405);
    let acme = server.tenant("acme").await;
    let answer = acme.send(&Request::get(SUMMARY).header("Origin", OURS)).await;
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, None));
    assert!(!list(&answer, "Vary").contains(&"origin".to_owned()), "{:?}", answer.header("Vary"));
}

//! Who is let in, and to what.

use crate::client::INGEST;
use crate::layout::problem;
use crate::records::{NOW, call_id, completed, instant};
use crate::server::Server;
use crate::wire::Request;
use callscope_domain::{Actor, Scope, Span};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use std::fmt::Write;

on_each_backend!(
    without_a_valid_key_nothing_is_answered,
    a_key_is_taken_from_either_header_and_from_both_if_they_agree,
    a_key_does_what_its_scopes_say_and_no_more,
    strangers_learn_nothing_about_parameters_or_bodies,
    a_revoked_key_is_refused_from_then_on,
    health_and_documentation_need_no_key
);

const READS: [&str; 6] = ["summary", "call-volume", "workflow-stats", "provider-latency", "errors", "active-calls"];

fn question(path: &str) -> Request {
    Request::get(format!("/api/v1/analytics/{path}"))
}

async fn without_a_valid_key_nothing_is_answered(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let now = instant(NOW);
    let sound = server.key(acme.id, Scope::ALL).await;
    let other = server.key(acme.id, Scope::ALL).await;
    let expired = server.key_with(acme.id, Scope::ALL, |key| key.expires_at = Some(now)).await;
    let revoked = server.key_with(acme.id, Scope::ALL, |key| key.revoked_at = Some(now)).await;
    let unknown = format!("cs_live_{}", "0".repeat(64));
    let ask = || question("summary");
    let table = [
        ("no credential", ask()),
        ("empty X-API-Key", ask().header("X-API-Key", "")),
        ("not of the form of a key", ask().header("X-API-Key", "secret")),
        ("a key with a character too many", ask().header("X-API-Key", format!("{sound}0"))),
        ("a key in capitals", ask().header("X-API-Key", sound.to_uppercase())),
        ("an unknown key", ask().header("X-API-Key", unknown.clone())),
        ("an unknown bearer token", ask().header("Authorization", format!("Bearer {unknown}"))),
        ("an expired key", ask().header("X-API-Key", expired)),
        ("a revoked key", ask().header("X-API-Key", revoked)),
        ("Authorization without a scheme", ask().header("Authorization", sound.clone())),
        ("Basic authorization", ask().header("Authorization", "Basic YTpi")),
        ("Bearer without a token", ask().header("Authorization", "Bearer")),
        ("bytes that are no text", ask().header("X-API-Key", "clé")),
        (
            "two keys that differ",
            ask().header("X-API-Key", sound.clone()).header("Authorization", format!("Bearer {other}")),
        ),
        ("two keys in one header each", ask().header("X-API-Key", sound.clone()).header("X-API-Key", other.clone())),
        ("a key in the query string", question(&format!("summary?api_key={sound}"))),
    ];
    let mut seen = String::new();
    let stranger = server.stranger();
    for (name, request) in table {
        let response = stranger.send(&request).await;
        let challenge = response.header("WWW-Authenticate").unwrap_or_default();
        let _ = writeln!(seen, "{name}\n  {}; {challenge}", problem(&response));
    }
    assert_snapshot!(seen, @r#"
    no credential
      401 authentication_error: send an API key in X-API-Key, or in Authorization as a Bearer token; Bearer realm="callscope"
    empty X-API-Key
      401 authentication_error: the API key is not valid; Bearer realm="callscope"
    not of the form of a key
      401 authentication_error: the API key is not valid; Bearer realm="callscope"
    a key with a character too many
      401 authentication_error: the API key is not valid; Bearer realm="callscope"
    a key in capitals
      401 authentication_error: the API key is not valid; Bearer realm="callscope"
    an unknown key
      401 authentication_error: the API key is not valid; Bearer realm="callscope"
    an unknown bearer token
      401 authentication_error: the API key is not valid; Bearer realm="callscope"
    an expired key
      401 authentication_error: the API key has expired; Bearer realm="callscope"
    a revoked key
      401 authentication_error: the API key has been revoked; Bearer realm="callscope"
    Authorization without a scheme
      401 authentication_error: the Authorization header must be of the form: Bearer cs_live_…; Bearer realm="callscope"
    Basic authorization
      401 authentication_error: the Authorization header must be of the form: Bearer cs_live_…; Bearer realm="callscope"
    Bearer without a token
      401 authentication_error: the API key is not valid; Bearer realm="callscope"
    bytes that are no text
      401 authentication_error: the credential is not plain text; Bearer realm="callscope"
    two keys that differ
      401 authentication_error: the request carries different credentials; send one; Bearer realm="callscope"
    two keys in one header each
      401 authentication_error: the request carries different credentials; send one; Bearer realm="callscope"
    a key in the query string
      401 authentication_error: send an API key in X-API-Key, or in Authorization as a Bearer token; Bearer realm="callscope"
    "#);
    assert_eq!(stranger.connections_opened(), 1);
}

async fn a_key_is_taken_from_either_header_and_from_both_if_they_agree(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let soon = instant(NOW) + Span::from_micros(1);
    let key = server.key_with(acme.id, &[Scope::AnalyticsRead], |key| key.expires_at = Some(soon)).await;
    for headers in [
        vec![("X-API-Key", key.clone())],
        vec![("x-api-key", format!("  {key} "))],
        vec![("Authorization", format!("Bearer {key}"))],
        vec![("authorization", format!("bearer   {key}"))],
        vec![("X-API-Key", key.clone()), ("Authorization", format!("BEARER {key}"))],
    ] {
        let mut request = question("summary");
        request.headers = headers;
        assert_eq!(server.stranger().send(&request).await.status, 200, "{:?}", request.headers);
    }
}

async fn a_key_does_what_its_scopes_say_and_no_more(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let reader = server.client(&server.key(acme.id, &[Scope::AnalyticsRead]).await);
    let writer = server.client(&server.key(acme.id, &[Scope::CallsWrite]).await);
    let idle = server.client(&server.key(acme.id, &[]).await);
    let record = completed(1, "2026-01-17T10:00:00Z", 60);
    let put = Request::new("PUT", format!("{INGEST}/{}", call_id(1))).json(record.to_string());
    let post = Request::new("POST", INGEST).ndjson(record.to_string());
    let mut seen = String::new();
    for (name, client) in [("reader", &reader), ("writer", &writer), ("idle", &idle)] {
        for request in READS.map(question).into_iter().chain([put.clone(), post.clone()]) {
            let response = client.send(&request).await;
            let outcome = match response.status {
                403 => format!("{}; {}", problem(&response), response.header("WWW-Authenticate").unwrap_or_default()),
                status => status.to_string(),
            };
            let _ = writeln!(seen, "{name}: {} {}\n  {outcome}", request.method, request.target);
        }
    }
    assert_snapshot!(seen, @r#"
    reader: GET /api/v1/analytics/summary
      200
    reader: GET /api/v1/analytics/call-volume
      200
    reader: GET /api/v1/analytics/workflow-stats
      200
    reader: GET /api/v1/analytics/provider-latency
      200
    reader: GET /api/v1/analytics/errors
      200
    reader: GET /api/v1/analytics/active-calls
      200
    reader: PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
      403 authorization_error: the credential lacks the scope calls:write; Bearer realm="callscope", error="insufficient_scope", scope="calls:write"
    reader: POST /api/v1/ingest/calls
      403 authorization_error: the credential lacks the scope calls:write; Bearer realm="callscope", error="insufficient_scope", scope="calls:write"
    writer: GET /api/v1/analytics/summary
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    writer: GET /api/v1/analytics/call-volume
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    writer: GET /api/v1/analytics/workflow-stats
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    writer: GET /api/v1/analytics/provider-latency
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    writer: GET /api/v1/analytics/errors
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    writer: GET /api/v1/analytics/active-calls
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    writer: PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
      201
    writer: POST /api/v1/ingest/calls
      200
    idle: GET /api/v1/analytics/summary
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    idle: GET /api/v1/analytics/call-volume
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    idle: GET /api/v1/analytics/workflow-stats
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    idle: GET /api/v1/analytics/provider-latency
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    idle: GET /api/v1/analytics/errors
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    idle: GET /api/v1/analytics/active-calls
      403 authorization_error: the credential lacks the scope analytics:read; Bearer realm="callscope", error="insufficient_scope", scope="analytics:read"
    idle: PUT /api/v1/ingest/calls/00000000-0000-4000-8000-000000000001
      403 authorization_error: the credential lacks the scope calls:write; Bearer realm="callscope", error="insufficient_scope", scope="calls:write"
    idle: POST /api/v1/ingest/calls
      403 authorization_error: the credential lacks the scope calls:write; Bearer realm="callscope", error="insufficient_scope", scope="calls:write"
    "#);
}

async fn strangers_learn_nothing_about_parameters_or_bodies(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let reader = server.client(&server.key(acme.id, &[Scope::AnalyticsRead]).await);
    let faulty_reads = READS.map(|path| question(&format!("{path}?period=2d&nonsense=%ff")));
    let faulty_writes = [
        Request::new("PUT", format!("{INGEST}/no-uuid?x=1")).body("text/plain", "{"),
        Request::new("POST", format!("{INGEST}?x=1")).body("text/plain", "{").header("Content-Encoding", "br"),
    ];
    for request in faulty_reads.iter().chain(&faulty_writes) {
        assert_eq!(server.stranger().send(request).await.status, 401, "{}", request.target);
    }
    for request in &faulty_writes {
        assert_eq!(reader.send(request).await.status, 403, "{}", request.target);
    }
}

async fn a_revoked_key_is_refused_from_then_on(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    assert_eq!(acme.summary("").await.status, 200);
    let keys = callscope_analytics::ports::TenantStore::list_keys(&*server.store, acme.id).await.expect("keys");
    let revoked = callscope_analytics::ports::TenantStore::revoke_key(
        &*server.store,
        acme.id,
        keys[0].id,
        instant(NOW),
        &Actor::CommandLine,
    )
    .await;
    assert!(revoked.expect("a key"));
    assert_eq!(problem(&acme.summary("").await), "401 authentication_error: the API key has been revoked");
}

async fn health_and_documentation_need_no_key(backend: Backend) {
    let server = Server::start(backend).await;
    let stranger = server.stranger();
    for path in ["/health", "/health/live", "/health/ready", "/api-docs/openapi.json", "/swagger-ui/"] {
        assert_eq!(stranger.send(&Request::get(path)).await.status, 200, "{path}");
    }
    let moved = stranger.send(&Request::get("/swagger-ui")).await;
    assert_eq!((moved.status, moved.header("Location")), (302, Some("/swagger-ui/")));
}

//! Who is let in, and to what.

use crate::client::INGEST;
use crate::document::{analytics, operations};
use crate::layout::{export_failure, problem};
use crate::records::{NOW, instant};
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
    // So that what the paths of the examples name exists.
    for operation in operations().filter(|operation| operation.method == "PUT") {
        assert_eq!(acme.send(&operation.request()).await.status, 201);
    }
    for scopes in [&[][..], &[Scope::AnalyticsRead], &[Scope::CallsWrite], &[Scope::KeysManage], Scope::ALL] {
        let client = server.client(&server.key(acme.id, scopes).await);
        for operation in operations().filter(|operation| !operation.streams()) {
            let Some(scope) = operation.scope() else { continue };
            let response = client.send(&operation.request()).await;
            let name = format!("{} {} with {scopes:?}", operation.method, operation.path);
            if scopes.contains(&scope) {
                // The example of a key to revoke does not exist, and a new key gets no scope that its maker lacks.
                let is_refused = response.text().contains(&format!("lacks the scope {scope}"));
                assert!(response.status != 401 && !is_refused, "{name}: {}", response.text());
                continue;
            }
            let lacks = format!("the credential lacks the scope {scope}");
            if operation.is_export() {
                assert_eq!(export_failure(&response), format!("403 7: {lacks}"), "{name}");
            } else {
                assert_eq!(problem(&response), format!("403 authorization_error: {lacks}"), "{name}");
            }
            let challenge = format!(r#"Bearer realm="callscope", error="insufficient_scope", scope="{scope}""#);
            assert_eq!(response.header("WWW-Authenticate"), Some(challenge.as_str()), "{name}");
        }
    }
}

async fn strangers_learn_nothing_about_parameters_or_bodies(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let reader = server.client(&server.key(acme.id, &[Scope::AnalyticsRead]).await);
    let faulty_reads: Vec<_> = analytics().map(|name| question(&format!("{name}?period=2d&nonsense=%ff"))).collect();
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

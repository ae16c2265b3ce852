//! How long keys live that tokens make, and how many keys a tenant may have.

use crate::issuer::{LEEWAY_S, claims, now_s, shared_secret, signed};
use crate::layout::problem;
use crate::server::{KEY_RULES, Server, Setup};
use crate::wire::{Request, Response};
use callscope_api::KeyRules;
use callscope_domain::{Scope, Span, TenantId};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::{Value, json};

on_each_backend!(
    a_key_that_a_token_makes_ends_with_it,
    a_key_that_a_token_makes_ends_with_the_rule_where_the_token_does_not,
    a_key_may_outlive_its_token_where_that_is_allowed,
    tokens_make_no_keys_where_that_is_forbidden,
    past_the_limit_a_tenant_gets_no_key_until_one_ends,
    names_hold_no_control_characters
);

async fn start(backend: Backend, keys: KeyRules) -> Server {
    Server::start_with(backend, Setup { jwt: Some(shared_secret), keys, ..Setup::default() }).await
}

/// Makes a key with a token of a tenant that ends so many seconds from now.
async fn create(server: &Server, tenant: TenantId, token_seconds: i64, expires_at: Option<&str>) -> Response {
    let mut claims = claims(tenant, &[Scope::KeysManage, Scope::AnalyticsRead]);
    claims["exp"] = json!(now_s() + token_seconds);
    let mut body = json!({"scopes": ["analytics:read"]});
    if let Some(expires_at) = expires_at {
        body["expires_at"] = json!(expires_at);
    }
    let request = Request::new("POST", "/api/v1/keys").json(body.to_string());
    let request = request.header("Authorization", format!("Bearer {}", signed(&claims)));
    server.stranger().send(&request).await
}

/// The end of a new key.
fn end(response: &Response) -> Value {
    assert_eq!(response.status, 201, "{}", response.text());
    response.value()["key"]["expires_at"].clone()
}

async fn a_key_that_a_token_makes_ends_with_it(backend: Backend) {
    let server = start(backend, KEY_RULES).await;
    let acme = server.tenant("acme").await;
    assert_eq!(end(&create(&server, acme.id, 300, None).await), "2026-01-17T12:05:00Z");
    let sooner = "2026-01-17T12:04:59Z";
    assert_eq!(end(&create(&server, acme.id, 300, Some(sooner)).await), sooner);
    let later = create(&server, acme.id, 300, Some("2026-01-17T12:05:01Z")).await;
    assert_snapshot!(problem(&later), @"403 authorization_error: the credential cannot grant a key that outlives it; expires_at must be at most 2026-01-17T12:05:00Z");
    // Within the leeway an expired token is let in, and makes nothing.
    for seconds in [0, 1 - LEEWAY_S] {
        for expires_at in [None, Some("2026-01-17T12:00:30Z")] {
            let response = create(&server, acme.id, seconds, expires_at).await;
            assert_eq!(problem(&response), "403 authorization_error: the token has expired, so it makes no keys");
        }
    }
}

async fn a_key_that_a_token_makes_ends_with_the_rule_where_the_token_does_not(backend: Backend) {
    let server = start(backend, KEY_RULES).await;
    let acme = server.tenant("acme").await;
    let long = 1000 * 86_400;
    assert_eq!(end(&create(&server, acme.id, long, None).await), "2026-04-17T12:00:00Z");
    let later = create(&server, acme.id, long, Some("2026-04-17T12:00:01Z")).await;
    assert_snapshot!(problem(&later), @"422 validation_error: expires_at: must be at most 2026-04-17T12:00:00Z, as a token makes the key");
}

async fn a_key_may_outlive_its_token_where_that_is_allowed(backend: Backend) {
    let rules = KeyRules { outlive_token: true, token_ttl_max: Span::from_hours(2), ..KEY_RULES };
    let server = start(backend, rules).await;
    let acme = server.tenant("acme").await;
    assert_eq!(end(&create(&server, acme.id, 300, None).await), "2026-01-17T14:00:00Z");
    assert_eq!(create(&server, acme.id, 300, Some("2026-01-17T14:00:01Z")).await.status, 422);
    assert_eq!(create(&server, acme.id, -1, None).await.status, 403);
}

async fn tokens_make_no_keys_where_that_is_forbidden(backend: Backend) {
    let server = start(backend, KeyRules { token_ttl_max: Span::ZERO, ..KEY_RULES }).await;
    let acme = server.tenant("acme").await;
    let refused = create(&server, acme.id, 300, None).await;
    assert_snapshot!(problem(&refused), @"403 authorization_error: tokens make no keys here; use an API key with keys:manage");
    let body = json!({"scopes": ["analytics:read"]}).to_string();
    assert_eq!(acme.send(&Request::new("POST", "/api/v1/keys").json(body)).await.status, 201, "a key does");
}

async fn past_the_limit_a_tenant_gets_no_key_until_one_ends(backend: Backend) {
    let server = start(backend, KeyRules { tenant_max: 3, ..KEY_RULES }).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let body = json!({"scopes": ["analytics:read"]}).to_string();
    let post = Request::new("POST", "/api/v1/keys").json(body);
    let created = acme.send(&post).await.value();
    assert_eq!(acme.send(&post).await.status, 201);
    let refused = acme.send(&post).await;
    assert_snapshot!(problem(&refused), @"409 limit_reached: the tenant has 3 valid keys, the most it may have; revoke one first");
    assert_eq!(acme.send(&Request::get("/api/v1/keys")).await.value()["total"], 3);
    assert_eq!(globex.send(&post).await.status, 201, "each tenant has its own number");
    let id = created["key"]["key_id"].as_str().expect("an id");
    assert_eq!(acme.send(&Request::new("DELETE", format!("/api/v1/keys/{id}"))).await.status, 204);
    assert_eq!(acme.send(&post).await.status, 201, "revoked keys do not count");
}

async fn names_hold_no_control_characters(backend: Backend) {
    let server = start(backend, KEY_RULES).await;
    let acme = server.tenant("acme").await;
    for character in ['\n', '\r', '\t', '\u{1B}', '\u{7F}', '\u{9B}', '\u{2028}', '\u{202E}', '\u{2066}'] {
        let body = json!({"scopes": ["analytics:read"], "name": format!("a{character}b")}).to_string();
        let response = acme.send(&Request::new("POST", "/api/v1/keys").json(body)).await;
        let expected = "422 validation_error: name: must not contain control characters, line breaks or changes of the \
                        direction of writing";
        assert_eq!(problem(&response), expected, "{character:?}");
        let mut claims = claims(acme.id, Scope::ALL);
        claims["sub"] = json!(format!("a{character}b"));
        let request = Request::get("/api/v1/analytics/summary");
        let request = request.header("Authorization", format!("Bearer {}", signed(&claims)));
        let expected = "401 authentication_error: the token's sub is empty, too long or contains control characters";
        assert_eq!(problem(&server.stranger().send(&request).await), expected, "{character:?}");
    }
}

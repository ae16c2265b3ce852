//! API keys over HTTP: made, listed, revoked, and never more than whoever makes them.

use crate::issuer::{claims, shared_secret, signed};
use crate::layout::problem;
use crate::records::{NOW, instant};
use crate::server::{Server, Setup, TenantClient};
use crate::wire::{Request, Response};
use callscope_analytics::keys::KEY_PREFIX;
use callscope_domain::{ApiKey, RateLimit, Scope};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fmt::Write;

on_each_backend!(
    a_key_is_shown_once_works_is_listed_and_revoked,
    a_credential_grants_nothing_that_it_lacks,
    a_key_that_cannot_be_is_refused_with_every_reason,
    keys_of_another_tenant_are_not_there,
    the_list_comes_in_pages,
    a_key_inherits_the_limit_of_its_maker
);

const KEYS: &str = "/api/v1/keys";

fn post(body: &Value) -> Request {
    Request::new("POST", KEYS).json(body.to_string())
}

async fn create(client: &TenantClient, body: &Value) -> (String, String) {
    let response = client.send(&post(body)).await;
    assert_eq!(response.status, 201, "{}", response.text());
    let value = response.value();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(&value["key"]["key_id"]), text(&value["secret"]))
}

async fn summary(server: &Server, key: &str) -> Response {
    server.client(key).summary("").await
}

async fn a_key_is_shown_once_works_is_listed_and_revoked(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let wanted = json!({"name": "Dashboard", "scopes": ["calls:write", "analytics:read", "analytics:read"],
                        "expires_at": "2026-01-17T13:00:00+01:00", "requests_per_second": 20});
    assert_snapshot!(problem(&acme.send(&post(&wanted)).await), @"422 validation_error: expires_at: must be in the future");
    let mut wanted = wanted;
    wanted["expires_at"] = json!("2026-01-17T13:00:01+01:00");
    let response = acme.send(&post(&wanted)).await;
    assert_eq!((response.status, response.header("Cache-Control")), (201, Some("no-store")));
    let (created, secret) = (response.value()["key"].clone(), response.value()["secret"].clone());
    let (id, secret) = (created["key_id"].as_str().expect("an id"), secret.as_str().expect("a secret"));
    let expected = json!({
        "key_id": id, "name": "Dashboard", "scopes": ["analytics:read", "calls:write"], "created_at": NOW,
        "expires_at": "2026-01-17T12:00:01Z", "revoked_at": null, "requests_per_second": 20, "burst": 40,
    });
    assert_eq!(created, expected);
    assert!(secret.starts_with(KEY_PREFIX));
    assert_eq!(summary(&server, secret).await.status, 200);

    let list = acme.send(&Request::get(KEYS)).await;
    assert_eq!((&list.value()["total"], &list.value()["items"][1]), (&json!(2), &expected));
    assert!(!list.text().contains(KEY_PREFIX) && !list.text().contains("hash"), "{}", list.text());

    let delete = Request::new("DELETE", format!("{KEYS}/{id}"));
    let revoked = acme.send(&delete).await;
    assert_eq!((revoked.status, revoked.text()), (204, ""));
    assert_eq!(problem(&summary(&server, secret).await), "401 authentication_error: the API key has been revoked");
    assert_eq!(acme.send(&delete).await.status, 204, "again changes nothing");
    let list = acme.send(&Request::get(KEYS)).await.value();
    assert_eq!(list["items"][1]["revoked_at"], NOW);
    // A key may end itself.
    let own = list["items"][0]["key_id"].as_str().expect("an id");
    assert_eq!(acme.send(&Request::new("DELETE", format!("{KEYS}/{own}"))).await.status, 204);
    assert_eq!(acme.send(&Request::get(KEYS)).await.status, 401);
}

async fn a_credential_grants_nothing_that_it_lacks(backend: Backend) {
    let server = Server::start_with(backend, Setup { jwt: Some(shared_secret), ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let manager = server.key(acme.id, &[Scope::KeysManage, Scope::AnalyticsRead]).await;
    let token = signed(&claims(acme.id, &[Scope::KeysManage, Scope::AnalyticsRead]));
    let stranger = server.stranger();
    for header in [("X-API-Key", manager.clone()), ("Authorization", format!("Bearer {token}"))] {
        let mut seen = String::new();
        for scopes in [json!(["analytics:read"]), json!(["keys:manage"]), json!(["calls:write"]), json!(Scope::WORDS)] {
            let mut request = post(&json!({"scopes": scopes}));
            request.headers.push(header.clone());
            let response = stranger.send(&request).await;
            let outcome = if response.status == 201 { "201".to_owned() } else { problem(&response) };
            let _ = writeln!(seen, "{scopes}: {outcome}");
        }
        assert_snapshot!(seen, @r#"
        ["analytics:read"]: 201
        ["keys:manage"]: 201
        ["calls:write"]: 403 authorization_error: the credential cannot grant the scope calls:write, which it lacks
        ["analytics:read","calls:write","keys:manage"]: 403 authorization_error: the credential cannot grant the scope calls:write, which it lacks
        "#);
    }
    // Without the scope there is nothing to be had, not even a look.
    let reader = server.client(&server.key(acme.id, Scope::OF_CLIENTS).await);
    for request in [post(&json!({"scopes": ["analytics:read"]})), Request::get(KEYS)] {
        assert_eq!(reader.send(&request).await.status, 403);
    }
    // A key that ends grants none that outlives it.
    let ends = |key: &mut ApiKey| key.expires_at = Some(instant("2026-01-17T13:00:00Z"));
    let mortal = server.client(&server.key_with(acme.id, Scope::ALL, ends).await);
    for (expires_at, status) in
        [(json!("2026-01-17T13:00:00Z"), 201), (json!("2026-01-17T13:00:01Z"), 403), (json!(null), 403)]
    {
        let wanted = json!({"scopes": ["analytics:read"], "expires_at": expires_at});
        let response = mortal.send(&post(&wanted)).await;
        assert_eq!(response.status, status, "{wanted}: {}", response.text());
    }
    // A limited credential grants no wider limit.
    let rate = RateLimit::new(10, 20).expect("a rate");
    let limited = server.client(&server.key_with(acme.id, Scope::ALL, |key| key.rate = Some(rate)).await);
    for (requests, burst, status) in [(10, 20, 201), (1, 1, 201), (11, 20, 403), (10, 21, 403), (0, 1, 403)] {
        let wanted = json!({"scopes": ["analytics:read"], "requests_per_second": requests, "burst": burst});
        let response = limited.send(&post(&wanted)).await;
        assert_eq!(response.status, status, "{wanted}: {}", response.text());
    }
}

async fn a_key_that_cannot_be_is_refused_with_every_reason(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let bodies = [
        "{}",
        "[]",
        "7",
        "{",
        r#"{"scopes": []}"#,
        r#"{"scopes": ["everything"]}"#,
        r#"{"scopes": "analytics:read"}"#,
        r#"{"scopes": ["analytics:read"], "name": "", "expires_at": "soon", "requests_per_second": -1, "burst": 0}"#,
        r#"{"scopes": ["analytics:read"], "burst": 5}"#,
        r#"{"scopes": ["analytics:read"], "requests_per_second": 1000001}"#,
        r#"{"scopes": ["analytics:read"], "requests_per_second": 1.5}"#,
        r#"{"scopes": ["analytics:read"], "tenant_id": "x"}"#,
        r#"{"scopes": ["analytics:read"], "scopes": ["keys:manage"]}"#,
    ];
    let mut seen = String::new();
    for body in bodies {
        let response = acme.send(&Request::new("POST", KEYS).json(body)).await;
        let _ = writeln!(seen, "{body}\n  {}", problem(&response));
    }
    let endless = format!(r#"{{"name": "{}"}}"#, "x".repeat(20_000));
    let refused = acme.send(&Request::new("POST", KEYS).json(endless)).await;
    assert!(problem(&refused).starts_with("413 payload_too_large: the body must be at most 16384 bytes"));
    assert_snapshot!(seen, @r#"
    {}
      422 validation_error: scopes: must name at least one scope
    []
      422 validation_error: (body): must be an object
    7
      422 validation_error: (body): must be an object
    {
      400 malformed_request: the body is not valid JSON: EOF while parsing an object (column 1)
    {"scopes": []}
      422 validation_error: scopes: must name at least one scope
    {"scopes": ["everything"]}
      422 validation_error: scopes: each must be one of analytics:read, calls:write, keys:manage
    {"scopes": "analytics:read"}
      422 validation_error: scopes: must be a list
    {"scopes": ["analytics:read"], "name": "", "expires_at": "soon", "requests_per_second": -1, "burst": 0}
      422 validation_error: 4 fields are at fault
        name: must not be empty
        expires_at: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
        requests_per_second: must be a whole number from 0 to 1000000
        burst: must be a whole number from 1 to 1000000
    {"scopes": ["analytics:read"], "burst": 5}
      422 validation_error: burst: needs requests_per_second
    {"scopes": ["analytics:read"], "requests_per_second": 1000001}
      422 validation_error: requests_per_second: must be a whole number from 0 to 1000000
    {"scopes": ["analytics:read"], "requests_per_second": 1.5}
      422 validation_error: requests_per_second: must be a whole number
    {"scopes": ["analytics:read"], "tenant_id": "x"}
      422 validation_error: tenant_id: is unknown; allowed: name, scopes, expires_at, requests_per_second, burst
    {"scopes": ["analytics:read"], "scopes": ["keys:manage"]}
      422 validation_error: scopes: must not be given more than once
    "#);
    assert_eq!(acme.send(&Request::get(KEYS)).await.value()["total"], 1);
}

async fn keys_of_another_tenant_are_not_there(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let (id, secret) = create(&acme, &json!({"scopes": ["analytics:read"], "name": "Acme's own"})).await;
    let delete = Request::new("DELETE", format!("{KEYS}/{id}"));
    assert_snapshot!(problem(&globex.send(&delete).await), @"404 not_found: the tenant has no key with this id");
    let list = globex.send(&Request::get(KEYS)).await;
    assert!(
        list.value()["total"] == 1 && !list.text().contains(&id) && !list.text().contains("Acme"),
        "{}",
        list.text()
    );
    assert_eq!(summary(&server, &secret).await.status, 200);
    let malformed = acme.send(&Request::new("DELETE", format!("{KEYS}/17"))).await;
    assert_snapshot!(problem(&malformed), @"422 validation_error: key_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09");
}

async fn the_list_comes_in_pages(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for number in 1..7 {
        let created_at = instant(NOW) + callscope_domain::Span::from_seconds(number);
        server.key_with(acme.id, &[], |key| key.created_at = created_at).await;
    }
    for (query, seconds) in [("?limit=3", vec![0, 1, 2]), ("?offset=5&limit=3", vec![5, 6]), ("?offset=7", vec![])] {
        let page = acme.send(&Request::get(format!("{KEYS}{query}"))).await.value();
        assert_eq!(page["total"], 7);
        let expected: Vec<String> = seconds.iter().map(|second| format!("2026-01-17T12:00:0{second}Z")).collect();
        let seen: Vec<&str> =
            page["items"].as_array().expect("items").iter().filter_map(|key| key["created_at"].as_str()).collect();
        assert_eq!(seen, expected, "{query}");
    }
    for query in ["?limit=0", "?limit=201", "?offset=-1", "?page=1"] {
        assert_eq!(acme.send(&Request::get(format!("{KEYS}{query}"))).await.status, 422, "{query}");
    }
}

async fn a_key_inherits_the_limit_of_its_maker(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let rate = RateLimit::new(7, 9).expect("a rate");
    let limited = server.client(&server.key_with(acme.id, Scope::ALL, |key| key.rate = Some(rate)).await);
    for (client, expected) in [(&limited, (json!(7), json!(9))), (&acme.client, (json!(null), json!(null)))] {
        let key = client.send(&post(&json!({"scopes": ["analytics:read"]}))).await.value()["key"].clone();
        assert_eq!((key["requests_per_second"].clone(), key["burst"].clone()), expected);
    }
}

//! A walk through every operation of the document, and every socket, with everything that is no credential for it:
//! nobody gets in, and another tenant finds nothing. Operations are taken from the document, so a new one is walked
//! through by itself.

use crate::document::{Operation, operations};
use crate::issuer::{Keys, claims, now_s, shared_secret, signed};
use crate::layout::{answer, export_failure, problem};
use crate::records::{NOW, completed, error, instant};
use crate::server::{KEY_RULES, Server, Setup, TenantClient};
use crate::wire::{Connection, Request, Response};
use callscope_api::KeyRules;
use callscope_domain::{Scope, Span, TenantId};
use callscope_testkit::Backend;
use serde_json::json;

on_each_backend!(
    whoever_is_not_let_in_sees_nothing_anywhere,
    another_tenant_sees_nothing_of_the_first_and_changes_nothing_of_it
);

/// Routes that the document has no words for, with the scope that each demands.
const SOCKETS: [(&str, Scope); 2] = [("/ws/calls", Scope::AnalyticsRead), ("/ws/analytics", Scope::AnalyticsRead)];

/// What only the first tenant knows: the names in its data and in its keys.
const MARK: &str = "acmes-own";

/// What is walked through: a good request but for its credential, and the scope that it demands.
struct Step {
    request: Request,
    scope: Scope,
    streams: bool,
}

fn steps() -> Vec<Step> {
    let of_operation = |operation: Operation| {
        let (request, streams) = (operation.request(), operation.streams());
        Some(Step { request, scope: operation.scope()?, streams })
    };
    let of_socket = |(path, scope): (&str, Scope)| Step { request: socket(path), scope, streams: true };
    operations().filter_map(of_operation).chain(SOCKETS.map(of_socket)).collect()
}

/// A handshake that a WebSocket would answer with 101.
fn socket(path: &str) -> Request {
    Request::get(path)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

async fn send(server: &Server, step: &Step, headers: &[(&'static str, String)]) -> Response {
    let mut request = step.request.clone();
    request.headers.extend_from_slice(headers);
    if !step.streams {
        return server.stranger().send(&request).await;
    }
    // What is let in does not end.
    Connection::open(server.address).await.send_for_head(&request).await
}

/// A tenant whose every endpoint has something to show.
async fn marked(server: &Server, slug: &str) -> TenantClient {
    let tenant = server.tenant(slug).await;
    let at = "2026-01-17T10:00:00Z";
    let record = completed(1, at, 60)
        .workflow(MARK, MARK)
        .provider("stt", MARK, &[100.0])
        .error(error(at, "stt", "error", MARK));
    tenant.given(&[record]).await;
    server.key_with(tenant.id, Scope::ALL, |key| key.name = Some(MARK.parse().expect("a name"))).await;
    tenant
}

/// Everything that is no credential for a scope.
async fn refused(server: &Server, tenant: TenantId, scope: Scope) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let others: Vec<Scope> = Scope::ALL.iter().copied().filter(|&other| other != scope).collect();
    let now = instant(NOW);
    let key = |key: String| vec![("X-API-Key", key)];
    let bearer = |token: String| vec![("Authorization", format!("Bearer {token}"))];
    let good = claims(tenant, Scope::ALL);
    let (mut expired, mut endless) = (good.clone(), good.clone());
    expired["exp"] = json!(now_s() - 3600);
    endless.as_object_mut().expect("claims").remove("exp");
    let stolen = server.key(tenant, Scope::ALL).await;
    vec![
        ("no credential", Vec::new()),
        ("an empty key", key(String::new())),
        ("a malformed key", key("secret".to_owned())),
        ("a malformed header", vec![("Authorization", stolen.clone())]),
        ("a basic credential", vec![("Authorization", "Basic YTpi".to_owned())]),
        ("a forged key", key(format!("cs_live_{}", "0".repeat(64)))),
        ("a key with another digit", key(forge(&stolen))),
        ("an expired key", key(server.key_with(tenant, Scope::ALL, |key| key.expires_at = Some(now)).await)),
        ("a revoked key", key(server.key_with(tenant, Scope::ALL, |key| key.revoked_at = Some(now)).await)),
        ("a key without the scope", key(server.key(tenant, &others).await)),
        ("a forged token", bearer(Keys::new().sign(&json!({"alg": "EdDSA"}), &good))),
        ("a token with another signature", bearer(forge(&signed(&good)))),
        ("an unsigned token", bearer(crate::issuer::token(&json!({"alg": "none"}), &good, |_| Vec::new()))),
        ("an expired token", bearer(signed(&expired))),
        ("a token without an end", bearer(signed(&endless))),
        ("a token without the scope", bearer(signed(&claims(tenant, &others)))),
    ]
}

/// The same with another character in the middle of its secret part.
fn forge(secret: &str) -> String {
    let place = secret.len() - 10;
    let other = if secret.as_bytes()[place] == b'1' { '2' } else { '1' };
    format!("{}{other}{}", &secret[..place], &secret[place + 1..])
}

async fn whoever_is_not_let_in_sees_nothing_anywhere(backend: Backend) {
    let server = Server::start_with(backend, Setup { jwt: Some(shared_secret), ..Setup::default() }).await;
    let acme = marked(&server, "acme").await;
    let mut walked = 0;
    for step in steps() {
        for (name, headers) in refused(&server, acme.id, step.scope).await {
            let response = send(&server, &step, &headers).await;
            let what = format!("{} {} with {name}: {}", step.request.method, step.request.target, response.text());
            assert_eq!(response.status, if name.ends_with("without the scope") { 403 } else { 401 }, "{what}");
            if step.request.target.starts_with("/v1/") {
                export_failure(&response);
            } else {
                problem(&response);
            }
            assert!(!response.text().contains(MARK), "{what}");
            walked += 1;
        }
        // So that the step is known to be one that a good credential takes.
        let good = server.key(acme.id, Scope::ALL).await;
        let response = send(&server, &step, &[("X-API-Key", good)]).await;
        assert!(response.status != 401 && response.status != 403, "{}: {}", step.request.target, response.text());
    }
    assert!(walked >= 16 * 14, "{walked}");
    let open: Vec<_> = operations().filter(|operation| operation.scope().is_none()).collect();
    assert!(open.iter().all(|operation| operation.path.starts_with("/health")), "an operation that anyone may ask");
}

async fn another_tenant_sees_nothing_of_the_first_and_changes_nothing_of_it(backend: Backend) {
    // So that a token may make the key of the example.
    let keys = KeyRules { token_ttl_max: Span::from_hours(365 * 24), outlive_token: true, ..KEY_RULES };
    let server = Server::start_with(backend, Setup { jwt: Some(shared_secret), keys, ..Setup::default() }).await;
    let acme = marked(&server, "acme").await;
    let globex = server.tenant("globex").await;
    let questions = operations().filter(|operation| operation.method == "GET" && !operation.streams());
    // About a call that the tenant has.
    let of_call = |request: Request| {
        let target = request.target.replace("31c02e4f-12e0-4af0-869b-aab222503a09", &crate::records::call_id(1));
        Request { target, ..request }
    };
    let questions: Vec<Request> =
        questions.filter(|asked| asked.scope().is_some()).map(Operation::request).map(of_call).collect();
    let answers = async || {
        let mut answers = Vec::new();
        for question in &questions {
            answers.push(answer(&acme.send(question).await));
        }
        answers
    };
    let before = answers().await;
    assert!(before.iter().filter(|answer| answer.contains(MARK)).count() >= 4, "{before:#?}");
    let ids = [crate::records::call_id(1), acme_key(&acme).await];
    let key = ("X-API-Key", server.key(globex.id, Scope::ALL).await);
    let token = ("Authorization", format!("Bearer {}", signed(&claims(globex.id, Scope::ALL))));
    for header in [key, token] {
        for step in steps().into_iter().filter(|step| !step.streams) {
            // With the ids of the first tenant's own things in the path.
            for id in &ids {
                let target = step.request.target.replace("31c02e4f-12e0-4af0-869b-aab222503a09", id);
                let body =
                    String::from_utf8_lossy(&step.request.body).replace("31c02e4f-12e0-4af0-869b-aab222503a09", id);
                let request = Request { target, body: body.into_bytes(), ..step.request.clone() };
                let request = request.header(header.0, header.1.clone());
                let response = server.stranger().send(&request).await;
                let what = format!("{} {}: {}", request.method, request.target, response.text());
                assert!(!response.text().contains(MARK), "{what}");
                assert!(response.status < 300 || response.status == 404, "{what}");
            }
        }
    }
    assert_eq!(answers().await, before);
    // What was written is theirs, under the same ids.
    assert_eq!(globex.summary("?period=30d").await.value()["total_calls"], ids.len());
}

/// The id of one of the tenant's keys.
async fn acme_key(acme: &TenantClient) -> String {
    let list = acme.send(&Request::get("/api/v1/keys")).await.value();
    list["items"][0]["key_id"].as_str().expect("an id").to_owned()
}

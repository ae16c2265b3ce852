//! Answers that are kept for a moment, and answers that the client has already.

use crate::document::analytics;
use crate::metrics::metric;
use crate::records::completed;
use crate::server::{Server, Setup, TenantClient};
use crate::store::Mode;
use crate::wire::{Request, Response};
use callscope_api::CacheLimits;
use callscope_domain::{KeyId, Scope};
use callscope_testkit::Backend;
use futures_util::future::join_all;
use std::time::Duration;
use uuid::Uuid;

on_each_backend!(
    identical_questions_in_flight_are_asked_once,
    an_answer_is_kept_until_its_time_is_over,
    nothing_is_kept_or_shared_where_the_time_is_zero,
    two_tenants_never_share_an_answer,
    a_failure_is_kept_for_nobody,
    a_faulty_question_is_never_answered_from_the_cache,
    a_credential_is_checked_before_the_cache_is,
    a_client_that_has_the_answer_gets_no_body,
    a_key_is_looked_up_once_and_refused_at_once_when_it_is_revoked_here,
    revocations_of_one_tenant_do_not_cost_another_one_lookups
);

const LONG: Duration = Duration::from_hours(1);

async fn start(backend: Backend, ttl: Duration) -> Server {
    let cache = CacheLimits { ttl, entries_max: 1000, bytes_max: 1 << 20 };
    Server::start_with(backend, Setup { cache, ..Setup::default() }).await
}

async fn identical_questions_in_flight_are_asked_once(backend: Backend) {
    let server = start(backend, LONG).await;
    let acme = server.tenant("acme").await;
    let key = server.key(acme.id, Scope::ALL).await;
    for (question, asked) in analytics().zip(1..) {
        server.store.hold_questions();
        // Each client has a connection of its own.
        let clients: Vec<_> = (0..20).map(|_| server.client(&key)).collect();
        let answers = join_all(clients.iter().map(|client| client.ask(question)));
        let release = async {
            // All of them, and the one that asks for their number.
            while metric(&server, "callscope_http_requests_in_flight").await < 21 {}
            server.store.questions_asked(asked).await;
            server.store.release_questions();
        };
        let (answers, ()) = tokio::join!(answers, release);
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body), "{question}");
        assert_eq!(server.store.questions(), asked, "{question}");
    }
}

async fn total_calls(tenant: &TenantClient) -> u64 {
    tenant.summary("").await.value()["total_calls"].as_u64().expect("a number")
}

async fn an_answer_is_kept_until_its_time_is_over(backend: Backend) {
    let server = start(backend, LONG).await;
    let acme = server.tenant("acme").await;
    assert_eq!(total_calls(&acme).await, 0);
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)]).await;
    assert_eq!(total_calls(&acme).await, 0, "it is kept");
    let other = acme.summary("?period=7d").await.value();
    assert_eq!(other["total_calls"], 1, "another question has another answer");

    let server = start(backend, Duration::from_millis(50)).await;
    let acme = server.tenant("acme").await;
    assert_eq!(total_calls(&acme).await, 0);
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)]).await;
    while total_calls(&acme).await == 0 {}
}

async fn nothing_is_kept_or_shared_where_the_time_is_zero(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for calls in 1..5 {
        acme.given(&[completed(calls, "2026-01-17T10:00:00Z", 60)]).await;
        assert_eq!(total_calls(&acme).await, u64::from(calls));
    }
    assert_eq!(server.store.questions(), 4);
}

async fn two_tenants_never_share_an_answer(backend: Backend) {
    let server = start(backend, LONG).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let record = |number| {
        completed(number, "2026-01-17T10:00:00Z", 60).workflow("daily-call", "Daily").provider("stt", "x", &[1.0])
    };
    acme.given(&[record(1)]).await;
    for question in analytics() {
        let (of_acme, of_globex) = (acme.ask(question).await, globex.ask(question).await);
        if question != "errors" && question != "active-calls" {
            assert_ne!(of_acme.body, of_globex.body, "{question}");
        }
        // What the other has is none of ours, even for whoever knows its tag.
        let tag = of_acme.header("ETag").expect("a tag").to_owned();
        let again = globex.send(&ask(question).header("If-None-Match", tag)).await;
        assert_eq!(again.status, if of_acme.body == of_globex.body { 304 } else { 200 }, "{question}");
        assert_eq!(again.header("ETag"), of_globex.header("ETag"));
    }
    assert_eq!(server.store.questions(), 2 * analytics().count());
}

async fn a_failure_is_kept_for_nobody(backend: Backend) {
    let server = start(backend, LONG).await;
    let acme = server.tenant("acme").await;
    for (mode, status) in [(Mode::Unavailable, 503), (Mode::Broken, 500)] {
        server.store.set(mode);
        for question in analytics() {
            assert_eq!(acme.ask(question).await.status, status, "{question}");
        }
    }
    server.store.set(Mode::Sound);
    for question in analytics() {
        assert_eq!(acme.ask(question).await.status, 200, "{question}");
    }
    // And what is kept is answered while the database is away.
    server.store.set(Mode::Unavailable);
    for question in analytics() {
        assert_eq!(acme.ask(question).await.status, 200, "{question}");
    }
}

async fn a_faulty_question_is_never_answered_from_the_cache(backend: Backend) {
    let server = start(backend, LONG).await;
    let acme = server.tenant("acme").await;
    for _ in 0..2 {
        assert_eq!(acme.summary("?period=24h").await.status, 200);
        assert_eq!(acme.summary("?period=24h&period=24h").await.status, 422);
        assert_eq!(acme.summary("?period=%ff").await.status, 400);
        assert_eq!(acme.active_calls().await.status, 200);
        assert_eq!(acme.ask("active-calls?period=24h").await.status, 422);
    }
}

async fn a_credential_is_checked_before_the_cache_is(backend: Backend) {
    let server = start(backend, LONG).await;
    let acme = server.tenant("acme").await;
    let writer = server.client(&server.key(acme.id, &[Scope::CallsWrite]).await);
    assert_eq!(acme.ask("summary").await.status, 200);
    assert_eq!(server.stranger().ask("summary").await.status, 401);
    assert_eq!(writer.ask("summary").await.status, 403);
}

fn ask(question: &str) -> Request {
    Request::get(format!("/api/v1/analytics/{question}"))
}

fn validators(response: &Response) -> [Option<&str>; 4] {
    ["ETag", "Cache-Control", "Vary", "X-Answered-Window"].map(|name| response.header(name))
}

async fn a_client_that_has_the_answer_gets_no_body(backend: Backend) {
    for ttl in [Duration::ZERO, LONG] {
        let server = start(backend, ttl).await;
        let acme = server.tenant("acme").await;
        for question in analytics() {
            let first = acme.ask(question).await;
            let tag = first.header("ETag").expect("a tag").to_owned();
            assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20, "{tag}");
            assert_eq!(first.header("Cache-Control"), Some("private, no-cache"));
            assert_eq!(first.header("Vary"), Some("X-API-Key, Authorization"));
            for known in [tag.clone(), format!("W/{tag}"), "*".to_owned(), format!("\"other\", {tag}")] {
                let again = acme.send(&ask(question).header("If-None-Match", known.clone())).await;
                assert_eq!((again.status, again.body.len()), (304, 0), "{question} {known}");
                assert_eq!(validators(&again), validators(&first), "{question}");
                assert_eq!(again.header("Content-Type"), None);
            }
            let other = acme.send(&ask(question).header("If-None-Match", "\"other\"")).await;
            assert_eq!((other.status, &other.body), (200, &first.body), "{question}");
        }
        let head = acme.send(&Request { method: "HEAD", ..ask("summary") }).await;
        let tag = head.header("ETag").expect("a tag").to_owned();
        let head = acme.send(&Request { method: "HEAD", ..ask("summary") }.header("If-None-Match", tag.clone())).await;
        assert_eq!(head.status, 304);
        if ttl.is_zero() {
            acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)]).await;
            assert_eq!(acme.send(&ask("summary").header("If-None-Match", tag)).await.status, 200);
        }
        assert_eq!(acme.connections_opened(), 1);
    }
}

async fn a_key_is_looked_up_once_and_refused_at_once_when_it_is_revoked_here(backend: Backend) {
    let server = start(backend, LONG).await;
    let acme = server.tenant("acme").await;
    let id = KeyId(Uuid::now_v7());
    let key = server.key_with(acme.id, Scope::ALL, |key| key.id = id).await;
    let client = server.client(&key);
    for _ in 0..5 {
        assert_eq!(client.ask("summary").await.status, 200);
    }
    assert_eq!(server.store.key_lookups(), 1);
    assert_eq!(acme.send(&Request::new("DELETE", format!("/api/v1/keys/{}", id.0))).await.status, 204);
    assert_eq!(client.ask("summary").await.status, 401);
    // A key that is not known is not known for nobody: it may be made the next moment.
    let stranger = server.client(&format!("cs_live_{}", "0".repeat(64)));
    let before = server.store.key_lookups();
    for _ in 0..2 {
        assert_eq!(stranger.ask("summary").await.status, 401);
    }
    assert_eq!(server.store.key_lookups(), before + 2);
    // What fails is kept for nobody either.
    server.store.set(Mode::KeysUnavailable);
    let other = server.client(&server.key(acme.id, Scope::ALL).await);
    assert_eq!(other.ask("summary").await.status, 503);
    server.store.set(Mode::Sound);
    assert_eq!(other.ask("summary").await.status, 200);
}

async fn revocations_of_one_tenant_do_not_cost_another_one_lookups(backend: Backend) {
    let server = start(backend, LONG).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let id = KeyId(Uuid::now_v7());
    let key = server.key_with(acme.id, Scope::ALL, |key| key.id = id).await;
    let client = server.client(&key);
    assert_eq!(client.ask("summary").await.status, 200);
    assert_eq!(globex.ask("summary").await.status, 200);
    let before = server.store.key_lookups();
    for unknown in 0..3 {
        let delete = Request::new("DELETE", format!("/api/v1/keys/{}", Uuid::from_u128(unknown)));
        assert_eq!(acme.send(&delete).await.status, 404);
    }
    // That of acme itself was looked up again, as another one of its keys might have been revoked.
    let of_acme = server.store.key_lookups() - before;
    assert!((1..=3).contains(&of_acme), "{of_acme}");
    assert_eq!(globex.ask("summary").await.status, 200);
    assert_eq!(server.store.key_lookups(), before + of_acme);
    assert_eq!(acme.send(&Request::new("DELETE", format!("/api/v1/keys/{}", id.0))).await.status, 204);
    assert_eq!(client.ask("summary").await.status, 401);
}

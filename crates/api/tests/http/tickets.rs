//! Tickets, and what else opens a socket.

use crate::issuer::{claims, shared_secret, signed};
use crate::layout::problem;
use crate::records::{NOW, instant};
use crate::server::{Server, Setup, TenantClient};
use crate::wire::{Connection, Request, Response};
use callscope_analytics::access::{AccessStore, TICKETS_PER_TENANT_MAX};
use callscope_analytics::ports::TenantStore;
use callscope_analytics::tickets::TicketSecret;
use callscope_domain::{Actor, Principal, Scope, Span, Subject, TenantId, Ticket, Timestamp};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use std::fmt::Write;
use uuid::Uuid;

on_each_backend!(
    a_ticket_opens_one_socket_once,
    a_request_that_cannot_open_a_socket_does_not_use_its_ticket_up,
    of_many_that_present_a_ticket_one_gets_in,
    a_ticket_opens_no_more_than_it_was_made_for,
    a_ticket_ends_with_its_time_and_with_its_makers_credential,
    a_tenants_tickets_are_bounded_and_the_expired_ones_go,
    a_key_or_a_token_in_the_address_is_taken_only_if_the_server_is_told_so,
    what_stays_open_is_asked_again
);

/// Every route that takes tickets, and how it answers a client that is let in.
const SOCKETS: [(&str, u16); 3] = [("/ws/calls", 101), ("/ws/analytics", 101), ("/api/v1/sse/calls/stream", 200)];

/// Opens a route, and looks no further than the status and, of a refusal, the body.
pub async fn open(server: &Server, target: &str, headers: &[(&'static str, &str)]) -> Response {
    let mut request = Request::get(target);
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let handshake = handshake.iter().filter(|_| target.starts_with("/ws/"));
    request.headers = handshake.chain(headers).map(|(name, value)| (*name, (*value).to_owned())).collect();
    Connection::open(server.address).await.send_for_head(&request).await
}

async fn make(client: &TenantClient) -> String {
    let response = client.send(&Request::new("POST", "/api/v1/auth/tickets")).await;
    assert_eq!((response.status, response.header("Cache-Control")), (201, Some("no-store")));
    assert_eq!(response.value()["expires_at"], "2026-01-17T12:00:30Z");
    response.value()["ticket"].as_str().expect("a ticket").to_owned()
}

async fn a_ticket_opens_one_socket_once(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for (path, status) in SOCKETS {
        let ticket = make(&acme).await;
        let target = format!("{path}?ticket={ticket}");
        // What else the address says is read as if the ticket were not there.
        assert_eq!(open(&server, &format!("{target}&workflow=daily-call"), &[]).await.status, status, "{path}");
        let again = open(&server, &target, &[]).await;
        assert_snapshot!(problem(&again), @"401 authentication_error: the ticket is not valid: it was used, has expired, or never was one");
        let ticket = make(&acme).await;
        let faulty = open(&server, &format!("{path}?ticket={ticket}&x=1"), &[]).await;
        assert!(faulty.status == 422 && !faulty.text().contains("ticket"), "{}", faulty.text());
    }
}

async fn a_request_that_cannot_open_a_socket_does_not_use_its_ticket_up(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for (path, status) in SOCKETS {
        let target = format!("{path}?ticket={}", make(&acme).await);
        let head = server.stranger().send(&Request::new("HEAD", target.as_str())).await;
        assert_eq!(head.status, if path.starts_with("/ws/") { 400 } else { 401 }, "{path}");
        if path.starts_with("/ws/") {
            assert_eq!(server.stranger().send(&Request::get(target.as_str())).await.status, 400, "{path}");
        }
        assert_eq!(open(&server, &target, &[]).await.status, status, "{path}");
    }
}

async fn of_many_that_present_a_ticket_one_gets_in(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let target = format!("/ws/calls?ticket={}", make(&acme).await);
    let asked = (0..16).map(|_| open(&server, &target, &[]));
    let mut statuses: Vec<u16> =
        futures_util::future::join_all(asked).await.into_iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (101, &[401; 15][..]));
}

async fn a_ticket_opens_no_more_than_it_was_made_for(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let ticket = make(&acme).await;
    // Not what takes headers only, and not as a header.
    let plain = Request::get(format!("/api/v1/analytics/summary?ticket={ticket}"));
    assert_eq!(server.stranger().send(&plain).await.status, 401);
    for headers in [[("X-API-Key", ticket.as_str())], [("Authorization", &format!("Bearer {ticket}"))]] {
        assert_eq!(open(&server, "/ws/calls", &headers).await.status, 401);
    }
    // Another tenant's id in it makes it another one, which never was.
    let forged = ticket.replace(&acme.id.0.simple().to_string(), &globex.id.0.simple().to_string());
    let key = server.key(acme.id, Scope::ALL).await;
    let mut seen = String::new();
    for (name, query) in [
        ("another tenant's", format!("ticket={forged}")),
        ("no ticket at all", "ticket=".to_owned()),
        ("a key", format!("ticket={key}")),
        ("two", format!("ticket={ticket}&ticket={ticket}")),
        ("a ticket and a token", format!("ticket={ticket}&access_token={key}")),
        ("nothing", String::new()),
        ("no text", "ticket=%ff".to_owned()),
    ] {
        let response = open(&server, &format!("/ws/calls?{query}"), &[]).await;
        let _ = writeln!(seen, "{name}\n  {}", problem(&response));
    }
    let with_header = open(&server, &format!("/ws/calls?ticket={ticket}"), &[("X-API-Key", &key)]).await;
    let _ = writeln!(seen, "a ticket and a header\n  {}", problem(&with_header));
    assert_snapshot!(seen, @r#"
    another tenant's
      401 authentication_error: the ticket is not valid: it was used, has expired, or never was one
    no ticket at all
      401 authentication_error: the ticket is not valid: it was used, has expired, or never was one
    a key
      401 authentication_error: the ticket is not valid: it was used, has expired, or never was one
    two
      401 authentication_error: the request carries different credentials; send one
    a ticket and a token
      401 authentication_error: access_token is not accepted here; send a ticket from /api/v1/auth/tickets
    nothing
      401 authentication_error: send a ticket from /api/v1/auth/tickets as the parameter ticket, or an API key or a token in a header
    no text
      401 authentication_error: send a ticket from /api/v1/auth/tickets as the parameter ticket, or an API key or a token in a header
    a ticket and a header
      401 authentication_error: the request carries different credentials; send one
    "#);
    // Nothing of that has used it up.
    assert_eq!(open(&server, &format!("/ws/calls?ticket={ticket}"), &[]).await.status, 101);
    // To have one, one must be allowed to read.
    let writer = server.client(&server.key(acme.id, &[Scope::CallsWrite]).await);
    assert_eq!(writer.send(&Request::new("POST", "/api/v1/auth/tickets")).await.status, 403);
}

/// A ticket that the server did not make, but might have.
async fn store(server: &Server, tenant: TenantId, change: impl FnOnce(&mut Ticket)) -> String {
    let now = instant(NOW);
    let holder = Principal::Subject(Subject::new("ada").expect("a subject"));
    let mut ticket = Ticket {
        tenant_id: tenant,
        scopes: vec![Scope::AnalyticsRead],
        holder,
        expires_at: now + Span::from_micros(1),
        credential_expires_at: Some(now + Span::from_micros(1)),
    };
    change(&mut ticket);
    let secret = TicketSecret::generate(tenant);
    assert!(server.store.create_ticket(&ticket, &secret.hash(), Timestamp::from_micros(0)).await.expect("room"));
    format!("/ws/calls?ticket={}", secret.reveal())
}

async fn a_ticket_ends_with_its_time_and_with_its_makers_credential(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let now = instant(NOW);
    let keys = server.store.list_keys(acme.id).await.expect("keys");
    let by_key = Principal::Key(keys[0].id);
    let by_nobody = Principal::Key(callscope_domain::KeyId(Uuid::from_u128(7)));
    let lasting = store(&server, acme.id, |_| {}).await;
    let expired = store(&server, acme.id, |ticket| ticket.expires_at = now).await;
    let of_expired = store(&server, acme.id, |ticket| ticket.credential_expires_at = Some(now)).await;
    let without_scope = store(&server, acme.id, |ticket| ticket.scopes = Vec::new()).await;
    let of_key = store(&server, acme.id, |ticket| ticket.holder = by_key.clone()).await;
    let of_nobody = store(&server, acme.id, |ticket| ticket.holder = by_nobody).await;
    for (name, target, status) in [
        ("lasting", lasting, 101),
        ("expired", expired, 401),
        ("of an expired token", of_expired, 401),
        ("without a scope", without_scope, 403),
        ("of a key", of_key, 101),
        ("of a key that is not there", of_nobody, 401),
    ] {
        assert_eq!(open(&server, &target, &[]).await.status, status, "{name}");
    }
    let ticket = make(&acme).await;
    server.store.revoke_key(acme.id, keys[0].id, now, &Actor::CommandLine).await.expect("a key");
    let refused = open(&server, &format!("/ws/calls?ticket={ticket}"), &[]).await;
    assert_snapshot!(problem(&refused), @"401 authentication_error: the API key has been revoked");
}

async fn a_tenants_tickets_are_bounded_and_the_expired_ones_go(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    for _ in 0..TICKETS_PER_TENANT_MAX {
        store(&server, acme.id, |_| {}).await;
    }
    let ask = Request::new("POST", "/api/v1/auth/tickets");
    let refused = acme.send(&ask).await;
    assert_snapshot!(problem(&refused), @"429 rate_limit_exceeded: the tenant has too many tickets that were not used yet");
    assert_eq!(refused.header("Retry-After"), Some("30"));
    make(&globex).await;
    // A microsecond later all have expired.
    let ticket = Ticket {
        tenant_id: acme.id,
        scopes: Vec::new(),
        holder: Principal::Subject(Subject::new("ada").expect("a subject")),
        expires_at: instant(NOW) + Span::from_seconds(9),
        credential_expires_at: None,
    };
    let later = instant(NOW) + Span::from_micros(1);
    assert!(server.store.create_ticket(&ticket, &[1; 32], later).await.expect("room"));
    make(&acme).await;
}

async fn a_key_or_a_token_in_the_address_is_taken_only_if_the_server_is_told_so(backend: Backend) {
    let setup = Setup { jwt: Some(shared_secret), ..Setup::default() };
    let told = Server::start_with(backend, Setup { query_tokens: true, ..setup }).await;
    let untold = Server::start_with(backend, setup).await;
    for (server, status) in [(&told, None), (&untold, Some(401))] {
        let acme = server.tenant("acme").await;
        let key = server.key(acme.id, Scope::ALL).await;
        let token = signed(&claims(acme.id, Scope::ALL));
        for (path, open_status) in SOCKETS {
            for secret in [&key, &token] {
                let response = open(server, &format!("{path}?access_token={secret}"), &[]).await;
                assert_eq!(response.status, status.unwrap_or(open_status), "{path}");
            }
            for refused in [format!("access_token={key}&access_token={key}"), "access_token=".to_owned()] {
                assert_eq!(open(server, &format!("{path}?{refused}"), &[]).await.status, 401, "{refused}");
            }
            let faulty = open(server, &format!("{path}?access_token={key}&x=1"), &[]).await;
            assert!(!faulty.text().contains(&key), "{}", faulty.text());
        }
        // Nowhere else.
        let plain = Request::get(format!("/api/v1/analytics/summary?access_token={key}"));
        assert_eq!(server.stranger().send(&plain).await.status, 401);
    }
}

async fn what_stays_open_is_asked_again(backend: Backend) {
    let server = Server::start_with(backend, Setup { jwt: Some(shared_secret), ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let keys = server.store.list_keys(acme.id).await.expect("keys");
    let authenticator = &server.state.authenticator;
    let credential = |principal, expires_at| callscope_api::Credential::new(acme.id, Vec::new(), principal, expires_at);
    let (soon, now) = (instant(NOW) + Span::from_micros(1), instant(NOW));
    let subject = Principal::Subject(Subject::new("ada").expect("a subject"));
    let of_key = credential(Principal::Key(keys[0].id), None);
    assert!(authenticator.is_still_valid(&of_key).await.expect("an answer"));
    assert!(authenticator.is_still_valid(&credential(subject.clone(), Some(soon))).await.expect("an answer"));
    assert!(!authenticator.is_still_valid(&credential(subject, Some(now))).await.expect("an answer"));
    server.store.revoke_key(acme.id, keys[0].id, now, &Actor::CommandLine).await.expect("a key");
    assert!(!authenticator.is_still_valid(&of_key).await.expect("an answer"));
}

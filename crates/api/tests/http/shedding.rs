//! A server with more bodies than it has room for: it refuses them quickly, and goes on with everything else.

use crate::client::INGEST;
use crate::layout::problem;
use crate::metrics::metric;
use crate::records::completed;
use crate::server::{LIMITS, Server, Setup};
use crate::wire::{Connection, Request};
use callscope_api::ApiLimits;
use callscope_domain::Scope;
use callscope_testkit::Backend;
use futures_util::future::join_all;
use std::time::Duration;

on_each_backend!(
    hundreds_of_large_bodies_leave_reads_and_health_alone,
    bodies_that_are_announced_and_never_sent_take_nothing,
    many_small_bodies_are_bounded_in_number,
    a_question_that_takes_too_long_is_given_up,
    answers_of_one_tenant_leave_room_for_those_of_another
);

/// Large bodies that a tenant has room for, tenants that have so many of them, and those that come besides.
const TENANT_FITTING: usize = 2;
const TENANTS_FITTING: usize = 3;
const SURPLUS: usize = 300;

const BODY_BYTES: usize = 1 << 20;

/// A record, and blank lines that make a large body of it.
fn body() -> Vec<u8> {
    let mut body = completed(1, "2026-01-17T10:00:00Z", 60).to_string().into_bytes();
    body.resize(BODY_BYTES, b'\n');
    body
}

/// A connection on which almost all of a large body has come.
async fn begin(server: &Server, key: &str, body: &[u8]) -> Connection {
    let request = Request::new("POST", INGEST)
        .header("Content-Type", "application/x-ndjson")
        .header("X-API-Key", key)
        .header("Content-Length", body.len().to_string());
    let mut connection = Connection::open(server.address).await;
    connection.write(request.head().as_bytes()).await;
    connection.write(&body[..begun(body)]).await;
    connection
}

fn begun(body: &[u8]) -> usize {
    body.len() / 16 * 15
}

async fn hundreds_of_large_bodies_leave_reads_and_health_alone(backend: Backend) {
    // A tenant has a quarter, and the last quarter is left to those that have little.
    let inflight_bytes_max = 4 * TENANT_FITTING * BODY_BYTES;
    let limits = ApiLimits { body_bytes_max: BODY_BYTES, inflight_bytes_max, ..LIMITS };
    let server = Server::start_with(backend, Setup { limits, ..Setup::default() }).await;
    let mut tenants = Vec::new();
    for slug in ["acme", "globex", "initech", "hooli"] {
        tenants.push(server.tenant(slug).await);
    }
    let (acme, hooli) = (&tenants[0], &tenants[TENANTS_FITTING]);
    let key = &acme.key;
    let taken = TENANT_FITTING * begun(&body());
    let body = body();
    let mut fitting = join_all((0..TENANT_FITTING).map(|_| begin(&server, key, &body))).await;
    while metric(&server, "callscope_ingest_body_bytes").await < taken {}

    // Every other one, although none of them ever sends its rest, and while all of them are connected.
    let mut surplus = join_all((0..SURPLUS).map(|_| begin(&server, key, &body))).await;
    for connection in &mut surplus {
        let refused = connection.read("POST").await;
        assert_eq!(
            problem(&refused),
            "503 overloaded: too many bodies of this tenant are being received; nothing was stored"
        );
        assert_eq!(refused.header("Retry-After"), Some("1"));
        assert!(refused.closes());
    }
    assert_eq!(acme.summary("").await.value()["total_calls"], 0);
    assert_eq!(acme.send(&Request::get("/health")).await.status, 200);
    assert_eq!(metric(&server, "callscope_ingest_bodies_refused_total").await, SURPLUS);

    // Others have room, until they have taken what there is for large bodies.
    for tenant in &tenants[1..TENANTS_FITTING] {
        fitting.extend(join_all((0..TENANT_FITTING).map(|_| begin(&server, &tenant.key, &body))).await);
    }
    while metric(&server, "callscope_ingest_body_bytes").await < TENANTS_FITTING * taken {}
    let refused = begin(&server, &hooli.key, &body).await.read("POST").await;
    assert_eq!(problem(&refused), "503 overloaded: too many bodies are being received; nothing was stored");
    assert_eq!(hooli.put_call(&completed(2, "2026-01-17T10:00:00Z", 60)).await.status, 201);

    // Those that were let in are not harmed by those that were not.
    for connection in &mut fitting {
        connection.write(&body[begun(&body)..]).await;
        assert_eq!(connection.read("POST").await.status, 200);
    }
    assert_eq!(metric(&server, "callscope_ingest_body_bytes").await, 0);
    let mut again = begin(&server, &hooli.key, &body).await;
    again.write(&body[begun(&body)..]).await;
    assert_eq!(again.read("POST").await.status, 200);
    for tenant in &tenants[..TENANTS_FITTING] {
        assert_eq!(tenant.summary("").await.value()["total_calls"], 1);
    }
}

async fn bodies_that_are_announced_and_never_sent_take_nothing(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let mut silent = Vec::new();
    for _ in 0..20 {
        for tenant in [&acme, &globex] {
            let request = Request::new("POST", INGEST)
                .header("Content-Type", "application/x-ndjson")
                .header("X-API-Key", tenant.key.clone())
                .header("Content-Length", (LIMITS.body_bytes_max / 2).to_string());
            let mut connection = Connection::open(server.address).await;
            connection.write(request.head().as_bytes()).await;
            connection.write(b"{").await;
            silent.push(connection);
        }
    }
    while metric(&server, "callscope_ingest_body_bytes").await < silent.len() {}
    // Both of them still send as much as ever, and so does another tenant.
    let initech = server.tenant("initech").await;
    for tenant in [&acme, &globex, &initech] {
        let mut large = begin(&server, &tenant.key, &body()).await;
        large.write(&body()[begun(&body())..]).await;
        assert_eq!(large.read("POST").await.status, 200);
    }
}

async fn many_small_bodies_are_bounded_in_number(backend: Backend) {
    let limits = ApiLimits { bodies_max: 8, ..LIMITS };
    let server = Server::start_with(backend, Setup { limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    server.store.hold_transactions();
    let record = completed(1, "2026-01-17T10:00:00Z", 60);
    let key = server.key(acme.id, Scope::ALL).await;
    let clients = [server.client(&key), server.client(&key)];
    let third = async {
        // Both have been received, and wait to be written.
        while metric(&server, "callscope_ingest_queue_records").await < 2 {}
        let refused = acme.put_call(&record).await;
        server.store.release_transactions();
        refused
    };
    let (one, other, refused) = tokio::join!(clients[0].put_call(&record), clients[1].put_call(&record), third);
    assert_eq!(
        problem(&refused),
        "503 overloaded: too many bodies of this tenant are being received; nothing was stored"
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 201]);
    assert_eq!(acme.put_call(&record).await.status, 200);
}

async fn a_question_that_takes_too_long_is_given_up(backend: Backend) {
    let limits = ApiLimits { request_timeout: Duration::from_millis(50), ..LIMITS };
    let server = Server::start_with(backend, Setup { limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    server.store.hold_questions();
    let given_up = acme.summary("").await;
    assert_eq!(problem(&given_up), "503 unavailable: the database took too long to answer");
    assert!(given_up.header("Retry-After").is_some());
    server.store.release_questions();
}

async fn answers_of_one_tenant_leave_room_for_those_of_another(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).max(2);
    let clients: Vec<_> = (0..4 * at_once).map(|_| server.client(&acme.key)).collect();
    // They are connected, so that their questions come before that of the other.
    let health = Request::get("/health");
    join_all(clients.iter().map(|client| client.send(&health))).await;
    server.store.hold_questions();
    // No two of them are alike: one that is asked already is not asked again.
    let day = |number: usize| format!("?started_after=2026-01-{:02}T00:00:00Z", number + 1);
    let ((), of_globex, of_acme) = tokio::join!(
        async {
            server.store.questions_asked(at_once + 1).await;
            let asked = server.store.questions();
            server.store.release_questions();
            assert_eq!(asked, at_once + 1, "those of acme and that of globex");
        },
        async {
            server.store.questions_asked(at_once).await;
            globex.send(&health).await;
            globex.summary("").await
        },
        join_all(clients.iter().enumerate().map(|(number, client)| {
            let day = day(number);
            async move { client.summary(&day).await }
        })),
    );
    assert_eq!(of_globex.status, 200);
    assert!(of_acme.iter().all(|answer| answer.status == 200), "those that waited are answered as well");
}

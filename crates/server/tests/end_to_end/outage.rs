//! PostgreSQL crashes, or keeps others waiting: whoever asks is told to come back, nothing that was acknowledged is
//! lost, and when the database is back, so is the server.

use crate::client::{Answer, Client, Transport};
use crate::compare::Comparison;
use crate::crash::{SLUGS, assert_contains, records};
use crate::fixture::Fixture;
use crate::process::{Server, eventually};
use crate::session::{Session, runtime};
use crate::windows::windows;
use crate::world::World;
use callscope_testkit::{Backend, Postgres, ServerOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SEED: u64 = 47;
const CLIENTS: u64 = 4;
const BODY_RECORDS_MAX: usize = 100;
const CRASHES: usize = 3;
/// A crash comes within this time after a body was acknowledged.
const ROUND: Duration = Duration::from_millis(200);
/// More than the server has connections.
const TENANTS: usize = 12;
/// How soon the server works again after its database does.
const RECOVERY: Duration = Duration::from_secs(10);

/// Longest wait for a connection of the servers here.
const ACQUIRE_TIMEOUT: (&str, &str) = ("CALLSCOPE__DATABASE__ACQUIRE_TIMEOUT", "500ms");
const NEVER_CLOSE_CALLS: (&str, &str) = ("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s");

on_postgres!(
    a_crash_of_postgres_is_survived_and_costs_nothing_that_was_acknowledged,
    while_a_tenant_is_locked_its_records_wait_and_everything_else_is_answered,
    while_every_tenant_is_locked_questions_are_answered,
    without_a_free_connection_requests_are_refused_in_time,
    what_takes_too_long_is_cancelled_and_refused,
);

/// A server of a test's own, and a database on it.
fn own_postgres() -> (Postgres, Fixture) {
    let postgres = Postgres::start(&ServerOptions::default()).unwrap();
    let database = runtime().block_on(postgres.create_database());
    let fixture = Fixture::at(postgres.url(&database));
    (postgres, fixture)
}

fn a_crash_of_postgres_is_survived_and_costs_nothing_that_was_acknowledged() {
    let (postgres, fixture) = own_postgres();
    let key = fixture.create_tenant("clinic");
    let tenant_id = fixture.tenant_id("clinic");
    let server = fixture.serve(&[NEVER_CLOSE_CALLS, ACQUIRE_TIMEOUT]);
    let mut random = StdRng::seed_from_u64(SEED);
    let records = records(&mut random);
    let load = Load::default();
    std::thread::scope(|scope| {
        let _end = EndOfLoad(&load);
        for number in 0..CLIENTS {
            let (client, records, load) = (server.client(&key), &records, &load);
            scope.spawn(move || load.send(&client, records, &mut StdRng::seed_from_u64(SEED + number)));
        }
        for _ in 0..CRASHES {
            load.wait_for_acknowledgements(5);
            // The moment is what varies; there is nothing to wait for.
            std::thread::sleep(ROUND.mul_f64(random.random()));
            postgres.kill();
            eventually("not being ready", || (ready(&server).status != 200).then_some(()));
            ready(&server).assert_is_for_later();
            assert_eq!(server.stranger().get("/health/live").status, 200);
            server.client(&key).get("/api/v1/analytics/summary").assert_is_for_later();
            let refused = load.refused.load(Ordering::Relaxed);
            eventually("refusals", || (load.refused.load(Ordering::Relaxed) > refused + 2).then_some(()));
            postgres.start_again();
            let back = Instant::now();
            eventually("being ready", || (ready(&server).status == 200).then_some(()));
            load.wait_for_acknowledgements(5);
            assert!(back.elapsed() < RECOVERY, "the server works again after {:?}", back.elapsed());
        }
    });
    assert!(!server.log().iter().any(|line| line.contains("panicked")), "{:?}", server.log());
    let client = server.client(&key);
    let acknowledged = load.world.into_inner().unwrap();
    assert!(acknowledged.calls.len() > 50, "too few records got through: {}", acknowledged.calls.len());
    assert_contains(&client, &acknowledged);
    fixture.assert_rollups_are_equal();

    let mut world = World::default();
    for body in records.chunks(1000) {
        client.send(body, Transport::NDJSON);
        world.receive_all(body);
    }
    let comparison = Comparison { client: &client, world: &world, tenant_id: &tenant_id, slugs: &SLUGS };
    for window in windows(&mut random, &crate::records::starts_us(&records)).iter().step_by(4) {
        comparison.check(&mut random, window);
    }
    fixture.assert_rollups_are_equal();
}

/// What clients do while the database comes and goes.
#[derive(Default)]
struct Load {
    ends: AtomicBool,
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    /// What was acknowledged.
    world: Mutex<World>,
}

/// Lets the clients come to an end when it goes, even if the test fails.
struct EndOfLoad<'a>(&'a Load);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Sends overlapping parts of the records. There is always an answer, and it is 200 or 503.
    fn send(&self, client: &Client, records: &[Value], random: &mut StdRng) {
        while !self.ends.load(Ordering::Relaxed) {
            let from = random.random_range(0..records.len() - BODY_RECORDS_MAX);
            let body = &records[from..from + random.random_range(1..=BODY_RECORDS_MAX)];
            let answer = client.try_send(body, *Transport::ALL.choose(random).unwrap()).unwrap();
            if answer.status == 200 {
                assert_eq!(answer.json()["accepted"], body.len(), "{answer:?}");
                self.world.lock().unwrap().receive_all(body);
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                answer.assert_is_for_later();
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn wait_for_acknowledgements(&self, count: usize) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("acknowledgements", || (self.acknowledged.load(Ordering::Relaxed) >= before + count).then_some(()));
    }
}

fn ready(server: &Server) -> Answer {
    server.stranger().get("/health/ready")
}

fn while_a_tenant_is_locked_its_records_wait_and_everything_else_is_answered() {
    let fixture = Fixture::new(Backend::Postgres);
    let key = fixture.create_tenant("clinic");
    let room = [("CALLSCOPE__INGEST__QUEUE_RECORDS_MAX", "4"), ("CALLSCOPE__INGEST__BODY_RECORDS_MAX", "4")];
    let server = fixture.serve(&[NEVER_CLOSE_CALLS, ACQUIRE_TIMEOUT, room[0], room[1]]);
    let client = server.client(&key);
    assert_eq!(client.put(&call(0)).status, 201);
    let session = Session::open(fixture.database_url());
    session.execute("BEGIN; SELECT FROM tenant_states FOR UPDATE");
    std::thread::scope(|scope| {
        // As many as the server has room for.
        let waiting = scope.spawn(|| client.send(&[1, 2, 3, 4].map(call), Transport::NDJSON));
        fixture.wait_for_waiting(1);
        client.put(&call(5)).assert_is_for_later();
        assert_eq!(client.ask("summary?period=30d")["total_calls"], 1);
        assert_eq!(ready(&server).status, 200);
        assert!(!waiting.is_finished());
        session.execute("ROLLBACK");
        waiting.join().unwrap();
    });
    assert_eq!(client.put(&call(5)).status, 201);
    assert_eq!(client.ask("summary?period=30d")["total_calls"], 6);
    fixture.assert_rollups_are_equal();
}

/// A call of an hour ago.
fn call(number: u32) -> Value {
    let started_at = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    json!({"call_id": format!("31c02e4f-12e0-4af0-869b-{number:012}"), "status": "completed",
           "started_at": started_at.to_rfc3339(), "ended_at": started_at.to_rfc3339()})
}

fn without_a_free_connection_requests_are_refused_in_time() {
    let fixture = Fixture::new(Backend::Postgres);
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[NEVER_CLOSE_CALLS, ACQUIRE_TIMEOUT, ("CALLSCOPE__DATABASE__POOL_SIZE", "3")]);
    let client = server.client(&key);
    assert_eq!(client.put(&call(0)).status, 201);
    let session = Session::open(fixture.database_url());
    session.execute("BEGIN; LOCK TABLE calls IN ACCESS EXCLUSIVE MODE");
    std::thread::scope(|scope| {
        // Of the three connections, one is for questions, and one for credentials.
        let question = scope.spawn(|| client.ask("summary"));
        fixture.wait_for_waiting(1);
        let record = scope.spawn(|| client.put(&call(1)));
        fixture.wait_for_waiting(2);
        let begun = Instant::now();
        ready(&server).assert_is_for_later();
        // The same question would share the answer that the first one waits for.
        client.get("/api/v1/analytics/summary?period=7d").assert_is_for_later();
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
        let unknown = format!("cs_live_{}", "0".repeat(64));
        assert_eq!(server.client(&unknown).get("/api/v1/analytics/summary").status, 401);
        assert_eq!(server.stranger().get("/health/live").status, 200);
        assert!(!question.is_finished() && !record.is_finished());
        session.execute("ROLLBACK");
        question.join().unwrap();
        assert_eq!(record.join().unwrap().status, 201);
    });
    eventually("being ready", || (ready(&server).status == 200).then_some(()));
    assert_eq!(client.put(&call(2)).status, 201);
    assert_eq!(client.ask("summary")["total_calls"], 3);
}

fn what_takes_too_long_is_cancelled_and_refused() {
    let fixture = Fixture::new(Backend::Postgres);
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[NEVER_CLOSE_CALLS, ("CALLSCOPE__DATABASE__STATEMENT_TIMEOUT", "200ms")]);
    let client = server.client(&key);
    assert_eq!(client.put(&call(0)).status, 201);
    let session = Session::open(fixture.database_url());
    session.execute("BEGIN; LOCK TABLE calls IN ACCESS EXCLUSIVE MODE");
    for _ in 0..3 {
        client.get("/api/v1/analytics/summary").assert_is_for_later();
        client.put(&call(1)).assert_is_for_later();
        assert_eq!(ready(&server).status, 200);
    }
    session.execute("ROLLBACK");
    assert_eq!(client.put(&call(1)).status, 201);
    assert_eq!(client.ask("summary")["total_calls"], 2);
    fixture.assert_rollups_are_equal();
}

fn while_every_tenant_is_locked_questions_are_answered() {
    let fixture = Fixture::new(Backend::Postgres);
    let keys: Vec<String> = (0..TENANTS).map(|number| fixture.create_tenant(&format!("tenant-{number}"))).collect();
    let server = fixture.serve(&[NEVER_CLOSE_CALLS, ACQUIRE_TIMEOUT]);
    let clients: Vec<Client> = keys.iter().map(|key| server.client(key)).collect();
    assert!(clients.iter().all(|client| client.put(&call(0)).status == 201));
    let session = Session::open(fixture.database_url());
    session.execute("BEGIN; SELECT FROM tenant_states FOR UPDATE");
    std::thread::scope(|scope| {
        let waiting: Vec<_> = clients.iter().map(|client| scope.spawn(move || client.put(&call(1)))).collect();
        fixture.wait_for_waiting(1);
        for client in clients.iter().cycle().take(10 * TENANTS) {
            assert_eq!(client.ask("summary?period=30d")["total_calls"], 1);
            assert_eq!(ready(&server).status, 200);
        }
        session.execute("ROLLBACK");
        for request in waiting {
            let answer = request.join().unwrap();
            if answer.status != 201 {
                answer.assert_is_for_later();
            }
        }
    });
    for client in &clients {
        assert!(matches!(client.put(&call(1)).status, 200 | 201));
        assert_eq!(client.ask("summary?period=30d")["total_calls"], 2);
    }
    fixture.assert_rollups_are_equal();
}

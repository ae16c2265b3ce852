//! Two servers on one database: they take the same records at the same moment, one of them dies, both start at once.

use crate::client::{Client, Transport};
use crate::compare::Comparison;
use crate::fixture::Fixture;
use crate::process::{Server, eventually};
use crate::records;
use crate::windows::windows;
use crate::world::World;
use callscope_testkit::Backend;
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const SEED: u64 = 31;
const SLUGS: [&str; 3] = ["clinic", "bakery", "hotel"];
const CALLS: usize = 500;
const BODY_RECORDS_MAX: usize = 120;
const KILLS: usize = 10;
/// A kill comes within this time after the server has acknowledged something.
const ROUND: Duration = Duration::from_millis(300);

on_postgres!(
    servers_that_take_the_same_records_at_once_count_them_once,
    a_server_that_is_killed_beside_another_loses_and_doubles_nothing,
    servers_that_start_at_once_on_an_empty_database_both_come_up,
);

fn servers_that_take_the_same_records_at_once_count_them_once() {
    let fixture = Fixture::new(Backend::Postgres);
    let tenants = SLUGS.map(|slug| Tenant::new(&fixture, slug));
    let servers = [start(&fixture), start(&fixture)];
    std::thread::scope(|scope| {
        for (tenant, seed) in tenants.iter().zip(SEED..) {
            let clients = [0, 1].map(|server: usize| servers[server].client(&tenant.key));
            let both = clients.clone();
            scope.spawn(move || send_in_step(&both, tenant, &mut StdRng::seed_from_u64(seed)));
            for order in 10..12 {
                let clients = clients.clone();
                scope.spawn(move || send_out_of_step(&clients, tenant, StdRng::seed_from_u64(seed + order)));
            }
        }
    });
    assert_equal_to_recomputation(&fixture, &tenants, &servers);
}

/// Sends every record to both servers at the same moment, in another order to each.
fn send_in_step(clients: &[Client; 2], tenant: &Tenant, random: &mut StdRng) {
    for body in tenant.records.chunks(BODY_RECORDS_MAX) {
        std::thread::scope(|scope| {
            for client in clients {
                let (mut body, transport) = (body.to_vec(), *Transport::ALL.choose(random).unwrap());
                body.shuffle(random);
                scope.spawn(move || client.send(&body, transport));
            }
        });
    }
}

/// Sends every record in an order of its own, some twice, to either server.
fn send_out_of_step(clients: &[Client], tenant: &Tenant, mut random: StdRng) {
    let mut records = tenant.records.clone();
    records.shuffle(&mut random);
    let mut rest = &records[..];
    while !rest.is_empty() {
        let (body, others) = rest.split_at(random.random_range(1..=BODY_RECORDS_MAX).min(rest.len()));
        let body = [body, &body[..random.random_range(0..body.len())]].concat();
        clients.choose(&mut random).unwrap().send(&body, Transport::NDJSON);
        rest = others;
    }
}

fn a_server_that_is_killed_beside_another_loses_and_doubles_nothing() {
    let fixture = Fixture::new(Backend::Postgres);
    let tenants = [SLUGS[0], SLUGS[1]].map(|slug| Tenant::new(&fixture, slug));
    let survivor = start(&fixture);
    let first = start(&fixture);
    let mut random = StdRng::seed_from_u64(SEED);
    let moments: Vec<Duration> = (0..KILLS).map(|_| ROUND.mul_f64(random.random())).collect();
    let load =
        Load { url: RwLock::new(first.url()), acknowledged: AtomicUsize::new(0), goes_on: AtomicBool::new(true) };
    let last = std::thread::scope(|scope| {
        let _end = EndOfLoad(&load);
        for (tenant, seed) in tenants.iter().zip(SEED..) {
            let (survivor, load) = (survivor.client(&tenant.key), &load);
            scope.spawn(move || load.send_to_survivor(&survivor, tenant, StdRng::seed_from_u64(seed)));
            for order in 10..12 {
                scope.spawn(move || load.send_to_mortal(tenant, StdRng::seed_from_u64(seed + order)));
            }
        }
        moments.iter().fold(first, |server, moment| {
            let before = load.acknowledged.load(Ordering::Relaxed);
            eventually("an answer", || (load.acknowledged.load(Ordering::Relaxed) > before).then_some(()));
            // The moment is what varies; there is nothing to wait for.
            std::thread::sleep(*moment);
            server.kill();
            let next = start(&fixture);
            *load.url.write().unwrap() = next.url();
            next
        })
    });
    println!("killed {moments:?} after an answer, seed {SEED}");
    assert_equal_to_recomputation(&fixture, &tenants, &[survivor, last]);
}

/// What clients do while one of two servers comes and goes.
struct Load {
    /// Where the server is that comes and goes.
    url: RwLock<String>,
    /// Bodies that it has acknowledged.
    acknowledged: AtomicUsize,
    goes_on: AtomicBool,
}

/// Lets the clients come to an end when it goes, even if the test fails.
struct EndOfLoad<'a>(&'a Load);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.goes_on.store(false, Ordering::Relaxed);
    }
}

impl Load {
    /// Sends every record, and all of them again while the other server comes and goes.
    fn send_to_survivor(&self, client: &Client, tenant: &Tenant, mut random: StdRng) {
        self.repeat(tenant, &mut random, |body| {
            client.send(body, Transport::NDJSON);
        });
    }

    /// Sends every record until it is acknowledged, and all of them again while the server comes and goes.
    fn send_to_mortal(&self, tenant: &Tenant, mut random: StdRng) {
        self.repeat(tenant, &mut random, |body| {
            eventually("an acknowledgement", || {
                let client = Client::new(&self.url.read().unwrap().clone(), Some(&tenant.key));
                let answer = client.try_send(body, Transport::NDJSON).ok()?;
                assert_eq!((answer.status, &answer.json()["accepted"]), (200, &body.len().into()), "{answer:?}");
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                Some(())
            });
        });
    }

    fn repeat(&self, tenant: &Tenant, random: &mut StdRng, send: impl Fn(&[Value])) {
        let mut records = tenant.records.clone();
        loop {
            let is_last = !self.goes_on.load(Ordering::Relaxed);
            records.shuffle(random);
            records.chunks(random.random_range(1..=BODY_RECORDS_MAX)).for_each(&send);
            if is_last {
                return;
            }
        }
    }
}

fn servers_that_start_at_once_on_an_empty_database_both_come_up() {
    for _ in 0..3 {
        let fixture = Fixture::new(Backend::Postgres);
        let servers: Vec<Server> = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..2).map(|_| scope.spawn(|| start(&fixture))).collect();
            starting.into_iter().map(|server| server.join().unwrap()).collect()
        });
        let key = fixture.create_tenant("clinic");
        for server in &servers {
            assert_eq!(server.stranger().get("/health/ready").status, 200);
            server.client(&key).ask("summary");
        }
    }
}

fn start(fixture: &Fixture) -> Server {
    fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")])
}

/// A tenant, and what is sent to it.
struct Tenant {
    slug: &'static str,
    id: String,
    key: String,
    records: Vec<Value>,
}

impl Tenant {
    /// Of a call's records one tells all of it, and any other only that it is active: their order does not matter.
    fn new(fixture: &Fixture, slug: &'static str) -> Self {
        let key = fixture.create_tenant(slug);
        let from = "2025-06-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let seed = slug.bytes().map(u64::from).sum();
        let mut random = StdRng::seed_from_u64(seed);
        let mut records = Vec::new();
        for call in records::calls(seed, &[(from, from + TimeDelta::days(3), CALLS)]) {
            let last = records::vary(&mut random, &call);
            if last["status"] != "active" {
                records.push(records::as_active(&last));
            }
            records.push(last);
        }
        records.shuffle(&mut random);
        Self { slug, id: fixture.tenant_id(slug), key, records }
    }
}

/// Compares what the servers answer, each about every tenant.
fn assert_equal_to_recomputation(fixture: &Fixture, tenants: &[Tenant], servers: &[Server; 2]) {
    for tenant in tenants {
        let mut world = World::default();
        world.receive_all(&tenant.records);
        assert_eq!(world.calls.len(), CALLS, "{}", tenant.slug);
        let mut random = StdRng::seed_from_u64(SEED);
        let windows = windows(&mut random, &records::starts_us(&tenant.records));
        for (window, server) in windows.iter().step_by(4).zip(servers.iter().cycle()) {
            let client = server.client(&tenant.key);
            let slugs = &["daily-call", "onboarding"];
            let comparison = Comparison { client: &client, world: &world, tenant_id: &tenant.id, slugs };
            comparison.check(&mut random, window);
        }
    }
    fixture.assert_rollups_are_equal();
}

//! SIGKILL at any moment: what was acknowledged is there, and nothing is there twice.

use crate::client::{Client, Transport};
use crate::compare::Comparison;
use crate::fixture::Fixture;
use crate::process::Server;
use crate::records;
use crate::windows::windows;
use crate::world::World;
use callscope_synthetic::{CallRecord, Detail, Generator, Profile, even_start_times};
use callscope_testkit::Backend;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

const SEED: u64 = 9;
const ROUNDS: u64 = 10;
const CLIENTS: u64 = 4;
const BODY_RECORDS_MAX: usize = 150;
/// A round ends within this time after its clients have begun.
const ROUND: Duration = Duration::from_millis(500);

/// Every call has an hour of its workflow to itself, so that a series by the hour tells about single calls.
pub const SLUGS: [&str; 6] = ["flow-0", "flow-1", "flow-2", "flow-3", "flow-4", "flow-5"];
const HOURS: i64 = 500;
const FIRST_HOUR: &str = "2025-03-01T00:00:00Z";

on_each_backend!(no_kill_loses_what_was_acknowledged_or_counts_it_twice);

fn no_kill_loses_what_was_acknowledged_or_counts_it_twice(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let mut random = StdRng::seed_from_u64(SEED);
    let records = records(&mut random);
    let mut acknowledged = World::default();
    for round in 0..ROUNDS {
        let server = start(&fixture);
        assert_contains(&server.client(&key), &acknowledged);
        acknowledged.receive_all(&send_until_killed(server, &key, &records, round));
        fixture.assert_rollups_are_equal();
    }
    assert!(acknowledged.calls.len() > 50, "too few records got through: {}", acknowledged.calls.len());

    let server = start(&fixture);
    let client = server.client(&key);
    assert_contains(&client, &acknowledged);
    let mut world = World::default();
    for body in records.chunks(1000) {
        client.send(body, Transport::NDJSON);
        world.receive_all(body);
    }
    let tenant_id = fixture.tenant_id("clinic");
    let comparison = Comparison { client: &client, world: &world, tenant_id: &tenant_id, slugs: &SLUGS };
    for window in windows(&mut random, &records::starts_us(&records)).iter().step_by(4) {
        comparison.check(&mut random, window);
    }
    fixture.assert_rollups_are_equal();
}

fn start(fixture: &Fixture) -> Server {
    fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")])
}

/// For each call one record of its start and one of its end, in any order: the outcome does not depend on it. Plain
/// records, so that enough of them get through before a kill.
pub fn records(random: &mut StdRng) -> Vec<Value> {
    let mut generator = Generator::new(SEED, Profile { error_rate: 0.3, detail: Detail::Plain, ..Profile::default() });
    let first = FIRST_HOUR.parse::<DateTime<Utc>>().unwrap();
    let hours = even_start_times(first, first + TimeDelta::hours(HOURS), usize::try_from(HOURS).unwrap());
    let mut records = Vec::new();
    for hour in hours {
        for slug in SLUGS {
            let call = generator.call(hour + TimeDelta::seconds(random.random_range(0..3600)));
            let last = of_workflow(&call, slug);
            records.extend([records::as_active(&last), last]);
        }
    }
    records.shuffle(random);
    records
}

fn of_workflow(call: &CallRecord, slug: &str) -> Value {
    let mut record = serde_json::to_value(call).unwrap();
    record["workflow"] = serde_json::json!({"slug": slug, "name": slug});
    record
}

/// Gives what was acknowledged.
fn send_until_killed(server: Server, key: &str, records: &[Value], round: u64) -> Vec<Value> {
    let mut random = StdRng::seed_from_u64(SEED + 100 + round);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, seed) = (server.client(key), SEED + 1000 * round + number);
                scope.spawn(move || send_until_gone(&client, records, seed))
            })
            .collect();
        // The moment is what varies; there is nothing to wait for.
        std::thread::sleep(ROUND.mul_f64(random.random()));
        server.kill();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// Sends overlapping parts of the records, some in full twice, for as long as there is an answer.
fn send_until_gone(client: &Client, records: &[Value], seed: u64) -> Vec<Value> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut acknowledged = Vec::new();
    loop {
        let length = random.random_range(1..=BODY_RECORDS_MAX);
        let from = random.random_range(0..records.len() - length);
        let mut body = records[from..from + length].to_vec();
        if random.random_bool(0.2) {
            body.extend_from_within(..length / 2);
        }
        let Ok(answer) = client.try_send(&body, *Transport::ALL.choose(&mut random).unwrap()) else {
            return acknowledged;
        };
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &body.len().into()), "{answer:?}");
        acknowledged.append(&mut body);
    }
}

/// Each acknowledged call is there once, and finished if its end was acknowledged; of the others none is there twice.
pub fn assert_contains(client: &Client, acknowledged: &World) {
    let first = FIRST_HOUR.parse::<DateTime<Utc>>().unwrap();
    let end = (first + TimeDelta::hours(HOURS)).to_rfc3339_opts(SecondsFormat::Secs, true);
    for slug in SLUGS {
        let question = format!("call-volume?started_after={FIRST_HOUR}&started_before={end}&workflow={slug}");
        let buckets = client.ask(&question)["data"].as_array().unwrap().clone();
        let calls = acknowledged.calls.values();
        let calls = calls.filter(|call| call.workflow.as_ref().is_some_and(|workflow| workflow.slug == slug));
        let mut seen = HashSet::new();
        for call in calls {
            let hour = usize::try_from((call.started_us - first.timestamp_micros()) / 3_600_000_000).unwrap();
            assert!(seen.insert(hour));
            let bucket = &buckets[hour];
            assert_eq!(bucket["total"], 1, "the call {} is lost: {bucket}", call.id);
            if call.is_finished() {
                assert_eq!(bucket[&call.status], 1, "the end of the call {} is lost: {bucket}", call.id);
            }
        }
        assert!(buckets.iter().all(|bucket| bucket["total"].as_u64() <= Some(1)), "counted twice");
    }
}

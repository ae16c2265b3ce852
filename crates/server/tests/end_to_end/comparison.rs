//! Twenty thousand calls as the field sends them, and every endpoint beside a recomputation by hand.

use crate::client::{Client, Transport};
use crate::compare::Comparison;
use crate::fixture::Fixture;
use crate::grouped::Grouped;
use crate::records::{self, Stretch};
use crate::windows::{PERIODS, Window, windows};
use crate::world::{Reception, World, dropped_samples};
use callscope_testkit::Backend;
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

const SEED: u64 = 20_000;
/// Records of a body at most.
const BODY_RECORDS_MAX: usize = 900;
/// How far from the edges of the windows that end now calls keep, so that it does not matter when exactly one asks.
const QUIET: TimeDelta = TimeDelta::minutes(10);

on_each_backend!(every_endpoint_equals_a_recomputation_from_the_records);

fn every_endpoint_equals_a_recomputation_from_the_records(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let tenant_id = fixture.tenant_id("clinic");
    let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")]);
    let client = server.client(&key);
    let mut random = StdRng::seed_from_u64(SEED);

    let calls = records::calls(SEED, &stretches(Utc::now()));
    assert_eq!(calls.len(), 20_000);
    let last: Vec<Value> = calls.iter().map(|call| records::vary(&mut random, call)).collect();
    let lives = last.iter().map(|record| records::life(&mut random, record)).collect();
    let deliveries = records::shuffled(&mut random, lives);
    let mut world = World::default();
    deliver(&mut random, &client, &mut world, &deliveries);
    assert_eq!(world.calls.len(), calls.len());

    let slugs = records::slugs(&calls);
    let comparison = Comparison {
        client: &client,
        world: &world,
        tenant_id: &tenant_id,
        slugs: &[&slugs[..], &["never-used"]].concat(),
    };
    let grouped = Grouped::open(fixture.database_url(), &tenant_id);
    for window in windows(&mut random, &records::starts_us(&last)) {
        comparison.check(&mut random, &window);
        grouped.check(&world, &window);
    }
    for period in PERIODS {
        let window = Window::of_period(period, Utc::now().timestamp_micros());
        comparison.check_summaries(&mut random, &window);
        comparison.check_workflows(&mut random, &window);
        comparison.check_providers(&window);
        comparison.check_errors(&mut random, &window);
    }
    fixture.assert_rollups_are_equal();
}

/// Thirty days in which the clocks of Berlin and New York go forward, two weeks in which they go back, a quarter of an
/// hour with a call every other second, and what is needed for windows that end now.
fn stretches(now: DateTime<Utc>) -> Vec<Stretch> {
    let day = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let (spring, autumn, rush) =
        (day("2025-03-05T07:13:00Z"), day("2025-10-24T00:00:00Z"), day("2025-03-20T10:52:30Z"));
    let hours_ago = |hours: i64| now - TimeDelta::hours(hours);
    vec![
        (spring, spring + TimeDelta::days(30), 16_500),
        (autumn, autumn + TimeDelta::days(14), 2_000),
        (rush, rush + TimeDelta::minutes(15), 500),
        (hours_ago(1) + QUIET, now - QUIET, 200),
        (hours_ago(24) + QUIET, hours_ago(1) - QUIET, 300),
        (hours_ago(7 * 24) + QUIET, hours_ago(24) - QUIET, 300),
        (hours_ago(30 * 24) + QUIET, hours_ago(7 * 24) - QUIET, 200),
    ]
}

/// Sends everything in bodies of all sizes and kinds, and single records to their own paths.
fn deliver(random: &mut StdRng, client: &Client, world: &mut World, deliveries: &[Value]) {
    let mut rest = deliveries;
    while !rest.is_empty() {
        let (body, others) = rest.split_at(random.random_range(1..=BODY_RECORDS_MAX).min(rest.len()));
        let dropped: u64 = body.iter().map(dropped_samples).sum();
        world.receive_all(body);
        assert_eq!(client.send(body, *Transport::ALL.choose(random).unwrap()), dropped);
        rest = others;
        for record in rest.split_off(..rest.len().min(3)).unwrap_or_default() {
            put(client, world, record);
        }
    }
}

fn put(client: &Client, world: &mut World, record: &Value) {
    let (status, result) = match world.receive(record) {
        Reception::Created => (201, "created"),
        Reception::Replaced => (200, "replaced"),
        Reception::Ignored => (200, "ignored"),
    };
    let answer = client.put(record);
    assert_eq!(answer.status, status, "{answer:?}");
    let json = answer.json();
    assert_eq!((&json["result"], &json["dropped_samples"]), (&result.into(), &dropped_samples(record).into()));
}

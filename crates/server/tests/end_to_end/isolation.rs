//! Two tenants on one server, with the same call ids: neither ever sees anything of the other.

use crate::client::Transport;
use crate::compare::Comparison;
use crate::fixture::Fixture;
use crate::records::{self, Stretch};
use crate::windows::{Window, windows};
use crate::world::World;
use callscope_testkit::Backend;
use chrono::{DateTime, TimeDelta, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

const CALLS: usize = 1500;
const TENANTS: [&str; 2] = ["clinic", "bakery"];

on_each_backend!(no_endpoint_shows_what_belongs_to_another_tenant, a_call_id_is_free_in_every_tenant);

fn no_endpoint_shows_what_belongs_to_another_tenant(backend: Backend) {
    let fixture = Fixture::new(backend);
    let keys = TENANTS.map(|slug| fixture.create_tenant(slug));
    let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")]);
    let sent = [records_of(0), records_of(1)];
    std::thread::scope(|scope| {
        for (key, records) in keys.iter().zip(&sent) {
            let client = server.client(key);
            scope.spawn(move || {
                records.chunks(50).for_each(|body| {
                    client.send(body, Transport::NDJSON);
                });
            });
        }
    });
    for (index, slug) in TENANTS.into_iter().enumerate() {
        let mut random = StdRng::seed_from_u64(1);
        let mut world = World::default();
        world.receive_all(&sent[index]);
        let client = server.client(&keys[index]);
        let tenant_id = fixture.tenant_id(slug);
        let own_slug = format!("only-{slug}");
        let comparison =
            Comparison { client: &client, world: &world, tenant_id: &tenant_id, slugs: &["daily-call", &own_slug] };
        for window in windows(&mut random, &records::starts_us(&sent[index])).iter().step_by(4) {
            comparison.check(&mut random, window);
        }
        let other = format!("only-{}", TENANTS[1 - index]);
        for question in questions(&other) {
            let answer = client.ask(&question).to_string();
            assert!(!answer.contains(&other), "{slug} sees {answer}");
        }
        assert_eq!(client.ask(&format!("summary?{}&workflow={other}", everything().query))["total_calls"], 0);
    }
    fixture.assert_rollups_are_equal();
}

fn everything() -> Window {
    let (first, last, _) = stretch();
    Window::between((first - TimeDelta::days(5)).timestamp_micros(), (last + TimeDelta::days(5)).timestamp_micros())
}

fn questions(other: &str) -> Vec<String> {
    let query = everything().query;
    let all = ["workflow-stats", "provider-latency", "summary", "call-volume"];
    let mut questions: Vec<String> = all.iter().map(|endpoint| format!("{endpoint}?{query}")).collect();
    questions.extend((0..5).map(|page| format!("errors?{query}&limit=200&offset={}", 200 * page)));
    questions.push(format!("call-volume?{query}&workflow={other}&interval=day"));
    questions
}

fn stretch() -> Stretch {
    let first = "2025-06-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
    (first, first + TimeDelta::days(4), CALLS)
}

/// The same calls' ids and starts for both, in an order and with contents of each one's own.
fn records_of(tenant: usize) -> Vec<Value> {
    let mark = format!("only-{}", TENANTS[tenant]);
    let mut random = StdRng::seed_from_u64(tenant as u64);
    let ids = records::calls(0, &[stretch()]);
    let contents = records::calls(tenant as u64, &[stretch()]);
    let mut lives = Vec::new();
    for (index, (id, content)) in ids.iter().zip(&contents).enumerate() {
        let mut record = records::vary(&mut random, content);
        record["call_id"] = json!(id.call_id);
        if index % 3 == 0 {
            record["workflow"] = json!({"slug": mark});
        }
        for provider in record["providers"].as_array_mut().unwrap().iter_mut().take(index % 2) {
            provider["provider_name"] = json!(mark);
        }
        for error in record["errors"].as_array_mut().unwrap() {
            error["message"] = json!(mark);
        }
        lives.push(records::life(&mut random, &record));
    }
    records::shuffled(&mut random, lives)
}

fn a_call_id_is_free_in_every_tenant(backend: Backend) {
    let fixture = Fixture::new(backend);
    let keys = TENANTS.map(|slug| fixture.create_tenant(slug));
    let server = fixture.serve(&[]);
    let (started_at, ended_at) = ("2025-06-01T10:00:00Z", "2025-06-01T10:01:00Z");
    let record = json!({"call_id": "31c02e4f-12e0-4af0-869b-aab222503a09", "status": "completed",
                        "started_at": started_at, "ended_at": ended_at});
    for key in &keys {
        assert_eq!(server.client(key).put(&record).status, 201);
        assert_eq!(server.client(key).put(&record).status, 200);
    }
}

//! `rollups verify` and `rollups rebuild`, over a database that someone has tampered with.

use crate::client::Transport;
use crate::figures;
use crate::fixture::Fixture;
use crate::records;
use crate::windows::Window;
use crate::world::World;
use callscope_testkit::Backend;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

on_each_backend!(a_falsified_rollup_is_found_and_rebuilt, an_audit_of_nobody_is_refused);

fn a_falsified_rollup_is_found_and_rebuilt(backend: Backend) {
    let fixture = Fixture::new(backend);
    let keys = ["clinic", "bakery"].map(|slug| fixture.create_tenant(slug));
    let server = fixture.serve(&[]);
    let mut random = StdRng::seed_from_u64(3);
    let from = "2025-06-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let to = from + chrono::TimeDelta::days(3);
    let calls = records::calls(3, &[(from, to, 300)]);
    let records: Vec<Value> = calls.iter().map(|call| records::vary(&mut random, call)).collect();
    let mut world = World::default();
    world.receive_all(&records);
    for key in &keys {
        server.client(key).send(&records, Transport::NDJSON);
    }
    let window = Window::between(from.timestamp_micros(), to.timestamp_micros());
    fixture.assert_rollups_are_equal();

    for falsehood in [
        "UPDATE call_rollups SET total = total + 1 WHERE resolution = 'day'",
        "UPDATE call_rollups SET stt_latency_us = 0 WHERE resolution = 'minute'",
        "UPDATE provider_rollups SET call_count = call_count + 1 WHERE provider_name = 'deepgram'",
        "DELETE FROM provider_rollups WHERE resolution = 'hour'",
        "UPDATE error_rollups SET error_count = 9 WHERE service = 'tool'",
        "DELETE FROM call_rollups",
    ] {
        fixture.tamper(falsehood);
        let verdict = fixture.run(&["rollups", "verify"]);
        assert_eq!(verdict.code, Some(1), "{falsehood}: {verdict:?}");
        assert_eq!(verdict.stdout.matches("NOT EQUAL").count(), 2, "{falsehood}: {verdict:?}");
        // Only the tenant that is named is made anew.
        fixture.run(&["rollups", "rebuild", "--tenant", "clinic"]).stdout_of_success();
        assert!(
            fixture.run(&["rollups", "verify", "--tenant", "clinic"]).stdout_of_success().contains("clinic: equal")
        );
        assert_eq!(fixture.run(&["rollups", "verify", "--tenant", "bakery"]).code, Some(1));
        let rebuilt = fixture.run(&["rollups", "rebuild"]).stdout_of_success();
        assert!(rebuilt.contains("from 300 calls"), "{rebuilt}");
        fixture.assert_rollups_are_equal();
    }
    for key in &keys {
        let question = format!("summary?{}", window.query);
        crate::compare::assert_alike(&server.client(key), &question, &figures::summary(&world, &window, None));
    }
}

fn an_audit_of_nobody_is_refused(backend: Backend) {
    let fixture = Fixture::new(backend);
    for command in ["verify", "rebuild"] {
        let complaint = fixture.run(&["rollups", command, "--tenant", "nobody"]).stderr_of_failure();
        assert!(complaint.contains("there is no tenant nobody"), "{complaint}");
    }
}

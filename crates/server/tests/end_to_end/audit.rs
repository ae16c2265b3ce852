//! `rollups verify` and `rollups rebuild`, over a database that someone has tampered with.

use crate::client::{Client, Transport};
use crate::figures;
use crate::fixture::Fixture;
use crate::process::eventually;
use crate::records;
use crate::windows::Window;
use crate::world::World;
use callscope_testkit::Backend;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

on_each_backend!(
    a_falsified_rollup_is_found_and_rebuilt,
    damage_is_repaired_while_a_server_takes_records,
    an_audit_of_nobody_is_refused,
);

fn a_falsified_rollup_is_found_and_rebuilt(backend: Backend) {
    let fixture = Fixture::new(backend);
    let keys = ["clinic", "bakery"].map(|slug| fixture.create_tenant(slug));
    let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")]);
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
        "UPDATE rollup_sums SET calls = calls + 1 WHERE dimension = 0 AND resolution = 3",
        "UPDATE rollup_sums SET stt_latency_us = 0 WHERE dimension < 2 AND resolution = 0",
        "DELETE FROM rollup_distributions WHERE dimension = 2 AND group_id = 1",
        "DELETE FROM rollup_distributions WHERE resolution = 2",
        "UPDATE rollup_sums SET errors = 9 WHERE dimension = 3 AND group_id = 2",
        "UPDATE rollup_sums SET calls = 0 WHERE dimension = 4 AND resolution = 1",
        "DELETE FROM rollup_sums WHERE dimension = 5",
        "DELETE FROM rollup_sums",
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

fn damage_is_repaired_while_a_server_takes_records(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")]);
    let client = server.client(&key);
    let from = "2025-06-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let to = from + chrono::TimeDelta::days(2);
    let calls = records::calls(6, &[(from, to, 600)]);
    let records: Vec<Value> = calls.iter().map(|call| serde_json::to_value(call).unwrap()).collect();
    client.send(&records, Transport::NDJSON);
    let load = Load::default();
    std::thread::scope(|scope| {
        let _end = EndOfLoad(&load);
        scope.spawn(|| load.send(&client, &records));
        let undecodable = match backend {
            Backend::Sqlite => "X'ff'",
            Backend::Postgres => r"'\xff'",
        };
        for damage in [
            "UPDATE rollup_sums SET calls = calls + 1, completed = -7 WHERE dimension < 2".to_owned(),
            "DELETE FROM rollup_sums WHERE dimension = 3".to_owned(),
            "DELETE FROM rollup_distributions WHERE resolution <> 0".to_owned(),
            format!("UPDATE rollup_distributions SET histograms = {undecodable} WHERE resolution = 2"),
        ] {
            load.wait();
            fixture.tamper(&damage);
            assert_ne!(fixture.run(&["rollups", "verify"]).code, Some(0), "{damage}");
            let printed = fixture.run(&["rollups", "rebuild"]).stdout_of_success();
            assert!(printed.starts_with("clinic: mended ") && !printed.contains("mended 0"), "{damage}: {printed}");
            fixture.assert_rollups_are_equal();
            load.wait();
        }
        let printed = fixture.run(&["rollups", "rebuild"]).stdout_of_success();
        assert!(printed.starts_with("clinic: mended 0 wrong rollups; "), "{printed}");
    });
    let mut world = World::default();
    world.receive_all(&records);
    world.receive_all(&load.acknowledged.into_inner().unwrap());
    let window = Window::between(from.timestamp_micros(), to.timestamp_micros());
    let expected = figures::summary(&world, &window, None);
    crate::compare::assert_alike(&client, &format!("summary?{}", window.query), &expected);
    fixture.assert_rollups_are_equal();
}

/// A client that goes on while there is something to repair.
#[derive(Default)]
struct Load {
    ends: AtomicBool,
    acknowledged: Mutex<Vec<Value>>,
}

/// Lets the client come to an end when it goes, even if the test fails.
struct EndOfLoad<'a>(&'a Load);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Sends new calls beside the known ones, each until it is acknowledged: while a histogram cannot be read, nothing
    /// can be added to it.
    fn send(&self, client: &Client, records: &[Value]) {
        for (number, record) in records.iter().cycle().enumerate() {
            let mut record = record.clone();
            record["call_id"] = format!("31c02e4f-12e0-4af0-869b-{number:012}").into();
            let mut status = 0;
            while status != 200 {
                if self.ends.load(Ordering::Relaxed) {
                    return;
                }
                status = client.try_send(std::slice::from_ref(&record), Transport::NDJSON).unwrap().status;
                assert!(status == 200 || status == 500, "{status}");
            }
            self.acknowledged.lock().unwrap().push(record);
        }
    }

    /// Waits until something was acknowledged after this began.
    fn wait(&self) {
        let count = || self.acknowledged.lock().unwrap().len();
        let before = count();
        eventually("an acknowledgement", || (count() > before).then_some(()));
    }
}

fn an_audit_of_nobody_is_refused(backend: Backend) {
    let fixture = Fixture::new(backend);
    for command in ["verify", "rebuild"] {
        let complaint = fixture.run(&["rollups", command, "--tenant", "nobody"]).stderr_of_failure();
        assert!(complaint.contains("there is no tenant nobody"), "{complaint}");
    }
}

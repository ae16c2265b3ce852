//! `callscope import`.

use crate::client::{Transport, gzip, ndjson, zstd};
use crate::compare::Comparison;
use crate::fixture::Fixture;
use crate::process::{Finished, run};
use crate::records;
use crate::windows::windows;
use crate::world::{World, dropped_samples};
use callscope_testkit::Backend;
use chrono::{DateTime, TimeDelta, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

const CALLS: usize = 1200;

on_each_backend!(
    files_of_every_kind_are_imported_and_again_change_nothing,
    a_rejected_line_is_named_and_costs_the_others_nothing,
    unknown_fields_are_listed_once_or_rejected,
    what_cannot_be_read_is_reported,
    an_import_goes_on_beside_a_server_that_takes_records,
);

fn records(seed: u64) -> Vec<Value> {
    let mut random = StdRng::seed_from_u64(seed);
    let from = "2025-06-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
    let calls = records::calls(seed, &[(from, from + TimeDelta::days(3), CALLS)]);
    let lives = calls.iter().map(|call| {
        let last = records::vary(&mut random, call);
        records::life(&mut random, &last)
    });
    let lives = lives.collect();
    records::shuffled(&mut random, lives)
}

fn import(fixture: &Fixture, files: &[&str], input: &[u8]) -> Finished {
    run(fixture.command(&[&["import", "--tenant", "clinic"], files].concat()), input)
}

/// Compares every answer of a server over the database.
fn assert_holds(fixture: &Fixture, key: &str, records: &[Value]) {
    let mut world = World::default();
    world.receive_all(records);
    let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")]);
    let tenant_id = fixture.tenant_id("clinic");
    let client = server.client(key);
    let comparison =
        Comparison { client: &client, world: &world, tenant_id: &tenant_id, slugs: &["daily-call", "onboarding"] };
    let mut random = StdRng::seed_from_u64(5);
    for window in windows(&mut random, &records::starts_us(records)).iter().step_by(6) {
        comparison.check(&mut random, window);
    }
    fixture.assert_rollups_are_equal();
}

fn files_of_every_kind_are_imported_and_again_change_nothing(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let records = records(1);
    let quarters: Vec<&[Value]> = records.chunks(records.len().div_ceil(4)).collect();
    let [plain, gz, zst, input] = [0, 1, 2, 3].map(|quarter| ndjson(quarters[quarter]));
    // Two gzip members in one file are one text, as `cat` makes them.
    let middle = gz.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for (name, bytes) in [
        ("plain.ndjson", [&b"\n"[..], &plain[..], b"  \n"].concat()),
        ("packed.ndjson.gz", [gzip(&gz[..middle]), gzip(&gz[middle..])].concat()),
        ("packed.zst", zstd(&zst)),
    ] {
        std::fs::write(fixture.folder().join(name), bytes).unwrap();
    }
    let dropped: u64 = records.iter().map(dropped_samples).sum();
    let summary = format!("accepted {}, rejected 0, dropped latency samples {dropped}\n", records.len());
    for _ in 0..2 {
        let imported = import(&fixture, &["plain.ndjson", "packed.ndjson.gz", "packed.zst", "-"], &input);
        assert_eq!(imported.stdout_of_success(), summary);
        assert_holds(&fixture, &key, &records);
    }
}

fn a_rejected_line_is_named_and_costs_the_others_nothing(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let records = records(2);
    let mut lines: Vec<String> = records.iter().map(Value::to_string).collect();
    let mut backwards = records[0].clone();
    backwards["status"] = "failed".into();
    backwards["ended_at"] = "2001-01-01T00:00:00Z".into();
    lines.insert(10, "{\"call_id\": ".to_owned());
    lines.insert(700, backwards.to_string());
    std::fs::write(fixture.folder().join("mixed.ndjson"), lines.join("\n")).unwrap();
    let imported = import(&fixture, &["mixed.ndjson"], b"");
    assert_eq!(imported.code, Some(1), "{imported:?}");
    assert!(imported.stdout.starts_with(&format!("accepted {}, rejected 2,", records.len())), "{imported:?}");
    assert!(imported.stdout.contains("1 x ended_at must not be before started_at"), "{imported:?}");
    assert!(imported.stderr.contains("mixed.ndjson:11: (record) is not valid JSON"), "{imported:?}");
    assert!(imported.stderr.contains("mixed.ndjson:701: ended_at must not be before started_at"), "{imported:?}");
    assert_holds(&fixture, &key, &records);
}

fn unknown_fields_are_listed_once_or_rejected(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let records = records(6);
    let mut newer = records.clone();
    for record in newer.iter_mut().take(3) {
        record["chan\u{1b}nel"] = "web".into();
    }
    std::fs::write(fixture.folder().join("newer.ndjson"), ndjson(&newer)).unwrap();
    let strict = import(&fixture, &["--strict", "newer.ndjson"], b"");
    assert_eq!(strict.code, Some(1), "{strict:?}");
    assert!(strict.stdout.starts_with(&format!("accepted {}, rejected 3,", records.len() - 3)), "{strict:?}");
    let imported = import(&fixture, &["newer.ndjson"], b"").stdout_of_success();
    assert!(imported.ends_with("ignored fields (--strict rejects their records): chan\\u{1b}nel\n"), "{imported}");
    assert_holds(&fixture, &key, &records);
}

fn what_cannot_be_read_is_reported(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.create_tenant("clinic");
    let complaint = import(&fixture, &["nowhere.ndjson"], b"").stderr_of_failure();
    assert!(complaint.contains("nowhere.ndjson"), "{complaint}");
    let cut = &gzip(&ndjson(&records(3)))[..2000];
    std::fs::write(fixture.folder().join("cut.gz"), cut).unwrap();
    let complaint = import(&fixture, &["cut.gz"], b"").stderr_of_failure();
    assert!(complaint.contains("cannot import cut.gz"), "{complaint}");
    let nobody = fixture.run(&["import", "--tenant", "nobody", "cut.gz"]).stderr_of_failure();
    assert!(nobody.contains("there is no tenant nobody"), "{nobody}");
    assert!(fixture.run(&["import", "--tenant", "clinic"]).stderr_of_failure().contains("<FILE>"));
}

fn an_import_goes_on_beside_a_server_that_takes_records(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let (sent, imported) = (records(4), records(5));
    std::fs::write(fixture.folder().join("past.ndjson"), ndjson(&imported)).unwrap();
    let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")]);
    let client = server.client(&key);
    std::thread::scope(|scope| {
        let outcome = scope.spawn(|| import(&fixture, &["past.ndjson"], b""));
        for body in sent.chunks(20) {
            client.send(body, Transport::NDJSON);
        }
        outcome.join().unwrap().stdout_of_success();
    });
    assert_holds(&fixture, &key, &[sent, imported].concat());
}

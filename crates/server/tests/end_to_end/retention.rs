//! What is no longer kept: calls go, and later their sums.

use crate::client::{Client, Transport};
use crate::fixture::Fixture;
use crate::process::{Server, eventually};
use callscope_testkit::Backend;
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use std::sync::LazyLock;

on_each_backend!(calls_that_are_too_old_go_and_their_sums_stay, sums_that_are_too_old_go_too);

const CALLS_DAYS: (&str, &str) = ("CALLSCOPE__RETENTION__CALLS_DAYS", "30");
const ROLLUPS_DAYS: (&str, &str) = ("CALLSCOPE__RETENTION__ROLLUPS_DAYS", "35");
/// Midnight may pass while a test runs; calls are days away from what is no longer kept.
const OLD: i64 = 40;
const RECENT: i64 = 10;
/// Between the two: its calls go, its sums stay.
const KEPT: i64 = 33;
/// What whole minutes of old calls can tell.
const SUMS: [&str; 4] = ["summary", "call-volume", "workflow-stats", "provider-latency"];

fn calls_that_are_too_old_go_and_their_sums_stay(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[]);
    let client = server.client(&key);
    let old = [call(OLD, "10:00:10"), call(OLD, "10:00:50"), call(OLD, "10:05:00")];
    let recent = call(RECENT, "10:00:10");
    client.send(&[&old[..], std::slice::from_ref(&recent)].concat(), Transport::NDJSON);
    let everything = window((OLD, "00:00:00"), (RECENT - 1, "00:00:00"));
    let of_minutes = window((OLD, "10:00:00"), (OLD, "10:05:00"));
    let ragged = window((OLD, "10:00:30"), (OLD, "10:04:30"));
    let sums = |client: &Client| [&everything, &of_minutes].map(|window| SUMS.map(|sum| ask(client, sum, window)));
    let before = sums(&client);
    assert_eq!(ask(&client, "summary", &ragged)["total_calls"], 1);
    assert_eq!(ask(&client, "errors", &everything)["items"].as_array().unwrap().len(), 4);
    drop(server);

    let server = serve_until_deleted(&fixture, &[CALLS_DAYS], "\"calls\":3");
    let client = server.client(&key);
    assert_eq!(fixture.count("SELECT count(*) FROM calls"), 1);
    assert_eq!(fixture.count("SELECT count(*) FROM call_errors"), 1);
    assert_eq!(sums(&client), before);
    // The edges lie within minutes of which only the sums are known.
    let answer = client.get(&path("summary", &ragged));
    assert_eq!(answer.json()["total_calls"], 2, "{answer:?}");
    let outward = format!("{}/{}", instant(OLD, "10:00:00"), instant(OLD, "10:05:00"));
    assert_eq!(answer.answered_window, Some(outward));
    let exact = window((RECENT, "10:00:05"), (RECENT, "10:00:15"));
    let answer = client.get(&path("summary", &exact));
    assert_eq!(answer.json()["total_calls"], 1, "{answer:?}");
    let answered = format!("{}/{}", instant(RECENT, "10:00:05"), instant(RECENT, "10:00:15"));
    assert_eq!(answer.answered_window, Some(answered));
    let log = ask(&client, "errors", &everything);
    assert_eq!(log["total"], 4, "{log}");
    let items = log["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|item| &item["call_id"]).collect::<Vec<_>>(), [&recent["call_id"]]);

    assert_old_records_are_rejected(&client, &old);
    assert_eq!(sums(&client), before);
    fixture.assert_rollups_are_equal();
    fixture.tamper("UPDATE rollup_sums SET calls = calls + 1 WHERE dimension = 0 AND resolution = 3");
    assert_eq!(fixture.run(&["rollups", "verify"]).code, Some(1));
    fixture.run(&["rollups", "rebuild"]).stdout_of_success();
    fixture.assert_rollups_are_equal();
    assert_eq!(sums(&client), before);
}

fn assert_old_records_are_rejected(client: &Client, old: &[Value]) {
    let records = [old[0].clone(), call(RECENT, "10:00:10"), old[2].clone()];
    let answer = client.try_send(&records, Transport::NDJSON).unwrap();
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{answer:?}");
    let rejected = answer.json()["rejected"].as_array().unwrap().clone();
    assert_eq!(rejected.len(), 2, "{answer:?}");
    for (rejected, (index, record)) in rejected.iter().zip([(0, &old[0]), (2, &old[2])]) {
        assert_eq!((&rejected["index"], &rejected["call_id"]), (&json!(index), &record["call_id"]));
        assert_eq!(rejected["errors"][0]["field"], "started_at");
        assert!(rejected["errors"][0]["message"].as_str().unwrap().contains("no longer kept"), "{rejected}");
    }
    let answer = client.put(&old[1]);
    assert_eq!((answer.status, &answer.json()["errors"][0]["field"]), (422, &json!("started_at")), "{answer:?}");
}

fn sums_that_are_too_old_go_too(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    fixture
        .serve(&[])
        .client(&key)
        .send(&[call(OLD, "10:00:10"), call(KEPT, "10:00:10"), call(RECENT, "10:00:10")], Transport::NDJSON);
    let server = serve_until_deleted(&fixture, &[CALLS_DAYS, ROLLUPS_DAYS], "\"rollup_days\":1");
    let client = server.client(&key);
    let total = |day: i64| {
        let window = window((day, "00:00:00"), (day - 1, "00:00:00"));
        ask(&client, "summary", &window)["total_calls"].clone()
    };
    assert_eq!([OLD, KEPT, RECENT].map(total), [0, 1, 1]);
    for table in ["rollup_sums", "rollup_distributions"] {
        assert_eq!(fixture.count(&format!("SELECT count(DISTINCT bucket) FROM {table} WHERE resolution = 3")), 2);
    }
    fixture.assert_rollups_are_equal();
    drop(server);
    // A longer time brings nothing back, and is no reason to fail.
    let server = fixture.serve(&[("CALLSCOPE__RETENTION__CALLS_DAYS", "300")]);
    assert_eq!(server.client(&key).put(&call(OLD, "10:00:10")).status, 422);
    fixture.assert_rollups_are_equal();
}

/// Starts a server, and waits until it says what it has deleted.
fn serve_until_deleted(fixture: &Fixture, environment: &[(&str, &str)], what: &str) -> Server {
    let server = fixture.serve(environment);
    let deleted = "deleted what is no longer kept";
    let line = eventually("deletion", || server.log().into_iter().find(|line| line.contains(deleted)));
    assert!(line.contains(what) && line.contains("\"clinic\""), "{line}");
    server
}

/// A time of a day that is so many days ago.
fn instant(days_ago: i64, time: &str) -> String {
    static TODAY: LazyLock<NaiveDate> = LazyLock::new(|| Utc::now().date_naive());
    let day = *TODAY - TimeDelta::days(days_ago);
    let instant: DateTime<Utc> = day.and_time(time.parse::<NaiveTime>().unwrap()).and_utc();
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn window((from_days, from): (i64, &str), (to_days, to): (i64, &str)) -> String {
    format!("started_after={}&started_before={}", instant(from_days, from), instant(to_days, to))
}

fn path(question: &str, window: &str) -> String {
    format!("/api/v1/analytics/{question}?{window}")
}

fn ask(client: &Client, question: &str, window: &str) -> Value {
    client.ask(&format!("{question}?{window}"))
}

/// A failed call with something for every question.
fn call(days_ago: i64, time: &str) -> Value {
    let start = instant(days_ago, time);
    json!({
        "call_id": format!("31c02e4f-12e0-4af0-869b-{days_ago:06}{}", time.replace(':', "")), "status": "failed",
        "started_at": start, "ended_at": start, "workflow": {"slug": "daily-call", "name": "Daily call"},
        "providers": [{"provider_type": "stt", "provider_name": "deepgram", "latencies_ms": [120.0]}],
        "errors": [{"timestamp": start, "service": "stt", "level": "error", "message": "silence"}],
    })
}

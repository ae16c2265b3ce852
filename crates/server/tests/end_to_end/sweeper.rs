//! Calls whose end never comes.

use crate::client::Transport;
use crate::fixture::Fixture;
use crate::process::eventually;
use callscope_testkit::Backend;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

/// Calls without an end, each sent when the one before is closed: by the last, a server has swept time and again.
const STALE: [&str; 3] = [
    "31c02e4f-12e0-4af0-869b-aab222503a09",
    "b2f7fdd8-3b6c-4a19-bd0d-2d6f6a1f5c0e",
    "e8a7c9d4-5f0b-4f0e-8c31-7b0f1f6f9a77",
];
const ENDED: &str = "5d9a9a39-9d0e-4cf5-a0f8-3a4a6b4f5d10";

on_each_backend!(a_stale_call_is_closed_as_failed_until_its_real_end_comes);

fn a_stale_call_is_closed_as_failed_until_its_real_end_comes(backend: Backend) {
    let [patient, sweeping] = [Fixture::new(backend), Fixture::new(backend)];
    let servers = [(&patient, "0s"), (&sweeping, "2s")].map(|(fixture, timeout)| {
        let key = fixture.create_tenant("clinic");
        let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", timeout)]);
        let client = server.client(&key);
        client.send(&[call(STALE[0], None), call(ENDED, Some(60))], Transport::NDJSON);
        (server, client)
    });
    let [(_first, patient_client), (_second, client)] = &servers;
    for id in STALE {
        client.send(&[call(id, None)], Transport::NDJSON);
        eventually("the closing", || (client.ask("active-calls")["count"] == 0).then_some(()));
    }
    let figures = |summary: Value| {
        let fields = ["total_calls", "completed_calls", "failed_calls", "active_calls", "avg_duration_seconds"];
        fields.map(|field| summary[field].clone())
    };
    assert_eq!(figures(client.ask("summary")), [json!(4), json!(1), json!(3), json!(0), json!(60.0)]);
    assert_eq!(client.ask("summary")["success_rate"], 25.0);
    assert_eq!(figures(patient_client.ask("summary")), [json!(2), json!(1), json!(0), json!(1), json!(60.0)]);

    // What comes late from a call's start does not reopen it.
    assert_eq!(client.put(&call(STALE[0], None)).json()["result"], "ignored");
    assert_eq!(client.ask("active-calls")["count"], 0);
    sweeping.assert_rollups_are_equal();

    assert_eq!(client.put(&call(STALE[0], Some(120))).json()["result"], "replaced");
    assert_eq!(figures(client.ask("summary")), [json!(4), json!(2), json!(2), json!(0), json!(90.0)]);
    sweeping.assert_rollups_are_equal();
    patient.assert_rollups_are_equal();
}

/// A call of an hour ago that took so many seconds, or goes on.
fn call(id: &str, seconds: Option<i64>) -> Value {
    let started_at = Utc::now() - TimeDelta::hours(1);
    let start = started_at.to_rfc3339();
    match seconds.map(|seconds| started_at + TimeDelta::seconds(seconds)) {
        None => json!({"call_id": id, "status": "active", "started_at": start}),
        Some(end) => json!({"call_id": id, "status": "completed", "started_at": start, "ended_at": end.to_rfc3339()}),
    }
}

//! Calls whose source has ids of its own.

use crate::client::INGEST;
use crate::records::{call_id, completed};
use crate::server::Server;
use crate::wire::Request;
use callscope_testkit::Backend;
use serde_json::Value;

on_each_backend!(
    a_source_and_its_id_make_the_call_id_of_each_tenant,
    a_call_id_wins_over_an_external_one,
    what_is_missing_or_wrong_is_named,
);

const AT: &str = "2026-01-17T10:00:00Z";

async fn a_source_and_its_id_make_the_call_id_of_each_tenant(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let record = |status: &str| {
        let error = serde_json::json!([{"timestamp": AT, "service": "stt", "level": "error", "message": "m"}]);
        let record = completed(1, AT, 60).without("call_id").with("source", "livekit").with("external_id", "RM_x2y");
        record.with("status", status).with("errors", error).to_string()
    };
    // Sent twice it is one call, and the later record holds; in another tenant it is another call.
    for (tenant, status) in [(&acme, "completed"), (&acme, "failed"), (&globex, "completed")] {
        let answer = tenant.send(&Request::new("POST", INGEST).ndjson(record(status))).await.value();
        assert_eq!(answer["accepted"], 1, "{answer}");
    }
    for tenant in [&acme, &globex] {
        let summary = tenant.summary("?period=24h").await.value();
        assert_eq!(summary["total_calls"], 1);
        let errors = tenant.errors("?period=24h").await.value();
        let expected = uuid::Uuid::new_v5(&tenant.id.0, b"call:livekit:RM_x2y").to_string();
        assert_eq!(errors["items"][0]["call_id"], expected);
    }
    assert_eq!(acme.summary("?period=24h").await.value()["failed_calls"], 1);
}

async fn a_call_id_wins_over_an_external_one(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let record = completed(1, AT, 60).with("source", "livekit").with("external_id", "RM_x2y").to_string();
    let by_path = Request::new("PUT", format!("{INGEST}/{}", call_id(1))).json(record.clone());
    assert_eq!(acme.send(&by_path).await.status, 201);
    assert_eq!(acme.send(&Request::new("POST", INGEST).ndjson(record)).await.value()["accepted"], 1);
    assert_eq!(acme.summary("?period=24h").await.value()["total_calls"], 1);
}

async fn what_is_missing_or_wrong_is_named(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let bare = || completed(1, AT, 60).without("call_id");
    let records = [
        bare(),
        bare().with("source", "livekit"),
        bare().with("external_id", "RM_x2y"),
        bare().with("source", "Live Kit").with("external_id", ""),
        bare().with("source", "livekit").with("external_id", "x".repeat(257)),
        bare().with("call_id", "RM_x2y"),
    ];
    let lines = records.map(|record| record.to_string()).join("\n");
    let answer = acme.send(&Request::new("POST", INGEST).ndjson(lines)).await.value();
    let text = |error: &Value, name: &str| error[name].as_str().expect("a text").to_owned();
    let fault = |error: &Value| format!("{}: {}", text(error, "field"), text(error, "message"));
    let faults: Vec<String> = answer["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| record["errors"].as_array().expect("errors").iter().map(fault).collect::<Vec<_>>().join("; "))
        .collect();
    insta::assert_snapshot!(faults.join("\n"), @"
    call_id: is required, unless source and external_id are given
    external_id: is required: source and external_id make the call id
    source: is required: source and external_id make the call id
    source: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters; external_id: must not be empty
    external_id: must be at most 256 characters long
    call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09; for an id of another form, send source and external_id instead
    ");
}

//! Fields that the server does not know are ignored and named, unless the client wants them refused.

use crate::client::INGEST;
use crate::records::{active, call_id, completed};
use crate::server::Server;
use crate::wire::Request;
use callscope_testkit::Backend;
use serde_json::{Value, json};

on_each_backend!(
    a_record_with_unknown_fields_is_kept_and_they_are_named,
    a_batch_names_the_unknown_fields_of_accepted_records_once,
    strict_refuses_them,
    names_are_bounded_in_number_and_length,
);

const AT: &str = "2026-01-17T10:00:00Z";

/// A record with an unknown field in each of its objects.
fn newer(id: u32) -> Value {
    let record = completed(id, AT, 60)
        .with("sentiment", json!({"score": [1, 2, {"deep": null}]}))
        .with("workflow", json!({"slug": "daily-call", "team": "care"}))
        .with(
            "providers",
            json!([
                {"provider_type": "stt", "provider_name": "deepgram", "region": "eu", "latencies_ms": [100.0]},
                {"provider_type": "llm", "provider_name": "openai", "region": "us", "latencies_ms": [300.0]},
            ]),
        )
        .with(
            "errors",
            json!([
                {"timestamp": AT, "service": "stt", "level": "error", "message": "m", "trace": "t"},
            ]),
        );
    serde_json::from_str(&record.to_string()).expect("JSON")
}

async fn a_record_with_unknown_fields_is_kept_and_they_are_named(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let put = Request::new("PUT", format!("{INGEST}/{}", call_id(1))).json(newer(1).to_string());
    let answer = acme.send(&put).await;
    let ignored = json!(["sentiment", "workflow.team", "providers[].region", "errors[].trace"]);
    assert_eq!((answer.status, &answer.value()["ignored_fields"]), (201, &ignored));
    let summary = acme.summary("?period=24h").await.value();
    assert_eq!((&summary["total_calls"], &summary["avg_stt_latency_ms"]), (&1.into(), &100.0.into()));
}

async fn a_batch_names_the_unknown_fields_of_accepted_records_once(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let mut rejected = newer(3);
    rejected["status"] = "done".into();
    rejected["of_a_rejected_record"] = 1.into();
    let lines = [newer(1), newer(2), rejected].map(|record| record.to_string()).join("\n");
    let answer = acme.send(&Request::new("POST", INGEST).ndjson(lines)).await.value();
    let ignored = json!(["errors[].trace", "providers[].region", "sentiment", "workflow.team"]);
    assert_eq!((&answer["accepted"], &answer["ignored_fields"]), (&2.into(), &ignored));
}

async fn strict_refuses_them(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let put = Request::new("PUT", format!("{INGEST}/{}?strict=true", call_id(1))).json(newer(1).to_string());
    let answer = acme.send(&put).await;
    let text = |error: &Value, name: &str| error[name].as_str().expect("a text").to_owned();
    let fields: Vec<String> = answer.value()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| format!("{} {}", text(error, "field"), text(error, "code")))
        .collect();
    let expected = [
        "sentiment unknown",
        "workflow.team unknown",
        "providers[0].region unknown",
        "providers[1].region unknown",
        "errors[0].trace unknown",
    ];
    assert_eq!((answer.status, fields), (422, expected.map(str::to_owned).to_vec()));
    let lines = format!("{}\n{}", newer(1), active(2, AT));
    let post = Request::new("POST", format!("{INGEST}?strict=true")).ndjson(lines);
    let answer = acme.send(&post).await.value();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["index"]), (&1.into(), &0.into()));
    let wrong = acme.send(&Request::new("POST", format!("{INGEST}?strict=yes")).ndjson("{}")).await;
    assert_eq!((wrong.status, &wrong.value()["errors"][0]["field"]), (422, &"strict".into()));
}

async fn names_are_bounded_in_number_and_length(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let records = (0..100).map(|index| {
        let record = active(index, AT).with(&format!("{index}_{}", "é".repeat(1000)), 0);
        record.with(&"x".repeat(10_000), 0).to_string()
    });
    let lines: Vec<String> = records.collect();
    let answer = acme.send(&Request::new("POST", INGEST).ndjson(lines.join("\n"))).await.value();
    let names = answer["ignored_fields"].as_array().expect("a list");
    assert_eq!((&answer["accepted"], names.len()), (&100.into(), 50));
    assert!(names.iter().all(|name| name.as_str().is_some_and(|name| name.chars().count() <= 64)));
}

//! The write endpoints, when all goes well.

use crate::client::{Client, INGEST};
use crate::layout::answer;
use crate::records::{Record, active, call_id, completed, error, failed};
use crate::server::Server;
use crate::wire::{Request, Response};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::io::Write;

on_each_backend!(
    a_put_creates_then_replaces_then_ignores,
    the_record_of_the_documentation_is_accepted_as_it_stands,
    every_way_to_send_a_batch_says_the_same,
    a_put_may_be_packed_too_and_need_not_repeat_the_id,
    a_bad_record_never_costs_the_good_ones,
    a_batch_of_nothing_but_bad_records_is_answered_all_the_same,
    latencies_that_are_none_are_dropped_and_counted_and_the_call_is_kept,
    sending_a_batch_again_changes_nothing_and_the_last_record_of_a_call_counts,
    an_end_that_comes_first_creates_the_call_and_a_corrected_start_moves_it
);

fn post() -> Request {
    Request::new("POST", INGEST)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 0).expect("memory takes bytes")
}

async fn total_calls(client: &Client) -> Value {
    client.summary("?period=30d").await.value()["total_calls"].clone()
}

async fn a_put_creates_then_replaces_then_ignores(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let at = "2026-01-17T10:00:00Z";
    let finished = completed(1, at, 60).provider("stt", "deepgram", &[0.0, 118.2]);
    assert_snapshot!(answer(&acme.put_call(&active(1, at)).await), @r#"
    201
    {"call_id":"00000000-0000-4000-8000-000000000001","result":"created","dropped_samples":0,"ignored_fields":[]}
    "#);
    assert_snapshot!(answer(&acme.put_call(&finished).await), @r#"
    200
    {"call_id":"00000000-0000-4000-8000-000000000001","result":"replaced","dropped_samples":1,"ignored_fields":[]}
    "#);
    assert_snapshot!(answer(&acme.put_call(&finished).await), @r#"
    200
    {"call_id":"00000000-0000-4000-8000-000000000001","result":"replaced","dropped_samples":1,"ignored_fields":[]}
    "#);
    assert_snapshot!(answer(&acme.put_call(&active(1, at)).await), @r#"
    200
    {"call_id":"00000000-0000-4000-8000-000000000001","result":"ignored","dropped_samples":0,"ignored_fields":[]}
    "#);
    assert_snapshot!(answer(&acme.put_call(&failed(1, at, 90)).await), @r#"
    200
    {"call_id":"00000000-0000-4000-8000-000000000001","result":"replaced","dropped_samples":0,"ignored_fields":[]}
    "#);
    let summary = acme.summary("").await.value();
    assert_eq!((&summary["total_calls"], &summary["failed_calls"]), (&1.into(), &1.into()));
    assert_eq!(summary["avg_stt_latency_ms"], Value::Null);
}

async fn the_record_of_the_documentation_is_accepted_as_it_stands(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let record = r#"{"call_id": "31c02e4f-12e0-4af0-869b-aab222503a09", "status": "completed",
 "started_at": "2026-01-17T10:30:00Z", "ended_at": "2026-01-17T10:33:00Z", "end_reason": "user_hangup",
 "workflow": {"slug": "daily-call", "name": "Daily Health Check", "id": null},
 "agent": "greeter-agent", "total_tokens": 1500,
 "providers": [{"provider_type": "stt", "provider_name": "deepgram", "latencies_ms": [118.2, 131.5]}],
 "errors": [{"timestamp": "2026-01-17T10:31:00Z", "service": "stt", "level": "error",
             "message": "Connection timeout to Deepgram", "details": {"timeout_ms": 5000}, "agent": "meal-agent"}]
}"#;
    let put = |id: &str| Request::new("PUT", format!("{INGEST}/{id}")).json(record);
    assert_snapshot!(answer(&acme.send(&put("31c02e4f-12e0-4af0-869b-aab222503a09")).await), @r#"
    201
    {"call_id":"31c02e4f-12e0-4af0-869b-aab222503a09","result":"created","dropped_samples":0,"ignored_fields":[]}
    "#);
    // The same id in other spellings is the same call.
    for spelling in ["31C02E4F-12E0-4AF0-869B-AAB222503A09", "31c02e4f12e04af0869baab222503a09"] {
        assert_eq!(acme.send(&put(spelling)).await.status, 200, "{spelling}");
    }
    assert_eq!(total_calls(&acme).await, 1);
}

async fn every_way_to_send_a_batch_says_the_same(backend: Backend) {
    let server = Server::start(backend).await;
    let records = [
        completed(1, "2026-01-17T10:00:00Z", 60),
        failed(2, "2026-01-17T10:00:00Z", 60),
        active(3, "2026-01-17T10:00:00Z"),
    ];
    let texts: Vec<String> = records.iter().map(Record::to_string).collect();
    let (lines, array) = (texts.join("\n"), format!("[{}]", texts.join(",")));
    let spaced = format!(" [\n  {}\n]\r\n", texts.join(",\n  "));
    let packed = |encoding: &'static str, bytes: Vec<u8>| post().ndjson(bytes).header("Content-Encoding", encoding);
    let members = [gzip(&lines.as_bytes()[..50]), gzip(&lines.as_bytes()[50..])].concat();
    let frames = [zstd(&lines.as_bytes()[..50]), zstd(&lines.as_bytes()[50..])].concat();
    let chunks = format!("{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 50, &lines[..50], lines.len() - 50, &lines[50..]);
    let requests = [
        post().ndjson(lines.clone()),
        post().ndjson(format!("\n\r\n{}\r\n\n", texts.join("\r\n"))),
        post().body("application/ndjson", lines.clone()),
        post().body("Application/X-NDJSON; charset=utf-8", lines.clone()),
        post().json(array.clone()),
        post().json(format!("\u{feff}{array}")),
        post().ndjson(format!("\u{feff}{lines}")),
        post().body("APPLICATION/JSON;charset=utf-8", spaced),
        packed("gzip", gzip(lines.as_bytes())),
        packed("GZIP", gzip(lines.as_bytes())),
        packed("x-gzip", gzip(lines.as_bytes())),
        packed("gzip", members),
        packed("zstd", zstd(lines.as_bytes())),
        packed("zstd", frames),
        packed("identity", lines.clone().into_bytes()),
        post().json(gzip(array.as_bytes())).header("Content-Encoding", "gzip"),
        post().json(zstd(array.as_bytes())).header("Content-Encoding", "zstd"),
        post().ndjson(chunks).header("Transfer-Encoding", "chunked"),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        let tenant = server.tenant(&format!("tenant-{number}")).await;
        let response: Response = tenant.send(&request).await;
        let expected = json!({"accepted": 3, "rejected": [], "dropped_samples": 0, "ignored_fields": []});
        assert_eq!((response.status, response.value()), (200, expected), "{:?}", request.headers);
        assert_eq!(total_calls(&tenant).await, 3, "{:?}", request.headers);
    }
}

async fn a_put_may_be_packed_too_and_need_not_repeat_the_id(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let record = completed(1, "2026-01-17T10:00:00Z", 60).without("call_id").to_string();
    let put = |number| Request::new("PUT", format!("{INGEST}/{}", call_id(number)));
    assert_eq!(acme.send(&put(1).json(record.clone())).await.status, 201);
    let packed = put(2).json(gzip(record.as_bytes())).header("Content-Encoding", "gzip");
    assert_eq!(acme.send(&packed).await.status, 201);
    let packed = put(3).json(zstd(record.as_bytes())).header("Content-Encoding", "zstd");
    assert_eq!(acme.send(&packed).await.status, 201);
    assert_eq!(total_calls(&acme).await, 3);
}

async fn a_bad_record_never_costs_the_good_ones(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let at = "2026-01-17T10:00:00Z";
    let batch = [
        completed(1, at, 60).to_string(),
        completed(2, at, 60).with("status", "done").with("agent", "").to_string(),
        "{\"call_id\":".to_owned(),
        failed(3, at, 60).to_string(),
        completed(4, at, 60).without("ended_at").to_string(),
        active(5, at).to_string(),
        "null".to_owned(),
    ];
    let lines = acme.send(&post().ndjson(batch.join("\n"))).await;
    assert_snapshot!(answer(&lines), @r#"
    200
    {
      "accepted":3,
      "rejected":[
        {
          "index":1,
          "call_id":"00000000-0000-4000-8000-000000000002",
          "errors":[
            {"field":"status","code":"unknown_value","message":"must be one of active, completed, failed"},
            {"field":"agent","code":"empty","message":"must not be empty"}
          ]
        },
        {
          "index":2,
          "call_id":null,
          "errors":[
            {
              "field":"(record)",
              "code":"invalid_json",
              "message":"is not valid JSON: EOF while parsing a value (column 11)"
            }
          ]
        },
        {
          "index":4,
          "call_id":"00000000-0000-4000-8000-000000000004",
          "errors":[{"field":"ended_at","code":"required","message":"is required when the call is completed or failed"}]
        },
        {"index":6,"call_id":null,"errors":[{"field":"(record)","code":"invalid_type","message":"must be an object"}]}
      ],
      "dropped_samples":0,
      "ignored_fields":[]
    }
    "#);
    assert_eq!(total_calls(&acme).await, 3);
    // As an array the one that is no JSON would cost them all; without it the answer is the same.
    let globex = server.tenant("globex").await;
    let sound: Vec<&str> = batch.iter().map(String::as_str).filter(|text| *text != "{\"call_id\":").collect();
    let array = globex.send(&post().json(format!("[{}]", sound.join(",")))).await.value();
    assert_eq!((&array["accepted"], array["rejected"].as_array().map(Vec::len)), (&3.into(), Some(3)));
    assert_eq!(total_calls(&globex).await, 3);
}

async fn a_batch_of_nothing_but_bad_records_is_answered_all_the_same(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    assert_snapshot!(answer(&acme.send(&post().json("[{}, 1]")).await), @r#"
    200
    {
      "accepted":0,
      "rejected":[
        {
          "index":0,
          "call_id":null,
          "errors":[
            {"field":"call_id","code":"required","message":"is required, unless source and external_id are given"},
            {"field":"status","code":"required","message":"is required"},
            {"field":"started_at","code":"required","message":"is required"}
          ]
        },
        {"index":1,"call_id":null,"errors":[{"field":"(record)","code":"invalid_type","message":"must be an object"}]}
      ],
      "dropped_samples":0,
      "ignored_fields":[]
    }
    "#);
    assert_eq!(total_calls(&acme).await, 0);
}

async fn latencies_that_are_none_are_dropped_and_counted_and_the_call_is_kept(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let latencies = json!([0, -1, 600_000.1, 1e300, null, 118.2, 600_000, 0.0004, 131.8]);
    let record = completed(1, "2026-01-17T10:00:00Z", 60)
        .with("providers", json!([{"provider_type": "stt", "provider_name": "deepgram", "latencies_ms": latencies}]));
    assert_eq!(acme.put_call(&record).await.value()["dropped_samples"], 5);
    let batch = [record.clone(), record.clone().with("status", "gone"), completed(2, "2026-01-17T10:00:00Z", 60)];
    let response = acme.ingest(&batch).await.value();
    // Those of a refused record do not count.
    assert_eq!((&response["accepted"], &response["dropped_samples"]), (&2.into(), &5.into()));
    let value = acme.provider_latency("").await.value();
    assert_eq!((&value[0]["avg_latency_ms"], &value[0]["call_count"]), (&150_062.5.into(), &1.into()));
}

async fn sending_a_batch_again_changes_nothing_and_the_last_record_of_a_call_counts(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let at = "2026-01-17T10:00:00Z";
    let batch = [
        active(1, at),
        completed(1, at, 60).tokens(5).provider("stt", "deepgram", &[100.0]).error(error(at, "stt", "error", "Old")),
        completed(1, at, 90).tokens(7).provider("stt", "deepgram", &[200.0]).error(error(at, "stt", "error", "New")),
        // Too late: the call has ended.
        active(1, at),
        failed(2, at, 30),
    ];
    let mut answers = Vec::new();
    for _ in 0..3 {
        assert_eq!(acme.ingest(&batch).await.value()["accepted"], 5);
        let questions = [acme.summary("").await, acme.provider_latency("").await, acme.errors("").await];
        answers.push(questions.map(|response| response.text().to_owned()));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    let summary = acme.summary("").await.value();
    assert_eq!(
        (&summary["total_calls"], &summary["total_tokens"], &summary["active_calls"]),
        (&2.into(), &7.into(), &0.into())
    );
    let errors = acme.errors("").await.value();
    assert_eq!((&errors["total"], &errors["items"][0]["message"]), (&1.into(), &"New".into()));
}

async fn an_end_that_comes_first_creates_the_call_and_a_corrected_start_moves_it(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    assert_eq!(acme.put_call(&completed(1, "2026-01-17T10:00:00Z", 60)).await.status, 201);
    assert_eq!(acme.put_call(&active(1, "2026-01-17T10:00:00Z")).await.value()["result"], "ignored");
    assert_eq!(acme.put_call(&completed(1, "2026-01-10T10:00:00Z", 60)).await.status, 200);
    assert_eq!(acme.summary("").await.value()["total_calls"], 0);
    assert_eq!(acme.summary("?period=30d").await.value()["total_calls"], 1);
}

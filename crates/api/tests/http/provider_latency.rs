//! `GET /api/v1/analytics/provider-latency`.

use crate::layout::answer;
use crate::records::{active, completed, failed};
use crate::server::Server;
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::json;

on_each_backend!(
    without_calls_there_are_no_providers,
    stages_in_pipeline_order_then_the_busiest_then_by_name,
    percentiles_are_nearest_rank_over_every_turn_within_half_a_percent,
    a_provider_without_a_measured_turn_has_nulls_and_its_calls,
    a_provider_that_stands_twice_in_a_record_is_one_provider_of_one_call,
    the_window_decides_which_calls_count
);

async fn without_calls_there_are_no_providers(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    assert_snapshot!(answer(&acme.provider_latency("").await), @"
    200
    []
    ");
}

async fn stages_in_pipeline_order_then_the_busiest_then_by_name(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-17T10:00:00Z", 60)
            .provider("tts", "cartesia", &[85.25])
            .provider("llm", "openai", &[250.0, 260.0, 330.0])
            .provider("stt", "whisper", &[100.0]),
        failed(2, "2026-01-17T10:00:00Z", 60).provider("stt", "deepgram", &[120.0]),
        // A call that is still going on has latencies already.
        active(3, "2026-01-17T10:00:00Z").provider("stt", "deepgram", &[140.0]),
        completed(4, "2026-01-17T10:00:00Z", 60).provider("stt", "azure", &[90.0]),
        // Before the window.
        completed(5, "2026-01-15T10:00:00Z", 60).provider("stt", "google", &[90.0]),
    ])
    .await;
    assert_snapshot!(answer(&acme.provider_latency("").await), @r#"
    200
    [
      {
        "provider_type":"stt",
        "provider_name":"deepgram",
        "avg_latency_ms":130.0,
        "p50_latency_ms":120.0,
        "p95_latency_ms":139.4,
        "p99_latency_ms":139.4,
        "call_count":2
      },
      {
        "provider_type":"stt",
        "provider_name":"azure",
        "avg_latency_ms":90.0,
        "p50_latency_ms":90.0,
        "p95_latency_ms":90.0,
        "p99_latency_ms":90.0,
        "call_count":1
      },
      {
        "provider_type":"stt",
        "provider_name":"whisper",
        "avg_latency_ms":100.0,
        "p50_latency_ms":100.0,
        "p95_latency_ms":100.0,
        "p99_latency_ms":100.0,
        "call_count":1
      },
      {
        "provider_type":"llm",
        "provider_name":"openai",
        "avg_latency_ms":280.0,
        "p50_latency_ms":260.5,
        "p95_latency_ms":328.5,
        "p99_latency_ms":328.5,
        "call_count":1
      },
      {
        "provider_type":"tts",
        "provider_name":"cartesia",
        "avg_latency_ms":85.3,
        "p50_latency_ms":85.3,
        "p95_latency_ms":85.3,
        "p99_latency_ms":85.3,
        "call_count":1
      }
    ]
    "#);
}

async fn percentiles_are_nearest_rank_over_every_turn_within_half_a_percent(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let turns = |from: i32, to: i32| (from..=to).map(f64::from).collect::<Vec<_>>();
    acme.given(&[
        completed(1, "2026-01-17T10:00:00Z", 60).provider("stt", "deepgram", &turns(1, 300)),
        completed(2, "2026-01-17T10:00:30Z", 60).provider("stt", "deepgram", &turns(301, 1000)),
    ])
    .await;
    let value = acme.provider_latency("").await.value();
    assert_eq!(value[0]["avg_latency_ms"], 500.5);
    assert_eq!(value[0]["call_count"], 2);
    for (name, exact) in [("p50_latency_ms", 500.0), ("p95_latency_ms", 950.0), ("p99_latency_ms", 990.0)] {
        let seen = value[0][name].as_f64().expect("a number");
        // The bound of the histogram, and half of the last digit.
        assert!((seen - exact).abs() <= exact * 0.005 + 0.05, "{name}: {seen}");
    }
}

async fn a_provider_without_a_measured_turn_has_nulls_and_its_calls(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let providers = json!([
        {"provider_type": "stt", "provider_name": "deepgram", "latencies_ms": []},
        {"provider_type": "tts", "provider_name": "cartesia"},
        {"provider_type": "llm", "provider_name": "openai", "latencies_ms": null},
    ]);
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60).with("providers", providers)]).await;
    assert_snapshot!(answer(&acme.provider_latency("").await), @r#"
    200
    [
      {
        "provider_type":"stt",
        "provider_name":"deepgram",
        "avg_latency_ms":null,
        "p50_latency_ms":null,
        "p95_latency_ms":null,
        "p99_latency_ms":null,
        "call_count":1
      },
      {
        "provider_type":"llm",
        "provider_name":"openai",
        "avg_latency_ms":null,
        "p50_latency_ms":null,
        "p95_latency_ms":null,
        "p99_latency_ms":null,
        "call_count":1
      },
      {
        "provider_type":"tts",
        "provider_name":"cartesia",
        "avg_latency_ms":null,
        "p50_latency_ms":null,
        "p95_latency_ms":null,
        "p99_latency_ms":null,
        "call_count":1
      }
    ]
    "#);
}

async fn a_provider_that_stands_twice_in_a_record_is_one_provider_of_one_call(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)
        .provider("stt", "deepgram", &[100.0])
        .provider("stt", "deepgram", &[200.0, 300.0])
        // Case matters.
        .provider("stt", "Deepgram", &[400.0])])
        .await;
    assert_snapshot!(answer(&acme.provider_latency("").await), @r#"
    200
    [
      {
        "provider_type":"stt",
        "provider_name":"Deepgram",
        "avg_latency_ms":400.0,
        "p50_latency_ms":400.0,
        "p95_latency_ms":400.0,
        "p99_latency_ms":400.0,
        "call_count":1
      },
      {
        "provider_type":"stt",
        "provider_name":"deepgram",
        "avg_latency_ms":200.0,
        "p50_latency_ms":200.0,
        "p95_latency_ms":298.8,
        "p99_latency_ms":298.8,
        "call_count":1
      }
    ]
    "#);
}

async fn the_window_decides_which_calls_count(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-10T08:00:00Z", 60).provider("stt", "deepgram", &[100.0]),
        completed(2, "2026-01-10T08:59:59.999999Z", 60).provider("stt", "deepgram", &[300.0]),
        completed(3, "2026-01-10T09:00:00Z", 60).provider("stt", "deepgram", &[900.0]),
    ])
    .await;
    let window = "?started_after=2026-01-10T08:00:00Z&started_before=2026-01-10T09:00:00Z";
    assert_snapshot!(answer(&acme.provider_latency(window).await), @r#"
    200
    [
      {
        "provider_type":"stt",
        "provider_name":"deepgram",
        "avg_latency_ms":200.0,
        "p50_latency_ms":100.3,
        "p95_latency_ms":298.8,
        "p99_latency_ms":298.8,
        "call_count":2
      }
    ]
    "#);
    assert_snapshot!(answer(&acme.provider_latency("?period=1h").await), @"
    200
    []
    ");
}

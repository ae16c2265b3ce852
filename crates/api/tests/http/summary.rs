//! `GET /api/v1/analytics/summary`.

use crate::layout::answer;
use crate::records::{active, completed, failed};
use crate::server::Server;
use callscope_testkit::Backend;
use insta::assert_snapshot;

on_each_backend!(
    a_tenant_without_calls_has_zeros_and_nulls,
    every_figure_of_a_day,
    a_window_holds_its_first_instant_and_not_its_end,
    each_period_reaches_back_its_own_length,
    with_a_workflow_every_figure_is_that_workflows
);

async fn a_tenant_without_calls_has_zeros_and_nulls(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    assert_snapshot!(answer(&acme.summary("").await), @r#"
    200
    {
      "total_calls":0,
      "completed_calls":0,
      "failed_calls":0,
      "active_calls":0,
      "avg_duration_seconds":null,
      "success_rate":null,
      "total_tokens":0,
      "avg_stt_latency_ms":null,
      "avg_llm_latency_ms":null,
      "avg_tts_latency_ms":null
    }
    "#);
}

async fn every_figure_of_a_day(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-17T10:00:00Z", 100)
            .tokens(1500)
            .provider("stt", "deepgram", &[100.0, 200.0])
            .provider("llm", "openai", &[300.04])
            .provider("tts", "cartesia", &[80.06, 80.04]),
        completed(2, "2026-01-17T10:30:00Z", 55).tokens(7).provider("stt", "whisper", &[151.0]),
        // Half a tenth: 155.25 s on average over the four finished calls rounds away from zero.
        completed(3, "2026-01-17T11:00:00Z", 466),
        failed(4, "2026-01-16T12:00:00Z", 0).tokens(3),
        active(5, "2026-01-17T11:59:59Z"),
        // Active, but long before the window.
        active(6, "2026-01-15T00:00:00Z"),
        // Finished before the window.
        failed(7, "2026-01-16T11:59:59.999999Z", 1000),
    ])
    .await;
    assert_snapshot!(answer(&acme.summary("").await), @r#"
    200
    {
      "total_calls":5,
      "completed_calls":3,
      "failed_calls":1,
      "active_calls":2,
      "avg_duration_seconds":155.3,
      "success_rate":75.0,
      "total_tokens":1510,
      "avg_stt_latency_ms":150.3,
      "avg_llm_latency_ms":300.0,
      "avg_tts_latency_ms":80.1
    }
    "#);
}

async fn a_window_holds_its_first_instant_and_not_its_end(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-10T08:00:00Z", 10),
        completed(2, "2026-01-10T08:59:59.999999Z", 20),
        completed(3, "2026-01-10T09:00:00Z", 30),
    ])
    .await;
    let durations = [
        // Both bounds: the period does not matter.
        ("?started_after=2026-01-10T08:00:00Z&started_before=2026-01-10T09:00:00Z&period=30d", (2, "15.0")),
        ("?started_after=2026-01-10T08:00:00Z&started_before=2026-01-10T09:00:00.000001Z", (3, "20.0")),
        ("?started_after=2026-01-10T08:00:00.000001Z&started_before=2026-01-10T09:00:00Z", (1, "20.0")),
        // Offsets are understood; a `+` comes escaped.
        ("?started_after=2026-01-10T09:00:00%2B01:00&started_before=2026-01-10T04:00:00-05:00", (2, "15.0")),
        ("?started_after=2026-01-10t08:00:00z&started_before=2026-01-10T08:00:00.000001Z", (1, "10.0")),
        // A start alone: up to now, whatever the period.
        ("?started_after=2026-01-10T08:00:00Z", (3, "20.0")),
        ("?started_after=2026-01-10T08:30:00Z&period=1h", (2, "25.0")),
        // An end alone: the period before it.
        ("?started_before=2026-01-10T09:00:00Z&period=1h", (2, "15.0")),
        ("?started_before=2026-01-11T08:00:00Z", (3, "20.0")),
        // None: up to now.
        ("?period=1h", (0, "null")),
        ("?period=24h", (0, "null")),
        ("?period=7d", (0, "null")),
        ("?period=30d", (3, "20.0")),
        ("?period=90d", (3, "20.0")),
    ];
    for (query, (calls, duration)) in durations {
        let value = acme.summary(query).await.value();
        let seen = (value["total_calls"].clone(), value["avg_duration_seconds"].to_string());
        assert_eq!(seen, (calls.into(), duration.to_owned()), "{query}");
    }
}

async fn each_period_reaches_back_its_own_length(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-17T11:00:00Z", 1),
        completed(2, "2026-01-17T10:59:59.999999Z", 1),
        completed(3, "2026-01-16T12:00:00Z", 1),
        completed(4, "2026-01-16T11:59:59.999999Z", 1),
        completed(5, "2026-01-10T12:00:00Z", 1),
        completed(6, "2026-01-10T11:59:59.999999Z", 1),
        completed(7, "2025-12-18T12:00:00Z", 1),
        completed(8, "2025-12-18T11:59:59.999999Z", 1),
        // In the future: in no window that ends now.
        completed(9, "2026-01-17T12:00:00Z", 1),
        completed(10, "2025-10-19T12:00:00Z", 1),
        completed(11, "2025-10-19T11:59:59.999999Z", 1),
    ])
    .await;
    for (period, calls) in [("1h", 1), ("24h", 3), ("7d", 5), ("30d", 7), ("90d", 9)] {
        let value = acme.summary(&format!("?period={period}")).await.value();
        assert_eq!(value["total_calls"], calls, "{period}");
    }
}

async fn with_a_workflow_every_figure_is_that_workflows(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-17T10:00:00Z", 60).workflow("daily-call", "Daily").provider("stt", "deepgram", &[100.0]),
        failed(2, "2026-01-17T10:10:00Z", 30).workflow("daily-call", "Daily").tokens(10),
        active(3, "2026-01-17T10:20:00Z").workflow("daily-call", "Daily"),
        completed(4, "2026-01-17T10:30:00Z", 600).workflow("onboarding", "Hello").provider("stt", "deepgram", &[900.0]),
        active(5, "2026-01-17T10:20:00Z"),
    ])
    .await;
    assert_snapshot!(answer(&acme.summary("?workflow=daily-call").await), @r#"
    200
    {
      "total_calls":3,
      "completed_calls":1,
      "failed_calls":1,
      "active_calls":1,
      "avg_duration_seconds":45.0,
      "success_rate":50.0,
      "total_tokens":10,
      "avg_stt_latency_ms":100.0,
      "avg_llm_latency_ms":null,
      "avg_tts_latency_ms":null
    }
    "#);
    assert_snapshot!(answer(&acme.summary("?workflow=never-used").await), @r#"
    200
    {
      "total_calls":0,
      "completed_calls":0,
      "failed_calls":0,
      "active_calls":0,
      "avg_duration_seconds":null,
      "success_rate":null,
      "total_tokens":0,
      "avg_stt_latency_ms":null,
      "avg_llm_latency_ms":null,
      "avg_tts_latency_ms":null
    }
    "#);
}

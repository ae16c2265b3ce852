//! `/metrics`, and what the dashboard and the alerts make of it.

use crate::layout::problem;
use crate::records::{active, completed};
use crate::server::{Server, Setup};
use crate::wire::{Request, Response};
use callscope_api::CacheLimits;
use callscope_testkit::Backend;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

on_each_backend!(
    requests_are_counted_by_route_and_status,
    records_and_transactions_are_counted,
    lookups_in_the_caches_are_counted,
    no_metric_says_anything_of_a_tenant,
    metrics_need_no_key_and_know_get_alone,
    metrics_that_are_served_elsewhere_are_not_served_here,
    the_dashboard_and_the_alerts_name_metrics_that_exist
);

const DASHBOARD: &str = include_str!("../../../../config/grafana/callscope.json");
const ALERTS: &str = include_str!("../../../../config/prometheus/alerts.yml");

async fn metrics(server: &Server) -> Response {
    server.stranger().send(&Request::get("/metrics")).await
}

/// The value of a series of whole numbers, such as `name{label="value"}`; 0 where there is none.
pub async fn metric(server: &Server, series: &str) -> usize {
    let response = metrics(server).await;
    let line = response.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.trim_end_matches(".0").parse().expect("a whole number"))
}

async fn requests_are_counted_by_route_and_status(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for _ in 0..3 {
        acme.summary("?period=7d").await;
    }
    acme.summary("?period=2d").await;
    acme.put_call(&completed(1, "2026-01-17T10:00:00Z", 60)).await;
    acme.send(&Request::new("DELETE", "/api/v1/analytics/summary")).await;
    acme.send(&Request::get("/nope/1")).await;
    acme.send(&Request::get("/nope/2")).await;
    acme.send(&Request::new("HEAD", "/health")).await;
    acme.send(&Request::new("BREW", "/health")).await;
    let answered = |method: &str, route: &str, status: u16| {
        format!("callscope_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
    };
    for (series, count) in [
        (answered("GET", "/api/v1/analytics/summary", 200), 3),
        (answered("GET", "/api/v1/analytics/summary", 422), 1),
        (answered("PUT", "/api/v1/ingest/calls/{call_id}", 201), 1),
        (answered("DELETE", "/api/v1/analytics/summary", 405), 1),
        (answered("GET", "(none)", 404), 2),
        (answered("HEAD", "/health", 200), 1),
        (answered("other", "/health", 405), 1),
    ] {
        assert_eq!(metric(&server, &series).await, count, "{series}");
    }
    let count = "callscope_http_request_duration_seconds_count{method=\"GET\",route=\"/api/v1/analytics/summary\"}";
    assert_eq!(metric(&server, count).await, 4);
}

async fn records_and_transactions_are_counted(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let record = |number| completed(number, "2026-01-17T10:00:00Z", 60).provider("stt", "x", &[0.0, 1.0]);
    let bad = active(4, "tomorrow");
    acme.ingest(&[record(1), record(2), bad, record(3)]).await;
    acme.put_call(&record(1)).await;
    for (series, value) in [
        ("callscope_ingest_records_total{outcome=\"accepted\"}", 4),
        ("callscope_ingest_records_total{outcome=\"rejected\"}", 1),
        ("callscope_ingest_dropped_samples_total", 4),
        ("callscope_ingest_transactions_total{outcome=\"committed\"}", 2),
        ("callscope_ingest_transactions_total{outcome=\"failed\"}", 0),
        ("callscope_ingest_transaction_calls_sum", 4),
        ("callscope_ingest_commit_duration_seconds_count", 2),
        ("callscope_ingest_queue_records", 0),
        ("callscope_ingest_queue_records_max", 200_000),
        ("callscope_ingest_body_bytes", 0),
    ] {
        assert_eq!(metric(&server, series).await, value, "{series}");
    }
    server.store.set(crate::store::Mode::CommitFails);
    acme.put_call(&record(1)).await;
    assert_eq!(metric(&server, "callscope_ingest_transactions_total{outcome=\"failed\"}").await, 1);
}

async fn lookups_in_the_caches_are_counted(backend: Backend) {
    let cache = CacheLimits { ttl: Duration::from_hours(1), entries_max: 10, bytes_max: 1 << 20 };
    let server = Server::start_with(backend, Setup { cache, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    for _ in 0..3 {
        acme.summary("").await;
    }
    let lookups = |outcome: &str| format!("callscope_cache_lookups_total{{cache=\"answers\",outcome=\"{outcome}\"}}");
    for (outcome, count) in [("hit", 2), ("miss", 1), ("shared", 0)] {
        assert_eq!(metric(&server, &lookups(outcome)).await, count, "{outcome}");
    }
}

async fn no_metric_says_anything_of_a_tenant(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("secret-tenant").await;
    let record = completed(1, "2026-01-17T10:00:00Z", 60).workflow("secret-workflow", "Secret");
    acme.given(&[record.provider("stt", "secret-provider", &[1.0])]).await;
    acme.summary("?workflow=secret-workflow").await;
    acme.send(&Request::get("/secret-path")).await;
    let text = metrics(&server).await.text().to_lowercase();
    assert!(!text.contains("secret") && !text.contains(&acme.id.0.to_string()), "{text}");
}

async fn metrics_need_no_key_and_know_get_alone(backend: Backend) {
    let server = Server::start(backend).await;
    let response = metrics(&server).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Content-Type"), Some(callscope_api::metrics::MEDIA_TYPE));
    assert!(response.text().ends_with("# EOF\n"));
    let refused = server.stranger().send(&Request::new("POST", "/metrics")).await;
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET, HEAD")));
    problem(&refused);
}

async fn metrics_that_are_served_elsewhere_are_not_served_here(backend: Backend) {
    let server = Server::start_with(backend, Setup { serves_metrics: false, ..Setup::default() }).await;
    for method in ["GET", "POST"] {
        assert_eq!(server.stranger().send(&Request::new(method, "/metrics")).await.status, 404);
    }
}

/// Every name that looks like one of a metric of ours.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character));
    words.filter(|word| word.starts_with("callscope_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// Every expression of a dashboard.
fn expressions(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("expr").or(fields.get("query")).and_then(Value::as_str);
            own.into_iter().chain(fields.values().flat_map(expressions)).collect()
        }
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

async fn the_dashboard_and_the_alerts_name_metrics_that_exist(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)]).await;
    let known = names(metrics(&server).await.text());
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let shown = names(&expressions(&dashboard).join(" "));
    assert!(shown.len() > 15, "{shown:?}");
    let alerts = names(&ALERTS.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<String>());
    assert!(alerts.len() > 5, "{alerts:?}");
    for name in shown.union(&alerts) {
        assert!(known.contains(name), "{name} is no metric; there are {known:?}");
    }
}

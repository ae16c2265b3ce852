//! Bounds on what one tenant may keep and ask: each has a clear answer and a counter.

use crate::layout::problem;
use crate::metrics::metric;
use crate::records::{active, completed, error, failed};
use crate::server::{LIMITS, Server, Setup};
use callscope_analytics::kept::KeptLimits;
use callscope_api::ApiLimits;
use callscope_domain::{Dimension, Span};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::Value;

on_each_backend!(
    values_past_their_bound_are_shown_as_one_group,
    a_new_active_call_past_the_bound_is_refused_by_its_status,
    a_new_call_past_the_quota_is_refused_by_its_id,
    a_call_that_started_too_long_ago_is_refused_by_its_start,
    errors_past_the_bound_of_a_day_are_still_counted,
    a_window_that_is_too_wide_or_leaves_the_calendar_is_refused
);

const AT: &str = "2026-01-17T10:00:00Z";

async fn start(backend: Backend, kept: fn() -> KeptLimits) -> Server {
    Server::start_with(backend, Setup { kept, ..Setup::default() }).await
}

async fn met(server: &Server, bound: &str) -> usize {
    metric(server, &format!("callscope_tenant_bounds_met_total{{bound=\"{bound}\"}}")).await
}

async fn values_past_their_bound_are_shown_as_one_group(backend: Backend) {
    let kept = || KeptLimits {
        values_max: [Dimension::Workflow, Dimension::Provider, Dimension::Agent]
            .into_iter()
            .fold(KeptLimits::NONE.values_max, |limits, dimension| limits.with(dimension, 1)),
        ..KeptLimits::NONE
    };
    let server = start(backend, kept).await;
    let acme = server.tenant("acme").await;
    let call = |number, slug: &str, provider: &str| {
        completed(number, AT, 60).workflow(slug, slug).provider("llm", provider, &[100.0]).with("agent", slug)
    };
    acme.given(&[call(1, "daily", "openai"), call(2, "weekly", "groq"), call(3, "monthly", "mistral")]).await;
    let shown = |answer: &Value, field: &str| -> Vec<Value> {
        answer.as_array().expect("a list").iter().map(|of| of[field].clone()).collect()
    };
    let workflows = acme.workflow_stats("").await.value();
    assert_eq!(shown(&workflows, "workflow_name"), ["(other)", "daily"]);
    assert_eq!(shown(&workflows, "workflow_slug"), ["other", "daily"]);
    assert_eq!(shown(&workflows, "total_calls"), [2, 1]);
    let providers = acme.provider_latency("").await.value();
    assert_eq!(shown(&providers, "provider_name"), ["(other)", "openai"]);
    assert_eq!(shown(&providers, "call_count"), [2, 1]);
    assert_eq!(acme.summary("?workflow=other").await.value()["total_calls"], 2);
    for bound in ["workflows_max", "providers_max", "agents_max"] {
        assert_eq!(met(&server, bound).await, 2, "{bound}");
    }
}

async fn a_new_active_call_past_the_bound_is_refused_by_its_status(backend: Backend) {
    let server = start(backend, || KeptLimits { active_calls_max: 1, ..KeptLimits::NONE }).await;
    let acme = server.tenant("acme").await;
    let batch = acme.ingest(&[active(1, AT), active(2, AT), completed(3, AT, 60)]).await.value();
    let rejected = batch["rejected"].as_array().expect("a list");
    assert_eq!((&batch["accepted"], rejected.len()), (&Value::from(2), 1));
    assert_eq!((&rejected[0]["index"], &rejected[0]["errors"][0]["field"]), (&Value::from(1), &Value::from("status")));
    assert_snapshot!(problem(&acme.put_call(&active(2, AT)).await), @"422 validation_error: status: must not be active for a new call: the tenant has 1 active calls, the most that are kept; send the ends of calls that are over, or this record once its call has ended");
    assert_eq!(met(&server, "active_calls_max").await, 2);
    acme.given(&[completed(1, AT, 60), active(2, AT)]).await;
}

async fn a_new_call_past_the_quota_is_refused_by_its_id(backend: Backend) {
    let server = start(backend, || KeptLimits { rows_max: 1, ..KeptLimits::NONE }).await;
    let acme = server.tenant("acme").await;
    acme.given(&[active(1, AT)]).await;
    assert_snapshot!(problem(&acme.put_call(&active(2, AT)).await), @"422 validation_error: call_id: must be that of a call that is stored: the tenant has used up its quota of 1 rows of calls and errors; ask the operator of this server for a larger one");
    assert_eq!(met(&server, "rows_max").await, 1);
    assert_eq!(acme.put_call(&completed(1, AT, 60)).await.status, 200);
}

async fn a_call_that_started_too_long_ago_is_refused_by_its_start(backend: Backend) {
    let server = start(backend, || KeptLimits { oldest_start: Span::from_hours(24 * 30), ..KeptLimits::NONE }).await;
    let acme = server.tenant("acme").await;
    acme.given(&[completed(1, "2025-12-18T12:00:00Z", 60)]).await;
    assert_snapshot!(problem(&acme.put_call(&completed(2, "2025-12-18T11:59:59Z", 60)).await), @"422 validation_error: started_at: must be at most 30 days ago");
    assert_eq!(met(&server, "oldest_start").await, 1);
}

async fn errors_past_the_bound_of_a_day_are_still_counted(backend: Backend) {
    let server = start(backend, || KeptLimits { errors_per_day_max: 1, ..KeptLimits::NONE }).await;
    let acme = server.tenant("acme").await;
    let lost = || error(AT, "stt", "error", "lost");
    acme.given(&[failed(1, AT, 60).error(lost()).error(lost()).error(lost())]).await;
    let log = acme.errors("").await.value();
    assert_eq!((log["total"].clone(), log["items"].as_array().map(Vec::len)), (3.into(), Some(1)));
    assert_eq!(met(&server, "errors_per_day_max").await, 2);
}

async fn a_window_that_is_too_wide_or_leaves_the_calendar_is_refused(backend: Backend) {
    let limits = ApiLimits { window_max: Span::from_hours(24 * 400), ..LIMITS };
    let server = Server::start_with(backend, Setup { limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let widest = "?started_after=2024-12-13T00:00:00Z&started_before=2026-01-17T00:00:00Z";
    assert_eq!(acme.summary(widest).await.status, 200);
    assert_snapshot!(
        problem(&acme.summary("?started_after=2024-12-12T00:00:00Z&started_before=2026-01-17T00:00:00Z").await), @"422 validation_error: started_before: makes the window wider than 400 days: ask for parts of at most 400 days each"
    );
    for (query, field) in [
        ("?started_before=0000-01-01T00:00:00Z", "started_before: must leave the window"),
        ("?started_after=0000-01-01T00:00:00%2B23:59", "started_after: must lie within the years"),
        ("?started_after=9999-12-31T23:59:59-00:01", "started_after: must lie within the years"),
    ] {
        let refused = problem(&acme.errors(query).await);
        assert!(refused.contains(field), "{query}: {refused}");
    }
    let record = completed(1, "0000-01-01T00:00:00+23:59", 60).with("ended_at", "0000-01-01T00:00:00Z");
    assert_snapshot!(problem(&acme.put_call(&record).await), @"422 validation_error: started_at: must lie within the years 0000 to 9999 of UTC");
}

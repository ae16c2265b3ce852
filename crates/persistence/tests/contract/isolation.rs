//! No function of any port shows or touches another tenant's rows.

use crate::fixture::{Fixture, Server, ever};
use crate::history::History;
use crate::samples::{active, at, completed, id, overdue};
use callscope_analytics::ports::{AnalyticsStore, CallStore, ErrorFilter, Page, RollupStore};
use callscope_domain::TransitionKind::{Created, Ignored, Replaced, TimedOut};
use callscope_domain::{
    Axis, CallId, Cut, Dimension, Filter, Interval, Loaded, LoadedDistribution, LoadedSums, Measure, Metric, Question,
    Resolution, Span, Sums, TenantId, Timestamp, Window, Zone, plan,
};
use std::fmt::Debug;

on_each_backend!(
    each_tenant_sees_what_it_would_see_alone,
    one_tenants_calls_do_not_decide_what_becomes_of_anothers,
    locking_gives_a_tenants_own_calls,
);

/// Tenants whose histories use the same ids of calls and workflows, the same slugs and the same providers.
async fn each_tenant_sees_what_it_would_see_alone(fixture: Fixture) {
    let tenants = [fixture.tenant, TenantId(id(0xB)), TenantId(id(0xC))];
    let mut histories = [History::new(tenants[0], 11), History::new(tenants[1], 12)];
    let mut alone = Vec::new();
    for tenant in tenants {
        alone.push((tenant, Fixture::new(fixture.backend).await));
    }
    for _ in 0..10 {
        let [one, other] = histories.each_mut().map(|history| history.arrivals(20));
        alone[0].1.server.write(tenants[0], one.clone()).await;
        alone[1].1.server.write(tenants[1], other.clone()).await;
        let (one, other) = (fixture.server.write(tenants[0], one), fixture.server.write(tenants[1], other));
        tokio::join!(one, other);
    }
    // In the parts of a minute at the edges.
    for (tenant, number) in [(0, 1000), (1, 1001)] {
        let at_edges = [completed(number, edges()[0]), completed(number + 10, edges()[1])];
        alone[tenant].1.server.write(tenants[tenant], at_edges.clone()).await;
        fixture.server.write(tenants[tenant], at_edges).await;
    }
    for (tenant, alone) in alone {
        let (together, alone) = (everything(&fixture.server, tenant).await, everything(&alone.server, tenant).await);
        for ((what, seen), (_, expected)) in together.into_iter().zip(alone) {
            assert_eq!(seen, expected, "{what} of tenant {tenant}");
        }
    }
}

/// The first and the last instant of the window that is asked about.
fn edges() -> [Timestamp; 2] {
    [at(1) + Span::from_seconds(1), at(4 * 24 * 60 - 1) - Span::from_seconds(1)]
}

/// What a tenant sees, by the function that shows it.
async fn everything(server: &Server, tenant: TenantId) -> Vec<(String, Vec<String>)> {
    let store = &server.database;
    let mut seen = Vec::new();
    for question in questions() {
        let plan = plan(question.clone()).unwrap();
        let Loaded { sums, distributions, calls, groups, active_calls, .. } = store.load(tenant, &plan).await.unwrap();
        // Whether a row that came back to zero is there depends on how writers cut their batches.
        let is_some = |row: &&LoadedSums| row.sums != Sums::default();
        // The first bucket of a range may be such a row.
        let of_range = |row: &LoadedSums| LoadedSums {
            bucket: if plan.by_bucket { row.bucket } else { Timestamp::from_micros(0) },
            ..*row
        };
        let sums: Vec<LoadedSums> = sums.iter().filter(is_some).map(of_range).collect();
        let is_some = |row: &&LoadedDistribution| row.sum_us != 0;
        let distributions: Vec<LoadedDistribution> = distributions.iter().filter(is_some).cloned().collect();
        let loaded = [lines(&sums), lines(&distributions), lines(&calls), lines(&groups), lines(&[active_calls])];
        seen.push((format!("{question:?}"), loaded.concat()));
    }
    seen.push(("active calls".into(), lines(&[store.count_active_calls(tenant).await.unwrap()])));
    let page = Page { offset: 0, limit: 1_000_000 };
    let plan = plan(questions().remove(0)).unwrap();
    let (_, errors) = store.load_errors(tenant, &plan, ErrorFilter::default(), page).await.unwrap();
    seen.push(("errors".into(), lines(&errors)));
    seen.push(("overdue calls".into(), lines(&store.list_overdue_calls(tenant, at(99_999), 999).await.unwrap())));
    seen.push(("days".into(), lines(&store.list_days(tenant).await.unwrap())));
    let mut audit = store.begin_audit(tenant, false).await.unwrap();
    seen.push(("calls".into(), lines(&audit.load_calls(ever(), None, 1_000_000).await.unwrap())));
    for &resolution in Resolution::ALL {
        let rollups: Vec<_> = audit.load_rollups(resolution, ever()).await.unwrap().into_iter().collect();
        seen.push((format!("rollups by {resolution}"), lines(&rollups)));
    }
    seen
}

/// A question about each dimension, and each that the endpoints ask: of whole buckets of every width, and two parts of one.
fn questions() -> Vec<Question> {
    let window = Window::new(edges()[0], edges()[1] + Span::from_micros(1)).unwrap();
    let whole = |metrics: &[Metric]| Question {
        window,
        metrics: metrics.to_vec(),
        axes: Vec::new(),
        filters: Vec::new(),
        cut: None,
        shows_unknown: true,
        wants_total: true,
    };
    let mut questions = vec![whole(&[Metric::TotalCalls, Metric::ActiveCallsNow])];
    let filters = vec![Filter::is(Dimension::Workflow, "workflow-0")];
    questions.push(Question { filters, ..whole(&[Metric::TotalCalls, Metric::ActiveCallsNow]) });
    let cut = Some(Cut::Buckets(Interval::Hour, Zone::default()));
    questions.push(Question { cut, ..whole(&[Metric::TotalCalls]) });
    for &dimension in Dimension::ALL.iter().filter(|&&dimension| dimension != Dimension::Tenant) {
        let has_all = |metric: &Metric| metric.is_kept_by(dimension) && *metric != Metric::ActiveCallsNow;
        let metrics: Vec<Metric> = Metric::ALL.iter().copied().filter(has_all).collect();
        questions.push(Question { axes: vec![Axis::Dimension(dimension)], ..whole(&metrics) });
    }
    questions
}

/// Values as text, in an order of their own.
fn lines(values: &[impl Debug]) -> Vec<String> {
    let mut lines: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    lines.sort_unstable();
    lines
}

async fn one_tenants_calls_do_not_decide_what_becomes_of_anothers(fixture: Fixture) {
    let other = TenantId(id(0xB));
    assert_eq!(fixture.write([completed(1, at(0)), active(2, at(0))]).await, [Created, Created]);
    let theirs = [active(1, at(0)), completed(2, at(0)), overdue(3, at(9)), overdue(1, at(9))];
    assert_eq!(fixture.server.write(other, theirs).await, [Created, Created, Ignored, TimedOut]);
    assert_eq!(fixture.write([overdue(1, at(9)), completed(2, at(0))]).await, [Ignored, Replaced]);
    for (tenant, expected) in [(fixture.tenant, (2, 2, 0)), (other, (2, 1, 1))] {
        let totals = fixture.server.sums_in(tenant, ever(), None).await;
        assert_eq!((totals[Measure::Calls], totals[Measure::Completed], totals[Measure::Failed]), expected);
        fixture.server.assert_sound(tenant).await;
    }
}

async fn locking_gives_a_tenants_own_calls(fixture: Fixture) {
    let other = TenantId(id(0xB));
    fixture.write([completed(1, at(0)), completed(2, at(0)), completed(3, at(0))]).await;
    fixture.server.write(other, [active(1, at(7)), completed(4, at(7))]).await;
    let mut transaction = fixture.server.database.begin().await.unwrap();
    let ids = [1, 2, 4, 5].map(|number| CallId(id(number)));
    let mut seen = async |tenant| {
        let mut calls = transaction.lock_calls(tenant, &ids).await.unwrap().calls;
        calls.sort_by_key(|call| call.id);
        calls.into_iter().map(|call| (call.id.0.as_u128(), call.started_at)).collect::<Vec<_>>()
    };
    assert_eq!(seen(fixture.tenant).await, [(1, at(0)), (2, at(0))]);
    assert_eq!(seen(other).await, [(1, at(7)), (4, at(7))]);
    assert_eq!(seen(TenantId(id(0xC))).await, []);
}

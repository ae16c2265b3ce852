//! No function of any port shows or touches another tenant's rows.

use crate::cases;
use crate::fixture::{Fixture, Server, ever};
use crate::history::History;
use crate::samples::{active, at, completed, id, overdue, slug};
use callscope_analytics::ports::{AnalyticsStore, CallScope, CallStore, ErrorFilter, Page, RollupStore, SummaryParts};
use callscope_domain::TransitionKind::{Created, Ignored, Replaced, TimedOut};
use callscope_domain::{CallId, Resolution, Span, TenantId, Timestamp, Window, WindowPlan};
use callscope_testkit::Case;
use std::fmt::Debug;

pub const CASES: &[Case] = cases![
    each_tenant_sees_what_it_would_see_alone,
    one_tenants_calls_do_not_decide_what_becomes_of_anothers,
    locking_gives_a_tenants_own_calls,
];

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
    // Whole buckets of every width, and two parts of a minute.
    let plan = WindowPlan::new(Window::new(edges()[0], edges()[1] + Span::from_micros(1)).unwrap(), Resolution::Day);
    let mut seen = Vec::new();
    for scope in [CallScope::Tenant, CallScope::Workflow(slug("workflow-0"))] {
        let parts = store.load_call_parts(tenant, &scope, &plan).await.unwrap();
        seen.push((
            format!("call parts by {scope:?}"),
            lines(&[&lines(&sums(parts.buckets)), &lines(&parts.edge_calls)]),
        ));
        let SummaryParts { calls, active_calls } = store.load_summary_parts(tenant, &scope, &plan).await.unwrap();
        seen.push((format!("summary by {scope:?}"), lines(&[&lines(&sums(calls.buckets)), &lines(&calls.edge_calls)])));
        seen.push((format!("active calls by {scope:?}"), lines(&[active_calls])));
    }
    seen.push(("active calls".into(), lines(&[store.count_active_calls(tenant).await.unwrap()])));
    let parts = store.load_workflow_parts(tenant, &plan).await.unwrap();
    seen.push(("workflow parts".into(), lines(&[&lines(&sums(parts.buckets)), &lines(&parts.edge_calls)])));
    seen.push(("workflows".into(), lines(&parts.workflows)));
    let parts = store.load_provider_parts(tenant, &plan).await.unwrap();
    let providers = sums(parts.buckets);
    seen.push(("provider parts".into(), lines(&[&lines(&providers), &lines(&parts.edge_calls)])));
    let page = Page { offset: 0, limit: 1_000_000 };
    let parts = store.load_error_log_parts(tenant, ever(), &plan, ErrorFilter::default(), page).await.unwrap();
    seen.push(("error counts".into(), lines(&[&lines(&[parts.bucket_errors]), &lines(&parts.edge_errors)])));
    seen.push(("errors".into(), lines(&parts.items)));
    seen.push(("overdue calls".into(), lines(&store.list_overdue_calls(tenant, at(99_999), 999).await.unwrap())));
    seen.push(("days".into(), lines(&store.list_days(tenant).await.unwrap())));
    let mut audit = store.begin_audit(tenant, false).await.unwrap();
    seen.push(("calls".into(), lines(&audit.load_calls(ever(), None, 1_000_000).await.unwrap())));
    for &resolution in Resolution::ALL {
        let rollups = sums(audit.load_rollups(resolution, ever()).await.unwrap());
        seen.push((format!("rollups by {resolution}"), lines(&rollups)));
    }
    seen
}

/// Those that are not zero. Whether a sum that came back to zero has a row depends on where transactions began.
fn sums<K, T: Default + PartialEq>(sums: impl IntoIterator<Item = (K, T)>) -> Vec<(K, T)> {
    sums.into_iter().filter(|(_, sum)| *sum != T::default()).collect()
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
        let totals = fixture.server.analytics.summary(tenant, ever(), &CallScope::Tenant).await.unwrap().figures.totals;
        assert_eq!((totals.total, totals.completed, totals.failed), expected);
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

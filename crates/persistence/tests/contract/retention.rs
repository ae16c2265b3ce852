//! What is too old goes, and nothing else does.

use crate::fixture::{Fixture, Server, ever};
use crate::samples::{active, at, completed, error, fields, id, record, usage, workflow_with_id};
use callscope_analytics::clock::FixedClock;
use callscope_analytics::ports::{RetentionStore, RollupStore};
use callscope_analytics::retention::{Deleted, Retention, RetentionPeriods};
use callscope_domain::TransitionKind::{Created, Expired, Replaced};
use callscope_domain::{
    CallStatus, Incoming, Level, Measure, NumberFact, ProviderType, Resolution, Service, Span, TenantId, Timestamp,
};
use std::num::NonZeroU32;
use std::sync::Arc;

on_each_backend!(
    calls_before_the_horizon_go_and_their_figures_stay,
    a_second_run_changes_nothing,
    a_record_of_a_call_that_is_no_longer_kept_changes_nothing,
    the_horizon_never_goes_back,
    calls_go_in_batches_the_oldest_first,
    rollups_before_their_horizon_go,
    other_tenants_are_left_alone,
    every_tenant_has_its_turn,
    retention_on_two_servers_beside_writers_ends_exact,
);

const DAY: i64 = 24 * 60;

/// Deletes at noon of the day that starts at the origin.
fn retention(server: &Server, calls_days: u32, rollups_days: u32) -> Retention {
    Retention {
        store: Arc::new(server.database.clone()),
        tenants: Arc::new(server.database.clone()),
        clock: Arc::new(FixedClock(at(DAY / 2))),
        periods: RetentionPeriods {
            calls_days: NonZeroU32::new(calls_days).unwrap(),
            rollups_days: NonZeroU32::new(rollups_days),
        },
    }
}

/// A call that is in every table.
fn rich(call: u128, started_at: Timestamp) -> Incoming {
    let mut fields = fields(call, CallStatus::Failed, started_at);
    // So many that their rollups take more than one transaction.
    fields.workflow = Some(workflow_with_id(1 + call % 20, &format!("workflow-{}", call % 20), None));
    crate::samples::set_number(&mut fields, NumberFact::TotalTokens, 10);
    fields.providers = vec![usage(ProviderType::Stt, "deepgram", &[100.0, 200.0])];
    fields.errors = vec![error(started_at, Service::Stt, Level::Error, "timeout"); 2];
    record(fields)
}

/// The last moment before an instant.
fn before(instant: Timestamp) -> Timestamp {
    instant - Span::from_micros(1)
}

/// Forty calls over four days before the origin, and two at the edges of the third.
fn history() -> Vec<Incoming> {
    let calls = (0..40_u128).map(|call| rich(100 + call, at(-4 * DAY + i64::try_from(call).unwrap() * DAY / 10)));
    calls.chain([rich(1, before(at(-2 * DAY))), rich(2, at(-2 * DAY))]).collect()
}

impl Fixture {
    async fn count(&self, table: &str) -> i64 {
        let count = self.values(&format!("SELECT CAST(count(*) AS text) AS value FROM {table}")).await;
        count[0].as_ref().unwrap().parse().unwrap()
    }

    async fn delete(&self, calls_days: u32, rollups_days: u32) -> Deleted {
        retention(&self.server, calls_days, rollups_days).delete_of_tenant(self.tenant).await.unwrap()
    }
}

/// Every figure of a tenant but its error log's entries.
async fn figures(server: &Server, tenant: TenantId) -> String {
    let mut audit = server.database.begin_audit(tenant, false).await.unwrap();
    let mut figures = Vec::new();
    for &resolution in Resolution::ALL {
        figures.push(audit.load_rollups(resolution, ever()).await.unwrap());
    }
    format!("{figures:?}")
}

async fn calls_before_the_horizon_go_and_their_figures_stay(fixture: Fixture) {
    fixture.write(history()).await;
    let (totals, figures_before) = (fixture.totals().await, figures(&fixture.server, fixture.tenant).await);
    assert_eq!(fixture.delete(2, 0).await, Deleted { calls: 21, rollup_days: 0 });
    let calls = fixture.calls().await;
    assert_eq!(calls.len(), 21);
    assert!(calls.iter().all(|call| call.started_at >= at(-2 * DAY)));
    assert!(calls.iter().any(|call| call.started_at == at(-2 * DAY)));
    assert_eq!(fixture.count("call_errors").await, 42);
    let orphans = "call_errors WHERE call_id NOT IN (SELECT call_id FROM calls)";
    assert_eq!(fixture.count(orphans).await, 0);
    assert_eq!(fixture.totals().await, totals);
    assert_eq!(figures(&fixture.server, fixture.tenant).await, figures_before);
    assert_eq!(fixture.assert_sound().await.calls, 21);
}

async fn a_second_run_changes_nothing(fixture: Fixture) {
    fixture.write(history()).await;
    fixture.delete(2, 3).await;
    let revisions = "SELECT CAST(revision AS text) AS value FROM tenant_states";
    let before = (fixture.values(revisions).await, figures(&fixture.server, fixture.tenant).await);
    assert_eq!(fixture.delete(2, 3).await, Deleted::default());
    assert_eq!((fixture.values(revisions).await, figures(&fixture.server, fixture.tenant).await), before);
    assert_eq!(fixture.calls().await.len(), 21);
}

async fn a_record_of_a_call_that_is_no_longer_kept_changes_nothing(fixture: Fixture) {
    fixture.write([rich(1, at(-3 * DAY)), active(2, at(-DAY)), completed(3, at(-DAY))]).await;
    fixture.delete(2, 0).await;
    let figures_before = figures(&fixture.server, fixture.tenant).await;
    let late = [
        // Counted and deleted.
        rich(1, at(-3 * DAY)),
        // Never seen.
        rich(4, before(at(-2 * DAY))),
        // Kept, but this would move it to where it would not be.
        completed(2, before(at(-2 * DAY))),
    ];
    assert_eq!(fixture.write(late).await, [Expired; 3]);
    assert_eq!(figures(&fixture.server, fixture.tenant).await, figures_before);
    assert_eq!(fixture.calls().await.len(), 2);
    assert_eq!(fixture.write([completed(2, at(-2 * DAY)), rich(4, at(-2 * DAY))]).await, [Replaced, Created]);
    fixture.assert_sound().await;
}

async fn the_horizon_never_goes_back(fixture: Fixture) {
    fixture.delete(2, 0).await;
    fixture.delete(9, 0).await;
    assert_eq!(fixture.write([completed(1, at(-3 * DAY)), completed(2, at(-DAY))]).await, [Expired, Created]);
    fixture.delete(1, 0).await;
    assert_eq!(fixture.write([completed(3, before(at(-DAY))), completed(4, at(-DAY))]).await, [Expired, Created]);
    // Nothing was ever lost to it.
    assert_eq!(fixture.totals().await[Measure::Calls], 2);
}

async fn calls_go_in_batches_the_oldest_first(fixture: Fixture) {
    let store = &fixture.server.database;
    fixture.write((1..=7).map(|call| rich(call, at(-9 * DAY + i64::try_from(call).unwrap())))).await;
    // Without a horizon every call is kept.
    assert_eq!(store.delete_expired_calls(fixture.tenant, 3).await.unwrap(), 0);
    store.keep_calls_from(fixture.tenant, at(-9 * DAY + 6)).await.unwrap();
    let mut left = Vec::new();
    for deleted in [3, 2, 0] {
        assert_eq!(store.delete_expired_calls(fixture.tenant, 3).await.unwrap(), deleted);
        left.push(fixture.calls().await.iter().map(|call| call.id.0.as_u128()).collect::<Vec<_>>());
        assert_eq!(fixture.count("call_errors").await, 2 * fixture.count("calls").await);
    }
    assert_eq!(left, [vec![4, 5, 6, 7], vec![6, 7], vec![6, 7]]);
}

async fn rollups_before_their_horizon_go(fixture: Fixture) {
    fixture.write(history()).await;
    assert_eq!(fixture.delete(1, 2).await, Deleted { calls: 32, rollup_days: 2 });
    for table in ["rollup_sums", "rollup_distributions"] {
        let days = format!("SELECT DISTINCT CAST(bucket AS text) AS value FROM {table} WHERE resolution = 3");
        assert_eq!(fixture.values(&days).await.len(), 2, "{table}");
    }
    let mut audit = fixture.server.database.begin_audit(fixture.tenant, false).await.unwrap();
    for &resolution in Resolution::ALL {
        let rollups = audit.load_rollups(resolution, ever()).await.unwrap();
        assert_eq!(rollups.keys().map(|key| key.bucket).min(), Some(at(-2 * DAY)), "{resolution}");
    }
    drop(audit);
    // Workflows stand in no bucket of their own.
    let orphans = "rollup_sums AS old WHERE bucket NOT IN \
        (SELECT bucket FROM rollup_distributions AS kept WHERE kept.resolution = old.resolution)";
    assert_eq!(fixture.count(orphans).await, 0);
    assert_eq!(fixture.totals().await[Measure::Calls], 21);
    assert_eq!(fixture.assert_sound().await.days, 2);
}

async fn other_tenants_are_left_alone(fixture: Fixture) {
    let other = TenantId(id(0xB));
    fixture.write(history()).await;
    fixture.server.write(other, history()).await;
    let before = (fixture.server.calls(other).await, figures(&fixture.server, other).await);
    let errors = fixture.server.errors(other).await;
    fixture.delete(1, 2).await;
    assert_eq!((fixture.server.calls(other).await, figures(&fixture.server, other).await), before);
    assert_eq!(fixture.server.errors(other).await, errors);
    assert_eq!(fixture.server.write(other, [rich(999, at(-9 * DAY))]).await, [Created]);
    fixture.server.assert_sound(other).await;
}

async fn every_tenant_has_its_turn(fixture: Fixture) {
    let other = TenantId(id(0xB));
    fixture.add_tenant(other, "bakery").await;
    fixture.write(history()).await;
    fixture.server.write(other, history()).await;
    retention(&fixture.server, 2, 0).delete_all().await.unwrap();
    for tenant in [fixture.tenant, other] {
        assert_eq!(fixture.server.calls(tenant).await.len(), 21);
        fixture.server.assert_sound(tenant).await;
    }
}

async fn retention_on_two_servers_beside_writers_ends_exact(fixture: Fixture) {
    let second = Server::start(fixture.scratch.url()).await;
    fixture.write(history()).await;
    let write = async {
        let mut counted = 0;
        for call in 1000..1060_u128 {
            let minutes = i64::try_from(call % 40).unwrap() * DAY / 10;
            let kinds = fixture.write([rich(call, at(-4 * DAY + minutes))]).await;
            counted += i64::from(kinds == [Created]);
        }
        counted
    };
    let (one, other) = (retention(&fixture.server, 2, 0), retention(&second, 2, 0));
    let (counted, one, other) =
        tokio::join!(write, one.delete_of_tenant(fixture.tenant), other.delete_of_tenant(fixture.tenant));
    let deleted = one.unwrap().calls + other.unwrap().calls;
    // Whatever was counted is counted, whether its call is still there or not.
    assert_eq!(fixture.totals().await[Measure::Calls], 42 + counted);
    let calls = fixture.calls().await;
    assert!(calls.iter().all(|call| call.started_at >= at(-2 * DAY)));
    assert_eq!(calls.len() as u64 + deleted, 42 + counted.unsigned_abs());
    fixture.assert_sound().await;
}

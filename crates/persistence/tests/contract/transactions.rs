//! All or nothing, and exact beside others.

use crate::fixture::{Fixture, MOMENT, Server, ever, unbounded};
use crate::fixture::{rebuild, verify};
use crate::history::History;
use crate::samples::{at, completed, error, failed, fields, id, record, set_number, usage};
use callscope_analytics::deltas::{expect_minutes, plan_changes};
use callscope_analytics::ports::{CallStore, CallTransaction, RollupStore};
use callscope_domain::{
    CallId, CallStatus, Incoming, Level, Measure, NumberFact, ProviderType, Service, TransitionKind,
};
use futures_util::future::join_all;

on_each_backend!(
    what_is_answered_is_there_after_a_restart,
    a_transaction_that_is_dropped_leaves_no_trace,
    a_transaction_that_is_abandoned_at_work_leaves_no_trace,
    a_dropped_audit_leaves_no_trace,
    two_servers_that_write_the_same_calls_end_exact,
    a_rebuild_beside_writers_ends_exact,
    a_check_beside_writers_finds_nothing_wrong,
);

/// A call that touches every table.
fn rich(call: u128, version: u32) -> Incoming {
    let mut fields = fields(call, CallStatus::Failed, at(i64::from(version) * 7 % 3000));
    fields.workflow = Some(crate::samples::workflow_with_id(1 + u128::from(version % 3), "daily", Some("Daily")));
    set_number(&mut fields, NumberFact::TotalTokens, version.into());
    fields.providers = vec![usage(ProviderType::Stt, "deepgram", &[f64::from(version + 1)])];
    let error = error(fields.started_at, Service::Tool, Level::Error, &format!("version {version}"));
    fields.errors = vec![error; (version % 4) as usize];
    record(fields)
}

async fn what_is_answered_is_there_after_a_restart(fixture: Fixture) {
    fixture.write([rich(1, 3)]).await;
    let before = (fixture.totals().await, fixture.calls().await, fixture.errors().await);
    let Fixture { backend, scratch, server, tenant } = fixture;
    drop(server);
    let fixture = Fixture { server: Server::start(scratch.url()).await, backend, scratch, tenant };
    assert_eq!((fixture.totals().await, fixture.calls().await, fixture.errors().await), before);
    fixture.assert_sound().await;
}

/// Begins to write two calls, one of them known.
async fn begin(fixture: &Fixture) -> Box<dyn CallTransaction> {
    let mut transaction = fixture.server.database.begin().await.unwrap();
    let ids = [1, 2].map(|number| CallId(id(number)));
    let stored = transaction.lock_calls(fixture.tenant, &ids).await.unwrap();
    let arrivals = vec![rich(1, 6), rich(2, 7)];
    let expected = expect_minutes(&arrivals);
    let keeping = unbounded(&mut *transaction, fixture.tenant).await;
    let (changes, kinds) = plan_changes(stored, arrivals, expected, MOMENT, keeping).unwrap();
    assert_eq!(kinds, [TransitionKind::Replaced, TransitionKind::Created]);
    transaction.save(fixture.tenant, &changes).await.unwrap();
    transaction
}

async fn a_transaction_that_is_dropped_leaves_no_trace(fixture: Fixture) {
    fixture.write([rich(1, 3)]).await;
    let before = (fixture.totals().await, fixture.calls().await, fixture.errors().await);
    // More often than the pool has connections: none is lost to it.
    for _ in 0..9 {
        drop(begin(&fixture).await);
    }
    assert_eq!((fixture.totals().await, fixture.calls().await, fixture.errors().await), before);
    fixture.assert_sound().await;
    begin(&fixture).await.commit().await.unwrap();
    assert_eq!(fixture.totals().await[Measure::Calls], 2);
    fixture.assert_sound().await;
}

async fn a_transaction_that_is_abandoned_at_work_leaves_no_trace(fixture: Fixture) {
    fixture.write([rich(1, 3)]).await;
    let before = (fixture.totals().await, fixture.calls().await, fixture.errors().await);
    // After one step, two, four: wherever it is then.
    for steps in (0..18).map(|power| 1 << power) {
        let mut transaction = fixture.server.database.begin().await.unwrap();
        let ids = [1, 2].map(|number| CallId(id(number)));
        let stored = transaction.lock_calls(fixture.tenant, &ids).await.unwrap();
        let arrivals = vec![rich(1, 6), rich(2, 7)];
        let expected = expect_minutes(&arrivals);
        let keeping = unbounded(&mut *transaction, fixture.tenant).await;
        let (changes, _) = plan_changes(stored, arrivals, expected, MOMENT, keeping).unwrap();
        let mut work = transaction.save(fixture.tenant, &changes);
        for _ in 0..steps {
            if futures_util::poll!(&mut work).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(work);
        drop(transaction);
    }
    assert_eq!((fixture.totals().await, fixture.calls().await, fixture.errors().await), before);
    assert_eq!(fixture.write([rich(2, 7)]).await, [TransitionKind::Created]);
    fixture.assert_sound().await;
}

async fn a_dropped_audit_leaves_no_trace(fixture: Fixture) {
    fixture.write([rich(1, 3)]).await;
    let mut audit = fixture.server.database.begin_audit(fixture.tenant, true).await.unwrap();
    audit.delete_rollups(ever()).await.unwrap();
    drop(audit);
    fixture.assert_sound().await;
    assert_eq!(fixture.write([rich(1, 4)]).await, [TransitionKind::Replaced]);
    fixture.assert_sound().await;
}

async fn two_servers_that_write_the_same_calls_end_exact(fixture: Fixture) {
    const CALLS: u128 = 12;
    const VERSIONS: u32 = 24;
    let second = Server::start(fixture.scratch.url()).await;
    let submit = async |server: &Server, versions: std::ops::Range<u32>, reversed: bool| {
        for version in versions {
            let mut calls: Vec<Incoming> = (1..=CALLS).map(|call| rich(call, version)).collect();
            if reversed {
                calls.reverse();
            }
            // Single records side by side, and all at once.
            join_all(calls.iter().take(4).map(|call| server.write(fixture.tenant, [call.clone()]))).await;
            server.write(fixture.tenant, calls).await;
        }
    };
    tokio::join!(submit(&fixture.server, 0..VERSIONS, false), submit(&second, VERSIONS..2 * VERSIONS, true));
    fixture.assert_sound().await;
    let calls = fixture.calls().await;
    assert_eq!(calls.len(), usize::try_from(CALLS).unwrap());
    let errors = fixture.errors().await;
    for call in calls {
        // Each call is wholly one of the versions that came last, its errors included.
        let version = u32::try_from(call.numbers.get(NumberFact::TotalTokens).unwrap()).unwrap();
        assert!([VERSIONS - 1, 2 * VERSIONS - 1].contains(&version), "{version}");
        let Incoming::Record(expected) = rich(call.id.0.as_u128(), version) else { unreachable!() };
        assert_eq!(call, *expected.facts());
        let logged = errors.iter().filter(|logged| logged.call_id == call.id).map(|logged| logged.error.clone());
        assert_eq!(logged.collect::<Vec<_>>(), expected.errors());
    }
}

async fn a_rebuild_beside_writers_ends_exact(fixture: Fixture) {
    let second = Server::start(fixture.scratch.url()).await;
    let mut history = History::new(fixture.tenant, 21);
    fixture.write(history.arrivals(50)).await;
    let write = async {
        for _ in 0..30 {
            second.write(fixture.tenant, history.arrivals(5)).await;
        }
    };
    let repair = async {
        for _ in 0..5 {
            rebuild(&fixture.server.database, fixture.tenant).await.unwrap();
        }
    };
    tokio::join!(write, repair);
    fixture.assert_sound().await;
    assert_eq!(fixture.calls().await, history.calls());
}

async fn a_check_beside_writers_finds_nothing_wrong(fixture: Fixture) {
    let second = Server::start(fixture.scratch.url()).await;
    fixture.write([completed(1, at(0)), failed(2, at(3000))]).await;
    let write = async {
        for version in 0..40 {
            second.write(fixture.tenant, (1..9).map(|call| rich(call, version))).await;
        }
    };
    let check = async {
        for _ in 0..8 {
            let audit = verify(&fixture.server.database, fixture.tenant).await.unwrap();
            assert_eq!(audit.mismatches, []);
        }
    };
    tokio::join!(write, check);
}

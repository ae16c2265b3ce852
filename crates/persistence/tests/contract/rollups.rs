//! The invariant: rollups are the sum of the contributions of the calls beneath them; and its audit.

use crate::fixture::{Fixture, ever};
use crate::fixture::{rebuild, verify};
use crate::history::History;
use crate::samples::{at, error, fields, id, record, set, set_number, sound, usage, workflow, workflow_with_id};
use callscope_analytics::ports::RollupStore;
use callscope_analytics::rollup_deltas::RollupDeltas;
use callscope_analytics::rollups::{Audit, Mismatch};
use callscope_domain::{
    CallFields, CallStatus, Contribution, Dimension, Group, GroupId, Level, NumberFact, ProviderType, Resolution,
    Service, TenantId, TextFact, Timestamp, Window,
};
use std::collections::HashMap;

on_each_backend!(
    answers_equal_a_fold_over_the_calls_whatever_happened_to_them,
    a_check_finds_every_kind_of_falsified_rollup,
    a_check_finds_rollups_that_are_gone,
    a_check_finds_rollups_on_days_without_calls,
    a_rebuild_repairs_what_a_check_finds,
    a_rebuild_leaves_other_tenants_alone,
    a_tenant_without_calls_has_nothing_to_check,
    rollups_that_came_back_to_zero_are_nothing,
);

async fn answers_equal_a_fold_over_the_calls_whatever_happened_to_them(fixture: Fixture) {
    let tenants = [fixture.tenant, TenantId(id(0xB))];
    let mut histories = [History::new(tenants[0], 1), History::new(tenants[1], 2)];
    let [one, other] = &mut histories;
    for round in 0..25 {
        let (first, second) = (one.arrivals(1 + round), other.arrivals(12));
        tokio::join!(fixture.server.write(one.tenant, first), fixture.server.write(other.tenant, second));
    }
    for history in &mut histories {
        assert_eq!(fixture.server.calls(history.tenant).await, history.calls());
        let audit = fixture.server.assert_sound(history.tenant).await;
        assert_eq!(audit.calls, history.calls().len() as u64);
        history.assert_answers(&fixture.server, ever_of_histories()).await;
        for _ in 0..50 {
            let window = history.window();
            history.assert_answers(&fixture.server, window).await;
        }
    }
}

/// Short enough for a series by the hour.
fn ever_of_histories() -> Window {
    Window::new(at(-24 * 60), at(9 * 24 * 60)).unwrap()
}

/// A call that is in every kind of rollup.
fn rich(fixture: &Fixture, call: u128, started_at: Timestamp) -> CallFields {
    let mut rich = fields(call, CallStatus::Completed, started_at);
    rich.workflow = Some(workflow(fixture.tenant, "daily", Some("Daily")));
    set(&mut rich, TextFact::Agent, "greeter");
    set(&mut rich, TextFact::EndReason, "hangup");
    set_number(&mut rich, NumberFact::TotalTokens, 10);
    rich.providers = vec![usage(ProviderType::Stt, "deepgram", &[100.0, 200.0])];
    rich.errors = vec![error(started_at, Service::Stt, Level::Error, "timeout")];
    rich
}

async fn audit(fixture: &Fixture) -> Audit {
    verify(&fixture.server.database, fixture.tenant).await.unwrap()
}

/// Every bucket of one instant.
fn mismatches_at(instant: Timestamp) -> Vec<Mismatch> {
    let of = |&resolution: &Resolution| Mismatch { resolution, bucket: resolution.floor(instant) };
    Resolution::ALL.iter().map(of).collect()
}

async fn a_check_finds_every_kind_of_falsified_rollup(fixture: Fixture) {
    fixture.write([record(rich(&fixture, 1, at(17)))]).await;
    fixture.write([record(rich(&fixture, 2, at(3000)))]).await;
    assert_eq!(audit(&fixture).await, Audit { days: 2, calls: 2, buckets: 8, mismatches: Vec::new() });
    let falsifications = [
        (0, "rollup_sums", "calls = calls + 1", "calls = calls - 1"),
        (1, "rollup_sums", "ended = ended - 1", "ended = ended + 1"),
        (0, "rollup_sums", "tts_latency_us = 5", "tts_latency_us = 0"),
        (2, "rollup_distributions", "group_id = 2", "group_id = 1"),
        (3, "rollup_sums", "errors = 0", "errors = 1"),
        (4, "rollup_sums", "calls = 0", "calls = 1"),
        (5, "rollup_sums", "group_id = 2", "group_id = 1"),
    ];
    for (dimension, table, falsify, correct) in falsifications {
        let finest = Dimension::from_code(dimension).unwrap().row().finest;
        for &resolution in Resolution::ALL.iter().filter(|&&resolution| resolution >= finest) {
            let only = format!("WHERE dimension = {dimension} AND resolution = {}", resolution.code());
            fixture.execute(&format!("UPDATE {table} SET {falsify} {only}")).await;
            let found = audit(&fixture).await.mismatches;
            let expected = [at(17), at(3000)].map(|at| Mismatch { resolution, bucket: resolution.floor(at) });
            assert_eq!(found, expected, "{table}: {falsify} {only}");
            fixture.execute(&format!("UPDATE {table} SET {correct} {only}")).await;
        }
    }
    fixture.assert_sound().await;
}

async fn a_check_finds_rollups_that_are_gone(fixture: Fixture) {
    fixture.write([record(rich(&fixture, 1, at(17))), record(rich(&fixture, 2, at(9000)))]).await;
    let mut transaction = fixture.server.database.begin_audit(fixture.tenant, true).await.unwrap();
    transaction.delete_rollups(ever()).await.unwrap();
    transaction.commit().await.unwrap();
    let mut expected = [mismatches_at(at(17)), mismatches_at(at(9000))].concat();
    expected.sort_by_key(|mismatch| (mismatch.bucket.floor(Resolution::Day.width()), mismatch.resolution));
    let audit = audit(&fixture).await;
    assert_eq!((audit.mismatches, audit.days), (expected, 2));
}

/// Adds rollups of a call that does not exist.
async fn add_phantom(fixture: &Fixture, tenant: TenantId, fields: CallFields) {
    let mut transaction = fixture.server.database.begin_audit(tenant, true).await.unwrap();
    let groups: HashMap<_, _> = transaction.load_groups().await.unwrap().into_iter().collect();
    let call = sound(fields);
    let minutes = [(Resolution::Minute.floor(call.facts().started_at), Contribution::of(call.facts()))];
    let find = |group: &Group| if *group == Group::TENANT { Some(GroupId::TENANT) } else { groups.get(group).copied() };
    let deltas = RollupDeltas::from_minutes(minutes.into(), find).unwrap();
    transaction.add_rollups(&deltas).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn a_check_finds_rollups_on_days_without_calls(fixture: Fixture) {
    fixture.write([record(rich(&fixture, 1, at(0)))]).await;
    add_phantom(&fixture, fixture.tenant, rich(&fixture, 2, at(-5000))).await;
    assert_eq!(audit(&fixture).await.mismatches, mismatches_at(at(-5000)));
    for gone in ["rollup_sums WHERE dimension = 0", "rollup_sums"] {
        // What is left of the day shows in the figures of providers or errors all the same.
        fixture.execute(&format!("DELETE FROM {gone}")).await;
        let found = audit(&fixture).await.mismatches;
        assert_eq!(found[..4], mismatches_at(at(-5000)), "without {gone}");
    }
}

async fn a_rebuild_repairs_what_a_check_finds(fixture: Fixture) {
    let mut history = History::new(fixture.tenant, 3);
    fixture.write(history.arrivals(200)).await;
    let phantom = |call, started_at| {
        let mut phantom = rich(&fixture, call, started_at);
        phantom.workflow = Some(workflow_with_id(1, "workflow-0", None));
        set(&mut phantom, TextFact::Agent, "agent-0");
        set(&mut phantom, TextFact::EndReason, "reason-0");
        phantom
    };
    add_phantom(&fixture, fixture.tenant, phantom(1000, at(-5000))).await;
    add_phantom(&fixture, fixture.tenant, phantom(1001, at(17))).await;
    fixture
        .execute("UPDATE rollup_sums SET total_tokens = total_tokens + 1 WHERE dimension < 2 AND resolution = 2")
        .await;
    fixture.execute("DELETE FROM rollup_distributions WHERE dimension = 2 AND resolution = 3").await;
    fixture.execute("DELETE FROM rollup_sums WHERE dimension = 3 AND resolution = 0").await;
    assert!(audit(&fixture).await.mismatches.len() > 20);
    let rebuilt = rebuild(&fixture.server.database, fixture.tenant).await.unwrap();
    let sound = fixture.assert_sound().await;
    assert_eq!((sound.calls, sound.buckets), (rebuilt.calls, rebuilt.buckets));
    history.assert_answers(&fixture.server, ever_of_histories()).await;
    for _ in 0..10 {
        let window = history.window();
        history.assert_answers(&fixture.server, window).await;
    }
}

async fn a_rebuild_leaves_other_tenants_alone(fixture: Fixture) {
    let other = TenantId(id(0xB));
    fixture.server.write(other, [record(rich(&fixture, 1, at(17)))]).await;
    add_phantom(&fixture, other, rich(&fixture, 2, at(17))).await;
    fixture.write([record(rich(&fixture, 1, at(17)))]).await;
    add_phantom(&fixture, fixture.tenant, rich(&fixture, 2, at(17))).await;
    rebuild(&fixture.server.database, fixture.tenant).await.unwrap();
    fixture.assert_sound().await;
    let untouched = verify(&fixture.server.database, other).await.unwrap();
    assert_eq!(untouched.mismatches, mismatches_at(at(17)));
}

async fn a_tenant_without_calls_has_nothing_to_check(fixture: Fixture) {
    fixture.server.write(TenantId(id(0xB)), [record(rich(&fixture, 1, at(17)))]).await;
    assert_eq!(audit(&fixture).await, Audit::default());
    assert_eq!(rebuild(&fixture.server.database, fixture.tenant).await.unwrap(), Audit::default());
    assert_eq!(fixture.server.database.list_days(fixture.tenant).await.unwrap(), []);
}

async fn rollups_that_came_back_to_zero_are_nothing(fixture: Fixture) {
    let moved = at(9 * 24 * 60);
    fixture.write([record(rich(&fixture, 1, at(17)))]).await;
    fixture.write([record(fields(1, CallStatus::Completed, moved))]).await;
    fixture.assert_sound().await;
    let service = &fixture.server.analytics;
    let day = Window::new(at(0), at(24 * 60)).unwrap();
    assert_eq!(service.workflow_stats(fixture.tenant, day, Vec::new(), 10).await.unwrap().rows, []);
    assert_eq!(service.provider_latency(fixture.tenant, ever(), Vec::new()).await.unwrap().rows, []);
    assert_eq!(fixture.errors().await, []);
    let mut audit = fixture.server.database.begin_audit(fixture.tenant, false).await.unwrap();
    for &resolution in Resolution::ALL {
        let rollups = audit.load_rollups(resolution, ever()).await.unwrap();
        assert_eq!(rollups.keys().map(|key| key.bucket).collect::<Vec<_>>(), [resolution.floor(moved)]);
    }
}

//! Bounds on what is kept of a tenant: what meets one is refused, counted or regrouped, and rollups stay exact.

use crate::fixture::{Fixture, Server, counts_of, ever, labels_of};
use crate::samples::{active, at, completed, error, fields, overdue, record, set, usage, workflow};
use callscope_analytics::clock::FixedClock;
use callscope_analytics::kept::KeptLimits;
use callscope_analytics::ports::{ErrorFilter, Page};
use callscope_analytics::retention::{Retention, RetentionPeriods};
use callscope_domain::TransitionKind::{Created, Ignored, Refused, Replaced, TimedOut};
use callscope_domain::{
    CallStatus, Dimension, Incoming, Level, OTHER, ProviderType, Refusal, Service, Span, TextFact, Timestamp,
};
use std::num::NonZeroU32;
use std::sync::Arc;

on_each_backend!(
    values_past_their_bound_go_into_one_group,
    servers_agree_on_the_values_of_a_tenant,
    a_record_that_changes_nothing_takes_no_room,
    a_call_moves_out_of_the_group_when_its_record_says_so,
    active_calls_are_bounded,
    errors_past_the_bound_of_a_day_are_counted_without_an_entry,
    a_quota_of_rows_refuses_new_calls_alone,
    a_call_that_started_too_long_ago_is_refused,
);

const DAY: i64 = 24 * 60;

async fn server(fixture: &Fixture, now: Timestamp, limits: KeptLimits) -> Server {
    Server::start_with(fixture.scratch.url(), limits, Arc::new(FixedClock(now))).await
}

/// A call with one value of each dimension.
fn grouped(fixture: &Fixture, call: u128, group: &str) -> Incoming {
    let mut fields = fields(call, CallStatus::Completed, at(0));
    fields.workflow = Some(workflow(fixture.tenant, group, None));
    set(&mut fields, TextFact::Agent, group);
    set(&mut fields, TextFact::EndReason, group);
    fields.providers = vec![usage(ProviderType::Llm, group, &[100.0])];
    record(fields)
}

/// Slugs and calls of workflows, and names and calls of providers.
async fn groups(server: &Server, fixture: &Fixture) -> (Vec<(String, i64)>, Vec<(String, i64)>) {
    let workflows = server.analytics.workflow_stats(fixture.tenant, ever(), Vec::new(), 50).await.unwrap();
    let names = labels_of(&workflows).into_iter().map(|label| label.name);
    let workflows = names.zip(counts_of(&workflows).into_iter().map(|(_, calls)| calls)).collect();
    let mut providers =
        counts_of(&server.analytics.provider_latency(fixture.tenant, ever(), Vec::new()).await.unwrap());
    providers.sort_unstable();
    (workflows, providers)
}

fn counts(groups: &[(&str, i64)]) -> Vec<(String, i64)> {
    groups.iter().map(|(group, calls)| ((*group).to_owned(), *calls)).collect()
}

const TWO_VALUES: KeptLimits = KeptLimits {
    values_max: KeptLimits::NONE
        .values_max
        .with(Dimension::Workflow, 2)
        .with(Dimension::Provider, 2)
        .with(Dimension::Agent, 2)
        .with(Dimension::EndReason, 2),
    ..KeptLimits::NONE
};

async fn values_past_their_bound_go_into_one_group(fixture: Fixture) {
    let server = server(&fixture, at(0), TWO_VALUES).await;
    let calls = ["a", "b", "c", "d", "a"].into_iter().zip(1..).map(|(group, call)| grouped(&fixture, call, group));
    assert_eq!(server.write(fixture.tenant, calls).await, [Created; 5]);
    // In a batch of its own, and a provider twice that becomes one.
    server.write(fixture.tenant, [grouped(&fixture, 6, "e")]).await;
    let mut two = fields(7, CallStatus::Completed, at(1));
    two.providers = ["f", "g"].map(|called| usage(ProviderType::Llm, called, &[50.0])).into();
    server.write(fixture.tenant, [record(two)]).await;

    let (workflows, providers) = groups(&server, &fixture).await;
    assert_eq!(workflows, counts(&[(OTHER, 3), ("a", 2), ("b", 1)]));
    assert_eq!(providers, counts(&[(OTHER, 4), ("a", 2), ("b", 1)]));
    let agents = "SELECT DISTINCT agent AS value FROM calls WHERE agent IS NOT NULL ORDER BY agent";
    let agents: Vec<String> = fixture.values(agents).await.into_iter().flatten().collect();
    assert_eq!(agents.len(), 3);
    assert!(agents.contains(&OTHER.to_owned()), "{agents:?}");
    server.assert_sound(fixture.tenant).await;
    assert_counts_are_right(&fixture).await;
}

async fn servers_agree_on_the_values_of_a_tenant(fixture: Fixture) {
    let (first, second) = (server(&fixture, at(0), TWO_VALUES).await, server(&fixture, at(0), TWO_VALUES).await);
    first.write(fixture.tenant, [grouped(&fixture, 1, "a")]).await;
    second.write(fixture.tenant, [grouped(&fixture, 2, "b")]).await;
    // What the other one has added is known, and leaves no room.
    first.write(fixture.tenant, [grouped(&fixture, 3, "b"), grouped(&fixture, 4, "c")]).await;
    second.write(fixture.tenant, [grouped(&fixture, 5, "a"), grouped(&fixture, 6, "c")]).await;
    for server in [&first, &second] {
        let (workflows, providers) = groups(server, &fixture).await;
        assert_eq!(workflows, counts(&[("a", 2), ("b", 2), (OTHER, 2)]));
        assert_eq!(providers, counts(&[(OTHER, 2), ("a", 2), ("b", 2)]));
    }
    first.assert_sound(fixture.tenant).await;
}

async fn a_record_that_changes_nothing_takes_no_room(fixture: Fixture) {
    let server = server(&fixture, at(0), TWO_VALUES).await;
    server.write(fixture.tenant, [grouped(&fixture, 1, "a")]).await;
    let mut late = fields(1, CallStatus::Active, at(0));
    set(&mut late, TextFact::Agent, "z");
    assert_eq!(server.write(fixture.tenant, [record(late), grouped(&fixture, 2, "b")]).await, [Ignored, Created]);
    let values = "SELECT value FROM groups WHERE dimension = 4 ORDER BY value";
    assert_eq!(fixture.values(values).await, ["a", "b"].map(|value| Some(value.to_owned())));
}

async fn a_call_moves_out_of_the_group_when_its_record_says_so(fixture: Fixture) {
    let server = server(&fixture, at(0), TWO_VALUES).await;
    let calls = ["a", "b", "c"].into_iter().zip(1..).map(|(group, call)| grouped(&fixture, call, group));
    server.write(fixture.tenant, calls).await;
    // Twice in one batch, once in the group again.
    let corrections = [grouped(&fixture, 3, "d"), grouped(&fixture, 3, "a"), grouped(&fixture, 2, "c")];
    assert_eq!(server.write(fixture.tenant, corrections).await, [Replaced; 3]);
    let (workflows, providers) = groups(&server, &fixture).await;
    assert_eq!(workflows, counts(&[("a", 2), (OTHER, 1)]));
    assert_eq!(providers, counts(&[(OTHER, 1), ("a", 2)]));
    server.assert_sound(fixture.tenant).await;

    // With a higher bound, the next record is what it says.
    let limits =
        KeptLimits { values_max: KeptLimits::NONE.values_max.with(Dimension::Workflow, 3), ..KeptLimits::NONE };
    let wider = self::server(&fixture, at(0), limits).await;
    wider.write(fixture.tenant, [grouped(&fixture, 2, "c")]).await;
    assert_eq!(groups(&wider, &fixture).await.0, counts(&[("a", 2), ("c", 1)]));
    wider.assert_sound(fixture.tenant).await;
}

async fn active_calls_are_bounded(fixture: Fixture) {
    let server = server(&fixture, at(0), KeptLimits { active_calls_max: 2, ..KeptLimits::NONE }).await;
    let write = async |arrivals: Vec<Incoming>| server.write(fixture.tenant, arrivals).await;
    let refused = Refused(Refusal::ActiveCalls { max: 2 });
    let three = (1..=3).map(|call| active(call, at(0))).collect();
    assert_eq!(write(three).await, [Created, Created, refused]);
    // One that is known may go on, one that has ended is none, and an end makes room within its batch.
    assert_eq!(
        write(vec![active(1, at(1)), completed(4, at(0)), active(3, at(0))]).await,
        [Replaced, Created, refused]
    );
    assert_eq!(write(vec![completed(1, at(1)), active(3, at(0))]).await, [Replaced, Created]);
    assert_eq!(write(vec![overdue(2, at(1)), active(5, at(0))]).await, [TimedOut, Created]);
    assert_eq!(write(vec![active(6, at(0))]).await, [refused]);
    assert_eq!(server.analytics.active_calls(fixture.tenant, at(0), Vec::new()).await.unwrap(), 2);
    server.assert_sound(fixture.tenant).await;
    assert_counts_are_right(&fixture).await;

    // What retention deletes makes room as well.
    let retention = Retention {
        store: Arc::new(server.database.clone()),
        tenants: Arc::new(server.database.clone()),
        clock: Arc::new(FixedClock(at(3 * DAY))),
        periods: RetentionPeriods { calls_days: NonZeroU32::new(1).unwrap(), rollups_days: None },
    };
    assert_eq!(retention.delete_of_tenant(fixture.tenant).await.unwrap().calls, 5);
    assert_counts_are_right(&fixture).await;
    assert_eq!(write(vec![active(7, at(3 * DAY)), active(8, at(3 * DAY))]).await, [Created; 2]);
}

/// A call with so many errors.
fn failing(call: u128, errors: usize) -> Incoming {
    let mut fields = fields(call, CallStatus::Failed, at(0));
    fields.errors = vec![error(at(0), Service::Stt, Level::Error, "timeout"); errors];
    record(fields)
}

/// Errors that are counted, and those that are listed by call.
async fn logged(server: &Server, fixture: &Fixture) -> (u64, Vec<(u128, usize)>) {
    let page = Page { offset: 0, limit: 1000 };
    let log = server.analytics.errors(fixture.tenant, ever(), ErrorFilter::default(), Vec::new(), page).await.unwrap();
    let mut calls: Vec<u128> = log.items.iter().map(|item| item.call_id.0.as_u128()).collect();
    calls.sort_unstable();
    (log.total, calls.chunk_by(|left, right| left == right).map(|same| (same[0], same.len())).collect())
}

async fn errors_past_the_bound_of_a_day_are_counted_without_an_entry(fixture: Fixture) {
    let limits = KeptLimits { errors_per_day_max: 4, ..KeptLimits::NONE };
    let today = server(&fixture, at(0), limits).await;
    assert_eq!(today.write(fixture.tenant, [failing(1, 3), failing(2, 3), failing(3, 1)]).await, [Created; 3]);
    assert_eq!(logged(&today, &fixture).await, (7, vec![(1, 3), (2, 1)]));
    // A record that comes again keeps the entries that its call has, and gets no more.
    assert_eq!(today.write(fixture.tenant, [failing(1, 4), failing(2, 3)]).await, [Replaced; 2]);
    assert_eq!(logged(&today, &fixture).await, (8, vec![(1, 3), (2, 1)]));
    today.assert_sound(fixture.tenant).await;

    let tomorrow = server(&fixture, at(DAY), limits).await;
    assert_eq!(tomorrow.write(fixture.tenant, [failing(2, 3), failing(4, 9)]).await, [Replaced, Created]);
    assert_eq!(logged(&tomorrow, &fixture).await, (17, vec![(1, 3), (2, 3), (4, 2)]));
    tomorrow.assert_sound(fixture.tenant).await;
    assert_counts_are_right(&fixture).await;
}

async fn a_quota_of_rows_refuses_new_calls_alone(fixture: Fixture) {
    let server = server(&fixture, at(0), KeptLimits { rows_max: 5, ..KeptLimits::NONE }).await;
    let refused = Refused(Refusal::Rows { max: 5 });
    assert_eq!(
        server.write(fixture.tenant, [failing(1, 3), failing(2, 9), failing(3, 0)]).await,
        [Created, Created, refused]
    );
    assert_eq!(server.write(fixture.tenant, [failing(1, 2), failing(3, 0)]).await, [Replaced, Created]);
    assert_eq!(server.write(fixture.tenant, [failing(2, 1), failing(4, 0)]).await, [Replaced, refused]);
    assert_eq!(logged(&server, &fixture).await, (3, vec![(1, 2)]));
    server.assert_sound(fixture.tenant).await;
    assert_counts_are_right(&fixture).await;
}

async fn a_call_that_started_too_long_ago_is_refused(fixture: Fixture) {
    let oldest_start = Span::from_hours(24 * 10);
    let server = server(&fixture, at(10 * DAY), KeptLimits { oldest_start, ..KeptLimits::NONE }).await;
    let refused = Refused(Refusal::StartTooOld { days: 10 });
    assert_eq!(server.write(fixture.tenant, [completed(1, at(0)), completed(2, at(-1))]).await, [Created, refused]);
    // Nor may a call go back there.
    assert_eq!(server.write(fixture.tenant, [completed(1, at(-1))]).await, [refused]);
    assert_eq!(fixture.calls().await.len(), 1);
    server.assert_sound(fixture.tenant).await;
}

/// Fails unless the tenant's counts are those of its rows.
async fn assert_counts_are_right(fixture: &Fixture) {
    let counted = "SELECT CAST(active_calls AS text) || ' ' || CAST(stored_rows AS text) AS value FROM tenant_states";
    let rows = "SELECT CAST((SELECT count(*) FROM calls WHERE status = 'active') AS text) || ' '
        || CAST((SELECT count(*) FROM calls) + (SELECT count(*) FROM call_errors) AS text) AS value";
    assert_eq!(fixture.values(counted).await, fixture.values(rows).await);
}

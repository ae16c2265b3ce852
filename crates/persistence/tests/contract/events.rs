//! Events: written with the changes that they tell of, numbered in the order of commits, kept within bounds.

use crate::fixture::{Fixture, Server};
use crate::samples::{active, at, completed, error, failed, fields, id, overdue, record, workflow};
use callscope_analytics::live::{Follower, Live, LiveMessage};
use callscope_analytics::ports::{CallStore, EventBounds, EventRange, EventStore, NumberedEvent};
use callscope_domain::{
    CallChange, CallFields, CallId, CallStatus, EventId, EventKind, Level, Service, TIMEOUT_END_REASON, TenantId,
    TextFact, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

on_each_backend!(
    each_step_of_a_call_is_an_event,
    a_closed_call_is_an_event_with_its_labels,
    a_transaction_that_is_dropped_tells_nothing,
    events_stay_with_their_tenant,
    events_out_of_bounds_are_deleted_oldest_first,
    followers_on_every_server_are_told_everything_once,
    a_follower_that_comes_back_is_told_what_it_has_missed,
    a_follower_that_is_ahead_is_told_nothing_twice,
);

const ALL: u32 = 10_000;

async fn events(fixture: &Fixture, tenant: TenantId) -> Vec<NumberedEvent> {
    fixture.server.database.load_events(tenant, EventId(0), ALL).await.unwrap()
}

/// Number, call and kind of each event.
async fn told(fixture: &Fixture) -> Vec<(i64, u128, EventKind)> {
    let events = events(fixture, fixture.tenant).await;
    let brief = |numbered: &NumberedEvent| (numbered.id.0, numbered.event.call_id.0.as_u128(), numbered.event.kind());
    events.iter().map(brief).collect()
}

async fn each_step_of_a_call_is_an_event(fixture: Fixture) {
    use EventKind::{CallEnded, CallError, CallFailed, CallStarted};
    let lost = || error(at(1), Service::Stt, Level::Error, "lost");
    let with_error = || record(CallFields { errors: vec![lost()], ..fields(1, CallStatus::Active, at(0)) });
    fixture.write([active(1, at(0)), active(2, at(0)), with_error()]).await;
    fixture.write([with_error()]).await;
    let ended = record(CallFields { errors: vec![lost()], ..fields(1, CallStatus::Completed, at(0)) });
    fixture.write([ended, active(1, at(0)), failed(2, at(0)), completed(3, at(5))]).await;
    let expected = [
        (1, 1, CallStarted),
        (2, 2, CallStarted),
        (3, 1, CallError),
        (4, 1, CallEnded),
        (5, 2, CallFailed),
        (6, 3, CallEnded),
    ];
    assert_eq!(told(&fixture).await, expected);
    let after_four = fixture.server.database.load_events(fixture.tenant, EventId(4), 1).await.unwrap();
    assert_eq!(after_four.iter().map(|numbered| numbered.id).collect::<Vec<_>>(), [EventId(5)]);
    let range = fixture.server.database.find_event_range(fixture.tenant).await.unwrap();
    assert_eq!(range, EventRange { before: EventId(0), last: EventId(6) });
}

async fn a_closed_call_is_an_event_with_its_labels(fixture: Fixture) {
    let mut labelled = fields(1, CallStatus::Active, at(0));
    labelled.workflow = Some(workflow(fixture.tenant, "daily-call", None));
    crate::samples::set(&mut labelled, TextFact::Agent, "greeter");
    fixture.write([record(labelled), active(2, at(0))]).await;
    fixture.write([overdue(1, at(10)), overdue(2, at(10))]).await;
    let closings = events(&fixture, fixture.tenant).await.split_off(2);
    for numbered in &closings {
        let CallChange::Failed(end) = &numbered.event.change else { panic!("{numbered:?}") };
        assert_eq!(end.duration, None);
        assert_eq!(end.reason.as_ref().map(ToString::to_string).as_deref(), Some(TIMEOUT_END_REASON));
    }
    let labels = closings.iter().map(|numbered| {
        let slug = numbered.event.workflow.as_ref().map(|workflow| workflow.slug.to_string());
        (slug, numbered.event.agent.as_ref().map(ToString::to_string))
    });
    let labels: BTreeSet<_> = labels.collect();
    assert_eq!(labels, BTreeSet::from([(None, None), (Some("daily-call".into()), Some("greeter".into()))]));
}

async fn a_transaction_that_is_dropped_tells_nothing(fixture: Fixture) {
    use callscope_analytics::deltas::{expect_minutes, plan_changes};
    let mut transaction = fixture.server.database.begin().await.unwrap();
    let stored = transaction.lock_calls(fixture.tenant, &[CallId(id(1))]).await.unwrap();
    let arrivals = vec![active(1, at(0))];
    let expected = expect_minutes(&arrivals);
    let keeping = crate::fixture::unbounded(&mut *transaction, fixture.tenant).await;
    let (changes, _) = plan_changes(stored, arrivals, expected, crate::fixture::MOMENT, keeping).unwrap();
    assert_eq!(changes.events.len(), 1);
    transaction.save(fixture.tenant, &changes).await.unwrap();
    drop(transaction);
    assert_eq!(told(&fixture).await, []);
    fixture.write([active(2, at(0))]).await;
    assert_eq!(told(&fixture).await, [(1, 2, EventKind::CallStarted)]);
}

async fn events_stay_with_their_tenant(fixture: Fixture) {
    let other = TenantId(id(0xB));
    fixture.write([active(1, at(0))]).await;
    fixture.server.write(other, [active(1, at(0)), active(2, at(0))]).await;
    assert_eq!(events(&fixture, fixture.tenant).await.len(), 1);
    assert_eq!(events(&fixture, other).await.len(), 2);
    let bounds = EventBounds { recorded_from: Timestamp::from_micros(i64::MAX), events_max: 0 };
    assert_eq!(fixture.server.database.delete_old_events(other, bounds, ALL).await.unwrap(), 2);
    assert_eq!(events(&fixture, fixture.tenant).await.len(), 1);
}

async fn events_out_of_bounds_are_deleted_oldest_first(fixture: Fixture) {
    let database = &fixture.server.database;
    fixture.write((1..=10).map(|call| active(call, at(0)))).await;
    let nothing = EventBounds { recorded_from: Timestamp::from_micros(0), events_max: 10 };
    assert_eq!(database.delete_old_events(fixture.tenant, nothing, ALL).await.unwrap(), 0);
    let by_number = EventBounds { events_max: 6, ..nothing };
    assert_eq!(database.delete_old_events(fixture.tenant, by_number, 3).await.unwrap(), 3);
    assert_eq!(database.delete_old_events(fixture.tenant, by_number, 3).await.unwrap(), 1);
    assert_eq!(database.delete_old_events(fixture.tenant, by_number, 3).await.unwrap(), 0);
    let range = database.find_event_range(fixture.tenant).await.unwrap();
    assert_eq!(range, EventRange { before: EventId(4), last: EventId(10) });
    assert_eq!(told(&fixture).await.first(), Some(&(5, 5, EventKind::CallStarted)));
    let by_age = EventBounds { recorded_from: Timestamp::from_micros(i64::MAX), events_max: 10 };
    assert_eq!(database.delete_old_events(fixture.tenant, by_age, ALL).await.unwrap(), 6);
    let range = database.find_event_range(fixture.tenant).await.unwrap();
    assert_eq!(range, EventRange { before: EventId(10), last: EventId(10) });
}

/// Live over a server of the fixture, announced to and from.
fn live(server: &Server) -> Live {
    let database = Arc::new(server.database.clone());
    let live = Live::new(database.clone(), database, 100_000);
    tokio::spawn(live.clone().run(server.commits.clone()));
    live
}

const CALLS: u128 = 300;

async fn followers_on_every_server_are_told_everything_once(fixture: Fixture) {
    let other = Server::start(fixture.scratch.url()).await;
    let mut here = live(&fixture.server).follow(fixture.tenant, None).await.unwrap();
    let mut there = live(&other).follow(fixture.tenant, None).await.unwrap();
    // Each call by two servers at the same moments: its start, its end, and both once more.
    let write = async |server: &Server, shift: u128| {
        for call in (0..CALLS).map(|call| (call + shift) % CALLS + 1) {
            server.write(fixture.tenant, [active(call, at(0))]).await;
            server.write(fixture.tenant, [completed(call, at(0))]).await;
        }
    };
    // They listen meanwhile: who listens only afterwards is behind by more than is kept for it.
    let heard = async { tokio::join!(hear_everything_once(&mut here), hear_everything_once(&mut there)) };
    tokio::join!(write(&fixture.server, 0), write(&other, CALLS / 2), heard);
}

async fn hear_everything_once(follower: &mut Follower) {
    let mut kinds: BTreeMap<u128, Vec<EventKind>> = BTreeMap::new();
    let mut last = EventId(0);
    while kinds.values().filter(|kinds| kinds.contains(&EventKind::CallEnded)).count() < CALLS as usize {
        match follower.next().await.unwrap().unwrap() {
            LiveMessage::Event(told) => {
                assert_eq!(told.numbered.id.0, last.0 + 1);
                last = told.numbered.id;
                let event = &told.numbered.event;
                kinds.entry(event.call_id.0.as_u128()).or_default().push(event.kind());
            }
            LiveMessage::ActiveCount(_) => {}
            LiveMessage::Dropped(count) => panic!("{count} events were dropped"),
        }
    }
    for (call, kinds) in kinds {
        assert_eq!(kinds, [EventKind::CallStarted, EventKind::CallEnded], "call {call}");
    }
}

async fn a_follower_that_comes_back_is_told_what_it_has_missed(fixture: Fixture) {
    let live = live(&fixture.server);
    fixture.write((1..=5).map(|call| active(call, at(0)))).await;
    let mut back = live.follow(fixture.tenant, Some(EventId(3))).await.unwrap();
    assert_eq!((back.is_reset, back.cursor, back.active_calls), (false, EventId(5), 5));
    fixture.write([completed(1, at(0))]).await;
    for expected in [4, 5, 6] {
        let told = async {
            loop {
                if let Some(LiveMessage::Event(told)) = back.next().await.unwrap() {
                    return told;
                }
            }
        };
        assert_eq!(told.await.numbered.id, EventId(expected));
    }
    // Events that are not there, whatever the reason.
    let bounds = EventBounds { recorded_from: Timestamp::from_micros(0), events_max: 2 };
    fixture.server.database.delete_old_events(fixture.tenant, bounds, ALL).await.unwrap();
    let is_reset = async |since| live.follow(fixture.tenant, Some(EventId(since))).await.unwrap().is_reset;
    assert_eq!(
        (is_reset(3).await, is_reset(4).await, is_reset(6).await, is_reset(7).await),
        (true, false, false, true)
    );
    live.close();
    let end = async { while back.next().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), end).await.expect("following ends with the server");
}

async fn a_follower_that_is_ahead_is_told_nothing_twice(fixture: Fixture) {
    // Nothing is announced here, so the topic is behind for a while.
    let database = Arc::new(fixture.server.database.clone());
    let live = Live::new(database.clone(), database, 100_000);
    let _first = live.follow(fixture.tenant, None).await.unwrap();
    fixture.write((1..=3).map(|call| active(call, at(0)))).await;
    let mut ahead = live.follow(fixture.tenant, Some(EventId(3))).await.unwrap();
    fixture.write([completed(1, at(0))]).await;
    let told = async {
        loop {
            if let Some(LiveMessage::Event(told)) = ahead.next().await.unwrap() {
                return told;
            }
        }
    };
    assert_eq!(told.await.numbered.id, EventId(4));
}

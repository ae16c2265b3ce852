//! Checks and rebuilds beside others, of many calls, and of days whose calls are no longer kept.

use crate::fixture::{Fixture, Server, ever};
use crate::fixture::{rebuild, verify};
use crate::history::History;
use crate::samples::{at, completed, error, fields, id, record, usage, workflow_with_id};
use async_trait::async_trait;
use callscope_analytics::ports::{CallPosition, RetentionStore, RollupStore, RollupTransaction, StoreError};
use callscope_analytics::rollups::{Mismatch, rebuild_day, verify_day};
use callscope_domain::{
    CallStatus, Incoming, Level, NumberFact, ProviderType, Resolution, Service, Span, TenantId, Timestamp,
};
use callscope_persistence::Database;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Mutex;
use tokio::sync::Barrier;

on_each_backend!(
    two_rebuilds_at_once_do_not_correct_twice,
    a_rebuild_of_damage_beside_writers_ends_exact,
    a_rebuild_says_what_it_mended_and_leaves_alone_what_is_right,
    a_rebuild_replaces_what_cannot_be_read,
    calls_are_read_in_pages_each_once,
    a_day_of_more_calls_than_a_page_is_whole,
    days_without_calls_are_held_against_their_minutes,
    days_without_calls_are_made_anew_from_their_minutes,
    minutes_that_cannot_be_read_are_kept_where_there_are_no_calls,
    a_rebuild_does_not_bring_back_what_retention_deletes_meanwhile,
);

const DAY: i64 = 24 * 60;

/// A call that is in every kind of rollup.
fn rich(call: u128, started_at: Timestamp) -> Incoming {
    let mut fields = fields(call, CallStatus::Completed, started_at);
    fields.workflow = Some(workflow_with_id(7, "daily", None));
    crate::samples::set_number(&mut fields, NumberFact::TotalTokens, 10);
    fields.providers = vec![usage(ProviderType::Stt, "deepgram", &[100.0, 200.0])];
    fields.errors = vec![error(started_at, Service::Stt, Level::Error, "timeout")];
    record(fields)
}

impl Fixture {
    /// Falsifies rollups of every table.
    async fn damage(&self) {
        self.execute("UPDATE rollup_sums SET total_tokens = total_tokens + 7 WHERE dimension < 2 AND resolution = 2")
            .await;
        self.execute("DELETE FROM rollup_distributions WHERE dimension = 2 AND resolution = 3").await;
        self.execute("DELETE FROM rollup_sums WHERE dimension = 3 AND resolution = 1").await;
    }

    async fn rebuilds(&self) -> Option<String> {
        self.values("SELECT CAST(rebuilds AS text) AS value FROM tenant_states").await.remove(0)
    }
}

type Interruption<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A store in which something happens between what a rebuild reads and what it writes.
struct Interrupted<'a> {
    database: &'a Database,
    /// What happens, once.
    meanwhile: Mutex<Option<Interruption<'a>>>,
}

impl<'a> Interrupted<'a> {
    fn new(server: &'a Server, meanwhile: impl Future<Output = ()> + Send + 'a) -> Self {
        Self { database: &server.database, meanwhile: Mutex::new(Some(Box::pin(meanwhile))) }
    }
}

#[async_trait]
impl RollupStore for Interrupted<'_> {
    async fn list_days(&self, tenant: TenantId) -> Result<Vec<Timestamp>, StoreError> {
        self.database.list_days(tenant).await
    }

    async fn begin_audit(&self, tenant: TenantId, writable: bool) -> Result<Box<dyn RollupTransaction>, StoreError> {
        let meanwhile = if writable { self.meanwhile.lock().unwrap().take() } else { None };
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        self.database.begin_audit(tenant, writable).await
    }
}

async fn two_rebuilds_at_once_do_not_correct_twice(fixture: Fixture) {
    let second = Server::start(fixture.scratch.url()).await;
    fixture.write([rich(1, at(17)), rich(2, at(100))]).await;
    fixture.damage().await;
    // Both have read before either writes.
    let both_have_read = Barrier::new(2);
    let wait = || async {
        both_have_read.wait().await;
    };
    let (one, other) = (Interrupted::new(&fixture.server, wait()), Interrupted::new(&second, wait()));
    let (one, other) =
        tokio::join!(rebuild_day(&one, fixture.tenant, at(0)), rebuild_day(&other, fixture.tenant, at(0)));
    let mut mended = [one.unwrap().mismatches.len(), other.unwrap().mismatches.len()];
    mended.sort_unstable();
    assert_eq!(mended, [0, 5], "two hours, two quarters of an hour and a day");
    assert_eq!(fixture.rebuilds().await.as_deref(), Some("1"));
    fixture.assert_sound().await;
}

async fn a_rebuild_of_damage_beside_writers_ends_exact(fixture: Fixture) {
    let second = Server::start(fixture.scratch.url()).await;
    let mut history = History::new(fixture.tenant, 23);
    fixture.write(history.arrivals(60)).await;
    for _ in 0..6 {
        fixture.damage().await;
        let days = fixture.server.database.list_days(fixture.tenant).await.unwrap();
        let mut mended = 0;
        for day in days {
            // Writers change the same day between what is read of it and what is written.
            let arrivals = history.arrivals(8);
            let write = async { drop(second.write(fixture.tenant, arrivals).await) };
            let store = Interrupted::new(&fixture.server, write);
            mended += rebuild_day(&store, fixture.tenant, day).await.unwrap().mismatches.len();
            let not_written = store.meanwhile.lock().unwrap().take();
            if let Some(write) = not_written {
                write.await;
            }
        }
        assert!(mended > 0);
        fixture.assert_sound().await;
    }
    assert_eq!(fixture.calls().await, history.calls());
}

async fn a_rebuild_says_what_it_mended_and_leaves_alone_what_is_right(fixture: Fixture) {
    fixture.write([rich(1, at(17)), rich(2, at(2 * DAY))]).await;
    fixture.execute("UPDATE rollup_sums SET calls = calls + 1 WHERE dimension = 0 AND resolution = 2").await;
    let found = verify(&fixture.server.database, fixture.tenant).await.unwrap();
    assert_eq!(found.mismatches.len(), 2);
    assert_eq!(rebuild(&fixture.server.database, fixture.tenant).await.unwrap(), found);
    let revision = "SELECT CAST(revision AS text) AS value FROM tenant_states";
    let before = (fixture.values(revision).await, fixture.rebuilds().await);
    let again = rebuild(&fixture.server.database, fixture.tenant).await.unwrap();
    assert_eq!((again.mismatches, again.days, again.buckets), (Vec::new(), found.days, found.buckets));
    // Nobody was held off.
    assert_eq!((fixture.values(revision).await, fixture.rebuilds().await), before);
}

async fn a_rebuild_replaces_what_cannot_be_read(fixture: Fixture) {
    let mut history = History::new(fixture.tenant, 29);
    fixture.write(history.arrivals(100)).await;
    let unreadable = match fixture.backend {
        callscope_testkit::Backend::Sqlite => "x'ff00'",
        callscope_testkit::Backend::Postgres => r"'\xff00'::bytea",
    };
    let day = at(DAY);
    let first = "(SELECT min(bucket) FROM rollup_distributions WHERE resolution = 3)";
    fixture
        .execute(&format!(
            "UPDATE rollup_distributions SET histograms = {unreadable} WHERE bucket > {first} AND resolution = 3"
        ))
        .await;
    fixture.execute("UPDATE rollup_sums SET calls = 99 WHERE dimension = 0 AND resolution = 0").await;
    assert!(matches!(verify_day(&fixture.server.database, fixture.tenant, day).await, Err(StoreError::Broken(_))));
    let mended = rebuild_day(&fixture.server.database, fixture.tenant, day).await.unwrap();
    assert_eq!(mended.mismatches.len() as u64, mended.buckets);
    assert_eq!(verify_day(&fixture.server.database, fixture.tenant, day).await.unwrap().mismatches, []);
    // The days beside it are as they were.
    assert!(!verify_day(&fixture.server.database, fixture.tenant, at(0)).await.unwrap().mismatches.is_empty());
    rebuild(&fixture.server.database, fixture.tenant).await.unwrap();
    fixture.assert_sound().await;
    history.assert_answers(&fixture.server, ever_of_history()).await;
}

fn ever_of_history() -> callscope_domain::Window {
    callscope_domain::Window::new(at(-DAY), at(9 * DAY)).unwrap()
}

async fn calls_are_read_in_pages_each_once(fixture: Fixture) {
    let micro = Span::from_micros(1);
    // Starts with many ids, and ids that are not in the order of starts.
    let starts = [at(0) - micro, at(0), at(0), at(0) + micro, at(5), at(5), at(5), at(5), at(DAY) - micro, at(DAY)];
    let ids = [1, 0, 9, 3, 8, 2, 6, 4, 7, 5];
    fixture.write(ids.into_iter().zip(starts).map(|(id, start)| completed(id, start))).await;
    let day = callscope_domain::Window::new(at(0), at(DAY)).unwrap();
    let expected: Vec<CallPosition> = [(1, 0), (2, 9), (3, 3), (5, 2), (7, 4), (6, 6), (4, 8), (8, 7)]
        .map(|(start, number)| (starts[start], callscope_domain::CallId(id(number))))
        .to_vec();
    for limit in 1..=9 {
        let mut audit = fixture.server.database.begin_audit(fixture.tenant, false).await.unwrap();
        let mut seen: Vec<CallPosition> = Vec::new();
        loop {
            let page = audit.load_calls(day, seen.last().copied(), limit).await.unwrap();
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|call| (call.started_at, call.id)));
        }
        assert_eq!(seen, expected, "by {limit}");
    }
}

async fn a_day_of_more_calls_than_a_page_is_whole(fixture: Fixture) {
    // A page and a call, all at one moment; on the next day exactly a page.
    const PAGE: u128 = 5000;
    fixture.write((0..=PAGE).map(|call| completed(call, at(17)))).await;
    fixture.write((0..PAGE).map(|call| completed(100_000 + call, at(DAY + i64::try_from(call % 50).unwrap())))).await;
    let audit = fixture.assert_sound().await;
    assert_eq!((audit.days, u128::from(audit.calls)), (2, 2 * PAGE + 1));
}

/// Two days, the first of which lies before the horizon.
async fn expire_first_day(fixture: &Fixture) {
    fixture.write((1..=9).map(|call| rich(call, at(i64::try_from(call).unwrap() * 7)))).await;
    fixture.write([rich(20, at(DAY)), rich(21, at(DAY + 17))]).await;
    fixture.server.database.keep_calls_from(fixture.tenant, at(DAY)).await.unwrap();
}

async fn days_without_calls_are_held_against_their_minutes(fixture: Fixture) {
    expire_first_day(&fixture).await;
    let before = fixture.assert_sound().await;
    // Only those of the second day were looked at; the others may be there still.
    assert_eq!((before.days, before.calls), (2, 2));
    fixture.server.database.delete_expired_calls(fixture.tenant, 5).await.unwrap();
    assert_eq!(fixture.assert_sound().await, before);
    fixture.server.database.delete_expired_calls(fixture.tenant, 5).await.unwrap();
    assert_eq!(fixture.assert_sound().await, before);
    let of_first_day = async |resolutions: &[Resolution], bucket| {
        let found = verify_day(&fixture.server.database, fixture.tenant, at(0)).await.unwrap();
        let expected: Vec<Mismatch> = resolutions.iter().map(|&resolution| Mismatch { resolution, bucket }).collect();
        assert_eq!(found.mismatches, expected);
        assert_eq!(verify_day(&fixture.server.database, fixture.tenant, at(DAY)).await.unwrap().mismatches, []);
    };
    for (dimension, table, falsify, correct) in [
        (0, "rollup_sums", "failed = failed + 1", "failed = failed - 1"),
        (2, "rollup_distributions", "group_id = -group_id", "group_id = -group_id"),
        (3, "rollup_sums", "errors = errors + 1", "errors = errors - 1"),
    ] {
        for resolution in [Resolution::FifteenMinutes, Resolution::Hour, Resolution::Day] {
            let of = format!("dimension = {dimension} AND resolution = {}", resolution.code());
            let first = format!("{of} AND bucket = (SELECT min(bucket) FROM {table} WHERE {of})");
            fixture.execute(&format!("UPDATE {table} SET {falsify} WHERE {first}")).await;
            // Durations of the calls of a provider are not kept by the minute: wider buckets are held against these.
            let is_held_against = dimension == 2 && resolution == Resolution::FifteenMinutes;
            let all = [Resolution::FifteenMinutes, Resolution::Hour, Resolution::Day];
            let itself = [resolution];
            of_first_day(if is_held_against { &all[..] } else { &itself[..] }, at(0)).await;
            fixture.execute(&format!("UPDATE {table} SET {correct} WHERE {first}")).await;
        }
    }
    fixture.assert_sound().await;
}

async fn days_without_calls_are_made_anew_from_their_minutes(fixture: Fixture) {
    expire_first_day(&fixture).await;
    let totals = fixture.totals().await;
    fixture.server.database.delete_expired_calls(fixture.tenant, 99).await.unwrap();
    fixture.execute("UPDATE rollup_sums SET calls = calls * 2 WHERE dimension < 2 AND resolution = 2").await;
    fixture.execute("DELETE FROM rollup_distributions WHERE resolution = 3").await;
    fixture.execute("DELETE FROM rollup_sums WHERE dimension = 3 AND resolution = 1").await;
    fixture.execute("DELETE FROM rollup_sums WHERE dimension < 2 AND resolution = 3").await;
    let found = verify(&fixture.server.database, fixture.tenant).await.unwrap();
    assert!(found.mismatches.len() > 4, "{found:?}");
    assert_eq!(rebuild(&fixture.server.database, fixture.tenant).await.unwrap(), found);
    fixture.assert_sound().await;
    assert_eq!(fixture.totals().await, totals);
    let mut audit = fixture.server.database.begin_audit(fixture.tenant, false).await.unwrap();
    let minutes = audit.load_rollups(Resolution::Minute, ever()).await.unwrap();
    assert_eq!(minutes.keys().map(|key| key.bucket).collect::<BTreeSet<_>>().len(), 11);
}

async fn minutes_that_cannot_be_read_are_kept_where_there_are_no_calls(fixture: Fixture) {
    expire_first_day(&fixture).await;
    let unreadable = match fixture.backend {
        callscope_testkit::Backend::Sqlite => "x'ff00'",
        callscope_testkit::Backend::Postgres => r"'\xff00'::bytea",
    };
    fixture.execute(&format!("UPDATE rollup_distributions SET histograms = {unreadable} WHERE resolution = 2")).await;
    let rows = "SELECT CAST(count(*) AS text) AS value FROM rollup_sums";
    let before = fixture.values(rows).await;
    let refused = rebuild_day(&fixture.server.database, fixture.tenant, at(0)).await;
    assert!(matches!(refused, Err(StoreError::Broken(_))), "{refused:?}");
    assert_eq!(fixture.values(rows).await, before);
    // The day after it has calls.
    rebuild_day(&fixture.server.database, fixture.tenant, at(DAY)).await.unwrap();
    assert_eq!(verify_day(&fixture.server.database, fixture.tenant, at(DAY)).await.unwrap().mismatches, []);
}

async fn a_rebuild_does_not_bring_back_what_retention_deletes_meanwhile(fixture: Fixture) {
    expire_first_day(&fixture).await;
    fixture.damage().await;
    let first_day = callscope_domain::Window::new(at(0), at(DAY)).unwrap();
    let delete = async { fixture.server.database.delete_rollups(fixture.tenant, first_day).await.unwrap() };
    let store = Interrupted::new(&fixture.server, delete);
    assert_eq!(rebuild_day(&store, fixture.tenant, at(0)).await.unwrap().buckets, 0);
    for table in ["rollup_sums", "rollup_distributions"] {
        let days = format!("SELECT DISTINCT CAST(bucket AS text) AS value FROM {table} WHERE resolution = 3");
        assert_eq!(fixture.values(&days).await.len(), 1, "{table}");
    }
}

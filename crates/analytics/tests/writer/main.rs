//! The writer and its queue, over a store that does as it is told.

mod lanes;

use async_trait::async_trait;
use callscope_analytics::ingestion::{IngestLimits, IngestQueue, SubmitError, ingestion};
use callscope_analytics::ports::{CallStore, CallTransaction, LockedCalls, StoreError, TenantChanges};
use callscope_domain::{
    Call, CallFields, CallId, CallStatus, Group, GroupId, Incoming, Slug, TenantId, Timestamp, TransitionKind,
    WorkflowId,
};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// What a transaction of the store does when calls are saved.
#[derive(Clone, Copy)]
enum Save {
    Conflicts,
    IsUnavailable,
    IsBroken,
    Panics,
}

/// Remembers the number of calls of each commit.
#[derive(Clone, Default)]
struct ObedientStore {
    /// What the next transactions do; the ones after them succeed.
    orders: Arc<Mutex<VecDeque<Save>>>,
    commits: Arc<Mutex<Vec<usize>>>,
}

impl ObedientStore {
    fn with_orders(orders: impl IntoIterator<Item = Save>) -> Self {
        Self { orders: Arc::new(Mutex::new(orders.into_iter().collect())), ..Self::default() }
    }

    fn commits(&self) -> Vec<usize> {
        self.commits.lock().expect("no test panics with the lock").clone()
    }
}

#[async_trait]
impl CallStore for ObedientStore {
    async fn begin(&self) -> Result<Box<dyn CallTransaction>, StoreError> {
        Ok(Box::new(ObedientTransaction { store: self.clone(), calls: 0 }))
    }

    fn one_transaction_for_all_tenants(&self) -> bool {
        true
    }

    async fn list_overdue_calls(&self, _: TenantId, _: Timestamp, _: u32) -> Result<Vec<CallId>, StoreError> {
        Ok(Vec::new())
    }
}

struct ObedientTransaction {
    store: ObedientStore,
    calls: usize,
}

#[async_trait]
impl CallTransaction for ObedientTransaction {
    async fn lock_calls(&mut self, _: TenantId, _: &[CallId]) -> Result<LockedCalls, StoreError> {
        Ok(LockedCalls::default())
    }

    async fn load_groups(&mut self, _: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError> {
        Ok(Vec::new())
    }

    async fn load_slugs(&mut self, _: TenantId, _: &[WorkflowId]) -> Result<HashMap<WorkflowId, Slug>, StoreError> {
        Ok(HashMap::new())
    }

    async fn save(&mut self, _: TenantId, changes: &TenantChanges) -> Result<(), StoreError> {
        self.calls += changes.calls.len();
        let order = self.store.orders.lock().expect("no test panics with the lock").pop_front();
        match order {
            None => Ok(()),
            Some(Save::Conflicts) => Err(StoreError::Conflict("in the way".into())),
            Some(Save::IsUnavailable) => Err(StoreError::Unavailable("away".into())),
            Some(Save::IsBroken) => Err(StoreError::Broken("choked".into())),
            Some(Save::Panics) => panic!("as ordered"),
        }
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.store.commits.lock().expect("no test panics with the lock").push(self.calls);
        Ok(())
    }
}

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const LIMITS: IngestLimits = IngestLimits {
    queue_records_max: 10,
    batch_records_max: 10,
    batch_rows_max: 200_000,
    batch_wait: Duration::ZERO,
    event_age_max: Duration::ZERO,
};

fn record(id: u128, started_at: Timestamp) -> Incoming {
    let fields = CallFields { ..CallFields::bare(CallId(Uuid::from_u128(id)), CallStatus::Active, started_at) };
    Incoming::Record(Arc::new(Call::accept(fields, started_at).expect("the record is sound")))
}

fn records(ids: std::ops::Range<u128>) -> Vec<Incoming> {
    ids.map(|id| record(id, Timestamp::from_micros(0))).collect()
}

async fn submit(queue: &IngestQueue, ids: std::ops::Range<u128>) -> Result<Vec<TransitionKind>, SubmitError> {
    queue.submit(TENANT, records(ids)).await
}

#[tokio::test]
async fn submissions_that_wait_share_a_transaction_and_get_their_own_answers() {
    let store = ObedientStore::default();
    let (queue, writer) = ingestion(Arc::new(store.clone()), LIMITS);
    // The second submission names a call of the first, so it replaces what that one has created.
    let (first, second, ()) = tokio::join!(submit(&queue, 0..2), submit(&queue, 1..4), async {
        tokio::task::yield_now().await;
        queue.close();
        writer.run().await;
    });
    assert_eq!(first.expect("it is written"), [TransitionKind::Created; 2]);
    assert_eq!(
        second.expect("it is written"),
        [TransitionKind::Replaced, TransitionKind::Created, TransitionKind::Created]
    );
    assert_eq!(store.commits(), [4]);
}

#[tokio::test]
async fn a_large_submission_is_written_in_parts_and_another_tenant_is_in_the_first_transaction() {
    let store = ObedientStore::default();
    let limits = IngestLimits { queue_records_max: 100_000, batch_records_max: 50_000, ..LIMITS };
    let (queue, writer) = ingestion(Arc::new(store.clone()), limits);
    let other = {
        let (queue, store) = (queue.clone(), store.clone());
        async move {
            tokio::task::yield_now().await;
            queue.submit(TenantId(Uuid::from_u128(2)), records(1..2)).await.expect("it is written");
            store.commits().len()
        }
    };
    let (large, commits_before_other, ()) = tokio::join!(submit(&queue, 0..20_000), other, async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        queue.close();
        writer.run().await;
    });
    assert_eq!(large.expect("it is written"), vec![TransitionKind::Created; 20_000]);
    let commits = store.commits();
    assert_eq!(commits.iter().sum::<usize>(), 20_001);
    assert!(commits_before_other < commits.len(), "{commits_before_other} of {commits:?}");
    // What can be written in a fiftieth of a second, as long as nothing is known of the store.
    assert!((90..=200).contains(&commits[0]), "{commits:?}");
}

#[tokio::test]
async fn a_tenant_that_writes_alone_gets_long_transactions() {
    let store = ObedientStore::default();
    let limits = IngestLimits { queue_records_max: 100_000, batch_records_max: 20_000, ..LIMITS };
    let (queue, writer) = ingestion(Arc::new(store.clone()), limits);
    let (written, ()) = tokio::join!(submit(&queue, 0..50_000), async {
        tokio::task::yield_now().await;
        queue.close();
        writer.run().await;
    });
    assert_eq!(written.expect("it is written").len(), 50_000);
    // A second and a half of what is assumed at first, then up to the bound on records.
    let commits = store.commits();
    assert_eq!(commits.iter().sum::<usize>(), 50_000);
    assert!((14_000..15_100).contains(&commits[0]) && (19_900..=20_000).contains(&commits[1]), "{commits:?}");
}

#[tokio::test]
async fn what_does_not_fit_into_a_transaction_waits_for_the_next_and_no_longer() {
    let store = ObedientStore::default();
    let limits = IngestLimits { batch_records_max: 5, ..LIMITS };
    let (queue, writer) = ingestion(Arc::new(store.clone()), limits);
    let other = TenantId(Uuid::from_u128(2));
    let third = TenantId(Uuid::from_u128(3));
    let (first, large, last, ()) = tokio::join!(
        submit(&queue, 0..2),
        queue.submit(other, records(0..4)),
        queue.submit(third, records(0..3)),
        async {
            tokio::task::yield_now().await;
            queue.close();
            writer.run().await;
        }
    );
    assert!(first.is_ok() && large.is_ok() && last.is_ok());
    assert_eq!(store.commits(), [5, 4], "the third tenant's records fit beside the first's");
}

#[tokio::test]
async fn a_transaction_takes_fewer_records_whose_sums_lie_apart() {
    let first_commit = async |minutes_apart: i64| {
        let store = ObedientStore::default();
        let limits = IngestLimits { queue_records_max: 100_000, batch_records_max: 20_000, ..LIMITS };
        let (queue, writer) = ingestion(Arc::new(store.clone()), limits);
        let starts = (0..20_000).map(|index| Timestamp::from_micros(i64::from(index) * minutes_apart * 60_000_000));
        let records = starts.enumerate().map(|(id, start)| record(id as u128, start)).collect();
        let (written, ()) = tokio::join!(queue.submit(TENANT, records), async {
            tokio::task::yield_now().await;
            queue.close();
            writer.run().await;
        });
        assert_eq!(written.expect("it is written").len(), 20_000);
        store.commits()[0]
    };
    let (together, apart) = (first_commit(0).await, first_commit(1).await);
    assert!(apart * 2 < together, "{together} records in one minute, {apart} in as many minutes");
}

#[tokio::test]
async fn a_submission_that_the_store_chokes_on_does_not_cost_the_others() {
    // The batch, then the first of its two submissions alone.
    let store = ObedientStore::with_orders([Save::IsBroken, Save::IsBroken]);
    let (queue, writer) = ingestion(Arc::new(store.clone()), LIMITS);
    let (first, second, ()) = tokio::join!(submit(&queue, 0..2), submit(&queue, 2..5), async {
        tokio::task::yield_now().await;
        queue.close();
        writer.run().await;
    });
    assert!(matches!(first, Err(SubmitError::Store(_))));
    assert!(second.is_ok());
    assert_eq!(store.commits(), [3]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_an_empty_submission_needs_no_room() {
    let (queue, writer) = ingestion(Arc::new(ObedientStore::default()), LIMITS);
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move { submit(&queue, 0..8).await })
    };
    tokio::task::yield_now().await;
    assert!(matches!(submit(&queue, 8..11).await, Err(SubmitError::Overloaded)));
    assert!(submit(&queue, 0..0).await.expect("nothing is to be written").is_empty());
    let writer = tokio::spawn(writer.run());
    assert!(waiting.await.expect("it does not panic").is_ok());
    assert!(submit(&queue, 8..11).await.is_ok(), "there is room again");
    queue.close();
    assert!(matches!(submit(&queue, 0..1).await, Err(SubmitError::Closed)));
    writer.await.expect("the writer ends");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again_within_a_bound() {
    let store = ObedientStore::with_orders([Save::Conflicts; 4]);
    let (queue, writer) = ingestion(Arc::new(store.clone()), LIMITS);
    tokio::spawn(writer.run());
    assert!(submit(&queue, 0..3).await.is_ok());
    assert_eq!(store.commits(), [3]);

    let store = ObedientStore::with_orders([Save::Conflicts; 5]);
    let (queue, writer) = ingestion(Arc::new(store.clone()), LIMITS);
    tokio::spawn(writer.run());
    assert!(matches!(submit(&queue, 0..3).await, Err(SubmitError::Store(_))));
    assert_eq!(store.commits(), [] as [usize; 0]);
}

#[tokio::test]
async fn the_writer_outlives_a_store_that_fails_or_panics() {
    let store = ObedientStore::with_orders([Save::IsUnavailable, Save::Panics]);
    let (queue, writer) = ingestion(Arc::new(store.clone()), LIMITS);
    tokio::spawn(writer.run());
    assert!(matches!(submit(&queue, 0..3).await, Err(SubmitError::Store(_))));
    assert!(matches!(submit(&queue, 0..3).await, Err(SubmitError::Panicked)));
    assert!(submit(&queue, 0..3).await.is_ok());
    assert_eq!(store.commits(), [3]);
}

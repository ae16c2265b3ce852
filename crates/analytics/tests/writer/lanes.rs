//! The lanes of the writer: what one tenant's batches mean to those of another.

use crate::{TENANT, records};
use async_trait::async_trait;
use callscope_analytics::ingestion::{IngestLimits, IngestQueue, SubmitError, ingestion};
use callscope_analytics::ports::{CallStore, CallTransaction, LockedCalls, StoreError, TenantChanges};
use callscope_domain::{CallId, Group, GroupId, Slug, TenantId, Timestamp, TransitionKind, WorkflowId};
use futures_util::FutureExt;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

const OTHER: TenantId = TenantId(Uuid::from_u128(2));
const LIMITS: IngestLimits = IngestLimits {
    queue_records_max: 100,
    batch_records_max: 100,
    batch_rows_max: 200_000,
    batch_wait: Duration::ZERO,
    event_age_max: Duration::from_hours(1),
};

/// A store with one transaction a tenant, in which tenants can be locked.
#[derive(Clone)]
struct LaneStore {
    writers_max: usize,
    seen: Arc<watch::Sender<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Tenants that another server has locked.
    locked: BTreeSet<TenantId>,
    /// Whose transactions are open.
    open: Vec<TenantId>,
    /// Whose transactions were opened, in order.
    opened: Vec<TenantId>,
    most_open: usize,
    /// Whether a tenant ever had two open transactions.
    overlapped: bool,
    /// Whose calls were committed, in order.
    commits: Vec<(TenantId, Vec<u128>)>,
}

impl LaneStore {
    fn new(writers_max: usize) -> Self {
        Self { writers_max, seen: Arc::new(watch::Sender::default()) }
    }

    fn lock(&self, tenant: TenantId) {
        self.seen.send_modify(|seen| seen.locked.extend([tenant]));
    }

    fn unlock_all(&self) {
        self.seen.send_modify(|seen| seen.locked.clear());
    }

    /// Waits until transactions of so many tenants are open.
    async fn opened(&self, count: usize) {
        self.seen.subscribe().wait_for(|seen| seen.open.len() == count).await.expect("the store lives");
    }

    fn commits(&self) -> Vec<(TenantId, Vec<u128>)> {
        self.seen.borrow().commits.clone()
    }
}

#[async_trait]
impl CallStore for LaneStore {
    async fn begin(&self) -> Result<Box<dyn CallTransaction>, StoreError> {
        Ok(Box::new(LaneTransaction { store: self.clone(), tenant: None, saved: Vec::new() }))
    }

    fn one_transaction_for_all_tenants(&self) -> bool {
        false
    }

    fn writers_max(&self) -> usize {
        self.writers_max
    }

    async fn list_overdue_calls(&self, _: TenantId, _: Timestamp, _: u32) -> Result<Vec<CallId>, StoreError> {
        Ok(Vec::new())
    }
}

struct LaneTransaction {
    store: LaneStore,
    tenant: Option<TenantId>,
    saved: Vec<u128>,
}

#[async_trait]
impl CallTransaction for LaneTransaction {
    async fn lock_calls(&mut self, tenant: TenantId, _: &[CallId]) -> Result<LockedCalls, StoreError> {
        assert_eq!(self.tenant.replace(tenant), None, "a transaction is of one tenant");
        self.store.seen.send_modify(|seen| {
            seen.overlapped |= seen.open.contains(&tenant);
            seen.open.push(tenant);
            seen.opened.push(tenant);
            seen.most_open = seen.most_open.max(seen.open.len());
        });
        let mut seen = self.store.seen.subscribe();
        seen.wait_for(|seen| !seen.locked.contains(&tenant)).await.expect("the store lives");
        Ok(LockedCalls::default())
    }

    async fn load_groups(&mut self, _: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError> {
        Ok(Vec::new())
    }

    async fn load_slugs(&mut self, _: TenantId, _: &[WorkflowId]) -> Result<HashMap<WorkflowId, Slug>, StoreError> {
        Ok(HashMap::new())
    }

    async fn save(&mut self, _: TenantId, changes: &TenantChanges) -> Result<(), StoreError> {
        self.saved.extend(changes.calls.iter().map(|call| call.facts().id.0.as_u128()));
        // Whoever could get in between does.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let commit = (self.tenant.expect("something was locked"), std::mem::take(&mut self.saved));
        self.store.seen.send_modify(|seen| seen.commits.push(commit));
        Ok(())
    }
}

impl Drop for LaneTransaction {
    fn drop(&mut self) {
        self.store.seen.send_modify(|seen| seen.open.retain(|open| Some(*open) != self.tenant));
    }
}

type Submitted = JoinHandle<Result<Vec<TransitionKind>, SubmitError>>;

/// Submits, and returns when the queue has it.
async fn submit(queue: &IngestQueue, tenant: TenantId, ids: Range<u128>) -> Submitted {
    let queue = queue.clone();
    let submitted = tokio::spawn(async move { queue.submit(tenant, records(ids)).await });
    settle().await;
    submitted
}

/// Lets everything happen that can happen by itself.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn start(store: &LaneStore, limits: IngestLimits) -> IngestQueue {
    let (queue, writer) = ingestion(Arc::new(store.clone()), limits);
    tokio::spawn(writer.run());
    queue
}

async fn assert_written(submitted: Submitted) {
    submitted.await.expect("it does not panic").expect("it is written");
}

#[tokio::test]
async fn a_tenant_that_is_stuck_holds_up_no_other() {
    let store = LaneStore::new(2);
    let queue = start(&store, LIMITS);
    store.lock(TENANT);
    let stuck = submit(&queue, TENANT, 0..2).await;
    for number in 10..20 {
        assert_written(submit(&queue, OTHER, number..number + 1).await).await;
    }
    assert!(!stuck.is_finished());
    store.unlock_all();
    assert_written(stuck).await;
}

#[tokio::test]
async fn a_tenants_batches_never_overlap_and_keep_their_order() {
    let store = LaneStore::new(8);
    let queue = start(&store, IngestLimits { batch_records_max: 3, ..LIMITS });
    let mut submitted = Vec::new();
    for number in 0..40 {
        submitted.push(submit(&queue, TENANT, number..number + 1).await);
        // Some meet an idle lane, others one that writes.
        if number % 5 == 0 {
            store.lock(TENANT);
        } else if number % 5 == 4 {
            store.unlock_all();
        }
    }
    for submitted in submitted {
        assert_written(submitted).await;
    }
    let commits = store.commits();
    let written: Vec<u128> = commits.iter().flat_map(|(_, ids)| ids.clone()).collect();
    assert_eq!(written, (0..40).collect::<Vec<_>>());
    assert!(commits.iter().any(|(_, ids)| ids.len() == 3) && commits.iter().all(|(_, ids)| ids.len() <= 3));
    assert!(!store.seen.borrow().overlapped);
}

#[tokio::test]
async fn no_more_batches_are_written_side_by_side_than_the_store_can_carry() {
    let store = LaneStore::new(3);
    let queue = start(&store, LIMITS);
    let tenants: Vec<TenantId> = (1..=10).map(|number| TenantId(Uuid::from_u128(number))).collect();
    let mut submitted = Vec::new();
    for &tenant in &tenants {
        store.lock(tenant);
        submitted.push(submit(&queue, tenant, 0..1).await);
    }
    store.opened(3).await;
    settle().await;
    assert_eq!(store.seen.borrow().open, tenants[..3]);
    store.unlock_all();
    for submitted in submitted {
        assert_written(submitted).await;
    }
    assert_eq!(store.seen.borrow().most_open, 3);
    // The others had their turns in the order in which they came.
    assert_eq!(store.seen.borrow().opened, tenants);
}

#[tokio::test]
async fn what_comes_while_a_batch_is_written_is_the_next_one() {
    let store = LaneStore::new(2);
    let queue = start(&store, IngestLimits { batch_records_max: 4, ..LIMITS });
    store.lock(TENANT);
    let mut submitted = vec![submit(&queue, TENANT, 0..1).await];
    store.opened(1).await;
    for ids in [1..2, 2..4, 4..6, 6..7] {
        submitted.push(submit(&queue, TENANT, ids).await);
    }
    store.unlock_all();
    for submitted in submitted {
        assert_written(submitted).await;
    }
    let batches: Vec<Vec<u128>> = store.commits().into_iter().map(|(_, ids)| ids).collect();
    // No more than four records together.
    assert_eq!(batches, [vec![0], vec![1, 2, 3], vec![4, 5, 6]]);
}

#[tokio::test]
async fn lanes_take_turns() {
    let store = LaneStore::new(1);
    let queue = start(&store, LIMITS);
    store.lock(TENANT);
    let mut submitted = vec![submit(&queue, TENANT, 0..1).await];
    submitted.push(submit(&queue, TENANT, 1..2).await);
    submitted.push(submit(&queue, OTHER, 2..3).await);
    submitted.push(submit(&queue, TENANT, 3..4).await);
    store.unlock_all();
    for submitted in submitted {
        assert_written(submitted).await;
    }
    assert_eq!(store.commits(), [(TENANT, vec![0]), (OTHER, vec![2]), (TENANT, vec![1, 3])]);
}

#[tokio::test]
async fn a_tenant_takes_at_most_half_of_the_queue() {
    let store = LaneStore::new(2);
    let queue = start(&store, IngestLimits { queue_records_max: 10, ..LIMITS });
    store.lock(TENANT);
    let stuck = [submit(&queue, TENANT, 0..3).await, submit(&queue, TENANT, 3..5).await];
    assert!(matches!(queue.submit(TENANT, records(5..6)).now_or_never(), Some(Err(SubmitError::Overloaded))));
    queue.submit(OTHER, records(0..5)).await.expect("there is room for others");
    store.unlock_all();
    for stuck in stuck {
        assert_written(stuck).await;
    }
    queue.submit(TENANT, records(5..8)).await.expect("there is room again");
    // Or none could ever be written.
    queue.submit(TENANT, records(0..20)).await.expect("alone, even one larger than the queue is taken");
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_company_but_not_when_it_is_full_and_not_at_the_end() {
    let store = LaneStore::new(2);
    let limits = IngestLimits { batch_records_max: 3, batch_wait: Duration::from_mins(1), ..LIMITS };
    let (queue, writer) = ingestion(Arc::new(store.clone()), limits);
    let writer = tokio::spawn(writer.run());
    let first = submit(&queue, TENANT, 0..1).await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    let second = submit(&queue, TENANT, 1..2).await;
    assert_eq!(store.commits(), []);
    assert_written(first).await;
    assert_written(second).await;
    assert_eq!(store.commits(), [(TENANT, vec![0, 1])]);
    // The clock stands still unless everyone waits for it.
    let now = tokio::time::Instant::now();
    for full in [submit(&queue, TENANT, 2..4).await, submit(&queue, TENANT, 4..5).await] {
        assert_written(full).await;
    }
    assert_eq!(store.commits()[1..], [(TENANT, vec![2, 3, 4])]);
    let last = [submit(&queue, TENANT, 5..6).await, submit(&queue, OTHER, 6..7).await];
    queue.close();
    for last in last {
        assert_written(last).await;
    }
    let mut commits = store.commits()[2..].to_vec();
    commits.sort();
    assert_eq!(commits, [(TENANT, vec![5]), (OTHER, vec![6])]);
    assert_eq!(tokio::time::Instant::now(), now);
    writer.await.expect("the writer ends");
}

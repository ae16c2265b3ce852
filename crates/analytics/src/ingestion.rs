//! The way of records into the database: a bounded queue, and a writer that commits what is there in one transaction
//! and only then answers everyone who waits.

use crate::deltas::plan_changes;
use crate::ports::{CallStore, CallTransaction, StoreError, source};
use callscope_domain::{CallId, Incoming, TenantId, TransitionKind};
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::time::Instant;

/// How often a transaction is tried that another one got in the way of.
const ATTEMPTS_MAX: u32 = 5;
/// The pause before the second attempt; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The bounds of the queue and of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Most records that wait or are being written.
    pub queue_records_max: usize,
    /// Records from which on a batch takes no further submission.
    pub batch_records_max: usize,
    /// How long a batch waits for company after its first submission.
    pub batch_wait: Duration,
}

/// Why a submission was not written, or is not known to have been: when the database goes away during a commit, no one
/// can tell. Sending it again is always right.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full; later is better.
    #[error("too many records are waiting to be written")]
    Overloaded,
    /// The server is going down.
    #[error("the server is shutting down")]
    Closed,
    /// Writing it panicked, which is a bug; its transaction was undone.
    #[error("the records could not be written")]
    Panicked,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

type Answer = Result<Vec<TransitionKind>, SubmitError>;

/// Records of one tenant that are written together, and whoever waits for them.
struct Submission {
    tenant: TenantId,
    arrivals: Vec<Incoming>,
    answer: oneshot::Sender<Answer>,
    /// Room in the queue, given back when the submission is answered.
    room: OwnedSemaphorePermit,
}

/// Where submissions go. Cheap to clone.
#[derive(Clone)]
pub struct IngestQueue {
    sender: mpsc::UnboundedSender<Submission>,
    closing: Arc<Notify>,
    /// Counts records, which bounds the channel: a submission holds at least one permit.
    room: Arc<Semaphore>,
    records_max: usize,
}

impl IngestQueue {
    /// Writes records of a tenant, in order, and says what became of each. When this returns, they are durable.
    pub async fn submit(&self, tenant: TenantId, arrivals: Vec<Incoming>) -> Answer {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        // A submission larger than the whole queue may pass when nothing else waits.
        let records = u32::try_from(arrivals.len().min(self.records_max)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(records).map_err(|error| match error {
            TryAcquireError::NoPermits => SubmitError::Overloaded,
            TryAcquireError::Closed => SubmitError::Closed,
        })?;
        let (answer, written) = oneshot::channel();
        self.sender.send(Submission { tenant, arrivals, answer, room }).map_err(|_| SubmitError::Closed)?;
        written.await.map_err(|_| SubmitError::Panicked)?
    }

    /// Takes no more; the writer finishes what waits, and ends.
    pub fn close(&self) {
        self.room.close();
        self.closing.notify_one();
    }
}

/// The one task that writes.
pub struct Writer {
    store: Arc<dyn CallStore>,
    receiver: mpsc::UnboundedReceiver<Submission>,
    closing: Arc<Notify>,
    limits: IngestLimits,
}

/// A queue, and the writer at its end; nothing is written until [`Writer::run`] is polled.
#[must_use]
pub fn ingestion(store: Arc<dyn CallStore>, limits: IngestLimits) -> (IngestQueue, Writer) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let records_max = limits.queue_records_max.min(Semaphore::MAX_PERMITS);
    let closing = Arc::new(Notify::new());
    let room = Arc::new(Semaphore::new(records_max));
    let queue = IngestQueue { sender, closing: Arc::clone(&closing), room, records_max };
    (queue, Writer { store, receiver, closing, limits })
}

impl Writer {
    /// Writes batch after batch, until the queue is closed, or every clone of it dropped, and nothing waits.
    pub async fn run(mut self) {
        while let Some(first) = self.next().await {
            let batch = self.fill(first).await;
            // Whoever waits for a batch that panics hears of it, since the answer's sender is dropped; the next
            // batch is another one's.
            if AssertUnwindSafe(self.write(batch)).catch_unwind().await.is_err() {
                tracing::error!("writing a batch of records panicked");
            }
        }
    }

    async fn next(&mut self) -> Option<Submission> {
        tokio::select! {
            submission = self.receiver.recv() => submission,
            () = self.closing.notified() => {
                self.receiver.close();
                self.receiver.recv().await
            }
        }
    }

    /// Takes what is there, and what comes within the wait, up to the bound.
    async fn fill(&mut self, first: Submission) -> Vec<Submission> {
        let deadline = Instant::now() + self.limits.batch_wait;
        let mut records = first.arrivals.len();
        let mut batch = vec![first];
        while records < self.limits.batch_records_max {
            let next = match self.receiver.try_recv() {
                Ok(next) => Some(next),
                Err(_) => tokio::time::timeout_at(deadline, self.receiver.recv()).await.unwrap_or(None),
            };
            let Some(next) = next else { break };
            records += next.arrivals.len();
            batch.push(next);
        }
        batch
    }

    async fn write(&self, batch: Vec<Submission>) {
        let store = &*self.store;
        if store.one_transaction_for_all_tenants() {
            return write_group(store, batch).await;
        }
        let mut by_tenant: BTreeMap<TenantId, Vec<Submission>> = BTreeMap::new();
        for submission in batch {
            by_tenant.entry(submission.tenant).or_default().push(submission);
        }
        join_all(by_tenant.into_values().map(|group| write_group(store, group))).await;
    }
}

/// Writes submissions in one transaction, repeats it when another one got in its way, and answers everyone. If the
/// database chokes on it, each is tried alone: only those it really chokes on fail.
async fn write_group(store: &dyn CallStore, group: Vec<Submission>) {
    match write_with_retries(store, &group).await {
        Ok(mut kinds) => {
            for Submission { tenant, arrivals, answer, room } in group {
                let own = kinds.get_mut(&tenant).map(|kinds| kinds.drain(..arrivals.len()).collect());
                drop(room);
                // Whoever went away before the answer does not need it.
                let _ = answer.send(Ok(own.unwrap_or_default()));
            }
        }
        Err(StoreError::Broken(_) | StoreError::Duplicate) if group.len() > 1 => {
            for alone in group {
                Box::pin(write_group(store, vec![alone])).await;
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            tracing::error!(error = source(&error), "could not write a batch of records");
            for Submission { answer, room, .. } in group {
                drop(room);
                let _ = answer.send(Err(SubmitError::Store(Arc::clone(&error))));
            }
        }
    }
}

/// What became of the arrivals of each tenant, in order.
type Kinds = BTreeMap<TenantId, VecDeque<TransitionKind>>;

async fn write_with_retries(store: &dyn CallStore, group: &[Submission]) -> Result<Kinds, StoreError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS_MAX {
        match write_once(store, group).await {
            Err(StoreError::Conflict(_)) => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
        pause *= 2;
    }
    write_once(store, group).await
}

async fn write_once(store: &dyn CallStore, group: &[Submission]) -> Result<Kinds, StoreError> {
    let mut arrivals: BTreeMap<TenantId, Vec<Incoming>> = BTreeMap::new();
    for submission in group {
        arrivals.entry(submission.tenant).or_default().extend_from_slice(&submission.arrivals);
    }
    let mut transaction = store.begin().await?;
    let mut kinds = Kinds::new();
    for (tenant, arrivals) in arrivals {
        kinds.insert(tenant, write_tenant(&mut *transaction, tenant, arrivals).await?.into());
    }
    transaction.commit().await?;
    Ok(kinds)
}

async fn write_tenant(
    transaction: &mut dyn CallTransaction,
    tenant: TenantId,
    arrivals: Vec<Incoming>,
) -> Result<Vec<TransitionKind>, StoreError> {
    let ids: BTreeSet<CallId> = arrivals.iter().map(Incoming::call_id).collect();
    let ids: Vec<CallId> = ids.into_iter().collect();
    let stored = transaction.lock_calls(tenant, &ids).await?;
    let (changes, kinds) = plan_changes(stored, arrivals);
    transaction.save(tenant, &changes).await?;
    Ok(kinds)
}

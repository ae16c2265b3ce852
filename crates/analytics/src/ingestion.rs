//! The way of records into the database: a bounded queue, and at its end a writer that commits what is there in few
//! transactions and only then answers everyone who waits.

use crate::ports::{CallStore, StoreError};
pub use crate::writer::Writer;
use callscope_domain::{Incoming, TenantId, TransitionKind};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

/// The bounds of the queue and of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Most records that wait or are being written; of one tenant at most half of them.
    pub queue_records_max: usize,
    /// Records from which on a batch takes no further submission.
    pub batch_records_max: usize,
    /// How long a batch waits for company after its first submission, unless another batch of its lane is being
    /// written: then it waits for that.
    pub batch_wait: Duration,
    /// How long ago something may have happened to a call and still be an event, and not history.
    pub event_age_max: Duration,
}

/// Why a submission was not written, or is not known to have been: when the database goes away during a commit, no one
/// can tell. Sending it again is always right.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full, or the tenant's share of it; later is better.
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

pub(crate) type Answer = Result<Vec<TransitionKind>, SubmitError>;

/// Records of one tenant that are written together, and whoever waits for them.
pub(crate) struct Submission {
    pub tenant: TenantId,
    pub arrivals: Vec<Incoming>,
    pub answer: oneshot::Sender<Answer>,
    /// Room in the queue, given back when the submission is answered.
    pub room: Room,
}

/// Where submissions go. Cheap to clone.
#[derive(Clone)]
pub struct IngestQueue {
    sender: mpsc::UnboundedSender<Submission>,
    closing: Arc<Notify>,
    /// Counts records, which bounds the channel: a submission holds at least one permit.
    room: Arc<Semaphore>,
    shares: Arc<Shares>,
    records_max: usize,
}

impl IngestQueue {
    /// Writes records of a tenant, in order, and says what became of each. When this returns, they are durable.
    pub async fn submit(&self, tenant: TenantId, arrivals: Vec<Incoming>) -> Answer {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        let room = self.take_room(tenant, arrivals.len())?;
        let (answer, written) = oneshot::channel();
        self.sender.send(Submission { tenant, arrivals, answer, room }).map_err(|_| SubmitError::Closed)?;
        written.await.map_err(|_| SubmitError::Panicked)?
    }

    /// Records that wait or are being written.
    #[must_use]
    pub fn records_waiting(&self) -> usize {
        self.records_max.saturating_sub(self.room.available_permits())
    }

    /// Most records that may.
    #[must_use]
    pub const fn records_max(&self) -> usize {
        self.records_max
    }

    /// Takes no more; the writer finishes what waits, and ends.
    pub fn close(&self) {
        self.room.close();
        self.closing.notify_one();
    }

    fn take_room(&self, tenant: TenantId, records: usize) -> Result<Room, SubmitError> {
        // A submission larger than the whole queue may pass when nothing else waits.
        let records = records.min(self.records_max);
        // A tenant that cannot be written leaves room for the others. Likewise, its one submission may be larger.
        let share = Share::take(&self.shares, tenant, records, self.records_max / 2).ok_or(SubmitError::Overloaded)?;
        let permits = u32::try_from(records).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|error| match error {
            TryAcquireError::NoPermits => SubmitError::Overloaded,
            TryAcquireError::Closed => SubmitError::Closed,
        })?;
        Ok(Room { _permit: permit, _share: share })
    }
}

/// Room in the queue for the records of one submission, until this is dropped.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// The records of each tenant that has some in the queue.
type Shares = Mutex<HashMap<TenantId, usize>>;

/// Some of the records of a tenant, counted until this is dropped.
struct Share {
    shares: Arc<Shares>,
    tenant: TenantId,
    records: usize,
}

impl Share {
    /// Counts records, unless the tenant has some already and would have more than `max`.
    fn take(shares: &Arc<Shares>, tenant: TenantId, records: usize, max: usize) -> Option<Self> {
        match shares.lock().unwrap_or_else(PoisonError::into_inner).entry(tenant) {
            Entry::Occupied(held) if held.get() + records > max => return None,
            Entry::Occupied(mut held) => *held.get_mut() += records,
            Entry::Vacant(none) => drop(none.insert(records)),
        }
        Some(Self { shares: Arc::clone(shares), tenant, records })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut held) = shares.entry(self.tenant) {
            *held.get_mut() -= self.records;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// A queue, and the writer at its end; nothing is written until [`Writer::run`] is polled.
#[must_use]
pub fn ingestion(store: Arc<dyn CallStore>, limits: IngestLimits) -> (IngestQueue, Writer) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let records_max = limits.queue_records_max.min(Semaphore::MAX_PERMITS);
    let closing = Arc::new(Notify::new());
    let room = Arc::new(Semaphore::new(records_max));
    let queue = IngestQueue { sender, closing: Arc::clone(&closing), room, shares: Arc::default(), records_max };
    (queue, Writer::new(store, receiver, closing, limits))
}

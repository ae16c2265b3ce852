//! The way of records into the database: a bounded queue, and at its end a writer that commits what waits in few
//! transactions and only then answers the requests.

use crate::ports::{CallStore, StoreError};
use crate::shares::{Share, Shares};
pub use crate::writer::Writer;
use callscope_domain::{Incoming, TenantId, TransitionKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// The bounds of the queue and of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Most records that wait or are being written; of one tenant at most half of them.
    pub queue_records_max: usize,
    /// Records from which on a transaction takes no further ones.
    pub batch_records_max: usize,
    /// Rows, as [`rows`] counts them, from which on a transaction takes no further records.
    pub batch_rows_max: usize,
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

/// Rows of a part of a submission, at least one record: small enough that few fill a small transaction.
const PART_ROWS_MAX: usize = 500;

/// Latency samples, and bytes of errors, that cost as much as a row.
const SAMPLES_PER_ROW: usize = 100;
const ERROR_BYTES_PER_ROW: usize = 1024;

/// What a record costs the writer, in rows: itself, its errors with their texts, and its providers with their samples.
#[must_use]
pub fn rows(incoming: &Incoming) -> usize {
    let Incoming::Record(call) = incoming else { return 1 };
    let providers = call.facts().providers.iter().map(|usage| 1 + usage.latencies.len() / SAMPLES_PER_ROW);
    let errors = call.errors().iter().map(|error| {
        let bytes = error.message.as_str().len() + error.details.as_ref().map_or(0, |details| details.len());
        1 + bytes / ERROR_BYTES_PER_ROW
    });
    1 + providers.sum::<usize>() + errors.sum::<usize>()
}

/// A part of a submission: records of one tenant that are written together, and the request that waits for them.
pub(crate) struct Submission {
    pub tenant: TenantId,
    pub arrivals: Vec<Incoming>,
    pub rows: usize,
    pub answer: oneshot::Sender<Answer>,
    /// The place of the whole submission in the queue, given back when its last part is answered.
    pub room: Arc<Share>,
}

/// Where submissions go. Cheap to clone.
#[derive(Clone)]
pub struct IngestQueue {
    sender: mpsc::UnboundedSender<Submission>,
    closing: Arc<watch::Sender<bool>>,
    /// Counts records, which bounds the channel: a submission has at least one.
    room: Arc<Shares>,
}

impl IngestQueue {
    /// Writes records of a tenant, in order, and says what became of each. When this returns, they are durable. Each
    /// record is written as a whole, but not all of them in one transaction: after an error, some may have been written.
    pub async fn submit(&self, tenant: TenantId, arrivals: Vec<Incoming>) -> Answer {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        if *self.closing.borrow() {
            return Err(SubmitError::Closed);
        }
        let room = Arc::new(self.take_room(tenant, arrivals.len())?);
        let mut kinds = Vec::with_capacity(arrivals.len());
        let mut waiting = Vec::new();
        for (arrivals, rows) in parts(arrivals) {
            let (answer, written) = oneshot::channel();
            let part = Submission { tenant, arrivals, rows, answer, room: Arc::clone(&room) };
            self.sender.send(part).map_err(|_| SubmitError::Closed)?;
            waiting.push(written);
        }
        for written in waiting {
            kinds.append(&mut written.await.map_err(|_| SubmitError::Panicked)??);
        }
        Ok(kinds)
    }

    /// Records that wait or are being written.
    #[must_use]
    pub fn records_waiting(&self) -> usize {
        self.room.held()
    }

    /// Most records that may.
    #[must_use]
    pub fn records_max(&self) -> usize {
        self.room.max()
    }

    /// Takes no more; the writer finishes what waits, and ends.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    fn take_room(&self, tenant: TenantId, records: usize) -> Result<Share, SubmitError> {
        // A submission larger than the whole queue may pass when nothing else waits.
        let records = records.min(self.room.max());
        self.room.take(tenant, records).map_err(|_| SubmitError::Overloaded)
    }
}

/// The same records in parts, each with its number of rows.
fn parts(arrivals: Vec<Incoming>) -> Vec<(Vec<Incoming>, usize)> {
    let mut parts = Vec::new();
    let (mut part, mut part_rows) = (Vec::new(), 0);
    for incoming in arrivals {
        let rows = rows(&incoming);
        if part_rows + rows > PART_ROWS_MAX && !part.is_empty() {
            parts.push((std::mem::take(&mut part), std::mem::take(&mut part_rows)));
        }
        part.push(incoming);
        part_rows += rows;
    }
    parts.push((part, part_rows));
    parts
}

/// A queue, and the writer at its end; nothing is written until [`Writer::run`] is polled.
#[must_use]
pub fn ingestion(store: Arc<dyn CallStore>, limits: IngestLimits) -> (IngestQueue, Writer) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (closing, is_closing) = watch::channel(false);
    // A tenant that cannot be written leaves room for the others.
    let room = Shares::new(limits.queue_records_max, limits.queue_records_max / 2);
    let queue = IngestQueue { sender, closing: Arc::new(closing), room };
    (queue, Writer::new(store, receiver, is_closing, limits))
}

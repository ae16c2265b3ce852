//! The bounded queue of records that wait to be written: submissions, what they cost, and the parts that they are cut into.

use crate::ports::StoreError;
use crate::shares::{Share, Shares};
use callscope_domain::{Incoming, Resolution, TenantId, TransitionKind};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// The bounds of the queue and of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Most records that wait or are being written; of one tenant at most half of them.
    pub queue_records_max: usize,
    pub batch_records_max: usize,
    /// Most rows of a transaction, as [`rows`] counts them, unless one record has more.
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
    #[error("the server is shutting down")]
    Closed,
    /// Writing it panicked, which is a bug; its transaction was undone.
    #[error("the records could not be written")]
    Panicked,
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

pub(crate) type Answer = Result<Vec<TransitionKind>, SubmitError>;

/// Changes that a part of a submission makes, unless it is one record: few of these fill a short transaction.
const PART_CHANGES_MAX: usize = 100;
/// Changes for each group of a minute that a record is counted in: its sums of the minute and of the quarter of an hour;
/// those of the hour and the day it shares with others.
const CHANGES_PER_GROUP: usize = 2;

/// Latency samples, and bytes of errors, that cost as much as a row.
const SAMPLES_PER_ROW: usize = 100;
const ERROR_BYTES_PER_ROW: usize = 1024;

/// What a record costs the writer, in rows: itself, its errors with their texts, and its providers with their samples.
#[must_use]
pub fn rows(incoming: &Incoming) -> usize {
    let Incoming::Record(call) = incoming else { return 1 };
    let providers = call.facts().providers.iter().map(|usage| 1 + usage.latencies.len() / SAMPLES_PER_ROW);
    let errors = call.errors().iter().map(|error| 1 + error.text_bytes() / ERROR_BYTES_PER_ROW);
    1 + providers.sum::<usize>() + errors.sum::<usize>()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub records: usize,
    /// Counted by [`rows`].
    pub rows: usize,
    /// Rows of tables that are written, sums included: what the time of a transaction depends on.
    pub changes: usize,
}

impl Load {
    /// Whether it is at one of the bounds.
    pub fn has_reached(self, bound: Self) -> bool {
        self.records >= bound.records || self.rows >= bound.rows || self.changes >= bound.changes
    }

    /// Whether it is past none of the bounds.
    pub fn is_within(self, bound: Self) -> bool {
        self.records <= bound.records && self.rows <= bound.rows && self.changes <= bound.changes
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.rows += other.rows;
        self.changes += other.changes;
    }
}

impl SubAssign for Load {
    fn sub_assign(&mut self, other: Self) {
        self.records -= other.records;
        self.rows -= other.rows;
        self.changes -= other.changes;
    }
}

/// A part of a submission: records of one tenant that are written together, and the request that waits for them.
pub(crate) struct Submission {
    pub tenant: TenantId,
    pub arrivals: Vec<Incoming>,
    pub load: Load,
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
    /// An empty queue, with what a writer reads from it: submissions, and whether the queue is closed.
    pub(crate) fn new(limits: IngestLimits) -> (Self, mpsc::UnboundedReceiver<Submission>, watch::Receiver<bool>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (closing, is_closing) = watch::channel(false);
        // A tenant that cannot be written leaves room for the others.
        let room = Shares::new(limits.queue_records_max, limits.queue_records_max / 2);
        (Self { sender, closing: Arc::new(closing), room }, receiver, is_closing)
    }

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
        for (arrivals, load) in parts(arrivals) {
            let (answer, written) = oneshot::channel();
            let part = Submission { tenant, arrivals, load, answer, room: Arc::clone(&room) };
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

    /// The bound on [`Self::records_waiting`].
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

/// Splits a submission at bounds of records and rows.
fn parts(arrivals: Vec<Incoming>) -> Vec<(Vec<Incoming>, Load)> {
    let mut parts = Vec::new();
    let (mut part, mut load, mut groups) = (Vec::new(), Load::default(), HashSet::new());
    for incoming in arrivals {
        let rows = rows(&incoming);
        let own = minute_groups(&incoming);
        let new_groups = own.iter().filter(|group| !groups.contains(*group)).count();
        let mut added = Load { records: 1, rows, changes: rows + CHANGES_PER_GROUP * new_groups };
        if !part.is_empty() && load.changes + added.changes > PART_CHANGES_MAX {
            parts.push((std::mem::take(&mut part), std::mem::take(&mut load)));
            groups.clear();
            added.changes = rows + CHANGES_PER_GROUP * own.len();
        }
        part.push(incoming);
        load += added;
        groups.extend(own);
    }
    parts.push((part, load));
    parts
}

/// What a record is counted in, as hashes: its minute, and in it its workflow, its providers and the kinds of its errors.
/// A record that moves its call out of other groups changes those as well; they are not known before it is written.
fn minute_groups(incoming: &Incoming) -> Vec<u64> {
    let Incoming::Record(call) = incoming else { return Vec::new() };
    let facts = call.facts();
    let mut minute = DefaultHasher::new();
    Resolution::Minute.floor(facts.started_at).hash(&mut minute);
    let in_minute = |hash: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = minute.clone();
        hash(&mut hasher);
        hasher.finish()
    };
    let mut groups = vec![minute.finish()];
    groups.extend(facts.workflow_id.iter().map(|workflow| in_minute(&|hasher| workflow.hash(hasher))));
    groups.extend(facts.providers.iter().map(|usage| in_minute(&|hasher| usage.provider.hash(hasher))));
    groups.extend(facts.error_kinds.iter().map(|kind| in_minute(&|hasher| kind.hash(hasher))));
    groups.sort_unstable();
    groups.dedup();
    groups
}

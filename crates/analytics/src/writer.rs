//! The writer at the end of the queue: it sorts what waits into lanes and commits batch after batch of each.
//!
//! A tenant has a lane of its own, so that one whose rows are locked by another server holds up nobody else; where the
//! store wants one transaction for all tenants, all share one lane. A lane has at most one batch under way, which keeps
//! its submissions in order; what arrives meanwhile is its next batch. Batches of different lanes are written side by
//! side, as many as the store can carry, and lanes that wait take turns.

use crate::clock::{Clock, SystemClock};
use crate::deltas::{Moment, expect_minutes, plan_changes};
use crate::ingestion::{IngestLimits, Submission, SubmitError};
use crate::live::Commits;
use crate::ports::{CallStore, CallTransaction, StoreError, source};
use crate::questions::Questions;
use callscope_domain::{CallId, Incoming, Span, TenantId, TransitionKind};
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How often a transaction is tried that another one got in the way of.
const ATTEMPTS_MAX: u32 = 5;
/// The pause before the second attempt, about; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The one task that takes from the queue, and starts those that write.
pub struct Writer {
    target: Target,
    receiver: mpsc::UnboundedReceiver<Submission>,
    closing: watch::Receiver<bool>,
    limits: IngestLimits,
    /// Only lanes in which something waits or is being written.
    lanes: HashMap<LaneKey, Lane>,
    /// Lanes that wait for company, and until when, the soonest first: all wait equally long. A lane that was filled
    /// sooner stands here still.
    filling: VecDeque<(Instant, LaneKey)>,
    /// Lanes whose next batch can be written: the one that has been waiting for longest first.
    ready: VecDeque<LaneKey>,
    /// A task for each batch that is being written.
    writing: JoinSet<LaneKey>,
}

/// Where batches go, and who is told.
#[derive(Clone)]
struct Target {
    store: Arc<dyn CallStore>,
    clock: Arc<dyn Clock>,
    commits: Commits,
    /// What happened longer ago is no event.
    event_age_max: Span,
}

/// Whose lane it is; that of all tenants has none.
type LaneKey = Option<TenantId>;

struct Lane {
    waiting: VecDeque<Submission>,
    /// Records of what waits.
    records: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits for company until then.
    Filling(Instant),
    /// It waits for its turn.
    Ready,
    /// One batch is being written.
    Writing,
}

impl Writer {
    pub(crate) fn new(
        store: Arc<dyn CallStore>,
        receiver: mpsc::UnboundedReceiver<Submission>,
        closing: watch::Receiver<bool>,
        limits: IngestLimits,
    ) -> Self {
        let (lanes, filling, ready, commits) = Default::default();
        let event_age_max = Span::from_micros(i64::try_from(limits.event_age_max.as_micros()).unwrap_or(i64::MAX));
        let target = Target { store, clock: Arc::new(SystemClock), commits, event_age_max };
        Self { target, receiver, closing, limits, lanes, filling, ready, writing: JoinSet::new() }
    }

    /// With another clock than the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.target.clock = clock;
        self
    }

    /// Where it notes whose batches it has committed.
    #[must_use]
    pub fn commits(&self) -> Commits {
        self.target.commits.clone()
    }

    /// Writes batch after batch, until the queue is closed, or every clone of it dropped, and nothing waits. When this
    /// is dropped, batches that are being written are abandoned.
    pub async fn run(mut self) {
        let mut is_open = true;
        loop {
            let soonest = self.filling.front().map(|&(deadline, _)| deadline);
            tokio::select! {
                submission = self.receiver.recv(), if is_open => match submission {
                    Some(submission) => self.accept_all(submission),
                    None => is_open = false,
                },
                _ = self.closing.changed(), if is_open => self.receiver.close(),
                Some(written) = self.writing.join_next() => if let Ok(key) = written {
                    self.finish(key);
                },
                () = sleep_until(soonest.unwrap_or_else(Instant::now)), if soonest.is_some() => {}
                else => return,
            }
            let now = Instant::now();
            self.ripen(|deadline| deadline <= now || !is_open);
            self.start();
        }
    }

    /// Takes a submission and all that are there already, so that they share a batch.
    fn accept_all(&mut self, first: Submission) {
        self.accept(first);
        while let Ok(next) = self.receiver.try_recv() {
            self.accept(next);
        }
    }

    fn accept(&mut self, submission: Submission) {
        let key = (!self.target.store.one_transaction_for_all_tenants()).then_some(submission.tenant);
        let lane = self.lanes.entry(key).or_insert_with(|| {
            let deadline = Instant::now() + self.limits.batch_wait;
            self.filling.push_back((deadline, key));
            Lane { waiting: VecDeque::new(), records: 0, stage: Stage::Filling(deadline) }
        });
        lane.records += submission.arrivals.len();
        lane.waiting.push_back(submission);
        if matches!(lane.stage, Stage::Filling(_)) && lane.records >= self.limits.batch_records_max {
            lane.stage = Stage::Ready;
            self.ready.push_back(key);
        }
    }

    /// Ends the wait of lanes.
    fn ripen(&mut self, is_over: impl Fn(Instant) -> bool) {
        while let Some((deadline, key)) = self.filling.pop_front_if(|(deadline, _)| is_over(*deadline)) {
            let lane = self.lanes.get_mut(&key).filter(|lane| lane.stage == Stage::Filling(deadline));
            if let Some(lane) = lane {
                lane.stage = Stage::Ready;
                self.ready.push_back(key);
            }
        }
    }

    /// Starts to write as many batches as the store can carry.
    fn start(&mut self) {
        while self.writing.len() < self.target.store.writers_max() {
            let Some(key) = self.ready.pop_front() else { return };
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.stage = Stage::Writing;
            let batch = lane.next_batch(self.limits.batch_records_max);
            let target = self.target.clone();
            self.writing.spawn(async move {
                // Whoever waits for a batch that panics hears of it, since the answer's sender is dropped; the next
                // batch is another one's.
                if AssertUnwindSafe(write_group(&target, batch)).catch_unwind().await.is_err() {
                    tracing::error!("writing a batch of records panicked");
                }
                key
            });
        }
    }

    /// A lane's batch is written: it goes to the end of the line, or goes.
    fn finish(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        if lane.waiting.is_empty() {
            self.lanes.remove(&key);
        } else {
            lane.stage = Stage::Ready;
            self.ready.push_back(key);
        }
    }
}

impl Lane {
    /// Submissions from the front, until they have enough records.
    fn next_batch(&mut self, records_max: usize) -> Vec<Submission> {
        let mut batch = Vec::new();
        let mut records = 0;
        while records < records_max
            && let Some(submission) = self.waiting.pop_front()
        {
            records += submission.arrivals.len();
            batch.push(submission);
        }
        self.records -= records;
        batch
    }
}

/// Writes submissions in one transaction, repeats it when another one got in its way, and answers everyone. If the
/// database chokes on it, each is tried alone: only those it really chokes on fail.
async fn write_group(target: &Target, group: Vec<Submission>) {
    match write_with_retries(target, &group).await {
        Ok(mut kinds) => {
            for tenant in kinds.keys() {
                target.commits.add(*tenant);
            }
            for Submission { tenant, arrivals, answer, room } in group {
                let own = kinds.get_mut(&tenant).map(|kinds| kinds.drain(..arrivals.len()).collect());
                drop(room);
                // Whoever went away before the answer does not need it.
                let _ = answer.send(Ok(own.unwrap_or_default()));
            }
        }
        Err(StoreError::Broken(_) | StoreError::Duplicate) if group.len() > 1 => {
            for alone in group {
                Box::pin(write_group(target, vec![alone])).await;
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

async fn write_with_retries(target: &Target, group: &[Submission]) -> Result<Kinds, StoreError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS_MAX {
        match write_once(target, group).await {
            // Whoever got in the way pauses as well, but not as long.
            Err(StoreError::Conflict(_)) => tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await,
            outcome => return outcome,
        }
        pause *= 2;
    }
    write_once(target, group).await
}

async fn write_once(target: &Target, group: &[Submission]) -> Result<Kinds, StoreError> {
    let mut arrivals: BTreeMap<TenantId, Vec<Incoming>> = BTreeMap::new();
    for submission in group {
        arrivals.entry(submission.tenant).or_default().extend_from_slice(&submission.arrivals);
    }
    let mut transaction = target.store.begin().await?;
    let now = target.clock.now();
    let moment = Moment { now, events_from: now - target.event_age_max };
    let mut kinds = Kinds::new();
    for (tenant, arrivals) in arrivals {
        kinds.insert(tenant, write_tenant(&mut *transaction, tenant, arrivals, moment).await?.into());
    }
    transaction.commit().await?;
    Ok(kinds)
}

async fn write_tenant(
    transaction: &mut dyn CallTransaction,
    tenant: TenantId,
    arrivals: Vec<Incoming>,
    moment: Moment,
) -> Result<Vec<TransitionKind>, StoreError> {
    let ids: BTreeSet<CallId> = arrivals.iter().map(Incoming::call_id).collect();
    let ids: Vec<CallId> = ids.into_iter().collect();
    // Side by side: one is the database's work, the other a processor's.
    let arrived = arrivals.clone();
    let expected = tokio::task::spawn_blocking(move || expect_minutes(Questions::here().go_before(&arrived)));
    let stored = transaction.lock_calls(tenant, &ids).await?;
    let expected = expected.await.map_err(|error| StoreError::Broken(error.into()))?;
    let (changes, kinds) = plan_changes(stored, Questions::here().go_before(arrivals), expected, moment);
    transaction.save(tenant, &changes).await?;
    Ok(kinds)
}

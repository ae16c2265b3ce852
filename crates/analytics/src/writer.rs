//! The writer at the end of the queue: it sorts what waits into lanes and commits batch after batch of each.
//!
//! A tenant has a lane of its own, so that one whose rows are locked by another server delays no other. A lane has at
//! most one batch under way, which keeps its submissions in order; what arrives meanwhile is its next batch. Batches of
//! different lanes are written side by side, as many as the store can carry, and lanes that wait take turns. Where the
//! store wants one transaction for all tenants, a batch takes from one lane after the other.
//!
//! How much a batch takes goes by time ([`crate::pace`]): little where tenants have to wait for one another.

use crate::clock::{Clock, SystemClock};
use crate::deltas::{Moment, expect_minutes, plan_changes};
use crate::kept::KeptLimits;
use crate::known_groups::KnownGroups;
use crate::live::Commits;
use crate::pace::Pace;
use crate::ports::{CallStore, CallTransaction, StoreError, source};
use crate::queue::{IngestLimits, Load, Submission, SubmitError};
use callscope_domain::{CallId, Incoming, Span, TenantId, TransitionKind, WorkflowId};
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
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
    pace: Pace,
    /// Only lanes in which something waits or is being written.
    lanes: HashMap<TenantId, Lane>,
    /// Lanes that wait for company, and until when, the soonest first: all wait equally long. A lane that was filled
    /// sooner stands here still.
    filling: VecDeque<(Instant, TenantId)>,
    /// Lanes whose next batch can be written: the one that has been waiting for longest first.
    ready: VecDeque<TenantId>,
    /// A task for each batch that is being written.
    writing: JoinSet<Written>,
    /// Where large batches are planned; where everything else is, if there is no other place.
    bulk: Option<Handle>,
}

/// Where batches go, and who is told.
#[derive(Clone)]
struct Target {
    store: Arc<dyn CallStore>,
    clock: Arc<dyn Clock>,
    commits: Commits,
    /// What happened longer ago is no event.
    event_age_max: Span,
    /// The bounds on what is kept of a tenant.
    known: Arc<KnownGroups>,
}

/// A batch that is done with, whatever came of it.
struct Written {
    tenants: Vec<TenantId>,
    load: Load,
    took: Duration,
}

struct Lane {
    waiting: VecDeque<Submission>,
    /// Of what waits.
    load: Load,
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
        let (lanes, filling, ready, commits, pace) = Default::default();
        let event_age_max = Span::from_micros(i64::try_from(limits.event_age_max.as_micros()).unwrap_or(i64::MAX));
        let known = Arc::new(KnownGroups::new(KeptLimits::NONE));
        let target = Target { store, clock: Arc::new(SystemClock), commits, event_age_max, known };
        Self { target, receiver, closing, limits, pace, lanes, filling, ready, writing: JoinSet::new(), bulk: None }
    }

    /// With another clock than the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.target.clock = clock;
        self
    }

    /// With bounds on what is kept of each tenant; without this there are none.
    #[must_use]
    pub fn with_kept_limits(mut self, limits: KeptLimits) -> Self {
        self.target.known = Arc::new(KnownGroups::new(limits));
        self
    }

    /// With a runtime of its own for large batches.
    #[must_use]
    pub fn with_bulk_runtime(self, bulk: Handle) -> Self {
        Self { bulk: Some(bulk), ..self }
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
                Some(written) = self.writing.join_next() => if let Ok(written) = written {
                    self.finish(written);
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
        let tenant = submission.tenant;
        self.pace.note(tenant);
        let lane = self.lanes.entry(tenant).or_insert_with(|| {
            let deadline = Instant::now() + self.limits.batch_wait;
            self.filling.push_back((deadline, tenant));
            Lane { waiting: VecDeque::new(), load: Load::default(), stage: Stage::Filling(deadline) }
        });
        lane.load += submission.load;
        lane.waiting.push_back(submission);
        if matches!(lane.stage, Stage::Filling(_)) && lane.load.has_reached(batch_max(&self.limits)) {
            lane.stage = Stage::Ready;
            self.ready.push_back(tenant);
        }
    }

    /// Ends the wait of lanes.
    fn ripen(&mut self, is_over: impl Fn(Instant) -> bool) {
        while let Some((deadline, tenant)) = self.filling.pop_front_if(|(deadline, _)| is_over(*deadline)) {
            let lane = self.lanes.get_mut(&tenant).filter(|lane| lane.stage == Stage::Filling(deadline));
            if let Some(lane) = lane {
                lane.stage = Stage::Ready;
                self.ready.push_back(tenant);
            }
        }
    }

    /// Starts to write as many batches as the store can carry.
    fn start(&mut self) {
        while self.writing.len() < self.target.store.writers_max() && !self.ready.is_empty() {
            let Batch { tenants, submissions, load } = self.next_batch();
            let target = self.target.clone();
            let write = async move {
                let began = std::time::Instant::now();
                // The requests of a batch that panics get an error, since the answers' senders are dropped.
                if AssertUnwindSafe(write_group(&target, submissions)).catch_unwind().await.is_err() {
                    tracing::error!("writing a batch of records panicked");
                }
                Written { tenants, load, took: began.elapsed() }
            };
            match &self.bulk {
                Some(bulk) if load.changes > BULK_CHANGES => self.writing.spawn_on(write, bulk),
                _ => self.writing.spawn(write),
            };
        }
    }

    /// What waits in the lane that is next; where all tenants share a transaction, in all lanes, one helping of each
    /// after the other.
    fn next_batch(&mut self) -> Batch {
        let is_shared = self.target.store.one_transaction_for_all_tenants();
        let lanes_max = if is_shared { usize::MAX } else { 1 };
        if is_shared {
            // This is the transaction that they have to wait for otherwise.
            self.ripen(|_| true);
        }
        let tenants_max = if is_shared { 1 } else { self.target.store.writers_max() };
        let is_awaited = self.target.store.is_writer_awaited();
        let load_max = Load { changes: self.pace.changes_max(tenants_max, is_awaited), ..batch_max(&self.limits) };
        let mut batch = Batch::default();
        let mut rotation = VecDeque::new();
        let mut too_large = Vec::new();
        while !batch.load.has_reached(load_max) {
            let is_new = batch.tenants.len() < lanes_max && !self.ready.is_empty();
            let next = if is_new { self.ready.pop_front() } else { rotation.pop_front() };
            let Some(tenant) = next else { break };
            let Some(lane) = self.lanes.get_mut(&tenant) else { continue };
            if !lane.help(&mut batch, load_max) {
                if is_new {
                    too_large.push(tenant);
                }
                continue;
            }
            if is_new {
                lane.stage = Stage::Writing;
                batch.tenants.push(tenant);
            }
            if !lane.waiting.is_empty() {
                rotation.push_back(tenant);
            }
        }
        // Before all others the next time: then the batch is still empty.
        for tenant in too_large.into_iter().rev() {
            self.ready.push_front(tenant);
        }
        batch
    }

    /// A batch is written: its lanes go to the end of the line, or go.
    fn finish(&mut self, Written { tenants, load, took }: Written) {
        self.pace.observe(load.changes, took);
        for tenant in tenants {
            let Some(lane) = self.lanes.get_mut(&tenant) else { continue };
            if lane.waiting.is_empty() {
                self.lanes.remove(&tenant);
            } else {
                lane.stage = Stage::Ready;
                self.ready.push_back(tenant);
            }
        }
    }
}

/// Changes of a batch that is planned in a few milliseconds; a larger one takes a processor for long.
const BULK_CHANGES: usize = 2000;
/// Changes that a batch takes from one lane before it looks into the next.
const HELPING_CHANGES: usize = 100;

/// What the settings allow a batch.
const fn batch_max(limits: &IngestLimits) -> Load {
    Load { records: limits.batch_records_max, rows: limits.batch_rows_max, changes: usize::MAX }
}

/// What is written together.
#[derive(Default)]
struct Batch {
    tenants: Vec<TenantId>,
    submissions: Vec<Submission>,
    load: Load,
}

impl Lane {
    /// Moves one helping from the front into a batch, in which what does not fit only has a place if it is alone. Says
    /// whether anything was moved.
    fn help(&mut self, batch: &mut Batch, load_max: Load) -> bool {
        let (before, end) = (batch.submissions.len(), batch.load.changes + HELPING_CHANGES);
        while batch.load.changes < end
            && let Some(submission) = self.waiting.pop_front_if(|next| batch.has_room(next.load, load_max))
        {
            self.load -= submission.load;
            batch.load += submission.load;
            batch.submissions.push(submission);
        }
        batch.submissions.len() > before
    }
}

impl Batch {
    fn has_room(&self, mut load: Load, load_max: Load) -> bool {
        load += self.load;
        self.submissions.is_empty() || load.is_within(load_max)
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
            for Submission { tenant, arrivals, answer, room, .. } in group {
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
        kinds.insert(tenant, write_tenant(&mut *transaction, tenant, arrivals, moment, &target.known).await?.into());
    }
    transaction.commit().await?;
    Ok(kinds)
}

async fn write_tenant(
    transaction: &mut dyn CallTransaction,
    tenant: TenantId,
    arrivals: Vec<Incoming>,
    moment: Moment,
    known: &KnownGroups,
) -> Result<Vec<TransitionKind>, StoreError> {
    let ids: BTreeSet<CallId> = arrivals.iter().map(Incoming::call_id).collect();
    let ids: Vec<CallId> = ids.into_iter().collect();
    // Side by side: one is the database's work, the other a processor's.
    let arrived = arrivals.clone();
    let expected = tokio::task::spawn_blocking(move || expect_minutes(&arrived));
    let overdue: HashSet<CallId> = arrivals.iter().filter_map(Incoming::overdue_id).collect();
    let mut stored = transaction.lock_calls(tenant, &ids).await?;
    if !overdue.is_empty() {
        let calls = stored.calls.iter().filter(|call| overdue.contains(&call.id));
        let workflows: HashSet<WorkflowId> = calls.filter_map(|call| call.workflow_id).collect();
        stored.slugs = transaction.load_slugs(tenant, &workflows.into_iter().collect::<Vec<_>>()).await?;
    }
    let expected = expected.await.map_err(|error| StoreError::Broken(error.into()))?;
    let keeping = known.keeping(transaction, tenant, &stored).await?;
    let planned = plan_changes(stored, arrivals, expected, moment, keeping);
    let (changes, kinds) = planned.map_err(|fault| StoreError::Broken(fault.into()))?;
    transaction.save(tenant, &changes).await?;
    known.warn(tenant, &changes.bounds_met);
    Ok(kinds)
}

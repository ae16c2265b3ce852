//! What a batch changes: from the calls as they are and the records that arrive, to the calls as they will be and the
//! differences of the rollups. Pure.

use crate::ports::{LockedCalls, TenantChanges};
use callscope_domain::{
    Call, CallFacts, CallId, Contribution, Incoming, Resolution, Timestamp, TransitionKind, Workflow, WorkflowId,
    transition,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Differences of rollups by bucket, in the order in which every writer must touch them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RollupDeltas {
    buckets: BTreeMap<(Resolution, Timestamp), Contribution>,
}

impl RollupDeltas {
    /// The non-zero differences, by resolution and bucket start.
    pub fn iter(&self) -> impl Iterator<Item = (Resolution, Timestamp, &Contribution)> {
        self.buckets.iter().map(|(&(resolution, start), delta)| (resolution, start, delta))
    }

    /// Takes a contribution away from one bucket.
    pub fn subtract(&mut self, resolution: Resolution, start: Timestamp, contribution: &Contribution) {
        let bucket = self.buckets.entry((resolution, start)).or_default();
        *bucket -= contribution;
        if bucket.is_zero() {
            self.buckets.remove(&(resolution, start));
        }
    }

    /// Sums minutes up to every resolution, and drops what is zero.
    #[must_use]
    pub fn from_minutes(minutes: BTreeMap<Timestamp, Contribution>) -> Self {
        let mut buckets = BTreeMap::new();
        let mut finer = minutes;
        let mut resolution = Some(Resolution::Minute);
        while let Some(current) = resolution {
            finer.retain(|_, delta| !delta.is_zero());
            resolution = current.coarser();
            let mut coarser: BTreeMap<Timestamp, Contribution> = BTreeMap::new();
            if let Some(next) = resolution {
                for (&start, delta) in &finer {
                    *coarser.entry(next.floor(start)).or_default() += delta;
                }
            }
            buckets.extend(finer.into_iter().map(|(start, delta)| ((current, start), delta)));
            finer = coarser;
        }
        Self { buckets }
    }

    /// The rollups of calls that were in none before.
    #[must_use]
    pub fn of_calls<'a>(calls: impl IntoIterator<Item = &'a CallFacts>) -> Self {
        let mut minutes: BTreeMap<Timestamp, Contribution> = BTreeMap::new();
        for call in calls {
            *minutes.entry(Resolution::Minute.floor(call.started_at)).or_default() += &Contribution::of(call);
        }
        Self::from_minutes(minutes)
    }
}

/// Applies what arrived, in its order, to calls of one tenant. Gives the changes, and what became of each arrival.
#[must_use]
pub fn plan_changes(stored: LockedCalls, arrivals: Vec<Incoming>) -> (TenantChanges, Vec<TransitionKind>) {
    let mut calls: HashMap<CallId, Progress> =
        stored.calls.into_iter().map(|facts| (facts.id, Progress::stored(facts))).collect();
    let mut kinds = Vec::with_capacity(arrivals.len());
    let mut order = Vec::new();
    for incoming in arrivals {
        let id = incoming.call_id();
        let progress = calls.entry(id).or_default();
        let outcome = transition(progress.current.as_ref(), &incoming, stored.kept_from);
        kinds.push(outcome.kind);
        if outcome.next.is_none() {
            continue;
        }
        if !std::mem::replace(&mut progress.touched, true) {
            order.push(id);
        }
        progress.current = outcome.next;
        progress.timed_out = outcome.kind == TransitionKind::TimedOut;
        if let Incoming::Record(call) = incoming {
            progress.record = Some(call);
        }
    }
    (changes(calls, &order), kinds)
}

/// What is known of one call while a batch is applied.
#[derive(Default)]
struct Progress {
    before: Option<CallFacts>,
    current: Option<CallFacts>,
    /// The last record that was applied; none when only a timeout was.
    record: Option<Arc<Call>>,
    /// Whether a timeout came after the last record.
    timed_out: bool,
    touched: bool,
}

impl Progress {
    fn stored(facts: CallFacts) -> Self {
        Self { before: Some(facts.clone()), current: Some(facts), ..Self::default() }
    }
}

fn changes(mut calls: HashMap<CallId, Progress>, order: &[CallId]) -> TenantChanges {
    let mut changes = TenantChanges::default();
    let mut minutes: BTreeMap<Timestamp, Contribution> = BTreeMap::new();
    let mut workflows: HashMap<WorkflowId, (Workflow, Timestamp)> = HashMap::new();
    for progress in order.iter().filter_map(|id| calls.remove(id)) {
        if let Some(before) = &progress.before {
            *minutes.entry(Resolution::Minute.floor(before.started_at)).or_default() -= &Contribution::of(before);
        }
        if let Some(current) = &progress.current {
            *minutes.entry(Resolution::Minute.floor(current.started_at)).or_default() += &Contribution::of(current);
            if progress.timed_out {
                changes.timed_out.push(current.id);
            }
        }
        if let Some(call) = progress.record {
            if let Some(workflow) = call.workflow() {
                sight(&mut workflows, workflow, call.facts().started_at);
            }
            if progress.before.is_some_and(|before| !before.error_kinds.is_empty()) {
                changes.stale_errors.push(call.facts().id);
            }
            changes.calls.push(call);
        }
    }
    changes.workflows = workflows.into_values().collect();
    changes.workflows.sort_by_key(|(workflow, _)| workflow.id);
    changes.rollups = RollupDeltas::from_minutes(minutes);
    changes
}

/// Keeps a workflow's slug and name from the newest call; a record without a name never hides one with it.
fn sight(workflows: &mut HashMap<WorkflowId, (Workflow, Timestamp)>, workflow: &Workflow, started_at: Timestamp) {
    match workflows.get(&workflow.id) {
        Some((known, seen_at)) if (known.name.is_some(), *seen_at) > (workflow.name.is_some(), started_at) => {}
        _ => {
            workflows.insert(workflow.id, (workflow.clone(), started_at));
        }
    }
}

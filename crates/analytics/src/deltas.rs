//! What a batch changes: from the calls as they are and the records that arrive, to the calls as they will be and the
//! differences of the rollups. Pure.

use crate::kept::{Balance, Keeping};
use crate::ports::{LockedCalls, TenantChanges};
use crate::rollup_deltas::{Minutes, RollupDeltas, UnknownGroup};
use callscope_domain::{
    Call, CallFacts, CallId, Contribution, Dimension, Group, GroupId, GroupValue, Incoming, Resolution, Slug,
    Timestamp, Transition, TransitionKind, Workflow, WorkflowId, call_events, timeout_event, transition,
};
use std::collections::HashMap;
use std::sync::Arc;

/// What would be added if each record were a call's first and only one, which most are. It needs nothing that is stored,
/// so it can be worked out while that is being loaded.
#[must_use]
pub fn expect_minutes<'a>(arrivals: impl IntoIterator<Item = &'a Incoming>) -> Minutes {
    let mut minutes = Minutes::new();
    for incoming in arrivals {
        if let Incoming::Record(call) = incoming {
            minute_of(&mut minutes, call.facts()).add_call(call.facts());
        }
    }
    minutes
}

fn minute_of<'m>(minutes: &'m mut Minutes, call: &CallFacts) -> &'m mut Contribution {
    minutes.entry(Resolution::Minute.floor(call.started_at)).or_default()
}

/// When a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// What happened earlier is history, and no event.
    pub events_from: Timestamp,
}

/// Applies what arrived, in its order, to calls of one tenant; `minutes` is what [`expect_minutes`] made of it. Gives
/// the changes, and what became of each arrival. What meets a bound on what is kept is refused or regrouped before it is
/// counted, so that rollups stay the sums of what is stored.
pub fn plan_changes(
    stored: LockedCalls,
    arrivals: impl IntoIterator<Item = Incoming>,
    mut minutes: Minutes,
    moment: Moment,
    keeping: Keeping,
) -> Result<(TenantChanges, Vec<TransitionKind>), UnknownGroup> {
    let mut ledger = keeping.begin(stored.counts, moment.now);
    let logged = |id| stored.logged_errors.get(&id).copied().unwrap_or(0);
    let calls = stored.calls.into_iter();
    let mut calls: HashMap<CallId, Progress> =
        calls.map(|facts| (facts.id, Progress::stored(logged(facts.id), facts))).collect();
    let mut kinds = Vec::new();
    let mut order = Vec::new();
    let mut events = Vec::new();
    for mut incoming in arrivals {
        let id = incoming.call_id();
        let progress = calls.entry(id).or_default();
        let mut outcome = transition(progress.current.as_ref(), &incoming, stored.kept_from);
        if let Incoming::Record(call) = &incoming
            && let Some(refusal) = ledger.refuse(outcome.kind, call.facts())
        {
            outcome = Transition { kind: TransitionKind::Refused(refusal), next: None };
        }
        kinds.push(outcome.kind);
        if outcome.next.is_none() {
            if let Incoming::Record(call) = incoming {
                minute_of(&mut minutes, call.facts()).subtract_call(call.facts());
            }
            continue;
        }
        if !std::mem::replace(&mut progress.touched, true) {
            order.push(id);
        }
        if let Incoming::Record(call) = &mut incoming
            && let Some(regrouped) = ledger.regroup(call)
        {
            minute_of(&mut minutes, call.facts()).subtract_call(call.facts());
            minute_of(&mut minutes, regrouped.facts()).add_call(regrouped.facts());
            outcome.next = Some(regrouped.facts().clone());
            *call = Arc::new(regrouped);
        }
        if let Some(next) = &outcome.next {
            if outcome.kind == TransitionKind::TimedOut {
                ledger.admit_all(next);
            }
            progress.logged_errors = ledger.apply(progress.current.as_ref(), next, progress.logged_errors);
        }
        if let Incoming::Record(call) = &incoming {
            let news = call_events(progress.current.as_ref(), call).into_iter();
            events.extend(news.filter(|event| event.timestamp >= moment.events_from));
        }
        progress.current = outcome.next;
        progress.timed_out = outcome.kind == TransitionKind::TimedOut;
        if let Incoming::Record(call) = incoming
            && let Some(earlier) = progress.record.replace(call)
        {
            minute_of(&mut minutes, earlier.facts()).subtract_call(earlier.facts());
        }
    }
    let Balance { counts, counts_changed, groups, bounds_met } = ledger.close();
    let mut changes = changes(calls, &order, &mut minutes, moment.now, &stored.slugs);
    changes.rollups = RollupDeltas::from_minutes(minutes, |group| groups.find(group))?;
    changes.groups = groups.added();
    for (workflow, _, id) in &mut changes.workflows {
        *id = groups.find(&workflow_group(workflow.id)).ok_or(UnknownGroup(Dimension::Workflow))?;
    }
    events.append(&mut changes.events);
    Ok((TenantChanges { events, counts, counts_changed, bounds_met, ..changes }, kinds))
}

fn workflow_group(id: WorkflowId) -> Group {
    Group { dimension: Dimension::Workflow, value: GroupValue::Workflow(id) }
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
    /// Errors of it that the log has, before the batch and from now on.
    logged_before: usize,
    logged_errors: usize,
}

impl Progress {
    fn stored(logged: usize, facts: CallFacts) -> Self {
        let (logged_before, logged_errors) = (logged, logged);
        Self { before: Some(facts.clone()), current: Some(facts), logged_before, logged_errors, ..Self::default() }
    }
}

fn changes(
    mut calls: HashMap<CallId, Progress>,
    order: &[CallId],
    minutes: &mut Minutes,
    decided_at: Timestamp,
    slugs: &HashMap<WorkflowId, Slug>,
) -> TenantChanges {
    let mut changes = TenantChanges::at(decided_at);
    let mut workflows: HashMap<WorkflowId, (Workflow, Timestamp)> = HashMap::new();
    for progress in order.iter().filter_map(|id| calls.remove(id)) {
        if let Some(before) = &progress.before {
            minute_of(minutes, before).subtract_call(before);
        }
        if let Some(current) = progress.current.filter(|_| progress.timed_out) {
            // It is not what its last record says; without a record, nothing of it was expected.
            minute_of(minutes, &current).add_call(&current);
            if let Some(call) = &progress.record {
                minute_of(minutes, call.facts()).subtract_call(call.facts());
            }
            let of_record = progress.record.as_ref().and_then(|call| call.workflow()).map(|workflow| &workflow.slug);
            let slug = of_record.or_else(|| slugs.get(&current.workflow_id?));
            changes.events.push(timeout_event(&current, slug, decided_at));
            changes.timed_out.push(current);
        }
        if let Some(call) = progress.record {
            if let Some(workflow) = call.workflow() {
                sight(&mut workflows, workflow, call.facts().started_at);
            }
            if progress.logged_before > 0 {
                changes.stale_errors.push(call.facts().id);
            }
            if progress.logged_errors < call.errors().len() {
                changes.logged_errors.insert(call.facts().id, progress.logged_errors);
            }
            changes.calls.push(call);
        }
    }
    changes.events.sort_by_key(|event| event.call_id);
    // Their numbers are known when all groups are.
    changes.workflows =
        workflows.into_values().map(|(workflow, seen_at)| (workflow, seen_at, GroupId::TENANT)).collect();
    changes.workflows.sort_by_key(|(workflow, ..)| workflow.id);
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

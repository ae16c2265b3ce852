//! The bounds on what is kept of one tenant, and what a batch meets of them. Pure.
//!
//! What meets a bound is never lost in silence: a record is refused by name, an error is counted without an entry in the
//! log, and a value of a dimension goes into the group `(other)`.

use callscope_domain::{
    Call, CallFacts, CallStatus, Dimension, DimensionValue, DimensionValues, Refusal, Resolution, Span, TenantId,
    Timestamp, TransitionKind, Workflow, other_agent,
};
use std::sync::Arc;

/// Most of each that is kept of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptLimits {
    /// Distinct workflows.
    pub workflows_max: usize,
    /// Distinct providers: type and name.
    pub providers_max: usize,
    /// Distinct agents.
    pub agents_max: usize,
    /// Calls that are active.
    pub active_calls_max: i64,
    /// Error entries that arrive on a day of UTC.
    pub errors_per_day_max: i64,
    /// Rows of calls and errors.
    pub rows_max: i64,
    /// How long ago a call may have started when its record arrives.
    pub oldest_start: Span,
}

impl KeptLimits {
    /// No bounds at all.
    pub const NONE: Self = Self {
        workflows_max: usize::MAX,
        providers_max: usize::MAX,
        agents_max: usize::MAX,
        active_calls_max: i64::MAX,
        errors_per_day_max: i64::MAX,
        rows_max: i64::MAX,
        oldest_start: Span::from_micros(i64::MAX),
    };

    const fn values_max(&self, dimension: Dimension) -> usize {
        match dimension {
            Dimension::Workflow => self.workflows_max,
            Dimension::Provider => self.providers_max,
            Dimension::Agent => self.agents_max,
        }
    }
}

/// What is stored of a tenant, counted. Writers agree on it under the tenant's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptCounts {
    /// Calls that are active.
    pub active_calls: i64,
    /// Rows of calls and errors.
    pub stored_rows: i64,
    /// The start of the day of UTC that `errors_logged` is about.
    pub errors_day: Option<Timestamp>,
    /// Error entries that arrived on that day.
    pub errors_logged: i64,
    /// Raised with every change of the values of dimensions.
    pub values_revision: i64,
}

/// What met a bound, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundsMet {
    /// Calls whose workflow became the group `(other)`.
    pub workflows: u64,
    /// Uses of a provider that became those of the group.
    pub providers: u64,
    /// Calls whose agent became the group.
    pub agents: u64,
    /// Records that were refused because too many calls are active.
    pub active_calls: u64,
    /// Errors that were counted without an entry in the log, because of the bound of a day or of rows.
    pub errors: u64,
    /// Records that were refused because the tenant has too many rows.
    pub rows: u64,
    /// Records that were refused because their call started too long ago.
    pub oldest_start: u64,
}

impl BoundsMet {
    /// Each count with the name of its bound.
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, u64); 7] {
        let Self { workflows, providers, agents, active_calls, errors, rows, oldest_start } = *self;
        [
            ("workflows_max", workflows),
            ("providers_max", providers),
            ("agents_max", agents),
            ("active_calls_max", active_calls),
            ("errors_per_day_max", errors),
            ("rows_max", rows),
            ("oldest_start", oldest_start),
        ]
    }

    /// Whether none was met.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn count(&mut self, refusal: Refusal) {
        *match refusal {
            Refusal::StartTooOld { .. } => &mut self.oldest_start,
            Refusal::ActiveCalls { .. } => &mut self.active_calls,
            Refusal::Rows { .. } => &mut self.rows,
        } += 1;
    }
}

/// What a batch of one tenant is held against.
#[derive(Clone, Debug)]
pub struct Keeping {
    limits: KeptLimits,
    known: Arc<DimensionValues>,
    other_workflow: Workflow,
}

impl Keeping {
    /// The bounds, and the values that the tenant has.
    #[must_use]
    pub fn new(tenant: TenantId, limits: KeptLimits, known: Arc<DimensionValues>) -> Self {
        Self { limits, known, other_workflow: Workflow::other(tenant) }
    }

    /// Begins a batch.
    #[must_use]
    pub fn begin(self, counts: KeptCounts, now: Timestamp) -> Ledger {
        let today = Resolution::Day.floor(now);
        let errors_logged = if counts.errors_day == Some(today) { counts.errors_logged } else { 0 };
        let of_today = KeptCounts { errors_day: Some(today), errors_logged, ..counts };
        let (admitted, new_values, met) = Default::default();
        Ledger { keeping: self, now, before: of_today, counts: of_today, admitted, new_values, met }
    }
}

/// Follows what a batch adds to what is kept.
#[derive(Debug)]
pub struct Ledger {
    keeping: Keeping,
    now: Timestamp,
    before: KeptCounts,
    counts: KeptCounts,
    /// Values that the batch added.
    admitted: DimensionValues,
    new_values: Vec<DimensionValue>,
    met: BoundsMet,
}

/// What a batch made of the counts.
#[derive(Debug)]
pub struct Balance {
    /// The counts from now on.
    pub counts: KeptCounts,
    /// Whether they were others before.
    pub counts_changed: bool,
    /// Values that the tenant did not have.
    pub new_values: Vec<DimensionValue>,
    /// What met a bound.
    pub bounds_met: BoundsMet,
}

impl Ledger {
    /// Why a record may not do what it is about to, if so; that is counted.
    pub fn refuse(&mut self, kind: TransitionKind, call: &CallFacts) -> Option<Refusal> {
        let limits = &self.keeping.limits;
        let is_new = kind == TransitionKind::Created;
        let refusal = if !is_new && kind != TransitionKind::Replaced {
            None
        } else if self.now.since(call.started_at) > limits.oldest_start {
            Some(Refusal::StartTooOld { days: limits.oldest_start.as_whole_days() })
        } else if is_new && call.status == CallStatus::Active && self.counts.active_calls >= limits.active_calls_max {
            Some(Refusal::ActiveCalls { max: limits.active_calls_max })
        } else if is_new && self.counts.stored_rows >= limits.rows_max {
            Some(Refusal::Rows { max: limits.rows_max })
        } else {
            None
        };
        refusal.inspect(|&refusal| self.met.count(refusal))
    }

    /// The call with values past a bound in the group `(other)`; none when it stays as it is.
    pub fn regroup(&mut self, call: &Call) -> Option<Call> {
        let workflow = call.workflow().filter(|workflow| !self.keeping.known.has_workflow(workflow.id));
        let agent = call.agent().filter(|agent| !self.keeping.known.has_agent(agent));
        let is_unknown = |usage: &callscope_domain::ProviderUse| !self.keeping.known.has_provider(&usage.provider);
        if workflow.is_none() && agent.is_none() && !call.facts().providers.iter().any(is_unknown) {
            return None;
        }
        let mut met = BoundsMet::default();
        let other_workflow = workflow.is_some_and(|workflow| !self.admit(DimensionValue::Workflow(workflow.id)));
        let other_agent_is_meant = agent.is_some_and(|agent| !self.admit(DimensionValue::Agent(agent.clone())));
        let mut providers = call.facts().providers.clone();
        for usage in &mut providers {
            if !self.admit(DimensionValue::Provider(usage.provider.clone())) {
                usage.provider = usage.provider.clone().other();
                met.providers += 1;
            }
        }
        (met.workflows, met.agents) = (u64::from(other_workflow), u64::from(other_agent_is_meant));
        if met.is_none() {
            return None;
        }
        self.met.workflows += met.workflows;
        self.met.agents += met.agents;
        self.met.providers += met.providers;
        let workflow =
            if other_workflow { Some(self.keeping.other_workflow.clone()) } else { call.workflow().cloned() };
        let agent = if other_agent_is_meant { Some(other_agent()) } else { call.agent().cloned() };
        Some(call.regrouped(workflow, agent, providers))
    }

    /// Counts a change of a call, and says how many of its errors go into the log: what it had there, and as many
    /// more as there is room for.
    pub fn apply(&mut self, before: Option<&CallFacts>, after: &CallFacts, logged_before: usize) -> usize {
        let is_active = |call: &CallFacts| i64::from(call.status == CallStatus::Active);
        self.counts.active_calls += is_active(after) - before.map_or(0, is_active);
        self.counts.stored_rows += i64::from(before.is_none());
        let limits = &self.keeping.limits;
        let of_the_day = limits.errors_per_day_max.saturating_sub(self.counts.errors_logged).max(0);
        let of_rows = limits.rows_max.saturating_sub(self.counts.stored_rows).max(0);
        let room = usize::try_from(of_the_day.min(of_rows)).unwrap_or(usize::MAX);
        let errors = after.error_kinds.len();
        let logged = errors.min(logged_before.saturating_add(room));
        self.met.errors += (errors - logged) as u64;
        let more = i64::try_from(logged).unwrap_or(i64::MAX) - i64::try_from(logged_before).unwrap_or(i64::MAX);
        self.counts.errors_logged += more.max(0);
        self.counts.stored_rows += more;
        logged
    }

    /// What the batch made of the counts.
    #[must_use]
    pub fn close(mut self) -> Balance {
        self.counts.values_revision += i64::try_from(self.new_values.len()).unwrap_or(i64::MAX);
        let Self { before, counts, new_values, met: bounds_met, .. } = self;
        Balance { counts, counts_changed: counts != before, new_values, bounds_met }
    }

    /// Whether a value is kept: it is known, or there is room for it, or it is the group's own name.
    fn admit(&mut self, value: DimensionValue) -> bool {
        let is_known = |values: &DimensionValues| match &value {
            DimensionValue::Workflow(id) => *id == self.keeping.other_workflow.id || values.has_workflow(*id),
            DimensionValue::Provider(provider) => provider.is_other() || values.has_provider(provider),
            DimensionValue::Agent(agent) => *agent == other_agent() || values.has_agent(agent),
        };
        if is_known(&self.keeping.known) || is_known(&self.admitted) {
            return true;
        }
        let dimension = value.dimension();
        let count = self.keeping.known.count(dimension) + self.admitted.count(dimension);
        if count >= self.keeping.limits.values_max(dimension) {
            return false;
        }
        self.admitted.insert(value.clone());
        self.new_values.push(value);
        true
    }
}

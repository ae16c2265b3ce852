//! The bounds on what is kept of one tenant, and what a batch meets of them. Pure.
//!
//! What meets a bound is never lost in silence: a record is refused by name, an error is counted without an entry in the
//! log, and a value of a dimension goes into the group `(other)`.

use crate::groups::{BatchGroups, GroupIds};
use callscope_domain::{
    Call, CallFacts, CallStatus, Dimension, Group, Refusal, Resolution, Span, TenantId, Timestamp, TransitionKind,
    ValuesMax,
};
use std::sync::Arc;

/// Most of each that is kept of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptLimits {
    /// Distinct values of each dimension.
    pub values_max: ValueLimits,
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
        values_max: ValueLimits([usize::MAX; Dimension::COUNT]),
        active_calls_max: i64::MAX,
        errors_per_day_max: i64::MAX,
        rows_max: i64::MAX,
        oldest_start: Span::from_micros(i64::MAX),
    };
}

/// A bound for each dimension on the distinct values of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueLimits([usize; Dimension::COUNT]);

impl ValueLimits {
    /// The same with another bound for one dimension.
    #[must_use]
    pub const fn with(mut self, dimension: Dimension, values_max: usize) -> Self {
        self.0[dimension as usize] = values_max;
        self
    }

    const fn of(&self, dimension: Dimension) -> usize {
        self.0[dimension as usize]
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
    /// The number of groups.
    pub groups: i64,
}

/// What met a bound, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundsMet {
    /// Values of each dimension that became the group `(other)`: of calls, or of uses of a provider.
    values: [u64; Dimension::COUNT],
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
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self { values, active_calls, errors, rows, oldest_start } = *self;
        let of_dimension = |(dimension, count): (&Dimension, u64)| match dimension.row().values_max {
            ValuesMax::Setting(name) => Some((name, count)),
            ValuesMax::Vocabulary => None,
        };
        Dimension::ALL.iter().zip(values).filter_map(of_dimension).chain([
            ("active_calls_max", active_calls),
            ("errors_per_day_max", errors),
            ("rows_max", rows),
            ("oldest_start", oldest_start),
        ])
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
    tenant: TenantId,
    limits: KeptLimits,
    groups: Arc<GroupIds>,
}

impl Keeping {
    /// The bounds, and the groups that the tenant has.
    #[must_use]
    pub const fn new(tenant: TenantId, limits: KeptLimits, groups: Arc<GroupIds>) -> Self {
        Self { tenant, limits, groups }
    }

    /// Begins a batch.
    #[must_use]
    pub fn begin(self, counts: KeptCounts, now: Timestamp) -> Ledger {
        let today = Resolution::Day.floor(now);
        let errors_logged = if counts.errors_day == Some(today) { counts.errors_logged } else { 0 };
        let of_today = KeptCounts { errors_day: Some(today), errors_logged, ..counts };
        let Self { tenant, limits, groups } = self;
        let groups = BatchGroups::new(tenant, groups);
        Ledger { tenant, limits, now, before: of_today, counts: of_today, groups, met: BoundsMet::default() }
    }
}

/// Follows what a batch adds to what is kept.
#[derive(Debug)]
pub struct Ledger {
    tenant: TenantId,
    limits: KeptLimits,
    now: Timestamp,
    before: KeptCounts,
    counts: KeptCounts,
    groups: BatchGroups,
    met: BoundsMet,
}

/// What a batch made of the counts.
#[derive(Debug)]
pub struct Balance {
    /// The counts from now on.
    pub counts: KeptCounts,
    /// Whether they were others before.
    pub counts_changed: bool,
    /// The tenant's groups, with those that the batch added.
    pub groups: BatchGroups,
    /// What met a bound.
    pub bounds_met: BoundsMet,
}

impl Ledger {
    /// Why a record may not do what it is about to, if so; that is counted.
    pub fn refuse(&mut self, kind: TransitionKind, call: &CallFacts) -> Option<Refusal> {
        let limits = &self.limits;
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
        let (groups, limits) = (&mut self.groups, &self.limits);
        let admit = |group: Group| {
            let values_max = limits.values_max.of(group.dimension);
            groups.admit(group, values_max)
        };
        let (regrouped, moved) = call.regrouped(self.tenant, admit)?;
        for (dimension, count) in moved {
            self.met.values[dimension as usize] += count;
        }
        self.admit_all(regrouped.facts());
        Some(regrouped)
    }

    /// Takes up the groups of a call all of whose values are known, or are always kept.
    pub fn admit_all(&mut self, call: &CallFacts) {
        for &dimension in Dimension::ALL {
            for value in dimension.values_of(call) {
                self.groups.admit(Group { dimension, value }, usize::MAX);
            }
        }
    }

    /// Counts a change of a call, and says how many of its errors go into the log: what it had there, and as many
    /// more as there is room for.
    pub fn apply(&mut self, before: Option<&CallFacts>, after: &CallFacts, logged_before: usize) -> usize {
        let is_active = |call: &CallFacts| i64::from(call.status == CallStatus::Active);
        self.counts.active_calls += is_active(after) - before.map_or(0, is_active);
        self.counts.stored_rows += i64::from(before.is_none());
        let limits = &self.limits;
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
        self.counts.groups += i64::try_from(self.groups.added().len()).unwrap_or(i64::MAX);
        let Self { before, counts, groups, met: bounds_met, .. } = self;
        Balance { counts, counts_changed: counts != before, groups, bounds_met }
    }
}

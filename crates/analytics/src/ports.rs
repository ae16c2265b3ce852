//! What the service needs of a database. Every function takes the tenant first, and touches no other tenant's rows.
//!
//! Implementations promise that one call of a reading function sees one state of the database.

#![warn(missing_docs)]

use crate::kept::{BoundsMet, KeptCounts};
use crate::rollup_deltas::{RollupDeltas, RollupKey};
use async_trait::async_trait;
use callscope_domain::{
    Actor, ApiKey, Call, CallError, CallEvent, CallFacts, CallId, ErrorKind, EventId, Group, GroupId, KeyId, Level,
    Loaded, ReadPlan, Resolution, Service, Slug, Tenant, TenantId, Timestamp, Totals, Window, Workflow, WorkflowId,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What went wrong inside a store. `Display` tells a client nothing that is internal; the source is for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or is too busy; the same call may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many calls of this tenant wait already; the same call may succeed later.
    #[error("too many reads of this tenant are waiting")]
    Overloaded,
    /// Two transactions stood in each other's way; trying again at once is right.
    #[error("the transaction must be repeated")]
    Conflict(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What should be unique exists already.
    #[error("exists already")]
    Duplicate,
    /// Anything else: a bug, a foreign schema, damaged data.
    #[error("the database gave an unexpected answer")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What an error is about, for the log: its source, if it has one.
pub(crate) fn source(error: &StoreError) -> &(dyn std::error::Error + 'static) {
    std::error::Error::source(error).unwrap_or(error)
}

/// Which errors are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorFilter {
    /// Only those of one service.
    pub service: Option<Service>,
    /// Only those of one level.
    pub level: Option<Level>,
}

impl ErrorFilter {
    /// Whether an error is asked for.
    #[must_use]
    pub fn matches(&self, kind: ErrorKind) -> bool {
        self.service.is_none_or(|service| service == kind.service) && self.level.is_none_or(|level| level == kind.level)
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many to pass over.
    pub offset: u32,
    /// How many to give at most.
    pub limit: u32,
}

/// An error as the log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedError {
    /// The call in which it happened.
    pub call_id: CallId,
    /// Its position in that call's list.
    pub position: u32,
    /// What happened.
    pub error: CallError,
}

/// What the read endpoints ask.
#[async_trait]
pub trait AnalyticsStore: Send + Sync {
    /// Reads what a plan needs.
    async fn load(&self, tenant: TenantId, plan: &ReadPlan) -> Result<Loaded, StoreError>;

    /// Sends the calls of a plan's window that its filters may let through, in pages of some thousands and from one snapshot of
    /// the database. It stops when the receiver is dropped.
    async fn send_calls(
        &self,
        tenant: TenantId,
        plan: &ReadPlan,
        pages: mpsc::Sender<Vec<CallFacts>>,
    ) -> Result<(), StoreError>;

    /// Reads what a plan needs, and a page of the errors of the calls of its window: those that match, newest first,
    /// ties by call id, then position.
    async fn load_errors(
        &self,
        tenant: TenantId,
        plan: &ReadPlan,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<(Loaded, Vec<LoggedError>), StoreError>;

    /// The number of calls that are active now.
    async fn count_active_calls(&self, tenant: TenantId) -> Result<u64, StoreError>;

    /// Succeeds when the database answers, and takes changes.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Everything that one batch changes for one tenant.
#[derive(Debug)]
pub struct TenantChanges {
    /// When that was decided.
    pub decided_at: Timestamp,
    /// Calls to store as they are here, each id once.
    pub calls: Vec<Arc<Call>>,
    /// Calls that are closed because their end never came, as they are from now on.
    pub timed_out: Vec<CallFacts>,
    /// Calls among `calls` whose stored errors must go first.
    pub stale_errors: Vec<CallId>,
    /// Workflows that the calls name, each id once, with the start of the newest call that names it and the number of
    /// its group.
    pub workflows: Vec<(Workflow, Timestamp, GroupId)>,
    /// What to add to the rollups.
    pub rollups: RollupDeltas,
    /// What followers are told, in order.
    pub events: Vec<CallEvent>,
    /// How many of a call's errors go into the log, the first ones, where that is not all of them.
    pub logged_errors: HashMap<CallId, usize>,
    /// Groups that the tenant does not have yet.
    pub groups: Vec<(Group, GroupId)>,
    /// The counts from now on.
    pub counts: KeptCounts,
    /// Whether they were others before.
    pub counts_changed: bool,
    /// What met a bound; nothing to store.
    pub bounds_met: BoundsMet,
}

impl TenantChanges {
    /// No changes.
    #[must_use]
    pub fn at(decided_at: Timestamp) -> Self {
        let (calls, timed_out, stale_errors, workflows, rollups, events) = Default::default();
        let (logged_errors, groups, counts, counts_changed, bounds_met) = Default::default();
        Self {
            decided_at,
            calls,
            timed_out,
            stale_errors,
            workflows,
            rollups,
            events,
            logged_errors,
            groups,
            counts,
            counts_changed,
            bounds_met,
        }
    }
}

/// What a writer knows before it plans a batch; it stays so until the writer's transaction ends.
#[derive(Debug, Default)]
pub struct LockedCalls {
    /// Calls that started before it are no longer kept, and none may come back; `None` when every call is kept.
    pub kept_from: Option<Timestamp>,
    /// Those of the asked calls that exist.
    pub calls: Vec<CallFacts>,
    /// How many errors of these the log has, where it has any.
    pub logged_errors: HashMap<CallId, usize>,
    /// What is stored of the tenant.
    pub counts: KeptCounts,
    /// The slugs of the workflows of calls that may have to be closed.
    pub slugs: HashMap<WorkflowId, Slug>,
}

/// Opens the transactions that change calls.
#[async_trait]
pub trait CallStore: Send + Sync {
    /// Begins a transaction that will change calls.
    async fn begin(&self) -> Result<Box<dyn CallTransaction>, StoreError>;

    /// Whether one transaction should carry all tenants of a batch (one file, one sync) rather than one tenant each.
    fn one_transaction_for_all_tenants(&self) -> bool;

    /// Transactions that may be open side by side, each of another tenant.
    fn writers_max(&self) -> usize {
        1
    }

    /// Whether requests that write something other than calls, such as tickets, have had to wait for the end of a
    /// transaction lately: then transactions should be short.
    fn is_writer_awaited(&self) -> bool {
        false
    }

    /// Calls that are active and started before an instant: the oldest first, at most `limit`.
    async fn list_overdue_calls(
        &self,
        tenant: TenantId,
        started_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<CallId>, StoreError>;
}

/// A transaction that changes calls. Dropped without a commit, it leaves no trace.
#[async_trait]
pub trait CallTransaction: Send {
    /// Loads the calls that exist, and makes sure that no other transaction changes any of `ids`, existing or not,
    /// until this one ends. `ids` holds each id once.
    async fn lock_calls(&mut self, tenant: TenantId, ids: &[CallId]) -> Result<LockedCalls, StoreError>;

    /// Every group of the tenant. Called after [`Self::lock_calls`] of the tenant, before its [`Self::save`].
    async fn load_groups(&mut self, tenant: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError>;

    /// The slugs of some workflows. Called when the tenant is locked, as well.
    async fn load_slugs(
        &mut self,
        tenant: TenantId,
        workflows: &[WorkflowId],
    ) -> Result<HashMap<WorkflowId, Slug>, StoreError>;

    /// Writes changes.
    async fn save(&mut self, tenant: TenantId, changes: &TenantChanges) -> Result<(), StoreError>;

    /// Makes everything durable.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// What checks and rebuilds rollups.
#[async_trait]
pub trait RollupStore: Send + Sync {
    /// The starts of the days of UTC that have calls or rollups, ascending.
    async fn list_days(&self, tenant: TenantId) -> Result<Vec<Timestamp>, StoreError>;

    /// Begins a transaction that sees one state of the database; with `writable`, one that may change rollups, and
    /// that no other transaction changes calls beside.
    async fn begin_audit(&self, tenant: TenantId, writable: bool) -> Result<Box<dyn RollupTransaction>, StoreError>;
}

/// What a tenant's writers agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantState {
    /// Calls that started before it are no longer kept; `None` when every call is kept.
    pub kept_from: Option<Timestamp>,
    /// How often rollups were changed other than by the addition of contributions.
    pub rebuilds: i64,
}

/// Where a call stands among those of its tenant: by start, ties by id.
pub type CallPosition = (Timestamp, CallId);

/// A transaction over one tenant's rollups and the calls beneath them.
#[async_trait]
pub trait RollupTransaction: Send {
    /// What the tenant's writers agree on, as this transaction sees it.
    fn state(&self) -> TenantState;

    /// The calls that started in a window, by position: those after one, if there is one, and at most `limit`.
    async fn load_calls(
        &mut self,
        window: Window,
        after: Option<CallPosition>,
        limit: u32,
    ) -> Result<Vec<CallFacts>, StoreError>;

    /// Every group of the tenant.
    async fn load_groups(&mut self) -> Result<Vec<(Group, GroupId)>, StoreError>;

    /// The rollups of the buckets that start in a window, without those that are zero.
    async fn load_rollups(
        &mut self,
        resolution: Resolution,
        window: Window,
    ) -> Result<BTreeMap<RollupKey, Totals>, StoreError>;

    /// Deletes the rollups of the buckets that start in a window, at every resolution.
    async fn delete_rollups(&mut self, window: Window) -> Result<(), StoreError>;

    /// Adds to the rollups.
    async fn add_rollups(&mut self, deltas: &RollupDeltas) -> Result<(), StoreError>;

    /// Raises [`TenantState::rebuilds`].
    async fn count_rebuild(&mut self) -> Result<(), StoreError>;

    /// Makes everything durable.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// What deletes what is no longer kept.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Raises the start from which on a tenant's calls are kept; never lowers it. From then on no record of a call that
    /// started earlier changes anything.
    async fn keep_calls_from(&self, tenant: TenantId, horizon: Timestamp) -> Result<(), StoreError>;

    /// Deletes calls that are no longer kept, with their errors: the oldest first, at most `limit`. Says how many that
    /// were; fewer than `limit` when none is left. Rollups stay.
    async fn delete_expired_calls(&self, tenant: TenantId, limit: u32) -> Result<usize, StoreError>;

    /// The start of the first day of UTC that has rollups.
    async fn find_first_rollup_day(&self, tenant: TenantId) -> Result<Option<Timestamp>, StoreError>;

    /// Deletes the rollups of the buckets that start in a window, a day at most, in a few transactions; each leaves
    /// either all resolutions of a sum or none.
    async fn delete_rollups(&self, tenant: TenantId, window: Window) -> Result<(), StoreError>;
}

/// Which of a tenant's events are still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventRange {
    /// The event before the first that is kept.
    pub before: EventId,
    /// The last event that was committed.
    pub last: EventId,
}

/// An event that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedEvent {
    /// Its number.
    pub id: EventId,
    /// What happened.
    pub event: CallEvent,
}

/// What old events make room by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBounds {
    /// Events that were recorded earlier go.
    pub recorded_from: Timestamp,
    /// Most events of a tenant; the oldest go.
    pub events_max: i64,
}

/// Events, which are written with the changes that they tell of.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Which events are there.
    async fn find_event_range(&self, tenant: TenantId) -> Result<EventRange, StoreError>;

    /// The events after one, in order, at most `limit`.
    async fn load_events(&self, tenant: TenantId, after: EventId, limit: u32)
    -> Result<Vec<NumberedEvent>, StoreError>;

    /// Deletes events that are out of bounds, the oldest first, at most `limit`; says how many that were.
    async fn delete_old_events(&self, tenant: TenantId, bounds: EventBounds, limit: u32) -> Result<usize, StoreError>;

    /// Tells every process on the same database that batches of these tenants were committed. A hint: it may get lost.
    async fn announce(&self, tenants: &[TenantId]) -> Result<(), StoreError>;

    /// Hears what other processes announce, until the connection is lost or `heard` is dropped.
    async fn listen(&self, heard: mpsc::Sender<TenantId>) -> Result<(), StoreError>;
}

/// Tenants and keys.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// Adds a tenant; [`StoreError::Duplicate`] when its slug is taken.
    async fn create_tenant(&self, tenant: &Tenant) -> Result<(), StoreError>;

    /// Every tenant, by slug.
    async fn list_tenants(&self) -> Result<Vec<Tenant>, StoreError>;

    /// The tenant with a slug.
    async fn find_tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError>;

    /// Adds a key under the hash of its secret, and writes down who did it. `false`, and no key, when the tenant has
    /// `valid_max` keys already that are valid when this one is created; of several servers that create keys at once,
    /// none passes that number.
    async fn create_key(
        &self,
        key: &ApiKey,
        secret_hash: &[u8; 32],
        actor: &Actor,
        valid_max: u32,
    ) -> Result<bool, StoreError>;

    /// A tenant's keys, the oldest first.
    async fn list_keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>, StoreError>;

    /// Marks a key as revoked, and writes down who did it. `false` when the tenant has no such key; an earlier
    /// revocation keeps its time, and nothing is written down.
    async fn revoke_key(
        &self,
        tenant: TenantId,
        key: KeyId,
        revoked_at: Timestamp,
        actor: &Actor,
    ) -> Result<bool, StoreError>;

    /// The key with a hash, valid or not: the one place where a tenant is found rather than given.
    async fn find_key(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError>;
}

//! Turns the facts of telemetry into records. The facts of a call are stored first; then its whole record is derived
//! from all of them, and goes the way of every record. The record's version is the number of changes of the assembly, so
//! when two requests of a call meet, the record that is derived from fewer facts is ignored.

use crate::assemblies::{AssemblyChanges, AssemblyKey, AssemblyStore, LockedAssembly, State, Write};
use crate::clock::Clock;
use crate::ingestion::{IngestQueue, SubmitError};
use crate::ports::StoreError;
use callscope_connectors::assembly::{Appended, Assembly};
use callscope_connectors::derivation::{Derived, Identity, ProviderNaming, ReportedErrors};
use callscope_connectors::extraction::CallFacts;
use callscope_connectors::facts::Fact;
use callscope_connectors::report::CallReport;
pub use callscope_connectors::sealing::AssemblySettings;
use callscope_connectors::sealing::{is_idle, may_begin, must_touch, purge_at};
use callscope_domain::{Call, CallId, ExternalId, Incoming, TenantId, Timestamp, TransitionKind};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// Most attempts at a transaction that conflicts with others.
const ATTEMPTS_MAX: usize = 5;

/// Converts a report to a call, by the rules of records. The error is for the log.
pub type ReportReading = fn(TenantId, &CallReport, Timestamp) -> Result<Arc<Call>, String>;

/// Why facts were not stored, or are not known to have been. Sending them again is always right.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The facts are stored, and the record is not.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// How many facts of a request were kept, and why the others were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssemblyOutcome {
    /// New facts.
    pub kept: usize,
    /// Facts that were stored already.
    pub repeated: usize,
    /// Facts of calls whose facts were deleted some time after their end.
    pub late: usize,
    /// Facts past the limit of their call.
    pub beyond_call: usize,
    /// Facts of new calls of a tenant that has reached its bounds.
    pub beyond_tenant: usize,
    /// Records that were derived and not accepted.
    pub refused_records: usize,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Assembler {
    store: Arc<dyn AssemblyStore>,
    queue: IngestQueue,
    clock: Arc<dyn Clock>,
    settings: AssemblySettings,
    read_report: ReportReading,
    naming: ProviderNaming,
}

/// The facts of one request about one call.
struct Arrived {
    key: AssemblyKey,
    call_id: CallId,
    facts: Vec<Fact>,
}

impl Assembler {
    /// A service over its parts.
    #[must_use]
    pub fn new(
        store: Arc<dyn AssemblyStore>,
        queue: IngestQueue,
        clock: Arc<dyn Clock>,
        settings: AssemblySettings,
        read_report: ReportReading,
        naming: ProviderNaming,
    ) -> Self {
        Self { store, queue, clock, settings, read_report, naming }
    }

    /// The bounds on assemblies.
    #[must_use]
    pub const fn settings(&self) -> &AssemblySettings {
        &self.settings
    }

    /// Stores the facts of a request, and the records of their calls. When this returns, both are durable.
    pub async fn submit(&self, tenant: TenantId, calls: Vec<CallFacts>) -> Result<AssemblyOutcome, AssemblyError> {
        let mut outcome = AssemblyOutcome::default();
        let mut records = Vec::with_capacity(calls.len());
        for CallFacts { key, facts } in calls {
            let Some(call_id) = call_id(tenant, &key) else {
                outcome.beyond_call += facts.len();
                continue;
            };
            let arrived = Arrived { key, call_id, facts };
            if let Some(report) = self.assemble_in_turn(tenant, &arrived, &mut outcome).await? {
                records.extend(self.record(tenant, &report, &mut outcome));
            }
        }
        let kinds = self.queue.submit(tenant, records).await?;
        outcome.refused_records += kinds.iter().filter(|kind| is_refused(**kind)).count();
        Ok(outcome)
    }

    /// Closes an active call that has been without telemetry for too long. `false` when it is not idle any more.
    pub async fn close_idle(
        &self,
        tenant: TenantId,
        key: &AssemblyKey,
        call_id: CallId,
    ) -> Result<bool, AssemblyError> {
        let Some(report) = self.close(tenant, key, call_id).await? else { return Ok(false) };
        let record = self.record(tenant, &report, &mut AssemblyOutcome::default());
        if let Err(error) = self.queue.submit(tenant, record.into_iter().collect()).await {
            self.reopen(tenant, key, call_id).await?;
            return Err(error.into());
        }
        Ok(true)
    }

    async fn assemble_in_turn(
        &self,
        tenant: TenantId,
        arrived: &Arrived,
        outcome: &mut AssemblyOutcome,
    ) -> Result<Option<CallReport>, StoreError> {
        let mut attempts = 1;
        loop {
            match self.assemble(tenant, arrived, outcome).await {
                Err(StoreError::Conflict(_)) if attempts < ATTEMPTS_MAX => attempts += 1,
                done => return done,
            }
        }
    }

    async fn assemble(
        &self,
        tenant: TenantId,
        arrived: &Arrived,
        outcome: &mut AssemblyOutcome,
    ) -> Result<Option<CallReport>, StoreError> {
        let Arrived { key, call_id, facts } = arrived;
        let now = self.clock.now();
        let (mut transaction, locked) = self.store.lock_assembly(tenant, key, *call_id, now).await?;
        if locked.is_new {
            if transaction.has_call().await? {
                outcome.late += facts.len();
                return Ok(None);
            }
            // Counting reads all assemblies of the tenant, so it is not repeated for a request that met the bound.
            if outcome.beyond_tenant > 0 || !may_begin(transaction.load_tenant_use().await?, &self.settings) {
                outcome.beyond_tenant += facts.len();
                return Ok(None);
            }
        }
        let (mut assembly, reported_errors) = restored(&locked)?;
        let Appended { write, added, repeated, refused } =
            assembly.append(facts.iter().cloned(), self.settings.facts_per_call_max);
        let saves = write != Write::Nothing || must_touch(time(locked.last_seen_at), time(now));
        let revision = if saves { locked.revision } else { locked.revision - 1 };
        let derived = self.derive(key, *call_id, &assembly, &reported_errors, false);
        if saves {
            let changes = self.changes(write, &assembly, derived.as_ref(), &reported_errors, &locked, now);
            transaction.save(changes).await?;
            transaction.commit().await?;
        }
        outcome.kept += added;
        outcome.repeated += repeated;
        outcome.beyond_call += refused;
        // Also if nothing is new: the request that brought the facts may have been cut off before the record was stored.
        Ok(derived.map(|derived| CallReport { version: Some(revision), ..derived.report }))
    }

    async fn close(
        &self,
        tenant: TenantId,
        key: &AssemblyKey,
        call_id: CallId,
    ) -> Result<Option<CallReport>, StoreError> {
        let now = self.clock.now();
        let (mut transaction, locked) = self.store.lock_assembly(tenant, key, call_id, now).await?;
        let is_open = !locked.is_new && locked.state == State::Active;
        if !is_open || !is_idle(time(locked.last_seen_at), time(now), &self.settings) {
            return Ok(None);
        }
        let (assembly, reported_errors) = restored(&locked)?;
        let Some(derived) = self.derive(key, call_id, &assembly, &reported_errors, true) else {
            // Its facts do not show that there was a call.
            transaction.delete().await?;
            transaction.commit().await?;
            return Ok(None);
        };
        let changes = self.changes(Write::Nothing, &assembly, Some(&derived), &reported_errors, &locked, now);
        transaction.save(AssemblyChanges { last_seen_at: locked.last_seen_at, ..changes }).await?;
        transaction.commit().await?;
        Ok(Some(CallReport { version: Some(locked.revision), ..derived.report }))
    }

    /// Undoes a close whose record was not stored, so that the next sweep closes the call again.
    async fn reopen(&self, tenant: TenantId, key: &AssemblyKey, call_id: CallId) -> Result<(), StoreError> {
        let (mut transaction, locked) = self.store.lock_assembly(tenant, key, call_id, self.clock.now()).await?;
        // The end of the call may have arrived meanwhile.
        if locked.is_new || locked.state != State::Lost {
            return Ok(());
        }
        let (assembly, _) = restored(&locked)?;
        let changes = AssemblyChanges {
            write: Write::Nothing,
            segments: assembly.segments(),
            facts: assembly.facts().len(),
            state: State::Active,
            reported_errors: locked.reported_errors,
            last_seen_at: locked.last_seen_at,
            purge_at: None,
        };
        transaction.save(changes).await?;
        transaction.commit().await
    }

    fn derive(
        &self,
        key: &AssemblyKey,
        call_id: CallId,
        assembly: &Assembly,
        reported_errors: &ReportedErrors,
        is_idle: bool,
    ) -> Option<Derived> {
        let identity = Identity { call_id: call_id.0, key: key.clone() };
        let derived = assembly.derive(&identity, reported_errors, is_idle, self.naming)?;
        if derived.conversations > 1 {
            let conversations = derived.conversations;
            tracing::warn!(call_id = %call_id.0, conversations, "several conversations share a trace and count as one call");
        }
        Some(derived)
    }

    fn changes(
        &self,
        write: Write,
        assembly: &Assembly,
        derived: Option<&Derived>,
        reported_errors: &ReportedErrors,
        locked: &LockedAssembly,
        now: Timestamp,
    ) -> AssemblyChanges {
        let state = match derived.map_or(State::Active, |derived| derived.state) {
            // Later facts without an end do not reopen the call. They count when its end comes.
            State::Active if locked.state != State::Active => State::Lost,
            state => state,
        };
        let reported_errors = derived.map_or(reported_errors, |derived| &derived.reported_errors);
        AssemblyChanges {
            write,
            segments: assembly.segments(),
            facts: assembly.facts().len(),
            state,
            reported_errors: reported_errors.to_bytes(),
            last_seen_at: now,
            purge_at: purge_at(state, time(now), &self.settings).map(Into::into),
        }
    }

    /// The record of a report. A refused report is a bug of the server, so the client's request succeeds nevertheless.
    fn record(&self, tenant: TenantId, report: &CallReport, outcome: &mut AssemblyOutcome) -> Option<Incoming> {
        match (self.read_report)(tenant, report, self.clock.now()) {
            Ok(call) => Some(Incoming::Record(call)),
            Err(error) => {
                outcome.refused_records += 1;
                tracing::error!(error, call_id = ?report.call_id, "a record that was derived from telemetry is not valid");
                None
            }
        }
    }
}

/// The call of a key. `None` if the key cannot be the id of a call at its source.
fn call_id(tenant: TenantId, key: &AssemblyKey) -> Option<CallId> {
    let external_id = ExternalId::new(key.key.as_str()).ok()?;
    Some(CallId::derived(tenant, &key.framework.slug(), &external_id))
}

fn time(instant: Timestamp) -> DateTime<Utc> {
    instant.to_datetime().unwrap_or_default()
}

fn restored(locked: &LockedAssembly) -> Result<(Assembly, ReportedErrors), StoreError> {
    let assembly = Assembly::of_segments(locked.segments.iter().map(Vec::as_slice)).map_err(damaged)?;
    Ok((assembly, ReportedErrors::of_bytes(&locked.reported_errors).map_err(damaged)?))
}

fn damaged(fault: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(fault.into())
}

const fn is_refused(kind: TransitionKind) -> bool {
    match kind {
        TransitionKind::Expired | TransitionKind::Refused(_) => true,
        TransitionKind::Created | TransitionKind::Replaced | TransitionKind::TimedOut | TransitionKind::Ignored => {
            false
        }
    }
}

//! What the service needs of a database for calls whose telemetry arrives in pieces. Every function takes the tenant
//! first, and touches no other tenant's rows.

#![warn(missing_docs)]

use crate::ports::StoreError;
use async_trait::async_trait;
pub use callscope_connectors::assembly::Write;
pub use callscope_connectors::derivation::State;
pub use callscope_connectors::facts::{AssemblyKey, Framework};
pub use callscope_connectors::sealing::TenantUse;
use callscope_domain::{CallId, TenantId, Timestamp};

/// An assembly that the transaction holds the lock of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedAssembly {
    /// Whether it begins with this transaction. Nothing of it is stored unless the transaction is committed.
    pub is_new: bool,
    /// Its number of changes, if the transaction is committed. An earlier change has a lower number.
    pub revision: i64,
    /// Its segments, oldest first.
    pub segments: Vec<Vec<u8>>,
    /// The errors of the last record, as `ReportedErrors` stores them.
    pub reported_errors: Vec<u8>,
    /// How far its call has come.
    pub state: State,
    /// When the last fact arrived.
    pub last_seen_at: Timestamp,
}

/// The changes of an assembly by a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssemblyChanges {
    /// Its segments.
    pub write: Write,
    /// How many segments there are from now on.
    pub segments: usize,
    /// How many facts they hold.
    pub facts: usize,
    /// How far the call has come.
    pub state: State,
    /// The errors of the record.
    pub reported_errors: Vec<u8>,
    /// When the last fact arrived.
    pub last_seen_at: Timestamp,
    /// When the assembly is deleted.
    pub purge_at: Option<Timestamp>,
}

/// Opens the transactions that change assemblies.
#[async_trait]
pub trait AssemblyStore: Send + Sync {
    /// Begins a transaction over one assembly: locks the assembly of a key, or begins one at an instant.
    async fn lock_assembly(
        &self,
        tenant: TenantId,
        key: &AssemblyKey,
        call_id: CallId,
        now: Timestamp,
    ) -> Result<(Box<dyn AssemblyTransaction>, LockedAssembly), StoreError>;

    /// Assemblies of active calls that were last seen before an instant; at most `limit`.
    async fn list_idle_assemblies(
        &self,
        tenant: TenantId,
        seen_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(AssemblyKey, CallId)>, StoreError>;

    /// Deletes assemblies whose time to be deleted has come, at most `limit`, and says how many that were.
    async fn purge_assemblies(&self, tenant: TenantId, now: Timestamp, limit: u32) -> Result<usize, StoreError>;
}

/// A transaction over one assembly. Dropped without a commit, it leaves no trace.
#[async_trait]
pub trait AssemblyTransaction: Send {
    /// Whether the call exists.
    async fn has_call(&mut self) -> Result<bool, StoreError>;

    /// How many other assemblies the tenant has, and facts in them.
    async fn load_tenant_use(&mut self) -> Result<TenantUse, StoreError>;

    /// Writes changes.
    async fn save(&mut self, changes: AssemblyChanges) -> Result<(), StoreError>;

    /// Deletes the assembly.
    async fn delete(&mut self) -> Result<(), StoreError>;

    /// Makes everything durable.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

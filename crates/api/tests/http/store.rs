//! The store of the tests: a real database, with a switch for failures.

use async_trait::async_trait;
use callscope_analytics::access::AccessStore;
use callscope_analytics::assemblies::{AssemblyKey, AssemblyStore, AssemblyTransaction, LockedAssembly};
use callscope_analytics::call_reader::{CallReader, WantedCalls};
use callscope_analytics::ports::{
    AnalyticsStore, CallPosition, CallStore, CallTransaction, ErrorFilter, LockedCalls, LoggedError, Page, StoreError,
    TenantChanges, TenantStore,
};
use callscope_domain::{
    Actor, ApiKey, CallFacts, CallId, Group, GroupId, KeyId, Loaded, ReadPlan, Slug, Tenant, TenantId, Ticket,
    Timestamp, WorkflowId, WorkflowLabel,
};
use callscope_persistence::Database;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, watch};

/// What no client may ever see.
pub const SECRET: &str = "connection to 10.0.0.7 as postgres failed";

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Sound,
    /// The database cannot be reached.
    Unavailable,
    /// The database answers nonsense.
    Broken,
    /// Other transactions are always in the way.
    Conflicting,
    /// Everything works until the commit.
    CommitFails,
    /// Only keys cannot be found.
    KeysUnavailable,
    /// A bug.
    Panics,
}

/// A database with a switch.
pub struct SwitchedStore {
    pub database: Database,
    mode: Mutex<Mode>,
    /// Whether transactions may begin.
    open: watch::Sender<bool>,
    /// How many transactions were asked for.
    asked: watch::Sender<usize>,
    /// Whether questions are answered.
    answering: watch::Sender<bool>,
    /// How many questions were asked, and how many keys were looked for.
    questions: watch::Sender<usize>,
    key_lookups: AtomicUsize,
}

impl SwitchedStore {
    pub fn new(database: Database) -> Self {
        let (open, asked) = (watch::Sender::new(true), watch::Sender::new(0));
        let (answering, questions, key_lookups) =
            (watch::Sender::new(true), watch::Sender::new(0), AtomicUsize::new(0));
        Self { database, mode: Mutex::new(Mode::Sound), open, asked, answering, questions, key_lookups }
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    /// Makes every transaction wait.
    pub fn hold_transactions(&self) {
        self.open.send_replace(false);
        self.asked.send_replace(0);
    }

    /// Lets them go on.
    pub fn release_transactions(&self) {
        self.open.send_replace(true);
    }

    /// Waits until a transaction has been asked for.
    pub async fn transaction_asked(&self) {
        self.asked.subscribe().wait_for(|&asked| asked > 0).await.expect("the store lives");
    }

    /// Makes every question wait.
    pub fn hold_questions(&self) {
        self.answering.send_replace(false);
    }

    /// Lets them go on.
    pub fn release_questions(&self) {
        self.answering.send_replace(true);
    }

    /// Waits until so many questions have been asked.
    pub async fn questions_asked(&self, count: usize) {
        self.questions.subscribe().wait_for(|&asked| asked >= count).await.expect("the store lives");
    }

    /// How many questions have been asked.
    pub fn questions(&self) -> usize {
        *self.questions.borrow()
    }

    /// How many keys have been looked for.
    pub fn key_lookups(&self) -> usize {
        self.key_lookups.load(Ordering::SeqCst)
    }

    /// The database, if it is to be had, for a question.
    async fn asked(&self) -> Result<&Database, StoreError> {
        self.questions.send_modify(|asked| *asked += 1);
        self.answering.subscribe().wait_for(|&answering| answering).await.expect("the store lives");
        self.sound()
    }

    fn mode(&self) -> Mode {
        *self.mode.lock()
    }

    /// The database, if it is to be had.
    fn sound(&self) -> Result<&Database, StoreError> {
        match self.mode() {
            Mode::Sound | Mode::CommitFails | Mode::KeysUnavailable => Ok(&self.database),
            Mode::Unavailable => Err(StoreError::Unavailable(SECRET.into())),
            Mode::Broken => Err(StoreError::Broken(SECRET.into())),
            Mode::Conflicting => Err(StoreError::Conflict(SECRET.into())),
            Mode::Panics => panic!("{SECRET}"),
        }
    }
}

#[async_trait]
impl CallReader for SwitchedStore {
    async fn list_calls(
        &self,
        tenant: TenantId,
        wanted: &WantedCalls,
        after: Option<CallPosition>,
        limit: u32,
    ) -> Result<Vec<CallFacts>, StoreError> {
        self.asked().await?.list_calls(tenant, wanted, after, limit).await
    }

    async fn find_call(
        &self,
        tenant: TenantId,
        id: CallId,
    ) -> Result<Option<(CallFacts, Vec<LoggedError>)>, StoreError> {
        self.asked().await?.find_call(tenant, id).await
    }

    async fn load_labels(
        &self,
        tenant: TenantId,
        ids: &[WorkflowId],
    ) -> Result<HashMap<WorkflowId, WorkflowLabel>, StoreError> {
        self.sound()?.load_labels(tenant, ids).await
    }
}

#[async_trait]
impl AnalyticsStore for SwitchedStore {
    async fn load(&self, tenant: TenantId, plan: &ReadPlan) -> Result<Loaded, StoreError> {
        self.asked().await?.load(tenant, plan).await
    }

    async fn send_calls(
        &self,
        tenant: TenantId,
        plan: &ReadPlan,
        pages: mpsc::Sender<Vec<CallFacts>>,
    ) -> Result<(), StoreError> {
        AnalyticsStore::send_calls(self.asked().await?, tenant, plan, pages).await
    }

    async fn load_errors(
        &self,
        tenant: TenantId,
        plan: &ReadPlan,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<(Loaded, Vec<LoggedError>), StoreError> {
        self.asked().await?.load_errors(tenant, plan, filter, page).await
    }

    async fn count_active_calls(&self, tenant: TenantId) -> Result<u64, StoreError> {
        self.asked().await?.count_active_calls(tenant).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.sound()?.ping().await
    }
}

#[async_trait]
impl CallStore for SwitchedStore {
    async fn begin(&self) -> Result<Box<dyn CallTransaction>, StoreError> {
        self.asked.send_modify(|asked| *asked += 1);
        self.open.subscribe().wait_for(|&open| open).await.expect("the store lives");
        let transaction = self.sound()?.begin().await?;
        let commits = self.mode() != Mode::CommitFails;
        Ok(Box::new(SwitchedTransaction { transaction, commits }))
    }

    fn one_transaction_for_all_tenants(&self) -> bool {
        self.database.one_transaction_for_all_tenants()
    }

    async fn list_overdue_calls(
        &self,
        tenant: TenantId,
        started_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<CallId>, StoreError> {
        self.sound()?.list_overdue_calls(tenant, started_before, limit).await
    }
}

#[async_trait]
impl AssemblyStore for SwitchedStore {
    async fn lock_assembly(
        &self,
        tenant: TenantId,
        key: &AssemblyKey,
        call_id: CallId,
        now: Timestamp,
    ) -> Result<(Box<dyn AssemblyTransaction>, LockedAssembly), StoreError> {
        self.sound()?.lock_assembly(tenant, key, call_id, now).await
    }

    async fn list_idle_assemblies(
        &self,
        tenant: TenantId,
        seen_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(AssemblyKey, CallId)>, StoreError> {
        self.sound()?.list_idle_assemblies(tenant, seen_before, limit).await
    }

    async fn purge_assemblies(&self, tenant: TenantId, now: Timestamp, limit: u32) -> Result<usize, StoreError> {
        self.sound()?.purge_assemblies(tenant, now, limit).await
    }
}

struct SwitchedTransaction {
    transaction: Box<dyn CallTransaction>,
    commits: bool,
}

#[async_trait]
impl CallTransaction for SwitchedTransaction {
    async fn lock_calls(&mut self, tenant: TenantId, ids: &[CallId]) -> Result<LockedCalls, StoreError> {
        self.transaction.lock_calls(tenant, ids).await
    }

    async fn load_groups(&mut self, tenant: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError> {
        self.transaction.load_groups(tenant).await
    }

    async fn load_slugs(
        &mut self,
        tenant: TenantId,
        workflows: &[WorkflowId],
    ) -> Result<HashMap<WorkflowId, Slug>, StoreError> {
        self.transaction.load_slugs(tenant, workflows).await
    }

    async fn save(&mut self, tenant: TenantId, changes: &TenantChanges) -> Result<(), StoreError> {
        self.transaction.save(tenant, changes).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        if !self.commits {
            return Err(StoreError::Unavailable(SECRET.into()));
        }
        self.transaction.commit().await
    }
}

#[async_trait]
impl TenantStore for SwitchedStore {
    async fn create_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.sound()?.create_tenant(tenant).await
    }

    async fn list_tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        self.sound()?.list_tenants().await
    }

    async fn find_tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        self.sound()?.find_tenant(slug).await
    }

    async fn create_key(
        &self,
        key: &ApiKey,
        secret_hash: &[u8; 32],
        actor: &Actor,
        valid_max: u32,
    ) -> Result<bool, StoreError> {
        self.sound()?.create_key(key, secret_hash, actor, valid_max).await
    }

    async fn list_keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>, StoreError> {
        self.sound()?.list_keys(tenant).await
    }

    async fn revoke_key(
        &self,
        tenant: TenantId,
        key: KeyId,
        revoked_at: Timestamp,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        self.sound()?.revoke_key(tenant, key, revoked_at, actor).await
    }

    async fn find_key(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        self.key_lookups.fetch_add(1, Ordering::SeqCst);
        // Or nothing but this would ever fail.
        match self.mode() {
            Mode::KeysUnavailable => Err(StoreError::Unavailable(SECRET.into())),
            _ => self.database.find_key(secret_hash).await,
        }
    }
}

#[async_trait]
impl AccessStore for SwitchedStore {
    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError> {
        self.sound()?.has_tenant(tenant).await
    }

    async fn find_key_by_id(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKey>, StoreError> {
        self.sound()?.find_key_by_id(tenant, key).await
    }

    async fn list_key_page(&self, tenant: TenantId, page: Page) -> Result<(Vec<ApiKey>, u64), StoreError> {
        self.sound()?.list_key_page(tenant, page).await
    }

    async fn create_ticket(&self, ticket: &Ticket, hash: &[u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        self.sound()?.create_ticket(ticket, hash, now).await
    }

    async fn take_ticket(&self, tenant: TenantId, hash: &[u8; 32]) -> Result<Option<Ticket>, StoreError> {
        self.sound()?.take_ticket(tenant, hash).await
    }
}

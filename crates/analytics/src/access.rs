//! What letting clients in needs of a database, beside the keys of [`crate::ports::TenantStore`].

use crate::ports::{Page, StoreError};
use async_trait::async_trait;
use callscope_domain::{ApiKey, KeyId, TenantId, Ticket, Timestamp};

/// Most tickets of a tenant that are not used yet. They live for seconds; more than that are no people's.
pub const TICKETS_PER_TENANT_MAX: i64 = 1000;

/// Tenants by id, keys by id, and tickets.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Whether a tenant exists.
    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError>;

    /// A tenant's key, valid or not.
    async fn find_key_by_id(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKey>, StoreError>;

    /// A page of a tenant's keys, the oldest first, and the number of all of them.
    async fn list_key_page(&self, tenant: TenantId, page: Page) -> Result<(Vec<ApiKey>, u64), StoreError>;

    /// Adds a ticket under the hash of its text, after deleting the tenant's expired ones. `false`, and no ticket, when
    /// the tenant has [`TICKETS_PER_TENANT_MAX`] already.
    async fn create_ticket(&self, ticket: &Ticket, hash: &[u8; 32], now: Timestamp) -> Result<bool, StoreError>;

    /// Removes a tenant's ticket, expired or not, and returns it. Of concurrent calls one gets it.
    async fn take_ticket(&self, tenant: TenantId, hash: &[u8; 32]) -> Result<Option<Ticket>, StoreError>;
}

//! API keys that are kept for a moment, so that a credential does not cost a query with every request.
//!
//! Only keys that exist are kept. What is revoked here is refused at once; what another process revokes, when the time
//! is over.

use crate::ports::{StoreError, TenantStore};
use async_trait::async_trait;
use callscope_domain::{Actor, ApiKey, KeyId, Slug, Tenant, TenantId, Timestamp};
use moka::future::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most keys that are kept.
const KEYS_MAX: u64 = 10_000;

/// The hash of a key's secret, as of a number of revocations: what was found before one is never found after it, not
/// even by a lookup that was under way.
type Place = (u64, [u8; 32]);

/// A [`TenantStore`] whose keys are kept for a moment.
pub struct CachedTenants {
    store: Arc<dyn TenantStore>,
    keys: Cache<Place, Arc<ApiKey>>,
    revocations: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How often keys were there, and how often the store was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLookups {
    /// They were there.
    pub hits: u64,
    /// The store was asked, by this request or one at the same moment.
    pub misses: u64,
}

/// Why a key is not kept. Shared by all who waited for it.
enum Unkept {
    Unknown,
    Failed(Arc<StoreError>),
}

/// Counts a revocation when it is over, even if whoever asked for it went away.
struct Revocation<'a>(&'a AtomicU64);

impl Drop for Revocation<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl CachedTenants {
    /// Keeps the keys of a store for so long.
    #[must_use]
    pub fn new(store: Arc<dyn TenantStore>, ttl: Duration) -> Self {
        let keys = Cache::builder().max_capacity(KEYS_MAX).time_to_live(ttl).build();
        let [revocations, hits, misses] = Default::default();
        Self { store, keys, revocations, hits, misses }
    }

    /// How often what was asked for was there.
    #[must_use]
    pub fn lookups(&self) -> KeyLookups {
        KeyLookups { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    async fn load(&self, secret_hash: &[u8; 32]) -> Result<Arc<ApiKey>, Unkept> {
        match self.store.find_key(secret_hash).await {
            Ok(Some(key)) => Ok(Arc::new(key)),
            Ok(None) => Err(Unkept::Unknown),
            Err(error) => Err(Unkept::Failed(Arc::new(error))),
        }
    }
}

#[async_trait]
impl TenantStore for CachedTenants {
    async fn create_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.store.create_tenant(tenant).await
    }

    async fn list_tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        self.store.list_tenants().await
    }

    async fn find_tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        self.store.find_tenant(slug).await
    }

    async fn create_key(&self, key: &ApiKey, secret_hash: &[u8; 32], actor: &Actor) -> Result<(), StoreError> {
        self.store.create_key(key, secret_hash, actor).await
    }

    async fn list_keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>, StoreError> {
        self.store.list_keys(tenant).await
    }

    async fn revoke_key(
        &self,
        tenant: TenantId,
        key: KeyId,
        revoked_at: Timestamp,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        // Whatever comes of it: a revocation whose answer was lost may have been done.
        let _revocation = Revocation(&self.revocations);
        self.store.revoke_key(tenant, key, revoked_at, actor).await
    }

    async fn find_key(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let place = (self.revocations.load(Ordering::SeqCst), *secret_hash);
        if let Some(key) = self.keys.get(&place).await {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Some((*key).clone()));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        match self.keys.try_get_with(place, self.load(secret_hash)).await {
            Ok(key) => Ok(Some((*key).clone())),
            Err(unkept) => match &*unkept {
                Unkept::Unknown => Ok(None),
                Unkept::Failed(error) => Err(same(error)),
            },
        }
    }
}

/// The same error for one more who waited.
fn same(error: &Arc<StoreError>) -> StoreError {
    let source = || Box::new(Arc::clone(error));
    match **error {
        StoreError::Unavailable(_) => StoreError::Unavailable(source()),
        StoreError::Conflict(_) => StoreError::Conflict(source()),
        StoreError::Duplicate => StoreError::Duplicate,
        StoreError::Broken(_) => StoreError::Broken(source()),
    }
}

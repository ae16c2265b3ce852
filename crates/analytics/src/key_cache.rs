//! API keys that are kept for a moment, so that a credential does not cost a query with every request.
//!
//! Only keys that exist are kept. What is revoked here is refused at once; what another process revokes, when the time
//! is over.

use crate::ports::{StoreError, TenantStore};
use async_trait::async_trait;
use callscope_domain::{Actor, ApiKey, KeyId, Slug, Tenant, TenantId, Timestamp};
use moka::future::Cache;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const KEYS_MAX: u64 = 10_000;

/// How often a key is looked up anew because a revocation came in between, before the store is asked without the cache.
const LOOKUPS_MAX: usize = 3;

/// A [`TenantStore`] that caches keys for a short time.
pub struct CachedTenants {
    store: Arc<dyn TenantStore>,
    /// By the hash of the secret.
    keys: Cache<[u8; 32], Kept>,
    revocations: Revocations,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How often keys were there, and how often the store was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLookups {
    pub hits: u64,
    /// The store was asked, by this request or one at the same moment.
    pub misses: u64,
}

/// Why a key could not be loaded. Shared by all concurrent lookups of it.
enum Unkept {
    Unknown,
    Failed(Arc<StoreError>),
}

/// A key, and the number of revocations of all tenants when its lookup began.
#[derive(Clone)]
struct Kept {
    key: Arc<ApiKey>,
    revocations: u64,
}

/// Numbers revocations, and holds the last one of each tenant: one tenant's revocations must not make the server look up
/// the keys of all others anew.
#[derive(Default)]
struct Revocations {
    count: AtomicU64,
    /// Bounded by the number of tenants.
    last: RwLock<HashMap<TenantId, u64>>,
}

impl Revocations {
    /// Whether a key of the same tenant was revoked after the lookup began.
    fn outdate(&self, kept: &Kept) -> bool {
        let last = self.last.read();
        last.get(&kept.key.tenant_id).is_some_and(|&last| last > kept.revocations)
    }
}

/// Notes a revocation when it is over, even if its request went away.
struct Revocation<'a>(&'a Revocations, TenantId);

impl Drop for Revocation<'_> {
    fn drop(&mut self) {
        let mut last = self.0.last.write();
        last.insert(self.1, self.0.count.fetch_add(1, Ordering::SeqCst) + 1);
    }
}

impl CachedTenants {
    #[must_use]
    pub fn new(store: Arc<dyn TenantStore>, ttl: Duration) -> Self {
        let keys = Cache::builder().max_capacity(KEYS_MAX).time_to_live(ttl).build();
        let [hits, misses] = Default::default();
        Self { store, keys, revocations: Revocations::default(), hits, misses }
    }

    #[must_use]
    pub fn lookups(&self) -> KeyLookups {
        KeyLookups { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    async fn load(&self, secret_hash: &[u8; 32]) -> Result<Kept, Unkept> {
        let revocations = self.revocations.count.load(Ordering::SeqCst);
        match self.store.find_key(secret_hash).await {
            Ok(Some(key)) => Ok(Kept { key: Arc::new(key), revocations }),
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

    async fn create_key(
        &self,
        key: &ApiKey,
        secret_hash: &[u8; 32],
        actor: &Actor,
        valid_max: u32,
    ) -> Result<bool, StoreError> {
        self.store.create_key(key, secret_hash, actor, valid_max).await
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
        // Also after an error: the revocation may have been committed although its answer was lost.
        let _revocation = Revocation(&self.revocations, tenant);
        self.store.revoke_key(tenant, key, revoked_at, actor).await
    }

    async fn find_key(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        if let Some(kept) = self.keys.get(secret_hash).await
            && !self.revocations.outdate(&kept)
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Some((*kept.key).clone()));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        for _ in 0..LOOKUPS_MAX {
            match self.keys.try_get_with(*secret_hash, self.load(secret_hash)).await {
                // It was there, or its lookup was under way, before the revocation.
                Ok(kept) if self.revocations.outdate(&kept) => self.keys.invalidate(secret_hash).await,
                Ok(kept) => return Ok(Some((*kept.key).clone())),
                Err(unkept) => {
                    return match &*unkept {
                        Unkept::Unknown => Ok(None),
                        Unkept::Failed(error) => Err(same(error)),
                    };
                }
            }
        }
        self.store.find_key(secret_hash).await
    }
}

/// Clones an error for each waiter of a shared lookup; its source becomes an `Arc`.
fn same(error: &Arc<StoreError>) -> StoreError {
    let source = || Box::new(Arc::clone(error));
    match **error {
        StoreError::Overloaded => StoreError::Overloaded,
        StoreError::Unavailable(_) => StoreError::Unavailable(source()),
        StoreError::Conflict(_) => StoreError::Conflict(source()),
        StoreError::Duplicate => StoreError::Duplicate,
        StoreError::Broken(_) => StoreError::Broken(source()),
    }
}

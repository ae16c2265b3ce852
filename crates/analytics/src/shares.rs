//! Room that tenants share: bounded for all of them, and for each, so that no tenant takes it from the others.

use callscope_domain::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room for so many units (records, bytes, sockets), and who has how much of it. Nobody waits for room.
pub struct Shares {
    held: Mutex<Held>,
    max: usize,
    tenant_max: usize,
}

#[derive(Default)]
struct Held {
    by_all: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The tenant would have more than its part.
    #[error("the tenant's part is taken")]
    OfTenant,
    /// All tenants together would have more than there is.
    #[error("all of it is taken")]
    OfAll,
}

impl Shares {
    /// Room for `max` units, of one tenant `tenant_max`. A tenant that has nothing may take a larger piece at once:
    /// what fits at all is never too large for ever.
    #[must_use]
    pub fn new(max: usize, tenant_max: usize) -> Arc<Self> {
        Arc::new(Self { held: Mutex::default(), max, tenant_max })
    }

    /// Takes room, until the share is dropped.
    pub fn take(self: &Arc<Self>, tenant: TenantId, units: usize) -> Result<Share, Full> {
        self.add(tenant, units)?;
        Ok(Share { shares: Arc::clone(self), tenant, units })
    }

    /// Units that are taken.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().by_all
    }

    /// Units that there are.
    #[must_use]
    pub const fn max(&self) -> usize {
        self.max
    }

    fn add(&self, tenant: TenantId, units: usize) -> Result<(), Full> {
        let mut held = self.lock();
        let of_tenant = held.by_tenant.get(&tenant).copied().unwrap_or(0);
        let (new_of_tenant, new_of_all) = (of_tenant.saturating_add(units), held.by_all.saturating_add(units));
        if of_tenant > 0 && new_of_tenant > self.tenant_max {
            return Err(Full::OfTenant);
        }
        if new_of_all > self.max {
            return Err(Full::OfAll);
        }
        held.by_all = new_of_all;
        if new_of_tenant > 0 {
            held.by_tenant.insert(tenant, new_of_tenant);
        }
        Ok(())
    }

    fn give_back(&self, tenant: TenantId, units: usize) {
        let mut held = self.lock();
        held.by_all -= units;
        if let Some(of_tenant) = held.by_tenant.get_mut(&tenant) {
            *of_tenant -= units;
            if *of_tenant == 0 {
                held.by_tenant.remove(&tenant);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that a tenant has.
pub struct Share {
    shares: Arc<Shares>,
    tenant: TenantId,
    units: usize,
}

impl Share {
    /// Takes more room, so that it is at least this.
    pub fn grow_to(&mut self, units: usize) -> Result<(), Full> {
        let more = units.saturating_sub(self.units);
        self.shares.add(self.tenant, more)?;
        self.units += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.give_back(self.tenant, self.units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_tenant_has_its_part_and_all_have_what_there_is() {
        let [acme, globex, initech] = [1, 2, 3].map(|id| TenantId(Uuid::from_u128(id)));
        let shares = Shares::new(10, 5);
        let mut share = shares.take(acme, 3).unwrap();
        share.grow_to(5).unwrap();
        share.grow_to(2).unwrap();
        assert_eq!(share.grow_to(6), Err(Full::OfTenant));
        assert_eq!(shares.take(acme, 1).err(), Some(Full::OfTenant));
        let other = shares.take(globex, 5).unwrap();
        assert_eq!(shares.take(initech, 1).err(), Some(Full::OfAll));
        drop(share);
        assert_eq!(shares.held(), 5);
        drop(other);
        // At once it may have all, if nobody has any.
        let whole = shares.take(acme, 10).unwrap();
        assert_eq!(shares.take(acme, 11).err(), Some(Full::OfTenant));
        drop(whole);
        assert_eq!((shares.held(), shares.take(acme, 11).err()), (0, Some(Full::OfAll)));
    }
}

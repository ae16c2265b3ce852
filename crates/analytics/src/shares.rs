//! Quotas that holders (tenants, or client addresses) share: bounded for all of them, and for each, so that no holder
//! takes it from the others.

use callscope_domain::TenantId;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// A quota of so many units (records, bytes, sockets), and how much of it each holder has. Taking units never waits.
pub struct Shares<K = TenantId> {
    held: Mutex<Held<K>>,
    bounds: Bounds,
}

struct Held<K> {
    by_all: usize,
    by_holder: HashMap<K, usize>,
}

#[derive(Clone, Copy)]
struct Bounds {
    max: usize,
    holder_max: usize,
    /// A holder with at most this is small.
    small: usize,
    /// Units that only small holders may take.
    reserve: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The holder would have more than its share.
    #[error("the holder's share is taken")]
    OfHolder,
    /// All holders together would have more than there is.
    #[error("all of it is taken")]
    OfAll,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// A quota of `max` units, of one holder `holder_max`. A holder that has nothing may take a larger piece at once,
    /// so that a request within `max` is never refused for ever.
    #[must_use]
    pub fn new(max: usize, holder_max: usize) -> Arc<Self> {
        Self::with_reserve(max, holder_max, max, 0)
    }

    /// As [`Self::new`], with the last `reserve` units left to holders that have at most `small`: however much a few
    /// holders take, the others can begin.
    #[must_use]
    pub fn with_reserve(max: usize, holder_max: usize, small: usize, reserve: usize) -> Arc<Self> {
        let held = Held { by_all: 0, by_holder: HashMap::new() };
        Arc::new(Self { held: Mutex::new(held), bounds: Bounds { max, holder_max, small, reserve } })
    }

    /// Takes units, until the share is dropped.
    pub fn take(self: &Arc<Self>, holder: K, units: usize) -> Result<Share<K>, Full> {
        self.add(&holder, units)?;
        Ok(Share { shares: Arc::clone(self), holder, units })
    }

    /// Whether a holder could take so many units now.
    pub fn check(&self, holder: &K, units: usize) -> Result<(), Full> {
        self.bounds.sums(&self.lock(), holder, units).map(drop)
    }

    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().by_all
    }

    #[must_use]
    pub const fn max(&self) -> usize {
        self.bounds.max
    }

    fn add(&self, holder: &K, units: usize) -> Result<(), Full> {
        if units == 0 {
            return Ok(());
        }
        let mut held = self.lock();
        let (of_holder, of_all) = self.bounds.sums(&held, holder, units)?;
        held.by_all = of_all;
        match held.by_holder.get_mut(holder) {
            Some(known) => *known = of_holder,
            None => {
                held.by_holder.insert(holder.clone(), of_holder);
            }
        }
        Ok(())
    }

    fn give_back(&self, holder: &K, units: usize) {
        let mut held = self.lock();
        held.by_all -= units;
        if let Some(of_holder) = held.by_holder.get_mut(holder) {
            *of_holder -= units;
            if *of_holder == 0 {
                held.by_holder.remove(holder);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held<K>> {
        self.held.lock()
    }
}

impl Bounds {
    /// What the holder and all holders would have with so many more units.
    fn sums<K: Eq + Hash>(self, held: &Held<K>, holder: &K, units: usize) -> Result<(usize, usize), Full> {
        let has = held.by_holder.get(holder).copied().unwrap_or(0);
        let (of_holder, of_all) = (has.saturating_add(units), held.by_all.saturating_add(units));
        if has > 0 && of_holder > self.holder_max {
            return Err(Full::OfHolder);
        }
        let max = if of_holder > self.small { self.max.saturating_sub(self.reserve) } else { self.max };
        if of_all > max { Err(Full::OfAll) } else { Ok((of_holder, of_all)) }
    }
}

/// Units of a holder, released on drop.
pub struct Share<K: Clone + Eq + Hash = TenantId> {
    shares: Arc<Shares<K>>,
    holder: K,
    units: usize,
}

impl<K: Clone + Eq + Hash> Share<K> {
    /// Takes more units, so that they are at least this many.
    pub fn grow_to(&mut self, units: usize) -> Result<(), Full> {
        let more = units.saturating_sub(self.units);
        self.shares.add(&self.holder, more)?;
        self.units += more;
        Ok(())
    }
}

impl<K: Clone + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        if self.units > 0 {
            self.shares.give_back(&self.holder, self.units);
        }
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
        assert_eq!(share.grow_to(6), Err(Full::OfHolder));
        assert_eq!(shares.check(&acme, 1), Err(Full::OfHolder));
        assert_eq!(shares.take(acme, 1).err(), Some(Full::OfHolder));
        let other = shares.take(globex, 5).unwrap();
        assert_eq!(shares.take(initech, 1).err(), Some(Full::OfAll));
        drop(share);
        assert_eq!(shares.held(), 5);
        drop(other);
        // At once it may have all, if no other holder has any.
        let whole = shares.take(acme, 10).unwrap();
        assert_eq!(shares.take(acme, 11).err(), Some(Full::OfHolder));
        drop(whole);
        assert_eq!((shares.held(), shares.take(acme, 11).err()), (0, Some(Full::OfAll)));
    }

    #[test]
    fn the_reserve_is_left_to_small_holders() {
        let shares = Shares::with_reserve(100, 25, 5, 25);
        let large = ["a", "b", "c"].map(|holder| shares.take(holder, 25).unwrap());
        assert_eq!(shares.take("d", 6).err(), Some(Full::OfAll));
        let mut small = shares.take("d", 5).unwrap();
        assert_eq!(small.grow_to(6), Err(Full::OfAll));
        drop(large);
        small.grow_to(25).unwrap();
        drop(small);
        assert_eq!(shares.held(), 0);
    }
}

//! The values of tenants' dimensions that this process knows to be stored, so that a batch without new ones asks for
//! none; and the warnings about tenants at a bound.

use crate::kept::{BoundsMet, Keeping, KeptLimits};
use crate::ports::{CallTransaction, LockedCalls, StoreError};
use callscope_domain::{Dimension, DimensionValues, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most values of all tenants that are in memory, each tenant's set counted as one more: some 30 MB.
const VALUES_MAX: usize = 200_000;
/// How often a tenant at a bound is warned of.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// Values by tenant, as of a revision of theirs.
pub struct KnownValues {
    limits: KeptLimits,
    sets: Mutex<Sets>,
    warned: Mutex<HashMap<TenantId, Instant>>,
}

#[derive(Default)]
struct Sets {
    by_tenant: HashMap<TenantId, (i64, Arc<DimensionValues>)>,
    /// Values of all of them, and one for each.
    size: usize,
}

impl KnownValues {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(limits: KeptLimits) -> Self {
        Self { limits, sets: Mutex::default(), warned: Mutex::default() }
    }

    /// What a batch is held against. The transaction holds the tenant's lock, so the values of a revision that is known
    /// here are those in the database; they are loaded only when another process, or an earlier batch, added some.
    pub async fn keeping(
        &self,
        transaction: &mut dyn CallTransaction,
        tenant: TenantId,
        stored: &LockedCalls,
    ) -> Result<Keeping, StoreError> {
        let revision = stored.counts.values_revision;
        let known = match self.find(tenant, revision) {
            Some(known) => known,
            None if revision == 0 => Arc::default(),
            None => {
                let known = Arc::new(transaction.load_values(tenant).await?.into_iter().collect());
                self.keep(tenant, revision, &known);
                known
            }
        };
        Ok(Keeping::new(tenant, self.limits, known))
    }

    /// Says in the log what met a bound, unless that was said of the tenant a moment ago.
    pub fn warn(&self, tenant: TenantId, met: &BoundsMet) {
        if met.is_none() {
            return;
        }
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|_, at| now.duration_since(*at) < WARNING_INTERVAL);
        if warned.contains_key(&tenant) {
            return;
        }
        warned.insert(tenant, now);
        drop(warned);
        let bounds: Vec<String> = met
            .by_name()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("tenant.{name}: {count}"))
            .collect();
        tracing::warn!(
            %tenant,
            bounds = bounds.join(", "),
            "a tenant meets bounds of what is kept: values past one are counted as (other), errors are counted without \
             an entry in the log, and calls are refused; raise the settings if that is not meant"
        );
    }

    fn find(&self, tenant: TenantId, revision: i64) -> Option<Arc<DimensionValues>> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let (known_revision, values) = sets.by_tenant.get(&tenant)?;
        (*known_revision == revision).then(|| Arc::clone(values))
    }

    fn keep(&self, tenant: TenantId, revision: i64, values: &Arc<DimensionValues>) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, earlier)) = sets.by_tenant.insert(tenant, (revision, Arc::clone(values))) {
            sets.size -= size(&earlier);
        }
        sets.size += size(values);
        while sets.size > VALUES_MAX {
            // Any other one: it is loaded again when its tenant writes.
            let Some(&other) = sets.by_tenant.keys().find(|&&other| other != tenant) else { return };
            let removed = sets.by_tenant.remove(&other);
            sets.size -= removed.map_or(0, |(_, values)| size(&values));
        }
    }
}

fn size(values: &DimensionValues) -> usize {
    1 + Dimension::ALL.iter().map(|&dimension| values.count(dimension)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::KeptCounts;
    use crate::ports::TenantChanges;
    use async_trait::async_trait;
    use callscope_domain::{AgentName, CallId, DimensionValue};
    use futures_util::FutureExt;
    use uuid::Uuid;

    /// Counts how often values are loaded.
    #[derive(Default)]
    struct CountedLoads(usize);

    #[async_trait]
    impl CallTransaction for CountedLoads {
        async fn lock_calls(&mut self, _: TenantId, _: &[CallId]) -> Result<LockedCalls, StoreError> {
            Ok(LockedCalls::default())
        }

        async fn load_values(&mut self, _: TenantId) -> Result<Vec<DimensionValue>, StoreError> {
            self.0 += 1;
            Ok((0..VALUES_MAX / 3)
                .map(|number| DimensionValue::Agent(AgentName::new(number.to_string()).expect("a name")))
                .collect())
        }

        async fn save(&mut self, _: TenantId, _: &TenantChanges) -> Result<(), StoreError> {
            Ok(())
        }

        async fn commit(self: Box<Self>) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn values_are_loaded_once_for_each_revision_and_as_many_as_fit_are_remembered() {
        let (known, mut store) = (KnownValues::new(KeptLimits::NONE), CountedLoads::default());
        let mut ask = |tenant: u128, values_revision| {
            let counts = KeptCounts { values_revision, ..KeptCounts::default() };
            let stored = LockedCalls { counts, ..LockedCalls::default() };
            let keeping = known.keeping(&mut store, TenantId(Uuid::from_u128(tenant)), &stored);
            keeping.now_or_never().expect("nothing is waited for").expect("the store works");
            store.0
        };
        assert_eq!((ask(1, 0), ask(1, 0)), (0, 0), "a tenant without values has none to load");
        assert_eq!((ask(1, 1), ask(1, 1), ask(1, 2), ask(1, 2)), (1, 1, 2, 2));
        // Two fit at one time; the third makes one of them go.
        assert_eq!((ask(2, 1), ask(1, 2), ask(2, 1)), (3, 3, 3));
        assert_eq!((ask(3, 1), ask(3, 1)), (4, 4));
        let again = (ask(1, 2), ask(2, 1));
        assert!(again.1 > 4, "{again:?}");
        let sets = known.sets.lock().expect("no panic");
        let sizes: usize = sets.by_tenant.values().map(|(_, values)| size(values)).sum();
        assert!(sets.size <= VALUES_MAX && sets.size == sizes);
    }
}

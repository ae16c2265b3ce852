//! The groups of tenants that this process knows to be stored, so that a batch without new ones loads none; and the
//! warnings about tenants at a bound.

use crate::groups::GroupIds;
use crate::kept::{BoundsMet, Keeping, KeptLimits};
use crate::ports::{CallTransaction, LockedCalls, StoreError};
use callscope_domain::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most groups of all tenants that are in memory, each tenant's set counted as one more: some 30 MB.
const GROUPS_MAX: usize = 200_000;
/// How often a tenant at a bound is warned of.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// Groups by tenant, as of a number of them.
pub struct KnownGroups {
    limits: KeptLimits,
    sets: Mutex<Sets>,
    warned: Mutex<HashMap<TenantId, Instant>>,
}

#[derive(Default)]
struct Sets {
    by_tenant: HashMap<TenantId, (i64, Arc<GroupIds>)>,
    /// Groups of all of them, and one for each.
    size: usize,
}

impl KnownGroups {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(limits: KeptLimits) -> Self {
        Self { limits, sets: Mutex::default(), warned: Mutex::default() }
    }

    /// What a batch is held against. The transaction holds the tenant's lock, and groups are only ever added, so as many
    /// as are stored are those in the database; they are loaded only when another process, or an earlier batch, added
    /// some.
    pub async fn keeping(
        &self,
        transaction: &mut dyn CallTransaction,
        tenant: TenantId,
        stored: &LockedCalls,
    ) -> Result<Keeping, StoreError> {
        let count = stored.counts.groups;
        let known = match self.find(tenant, count) {
            Some(known) => known,
            None if count == 0 => Arc::default(),
            None => {
                let known = Arc::new(GroupIds::stored(tenant, transaction.load_groups(tenant).await?));
                self.keep(tenant, count, &known);
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
        let met = met.by_name().filter(|(_, count)| *count > 0);
        let bounds: Vec<String> = met.map(|(name, count)| format!("tenant.{name}: {count}")).collect();
        tracing::warn!(
            %tenant,
            bounds = bounds.join(", "),
            "a tenant meets bounds of what is kept: values past one are counted as (other), errors are counted without \
             an entry in the log, and calls are refused; raise the settings if that is not meant"
        );
    }

    fn find(&self, tenant: TenantId, count: i64) -> Option<Arc<GroupIds>> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let (known_count, groups) = sets.by_tenant.get(&tenant)?;
        (*known_count == count).then(|| Arc::clone(groups))
    }

    fn keep(&self, tenant: TenantId, count: i64, groups: &Arc<GroupIds>) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, earlier)) = sets.by_tenant.insert(tenant, (count, Arc::clone(groups))) {
            sets.size -= size(&earlier);
        }
        sets.size += size(groups);
        while sets.size > GROUPS_MAX {
            // Any other one: it is loaded again when its tenant writes.
            let Some(&other) = sets.by_tenant.keys().find(|&&other| other != tenant) else { return };
            let removed = sets.by_tenant.remove(&other);
            sets.size -= removed.map_or(0, |(_, groups)| size(&groups));
        }
    }
}

fn size(groups: &GroupIds) -> usize {
    1 + groups.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::KeptCounts;
    use crate::ports::TenantChanges;
    use async_trait::async_trait;
    use callscope_domain::{CallId, Dimension, Group, GroupId, GroupValue, Slug, WorkflowId};
    use futures_util::FutureExt;
    use uuid::Uuid;

    /// Counts how often groups are loaded.
    #[derive(Default)]
    struct CountedLoads(usize);

    #[async_trait]
    impl CallTransaction for CountedLoads {
        async fn lock_calls(&mut self, _: TenantId, _: &[CallId]) -> Result<LockedCalls, StoreError> {
            Ok(LockedCalls::default())
        }

        async fn load_groups(&mut self, _: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError> {
            self.0 += 1;
            let group =
                |number: i32| Group { dimension: Dimension::Agent, value: GroupValue::Text(number.to_string().into()) };
            let count = i32::try_from(GROUPS_MAX / 3).expect("a few");
            Ok((1..=count).map(|number| (group(number), GroupId(number))).collect())
        }

        async fn load_slugs(&mut self, _: TenantId, _: &[WorkflowId]) -> Result<HashMap<WorkflowId, Slug>, StoreError> {
            Ok(HashMap::new())
        }

        async fn save(&mut self, _: TenantId, _: &TenantChanges) -> Result<(), StoreError> {
            Ok(())
        }

        async fn commit(self: Box<Self>) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn groups_are_loaded_once_for_each_number_of_them_and_as_many_as_fit_are_remembered() {
        let (known, mut store) = (KnownGroups::new(KeptLimits::NONE), CountedLoads::default());
        let mut ask = |tenant: u128, groups| {
            let counts = KeptCounts { groups, ..KeptCounts::default() };
            let stored = LockedCalls { counts, ..LockedCalls::default() };
            let keeping = known.keeping(&mut store, TenantId(Uuid::from_u128(tenant)), &stored);
            keeping.now_or_never().expect("nothing is waited for").expect("the store works");
            store.0
        };
        assert_eq!((ask(1, 0), ask(1, 0)), (0, 0), "a tenant without groups has none to load");
        assert_eq!((ask(1, 1), ask(1, 1), ask(1, 2), ask(1, 2)), (1, 1, 2, 2));
        // Two fit at one time; the third makes one of them go.
        assert_eq!((ask(2, 1), ask(1, 2), ask(2, 1)), (3, 3, 3));
        assert_eq!((ask(3, 1), ask(3, 1)), (4, 4));
        let again = (ask(1, 2), ask(2, 1));
        assert!(again.1 > 4, "{again:?}");
        let sets = known.sets.lock().expect("no panic");
        let sizes: usize = sets.by_tenant.values().map(|(_, groups)| size(groups)).sum();
        assert!(sets.size <= GROUPS_MAX && sets.size == sizes);
    }
}

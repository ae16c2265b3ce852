//! The numbers of a tenant's groups, by which storage knows them.

use callscope_domain::{Dimension, Group, GroupId, TenantId};
use std::collections::HashMap;
use std::sync::Arc;

/// The groups that a tenant has, with their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupIds {
    ids: HashMap<Group, GroupId>,
    /// Groups of each dimension, and those of them that take room among its values.
    counts: [GroupCount; Dimension::COUNT],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct GroupCount {
    groups: i32,
    values: usize,
}

impl GroupIds {
    /// Groups that are stored.
    #[must_use]
    pub fn stored(tenant: TenantId, groups: impl IntoIterator<Item = (Group, GroupId)>) -> Self {
        let mut stored = Self::default();
        groups.into_iter().for_each(|(group, id)| stored.insert(tenant, group, id));
        stored
    }

    /// The number of a group; none when the tenant does not have it.
    #[must_use]
    pub fn find(&self, group: &Group) -> Option<GroupId> {
        if *group == Group::TENANT { Some(GroupId::TENANT) } else { self.ids.get(group).copied() }
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn insert(&mut self, tenant: TenantId, group: Group, id: GroupId) {
        let count = &mut self.counts[group.dimension as usize];
        count.groups = count.groups.max(id.0);
        count.values += usize::from(!group.is_always_kept(tenant));
        self.ids.insert(group, id);
    }
}

/// The groups of a tenant while a batch adds some.
#[derive(Clone, Debug)]
pub struct BatchGroups {
    tenant: TenantId,
    stored: Arc<GroupIds>,
    added: GroupIds,
}

impl BatchGroups {
    /// No group is added yet.
    #[must_use]
    pub fn new(tenant: TenantId, stored: Arc<GroupIds>) -> Self {
        Self { tenant, stored, added: GroupIds::default() }
    }

    /// The number of a group.
    #[must_use]
    pub fn find(&self, group: &Group) -> Option<GroupId> {
        self.stored.find(group).or_else(|| self.added.find(group))
    }

    /// Whether a group is among the tenant's from now on: it is known, or there is room for its value.
    pub fn admit(&mut self, group: Group, values_max: usize) -> bool {
        if self.find(&group).is_some() {
            return true;
        }
        let counts = [&*self.stored, &self.added].map(|groups| groups.counts[group.dimension as usize]);
        let values: usize = counts.iter().map(|count| count.values).sum();
        if values >= values_max && !group.is_always_kept(self.tenant) {
            return false;
        }
        let last = counts.iter().map(|count| count.groups).max().unwrap_or_default();
        self.added.insert(self.tenant, group, GroupId(last + 1));
        true
    }

    /// The groups that were added, by their numbers.
    #[must_use]
    pub fn added(&self) -> Vec<(Group, GroupId)> {
        let mut added: Vec<(Group, GroupId)> = self.added.ids.iter().map(|(group, &id)| (group.clone(), id)).collect();
        added.sort_unstable_by_key(|(group, id)| (group.dimension, *id));
        added
    }
}

//! How a call moves to the group `(other)` of a dimension whose bound is reached.

use crate::call::{Call, merge_same};
use crate::dimension::{Dimension, Group, Grouping, OTHER};
use crate::ids::TenantId;
use crate::workflow::Workflow;

impl Call {
    /// The same call with each value that is not kept in the group `(other)` of its dimension, and how many calls and uses
    /// that moves, by dimension; none when every value is kept. Uses of the same provider and model are merged.
    #[must_use]
    pub fn regrouped(
        &self,
        tenant: TenantId,
        mut is_kept: impl FnMut(Group) -> bool,
    ) -> Option<(Self, Vec<(Dimension, u64)>)> {
        let mut call = None;
        let mut moved = Vec::new();
        for &dimension in Dimension::ALL {
            let mut count = 0;
            match dimension.row().grouping {
                Grouping::Tenant | Grouping::Workflow | Grouping::Text(_) => {
                    if let Some(value) = dimension.value_of(self.facts())
                        && !is_kept(Group { dimension, value })
                    {
                        join_other(call.get_or_insert_with(|| self.clone()), dimension, tenant);
                        count += 1;
                    }
                }
                Grouping::Use(value, join_other) => {
                    for (index, usage) in self.facts().providers.iter().enumerate() {
                        if let Some(value) = value(usage)
                            && !is_kept(Group { dimension, value })
                        {
                            join_other(&mut call.get_or_insert_with(|| self.clone()).facts_mut().providers[index]);
                            count += 1;
                        }
                    }
                }
                Grouping::Error(value) => {
                    // Kinds of errors are few; but each is to be known.
                    for &kind in &self.facts().error_kinds {
                        is_kept(Group { dimension, value: value(kind) });
                    }
                }
            }
            if count > 0 {
                moved.push((dimension, count));
            }
        }
        let mut call = call?;
        let facts = call.facts_mut();
        facts.providers = merge_same(std::mem::take(&mut facts.providers));
        Some((call, moved))
    }
}

/// Moves a call to the group `(other)` of a dimension of calls.
fn join_other(call: &mut Call, dimension: Dimension, tenant: TenantId) {
    match dimension.row().grouping {
        Grouping::Workflow => call.set_workflow(Workflow::other(tenant)),
        Grouping::Text(fact) => call.facts_mut().texts.set(fact, Some(OTHER.into())),
        Grouping::Tenant | Grouping::Use(..) | Grouping::Error(_) => {}
    }
}

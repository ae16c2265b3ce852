//! Dimensions: what figures are grouped by. One row of the table below is one dimension.
//!
//! A row is enough for a group: contributions, rollups, bounds, plans and answers go over [`Dimension::ALL`]. Beside the
//! row, a new dimension needs the field of [`CallFacts`] that its value comes from.

use crate::call::{Call, CallFacts, TIMEOUT_END_REASON};
use crate::distribution::Distribution;
use crate::errors::ErrorKind;
use crate::ids::{TenantId, WorkflowId};
use crate::measure::{Measure, Subject};
use crate::plan::Resolution;
use crate::provider::{Provider, ProviderUse};
use crate::text::{ProviderName, Slug, Text, WorkflowName};
use crate::words;
use crate::workflow::Workflow;
use uuid::Uuid;

/// The name of the group of values past the bound of their dimension. A client may use it as a value.
pub const OTHER: &str = "(other)";
/// The slug of the workflow of that name.
const OTHER_SLUG: &str = "other";

/// Where the value of a dimension comes from; and for a dimension with a bound, how it becomes the group `(other)`.
#[derive(Clone, Copy)]
pub enum Grouping {
    /// A fact of the call. A call without it is in no group.
    Call(fn(&CallFacts) -> Option<GroupValue>, fn(&mut Call, TenantId)),
    /// A fact of each use of a provider.
    Use(fn(&ProviderUse) -> GroupValue, fn(&mut ProviderUse)),
    /// A fact of each error.
    Error(fn(ErrorKind) -> GroupValue),
}

/// One row of the table of dimensions.
#[derive(Clone, Copy)]
pub struct DimensionRow {
    /// The number that stands for it in storage. It never changes.
    pub code: i16,
    /// Where its value comes from.
    pub grouping: Grouping,
    /// The narrowest buckets that its groups are summed in.
    pub finest: Resolution,
    /// What is kept of its groups.
    pub keeps: Keeps,
    /// The bound on its distinct values of one tenant.
    pub values_max: ValuesMax,
}

/// What is kept of the groups of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// The sum of every measure.
    Sums,
    /// Distributions alone, which tell calls, latencies and their number as well: for groups that each are of one stage.
    Distributions,
}

/// A bound on the distinct values of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuesMax {
    /// The vocabulary is the bound.
    Vocabulary,
    /// The setting of this name in the section `tenant`.
    Setting(&'static str),
}

/// Makes the enumeration of dimensions: each row is a variant, its name, and the fields of its [`DimensionRow`].
macro_rules! dimensions {
    ($($variant:ident = $name:literal, $code:literal, $finest:ident, $keeps:ident, $max:expr, $grouping:expr;)+) => {
        /// What figures are grouped by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the rows' names say it")]
        pub enum Dimension {
            $($variant),+
        }

        words!(Dimension { $($variant = $name),+ });

        impl Dimension {
            /// Its row.
            #[must_use]
            pub const fn row(self) -> DimensionRow {
                match self {
                    $(Self::$variant => DimensionRow {
                        code: $code,
                        grouping: $grouping,
                        finest: Resolution::$finest,
                        keeps: Keeps::$keeps,
                        values_max: $max,
                    }),+
                }
            }
        }
    };
}

use Grouping::{Call as OfCall, Error as OfError, Use as OfUse};
use ValuesMax::{Setting, Vocabulary};

dimensions! {
    Tenant    = "tenant",     0, Minute,         Sums,          Vocabulary,                 OfCall(|_| Some(GroupValue::Tenant), |_, _| {});
    Workflow  = "workflow",   1, Minute,         Sums,          Setting("workflows_max"),   OfCall(|call| call.workflow_id.map(GroupValue::Workflow), Call::join_other_workflow);
    Provider  = "provider",   2, Minute,         Distributions, Setting("providers_max"),   OfUse(|usage| GroupValue::Provider(usage.provider.clone()), ProviderUse::join_other);
    ErrorKind = "error_kind", 3, Minute,         Sums,          Vocabulary,                 OfError(GroupValue::ErrorKind);
    Agent     = "agent",      4, FifteenMinutes, Sums,          Setting("agents_max"),      OfCall(|call| text(call.agent.as_ref()), |call, _| call.facts_mut().agent = Some(other()));
    EndReason = "end_reason", 5, FifteenMinutes, Sums,          Setting("end_reasons_max"), OfCall(|call| text(call.end_reason.as_ref()), |call, _| call.facts_mut().end_reason = Some(other()));
}

fn text<const MAX: usize>(value: Option<&Text<MAX>>) -> Option<GroupValue> {
    value.map(|value| GroupValue::Text(value.as_str().into()))
}

fn other<const MAX: usize>() -> Text<MAX> {
    Text::constant(OTHER)
}

impl Dimension {
    /// The number of dimensions.
    pub const COUNT: usize = Self::ALL.len();

    /// The dimension that a code stands for.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|dimension| dimension.row().code == code)
    }

    /// Whether its groups have a distribution, and so percentiles.
    #[must_use]
    pub fn has_distributions(self) -> bool {
        self.row().keeps == Keeps::Distributions
    }

    /// Whether its groups have the sum of a measure.
    #[must_use]
    pub fn has_sum(self, measure: Measure) -> bool {
        match self.row().keeps {
            Keeps::Sums => measure.is_summed_by(self.subject()),
            Keeps::Distributions => {
                let of_distribution = |distribution: &Distribution| {
                    let (samples, latency_us) = distribution.measures();
                    measure == samples || measure == latency_us
                };
                measure == Measure::Calls || Distribution::ALL.iter().any(of_distribution)
            }
        }
    }

    /// What its groups are groups of.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self.row().grouping {
            Grouping::Call(..) => Subject::Call,
            Grouping::Use(..) => Subject::Use,
            Grouping::Error(_) => Subject::Error,
        }
    }
}

/// One value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupValue {
    /// The one value of [`Dimension::Tenant`].
    Tenant,
    /// Of [`Dimension::Workflow`].
    Workflow(WorkflowId),
    /// Of [`Dimension::Provider`].
    Provider(Provider),
    /// Of [`Dimension::ErrorKind`].
    ErrorKind(ErrorKind),
    /// Of any other dimension.
    Text(Box<str>),
}

/// One value of a dimension, with the dimension: what totals are kept of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The dimension.
    pub dimension: Dimension,
    /// The value.
    pub value: GroupValue,
}

impl Group {
    /// The group of all calls of a tenant.
    pub const TENANT: Self = Self { dimension: Dimension::Tenant, value: GroupValue::Tenant };

    /// Whether it needs no room among the values of its dimension: it is the group of those past the bound, or that of
    /// the calls that the server closes by itself.
    #[must_use]
    pub fn is_always_kept(&self, tenant: TenantId) -> bool {
        match &self.value {
            GroupValue::Tenant | GroupValue::ErrorKind(_) => true,
            GroupValue::Workflow(id) => *id == Workflow::other_id(tenant),
            GroupValue::Provider(provider) => provider.is_other(),
            GroupValue::Text(text) => {
                **text == *OTHER || (self.dimension == Dimension::EndReason && **text == *TIMEOUT_END_REASON)
            }
        }
    }
}

/// The number of a group among those of its tenant and dimension, by which storage knows it: from 1, without gaps, in the
/// order in which the values came. [`GroupId::TENANT`] alone is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub i32);

impl GroupId {
    /// That of [`Group::TENANT`].
    pub const TENANT: Self = Self(0);
}

impl Workflow {
    /// The id of the group of workflows past the bound: no slug gives it, since none holds a parenthesis.
    #[must_use]
    pub fn other_id(tenant: TenantId) -> WorkflowId {
        WorkflowId(Uuid::new_v5(&tenant.0, OTHER.as_bytes()))
    }

    /// The group of workflows past the bound.
    #[must_use]
    pub fn other(tenant: TenantId) -> Self {
        Self { id: Self::other_id(tenant), slug: Slug::constant(OTHER_SLUG), name: Some(WorkflowName::constant(OTHER)) }
    }
}

impl Provider {
    /// Whether it is the group of a stage's providers past the bound.
    #[must_use]
    pub fn is_other(&self) -> bool {
        self.provider_name.as_str() == OTHER
    }
}

impl ProviderUse {
    fn join_other(&mut self) {
        self.provider.provider_name = ProviderName::constant(OTHER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_lead_back() {
        let codes: BTreeSet<i16> = Dimension::ALL.iter().map(|dimension| dimension.row().code).collect();
        assert_eq!(codes.len(), Dimension::COUNT);
        for &dimension in Dimension::ALL {
            assert_eq!(Dimension::from_code(dimension.row().code), Some(dimension));
        }
        assert_eq!(Dimension::from_code(-1), None);
    }
}

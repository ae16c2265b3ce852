//! Dimensions: what figures are grouped by. One row of the table below is one dimension.
//!
//! A row is enough for a group: contributions, rollups, bounds, plans and answers go over [`Dimension::ALL`]. Beside the
//! row, a new dimension needs the fact of a call that its value comes from.

use crate::call::{CallFacts, TIMEOUT_END_REASON};
use crate::distribution::Distribution;
use crate::errors::ErrorKind;
use crate::fact::TextFact;
use crate::ids::{TenantId, WorkflowId};
use crate::measure::{Measure, Subject};
use crate::plan::Resolution;
use crate::provider::{Provider, ProviderType, ProviderUse};
use crate::text::{ModelName, ProviderName, Slug, WorkflowName};
use crate::words;
use crate::workflow::Workflow;
use uuid::Uuid;

/// The name of the group of values past the bound of their dimension. A client may use it as a value.
pub const OTHER: &str = "(other)";
/// The slug of the workflow of that name.
const OTHER_SLUG: &str = "other";

/// Where the value of a dimension comes from; and for uses, how a value past the bound becomes the group `(other)`.
#[derive(Clone, Copy)]
pub enum Grouping {
    /// All calls are one group.
    Tenant,
    /// The workflow of the call. A call without one is in no group.
    Workflow,
    /// A text of the call. A call without it is in no group.
    Text(TextFact),
    /// A fact of each use of a provider. A use without it is in no group.
    Use(fn(&ProviderUse) -> Option<GroupValue>, fn(&mut ProviderUse)),
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
    /// The narrowest buckets that its groups have sums in.
    pub finest: Resolution,
    /// The narrowest buckets that its groups have distributions in. Groups of uses have those of their uses alone, and the
    /// number of calls, where these are narrower than the buckets of sums.
    pub finest_distributions: Resolution,
    /// The bound on its distinct values of one tenant.
    pub values_max: ValuesMax,
    /// One sentence about it.
    pub description: &'static str,
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
    ($($variant:ident = $name:literal, $code:literal, $finest:ident, $distributions:ident, $max:expr, $grouping:expr, $description:literal;)+) => {
        /// What figures are grouped by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dimension {
            $(#[doc = $description] $variant),+
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
                        finest_distributions: Resolution::$distributions,
                        values_max: $max,
                        description: $description,
                    }),+
                }
            }
        }
    };
}

use Grouping::{Error as OfError, Text as OfText, Use as OfUse};
use ValuesMax::{Setting, Vocabulary};

dimensions! {
    Tenant       = "tenant",         0, Minute,         FifteenMinutes, Vocabulary,                    Grouping::Tenant,                "All calls of the tenant.";
    Workflow     = "workflow",       1, Minute,         FifteenMinutes, Setting("workflows_max"),      Grouping::Workflow,              "The workflow that the call ran through, by its slug.";
    Provider     = "provider",       2, FifteenMinutes, Minute,         Setting("providers_max"),      OfUse(provider, join_provider),  "A provider that the call used, by stage and name, such as stt:deepgram.";
    ErrorKind    = "error_kind",     3, Minute,         Minute,         Vocabulary,                    OfError(GroupValue::ErrorKind),  "Service and level of an error, such as stt:error.";
    Agent        = "agent",          4, FifteenMinutes, FifteenMinutes, Setting("agents_max"),         OfText(TextFact::Agent),         "The agent that ran the call.";
    EndReason    = "end_reason",     5, FifteenMinutes, FifteenMinutes, Setting("end_reasons_max"),    OfText(TextFact::EndReason),     "Why the call ended, in the client's words.";
    AgentVersion = "agent_version",  6, FifteenMinutes, FifteenMinutes, Setting("agent_versions_max"), OfText(TextFact::AgentVersion),  "The version of the agent.";
    Environment  = "environment",    7, FifteenMinutes, FifteenMinutes, Setting("environments_max"),   OfText(TextFact::Environment),   "Where the agent runs, such as production or test.";
    Direction    = "direction",      8, FifteenMinutes, FifteenMinutes, Vocabulary,                    OfText(TextFact::Direction),     "Which way the call went: inbound, outbound or web.";
    Language     = "language",       9, FifteenMinutes, FifteenMinutes, Setting("languages_max"),      OfText(TextFact::Language),      "The language of the call.";
    Source       = "source",        10, FifteenMinutes, FifteenMinutes, Setting("sources_max"),        OfText(TextFact::Source),        "The system that the call comes from.";
    EndCategory  = "end_category",  11, FifteenMinutes, FifteenMinutes, Vocabulary,                    OfText(TextFact::EndCategory),   "Why the call ended, in one vocabulary for all sources.";
    Outcome      = "outcome",       12, FifteenMinutes, FifteenMinutes, Vocabulary,                    OfText(TextFact::Outcome),       "Whether the call reached what it was for: success, failure or unknown.";
    Model        = "model",         13, FifteenMinutes, FifteenMinutes, Setting("models_max"),         OfUse(model, join_model),        "A model that the call used, by stage and name, such as llm:gpt-4.1.";
}

#[expect(clippy::unnecessary_wraps, reason = "of a model there may be none")]
fn provider(usage: &ProviderUse) -> Option<GroupValue> {
    Some(GroupValue::Provider(usage.provider.clone()))
}

fn join_provider(usage: &mut ProviderUse) {
    usage.provider.provider_name = ProviderName::checked(OTHER);
}

fn model(usage: &ProviderUse) -> Option<GroupValue> {
    Some(GroupValue::Model(usage.provider.provider_type, usage.model.clone()?))
}

fn join_model(usage: &mut ProviderUse) {
    usage.model = Some(ModelName::checked(OTHER));
}

impl Dimension {
    /// The number of dimensions.
    pub const COUNT: usize = Self::ALL.len();

    /// The dimension that a code stands for.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|dimension| dimension.row().code == code)
    }

    /// The narrowest buckets that its groups have anything in.
    #[must_use]
    pub fn narrowest(self) -> Resolution {
        self.row().finest.min(self.row().finest_distributions)
    }

    /// The narrowest buckets that its groups have everything in.
    #[must_use]
    pub fn finest_of_all(self) -> Resolution {
        self.row().finest.max(self.row().finest_distributions)
    }

    /// The narrowest buckets that its groups have a distribution in.
    #[must_use]
    pub fn finest_of(self, distribution: Distribution) -> Resolution {
        if distribution.subject() == self.subject() { self.row().finest_distributions } else { self.finest_of_all() }
    }

    /// Whether its groups have distributions, and so percentiles: no latency is of an error.
    #[must_use]
    pub fn has_distributions(self) -> bool {
        self.subject() != Subject::Error
    }

    /// Whether its groups have the sum of a measure.
    #[must_use]
    pub fn has_sum(self, measure: Measure) -> bool {
        measure.is_summed_by(self.subject())
    }

    /// The value of a call; none when it has none, and for dimensions of uses and errors.
    #[must_use]
    pub fn value_of(self, call: &CallFacts) -> Option<GroupValue> {
        match self.row().grouping {
            Grouping::Tenant => Some(GroupValue::Tenant),
            Grouping::Workflow => call.workflow_id.map(GroupValue::Workflow),
            Grouping::Text(fact) => call.texts.get(fact).map(|text| GroupValue::Text(text.into())),
            Grouping::Use(..) | Grouping::Error(_) => None,
        }
    }

    /// The values of a call, of its uses and of its errors; those of uses and errors may stand here more than once.
    #[must_use]
    pub fn values_of(self, call: &CallFacts) -> Vec<GroupValue> {
        match self.row().grouping {
            Grouping::Tenant | Grouping::Workflow | Grouping::Text(_) => self.value_of(call).into_iter().collect(),
            Grouping::Use(value, _) => call.providers.iter().filter_map(value).collect(),
            Grouping::Error(value) => call.error_kinds.iter().map(|&kind| value(kind)).collect(),
        }
    }

    /// What its groups are groups of.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self.row().grouping {
            Grouping::Tenant | Grouping::Workflow | Grouping::Text(_) => Subject::Call,
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
    /// Of [`Dimension::Model`]: the stage and the name.
    Model(ProviderType, ModelName),
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
            GroupValue::Provider(provider) => provider.provider_name.as_str() == OTHER,
            GroupValue::Model(_, model) => model.as_str() == OTHER,
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
        Self { id: Self::other_id(tenant), slug: Slug::constant(OTHER_SLUG), name: Some(WorkflowName::checked(OTHER)) }
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

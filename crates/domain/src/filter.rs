//! What figures are grouped by, and which calls they are of.

use crate::call::CallFacts;
use crate::dimension::{Dimension, GroupValue, Grouping};
use crate::ids::WorkflowId;
use crate::measure::Subject;
use crate::provider::{ProviderType, ProviderUse};
use crate::text::{Slug, TagKey};
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

/// What calls are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// A dimension.
    Dimension(Dimension),
    /// A tag.
    Tag(TagKey),
}

impl Axis {
    /// The dimension; none for a tag.
    #[must_use]
    pub const fn dimension(&self) -> Option<Dimension> {
        match self {
            Self::Dimension(dimension) => Some(*dimension),
            Self::Tag(_) => None,
        }
    }

    /// Whether a column of the calls has its values.
    #[must_use]
    pub fn is_column(&self) -> bool {
        self.dimension().is_some_and(|dimension| dimension.subject() == Subject::Call)
    }
}

/// What stands before the key of a tag.
const TAG: &str = "tag.";

impl Display for Axis {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimension(dimension) => dimension.fmt(formatter),
            Self::Tag(key) => write!(formatter, "{TAG}{key}"),
        }
    }
}

/// Why a name is none of an axis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}, or tag.KEY", Axis::names().join(", "))]
pub struct AxisFault;

impl Axis {
    /// The names of the dimensions that a question may use.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Dimension::ALL.iter().filter(|of| **of != Dimension::Tenant).map(|dimension| dimension.as_str()).collect()
    }
}

impl std::str::FromStr for Axis {
    type Err = AxisFault;

    fn from_str(name: &str) -> Result<Self, AxisFault> {
        if let Some(key) = name.strip_prefix(TAG) {
            return Slug::new(key).map(Self::Tag).map_err(|_| AxisFault);
        }
        let dimension = name.parse().ok().filter(|dimension| *dimension != Dimension::Tenant);
        dimension.map(Self::Dimension).ok_or(AxisFault)
    }
}

/// How the values of a filter are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Calls with one of the values.
    Is,
    /// Calls with none of them.
    IsNot,
}

crate::words!(Operator { Is = "is", IsNot = "is_not" });

/// Narrows a question to some calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// What they are told apart by.
    pub axis: Axis,
    /// How the values are meant.
    pub operator: Operator,
    /// The values, as clients write them: a workflow's slug, `stt:deepgram` or `deepgram` for a provider, an agent's name;
    /// none stands for the calls without a value.
    pub values: Vec<Option<Box<str>>>,
}

impl Filter {
    /// A filter for one value.
    #[must_use]
    pub fn is(dimension: Dimension, value: impl Into<Box<str>>) -> Self {
        Self { axis: Axis::Dimension(dimension), operator: Operator::Is, values: vec![Some(value.into())] }
    }

    /// Whether calls without a value are let through.
    #[must_use]
    pub fn accepts_unknown(&self) -> bool {
        self.has_unknown() == (self.operator == Operator::Is)
    }

    /// Whether it names the calls without a value.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.values.contains(&None)
    }

    /// The values as storage writes them: without a stage, a provider or a model is one of each stage.
    #[must_use]
    pub fn stored_values(&self) -> Vec<Box<str>> {
        let is_staged =
            |value: &str| value.split_once(':').is_some_and(|(stage, _)| ProviderType::WORDS.contains(&stage));
        let is_of_stages = matches!(self.axis, Axis::Dimension(Dimension::Provider | Dimension::Model));
        let mut stored = Vec::with_capacity(self.values.len());
        for value in self.values.iter().flatten() {
            if is_of_stages && !is_staged(value) {
                stored.extend(ProviderType::WORDS.iter().map(|stage| format!("{stage}:{value}").into()));
            } else {
                stored.push(value.clone());
            }
        }
        stored
    }
}

/// The slugs of workflows, which calls name by their ids.
pub type Slugs = HashMap<WorkflowId, Slug>;

/// A value as clients read it; none for a workflow whose slug is unknown.
#[must_use]
pub fn text_of(value: &GroupValue, slugs: &Slugs) -> Option<Box<str>> {
    Some(match value {
        GroupValue::Tenant => return None,
        GroupValue::Workflow(id) => slugs.get(id)?.as_str().into(),
        GroupValue::Provider(provider) => format!("{}:{}", provider.provider_type, provider.provider_name).into(),
        GroupValue::Model(stage, model) => format!("{stage}:{model}").into(),
        GroupValue::ErrorKind(kind) => kind.to_string().into(),
        GroupValue::Text(text) => text.clone(),
    })
}

/// Filters, ready to be held against many calls.
#[derive(Debug)]
pub struct CallFilter<'f> {
    filters: Vec<(&'f Filter, Vec<Box<str>>)>,
    slugs: &'f Slugs,
}

impl<'f> CallFilter<'f> {
    /// Some filters, and the slugs of the workflows that they may name.
    #[must_use]
    pub fn new(filters: &'f [Filter], slugs: &'f Slugs) -> Self {
        Self { filters: filters.iter().map(|filter| (filter, filter.stored_values())).collect(), slugs }
    }

    /// Whether a filter needs more of a call than a condition on its columns.
    #[must_use]
    pub fn needs_calls(&self) -> bool {
        self.filters.iter().any(|(filter, _)| !filter.axis.is_column())
    }

    /// Whether every filter lets a call through.
    #[must_use]
    pub fn lets_through(&self, call: &CallFacts) -> bool {
        self.filters.iter().all(|(filter, values)| {
            let mut texts = texts_of(&filter.axis, call, self.slugs).into_iter();
            let is_one = match texts.next() {
                None => filter.has_unknown(),
                Some(first) => std::iter::once(first).chain(texts).any(|text| values.contains(&text)),
            };
            is_one == (filter.operator == Operator::Is)
        })
    }

    /// The call with those of its uses of providers and of its errors that the filters name, where they name any.
    #[must_use]
    pub fn narrowed(&self, call: &CallFacts) -> Option<CallFacts> {
        let mut narrowed = None;
        for (filter, values) in self.filters.iter().filter(|(filter, _)| filter.operator == Operator::Is) {
            let Axis::Dimension(dimension) = filter.axis else { continue };
            let is_named = |value: Option<GroupValue>| {
                value.and_then(|value| text_of(&value, self.slugs)).is_some_and(|text| values.contains(&text))
            };
            match dimension.row().grouping {
                Grouping::Use(value, _) => {
                    let call = narrowed.get_or_insert_with(|| call.clone());
                    call.providers.retain(|usage: &ProviderUse| is_named(value(usage)));
                }
                Grouping::Error(value) => {
                    let call = narrowed.get_or_insert_with(|| call.clone());
                    call.error_kinds.retain(|&kind| is_named(Some(value(kind))));
                }
                Grouping::Tenant | Grouping::Workflow | Grouping::Text(_) => {}
            }
        }
        narrowed
    }
}

/// The values of a call: one of a fact of the call, several of its uses and errors.
fn texts_of(axis: &Axis, call: &CallFacts, slugs: &Slugs) -> Vec<Box<str>> {
    let dimension = match axis {
        Axis::Tag(key) => return tag_of(call, key).map(Into::into).into_iter().collect(),
        Axis::Dimension(dimension) => *dimension,
    };
    dimension.values_of(call).iter().filter_map(|value| text_of(value, slugs)).collect()
}

/// The value of a tag of a call.
#[must_use]
pub fn tag_of<'c>(call: &'c CallFacts, key: &TagKey) -> Option<&'c str> {
    let at = call.tags.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
    Some(call.tags[at].1.as_str())
}

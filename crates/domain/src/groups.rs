//! Distinct values of the dimensions that a tenant's figures are grouped by, and the group of those past a bound.

use crate::ids::{TenantId, WorkflowId};
use crate::provider::Provider;
use crate::text::{AgentName, ProviderName, Slug, Text, WorkflowName};
use crate::words;
use crate::workflow::Workflow;
use std::collections::HashSet;
use uuid::Uuid;

/// The name of the group of values past the bound of their dimension. A client may use it as a value.
pub const OTHER: &str = "(other)";
/// The slug of the workflow of that name.
const OTHER_SLUG: &str = "other";

/// What figures are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The workflow that a call ran through.
    Workflow,
    /// A provider that it used.
    Provider,
    /// The agent that ran it.
    Agent,
}

words!(Dimension { Workflow = "workflow", Provider = "provider", Agent = "agent" });

/// One value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DimensionValue {
    /// Of [`Dimension::Workflow`].
    Workflow(WorkflowId),
    /// Of [`Dimension::Provider`].
    Provider(Provider),
    /// Of [`Dimension::Agent`].
    Agent(AgentName),
}

impl DimensionValue {
    /// Which dimension it is a value of.
    #[must_use]
    pub const fn dimension(&self) -> Dimension {
        match self {
            Self::Workflow(_) => Dimension::Workflow,
            Self::Provider(_) => Dimension::Provider,
            Self::Agent(_) => Dimension::Agent,
        }
    }
}

/// A set of values of all dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DimensionValues {
    workflows: HashSet<WorkflowId>,
    providers: HashSet<Provider>,
    agents: HashSet<AgentName>,
}

impl DimensionValues {
    /// The number of values of a dimension.
    #[must_use]
    pub fn count(&self, dimension: Dimension) -> usize {
        match dimension {
            Dimension::Workflow => self.workflows.len(),
            Dimension::Provider => self.providers.len(),
            Dimension::Agent => self.agents.len(),
        }
    }

    /// Adds a value.
    pub fn insert(&mut self, value: DimensionValue) {
        match value {
            DimensionValue::Workflow(id) => drop(self.workflows.insert(id)),
            DimensionValue::Provider(provider) => drop(self.providers.insert(provider)),
            DimensionValue::Agent(agent) => drop(self.agents.insert(agent)),
        }
    }

    /// Whether a workflow is among them.
    #[must_use]
    pub fn has_workflow(&self, id: WorkflowId) -> bool {
        self.workflows.contains(&id)
    }

    /// Whether a provider is.
    #[must_use]
    pub fn has_provider(&self, provider: &Provider) -> bool {
        self.providers.contains(provider)
    }

    /// Whether an agent is.
    #[must_use]
    pub fn has_agent(&self, agent: &AgentName) -> bool {
        self.agents.contains(agent)
    }
}

impl FromIterator<DimensionValue> for DimensionValues {
    fn from_iter<I: IntoIterator<Item = DimensionValue>>(values: I) -> Self {
        let mut set = Self::default();
        values.into_iter().for_each(|value| set.insert(value));
        set
    }
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
    /// The group of a stage's providers past the bound.
    #[must_use]
    pub fn other(self) -> Self {
        Self { provider_name: ProviderName::constant(OTHER), ..self }
    }

    /// Whether it is that group.
    #[must_use]
    pub fn is_other(&self) -> bool {
        self.provider_name.as_str() == OTHER
    }
}

/// The group of agents past the bound.
#[must_use]
pub fn other_agent() -> AgentName {
    Text::constant(OTHER)
}

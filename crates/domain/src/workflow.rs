//! Workflows: the flows that calls run through.

use crate::ids::{TenantId, WorkflowId};
use crate::text::{Slug, WorkflowName};
use uuid::Uuid;

/// A workflow as a call record names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// What it is known by in storage.
    pub id: WorkflowId,
    /// What it is known by in URLs. Two workflows of a tenant may share a slug when clients give ids of their own.
    pub slug: Slug,
    /// What people call it; none when the record gave only a slug.
    pub name: Option<WorkflowName>,
}

impl Workflow {
    /// The id of a workflow whose record gives none: `UUIDv5(tenant, slug)`.
    #[must_use]
    pub fn derived_id(tenant: TenantId, slug: &Slug) -> WorkflowId {
        WorkflowId(Uuid::new_v5(&tenant.0, slug.as_str().as_bytes()))
    }
}

//! Identifiers: UUIDs that cannot be mistaken for one another.

use crate::text::{ExternalId, Slug};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

id! {
    /// An organisation. Made from a credential by the authenticator, and by nothing else in the serving path.
    TenantId
}
id! {
    /// A call, unique within its tenant only: two tenants may use the same id.
    CallId
}
impl CallId {
    /// The id of a call that is known by another system's id: `UUIDv5(tenant, "call:" + source + ":" + external_id)`.
    #[must_use]
    pub fn derived(tenant: TenantId, source: &Slug, external_id: &ExternalId) -> Self {
        Self(Uuid::new_v5(&tenant.0, format!("call:{source}:{external_id}").as_bytes()))
    }
}

id! {
    /// A workflow, unique within its tenant.
    WorkflowId
}
id! {
    /// An API key. Not the secret.
    KeyId
}

//! Identifiers: UUIDs that cannot be mistaken for one another.

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
id! {
    /// A workflow, unique within its tenant.
    WorkflowId
}
id! {
    /// An API key. Not the secret.
    KeyId
}

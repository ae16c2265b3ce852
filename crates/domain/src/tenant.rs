//! Tenants: the organisations whose calls are kept apart.

use crate::ids::TenantId;
use crate::label::Label;
use crate::text::Slug;
use crate::time::Timestamp;

/// Longest display name of a tenant or a key, in characters.
pub const DISPLAY_NAME_MAX: usize = 200;

/// What people call a tenant or a key.
pub type DisplayName = Label<DISPLAY_NAME_MAX>;

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// What everything of it is stored under.
    pub id: TenantId,
    /// What operators type.
    pub slug: Slug,
    /// What people call it.
    pub name: DisplayName,
    /// When it was created.
    pub created_at: Timestamp,
}

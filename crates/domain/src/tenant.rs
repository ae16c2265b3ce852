//! Tenants and the keys that let their clients in.

use crate::access::RateLimit;
use crate::ids::{KeyId, TenantId};
use crate::label::Label;
use crate::text::Slug;
use crate::time::Timestamp;
use crate::words;

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

/// A right that a credential carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// To ask the analytics endpoints.
    AnalyticsRead,
    /// To send call records.
    CallsWrite,
    /// To list, create and revoke the tenant's API keys.
    KeysManage,
}

words!(Scope { AnalyticsRead = "analytics:read", CallsWrite = "calls:write", KeysManage = "keys:manage" });

impl Scope {
    /// What a key may do when nobody says otherwise: everything but let others in.
    pub const OF_CLIENTS: &'static [Self] = &[Self::AnalyticsRead, Self::CallsWrite];
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What operators name it by.
    pub id: KeyId,
    /// Whose data it opens.
    pub tenant_id: TenantId,
    /// What it is for, in its owner's words.
    pub name: Option<DisplayName>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused because someone said so.
    pub revoked_at: Option<Timestamp>,
    /// How often it may be used, if not as often as the server says.
    pub rate: Option<RateLimit>,
}

impl ApiKey {
    /// Whether it opens anything at an instant.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Whether it may do what the scope stands for.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

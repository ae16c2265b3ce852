//! API keys, scopes, principals, rate limits, tickets, and audit entries of keys.

use crate::ids::{KeyId, TenantId};
use crate::label::Label;
use crate::tenant::DisplayName;
use crate::time::Timestamp;
use crate::words;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Longest subject of a token, in characters; identity providers keep to the same bound.
pub const SUBJECT_MAX: usize = 255;

/// Whom a token was made for, in its issuer's words.
pub type Subject = Label<SUBJECT_MAX>;

/// Whom a credential stands for, within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// Whoever has this API key.
    Key(KeyId),
    /// The subject of a token that somebody else signed.
    Subject(Subject),
}

const KEY: &str = "key:";
const SUBJECT: &str = "jwt:";

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(formatter, "{KEY}{id}"),
            Self::Subject(subject) => write!(formatter, "{SUBJECT}{subject}"),
        }
    }
}

/// A text that names no principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be key: and a UUID, or jwt: and a subject")]
pub struct NoPrincipal;

impl FromStr for Principal {
    type Err = NoPrincipal;

    fn from_str(text: &str) -> Result<Self, NoPrincipal> {
        if let Some(id) = text.strip_prefix(KEY) {
            return Uuid::try_parse(id).map(|id| Self::Key(KeyId(id))).map_err(|_| NoPrincipal);
        }
        let subject = text.strip_prefix(SUBJECT).ok_or(NoPrincipal)?;
        Subject::new(subject).map(Self::Subject).map_err(|_| NoPrincipal)
    }
}

/// Who changes keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An operator, from the command line.
    CommandLine,
    /// A client with a credential.
    Principal(Principal),
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => formatter.write_str("cli"),
            Self::Principal(principal) => principal.fmt(formatter),
        }
    }
}

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// It was made.
    Created,
    /// It opens nothing any more.
    Revoked,
}

words!(KeyAction { Created = "created", Revoked = "revoked" });

/// Most requests a second, and most at once, that a limit can name.
pub const RATE_MAX: u32 = 1_000_000;

/// How often a credential may ask: a bucket that holds a burst and is refilled steadily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    requests_per_second: u32,
    burst: u32,
}

/// Why numbers are no [`RateLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateFault {
    /// More requests a second than can be counted.
    #[error("must be at most {RATE_MAX} requests a second; 0 is no limit")]
    TooFast,
    /// A bucket that holds nothing, or too much.
    #[error("a burst must be from 1 to {RATE_MAX} requests")]
    Burst,
}

impl RateLimit {
    /// No limit.
    pub const NONE: Self = Self { requests_per_second: 0, burst: 1 };

    /// So many requests a second, 0 for no limit, and so many at once.
    pub const fn new(requests_per_second: u32, burst: u32) -> Result<Self, RateFault> {
        if requests_per_second > RATE_MAX {
            return Err(RateFault::TooFast);
        }
        if burst == 0 || burst > RATE_MAX {
            return Err(RateFault::Burst);
        }
        Ok(Self { requests_per_second, burst })
    }

    /// So many requests a second, and twice as many at once.
    pub fn steady(requests_per_second: u32) -> Result<Self, RateFault> {
        Self::new(requests_per_second, requests_per_second.saturating_mul(2).clamp(1, RATE_MAX))
    }

    /// Requests a second; 0 for no limit.
    #[must_use]
    pub const fn requests_per_second(self) -> u32 {
        self.requests_per_second
    }

    /// Requests at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// Whether there is a limit at all.
    #[must_use]
    pub const fn is_limited(self) -> bool {
        self.requests_per_second > 0
    }

    /// Whether nothing passes that another limit would hold back.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        !other.is_limited()
            || self.is_limited() && self.requests_per_second <= other.requests_per_second && self.burst <= other.burst
    }
}

/// What opens one socket, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Whose data it opens.
    pub tenant_id: TenantId,
    /// What the socket may do.
    pub scopes: Vec<Scope>,
    /// Whose credential it was made with.
    pub holder: Principal,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// From when on the holder's credential is refused.
    pub credential_expires_at: Option<Timestamp>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_as_it_is_written() {
        let key = Principal::Key(KeyId(Uuid::from_u128(7)));
        let subject = Principal::Subject(Subject::new("auth0|key:7 ü").unwrap());
        for principal in [key, subject] {
            assert_eq!(principal.to_string().parse(), Ok(principal));
        }
        for text in ["", "key:", "key:7", "jwt:", "cli", "KEY:00000000-0000-0000-0000-000000000007"] {
            assert_eq!(text.parse::<Principal>(), Err(NoPrincipal), "{text}");
        }
    }

    #[test]
    fn a_rate_has_bounds() {
        assert_eq!(RateLimit::new(RATE_MAX + 1, 1), Err(RateFault::TooFast));
        assert_eq!(RateLimit::new(1, 0), Err(RateFault::Burst));
        assert_eq!(RateLimit::new(1, RATE_MAX + 1), Err(RateFault::Burst));
        assert_eq!(RateLimit::steady(10), RateLimit::new(10, 20));
        assert_eq!(RateLimit::steady(0), Ok(RateLimit::NONE));
        assert_eq!(RateLimit::steady(RATE_MAX), RateLimit::new(RATE_MAX, RATE_MAX));
        assert_eq!(RateLimit::steady(u32::MAX), Err(RateFault::TooFast));
    }

    #[test]
    fn a_rate_is_within_another_that_is_as_wide() {
        let rate = |requests, burst| RateLimit::new(requests, burst).unwrap();
        assert!(rate(10, 20).is_within(rate(10, 20)) && rate(9, 1).is_within(rate(10, 20)));
        assert!(!rate(11, 20).is_within(rate(10, 20)) && !rate(10, 21).is_within(rate(10, 20)));
        assert!(rate(10, 20).is_within(RateLimit::NONE) && RateLimit::NONE.is_within(RateLimit::NONE));
        assert!(!RateLimit::NONE.is_within(rate(10, 20)));
    }
}

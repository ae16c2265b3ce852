//! The settings of credentials beside API keys: `[auth]`.

use super::fault::Faults;
use crate::secret::{Secret, SecretUrl};
use crate::units::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Fewest bytes of a secret for HS256: as many as its digest has (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Widest difference of clocks.
const LEEWAY_MAX: Duration = Duration::from_mins(10);
/// Bounds of a ticket's life.
const TICKET_TTL_MIN: Duration = Duration::from_secs(1);
const TICKET_TTL_MAX: Duration = Duration::from_mins(10);
/// Bounds of the time between two fetches of a key set.
const JWKS_REFRESH_MIN: Duration = Duration::from_secs(10);
const JWKS_REFRESH_MAX: Duration = Duration::from_hours(24);

/// Credentials beside API keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// A secret that tokens are signed with; empty for none.
    pub jwt_secret: Secret,
    /// A file with the public keys of those that tokens are signed with; empty for none.
    pub jwks_file: String,
    /// An address of the same; empty for none.
    pub jwks_url: SecretUrl,
    /// How old the keys may become.
    #[serde(with = "duration")]
    pub jwks_refresh: Duration,
    /// Whom tokens must be meant for; empty for tokens that do not say.
    pub jwt_audience: String,
    /// Who must have made tokens; empty for anyone who has the key.
    pub jwt_issuer: String,
    /// How far other clocks may be off.
    #[serde(with = "duration")]
    pub jwt_leeway: Duration,
    /// Whether sockets take keys and tokens in their query string.
    pub query_tokens: bool,
    /// How long a ticket is valid.
    #[serde(with = "duration")]
    pub ticket_ttl: Duration,
}

impl AuthSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        let (secret, url) = (self.jwt_secret.reveal(), self.jwks_url.reveal());
        let keys = [secret, &self.jwks_file, url];
        faults.require(
            keys.iter().filter(|key| !key.is_empty()).count() <= 1,
            "auth.jwks_url",
            "set one of auth.jwt_secret, auth.jwks_file and auth.jwks_url, or none",
        );
        faults.require(
            secret.is_empty() || secret.len() >= SECRET_BYTES_MIN,
            "auth.jwt_secret",
            format!("must be at least {SECRET_BYTES_MIN} bytes; try `openssl rand -hex 32`"),
        );
        faults.require(
            url.is_empty() || ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)),
            "auth.jwks_url",
            "must start with https:// or http://",
        );
        faults.require(self.jwt_leeway <= LEEWAY_MAX, "auth.jwt_leeway", "must be at most 10m");
        let ttl = TICKET_TTL_MIN..=TICKET_TTL_MAX;
        faults.require(ttl.contains(&self.ticket_ttl), "auth.ticket_ttl", "must be between 1s and 10m");
        let refresh = JWKS_REFRESH_MIN..=JWKS_REFRESH_MAX;
        faults.require(refresh.contains(&self.jwks_refresh), "auth.jwks_refresh", "must be between 10s and 24h");
    }
}

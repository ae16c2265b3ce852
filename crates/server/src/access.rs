//! The settings of who is let in: `[auth]` and `[limits]`.

use crate::jwks::{FileSource, UrlSource};
use crate::secret::{Secret, SecretUrl};
use crate::settings::Settings;
use crate::units::duration;
use anyhow::{Context, bail};
use callscope_api::{AccessOptions, JwtKeys, JwtOptions};
use callscope_domain::RateLimit;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
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

/// How often credentials may be used.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests a second of a credential; 0 for any number.
    pub requests_per_second: u32,
    /// Its requests at once.
    pub burst: u32,
}

impl AuthSettings {
    /// Refuses what cannot be.
    pub fn check(&self) -> anyhow::Result<()> {
        let (secret, url) = (self.jwt_secret.reveal(), self.jwks_url.reveal());
        let keys = [secret, &self.jwks_file, url];
        if keys.iter().filter(|key| !key.is_empty()).count() > 1 {
            bail!("setting auth.jwks_url: set one of auth.jwt_secret, auth.jwks_file and auth.jwks_url, or none");
        }
        if !secret.is_empty() && secret.len() < SECRET_BYTES_MIN {
            bail!("setting auth.jwt_secret: must be at least {SECRET_BYTES_MIN} bytes; try `openssl rand -hex 32`");
        }
        if !url.is_empty() && !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
            bail!("setting auth.jwks_url: must start with https:// or http://");
        }
        if self.jwt_leeway > LEEWAY_MAX {
            bail!("setting auth.jwt_leeway: must be at most 10m");
        }
        if !(TICKET_TTL_MIN..=TICKET_TTL_MAX).contains(&self.ticket_ttl) {
            bail!("setting auth.ticket_ttl: must be between 1s and 10m");
        }
        if !(JWKS_REFRESH_MIN..=JWKS_REFRESH_MAX).contains(&self.jwks_refresh) {
            bail!("setting auth.jwks_refresh: must be between 10s and 24h");
        }
        Ok(())
    }

    fn jwt(&self) -> anyhow::Result<Option<JwtOptions>> {
        let refresh = self.jwks_refresh;
        let (secret, url) = (self.jwt_secret.reveal(), self.jwks_url.reveal());
        let keys = if !secret.is_empty() {
            JwtKeys::Secret(secret.to_owned())
        } else if !self.jwks_file.is_empty() {
            JwtKeys::Public { source: Arc::new(FileSource::open(Path::new(&self.jwks_file))?), refresh }
        } else if !url.is_empty() {
            JwtKeys::Public { source: Arc::new(UrlSource::new(url)), refresh }
        } else {
            return Ok(None);
        };
        let named = |text: &String| (!text.is_empty()).then(|| text.clone());
        let (audience, issuer) = (named(&self.jwt_audience), named(&self.jwt_issuer));
        Ok(Some(JwtOptions { keys, audience, issuer, leeway: self.jwt_leeway }))
    }
}

impl LimitSettings {
    /// The limit; refuses what cannot be one.
    pub fn rate(self) -> anyhow::Result<RateLimit> {
        RateLimit::new(self.requests_per_second, self.burst)
            .context("setting limits.requests_per_second or limits.burst")
    }
}

impl Settings {
    /// Who is let in.
    pub fn access(&self) -> anyhow::Result<AccessOptions> {
        Ok(AccessOptions {
            jwt: self.auth.jwt()?,
            query_tokens: self.auth.query_tokens,
            ticket_ttl: self.auth.ticket_ttl,
            rate: self.limits.rate()?,
        })
    }
}

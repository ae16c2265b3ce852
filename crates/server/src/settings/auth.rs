//! The settings of credentials beside API keys: `[auth]`.

use super::fault::Faults;
use crate::secret::{Secret, ServiceUrl};
use crate::units::duration;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Fewest bytes of a secret for HS256: as many as its digest has (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
const LEEWAY_MAX: Duration = Duration::from_mins(10);
const TICKET_TTL_MIN: Duration = Duration::from_secs(1);
const TICKET_TTL_MAX: Duration = Duration::from_mins(10);
/// Bounds of the time between two fetches of a key set.
const JWKS_REFRESH_MIN: Duration = Duration::from_secs(10);
const JWKS_REFRESH_MAX: Duration = Duration::from_hours(24);
/// Longest use of a key set that cannot be fetched again.
const JWKS_AGE_MAX: Duration = Duration::from_hours(30 * 24);
/// Longest life of a key that a token makes: ten years.
const TOKEN_KEY_TTL_MAX: Duration = Duration::from_hours(3650 * 24);
/// Most valid keys that a tenant can be allowed.
const TENANT_KEYS_MAX: u32 = 100_000;

/// Credentials beside API keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// A secret that tokens are signed with; empty for none.
    pub jwt_secret: Secret,
    /// A file with the public keys of those that tokens are signed with; empty for none.
    pub jwks_file: String,
    /// An address of the same; empty for none.
    pub jwks_url: ServiceUrl,
    /// Whether that address may be one without TLS on another machine.
    pub jwks_allow_http: bool,
    /// The age at which the keys are fetched again.
    #[serde(with = "duration")]
    pub jwks_refresh: Duration,
    /// The age from which on they are not used any more.
    #[serde(with = "duration")]
    pub jwks_age_max: Duration,
    /// The audience that tokens must name; empty for tokens without one.
    pub jwt_audience: String,
    /// The issuer that tokens must name; empty for any.
    pub jwt_issuer: String,
    /// How far other clocks may be off.
    #[serde(with = "duration")]
    pub jwt_leeway: Duration,
    /// Whether sockets take keys and tokens in their query string.
    pub query_tokens: bool,
    #[serde(with = "duration")]
    pub ticket_ttl: Duration,
    /// Longest life of a key that a token makes; zero: tokens make none.
    #[serde(with = "duration")]
    pub token_key_ttl_max: Duration,
    /// Whether such a key may outlive the token.
    pub token_keys_outlive_token: bool,
    pub tenant_keys_max: u32,
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
        faults.require(
            self.jwks_allow_http || !url.starts_with("http://") || is_loopback(url),
            "auth.jwks_url",
            "must start with https://, or name this machine, because anyone who can change the keys in transit can \
             make tokens; auth.jwks_allow_http = true allows it nevertheless",
        );
        faults.require(self.jwt_leeway <= LEEWAY_MAX, "auth.jwt_leeway", "must be at most 10m");
        let ttl = TICKET_TTL_MIN..=TICKET_TTL_MAX;
        faults.require(ttl.contains(&self.ticket_ttl), "auth.ticket_ttl", "must be between 1s and 10m");
        let refresh = JWKS_REFRESH_MIN..=JWKS_REFRESH_MAX;
        faults.require(refresh.contains(&self.jwks_refresh), "auth.jwks_refresh", "must be between 10s and 24h");
        let age = self.jwks_refresh..=JWKS_AGE_MAX;
        let must = "must be at least auth.jwks_refresh and at most 30d";
        faults.require(age.contains(&self.jwks_age_max), "auth.jwks_age_max", must);
        let ttl_is_sound = self.token_key_ttl_max <= TOKEN_KEY_TTL_MAX;
        faults.require(ttl_is_sound, "auth.token_key_ttl_max", "must be at most 3650d; 0s: tokens make no keys");
        let must = format!("must be between 1 and {TENANT_KEYS_MAX}");
        faults.require((1..=TENANT_KEYS_MAX).contains(&self.tenant_keys_max), "auth.tenant_keys_max", must);
    }
}

/// Whether an address of HTTP is one of this machine.
fn is_loopback(url: &str) -> bool {
    let authority = url.trim_start_matches("http://").split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some(address) = host.strip_prefix('[') {
        let address = address.split(']').next().unwrap_or_default();
        return address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    }
    let host = host.split(':').next().unwrap_or_default();
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for url in
            ["http://localhost/keys", "http://127.0.0.1:8080/keys", "http://[::1]:8080?x", "http://u:p@localhost"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://localhost.example/", "http://127.0.0.1@issuer.example/", "http://[::2]/", "http://10.0.0.7"]
        {
            assert!(!is_loopback(url), "{url}");
        }
    }
}

//! How clients are authenticated, by the settings.

use crate::jwks::{FileSource, UrlSource};
use crate::settings::{AuthSettings, Settings};
use callscope_api::{AuthOptions, JwtKeys, JwtOptions, KeyAges, KeyRules};
use callscope_domain::Span;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A duration of the settings, which bound it.
fn span(duration: Duration) -> Span {
    Span::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

impl AuthSettings {
    fn jwt(&self) -> anyhow::Result<Option<JwtOptions>> {
        let ages = KeyAges { refresh: self.jwks_refresh, max: self.jwks_age_max };
        let (secret, url) = (self.jwt_secret.reveal(), self.jwks_url.reveal());
        let keys = if !secret.is_empty() {
            JwtKeys::Secret(secret.to_owned())
        } else if !self.jwks_file.is_empty() {
            JwtKeys::Public { source: Arc::new(FileSource::open(Path::new(&self.jwks_file))?), ages }
        } else if !url.is_empty() {
            JwtKeys::Public { source: Arc::new(UrlSource::new(url)), ages }
        } else {
            return Ok(None);
        };
        let named = |text: &String| (!text.is_empty()).then(|| text.clone());
        let (audience, issuer) = (named(&self.jwt_audience), named(&self.jwt_issuer));
        Ok(Some(JwtOptions { keys, audience, issuer, leeway: self.jwt_leeway }))
    }
}

impl Settings {
    /// Which credentials are accepted, and how often.
    pub fn auth_options(&self) -> anyhow::Result<AuthOptions> {
        Ok(AuthOptions {
            jwt: self.auth.jwt()?,
            query_tokens: self.auth.query_tokens,
            ticket_ttl: self.auth.ticket_ttl,
            rate: self.limits.rate()?,
            tenant_rate: self.limits.tenant_rate()?,
            page_rate: self.limits.page_rate()?,
            failed_credentials_per_minute: self.limits.failed_credentials_per_minute,
            keys: KeyRules {
                token_ttl_max: span(self.auth.token_key_ttl_max),
                outlive_token: self.auth.token_keys_outlive_token,
                tenant_max: self.auth.tenant_keys_max,
            },
        })
    }
}

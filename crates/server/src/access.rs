//! How clients are let in, by the settings.

use crate::jwks::{FileSource, UrlSource};
use crate::settings::{AuthSettings, Settings};
use callscope_api::{AccessOptions, JwtKeys, JwtOptions};
use std::path::Path;
use std::sync::Arc;

impl AuthSettings {
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

//! The JWT that a LiveKit agent signs its uploads with. The server finds connectors by [`UploadToken::issuer`], which is
//! only a claim until one of their secrets has verified it.

use crate::signature::SigningSecret;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ring::hmac;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How far the clocks of agent and server may be apart, in seconds.
const LEEWAY_S: f64 = 60.0;
/// Bytes of a token; the agent's have some 300.
const TOKEN_MAX: usize = 8 << 10;
const BEARER: &str = "bearer ";

/// A token whose signature has not been checked.
#[derive(Debug)]
pub struct UploadToken<'a> {
    /// Header and claims, as they are signed.
    signed: &'a str,
    signature: Vec<u8>,
    claims: Claims,
}

/// The permission of a verified token: to upload until a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadGrant {
    /// The token's end, without the leeway.
    pub expires_at: DateTime<Utc>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not a bearer token of three parts.
    #[error("The token is malformed.")]
    Malformed,
    /// Signed otherwise than with HS256, or not at all.
    #[error("The token's algorithm must be HS256.")]
    Algorithm,
    /// The issuer is another key than the connector's.
    #[error("The token's issuer is unknown.")]
    UnknownKey,
    /// Signed with another secret.
    #[error("The token's signature does not match.")]
    Signature,
    /// `nbf` is ahead.
    #[error("The token is not valid yet.")]
    NotYetValid,
    /// No `exp`, or one that is no time.
    #[error("The token must have an end.")]
    NoExpiry,
    /// `exp` has passed.
    #[error("The token has expired.")]
    Expired,
    /// It does not allow uploads.
    #[error("The token does not grant observability uploads.")]
    Grant,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    nbf: Option<f64>,
    exp: Option<f64>,
    #[serde(default)]
    observability: Observability,
}

#[derive(Debug, Default, Deserialize)]
struct Observability {
    #[serde(default)]
    write: bool,
}

impl<'a> UploadToken<'a> {
    /// Reads the value of an `Authorization` header.
    pub fn parse(authorization: &'a str) -> Result<Self, TokenFault> {
        let scheme = authorization.get(..BEARER.len()).ok_or(TokenFault::Malformed)?;
        let token = authorization[BEARER.len()..].trim();
        if !scheme.eq_ignore_ascii_case(BEARER) || token.len() > TOKEN_MAX {
            return Err(TokenFault::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
        let header: Header = decode(header)?;
        if header.alg != "HS256" {
            return Err(TokenFault::Algorithm);
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenFault::Malformed)?;
        Ok(Self { signed, signature, claims: decode(claims)? })
    }

    /// The API key that the token claims to be signed for.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// Checks the token against a connector's API key and secret. Claims are read only after the signature is verified.
    pub fn verify(
        &self,
        api_key: &str,
        api_secret: &SigningSecret,
        now: DateTime<Utc>,
    ) -> Result<UploadGrant, TokenFault> {
        if self.issuer() != api_key {
            return Err(TokenFault::UnknownKey);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, api_secret.as_bytes());
        hmac::verify(&key, self.signed.as_bytes(), &self.signature).map_err(|_| TokenFault::Signature)?;

        let now_s = now.timestamp_millis() as f64 / 1e3;
        if self.claims.nbf.is_some_and(|not_before| not_before > now_s + LEEWAY_S) {
            return Err(TokenFault::NotYetValid);
        }
        let expiry = self.claims.exp.ok_or(TokenFault::NoExpiry)?;
        if expiry + LEEWAY_S <= now_s {
            return Err(TokenFault::Expired);
        }
        if !self.claims.observability.write {
            return Err(TokenFault::Grant);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the conversion stops at the type's bounds")]
        let expires_at = DateTime::from_timestamp(expiry as i64, 0).ok_or(TokenFault::NoExpiry)?;
        Ok(UploadGrant { expires_at })
    }
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T, TokenFault> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenFault::Malformed)
}

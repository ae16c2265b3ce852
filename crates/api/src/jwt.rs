//! Tokens of another issuer: JSON Web Tokens (RFC 7519), as browsers send them.

use crate::jwks::{Found, Jwks, KeyAges, KeySource, TrustedKey};
use crate::signatures;
use callscope_domain::{Scope, Span, Subject, TenantId, Timestamp};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Algorithms that are known here: one for each kind of key.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

pub struct JwtOptions {
    /// What their signatures are checked with.
    pub keys: JwtKeys,
    /// The required audience. `None`: tokens that name no audience.
    pub audience: Option<String>,
    /// The required issuer, if any.
    pub issuer: Option<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
}

/// What signatures are checked with.
pub enum JwtKeys {
    /// A secret that the issuer shares: HS256.
    Secret(String),
    /// Public keys: RS256, ES256 and `EdDSA`.
    Public {
        source: Arc<dyn KeySource>,
        /// When they are fetched again, and when they are used no longer.
        ages: KeyAges,
    },
}

/// The claims of a valid token.
#[derive(Debug)]
pub struct Verified {
    /// The tenant, which may not exist.
    pub tenant: TenantId,
    pub subject: Subject,
    /// What it may do; words that are not known here are left out.
    pub scopes: Vec<Scope>,
    /// The claim `exp`.
    pub ends_at: Timestamp,
    /// From when on it is refused, which allows for the issuer's clock.
    pub expires_at: Timestamp,
}

/// Why a token is refused. Nothing of the token is in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtFault {
    /// Not of the form of a token, or `alg` is none of those known.
    #[error("the token is malformed, or is not signed with an algorithm that is accepted here")]
    Malformed,
    /// Signed with another algorithm than its key is for.
    #[error("the token is signed with an algorithm that is not accepted here")]
    Algorithm,
    /// The issuer has no key with this id.
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    /// The signature does not match.
    #[error("the token's signature is not valid")]
    Signature,
    #[error("the token lacks the claim {0}")]
    Missing(&'static str),
    /// A claim is not what it must be.
    #[error("a claim of the token is not of its type")]
    ClaimType,
    /// `sub` is not a valid name.
    #[error("the token's sub is empty, too long or contains control characters")]
    Subject,
    /// The tenant claim is not a UUID.
    #[error("the token's tenant_id is no UUID")]
    TenantId,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// `aud` does not match.
    #[error("the token is not meant for this server: its aud is another's, or missing")]
    Audience,
    /// `iss` does not match.
    #[error("the token's iss is not accepted here")]
    Issuer,
    /// The issuer's keys could not be fetched, or not for too long.
    #[error("the keys that tokens are signed with cannot be fetched; try again later")]
    KeysUnavailable,
}

impl From<Error> for JwtFault {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Self::Algorithm,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Self::Audience,
            ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Self::Issuer,
            ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => Self::ClaimType,
            _ => Self::Malformed,
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    tenant_id: Option<String>,
    scopes: Option<ScopesClaim>,
    /// Seconds since the epoch, perhaps with decimals; so are the next two.
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    /// One text (RFC 7519, 4.1.1). The library compares it with the issuer that is wanted, but takes lists as well.
    iss: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ScopesClaim {
    List(Vec<String>),
    Words(String),
}

impl ScopesClaim {
    /// The scopes that are known here: issuers have others for other servers.
    fn known(&self) -> Vec<Scope> {
        let mut scopes: Vec<Scope> = match self {
            Self::List(words) => words.iter().filter_map(|word| word.parse().ok()).collect(),
            Self::Words(words) => words.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        };
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

pub struct JwtVerifier {
    keys: Keys,
    /// Signature, audience and issuer; times are checked here, by this server's own clock.
    validations: [Validation; ALGORITHMS.len()],
    leeway: Span,
}

enum Keys {
    Secret(Arc<TrustedKey>),
    Public(Arc<Jwks>),
}

impl JwtVerifier {
    /// A verifier. Must be called inside a runtime, on whose threads for blocking work keys will be fetched.
    pub fn new(options: JwtOptions) -> Self {
        signatures::install();
        let keys = match options.keys {
            JwtKeys::Secret(secret) => Keys::Secret(Arc::new(TrustedKey::secret(&secret))),
            JwtKeys::Public { source, ages } => Keys::Public(Arc::new(Jwks::new(source, ages))),
        };
        let (audience, issuer) = (options.audience.as_deref(), options.issuer.as_deref());
        let validations = ALGORITHMS.map(|algorithm| validation(algorithm, audience, issuer));
        let leeway = Span::from_micros(i64::try_from(options.leeway.as_micros()).unwrap_or(i64::MAX));
        Self { keys, validations, leeway }
    }

    /// What a token says, if it is sound at this moment.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, JwtFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JwtFault::Malformed);
        }
        let header = decode_header(token).map_err(|_| JwtFault::Malformed)?;
        // Extensions that must be understood (RFC 7515, 4.1.11); none is.
        if header.crit.is_some() {
            return Err(JwtFault::Malformed);
        }
        let key = match &self.keys {
            Keys::Secret(key) => Arc::clone(key),
            Keys::Public(jwks) => match jwks.find(header.kid.as_deref(), header.alg).await {
                Found::Key(key) => key,
                Found::Unknown => return Err(JwtFault::UnknownKey),
                Found::NoKeys => return Err(JwtFault::KeysUnavailable),
            },
        };
        // The key says which algorithm it is for, and never the token.
        let validation = self.validations.iter().find(|validation| validation.algorithms == [key.algorithm]);
        let token = decode::<Claims>(token, &key.key, validation.ok_or(JwtFault::Algorithm)?)?;
        self.accept(token.claims, now)
    }

    fn accept(&self, claims: Claims, now: Timestamp) -> Result<Verified, JwtFault> {
        let ends_at = instant(claims.exp.ok_or(JwtFault::Missing("exp"))?);
        let expires_at = ends_at + self.leeway;
        if now >= expires_at {
            return Err(JwtFault::Expired);
        }
        let is_early = |time: Option<f64>| time.is_some_and(|time| now < instant(time) - self.leeway);
        if is_early(claims.nbf) || is_early(claims.iat) {
            return Err(JwtFault::NotYet);
        }
        if claims.iss.is_some_and(|issuer| !issuer.is_string()) {
            return Err(JwtFault::Issuer);
        }
        let subject = Subject::new(claims.sub.ok_or(JwtFault::Missing("sub"))?).map_err(|_| JwtFault::Subject)?;
        let tenant = claims.tenant_id.ok_or(JwtFault::Missing("tenant_id"))?;
        let tenant = TenantId(Uuid::try_parse(&tenant).map_err(|_| JwtFault::TenantId)?);
        let scopes = claims.scopes.map(|scopes| scopes.known()).unwrap_or_default();
        Ok(Verified { tenant, subject, scopes, ends_at, expires_at })
    }
}

fn validation(algorithm: Algorithm, audience: Option<&str>, issuer: Option<&str>) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    let mut required = HashSet::new();
    if let Some(audience) = audience {
        validation.set_audience(&[audience]);
        required.insert("aud".to_owned());
    }
    if let Some(issuer) = issuer {
        validation.set_issuer(&[issuer]);
        required.insert("iss".to_owned());
    }
    validation.required_spec_claims = required;
    validation
}

/// Seconds since the epoch as an instant; far ones become the first or the last.
fn instant(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "what is out of range becomes the bound")]
    let micros = (seconds * 1e6) as i64;
    Timestamp::from_micros(micros)
}

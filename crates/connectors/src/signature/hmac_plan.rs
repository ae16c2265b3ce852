//! An HMAC whose parts the user chooses, as in Vapi's `HMACAuthenticationPlan`: algorithm, headers, encoding, and a format
//! of what is signed. Standard Webhooks and Svix are such plans too.

use super::{
    SECOND_MS, SECONDS_BELOW, SignatureCheck, SignatureFault, SignedRequest, SigningSecret, WINDOW_MS, from_hex,
    timestamp, with_length_of,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde::{Deserialize, Serialize};

const SVIX_ID: &str = "svix-id";

/// A plan as Vapi writes it; absent parts have Vapi's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HmacPlan {
    /// The hash function.
    pub algorithm: Algorithm,
    /// The header of the signature.
    pub signature_header: String,
    /// The header of the timestamp, in seconds or milliseconds. Read only if the format contains `{timestamp}`.
    pub timestamp_header: String,
    /// The text before the signature in its header, such as `sha256=`.
    pub signature_prefix: String,
    /// The text that is signed. Placeholders: `{body}`, `{timestamp}`, `{method}`, `{url}`, `{svix-id}`.
    pub payload_format: String,
    /// How the digest is written.
    pub signature_encoding: Encoding,
    /// Whether the secret is the base64 form of the key.
    pub secret_is_base64: bool,
}

impl Default for HmacPlan {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            signature_header: "x-signature".into(),
            timestamp_header: "x-timestamp".into(),
            signature_prefix: String::new(),
            payload_format: "{timestamp}.{body}".into(),
            signature_encoding: Encoding::Hex,
            secret_is_base64: false,
        }
    }
}

/// The hash function of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA512.
    Sha512,
    /// HMAC-SHA1, which still holds as an HMAC.
    Sha1,
}

impl Algorithm {
    const fn of_ring(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }
}

/// How a digest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Two hexadecimal digits a byte.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// Why a plan is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// A signature that does not cover the body proves nothing, and one that covers it twice cannot be streamed.
    #[error("The payload format must contain `{{body}}` exactly once.")]
    BodyNotOnce,
    /// A header's name is empty.
    #[error("The names of the headers must not be empty.")]
    EmptyHeader,
}

/// A plan whose format covers the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacScheme {
    plan: HmacPlan,
    before_body: Vec<Part>,
    after_body: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Timestamp,
    Method,
    Url,
    SvixId,
}

impl TryFrom<HmacPlan> for HmacScheme {
    type Error = PlanFault;

    fn try_from(plan: HmacPlan) -> Result<Self, PlanFault> {
        let (before, after) = plan.payload_format.split_once("{body}").ok_or(PlanFault::BodyNotOnce)?;
        if after.contains("{body}") {
            return Err(PlanFault::BodyNotOnce);
        }
        let (before_body, after_body) = (parts_of(before), parts_of(after));
        let scheme = Self { plan, before_body, after_body };
        if scheme.plan.signature_header.is_empty() || scheme.is_dated() && scheme.plan.timestamp_header.is_empty() {
            return Err(PlanFault::EmptyHeader);
        }
        Ok(scheme)
    }
}

impl HmacScheme {
    /// Whether the signature covers its time, so that old ones can be refused.
    #[must_use]
    pub fn is_dated(&self) -> bool {
        self.before_body.iter().chain(&self.after_body).any(|part| *part == Part::Timestamp)
    }

    pub(super) fn begin(
        &self,
        secret: &SigningSecret,
        request: &SignedRequest<'_>,
    ) -> Result<SignatureCheck, SignatureFault> {
        let algorithm = self.plan.algorithm.of_ring();
        let value = request.header(&self.plan.signature_header)?;
        let text = value.strip_prefix(self.plan.signature_prefix.as_str()).ok_or(SignatureFault::Malformed)?;
        let digest = match self.plan.signature_encoding {
            Encoding::Hex => from_hex(text, algorithm)?,
            Encoding::Base64 => with_length_of(algorithm, BASE64_STANDARD.decode(text).ok())?,
        };
        if self.is_dated() {
            let signed_at = timestamp(request.header(&self.plan.timestamp_header)?)?;
            // Vapi does not publish the unit.
            let is_seconds = signed_at < SECONDS_BELOW;
            request.check_age(if is_seconds { signed_at * SECOND_MS } else { signed_at }, WINDOW_MS)?;
        }
        let prefix = self.fill(&self.before_body, request)?;
        let suffix = self.fill(&self.after_body, request)?;
        let key = self.key(secret)?;
        Ok(SignatureCheck::digesting(algorithm, &key, prefix.as_bytes(), suffix.into_bytes(), vec![digest]))
    }

    /// Puts values in place of placeholders, in one pass: a value that looks like a placeholder stays as it is.
    fn fill(&self, parts: &[Part], request: &SignedRequest<'_>) -> Result<String, SignatureFault> {
        let mut filled = String::new();
        for part in parts {
            filled.push_str(match part {
                Part::Literal(text) => text,
                Part::Timestamp => request.header(&self.plan.timestamp_header)?,
                Part::Method => request.method,
                Part::Url => request.url,
                Part::SvixId => request.header(SVIX_ID)?,
            });
        }
        Ok(filled)
    }

    /// A secret that the plan declares as base64 and that is not matches no signature.
    fn key(&self, secret: &SigningSecret) -> Result<Vec<u8>, SignatureFault> {
        if self.plan.secret_is_base64 {
            BASE64_STANDARD.decode(secret.as_bytes()).map_err(|_| SignatureFault::Mismatch)
        } else {
            Ok(secret.as_bytes().to_vec())
        }
    }
}

/// Cuts a format at its placeholders.
fn parts_of(format: &str) -> Vec<Part> {
    const PLACEHOLDERS: [(&str, Part); 4] = [
        ("{timestamp}", Part::Timestamp),
        ("{method}", Part::Method),
        ("{url}", Part::Url),
        ("{svix-id}", Part::SvixId),
    ];
    let mut parts = Vec::new();
    let mut rest = format;
    loop {
        let found = PLACEHOLDERS.into_iter().filter_map(|(word, part)| Some((rest.find(word)?, word, part)));
        let Some((at, word, part)) = found.min_by_key(|(at, ..)| *at) else {
            parts.push(Part::Literal(rest.to_owned()));
            return parts;
        };
        parts.push(Part::Literal(rest[..at].to_owned()));
        parts.push(part);
        rest = &rest[at + word.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme(payload_format: &str) -> Result<HmacScheme, PlanFault> {
        HmacPlan { payload_format: payload_format.into(), ..HmacPlan::default() }.try_into()
    }

    #[test]
    fn a_format_covers_the_body_once() {
        assert_eq!(scheme("{timestamp}."), Err(PlanFault::BodyNotOnce));
        assert_eq!(scheme("{body}{body}"), Err(PlanFault::BodyNotOnce));
        assert!(scheme("{body}").is_ok_and(|scheme| !scheme.is_dated()));
        assert!(scheme("{body}{timestamp}").is_ok_and(|scheme| scheme.is_dated()));
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_stays_as_it_is() {
        let headers: &[(&str, &[u8])] = &[("svix-id", b"{method}"), ("x-timestamp", b"17")];
        let request = SignedRequest { headers, method: "POST", url: "{timestamp}", received_at_ms: 0 };
        let scheme = scheme("<{svix-id}|{url}|{timestamp}>{unknown}{body}").expect("it covers the body");
        assert_eq!(scheme.fill(&scheme.before_body, &request), Ok("<{method}|{timestamp}|17>{unknown}".into()));
    }

    #[test]
    fn a_secret_that_is_not_base64_matches_nothing() {
        let plan = HmacPlan { payload_format: "{body}".into(), secret_is_base64: true, ..HmacPlan::default() };
        let scheme = HmacScheme::try_from(plan).expect("it covers the body");
        let digest = "0".repeat(64);
        let headers: &[(&str, &[u8])] = &[("x-signature", digest.as_bytes())];
        let request = SignedRequest { headers, method: "POST", url: "", received_at_ms: 0 };
        let secret = SigningSecret::new(*b"not base64!").expect("not empty");
        assert_eq!(scheme.begin(&secret, &request).err(), Some(SignatureFault::Mismatch));
    }
}

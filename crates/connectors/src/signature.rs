//! Signatures of webhooks, checked over the raw bytes of the body before anything else reads it.
//!
//! Replays inside a time window change nothing, because a record that arrives twice is the same record; so no list of
//! seen deliveries is kept. Finding the connector and its secret is left to the server.

mod hmac_plan;

pub use hmac_plan::{Algorithm, Encoding, HmacPlan, HmacScheme, PlanFault};

use crate::text;
use ring::hmac;
use std::fmt;
use subtle::ConstantTimeEq;

const SECOND_MS: i64 = 1000;
/// Five minutes: Retell's own window, and ours where a source names none. All retries of Tap's fit into it.
const WINDOW_MS: i64 = 300 * SECOND_MS;
/// How long ElevenLabs's own package accepts a signature.
const ELEVENLABS_BACK_MS: i64 = 1800 * SECOND_MS;
/// A timestamp below this is in seconds: as milliseconds it would be in 1973.
const SECONDS_BELOW: i64 = 100_000_000_000;
/// Most digits of a timestamp. One in milliseconds has 13.
const TIMESTAMP_DIGITS_MAX: usize = 16;
/// A signature header with more digests than this is malformed. Two are usual while a secret is replaced.
const DIGESTS_MAX: usize = 16;

/// How a source signs its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `x-retell-signature: v=<ms>,d=<hex>`, over the body and the milliseconds.
    Retell,
    /// `ElevenLabs-Signature: t=<s>,v0=<hex>`, over `<t>.<body>`.
    ElevenLabs,
    /// `X-Webhook-Signature: t=<s>,v1=<hex>`, over `<t>.<body>`.
    Tap,
    /// `X-Webhook-Signature: <hex>`, over the body. It has no time, so replays cannot be detected.
    Bland,
    /// An HMAC whose parts the user has chosen, as Vapi offers it.
    Hmac(HmacScheme),
    /// The secret itself, in a header.
    HeaderSecret {
        /// The header, such as `X-Vapi-Secret`.
        header: String,
        /// The text before the secret, such as `Bearer `.
        prefix: String,
    },
}

/// A request's parts that a signature may cover, beside the body.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// Names in any case, and values.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The method, in upper case.
    pub method: &'a str,
    /// The whole address that the source was given.
    pub url: &'a str,
    /// When the request arrived, in milliseconds since 1970.
    pub received_at_ms: i64,
}

/// Why a request is refused. Neither the secret nor anything of the request is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// A header that the scheme needs is not there.
    #[error("The signature is missing.")]
    Missing,
    /// The header is there, more than once or not in the scheme's form.
    #[error("The signature is malformed.")]
    Malformed,
    /// The signature is too old, or too far in the future.
    #[error("The signature's time is outside the accepted window.")]
    Stale,
    /// The signature is of another body or by another secret.
    #[error("The signature does not match the request.")]
    Mismatch,
}

/// The key of a signature. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Box<[u8]>);

/// An empty secret: any sender could sign with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The secret must not be empty.")]
pub struct EmptySecret;

impl SigningSecret {
    /// Refuses the empty secret.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, EmptySecret> {
        let bytes = bytes.into();
        if bytes.is_empty() { Err(EmptySecret) } else { Ok(Self(bytes)) }
    }

    /// The bytes of the key.
    pub(crate) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(***)")
    }
}

/// Checks the signature of a request whose body is at hand.
pub fn verify(
    scheme: &Scheme,
    secret: &SigningSecret,
    request: &SignedRequest<'_>,
    body: &[u8],
) -> Result<(), SignatureFault> {
    let mut check = SignatureCheck::begin(scheme, secret, request)?;
    check.update(body);
    check.finish()
}

/// A check of a body that arrives in pieces, for bodies that are too large to be kept.
#[derive(Debug)]
pub struct SignatureCheck(State);

#[derive(Debug)]
enum State {
    /// The header was the secret, so the body does not matter.
    Proven,
    Digesting {
        context: Box<hmac::Context>,
        /// The signed bytes after the body.
        suffix: Vec<u8>,
        /// One of these must be the digest.
        expected: Vec<Vec<u8>>,
    },
}

impl SignatureCheck {
    /// Reads the headers. Everything but the digest itself is decided here.
    pub fn begin(scheme: &Scheme, secret: &SigningSecret, request: &SignedRequest<'_>) -> Result<Self, SignatureFault> {
        match scheme {
            Scheme::Retell => retell(secret, request),
            Scheme::ElevenLabs => dated(secret, request, "elevenlabs-signature", "v0", ELEVENLABS_BACK_MS),
            Scheme::Tap => dated(secret, request, "x-webhook-signature", "v1", WINDOW_MS),
            Scheme::Bland => {
                let digest = from_hex(request.header("x-webhook-signature")?, hmac::HMAC_SHA256)?;
                Ok(Self::digesting(hmac::HMAC_SHA256, secret.as_bytes(), b"", Vec::new(), vec![digest]))
            }
            Scheme::Hmac(scheme) => scheme.begin(secret, request),
            Scheme::HeaderSecret { header, prefix } => {
                let value = request.header(header)?.strip_prefix(prefix.as_str()).ok_or(SignatureFault::Malformed)?;
                let is_equal = value.as_bytes().ct_eq(secret.as_bytes());
                if is_equal.into() { Ok(Self(State::Proven)) } else { Err(SignatureFault::Mismatch) }
            }
        }
    }

    /// Takes the next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.0 {
            State::Proven => {}
            State::Digesting { context, .. } => context.update(piece),
        }
    }

    /// Compares the digests, once the body is whole.
    pub fn finish(self) -> Result<(), SignatureFault> {
        let State::Digesting { mut context, suffix, expected } = self.0 else {
            return Ok(());
        };
        context.update(&suffix);
        let tag = context.sign();
        // All are compared, so that the time taken does not reveal which one fits.
        let fits = expected.iter().fold(subtle::Choice::from(0), |fits, digest| fits | tag.as_ref().ct_eq(digest));
        if fits.into() { Ok(()) } else { Err(SignatureFault::Mismatch) }
    }

    fn digesting(
        algorithm: hmac::Algorithm,
        key: &[u8],
        prefix: &[u8],
        suffix: Vec<u8>,
        expected: Vec<Vec<u8>>,
    ) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
        context.update(prefix);
        Self(State::Digesting { context: Box::new(context), suffix, expected })
    }
}

impl<'a> SignedRequest<'a> {
    /// The value of the only header of that name.
    fn header(&self, name: &str) -> Result<&'a str, SignatureFault> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = values.next().ok_or(SignatureFault::Missing)?;
        if values.next().is_some() {
            return Err(SignatureFault::Malformed);
        }
        std::str::from_utf8(value).map_err(|_| SignatureFault::Malformed)
    }

    /// Refuses a time that is more than `back_ms` ago, or more than five minutes ahead.
    fn check_age(&self, signed_at_ms: i64, back_ms: i64) -> Result<(), SignatureFault> {
        let age_ms = self.received_at_ms.saturating_sub(signed_at_ms);
        if (-WINDOW_MS..=back_ms).contains(&age_ms) { Ok(()) } else { Err(SignatureFault::Stale) }
    }
}

/// `v=<ms>,d=<64 lower-case hex>`, and nothing else.
fn retell(secret: &SigningSecret, request: &SignedRequest<'_>) -> Result<SignatureCheck, SignatureFault> {
    let value = request.header("x-retell-signature")?;
    let parts = value.strip_prefix("v=").and_then(|rest| rest.split_once(",d="));
    let (signed_at, digest) = parts.ok_or(SignatureFault::Malformed)?;
    if digest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(SignatureFault::Malformed);
    }
    let digest = from_hex(digest, hmac::HMAC_SHA256)?;
    request.check_age(timestamp(signed_at)?, WINDOW_MS)?;
    let suffix = signed_at.as_bytes().to_vec();
    Ok(SignatureCheck::digesting(hmac::HMAC_SHA256, secret.as_bytes(), b"", suffix, vec![digest]))
}

/// `t=<s>,<version>=<hex>` in any order, over `<t>.<body>`. Parts of other names are ignored.
fn dated(
    secret: &SigningSecret,
    request: &SignedRequest<'_>,
    header: &str,
    version: &str,
    back_ms: i64,
) -> Result<SignatureCheck, SignatureFault> {
    let mut signed_at = None;
    let mut digests = Vec::new();
    for part in request.header(header)?.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) if signed_at.is_none() => signed_at = Some(value),
            Some(("t", _)) => return Err(SignatureFault::Malformed),
            Some((name, value)) if name == version => digests.push(from_hex(value, hmac::HMAC_SHA256)?),
            _ => {}
        }
    }
    let signed_at = signed_at.ok_or(SignatureFault::Malformed)?;
    if !(1..=DIGESTS_MAX).contains(&digests.len()) {
        return Err(SignatureFault::Malformed);
    }
    request.check_age(timestamp(signed_at)?.saturating_mul(SECOND_MS), back_ms)?;
    let prefix = format!("{signed_at}.");
    Ok(SignatureCheck::digesting(hmac::HMAC_SHA256, secret.as_bytes(), prefix.as_bytes(), Vec::new(), digests))
}

/// Decimal digits.
fn timestamp(digits: &str) -> Result<i64, SignatureFault> {
    let is_number = digits.len() <= TIMESTAMP_DIGITS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().map_err(|_| SignatureFault::Malformed) } else { Err(SignatureFault::Malformed) }
}

/// A digest of the algorithm's length in hex, in either case.
fn from_hex(text: &str, algorithm: hmac::Algorithm) -> Result<Vec<u8>, SignatureFault> {
    with_length_of(algorithm, text::from_hex(text))
}

fn with_length_of(algorithm: hmac::Algorithm, digest: Option<Vec<u8>>) -> Result<Vec<u8>, SignatureFault> {
    let length = algorithm.digest_algorithm().output_len();
    digest.filter(|digest| digest.len() == length).ok_or(SignatureFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(headers: &'a [(&'a str, &'a [u8])]) -> SignedRequest<'a> {
        SignedRequest { headers, method: "POST", url: "https://callscope.example", received_at_ms: 0 }
    }

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::new(text.as_bytes()).expect("not empty")
    }

    #[test]
    fn a_secret_in_a_header_is_compared_whole() {
        let scheme = Scheme::HeaderSecret { header: "Authorization".into(), prefix: "Bearer ".into() };
        let check = |value: &str| {
            verify(&scheme, &secret("hush"), &request(&[("authorization", value.as_bytes())]), b"any body")
        };
        assert_eq!(check("Bearer hush"), Ok(()));
        for wrong in ["Bearer hus", "Bearer hushh", "Bearer ", "Bearer Hush"] {
            assert_eq!(check(wrong), Err(SignatureFault::Mismatch), "{wrong}");
        }
        assert_eq!(check("hush"), Err(SignatureFault::Malformed));
        assert_eq!(verify(&scheme, &secret("hush"), &request(&[]), b""), Err(SignatureFault::Missing));
    }

    #[test]
    fn a_header_that_comes_twice_is_malformed() {
        let digest = "0".repeat(64);
        let header = ("x-webhook-signature", digest.as_bytes());
        let twice = [header, ("X-Webhook-Signature", b"anything")];
        assert_eq!(verify(&Scheme::Bland, &secret("s"), &request(&twice), b""), Err(SignatureFault::Malformed));
        assert_eq!(verify(&Scheme::Bland, &secret("s"), &request(&[header]), b""), Err(SignatureFault::Mismatch));
    }

    #[test]
    fn no_secret_is_printed_and_none_is_empty() {
        assert_eq!(format!("{:?}", secret("hush")), "SigningSecret(***)");
        assert_eq!(SigningSecret::new([]), Err(EmptySecret));
    }

    #[test]
    fn a_timestamp_is_digits_alone() {
        for malformed in ["", "+1", "-1", "1.0", " 1", "１", "12345678901234567"] {
            assert_eq!(timestamp(malformed), Err(SignatureFault::Malformed), "{malformed}");
        }
        assert_eq!(timestamp("0001768646400"), Ok(1_768_646_400));
    }
}

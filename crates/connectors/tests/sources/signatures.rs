//! Signatures of each source: the vectors, and each good one spoilt.

use crate::{json, text};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use callscope_connectors::livekit_upload::{TokenFault, UploadToken};
use callscope_connectors::signature::{
    HmacPlan, HmacScheme, Scheme, SignatureCheck, SignatureFault, SignedRequest, SigningSecret, verify,
};
use chrono::DateTime;
use serde_json::Value;

struct Case {
    name: String,
    scheme: Scheme,
    secret: SigningSecret,
    headers: Vec<(String, String)>,
    url: String,
    body: Vec<u8>,
    now_ms: i64,
    expected: Result<(), SignatureFault>,
}

impl Case {
    fn check(&self) -> Result<(), SignatureFault> {
        self.with(&self.headers, &self.secret, self.now_ms, &self.body)
    }

    fn with(
        &self,
        headers: &[(String, String)],
        secret: &SigningSecret,
        now_ms: i64,
        body: &[u8],
    ) -> Result<(), SignatureFault> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = SignedRequest { headers: &headers, method: "POST", url: &self.url, received_at_ms: now_ms };
        let whole = verify(&self.scheme, secret, &request, body);
        let in_pieces = SignatureCheck::begin(&self.scheme, secret, &request).and_then(|mut check| {
            body.chunks(7).for_each(|piece| check.update(piece));
            check.finish()
        });
        assert_eq!(whole, in_pieces, "{}: in pieces as at once", self.name);
        whole
    }
}

fn secret(text: &str) -> SigningSecret {
    SigningSecret::new(text.as_bytes()).expect("not empty")
}

fn fault(why: Option<&str>) -> Result<(), SignatureFault> {
    match why {
        None => Ok(()),
        Some("missing") => Err(SignatureFault::Missing),
        Some("malformed") => Err(SignatureFault::Malformed),
        Some("stale") => Err(SignatureFault::Stale),
        Some("mismatch") => Err(SignatureFault::Mismatch),
        Some(other) => panic!("unknown reason {other}"),
    }
}

fn scheme(provider: &str, case: &Value) -> Scheme {
    match provider {
        "retell" => Scheme::Retell,
        "elevenlabs" => Scheme::ElevenLabs,
        "tap" => Scheme::Tap,
        "bland" => Scheme::Bland,
        "vapi" => {
            let plan: HmacPlan = serde_json::from_value(case["plan"].clone()).expect("a plan");
            Scheme::Hmac(HmacScheme::try_from(plan).expect("a plan that covers the body"))
        }
        other => panic!("unknown provider {other}"),
    }
}

fn cases(provider: &str) -> Vec<Case> {
    let document = json(&format!("signatures/{provider}.json"));
    let to_case = |case: &Value| Case {
        name: format!("{provider}: {}", text(case, "name")),
        scheme: scheme(provider, case),
        secret: secret(text(case, "secret")),
        headers: case["headers"]
            .as_object()
            .expect("headers")
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
            .collect(),
        url: case["url"].as_str().unwrap_or_default().to_owned(),
        body: BASE64_STANDARD.decode(text(case, "body_base64")).expect("base64"),
        now_ms: case["now_unix_ms"].as_i64().expect("a time"),
        expected: fault(case["why"].as_str()),
    };
    document["cases"].as_array().expect("cases").iter().map(to_case).collect()
}

const PROVIDERS: [&str; 5] = ["retell", "elevenlabs", "tap", "bland", "vapi"];

fn all_cases() -> Vec<Case> {
    PROVIDERS.into_iter().flat_map(cases).collect()
}

#[test]
fn every_vector_is_accepted_or_refused_for_its_reason() {
    for case in all_cases() {
        assert_eq!(case.check(), case.expected, "{}", case.name);
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_body_is_a_mismatch() {
    for case in all_cases().iter().filter(|case| case.expected.is_ok()) {
        for at in 0..case.body.len() {
            let mut body = case.body.clone();
            body[at] ^= 1;
            let checked = case.with(&case.headers, &case.secret, case.now_ms, &body);
            assert_eq!(checked, Err(SignatureFault::Mismatch), "{} at {at}", case.name);
        }
    }
}

#[test]
fn another_secret_is_a_mismatch() {
    for case in all_cases().iter().filter(|case| case.expected.is_ok()) {
        // Base64 too, so that it is a key for every plan.
        let checked = case.with(&case.headers, &secret("b3RoZXI="), case.now_ms, &case.body);
        assert_eq!(checked, Err(SignatureFault::Mismatch), "{}", case.name);
    }
}

#[test]
fn each_header_is_needed() {
    for case in all_cases().iter().filter(|case| case.expected.is_ok()) {
        for (position, (name, _)) in case.headers.iter().enumerate() {
            let mut headers = case.headers.clone();
            headers.remove(position);
            let checked = case.with(&headers, &case.secret, case.now_ms, &case.body);
            assert_eq!(checked, Err(SignatureFault::Missing), "{} without {name}", case.name);
        }
    }
}

#[test]
fn a_header_is_found_in_any_case() {
    for case in all_cases().iter().filter(|case| case.expected.is_ok()) {
        let headers: Vec<_> =
            case.headers.iter().map(|(name, value)| (name.to_ascii_uppercase(), value.clone())).collect();
        assert_eq!(case.with(&headers, &case.secret, case.now_ms, &case.body), Ok(()), "{}", case.name);
    }
}

#[test]
fn a_signature_that_has_a_time_is_refused_a_day_before_and_after() {
    const DAY_MS: i64 = 86_400_000;
    for case in all_cases().iter().filter(|case| case.expected.is_ok()) {
        let is_dated = match &case.scheme {
            Scheme::Hmac(scheme) => scheme.is_dated(),
            scheme => *scheme != Scheme::Bland,
        };
        let expected = if is_dated { Err(SignatureFault::Stale) } else { Ok(()) };
        for now_ms in [case.now_ms - DAY_MS, case.now_ms + DAY_MS] {
            assert_eq!(case.with(&case.headers, &case.secret, now_ms, &case.body), expected, "{}", case.name);
        }
    }
}

#[test]
fn no_fault_echoes_the_request_or_the_secret() {
    for case in all_cases() {
        let Err(fault) = case.check() else { continue };
        let shown = format!("{fault} {fault:?}");
        for (_, value) in &case.headers {
            assert!(!shown.contains(value.as_str()), "{}", case.name);
        }
    }
}

fn token_fault(why: Option<&str>) -> Option<TokenFault> {
    Some(match why? {
        "not yet valid" => TokenFault::NotYetValid,
        "expired" => TokenFault::Expired,
        "signature" => TokenFault::Signature,
        "unknown key" => TokenFault::UnknownKey,
        "no end" => TokenFault::NoExpiry,
        "grant" => TokenFault::Grant,
        "algorithm" => TokenFault::Algorithm,
        other => panic!("unknown reason {other}"),
    })
}

#[test]
fn livekit_tokens_are_accepted_or_refused_for_their_reason() {
    let document = json("signatures/livekit.json");
    let api_secret = secret(text(&document, "api_secret"));
    for case in document["cases"].as_array().expect("cases") {
        let now = DateTime::from_timestamp_millis(case["now_unix_ms"].as_i64().expect("a time")).expect("a time");
        let checked = UploadToken::parse(text(case, "authorization"))
            .and_then(|token| token.verify(text(&document, "api_key"), &api_secret, now));
        assert_eq!(checked.err(), token_fault(case["why"].as_str()), "{}", text(case, "name"));
    }
}

#[test]
fn a_spoilt_livekit_token_is_refused() {
    let document = json("signatures/livekit.json");
    let api_secret = secret(text(&document, "api_secret"));
    let case = &document["cases"][0];
    let now = DateTime::from_timestamp_millis(case["now_unix_ms"].as_i64().expect("a time")).expect("a time");
    let good = text(case, "authorization");
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    // The last character holds two bits that are no part of the signature, so it is left as it is.
    for at in 0..signature.len() - 1 {
        let mut spoilt = signature.as_bytes().to_vec();
        spoilt[at] = if spoilt[at] == b'A' { b'B' } else { b'A' };
        let token = format!("{head}.{}", String::from_utf8(spoilt).expect("ASCII"));
        let checked = UploadToken::parse(&token).and_then(|token| token.verify("APIdemo", &api_secret, now));
        assert_eq!(checked.err(), Some(TokenFault::Signature), "at {at}");
    }
    for malformed in ["", "Bearer", "Bearer ", "Bearer a", "Bearer a.b", "Bearer a.b.c", "Basic a.b.c", "Bearer é.é.é"]
    {
        assert_eq!(UploadToken::parse(malformed).err(), Some(TokenFault::Malformed), "{malformed}");
    }
    assert!(UploadToken::parse(&good.replacen("Bearer", "bearer", 1)).is_ok_and(|token| token.issuer() == "APIdemo"));
}

//! An issuer of tokens, and those who forge them.

use crate::records::{NOW, instant};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callscope_api::{JwtKeys, JwtOptions, KeyAges, KeySource};
use callscope_domain::{Scope, TenantId};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use ring::{hmac, rsa};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// What tokens of a shared secret are signed with.
pub const SECRET: &str = "a secret of at least thirty-two bytes";
/// Whom tokens are meant for.
pub const AUDIENCE: &str = "callscope";
/// Who makes them.
pub const ISSUER: &str = "https://issuer.example";
/// How far clocks may be off, in seconds.
pub const LEEWAY_S: i64 = 60;

/// Now, in seconds since the epoch.
pub fn now_s() -> i64 {
    instant(NOW).as_micros() / 1_000_000
}

/// The issuer's keys.
pub struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

pub static KEYS: LazyLock<Keys> = LazyLock::new(Keys::new);

impl Keys {
    /// The RSA key is always the same, as `ring` makes none; the others are new.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        Self {
            rsa: RsaKeyPair::from_der(include_bytes!("issuer_rsa.der")).expect("a key"),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).expect("a key"),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("a key"),
        }
    }

    /// The public ones.
    pub fn set(&self) -> Value {
        let components: rsa::PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": text(&components.n), "e": text(&components.e)},
            {"kty": "EC", "kid": "ec", "crv": "P-256", "x": text(x), "y": text(y)},
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": text(self.ed.public_key().as_ref())},
        ]})
    }

    /// The public RSA key, as a thief would use it for a secret.
    pub fn rsa_public_der(&self) -> Vec<u8> {
        self.rsa.public_key().as_ref().to_vec()
    }

    /// Signs with the key that an algorithm is for.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let random = SystemRandom::new();
        token(header, claims, |message| match header["alg"].as_str().expect("an algorithm") {
            "HS256" => hmac_of(SECRET.as_bytes(), message),
            "RS256" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                signature
            }
            "ES256" => self.ec.sign(&random, message).expect("a signature").as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            other => panic!("nobody signs with {other}"),
        })
    }
}

/// Bytes as tokens have them.
pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with any signature.
pub fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", text(&signature))
}

/// The signature of HS256.
pub fn hmac_of(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// The claims of a good token.
pub fn claims(tenant: TenantId, scopes: &[Scope]) -> Value {
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    json!({"sub": "ada", "tenant_id": tenant.to_string(), "scopes": scopes, "aud": AUDIENCE, "iss": ISSUER,
           "iat": now_s(), "exp": now_s() + 300})
}

/// A token of the shared secret.
pub fn signed(claims: &Value) -> String {
    KEYS.sign(&json!({"alg": "HS256", "typ": "JWT"}), claims)
}

/// A good token.
pub fn good(tenant: TenantId, scopes: &[Scope]) -> String {
    signed(&claims(tenant, scopes))
}

fn options(keys: JwtKeys) -> JwtOptions {
    let leeway = Duration::from_secs(LEEWAY_S.unsigned_abs());
    JwtOptions { keys, audience: Some(AUDIENCE.into()), issuer: Some(ISSUER.into()), leeway }
}

const AGES: KeyAges = KeyAges { refresh: Duration::from_hours(1), max: Duration::from_hours(24) };

/// A server that shares the secret.
pub fn shared_secret() -> JwtOptions {
    options(JwtKeys::Secret(SECRET.into()))
}

/// A server that knows the public keys.
pub fn public_keys() -> JwtOptions {
    struct Published;
    impl KeySource for Published {
        fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
            Ok(KEYS.set().to_string().into_bytes())
        }
    }
    options(JwtKeys::Public { source: Arc::new(Published), ages: AGES })
}

/// A server whose issuer is away.
pub fn unreachable_keys() -> JwtOptions {
    struct Away;
    impl KeySource for Away {
        fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
            Err("connection refused by 10.0.0.7".into())
        }
    }
    options(JwtKeys::Public { source: Arc::new(Away), ages: AGES })
}

//! The keys of the issuer of tokens: a JSON Web Key Set (RFC 7517), fetched now and then, and when a token names a key
//! that is not known.

use jsonwebtoken::jwk::{AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

const KEYS_MAX: usize = 100;
/// How long after a fetch an unknown key may cause another one: strangers must not make this server ask the issuer for
/// every token that they make up.
const REFETCH_PAUSE: Duration = Duration::from_secs(10);

pub trait KeySource: Send + Sync {
    /// The set, as JSON. It blocks, for a bounded time; what it gives is of bounded size.
    fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;
}

#[derive(Debug, thiserror::Error)]
pub enum KeySetFault {
    /// No JSON, or not of the form of a key set.
    #[error("it is no JSON Web Key Set, which is an object with a list `keys`")]
    Form(#[source] serde_json::Error),
    #[error("it holds more than {KEYS_MAX} keys")]
    TooMany,
    #[error("it holds no key for signatures with RS256, ES256 (P-256) or EdDSA (Ed25519)")]
    NoneUsable,
}

/// A key that signatures are checked with, and the one algorithm that it is for.
#[derive(Debug)]
pub struct TrustedKey {
    id: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

impl TrustedKey {
    /// A shared secret.
    pub fn secret(secret: &str) -> Self {
        Self { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret.as_bytes()) }
    }

    /// A public key of a set; `None` for keys of other kinds and for other purposes. A shared secret has no place in a
    /// set that everyone may read.
    fn public(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let (algorithm, named) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        let is_for_signatures = jwk.common.public_key_use.is_none_or(|purpose| purpose == PublicKeyUse::Signature);
        let is_for_algorithm = jwk.common.key_algorithm.is_none_or(|wanted| wanted == named);
        let key = DecodingKey::from_jwk(&Jwk { common: CommonParameters::default(), algorithm: jwk.algorithm }).ok()?;
        (is_for_signatures && is_for_algorithm).then_some(Self { id: jwk.common.key_id, algorithm, key })
    }
}

#[derive(Debug, Default)]
pub struct KeySet(Vec<Arc<TrustedKey>>);

#[derive(Deserialize)]
struct KeySetJson {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a key set. Keys for other purposes are passed over.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetFault> {
        let set: KeySetJson = serde_json::from_slice(json).map_err(KeySetFault::Form)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeySetFault::TooMany);
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(TrustedKey::public).map(Arc::new).collect();
        if keys.is_empty() { Err(KeySetFault::NoneUsable) } else { Ok(Self(keys)) }
    }

    /// The key with an id; without one, the only key of the algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<TrustedKey>> {
        let mut keys = self.0.iter().filter(|key| match id {
            Some(id) => key.id.as_deref() == Some(id),
            None => key.algorithm == algorithm,
        });
        let key = keys.next()?;
        keys.next().is_none().then(|| Arc::clone(key))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAges {
    /// From this age on they are fetched again.
    pub refresh: Duration,
    /// From this age on they are not used any more.
    pub max: Duration,
}

/// A key set that is kept up to date.
pub struct Jwks {
    source: Arc<dyn KeySource>,
    ages: KeyAges,
    runtime: Handle,
    state: Mutex<State>,
    /// One fetch at a time; concurrent lookups share it.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Arc<KeySet>,
    fetched: Option<Instant>,
    /// The last attempt, failed ones included.
    tried: Option<Instant>,
}

/// What became of the search for a key.
pub enum Found {
    Key(Arc<TrustedKey>),
    /// The issuer has no such key.
    Unknown,
    /// The issuer's keys could never be fetched, or not for so long that they may have been withdrawn.
    NoKeys,
}

impl Jwks {
    /// A set that is fetched when it is needed. Must be called inside a runtime, on whose threads for blocking work it
    /// will be fetched.
    pub fn new(source: Arc<dyn KeySource>, ages: KeyAges) -> Self {
        let (state, turn) = (Mutex::default(), tokio::sync::Mutex::new(()));
        Self { source, ages, runtime: Handle::current(), state, turn }
    }

    /// The key that a token names. A set that has grown old is fetched again while its keys go on being used.
    pub async fn find(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Found {
        let (keys, age) = self.current();
        if let (Some(key), Some(age)) = (keys.find(id, algorithm), age) {
            if age >= self.ages.refresh && self.may_fetch() {
                let jwks = Arc::clone(self);
                drop(self.runtime.spawn(async move { jwks.fetch().await }));
            }
            return Found::Key(key);
        }
        // A task of its own, because the request that needs the keys may be cancelled, and the fetch must not be.
        let jwks = Arc::clone(self);
        let _ = self.runtime.spawn(async move { jwks.fetch().await }).await;
        let (keys, age) = self.current();
        match (keys.find(id, algorithm), age) {
            (_, None) => Found::NoKeys,
            (Some(key), Some(_)) => Found::Key(key),
            (None, Some(_)) => Found::Unknown,
        }
    }

    /// The keys and their age, if they may be used.
    fn current(&self) -> (Arc<KeySet>, Option<Duration>) {
        let state = self.state.lock();
        let age = state.fetched.map(|fetched| fetched.elapsed());
        (Arc::clone(&state.keys), age.filter(|&age| age < self.ages.max))
    }

    /// Whether the last try is long enough ago.
    fn may_fetch(&self) -> bool {
        let pause = REFETCH_PAUSE.min(self.ages.refresh);
        let state = self.state.lock();
        state.tried.is_none_or(|tried| tried.elapsed() >= pause)
    }

    /// Fetches the set, unless that was tried a moment ago.
    async fn fetch(&self) {
        let _turn = self.turn.lock().await;
        if !self.may_fetch() {
            return;
        }
        self.state.lock().tried = Some(Instant::now());
        let source = Arc::clone(&self.source);
        let fetched = self.runtime.spawn_blocking(move || {
            let json = source.fetch()?;
            Ok::<_, Box<dyn Error + Send + Sync>>(KeySet::parse(&json)?)
        });
        match fetched.await {
            Ok(Ok(keys)) => {
                let mut state = self.state.lock();
                state.keys = Arc::new(keys);
                state.fetched = Some(Instant::now());
            }
            Ok(Err(error)) => {
                let error = &*error as &dyn Error;
                if self.current().1.is_some() {
                    tracing::warn!(error, "the keys that tokens are signed with cannot be fetched; the last ones stay");
                } else {
                    // The last ones may have been withdrawn since.
                    tracing::error!(
                        error,
                        "the keys that tokens are signed with cannot be fetched, and there are none, or none that are \
                         young enough (auth.jwks_age_max); tokens are refused"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "the fetching of the keys that tokens are signed with was lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const POINT: &str = "11qYAPV_-SAMPLE-OF-A-POINT-0123456789abcdefg";

    fn ed25519(id: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": POINT, "kid": id, "use": "sig", "alg": "EdDSA"})
    }

    fn set(keys: &[Value]) -> Result<KeySet, KeySetFault> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    fn ages(refresh: Duration) -> KeyAges {
        KeyAges { refresh, max: Duration::from_hours(24) }
    }

    /// Keys `0`, `1`, … one more with each fetch.
    struct Growing(AtomicUsize);

    impl KeySource for Growing {
        fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let keys: Vec<Value> = (0..=count).map(|id| ed25519(&id.to_string())).collect();
            Ok(json!({"keys": keys}).to_string().into_bytes())
        }
    }

    #[test]
    fn only_keys_for_our_signatures_are_taken() {
        let encryption = json!({"kty": "OKP", "crv": "Ed25519", "x": POINT, "kid": "enc", "use": "enc"});
        let secret = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "secret"});
        let wide = json!({"kty": "EC", "crv": "P-384", "x": "AQ", "y": "AQ", "kid": "wide"});
        let pss = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "PS256", "kid": "pss"});
        let (unknown, no_object) = (json!({"kty": "XYZ", "kid": "unknown"}), json!(7));
        let keys = set(&[encryption.clone(), secret, wide, pss, unknown, no_object, ed25519("ours")]).unwrap();
        assert_eq!(keys.0.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some("ours")]);
        assert!(matches!(set(&[encryption]), Err(KeySetFault::NoneUsable)));
        assert!(matches!(KeySet::parse(b"<html>"), Err(KeySetFault::Form(_))));
        assert!(matches!(KeySet::parse(b"[]"), Err(KeySetFault::Form(_))));
        assert!(matches!(set(&vec![ed25519("a"); KEYS_MAX + 1]), Err(KeySetFault::TooMany)));
    }

    #[test]
    fn without_an_id_there_must_be_one_key_to_choose_from() {
        let one = set(&[ed25519("a")]).unwrap();
        assert!(one.find(None, Algorithm::EdDSA).is_some() && one.find(None, Algorithm::RS256).is_none());
        let two = set(&[ed25519("a"), ed25519("b")]).unwrap();
        assert!(two.find(None, Algorithm::EdDSA).is_none());
        assert_eq!(two.find(Some("b"), Algorithm::EdDSA).unwrap().id.as_deref(), Some("b"));
        // Whose key it is depends on the key alone; the algorithm is checked later.
        assert_eq!(two.find(Some("b"), Algorithm::RS256).unwrap().algorithm, Algorithm::EdDSA);
    }

    #[tokio::test]
    async fn an_unknown_key_is_looked_for_once_in_a_while() {
        let source = Arc::new(Growing(AtomicUsize::new(0)));
        let jwks = Arc::new(Jwks::new(source.clone(), ages(Duration::from_hours(1))));
        assert!(matches!(jwks.find(Some("0"), Algorithm::EdDSA).await, Found::Key(_)));
        for _ in 0..100 {
            assert!(matches!(jwks.find(Some("1"), Algorithm::EdDSA).await, Found::Unknown));
        }
        assert_eq!(source.0.load(Ordering::Relaxed), 1);
        jwks.state.lock().tried = None;
        assert!(matches!(jwks.find(Some("1"), Algorithm::EdDSA).await, Found::Key(_)));
    }

    #[tokio::test]
    async fn an_old_set_is_fetched_again_while_it_is_used() {
        let source = Arc::new(Growing(AtomicUsize::new(0)));
        let jwks = Arc::new(Jwks::new(source.clone(), ages(Duration::ZERO)));
        let find = async || matches!(jwks.find(Some("0"), Algorithm::EdDSA).await, Found::Key(_));
        while source.0.load(Ordering::Relaxed) < 3 {
            assert!(find().await);
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn without_any_keys_nothing_can_be_said() {
        struct Away;
        impl KeySource for Away {
            fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
                Err("refused".into())
            }
        }
        let jwks = Arc::new(Jwks::new(Arc::new(Away), ages(Duration::from_hours(1))));
        assert!(matches!(jwks.find(None, Algorithm::EdDSA).await, Found::NoKeys));
    }

    #[tokio::test]
    async fn a_set_that_is_too_old_is_not_used() {
        struct OnceOnly(AtomicUsize);
        impl KeySource for OnceOnly {
            fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
                match self.0.fetch_add(1, Ordering::Relaxed) {
                    0 => Ok(json!({"keys": [ed25519("a")]}).to_string().into_bytes()),
                    _ => Err("refused".into()),
                }
            }
        }
        let source = Arc::new(OnceOnly(AtomicUsize::new(0)));
        let mut jwks = Jwks::new(source.clone(), ages(Duration::from_hours(1)));
        jwks = {
            let jwks = Arc::new(jwks);
            assert!(matches!(jwks.find(Some("a"), Algorithm::EdDSA).await, Found::Key(_)));
            Arc::into_inner(jwks).expect("no fetch is under way")
        };
        jwks.ages = KeyAges { refresh: Duration::ZERO, max: Duration::ZERO };
        let jwks = Arc::new(jwks);
        assert!(matches!(jwks.find(Some("a"), Algorithm::EdDSA).await, Found::NoKeys));
        assert_eq!(source.0.load(Ordering::Relaxed), 2, "it was tried to fetch them again");
    }
}

//! API keys: how they are made, and how they are recognised. The log names the principal that makes, revokes or lists them.

use crate::ports::{StoreError, TenantStore};
use callscope_domain::{Actor, ApiKey, KeyId, TenantId, Timestamp};
use rand::Rng;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The prefix of every key, by which people and secret scanners recognise one.
pub const KEY_PREFIX: &str = "cs_live_";

/// Bytes of randomness in a secret.
pub(crate) const SECRET_BYTES: usize = 32;

/// A text that starts with a prefix and goes on with 32 bytes of the system's randomness, in hexadecimal.
pub(crate) fn random_secret(prefix: &str) -> String {
    let mut bytes = [0_u8; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    let mut text = prefix.to_owned();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The text of a key, shown to its owner once.
pub struct KeySecret(String);

impl KeySecret {
    /// A new key from 32 bytes of the system's randomness, in hexadecimal.
    #[must_use]
    pub fn generate() -> Self {
        Self(random_secret(KEY_PREFIX))
    }

    /// The text of the key.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The stored form.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a generated key has the form of one")]
    pub fn hash(&self) -> [u8; 32] {
        hash_key(&self.0).expect("a generated key has the form of one")
    }
}

/// The SHA-256 of a presented key; `None` when the text does not have the form of one. A slow hash would add nothing:
/// the secret has 256 bits.
#[must_use]
pub fn hash_key(presented: &str) -> Option<[u8; 32]> {
    let secret = presented.strip_prefix(KEY_PREFIX)?;
    let is_sound = secret.len() == 2 * SECRET_BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sound.then(|| Sha256::digest(presented.as_bytes()).into())
}

/// The target of log lines about keys.
const LOG_TARGET: &str = "callscope::keys";

/// Adds a key, and says so. `false` when the tenant has `valid_max` valid keys already.
pub async fn create(
    store: &dyn TenantStore,
    key: &ApiKey,
    secret: &KeySecret,
    actor: &Actor,
    valid_max: u32,
) -> Result<bool, StoreError> {
    let is_created = store.create_key(key, &secret.hash(), actor, valid_max).await?;
    if is_created {
        tracing::info!(target: LOG_TARGET, tenant = %key.tenant_id, key = %key.id, %actor, "created a key");
    } else {
        tracing::warn!(target: LOG_TARGET, tenant = %key.tenant_id, %actor, valid_max, "the tenant has too many keys");
    }
    Ok(is_created)
}

/// Revokes a key, and says so. `false` when the tenant has no such key.
pub async fn revoke(
    store: &dyn TenantStore,
    tenant: TenantId,
    key: KeyId,
    now: Timestamp,
    actor: &Actor,
) -> Result<bool, StoreError> {
    let is_known = store.revoke_key(tenant, key, now, actor).await?;
    if is_known {
        tracing::info!(target: LOG_TARGET, %tenant, %key, %actor, "revoked a key");
    }
    Ok(is_known)
}

/// Logs that the list of a tenant's keys was read.
pub fn log_listing(tenant: TenantId, actor: &Actor) {
    tracing::info!(target: LOG_TARGET, %tenant, %actor, "listed keys");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_recognised_and_two_differ() {
        let (one, other) = (KeySecret::generate(), KeySecret::generate());
        assert_eq!(hash_key(one.reveal()), Some(one.hash()));
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn what_has_not_the_form_of_a_key_has_no_hash() {
        let hex = "0".repeat(64);
        for text in ["", "cs_live_", &hex, &format!("cs_test_{hex}"), &format!("cs_live_{hex}0"), "cs_live_zz"] {
            assert_eq!(hash_key(text), None, "{text}");
        }
    }
}

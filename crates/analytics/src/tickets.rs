//! Tickets: how they are made, and how they are recognised.
//!
//! A ticket's text names its tenant, so that what looks it up names one tenant too, and stays on one node of a
//! distributed database.

use crate::keys::{SECRET_BYTES, random_secret};
use callscope_domain::TenantId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The prefix of every ticket, by which people and secret scanners recognise one.
pub const TICKET_PREFIX: &str = "cs_ticket_";

/// Hexadecimal digits of a tenant's id.
const TENANT_DIGITS: usize = 32;

/// The text of a ticket, given to its client once.
pub struct TicketSecret(String);

impl TicketSecret {
    /// A new ticket of a tenant, from 32 bytes of the system's randomness.
    #[must_use]
    pub fn generate(tenant: TenantId) -> Self {
        Self(random_secret(&format!("{TICKET_PREFIX}{}_", tenant.0.simple())))
    }

    /// The text of the ticket.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The stored form.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

/// The tenant that a presented ticket claims to be of, and its SHA-256; `None` when the text does not have the form of
/// a ticket. What was never made is not found, whatever it claims.
#[must_use]
pub fn read_ticket(presented: &str) -> Option<(TenantId, [u8; 32])> {
    let (tenant, secret) = presented.strip_prefix(TICKET_PREFIX)?.split_once('_')?;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_sound =
        tenant.len() == TENANT_DIGITS && secret.len() == 2 * SECRET_BYTES && is_hex(tenant) && is_hex(secret);
    let tenant = Uuid::try_parse(tenant).ok().filter(|_| is_sound)?;
    Some((TenantId(tenant), Sha256::digest(presented.as_bytes()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_ticket_is_recognised_and_two_differ() {
        let tenant = TenantId(Uuid::from_u128(0xA));
        let (one, other) = (TicketSecret::generate(tenant), TicketSecret::generate(tenant));
        assert_eq!(read_ticket(one.reveal()), Some((tenant, one.hash())));
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn what_has_not_the_form_of_a_ticket_is_none() {
        let (tenant, secret) = ("0".repeat(32), "0".repeat(64));
        assert!(read_ticket(&format!("cs_ticket_{tenant}_{secret}")).is_some());
        for text in [
            String::new(),
            "cs_ticket_".to_owned(),
            format!("cs_ticket_{tenant}{secret}"),
            format!("cs_ticket_{tenant}_{secret}0"),
            format!("cs_ticket_{}_{secret}", Uuid::nil()),
            format!("cs_ticket_{tenant}_{}", "G".repeat(64)),
            format!("cs_ticket_{tenant}_{}", "A".repeat(64)),
            format!("cs_live_{tenant}_{secret}"),
        ] {
            assert_eq!(read_ticket(&text), None, "{text}");
        }
    }
}

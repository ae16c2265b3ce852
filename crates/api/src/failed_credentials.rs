//! How many credentials that are not valid one client address may present, so that guessing and noise cost the database
//! nothing. Counts are those of this process.
//!
//! Clients that share an address with a stranger, such as those behind one proxy, are not locked out: keys that were
//! valid a while ago are remembered here, by their hash, and looked up all the same.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Locks that the networks and the hashes are spread over.
const SHARDS: usize = 16;
/// Most networks of a shard; some 50 bytes each.
const NETWORKS_PER_SHARD_MAX: usize = 4096;
/// Most hashes of a generation of a shard; 32 bytes each. There are two generations.
const HASHES_PER_SHARD_MAX: usize = 1024;
const MINUTE: Duration = Duration::from_mins(1);

/// The unit of counting: an IPv4 address, or the /64 of an IPv6 address, which is one customer's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
        }
    }
}

/// Counts credentials that are not valid.
pub struct FailedCredentials {
    /// Failures of a network in a minute; 0 for any number.
    per_minute: u32,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    /// When each network will have no failures left that count.
    clear_at: HashMap<Network, Instant>,
    /// Hashes of keys that were valid: the present generation, and the one before.
    valid: HashSet<[u8; 32]>,
    valid_before: HashSet<[u8; 32]>,
}

impl FailedCredentials {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// How long an address has to wait before its next credential is looked at; `None` where it need not.
    pub fn wait(&self, address: IpAddr) -> Option<Duration> {
        let interval = MINUTE.checked_div(self.per_minute)?;
        let network = Network::of(address);
        let clear_at = *self.shard(&network).clear_at.get(&network)?;
        // One failure is forgiven each interval, so as many as a minute has intervals are outstanding at most.
        let outstanding = clear_at.saturating_duration_since(Instant::now());
        let most = interval * (self.per_minute - 1);
        outstanding.checked_sub(most).filter(|wait| !wait.is_zero())
    }

    /// Counts a credential that is not valid.
    pub fn count(&self, address: IpAddr) {
        let Some(interval) = MINUTE.checked_div(self.per_minute) else { return };
        let (network, now) = (Network::of(address), Instant::now());
        let mut shard = self.shard(&network);
        if shard.clear_at.len() >= NETWORKS_PER_SHARD_MAX && !shard.clear_at.contains_key(&network) {
            make_room(&mut shard.clear_at, now);
        }
        let clear_at = shard.clear_at.entry(network).or_insert(now);
        *clear_at = (*clear_at).max(now) + interval;
    }

    /// Remembers a key that is valid.
    pub fn remember(&self, hash: &[u8; 32]) {
        if self.per_minute == 0 {
            return;
        }
        let mut shard = self.shard(hash);
        if shard.valid.contains(hash) {
            return;
        }
        if shard.valid.len() >= HASHES_PER_SHARD_MAX {
            shard.valid_before = std::mem::take(&mut shard.valid);
        }
        shard.valid.insert(*hash);
    }

    /// Whether a key was valid a while ago.
    pub fn was_valid(&self, hash: &[u8; 32]) -> bool {
        let shard = self.shard(hash);
        shard.valid.contains(hash) || shard.valid_before.contains(hash)
    }

    fn shard(&self, key: &impl Hash) -> MutexGuard<'_, Shard> {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        self.shards[shard].lock()
    }
}

/// Drops the networks that have no failures left; if that is less than half of them, the half that is nearest to that.
fn make_room(clear_at: &mut HashMap<Network, Instant>, now: Instant) {
    clear_at.retain(|_, clear_at| *clear_at > now);
    let half = NETWORKS_PER_SHARD_MAX / 2;
    if clear_at.len() > half {
        let mut times: Vec<Instant> = clear_at.values().copied().collect();
        let (_, &mut median, _) = times.select_nth_unstable(half);
        clear_at.retain(|_, clear_at| *clear_at > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn past_the_limit_an_address_waits_and_others_do_not() {
        let failed = FailedCredentials::new(3);
        for _ in 0..3 {
            assert_eq!(failed.wait(v4(1)), None);
            failed.count(v4(1));
        }
        let wait = failed.wait(v4(1)).expect("a wait");
        assert!(wait > Duration::from_secs(10) && wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(failed.wait(v4(2)), None);
    }

    #[test]
    fn addresses_of_one_network_are_counted_together() {
        let failed = FailedCredentials::new(1);
        for (one, same, other) in [
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
            ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
        ] {
            failed.count(one.parse().unwrap());
            assert!(failed.wait(same.parse().unwrap()).is_some() && failed.wait(other.parse().unwrap()).is_none());
        }
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let failed = FailedCredentials::new(0);
        failed.count(v4(1));
        failed.remember(&[1; 32]);
        assert!(failed.wait(v4(1)).is_none() && !failed.was_valid(&[1; 32]));
    }

    #[test]
    fn the_number_of_networks_and_hashes_is_bounded() {
        let failed = FailedCredentials::new(60);
        for number in 0..100_000_u32 {
            failed.count(v4(number));
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_le_bytes());
            failed.remember(&hash);
            assert!(failed.was_valid(&hash));
        }
        for shard in &failed.shards {
            let shard = shard.lock();
            assert!(shard.clear_at.len() <= NETWORKS_PER_SHARD_MAX);
            assert!(shard.valid.len().max(shard.valid_before.len()) <= HASHES_PER_SHARD_MAX);
        }
    }
}

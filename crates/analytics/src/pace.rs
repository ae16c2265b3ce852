//! How much a transaction should change, so that it lasts about as long as others can wait for it.
//!
//! A tenant that writes alone gets long transactions, since each commit has a price. Where tenants wait for one another,
//! transactions are short. The speed is measured, since it depends on the disk and on what the records are like.

use callscope_domain::TenantId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a transaction should last while several tenants write, and while only one does. Records in no order need
/// the latter long, since their sums are spread widely.
const SHARED_MS: u64 = 12;
const ALONE_MS: u64 = 1500;
/// How long after its last record a tenant counts as one that writes: its next record must not wait for the long
/// transaction of another.
const RECENT: Duration = Duration::from_hours(1);
/// Fewest changes of a transaction: below, it lasts as long as its commit, whatever is in it.
const CHANGES_MIN: u64 = 20;
/// What is assumed before anything was measured. Low: a transaction that turns out too short does no harm.
const FIRST_CHANGES_PER_SECOND: u64 = 10_000;
/// The most that is believed where tenants wait for one another: what comes next may be much slower than what was
/// measured.
const SHARED_CHANGES_PER_SECOND_MAX: u64 = 50_000;

/// Measures how fast changes are written, and by how many tenants.
pub struct Pace {
    changes_per_second: u64,
    /// When each tenant wrote last; those that did so long ago go now and then.
    writers: HashMap<TenantId, Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { changes_per_second: FIRST_CHANGES_PER_SECOND, writers: HashMap::new() }
    }
}

impl Pace {
    pub fn note(&mut self, tenant: TenantId) {
        self.writers.insert(tenant, Instant::now());
    }

    /// A transaction with so many changes took so long.
    pub fn observe(&mut self, changes: usize, took: Duration) {
        let changes = changes as u64;
        if changes >= CHANGES_MIN {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
            let measured = changes.saturating_mul(1_000_000) / micros;
            // Down at once and up by halves: a transaction that is too long makes others wait, one that is too short does not.
            self.changes_per_second = measured.min(u64::midpoint(self.changes_per_second, measured));
        }
    }

    /// Most changes of the next transaction, where so many tenants can write without waiting for one another;
    /// `is_shared` says that something else waits for its end too.
    pub fn changes_max(&mut self, tenants_max: usize, is_shared: bool) -> usize {
        if self.writers.len() > tenants_max {
            let now = Instant::now();
            self.writers.retain(|_, wrote| now.duration_since(*wrote) < RECENT);
        }
        let changes = if is_shared || self.writers.len() > tenants_max {
            self.changes_per_second.min(SHARED_CHANGES_PER_SECOND_MAX) * SHARED_MS / 1000
        } else {
            self.changes_per_second.saturating_mul(ALONE_MS) / 1000
        };
        usize::try_from(changes.max(CHANGES_MIN)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn transactions_last_as_long_as_others_can_wait() {
        let mut pace = Pace::default();
        let [acme, globex] = [1, 2].map(|id| TenantId(Uuid::from_u128(id)));
        for _ in 0..30 {
            pace.observe(100_000, Duration::from_secs(1));
            pace.observe(10, Duration::from_secs(1));
        }
        pace.note(acme);
        assert!((149_000..=150_000).contains(&pace.changes_max(1, false)), "a second and a half");
        assert_eq!(pace.changes_max(1, true), 600, "twelve milliseconds, at the speed that is believed");
        pace.note(globex);
        assert_eq!(pace.changes_max(1, false), 600, "another tenant writes");
        assert!(pace.changes_max(2, false) > 100_000, "they do not wait for one another");
        let long_ago = Instant::now().checked_sub(RECENT).unwrap();
        pace.writers.insert(globex, long_ago);
        assert!(pace.changes_max(1, false) > 100_000);
        for _ in 0..30 {
            pace.observe(200, Duration::from_mins(1));
        }
        assert_eq!(pace.changes_max(1, true), 20);
    }
}

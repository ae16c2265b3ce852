//! How many rows a transaction should take, so that it lasts about as long as others can wait for it.
//!
//! A tenant that writes alone gets long transactions, since each commit has a price. Where tenants wait for one another,
//! transactions are short. The speed is measured, since it depends on the disk and on what the records are like.

use callscope_domain::TenantId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a transaction should last while others write as well, and while no one else does. The latter is what a first
/// write after a quiet time may have to wait; records in no order need it long, since their rollups are spread widely.
const SHARED_MS: u64 = 50;
const ALONE_MS: u64 = 1500;
/// How long after its last record a tenant counts as one that writes.
const RECENT: Duration = Duration::from_secs(30);
/// Fewest rows of a transaction: below, it lasts as long as its commit, whatever is in it.
const ROWS_MIN: u64 = 200;
/// What is assumed before anything was measured. Low: a transaction that turns out too short does no harm.
const FIRST_ROWS_PER_SECOND: u64 = 10_000;

/// Knows how fast rows are written, and by how many tenants.
pub struct Pace {
    rows_per_second: u64,
    /// When each tenant wrote last; those that did so long ago go now and then.
    writers: HashMap<TenantId, Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rows_per_second: FIRST_ROWS_PER_SECOND, writers: HashMap::new() }
    }
}

impl Pace {
    /// A tenant writes.
    pub fn note(&mut self, tenant: TenantId) {
        self.writers.insert(tenant, Instant::now());
    }

    /// A transaction with so many rows took so long.
    pub fn observe(&mut self, rows: usize, took: Duration) {
        let rows = rows as u64;
        if rows >= ROWS_MIN {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
            let measured = rows.saturating_mul(1_000_000) / micros;
            // Down at once and up by halves: a transaction that is too long makes others wait, one that is too short does not.
            self.rows_per_second = measured.min(u64::midpoint(self.rows_per_second, measured));
        }
    }

    /// Most rows of the next transaction, where so many tenants can write without waiting for one another; `is_shared`
    /// says that something else waits for its end too.
    pub fn rows_max(&mut self, tenants_max: usize, is_shared: bool) -> usize {
        if self.writers.len() > tenants_max {
            let now = Instant::now();
            self.writers.retain(|_, wrote| now.duration_since(*wrote) < RECENT);
        }
        let lasts_ms = if is_shared || self.writers.len() > tenants_max { SHARED_MS } else { ALONE_MS };
        let rows = (self.rows_per_second.saturating_mul(lasts_ms) / 1000).max(ROWS_MIN);
        usize::try_from(rows).unwrap_or(usize::MAX)
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
            pace.observe(100, Duration::from_secs(1));
        }
        pace.note(acme);
        assert!((149_000..=150_000).contains(&pace.rows_max(1, false)), "a second and a half");
        assert!((4_900..=5_000).contains(&pace.rows_max(1, true)), "a twentieth");
        pace.note(globex);
        assert!((4_900..=5_000).contains(&pace.rows_max(1, false)), "another tenant writes");
        assert!(pace.rows_max(2, false) > 100_000, "they do not wait for one another");
        let long_ago = Instant::now().checked_sub(RECENT).unwrap();
        pace.writers.insert(globex, long_ago);
        assert!(pace.rows_max(1, false) > 100_000);
        for _ in 0..30 {
            pace.observe(200, Duration::from_mins(1));
        }
        assert_eq!(pace.rows_max(1, true), 200);
    }
}

//! The settings of what is kept for a moment: `[cache]`.

use super::fault::Faults;
use crate::units::{duration, size};
use callscope_api::CacheLimits;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest that an answer or a key may be kept: figures that are older mislead, and so does a revoked key.
const TTL_MAX: Duration = Duration::from_mins(1);

/// Answers and keys that are kept for a moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Zero turns the cache off.
    #[serde(with = "duration")]
    pub ttl: Duration,
    pub entries_max: usize,
    #[serde(with = "size")]
    pub bytes_max: usize,
}

impl CacheSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.require(self.ttl <= TTL_MAX, "cache.ttl", "must be at most 1m; a revoked key is let in for as long");
        for (key, value) in [("cache.entries_max", self.entries_max), ("cache.bytes_max", self.bytes_max)] {
            faults.require(value > 0, key, "must be at least 1; ttl = \"0s\" keeps nothing");
        }
    }
}

impl From<&CacheSettings> for CacheLimits {
    fn from(settings: &CacheSettings) -> Self {
        Self { ttl: settings.ttl, entries_max: settings.entries_max, bytes_max: settings.bytes_max }
    }
}

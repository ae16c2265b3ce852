//! The settings of retention: `[retention]`.

use super::fault::Faults;
use callscope_analytics::retention::RetentionPeriods;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Longest retention: a hundred years.
const RETENTION_DAYS_MAX: u32 = 36_500;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Days that calls are kept; 0 for ever.
    pub calls_days: u32,
    /// Days that rollups are kept; 0 for ever.
    pub rollups_days: u32,
}

impl RetentionSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, days) in [("retention.calls_days", self.calls_days), ("retention.rollups_days", self.rollups_days)] {
            let must = format!("must be at most {RETENTION_DAYS_MAX}; 0 keeps them for ever");
            faults.require(days <= RETENTION_DAYS_MAX, key, must);
        }
        if self.rollups_days == 0 {
            return;
        }
        let key = "retention.rollups_days";
        if self.calls_days == 0 {
            faults.add(key, "needs retention.calls_days, as calls must not outlive their rollups");
        } else {
            let must = "must be at least retention.calls_days, or 0 to keep them for ever";
            faults.require(self.rollups_days >= self.calls_days, key, must);
        }
    }

    /// How long data is kept; `None` when everything is kept for ever.
    pub fn periods(&self) -> Option<RetentionPeriods> {
        let calls_days = NonZeroU32::new(self.calls_days)?;
        Some(RetentionPeriods { calls_days, rollups_days: NonZeroU32::new(self.rollups_days) })
    }
}

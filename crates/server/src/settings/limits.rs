//! The settings of how often credentials may be used: `[limits]`.

use super::fault::{Fault, Faults};
use callscope_domain::{RateFault, RateLimit};
use serde::{Deserialize, Serialize};

/// How often credentials may be used.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests a second of a credential; 0 for any number.
    pub requests_per_second: u32,
    /// Its requests at once.
    pub burst: u32,
}

impl LimitSettings {
    pub(super) fn check(self, faults: &mut Faults) {
        faults.check(self.rate());
    }

    /// The limit; refuses what cannot be one.
    pub fn rate(self) -> Result<RateLimit, Fault> {
        RateLimit::new(self.requests_per_second, self.burst).map_err(|fault| {
            let key = match fault {
                RateFault::TooFast => "limits.requests_per_second",
                RateFault::Burst => "limits.burst",
            };
            Fault::new(key, fault)
        })
    }
}

//! The settings of how often credentials may be used: `[limits]`.

use super::fault::{Fault, Faults};
use callscope_domain::{RATE_MAX, RateFault, RateLimit};
use serde::{Deserialize, Serialize};

/// How often credentials may be used.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests a second of a credential; 0 for any number.
    pub requests_per_second: u32,
    /// Its requests at once.
    pub burst: u32,
    /// Failed credentials of one client address in a minute; 0 for any number.
    pub failed_credentials_per_minute: u32,
}

impl LimitSettings {
    pub(super) fn check(self, faults: &mut Faults) {
        faults.check(self.rate());
        let must = format!("must be at most {RATE_MAX}; 0: any number");
        let key = "limits.failed_credentials_per_minute";
        faults.require(self.failed_credentials_per_minute <= RATE_MAX, key, must);
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

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
    pub burst: u32,
    /// Requests a second of all credentials of one tenant together; 0 for any number.
    pub tenant_requests_per_second: u32,
    pub tenant_burst: u32,
    /// Requests a second of one client address for pages that take no credential; 0 for any number.
    pub page_requests_per_second: u32,
    pub page_burst: u32,
    /// Failed credentials of one client address in a minute; 0 for any number.
    pub failed_credentials_per_minute: u32,
}

impl LimitSettings {
    pub(super) fn check(self, faults: &mut Faults) {
        faults.check(self.rate());
        faults.check(self.tenant_rate());
        faults.check(self.page_rate());
        let must = format!("must be at most {RATE_MAX}; 0: any number");
        let key = "limits.failed_credentials_per_minute";
        faults.require(self.failed_credentials_per_minute <= RATE_MAX, key, must);
    }

    /// The limit of one credential; refuses what cannot be one.
    pub fn rate(self) -> Result<RateLimit, Fault> {
        rate(["limits.requests_per_second", "limits.burst"], self.requests_per_second, self.burst)
    }

    /// The limit of one tenant; refuses what cannot be one.
    pub fn tenant_rate(self) -> Result<RateLimit, Fault> {
        let keys = ["limits.tenant_requests_per_second", "limits.tenant_burst"];
        rate(keys, self.tenant_requests_per_second, self.tenant_burst)
    }

    /// The limit of one client address for pages; refuses what cannot be one.
    pub fn page_rate(self) -> Result<RateLimit, Fault> {
        let keys = ["limits.page_requests_per_second", "limits.page_burst"];
        rate(keys, self.page_requests_per_second, self.page_burst)
    }
}

fn rate(keys: [&str; 2], requests_per_second: u32, burst: u32) -> Result<RateLimit, Fault> {
    RateLimit::new(requests_per_second, burst).map_err(|fault| match fault {
        RateFault::TooFast => Fault::new(keys[0], fault),
        RateFault::Burst => Fault::new(keys[1], fault),
    })
}

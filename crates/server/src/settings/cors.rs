//! The settings of pages of other origins: `[cors]`.

use super::fault::{Fault, Faults};
use crate::units::{duration, list};
use callscope_api::{CorsOptions, CorsRules};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Pages of other origins.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Origins whose pages may use the interface.
    #[serde(deserialize_with = "list")]
    pub allowed_origins: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub allowed_methods: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub allowed_headers: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub exposed_headers: Vec<String>,
    /// How long a browser may remember that.
    #[serde(with = "duration")]
    pub max_age: Duration,
}

impl CorsSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.check(self.rules());
    }

    pub fn rules(&self) -> Result<CorsRules, Fault> {
        let options = CorsOptions {
            allowed_origins: &self.allowed_origins,
            allowed_methods: &self.allowed_methods,
            allowed_headers: &self.allowed_headers,
            exposed_headers: &self.exposed_headers,
            max_age: self.max_age,
        };
        CorsRules::new(&options).map_err(|fault| Fault::new(format!("cors.{}", fault.key()), fault))
    }
}

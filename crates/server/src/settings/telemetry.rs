//! The settings of traces: `[telemetry]`.

use super::fault::Faults;
use crate::secret::ServiceUrl;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Where they go; empty for nowhere.
    pub otlp_endpoint: ServiceUrl,
    /// What the server calls itself there.
    pub service_name: String,
    /// The share of traces that is kept, of those that a client did not decide on.
    pub sampling_ratio: f64,
}

impl TelemetrySettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        let ratio = self.sampling_ratio;
        faults.require((0.0..=1.0).contains(&ratio), "telemetry.sampling_ratio", "must be from 0.0 to 1.0");
        let endpoint = self.otlp_endpoint.reveal();
        faults.require(
            endpoint.is_empty() || endpoint.starts_with("http://") || endpoint.starts_with("https://"),
            "telemetry.otlp_endpoint",
            "must start with http:// or https://, or be empty",
        );
    }
}

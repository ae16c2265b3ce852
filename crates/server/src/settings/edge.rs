//! The settings of what stands between clients and the service: what is kept, what is counted, what is followed.

use crate::units::{duration, size};
use anyhow::bail;
use callscope_api::CacheLimits;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::net::SocketAddr;
use std::time::Duration;

/// Longest that an answer or a key may be kept: figures that are older mislead, and so does a revoked key.
const TTL_MAX: Duration = Duration::from_mins(1);

/// Answers and keys that are kept for a moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// How long; zero for not at all.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// Answers.
    pub entries_max: usize,
    /// Bytes of answers.
    #[serde(with = "size")]
    pub bytes_max: usize,
}

/// Counters of the server's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSettings {
    /// Whether they are served.
    pub enabled: bool,
    /// Where, if not beside everything else.
    #[serde(deserialize_with = "address", serialize_with = "address_text")]
    pub bind: Option<SocketAddr>,
}

/// Traces of requests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Where they go; empty for nowhere.
    pub otlp_endpoint: String,
    /// What the server calls itself there.
    pub service_name: String,
    /// The share of traces that is kept, of those that a client did not decide on.
    pub sampling_ratio: f64,
}

impl CacheSettings {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.ttl > TTL_MAX {
            bail!("setting cache.ttl: must be at most 1m; a revoked key is let in for as long");
        }
        if self.entries_max == 0 || self.bytes_max == 0 {
            bail!("setting cache: entries_max and bytes_max must be at least 1; ttl = \"0s\" keeps nothing");
        }
        Ok(())
    }
}

impl TelemetrySettings {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !(0.0..=1.0).contains(&self.sampling_ratio) {
            bail!("setting telemetry.sampling_ratio: must be from 0.0 to 1.0");
        }
        let endpoint = &self.otlp_endpoint;
        if !endpoint.is_empty() && !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            bail!("setting telemetry.otlp_endpoint: must start with http:// or https://, or be empty");
        }
        Ok(())
    }
}

impl From<&CacheSettings> for CacheLimits {
    fn from(settings: &CacheSettings) -> Self {
        Self { ttl: settings.ttl, entries_max: settings.entries_max, bytes_max: settings.bytes_max }
    }
}

/// An address; `None` where the text is empty.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = (!text.is_empty()).then(|| text.parse()).transpose();
    address
        .map_err(|_| de::Error::custom(format!("{text:?} is no address; write one like \"127.0.0.1:9090\", or \"\"")))
}

/// An address as it is written; the empty text for none.
#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn address_text<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&address.map(|address| address.to_string()).unwrap_or_default())
}

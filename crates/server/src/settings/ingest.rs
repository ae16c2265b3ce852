//! The settings of ingestion: `[ingest]`.

use super::Settings;
use super::fault::Faults;
use crate::units::{duration, size};
use callscope_analytics::ingestion::IngestLimits;
use callscope_api::ApiLimits;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const BATCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// The way of records into the database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// How long a call may be active; zero for ever.
    #[serde(with = "duration")]
    pub active_call_timeout: Duration,
    pub queue_records_max: usize,
    pub batch_records_max: usize,
    pub batch_rows_max: usize,
    /// How long a transaction waits for more.
    #[serde(with = "duration")]
    pub batch_wait: Duration,
    #[serde(with = "size")]
    pub body_bytes_max: usize,
    pub body_records_max: usize,
    pub body_rows_max: usize,
    /// Bytes that a packed body may unpack to, for each that was sent.
    pub unpack_ratio_max: usize,
    /// Bytes of all bodies at one time.
    #[serde(with = "size")]
    pub inflight_bytes_max: usize,
    pub bodies_max: usize,
}

impl IngestSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, value) in [
            ("ingest.queue_records_max", self.queue_records_max),
            ("ingest.batch_records_max", self.batch_records_max),
            ("ingest.batch_rows_max", self.batch_rows_max),
            ("ingest.body_bytes_max", self.body_bytes_max),
            ("ingest.body_records_max", self.body_records_max),
            ("ingest.body_rows_max", self.body_rows_max),
            ("ingest.unpack_ratio_max", self.unpack_ratio_max),
            ("ingest.bodies_max", self.bodies_max),
        ] {
            faults.at_least_one(key, value);
        }
        faults.require(
            self.batch_wait <= BATCH_WAIT_MAX,
            "ingest.batch_wait",
            "must be at most 10s; every record waits that long for its answer",
        );
        faults.require(
            self.inflight_bytes_max / 2 >= self.body_bytes_max,
            "ingest.inflight_bytes_max",
            "must be at least twice ingest.body_bytes_max, or one large body would leave no room for others",
        );
        faults.require(
            self.queue_records_max >= self.body_records_max,
            "ingest.queue_records_max",
            "must be at least ingest.body_records_max, or no large batch fits",
        );
    }
}

impl From<&Settings> for IngestLimits {
    fn from(settings: &Settings) -> Self {
        let ingest = &settings.ingest;
        Self {
            queue_records_max: ingest.queue_records_max,
            batch_records_max: ingest.batch_records_max,
            batch_rows_max: ingest.batch_rows_max,
            batch_wait: ingest.batch_wait,
            event_age_max: settings.live.event_age_max,
        }
    }
}

impl From<&Settings> for ApiLimits {
    fn from(settings: &Settings) -> Self {
        let Settings { server, ingest, .. } = settings;
        Self {
            body_bytes_max: ingest.body_bytes_max,
            body_records_max: ingest.body_records_max,
            body_rows_max: ingest.body_rows_max,
            unpack_ratio_max: ingest.unpack_ratio_max,
            inflight_bytes_max: ingest.inflight_bytes_max,
            bodies_max: ingest.bodies_max,
            body_timeout: server.body_timeout,
            request_timeout: server.request_timeout,
            window_max: settings.tenant.widest_window(),
        }
    }
}

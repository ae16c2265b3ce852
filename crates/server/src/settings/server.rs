//! The settings of the HTTP server: `[server]`.

use super::fault::{Fault, Faults};
use crate::units::{duration, list, size};
use callscope_api::transport::{TransportLimits, TrustedProxies};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Shortest time for a request's head.
const HEADER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Shortest time for a client to read.
const WRITE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Highest least rate: a socket takes more bytes in steps of some 80 KiB, so that a higher one could not be measured.
const TRANSFER_RATE_MAX: usize = 64 << 10;

/// How long a body may be waited for before its rate counts.
const TRANSFER_GRACE: Duration = Duration::from_secs(10);

/// Fewest bytes of answers: the largest that are usual must fit.
const ANSWER_BYTES_MIN: usize = 16 << 20;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    pub bind: SocketAddr,
    /// Threads; 0 for one a processor.
    pub workers: usize,
    /// Connections that are open at one time.
    pub connections_max: usize,
    /// Connections, and requests in flight, of one address.
    pub connections_per_address_max: usize,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "list")]
    pub trusted_proxies: Vec<String>,
    /// How long an idle connection stays open; zero to close each after its first answer.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// How long a client may take to accept what was written.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Fewest bytes a second, of a body or of an answer.
    #[serde(with = "size")]
    pub transfer_rate_min: usize,
    /// Bytes of answers that are not yet read.
    #[serde(with = "size")]
    pub answer_bytes_max: usize,
    /// How long its answer may, from then on.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long requests may take to finish at the end.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
}

impl ServerSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.at_least_one("server.connections_max", self.connections_max);
        faults.more_than_zero("server.body_timeout", self.body_timeout);
        faults.at_least_one("server.connections_per_address_max", self.connections_per_address_max);
        faults.more_than_zero("server.request_timeout", self.request_timeout);
        let is_sound = self.write_timeout >= WRITE_TIMEOUT_MIN;
        faults.require(is_sound, "server.write_timeout", "must be at least 1s");
        let is_sound = (1..=TRANSFER_RATE_MAX).contains(&self.transfer_rate_min);
        faults.require(is_sound, "server.transfer_rate_min", "must be between 1B and 64KiB");
        let is_sound = self.answer_bytes_max >= ANSWER_BYTES_MIN;
        faults.require(is_sound, "server.answer_bytes_max", "must be at least 16MiB");
        faults.check(self.trusted_proxies());
        faults.require(self.header_timeout >= HEADER_TIMEOUT_MIN, "server.header_timeout", "must be at least 1s");
    }

    fn trusted_proxies(&self) -> Result<TrustedProxies, Fault> {
        TrustedProxies::parse(&self.trusted_proxies).map_err(|fault| Fault::new("server.trusted_proxies", fault))
    }

    /// The bounds of connections, served by so many threads.
    pub fn transport(&self, workers: usize) -> Result<TransportLimits, Fault> {
        Ok(TransportLimits {
            workers,
            connections_max: self.connections_max,
            connections_per_address_max: self.connections_per_address_max,
            trusted_proxies: self.trusted_proxies()?,
            keep_alive: self.keep_alive,
            header_timeout: self.header_timeout,
            write_timeout: self.write_timeout,
            transfer_rate_min: u32::try_from(self.transfer_rate_min).unwrap_or(u32::MAX),
            transfer_grace: TRANSFER_GRACE,
            answer_bytes_max: self.answer_bytes_max,
            shutdown_timeout: self.shutdown_timeout,
        })
    }
}

//! The settings of the HTTP server: `[server]`.

use super::fault::Faults;
use crate::units::duration;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Shortest time for a request's head: the web server's clock has a resolution of half a second.
const HEADER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// The HTTP server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Where to listen.
    pub bind: SocketAddr,
    /// Threads; 0 for one a processor.
    pub workers: usize,
    /// Connections that are open at one time.
    pub connections_max: usize,
    /// How long an idle connection stays open; zero to close each after its first answer.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// How long a request's head may take to arrive.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// How long its body may.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
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
        faults.more_than_zero("server.request_timeout", self.request_timeout);
        faults.require(self.header_timeout >= HEADER_TIMEOUT_MIN, "server.header_timeout", "must be at least 1s");
    }
}

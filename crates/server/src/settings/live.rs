//! The settings of live events: `[live]`.

use super::fault::Faults;
use crate::units::duration;
use callscope_api::LiveLimits;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bounds of every duration of `[live]`.
const LIVE_DURATION_MIN: Duration = Duration::from_millis(100);
const LIVE_DURATION_MAX: Duration = Duration::from_hours(7 * 24);

/// Sockets and streams of live events.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSettings {
    /// How long ago something may have happened and still be an event.
    #[serde(with = "duration")]
    pub event_age_max: Duration,
    #[serde(with = "duration")]
    pub replay_window: Duration,
    /// Events that are kept of a tenant.
    pub replay_events_max: u32,
    pub sockets_max: usize,
    pub tenant_sockets_max: usize,
    /// Events of one tenant that are delivered in a second, counted once a client.
    pub deliveries_per_second_max: u32,
    /// Messages of one client that are read in a second.
    pub messages_per_second_max: u32,
    /// How often clients are asked whether they are there.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// How long a client may be silent.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long a client may take to accept a message.
    #[serde(with = "duration")]
    pub send_timeout: Duration,
}

impl LiveSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, duration) in [
            ("live.event_age_max", self.event_age_max),
            ("live.replay_window", self.replay_window),
            ("live.ping_interval", self.ping_interval),
            ("live.idle_timeout", self.idle_timeout),
            ("live.send_timeout", self.send_timeout),
        ] {
            let is_within = (LIVE_DURATION_MIN..=LIVE_DURATION_MAX).contains(&duration);
            faults.require(is_within, key, "must be between 100ms and 7d");
        }
        faults.require(self.messages_per_second_max > 0, "live.messages_per_second_max", "must be at least 1");
        faults.require(
            self.idle_timeout > self.ping_interval,
            "live.idle_timeout",
            "must be more than live.ping_interval, or every quiet client is dropped",
        );
    }
}

impl From<&LiveSettings> for LiveLimits {
    fn from(settings: &LiveSettings) -> Self {
        Self {
            sockets_max: settings.sockets_max,
            tenant_sockets_max: settings.tenant_sockets_max,
            messages_per_second_max: settings.messages_per_second_max,
            ping_interval: settings.ping_interval,
            idle_timeout: settings.idle_timeout,
            send_timeout: settings.send_timeout,
        }
    }
}

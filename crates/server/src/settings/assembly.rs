//! The settings of calls whose telemetry arrives in pieces: `[assembly]`.

use super::fault::Faults;
use crate::units::duration;
use callscope_analytics::assembler::AssemblySettings as AssemblyBounds;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Shortest times: SDKs send spans every 5 seconds, and repeat a request for 10.
const TIME_MIN: Duration = Duration::from_secs(30);
/// Longest times.
const TIME_MAX: Duration = Duration::from_hours(24 * 30);

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssemblySettings {
    /// How long an active call may be without telemetry.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long the facts of an ended call are kept.
    #[serde(with = "duration")]
    pub settle_time: Duration,
    /// How long the facts of a call are kept that was closed because it was idle.
    #[serde(with = "duration")]
    pub unsettled_time: Duration,
    /// Most facts of a call.
    pub facts_per_call_max: usize,
    /// Most calls of a tenant whose facts are kept.
    pub open_calls_max: u32,
    /// Most facts of a tenant.
    pub facts_max: u32,
}

impl AssemblySettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, value) in [
            ("assembly.idle_timeout", self.idle_timeout),
            ("assembly.settle_time", self.settle_time),
            ("assembly.unsettled_time", self.unsettled_time),
        ] {
            faults.require((TIME_MIN..=TIME_MAX).contains(&value), key, "must be between 30s and 30d");
        }
        for (key, value) in [
            ("assembly.facts_per_call_max", self.facts_per_call_max),
            ("assembly.open_calls_max", self.open_calls_max as usize),
            ("assembly.facts_max", self.facts_max as usize),
        ] {
            faults.at_least_one(key, value);
        }
    }
}

impl From<AssemblySettings> for AssemblyBounds {
    fn from(settings: AssemblySettings) -> Self {
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        Self {
            idle_timeout: delta(settings.idle_timeout),
            settle_time: delta(settings.settle_time),
            unsettled_time: delta(settings.unsettled_time),
            facts_per_call_max: settings.facts_per_call_max,
            open_calls_max: settings.open_calls_max.into(),
            facts_max: settings.facts_max.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::DEFAULTS;

    #[test]
    fn the_defaults_are_those_of_the_connectors() {
        let defaults: toml::Table = toml::from_str(DEFAULTS).expect("defaults");
        let settings: AssemblySettings = defaults["assembly"].clone().try_into().expect("a section");
        assert_eq!(AssemblyBounds::from(settings), AssemblyBounds::default());
    }
}

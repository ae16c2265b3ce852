//! How long an assembly takes in facts: when one may begin, when a call is idle, and when its facts are deleted. A call
//! whose facts are deleted is sealed, and its later facts are dropped. Clocks and timers are left to the server.

use crate::assembly::FACTS_PER_CALL_MAX;
use crate::derivation::State;
use chrono::{DateTime, TimeDelta, Utc};

/// How often the time of the last fact is saved if nothing else is.
pub const TOUCH_INTERVAL: TimeDelta = TimeDelta::minutes(1);

/// The bounds on assemblies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssemblySettings {
    /// An active call without telemetry for this time is closed. A caller on hold makes no spans, and a later
    /// end corrects a wrong close.
    pub idle_timeout: TimeDelta,
    /// How long the facts of an ended call are kept. SDKs give up after 10 s; a collector may repeat for 5 minutes.
    pub settle_time: TimeDelta,
    /// How long the facts of a lost call are kept: its end may still come.
    pub unsettled_time: TimeDelta,
    /// Most facts of a call.
    pub facts_per_call_max: usize,
    /// Most assemblies of a tenant.
    pub open_calls_max: u64,
    /// Most facts of a tenant.
    pub facts_max: u64,
}

impl Default for AssemblySettings {
    fn default() -> Self {
        Self {
            idle_timeout: TimeDelta::minutes(15),
            settle_time: TimeDelta::minutes(10),
            unsettled_time: TimeDelta::hours(4),
            facts_per_call_max: FACTS_PER_CALL_MAX,
            open_calls_max: 20_000,
            facts_max: 20_000_000,
        }
    }
}

/// How many assemblies a tenant has, and facts in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantUse {
    /// Assemblies.
    pub assemblies: u64,
    /// Their facts.
    pub facts: u64,
}

/// Whether a tenant may begin one more assembly. Existing assemblies take facts even when the tenant has reached its
/// bounds: otherwise their calls would never end. Each call has a bound of its own.
#[must_use]
pub const fn may_begin(tenant: TenantUse, settings: &AssemblySettings) -> bool {
    tenant.assemblies < settings.open_calls_max && tenant.facts < settings.facts_max
}

/// When the facts of a call are deleted; none while it is active.
#[must_use]
pub fn purge_at(state: State, now: DateTime<Utc>, settings: &AssemblySettings) -> Option<DateTime<Utc>> {
    match state {
        State::Active => None,
        State::Ended => Some(now + settings.settle_time),
        State::Lost => Some(now + settings.unsettled_time),
    }
}

/// Whether an active call has been without telemetry for so long that its end is not expected any more.
#[must_use]
pub fn is_idle(last_seen_at: DateTime<Utc>, now: DateTime<Utc>, settings: &AssemblySettings) -> bool {
    now - last_seen_at >= settings.idle_timeout
}

/// Whether a request without new facts must still save the time at which the call was last seen.
#[must_use]
pub fn must_touch(last_seen_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - last_seen_at > TOUCH_INTERVAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn an_assembly_may_begin_below_both_bounds_of_its_tenant() {
        let settings = AssemblySettings { open_calls_max: 2, facts_max: 10, ..AssemblySettings::default() };
        assert!(may_begin(TenantUse { assemblies: 1, facts: 9 }, &settings));
        assert!(!may_begin(TenantUse { assemblies: 2, facts: 0 }, &settings));
        assert!(!may_begin(TenantUse { assemblies: 0, facts: 10 }, &settings));
    }

    #[test]
    fn facts_are_kept_for_longer_while_the_end_may_come() {
        let settings = AssemblySettings::default();
        assert_eq!(purge_at(State::Active, at(0), &settings), None);
        assert_eq!(purge_at(State::Ended, at(0), &settings), Some(at(600)));
        assert_eq!(purge_at(State::Lost, at(0), &settings), Some(at(4 * 3600)));
    }

    #[test]
    fn a_call_is_idle_from_the_timeout_on() {
        let settings = AssemblySettings::default();
        assert!(!is_idle(at(0), at(899), &settings));
        assert!(is_idle(at(0), at(900), &settings));
        assert!(!must_touch(at(0), at(60)));
        assert!(must_touch(at(0), at(61)));
    }
}

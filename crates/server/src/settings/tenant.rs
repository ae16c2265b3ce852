//! The settings of what one tenant may keep and ask: `[tenant]`.

use super::Settings;
use super::fault::Faults;
use crate::units::duration;
use callscope_analytics::kept::KeptLimits;
use callscope_analytics::service::CallLimits;
use callscope_domain::{Dimension, Period, Span};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest window and oldest start: a hundred years and a little more.
const DAYS_MAX: Duration = Duration::from_hours(24 * 36_525);
/// Shortest oldest start: a record may arrive a day late.
const OLDEST_START_MIN: Duration = Duration::from_hours(24);

/// Bounds of the time that reading calls for a question may take.
const QUESTION_TIMEOUT_MIN: Duration = Duration::from_millis(100);
const QUESTION_TIMEOUT_MAX: Duration = Duration::from_mins(5);

/// What one tenant may keep and ask.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    pub workflows_max: u32,
    pub providers_max: u32,
    pub agents_max: u32,
    pub end_reasons_max: u32,
    pub agent_versions_max: u32,
    pub environments_max: u32,
    pub languages_max: u32,
    pub sources_max: u32,
    pub models_max: u32,
    pub active_calls_max: u32,
    /// Error entries that arrive on a day.
    pub errors_per_day_max: u32,
    /// Rows of calls and errors; 0 for any number.
    pub rows_max: u32,
    /// How long ago a call may have started.
    #[serde(with = "duration")]
    pub oldest_start: Duration,
    /// The widest window of a question.
    #[serde(with = "duration")]
    pub window_max: Duration,
    /// Calls that may be read for a question that no sums answer.
    pub question_calls_max: u32,
    /// How long that may take.
    #[serde(with = "duration")]
    pub question_timeout: Duration,
}

impl TenantSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, value) in [
            ("tenant.workflows_max", self.workflows_max),
            ("tenant.providers_max", self.providers_max),
            ("tenant.agents_max", self.agents_max),
            ("tenant.end_reasons_max", self.end_reasons_max),
            ("tenant.agent_versions_max", self.agent_versions_max),
            ("tenant.environments_max", self.environments_max),
            ("tenant.languages_max", self.languages_max),
            ("tenant.sources_max", self.sources_max),
            ("tenant.models_max", self.models_max),
            ("tenant.question_calls_max", self.question_calls_max),
            ("tenant.active_calls_max", self.active_calls_max),
        ] {
            faults.at_least_one(key, value as usize);
        }
        faults.require(
            (OLDEST_START_MIN..=DAYS_MAX).contains(&self.oldest_start),
            "tenant.oldest_start",
            "must be between 1d and 36525d",
        );
        faults.require(
            (QUESTION_TIMEOUT_MIN..=QUESTION_TIMEOUT_MAX).contains(&self.question_timeout),
            "tenant.question_timeout",
            "must be between 100ms and 5m",
        );
        let longest_period = Period::ALL.iter().map(|period| period.span()).max().unwrap_or(Span::ZERO);
        faults.require(
            self.widest_window() >= longest_period && self.window_max <= DAYS_MAX,
            "tenant.window_max",
            format!("must be between {}d, the longest period, and 36525d", longest_period.as_whole_days()),
        );
    }

    /// How much of the calls themselves may be read for a question.
    pub fn call_limits(&self) -> CallLimits {
        CallLimits { calls_max: self.question_calls_max.into(), timeout: self.question_timeout }
    }

    /// The widest window of a question.
    pub fn widest_window(&self) -> Span {
        span(self.window_max)
    }
}

impl From<&Settings> for KeptLimits {
    fn from(settings: &Settings) -> Self {
        let tenant = &settings.tenant;
        let count = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            values_max: Self::NONE
                .values_max
                .with(Dimension::Workflow, count(tenant.workflows_max))
                .with(Dimension::Provider, count(tenant.providers_max))
                .with(Dimension::Agent, count(tenant.agents_max))
                .with(Dimension::EndReason, count(tenant.end_reasons_max))
                .with(Dimension::AgentVersion, count(tenant.agent_versions_max))
                .with(Dimension::Environment, count(tenant.environments_max))
                .with(Dimension::Language, count(tenant.languages_max))
                .with(Dimension::Source, count(tenant.sources_max))
                .with(Dimension::Model, count(tenant.models_max)),
            active_calls_max: tenant.active_calls_max.into(),
            errors_per_day_max: tenant.errors_per_day_max.into(),
            rows_max: if tenant.rows_max == 0 { i64::MAX } else { tenant.rows_max.into() },
            oldest_start: span(tenant.oldest_start),
        }
    }
}

fn span(duration: Duration) -> Span {
    Span::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

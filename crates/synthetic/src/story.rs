//! What happens in the month of the demo, so that there is something to find: a busier month's end, workflows that
//! succeed unequally often, a slow model, an incident of a provider, a release that broke a workflow, a burst of
//! errors of the tools.

use crate::errors::{BROKEN_RELEASE, EXPIRED_CERTIFICATE, Kind, MODEL_OUTAGE};
use crate::schedule::growing_start_times;
use chrono::{DateTime, Datelike, Days, NaiveTime, TimeDelta, Utc, Weekday};
use std::ops::Range;

/// How long the story is, in days.
const LENGTH_DAYS: i64 = 30;
/// How much more frequent calls are at the end than at the start.
const GROWTH: f64 = 1.8;

const INCIDENT_PROVIDER: &str = "openai";
const INCIDENT_HOURS: (u32, i64) = (13, 2);
/// The incident is at least so many days old, so that its hours are over in every time zone.
const INCIDENT_AGE_DAYS: u64 = 2;
const RELEASED_WORKFLOW: &str = "appointment-reminder";
const RELEASE_AGE_DAYS: u64 = 10;
const RELEASE_HOUR: u32 = 7;
const BURST_HOURS: (u32, i64) = (10, 1);

/// The share of calls of each workflow that fail when nothing special happens.
const FAILURE_RATES: [(&str, f64); 8] = [
    ("daily-call", 0.04),
    (RELEASED_WORKFLOW, 0.05),
    ("order-status", 0.03),
    ("onboarding", 0.13),
    ("tech-support", 0.19),
    ("billing-inquiry", 0.09),
    ("lead-qualification", 0.26),
    ("satisfaction-survey", 0.34),
];

/// Something that happens to some of the calls of a time.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    span: Range<DateTime<Utc>>,
    affected: Affected,
    /// The share of the affected calls that get the error.
    error_rate: f64,
    /// The share of those that it ends.
    fatal_share: f64,
    error: &'static Kind,
}

/// Which calls an episode is about.
#[derive(Clone, Copy, Debug)]
enum Affected {
    /// Those that use this provider, which is so many times slower.
    Provider(&'static str, f64),
    /// Those of this workflow.
    Workflow(&'static str),
    All,
}

impl Episode {
    /// The provider that is slower than usual, and how many times.
    pub(crate) fn slowdown(&self) -> Option<(&'static str, f64)> {
        match self.affected {
            Affected::Provider(name, times) => Some((name, times)),
            Affected::Workflow(_) | Affected::All => None,
        }
    }

    /// Whether a call that this provider works for can get the error.
    pub(crate) fn affects(&self, provider: &str) -> bool {
        self.slowdown().is_none_or(|(name, _)| name == provider)
    }

    pub(crate) fn error_rate(&self) -> f64 {
        self.error_rate
    }

    pub(crate) fn fatal_share(&self) -> f64 {
        self.fatal_share
    }

    pub(crate) fn error(&self) -> &'static Kind {
        self.error
    }

    fn is_about(&self, started_at: DateTime<Utc>, workflow: Option<&str>) -> bool {
        let is_workflow = match self.affected {
            Affected::Workflow(slug) => workflow == Some(slug),
            Affected::Provider(..) | Affected::All => true,
        };
        is_workflow && self.span.contains(&started_at)
    }
}

/// The story of the 30 days before an instant. It is fixed by that instant.
#[derive(Clone, Debug)]
pub struct Story {
    month: Range<DateTime<Utc>>,
    incident: Range<DateTime<Utc>>,
    burst: Range<DateTime<Utc>>,
    released_at: DateTime<Utc>,
    /// Where two are about one call, the first.
    episodes: [Episode; 3],
}

impl Story {
    /// The story that ends at `now`.
    #[must_use]
    pub fn until(now: DateTime<Utc>) -> Self {
        let incident_day = weekday_before(now - Days::new(INCIDENT_AGE_DAYS));
        let burst_day = weekday_before(incident_day - Days::new(1));
        let (incident, burst) = (span(incident_day, INCIDENT_HOURS), span(burst_day, BURST_HOURS));
        let released_at = at_hour(now - Days::new(RELEASE_AGE_DAYS), RELEASE_HOUR);
        let outage = Episode {
            span: incident.clone(),
            affected: Affected::Provider(INCIDENT_PROVIDER, 5.0),
            error_rate: 0.8,
            fatal_share: 0.75,
            error: &MODEL_OUTAGE,
        };
        let certificate = Episode {
            span: burst.clone(),
            affected: Affected::All,
            error_rate: 0.5,
            fatal_share: 0.2,
            error: &EXPIRED_CERTIFICATE,
        };
        let release = Episode {
            span: released_at..DateTime::<Utc>::MAX_UTC,
            affected: Affected::Workflow(RELEASED_WORKFLOW),
            error_rate: 0.28,
            fatal_share: 0.9,
            error: &BROKEN_RELEASE,
        };
        let month = now - TimeDelta::days(LENGTH_DAYS)..now;
        Self { month, incident, burst, released_at, episodes: [outage, certificate, release] }
    }

    /// The time that it is about.
    #[must_use]
    pub fn month(&self) -> Range<DateTime<Utc>> {
        self.month.clone()
    }

    /// The two hours in which [`incident_provider`](Self::incident_provider) was slow and failed.
    #[must_use]
    pub fn incident(&self) -> Range<DateTime<Utc>> {
        self.incident.clone()
    }

    /// The name on the wire of the model's provider of the incident.
    #[must_use]
    pub fn incident_provider(&self) -> &'static str {
        INCIDENT_PROVIDER
    }

    /// The hour in which the tools refused calls.
    #[must_use]
    pub fn burst(&self) -> Range<DateTime<Utc>> {
        self.burst.clone()
    }

    /// When a release broke [`released_workflow`](Self::released_workflow).
    #[must_use]
    pub fn released_at(&self) -> DateTime<Utc> {
        self.released_at
    }

    /// The slug of the workflow that fails more often since the release.
    #[must_use]
    pub fn released_workflow(&self) -> &'static str {
        RELEASED_WORKFLOW
    }

    /// `count` starts in its month, ascending: busy days, quiet nights and weekends, and more from week to week.
    #[must_use]
    pub fn start_times(&self, seed: u64, count: usize) -> Vec<DateTime<Utc>> {
        growing_start_times(seed, self.month.start, self.month.end, count, GROWTH)
    }

    /// What is going on where a call starts.
    pub(crate) fn episode(&self, started_at: DateTime<Utc>, workflow: Option<&str>) -> Option<&Episode> {
        self.episodes.iter().find(|episode| episode.is_about(started_at, workflow))
    }
}

/// The share of a workflow's calls that fail when nothing special happens.
pub(crate) fn failure_rate(workflow: &str) -> Option<f64> {
    FAILURE_RATES.iter().find(|(slug, _)| *slug == workflow).map(|(_, rate)| *rate)
}

/// The same day, or the Friday before it.
fn weekday_before(day: DateTime<Utc>) -> DateTime<Utc> {
    match day.weekday() {
        Weekday::Sat => day - Days::new(1),
        Weekday::Sun => day - Days::new(2),
        _ => day,
    }
}

fn at_hour(day: DateTime<Utc>, hour: u32) -> DateTime<Utc> {
    day.date_naive().and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(i64::from(hour))
}

fn span(day: DateTime<Utc>, (hour, hours): (u32, i64)) -> Range<DateTime<Utc>> {
    let from = at_hour(day, hour);
    from..from + TimeDelta::hours(hours)
}

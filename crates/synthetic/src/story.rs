//! What happens in the month of the demo, so that there is something to find: a busier month's end, workflows that
//! succeed unequally often, a slow model, an incident of a provider, a release that broke a workflow, a burst of
//! errors of the tools, a model that got slower for two hours, a release that callers interrupt more often, an expensive
//! agent, test calls that are slower than those of production.

use crate::errors::{BROKEN_RELEASE, EXPIRED_CERTIFICATE, Kind, LATE_TOKENS, MODEL_OUTAGE};
use crate::providers::{Model, Provider, SLOWED_MODEL_NAME};
use crate::schedule::growing_start_times;
use crate::words::TEST;
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
const MODEL_SLOWDOWN_HOURS: (u32, i64) = (14, 2);
const MODEL_SLOWDOWN_TIMES: f64 = 4.0;

/// An agent's release, and the version that takes calls since.
#[derive(Clone, Copy, Debug)]
struct AgentRelease {
    agent: &'static str,
    version: &'static str,
    /// How many times more often callers interrupt this version.
    interruption_factor: f64,
}

/// The release that broke [`RELEASED_WORKFLOW`]; its errors name the version too.
const BREAKING_RELEASE: AgentRelease =
    AgentRelease { agent: "reminder-agent", version: "2.4.0", interruption_factor: 1.0 };
const INTERRUPTED_RELEASE: AgentRelease =
    AgentRelease { agent: "greeter-agent", version: "3.2.0", interruption_factor: 2.8 };
const INTERRUPTED_RELEASE_AGE_DAYS: u64 = 4;

/// This agent takes the most expensive models and sends its whole price list with every turn.
const EXPENSIVE_AGENT: &str = "sales-agent";
const EXPENSIVE_TOKEN_FACTOR: u64 = 50;

/// Test calls run on a machine that is so many times slower.
const TEST_LATENCY_FACTOR: f64 = 2.0;

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
    /// Those that use this model, which is so many times slower.
    Model(&'static str, f64),
    /// Those of this workflow.
    Workflow(&'static str),
    All,
}

impl Episode {
    /// How many times slower than usual a provider with this model is.
    fn slowdown(&self, provider: &Provider, model: Option<&Model>) -> f64 {
        match self.affected {
            Affected::Provider(name, times) if name == provider.name => times,
            Affected::Model(name, times) if model.is_some_and(|model| model.name == name) => times,
            _ => 1.0,
        }
    }

    /// Whether a call that this provider and its model work for can get the error.
    pub(crate) fn affects(&self, provider: &Provider, model: Option<&Model>) -> bool {
        match self.affected {
            Affected::Provider(name, _) => name == provider.name,
            Affected::Model(name, _) => model.is_some_and(|model| model.name == name),
            Affected::Workflow(_) | Affected::All => true,
        }
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
            Affected::Provider(..) | Affected::Model(..) | Affected::All => true,
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
    model_slowdown: Range<DateTime<Utc>>,
    released_at: DateTime<Utc>,
    interrupted_since: DateTime<Utc>,
    /// Where two are about one call, the first.
    episodes: [Episode; 4],
}

/// The effects of a story on one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate<'a> {
    pub(crate) episode: Option<&'a Episode>,
    /// How often such calls fail, where the story says so.
    pub(crate) failure_rate: Option<f64>,
    /// The version of the agent, where a release changed it.
    pub(crate) agent_version: Option<&'static str>,
    /// How many times more often than usual the caller interrupts.
    pub(crate) interruption_factor: f64,
    /// How many times more tokens than usual the agent uses.
    pub(crate) token_factor: u64,
    /// Whether the agent takes the most expensive models.
    pub(crate) is_expensive: bool,
    /// How many times slower than usual the call is if it is a test.
    test_latency_factor: f64,
}

impl Fate<'_> {
    /// No effects, for a call without a story.
    pub(crate) const ORDINARY: Self = Self {
        episode: None,
        failure_rate: None,
        agent_version: None,
        interruption_factor: 1.0,
        token_factor: 1,
        is_expensive: false,
        test_latency_factor: 1.0,
    };

    /// How many times slower than usual a provider with this model is in a call of this environment.
    pub(crate) fn slowdown(&self, provider: &Provider, model: Option<&Model>, environment: Option<&str>) -> f64 {
        let of_environment = if environment == Some(TEST) { self.test_latency_factor } else { 1.0 };
        of_environment * self.episode.map_or(1.0, |episode| episode.slowdown(provider, model))
    }
}

impl Story {
    /// The story that ends at `now`.
    #[must_use]
    pub fn until(now: DateTime<Utc>) -> Self {
        let incident_day = weekday_before(now - Days::new(INCIDENT_AGE_DAYS));
        let burst_day = weekday_before(incident_day - Days::new(1));
        let slow_day = weekday_before(burst_day - Days::new(1));
        let (incident, burst) = (span(incident_day, INCIDENT_HOURS), span(burst_day, BURST_HOURS));
        let model_slowdown = span(slow_day, MODEL_SLOWDOWN_HOURS);
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
        let slow_model = Episode {
            span: model_slowdown.clone(),
            affected: Affected::Model(SLOWED_MODEL_NAME, MODEL_SLOWDOWN_TIMES),
            error_rate: 0.3,
            fatal_share: 0.0,
            error: &LATE_TOKENS,
        };
        let interrupted_day = weekday_before(now - Days::new(INTERRUPTED_RELEASE_AGE_DAYS));
        let interrupted_since = at_hour(interrupted_day, RELEASE_HOUR);
        let month = now - TimeDelta::days(LENGTH_DAYS)..now;
        let episodes = [outage, certificate, slow_model, release];
        Self { month, incident, burst, model_slowdown, released_at, interrupted_since, episodes }
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

    /// The two hours in which [`slowed_model`](Self::slowed_model) was slower than usual.
    #[must_use]
    pub fn model_slowdown(&self) -> Range<DateTime<Utc>> {
        self.model_slowdown.clone()
    }

    /// The name on the wire of the model that was slower for two hours.
    #[must_use]
    pub fn slowed_model(&self) -> &'static str {
        SLOWED_MODEL_NAME
    }

    /// When the version of [`interrupted_agent`](Self::interrupted_agent) was released that callers interrupt more often.
    #[must_use]
    pub fn interrupted_since(&self) -> DateTime<Utc> {
        self.interrupted_since
    }

    /// The agent of that release.
    #[must_use]
    pub fn interrupted_agent(&self) -> &'static str {
        INTERRUPTED_RELEASE.agent
    }

    /// The version of that release.
    #[must_use]
    pub fn interrupted_version(&self) -> &'static str {
        INTERRUPTED_RELEASE.version
    }

    /// The agent whose calls cost far more than those of the others.
    #[must_use]
    pub fn expensive_agent(&self) -> &'static str {
        EXPENSIVE_AGENT
    }

    /// `count` starts in its month, ascending: busy days, quiet nights and weekends, and more from week to week.
    #[must_use]
    pub fn start_times(&self, seed: u64, count: usize) -> Vec<DateTime<Utc>> {
        growing_start_times(seed, self.month.start, self.month.end, count, GROWTH)
    }

    /// Its effects on a call that starts then.
    pub(crate) fn fate(&self, started_at: DateTime<Utc>, workflow: Option<&str>, agent: &str) -> Fate<'_> {
        let releases = [(self.released_at, BREAKING_RELEASE), (self.interrupted_since, INTERRUPTED_RELEASE)];
        let is_its = |(since, release): &(DateTime<Utc>, AgentRelease)| release.agent == agent && *since <= started_at;
        let release = releases.into_iter().find(is_its).map(|(_, release)| release);
        let is_expensive = agent == EXPENSIVE_AGENT;
        Fate {
            episode: self.episodes.iter().find(|episode| episode.is_about(started_at, workflow)),
            failure_rate: workflow.and_then(failure_rate),
            agent_version: release.map(|release| release.version),
            interruption_factor: release.map_or(1.0, |release| release.interruption_factor),
            token_factor: if is_expensive { EXPENSIVE_TOKEN_FACTOR } else { 1 },
            is_expensive,
            test_latency_factor: TEST_LATENCY_FACTOR,
        }
    }
}

/// The share of a workflow's calls that fail when nothing special happens.
fn failure_rate(workflow: &str) -> Option<f64> {
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

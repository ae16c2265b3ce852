//! The errors of a call, and their positions.

use super::figures::provider_name;
use super::sessions::{Close, Sessions};
use super::{Lifetime, ProviderNaming, time};
use crate::facts::{Event, Fact, FactId, Failure, Model};
use crate::report::ErrorReport;
use crate::text::cut;
use callscope_domain::{
    CALL_DURATION_MAX, CLOCK_SKEW_MAX, ERRORS_PER_CALL_MAX, Level, MESSAGE_MAX, ProviderType, Service,
};
use serde_json::{Map, json};
use std::collections::{HashMap, HashSet};

/// Most bytes of the messages of one call's errors. A record may have 1 MiB of messages and details; details are some
/// 20 bytes each.
const MESSAGE_BYTES_MAX: usize = 1_000_000;

/// The identity of an error among those of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorId(pub [u8; 8]);

/// The errors of a report, in its order. Errors that were reported keep their positions in later reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedErrors(Vec<ErrorId>);

/// Bytes that are no list of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored errors of a call cannot be read")]
pub struct ReportedErrorsFault;

impl ReportedErrors {
    /// 8 bytes an error.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|id| id.0).collect()
    }

    /// The list of [`ReportedErrors::to_bytes`].
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, ReportedErrorsFault> {
        let (ids, rest) = bytes.as_chunks::<8>();
        if rest.is_empty() { Ok(Self(ids.iter().copied().map(ErrorId).collect())) } else { Err(ReportedErrorsFault) }
    }
}

/// The errors of the report, and their ids in the same order.
pub fn list(
    facts: &[&Fact],
    sessions: &Sessions<'_>,
    lifetime: &Lifetime,
    reported_errors: &ReportedErrors,
    naming: ProviderNaming,
) -> (Vec<ErrorReport>, ReportedErrors) {
    let ranks = reported_errors.0.iter().enumerate().map(|(rank, id)| (*id, rank)).collect();
    let mut errors = Errors { lifetime, naming, ranks, services: HashSet::new(), found: Vec::new() };
    errors.of_facts(facts);
    errors.of_sessions(sessions);
    errors.in_reported_order()
}

struct Errors<'l> {
    lifetime: &'l Lifetime,
    naming: ProviderNaming,
    /// Positions of errors that were reported before.
    ranks: HashMap<ErrorId, usize>,
    /// Services that have an error.
    services: HashSet<Service>,
    found: Vec<(ErrorId, ErrorReport)>,
}

/// An error before it is known whether the report has a place for it.
#[derive(Clone, Copy)]
struct Draft<'f> {
    service: Service,
    level: Level,
    at_us: i64,
    message: &'f str,
    detail: Option<(&'static str, u32)>,
    model: Option<&'f Model>,
}

impl<'f> Draft<'f> {
    fn new(service: Service, level: Level, at_us: i64, message: &'f str) -> Self {
        Self { service, level, at_us, message, detail: None, model: None }
    }

    fn of_failure(service: Service, level: Level, failure: &'f Failure) -> Self {
        Self::new(service, level, failure.at_us, &failure.message)
    }
}

impl Errors<'_> {
    fn push(&mut self, id: ErrorId, draft: Draft<'_>) {
        self.services.insert(draft.service);
        // A call may fail thousands of times, and messages are long.
        if self.found.len() >= ERRORS_PER_CALL_MAX && !self.ranks.contains_key(&id) {
            return;
        }
        let skew = CLOCK_SKEW_MAX.as_micros();
        let start = self.lifetime.start_us;
        let end = self.lifetime.end_us.unwrap_or(start + CALL_DURATION_MAX.as_micros());
        let error = ErrorReport {
            timestamp: time(draft.at_us.clamp(start - skew, end + skew)),
            service: draft.service,
            level: draft.level,
            provider_name: self.provider_name(draft.service, draft.model),
            message: cut(draft.message, MESSAGE_MAX).unwrap_or_else(|| "no message".to_owned()),
            details: draft.detail.map(|(name, number)| Map::from_iter([(name.to_owned(), json!(number))])),
            agent: None,
        };
        self.found.push((id, error));
    }

    fn provider_name(&self, service: Service, model: Option<&Model>) -> Option<String> {
        let stage = match service {
            Service::Stt => ProviderType::Stt,
            Service::Llm => ProviderType::Llm,
            Service::Tts => ProviderType::Tts,
            Service::Workflow | Service::Tool => return None,
        };
        Some(provider_name(self.naming, stage, model?))
    }

    fn of_facts(&mut self, facts: &[&Fact]) {
        let attempts = Attempts::of(facts);
        let is_job_failed = facts.iter().any(|fact| matches!(fact.event, Event::Job { failure: Some(_) }));
        let is_active = self.lifetime.end_us.is_none();
        for fact in facts {
            let id = ErrorId(fact.id.id);
            match &fact.event {
                Event::Attempt { request, service, retry, model, failure } => {
                    // Whether it is the last attempt is known when its request is over.
                    if let Some(level) = attempts.level(*request, *retry, is_active) {
                        let draft = Draft::of_failure(*service, level, failure);
                        self.push(id, Draft { detail: Some(("attempt", *retry)), model: model.as_deref(), ..draft });
                    }
                }
                Event::Problem { service, level, model, failure } => {
                    let draft = Draft::of_failure(*service, *level, failure);
                    self.push(id, Draft { model: model.as_deref(), ..draft });
                }
                Event::Tool { name, is_failed: true, error_type } => {
                    let message = format!("{name}: {}", error_type.as_deref().unwrap_or("failed"));
                    self.push(id, Draft::new(Service::Tool, Level::Error, fact.end_us, &message));
                }
                Event::Job { failure: Some(failure) } => {
                    self.push(id, Draft::of_failure(Service::Workflow, Level::Error, failure));
                }
                // The job's span reports the same failure.
                Event::Crash { failure } if !is_job_failed => {
                    self.push(id, Draft::of_failure(Service::Workflow, Level::Error, failure));
                }
                _ => {}
            }
        }
    }

    /// Errors of closes and session reports, for services that have no other error.
    fn of_sessions(&mut self, sessions: &Sessions<'_>) {
        for close in sessions.closes.iter().filter(|close| close.is_error()) {
            let cause = service_of(close);
            let message = format!("the session was closed: {}", close.error_type.unwrap_or("error"));
            let service = if self.services.contains(&cause) { Service::Workflow } else { cause };
            let draft = Draft::new(service, Level::Error, close.fact.start_us, &message);
            self.push(ErrorId(close.fact.id.id), draft);
        }
        let services = [(Service::Stt, 0), (Service::Llm, 1), (Service::Tts, 2)];
        let known = self.services.clone();
        for (fact, report) in &sessions.reports {
            for (service, place) in services.iter().filter(|(service, _)| !known.contains(service)) {
                let count = report.error_counts[usize::from(*place)];
                if count > 0 {
                    let mut id = ErrorId(fact.id.id);
                    id.0[7] = id.0[7].wrapping_add(*place);
                    let message = format!("{count} errors, reported at the end of the session");
                    let draft = Draft::new(*service, Level::Error, fact.end_us, &message);
                    self.push(id, Draft { detail: Some(("count", count)), ..draft });
                }
            }
        }
    }

    /// Errors that were reported before come first, at their positions; then the new ones.
    fn in_reported_order(mut self) -> (Vec<ErrorReport>, ReportedErrors) {
        self.found.sort_by_key(|(id, _)| self.ranks.get(id).copied().unwrap_or(usize::MAX));
        self.found.truncate(ERRORS_PER_CALL_MAX);
        let mut bytes = 0;
        let within = self.found.iter().take_while(|(_, error)| {
            bytes += error.message.len();
            bytes <= MESSAGE_BYTES_MAX
        });
        let within = within.count();
        self.found.truncate(within);
        let (ids, errors) = self.found.into_iter().unzip();
        (errors, ReportedErrors(ids))
    }
}

/// The results of requests, and their last failed attempts.
struct Attempts {
    is_failed: HashMap<FactId, bool>,
    last_retry: HashMap<Option<FactId>, u32>,
}

impl Attempts {
    fn of(facts: &[&Fact]) -> Self {
        let mut attempts = Self { is_failed: HashMap::new(), last_retry: HashMap::new() };
        for fact in facts {
            match &fact.event {
                Event::Request { is_failed } => {
                    attempts.is_failed.insert(fact.id, *is_failed);
                }
                Event::Attempt { request, retry, .. } => {
                    let last = attempts.last_retry.entry(*request).or_default();
                    *last = (*last).max(*retry);
                }
                _ => {}
            }
        }
        attempts
    }

    /// An error if the request failed and this was its last attempt, else a warning. None: not known yet.
    fn level(&self, request: Option<FactId>, retry: u32, is_active: bool) -> Option<Level> {
        match request.and_then(|id| self.is_failed.get(&id)) {
            None if is_active => None,
            None => Some(Level::Error),
            Some(true) if self.last_retry.get(&request) == Some(&retry) => Some(Level::Error),
            Some(_) => Some(Level::Warning),
        }
    }
}

fn service_of(close: &Close<'_>) -> Service {
    match close.error_type {
        Some("stt_error") => Service::Stt,
        Some("llm_error") => Service::Llm,
        Some("tts_error") => Service::Tts,
        _ => Service::Workflow,
    }
}

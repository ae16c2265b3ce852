//! From the facts of a call to its report: a pure function of the set of facts. Neither their order, nor their
//! distribution over requests, nor repetitions change the report.
//!
//! Facts are processed in the order of their starts, so lists do not depend on the order of arrival either. Only errors
//! keep the position that they were first reported with, because it is part of their id.

mod errors;
mod figures;
mod sessions;

pub use errors::{ErrorId, ReportedErrors, ReportedErrorsFault};

use crate::facts::{AssemblyKey, Context, Event, Fact};
use crate::mapping::{EndTable, end_category};
use crate::report::{CallReport, WorkflowReport};
use crate::text::slug;
use callscope_domain::{CALL_DURATION_MAX, CallStatus, ProviderType};
use chrono::{DateTime, Utc};
use sessions::{Ending, Sessions};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The end reason of a call whose telemetry stopped before its end.
pub const LOST_END_REASON: &str = "telemetry_lost";
/// The end reason of a call whose agent's process crashed.
pub const CRASH_END_REASON: &str = "agent_crashed";
/// The close reason of a session that an error closed.
const ERROR_END_REASON: &str = "error";

/// The canonical name of a provider, from its stage, its name and its model as the source sent them; either may be
/// empty.
pub type ProviderNaming = fn(ProviderType, &str, &str) -> String;

/// Which call a derivation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The call's id.
    pub call_id: Uuid,
    /// The key of its assembly.
    pub key: AssemblyKey,
}

/// How far a call has come by its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its end is not known.
    Active,
    /// Its end is known.
    Ended,
    /// It was idle for too long and is closed without a known end. A later end replaces this one.
    Lost,
}

/// What the facts of a call say together.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// How far the call has come.
    pub state: State,
    /// The call's record.
    pub report: CallReport,
    /// The errors of the report, for the next derivation. They are stored with the facts.
    pub reported_errors: ReportedErrors,
    /// The number of distinct conversation ids. More than one means that several conversations share a trace and were
    /// taken for one call.
    pub conversations: usize,
}

/// Derives the report of a call. `reported_errors` are those of the last derivation. `is_idle` closes a call whose
/// telemetry stopped. Each fact must be in the list once.
///
/// `None`: the facts do not show that there was a call.
#[must_use]
pub fn derive(
    identity: &Identity,
    facts: &[Fact],
    reported_errors: &ReportedErrors,
    is_idle: bool,
    naming: ProviderNaming,
) -> Option<Derived> {
    let mut facts: Vec<&Fact> = facts.iter().collect();
    facts.sort_unstable_by_key(|fact| (fact.start_us, fact.id));
    if !facts.iter().any(|fact| opens_call(fact)) {
        return None;
    }
    let sessions = Sessions::of(&facts);
    let ending = sessions.ending(&facts);
    let state = match (ending.is_ended, is_idle) {
        (true, _) => State::Ended,
        (false, true) => State::Lost,
        (false, false) => State::Active,
    };
    let lifetime = Lifetime::of(&ending, state);
    let framework = identity.key.framework;
    let mut report = CallReport::new(framework.source(), status_of(&ending, state), time(lifetime.start_us));
    report.call_id = Some(identity.call_id);
    report.external_id = Some(external_id(&facts, &identity.key));
    report.ended_at = lifetime.end_us.map(time);
    report.end_reason = end_reason(&ending, state).map(str::to_owned);
    report.end_category = report.end_reason.as_deref().map(|reason| end_category(EndTable::LiveKit, reason));
    report.workflow = workflow(&facts);
    report.agent = agent(&facts);
    report.agent_version = first(&facts, |context| context.agent_version.as_deref());
    report.environment = first(&facts, |context| context.environment.as_deref());
    report.language = first(&facts, |context| context.language.as_deref());
    figures::write(&mut report, framework, &facts, &sessions, naming);
    let (errors, reported_errors) = errors::list(&facts, &sessions, &lifetime, reported_errors, naming);
    report.errors = errors;
    Some(Derived { state, report, reported_errors, conversations: conversations(&facts).len() })
}

/// Whether a fact by itself shows that there was a call.
fn opens_call(fact: &Fact) -> bool {
    match &fact.event {
        Event::Session { .. } | Event::Turn { .. } | Event::Request { .. } | Event::Crash { .. } | Event::Report(_) => {
            true
        }
        Event::Job { failure } => failure.is_some(),
        Event::SessionClose { .. }
        | Event::JobShutdown { .. }
        | Event::Attempt { .. }
        | Event::Tool { .. }
        | Event::Problem { .. }
        | Event::Measurement => fact.sample.is_some() || fact.tokens.is_some(),
    }
}

/// Whether a fact has a turn, a latency or tokens.
fn measures_dialogue(fact: &Fact) -> bool {
    matches!(fact.event, Event::Turn { .. }) || fact.sample.is_some() || fact.tokens.is_some()
}

/// A call's bounds in microseconds since 1970.
struct Lifetime {
    start_us: i64,
    /// None while the call is active.
    end_us: Option<i64>,
}

impl Lifetime {
    fn of(ending: &Ending<'_>, state: State) -> Self {
        let start_us = ending.start_us;
        let end_us = ending.end_us.clamp(start_us, start_us + CALL_DURATION_MAX.as_micros());
        Self { start_us, end_us: (state != State::Active).then_some(end_us) }
    }
}

fn status_of(ending: &Ending<'_>, state: State) -> CallStatus {
    match state {
        State::Active => CallStatus::Active,
        State::Lost => CallStatus::Failed,
        State::Ended if ending.is_crashed || ending.is_error => CallStatus::Failed,
        State::Ended => CallStatus::Completed,
    }
}

fn end_reason<'f>(ending: &Ending<'f>, state: State) -> Option<&'f str> {
    match state {
        State::Active => None,
        _ if ending.is_crashed => Some(CRASH_END_REASON),
        _ if ending.is_error => Some(ERROR_END_REASON),
        State::Ended => ending.close_reason,
        State::Lost => Some(LOST_END_REASON),
    }
}

/// The distinct conversation ids.
fn conversations<'f>(facts: &[&'f Fact]) -> BTreeSet<&'f str> {
    facts.iter().filter_map(|fact| own_id(fact)).collect()
}

fn own_id(fact: &Fact) -> Option<&str> {
    match &fact.event {
        Event::Session { external_id, .. } | Event::Turn { external_id, .. } => external_id.as_deref(),
        _ => None,
    }
}

fn external_id(facts: &[&Fact], key: &AssemblyKey) -> String {
    facts.iter().find_map(|fact| own_id(fact)).unwrap_or(&key.key).to_owned()
}

/// The value of the earliest fact that has one.
fn first(facts: &[&Fact], of: fn(&Context) -> Option<&str>) -> Option<String> {
    facts.iter().find_map(|fact| of(&fact.context)).map(str::to_owned)
}

/// The agent of the earliest session, or else of the earliest turn that names one.
fn agent(facts: &[&Fact]) -> Option<String> {
    let of_session = facts.iter().find_map(|fact| match &fact.event {
        Event::Session { agent, .. } => agent.as_deref(),
        _ => None,
    });
    let of_turn = || {
        facts.iter().find_map(|fact| match &fact.event {
            Event::Turn { agent, .. } => agent.as_deref(),
            _ => None,
        })
    };
    of_session.or_else(of_turn).map(str::to_owned)
}

/// The first workflow attribute; else the name of the agent's deployment; else the service's name, unless it is an
/// SDK's default.
fn workflow(facts: &[&Fact]) -> Option<WorkflowReport> {
    let is_given =
        |service: &str| !matches!(service, "livekit-agents" | "pipecat") && !service.starts_with("unknown_service");
    let of_service =
        || facts.iter().filter_map(|fact| fact.context.service_name.as_deref()).find(|name| is_given(name));
    let name = first(facts, |context| context.workflow.as_deref())
        .or_else(|| first(facts, |context| context.agent_name.as_deref()))
        .or_else(|| of_service().map(str::to_owned))?;
    let slug = slug(&name)?;
    Some(WorkflowReport { name: (slug != name).then_some(name), slug: Some(slug), id: None })
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use callscope_domain::EndCategory;

    #[test]
    fn end_reasons_that_callscope_gives_have_a_category() {
        for reason in [LOST_END_REASON, CRASH_END_REASON, ERROR_END_REASON] {
            assert_ne!(end_category(EndTable::LiveKit, reason), EndCategory::Unknown, "{reason}");
        }
    }
}

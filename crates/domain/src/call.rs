//! A call: what a record may say of it, and what becomes of it when another record arrives.

use crate::errors::{CallError, ErrorKind};
use crate::ids::{CallId, WorkflowId};
use crate::provider::ProviderUse;
use crate::refusal::Refusal;
use crate::text::{AgentName, EndReason};
use crate::time::{Span, Timestamp};
use crate::words;
use crate::workflow::Workflow;
use std::sync::Arc;

/// Longest call.
pub const CALL_DURATION_MAX: Span = Span::from_hours(24);
/// How far in the future a call may start, seen from the moment its record arrives.
pub const FUTURE_START_MAX: Span = Span::from_hours(24);
/// How far outside its call's life an error's timestamp may lie: clocks differ.
pub const CLOCK_SKEW_MAX: Span = Span::from_minutes(5);
/// Most entries in a record's list of providers.
pub const PROVIDERS_PER_CALL_MAX: usize = 32;
/// Most latency samples of one record, over all providers.
pub const SAMPLES_PER_CALL_MAX: usize = 10_000;
/// Most errors of one record.
pub const ERRORS_PER_CALL_MAX: usize = 200;
/// Most bytes of the messages and details of one record's errors: a record is written as a whole, and others wait
/// meanwhile.
pub const ERROR_BYTES_PER_CALL_MAX: usize = 1 << 20;
/// Most tokens of one call; a sum of them over 9 * 10^9 calls fits 64 bits.
pub const TOTAL_TOKENS_MAX: i64 = 1_000_000_000;
/// The end reason of a call that was closed because its end never came.
pub const TIMEOUT_END_REASON: &str = "timeout";

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallStatus {
    /// Going on.
    Active,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
}

words!(CallStatus { Active = "active", Completed = "completed", Failed = "failed" });

/// The part of a call that figures are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFacts {
    /// Which call.
    pub id: CallId,
    /// How far it has come.
    pub status: CallStatus,
    /// Its start: what places it in windows and buckets.
    pub started_at: Timestamp,
    /// Its end; none while it is active, nor when it timed out.
    pub ended_at: Option<Timestamp>,
    /// The workflow it ran through.
    pub workflow_id: Option<WorkflowId>,
    /// Tokens that language models used.
    pub total_tokens: i64,
    /// What it used of each provider; a provider stands here once.
    pub providers: Vec<ProviderUse>,
    /// The kinds of its errors, by position.
    pub error_kinds: Vec<ErrorKind>,
}

/// What a record says of a call, before it is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct CallFields {
    /// Which call.
    pub id: CallId,
    /// How far it has come.
    pub status: CallStatus,
    /// Its start.
    pub started_at: Timestamp,
    /// Its end.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// The workflow it ran through.
    pub workflow: Option<Workflow>,
    /// Who ran it.
    pub agent: Option<AgentName>,
    /// Tokens that language models used.
    pub total_tokens: i64,
    /// What it used of each provider; entries of the same provider are merged.
    pub providers: Vec<ProviderUse>,
    /// What went wrong, by position.
    pub errors: Vec<CallError>,
}

/// A whole call as a sound record describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    facts: CallFacts,
    end_reason: Option<EndReason>,
    workflow: Option<Workflow>,
    agent: Option<AgentName>,
    errors: Vec<CallError>,
}

/// A rule that a record breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// A finished call without an end.
    #[error("is required when the call is completed or failed")]
    EndMissing,
    /// An active call with an end.
    #[error("must be absent while the call is active")]
    EndWhileActive,
    /// The end lies before the start.
    #[error("must not be before started_at")]
    EndBeforeStart,
    /// The call lasts too long.
    #[error("must be at most 24 hours after started_at")]
    TooLong,
    /// The start lies too far ahead.
    #[error("must be at most 24 hours in the future")]
    StartInFuture,
    /// Tokens are negative or absurd.
    #[error("must be between 0 and {TOTAL_TOKENS_MAX}")]
    TokensOutOfBounds,
    /// Too many providers.
    #[error("must have at most {PROVIDERS_PER_CALL_MAX} entries")]
    TooManyProviders,
    /// Too many latencies over all providers.
    #[error("must have at most {SAMPLES_PER_CALL_MAX} latencies in total")]
    TooManySamples,
    /// Too many errors.
    #[error("must have at most {ERRORS_PER_CALL_MAX} entries")]
    TooManyErrors,
    /// The texts of its errors are too long.
    #[error("must have at most {ERROR_BYTES_PER_CALL_MAX} bytes of messages and details in total")]
    ErrorsTooLong,
    /// The error at this position happened outside the call.
    #[error("must lie within the call, give or take 5 minutes")]
    ErrorOutsideCall(usize),
}

impl Call {
    /// Believes a record that arrived at `received_at`, or says every rule that it breaks.
    pub fn accept(fields: CallFields, received_at: Timestamp) -> Result<Self, Vec<CallFault>> {
        let faults = faults(&fields, received_at);
        if !faults.is_empty() {
            return Err(faults);
        }
        let facts = CallFacts {
            id: fields.id,
            status: fields.status,
            started_at: fields.started_at,
            ended_at: fields.ended_at,
            workflow_id: fields.workflow.as_ref().map(|workflow| workflow.id),
            total_tokens: fields.total_tokens,
            providers: merge_same(fields.providers),
            error_kinds: fields.errors.iter().map(|error| error.kind).collect(),
        };
        let CallFields { end_reason, workflow, agent, errors, .. } = fields;
        Ok(Self { facts, end_reason, workflow, agent, errors })
    }

    /// The same call with other values of its dimensions; uses of the same provider are merged.
    #[must_use]
    pub fn regrouped(&self, workflow: Option<Workflow>, agent: Option<AgentName>, providers: Vec<ProviderUse>) -> Self {
        let workflow_id = workflow.as_ref().map(|workflow| workflow.id);
        let facts = CallFacts { workflow_id, providers: merge_same(providers), ..self.facts.clone() };
        Self { facts, workflow, agent, ..self.clone() }
    }

    /// What figures are made of.
    #[must_use]
    pub const fn facts(&self) -> &CallFacts {
        &self.facts
    }

    /// Why it ended, in the client's words.
    #[must_use]
    pub const fn end_reason(&self) -> Option<&EndReason> {
        self.end_reason.as_ref()
    }

    /// The workflow it ran through.
    #[must_use]
    pub const fn workflow(&self) -> Option<&Workflow> {
        self.workflow.as_ref()
    }

    /// Who ran it.
    #[must_use]
    pub const fn agent(&self) -> Option<&AgentName> {
        self.agent.as_ref()
    }

    /// What went wrong, by position.
    #[must_use]
    pub fn errors(&self) -> &[CallError] {
        &self.errors
    }
}

fn faults(fields: &CallFields, received_at: Timestamp) -> Vec<CallFault> {
    let samples: usize = fields.providers.iter().map(|usage| usage.latencies.len()).sum();
    let error_bytes: usize = fields.errors.iter().map(CallError::text_bytes).sum();
    let end = fields.ended_at;
    let finished = fields.status != CallStatus::Active;
    let rules = [
        (finished && end.is_none(), CallFault::EndMissing),
        (!finished && end.is_some(), CallFault::EndWhileActive),
        (end.is_some_and(|end| end < fields.started_at), CallFault::EndBeforeStart),
        (end.is_some_and(|end| end.since(fields.started_at) > CALL_DURATION_MAX), CallFault::TooLong),
        (fields.started_at.since(received_at) > FUTURE_START_MAX, CallFault::StartInFuture),
        (!(0..=TOTAL_TOKENS_MAX).contains(&fields.total_tokens), CallFault::TokensOutOfBounds),
        (fields.providers.len() > PROVIDERS_PER_CALL_MAX, CallFault::TooManyProviders),
        (samples > SAMPLES_PER_CALL_MAX, CallFault::TooManySamples),
        (fields.errors.len() > ERRORS_PER_CALL_MAX, CallFault::TooManyErrors),
        (error_bytes > ERROR_BYTES_PER_CALL_MAX, CallFault::ErrorsTooLong),
    ];
    let broken = rules.into_iter().filter_map(|(is_broken, fault)| is_broken.then_some(fault));
    // Without an end, an error may come as late as the longest call lasts.
    let from = fields.started_at - CLOCK_SKEW_MAX;
    let to = end.unwrap_or(fields.started_at + CALL_DURATION_MAX) + CLOCK_SKEW_MAX;
    let outside = fields.errors.iter().enumerate().filter_map(|(position, error)| {
        (error.timestamp < from || error.timestamp > to).then_some(CallFault::ErrorOutsideCall(position))
    });
    broken.chain(outside).collect()
}

fn merge_same(providers: Vec<ProviderUse>) -> Vec<ProviderUse> {
    let mut merged: Vec<ProviderUse> = Vec::with_capacity(providers.len());
    for usage in providers {
        match merged.iter_mut().find(|known| known.provider == usage.provider) {
            Some(known) => known.latencies.extend(usage.latencies),
            None => merged.push(usage),
        }
    }
    merged
}

/// What may happen to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A record of the whole call arrived.
    Record(Arc<Call>),
    /// The call's end is overdue, if it is still active and started before the instant.
    Overdue {
        /// Which call.
        id: CallId,
        /// The start from which on a call is not yet overdue.
        started_before: Timestamp,
    },
}

impl Incoming {
    /// The call that it is about.
    #[must_use]
    pub fn call_id(&self) -> CallId {
        match self {
            Self::Record(call) => call.facts.id,
            Self::Overdue { id, .. } => *id,
        }
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitionKind {
    /// It was unknown.
    Created,
    /// It was known, and is now what the record says; perhaps it was that before.
    Replaced,
    /// It was closed because its end never came.
    TimedOut,
    /// Nothing changes: an `active` record came after the end, or the call is not overdue any more.
    Ignored,
    /// Nothing changes: the record's call started so long ago that such calls are no longer kept. It may have been
    /// counted and deleted before, so it cannot be counted again.
    Expired,
    /// Nothing changes: the record meets a bound on what is kept of its tenant.
    Refused(Refusal),
}

/// A call's next state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What became of the call.
    pub kind: TransitionKind,
    /// Its facts from now on; none when it is ignored.
    pub next: Option<CallFacts>,
}

/// The rules of a call's life: `active -> completed | failed`, in whatever order records arrive. Calls that started
/// before `kept_from` are no longer kept.
#[must_use]
pub fn transition(current: Option<&CallFacts>, incoming: &Incoming, kept_from: Option<Timestamp>) -> Transition {
    let ignored = Transition { kind: TransitionKind::Ignored, next: None };
    match (current, incoming) {
        (_, Incoming::Record(call)) if kept_from.is_some_and(|kept_from| call.facts.started_at < kept_from) => {
            Transition { kind: TransitionKind::Expired, next: None }
        }
        (None, Incoming::Record(call)) => Transition { kind: TransitionKind::Created, next: Some(call.facts.clone()) },
        (Some(current), Incoming::Record(call)) => {
            let reopens = current.status != CallStatus::Active && call.facts.status == CallStatus::Active;
            if reopens {
                return ignored;
            }
            Transition { kind: TransitionKind::Replaced, next: Some(call.facts.clone()) }
        }
        (Some(current), Incoming::Overdue { started_before, .. })
            if current.status == CallStatus::Active && current.started_at < *started_before =>
        {
            let next = CallFacts { status: CallStatus::Failed, ..current.clone() };
            Transition { kind: TransitionKind::TimedOut, next: Some(next) }
        }
        (_, Incoming::Overdue { .. }) => ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::{Level, Service};
    use crate::provider::{Latency, Provider, ProviderType};
    use crate::text::{Message, ProviderName};
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_micros(1_768_646_400_000_000);

    fn fields(status: CallStatus) -> CallFields {
        let started_at = NOW - Span::from_hours(1);
        CallFields {
            id: CallId(Uuid::from_u128(1)),
            status,
            started_at,
            ended_at: (status != CallStatus::Active).then(|| started_at + Span::from_minutes(3)),
            end_reason: None,
            workflow: None,
            agent: None,
            total_tokens: 0,
            providers: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn record(status: CallStatus) -> Incoming {
        Incoming::Record(Arc::new(Call::accept(fields(status), NOW).unwrap()))
    }

    fn faults_of(change: impl FnOnce(&mut CallFields)) -> Vec<CallFault> {
        let mut fields = fields(CallStatus::Completed);
        change(&mut fields);
        Call::accept(fields, NOW).err().unwrap_or_default()
    }

    fn after(current: &Incoming, incoming: &Incoming) -> TransitionKind {
        transition(transition(None, current, None).next.as_ref(), incoming, None).kind
    }

    #[test]
    fn each_rule_is_named_when_it_is_broken() {
        let error = |timestamp| CallError {
            timestamp,
            kind: ErrorKind { service: Service::Stt, level: Level::Error },
            message: Message::new("lost").unwrap(),
            details: None,
            agent: None,
        };
        let start = NOW - Span::from_hours(1);
        let micro = Span::from_micros(1);
        assert_eq!(faults_of(|_| ()), []);
        assert_eq!(faults_of(|call| call.ended_at = None), [CallFault::EndMissing]);
        assert_eq!(faults_of(|call| call.status = CallStatus::Active), [CallFault::EndWhileActive]);
        assert_eq!(faults_of(|call| call.ended_at = Some(start)), []);
        assert_eq!(faults_of(|call| call.ended_at = Some(start - micro)), [CallFault::EndBeforeStart]);
        assert_eq!(faults_of(|call| call.ended_at = Some(start + CALL_DURATION_MAX)), []);
        assert_eq!(faults_of(|call| call.ended_at = Some(start + CALL_DURATION_MAX + micro)), [CallFault::TooLong]);
        assert_eq!(faults_of(|call| call.total_tokens = -1), [CallFault::TokensOutOfBounds]);
        let end = start + Span::from_minutes(3);
        let at_the_bounds = vec![error(start - CLOCK_SKEW_MAX), error(end + CLOCK_SKEW_MAX)];
        assert_eq!(faults_of(|call| call.errors = at_the_bounds), []);
        let outside = vec![error(start), error(end + CLOCK_SKEW_MAX + micro)];
        assert_eq!(faults_of(|call| call.errors = outside), [CallFault::ErrorOutsideCall(1)]);
        let future = NOW + FUTURE_START_MAX + micro;
        let ahead = |call: &mut CallFields| (call.started_at, call.ended_at) = (future, Some(future));
        assert_eq!(faults_of(ahead), [CallFault::StartInFuture]);
    }

    #[test]
    fn entries_of_the_same_provider_are_merged() {
        let usage = |name: &str, micros| ProviderUse {
            provider: Provider { provider_type: ProviderType::Stt, provider_name: ProviderName::new(name).unwrap() },
            latencies: vec![Latency::from_micros(micros).unwrap()],
        };
        let providers = vec![usage("a", 1), usage("b", 2), usage("a", 3)];
        let call = Call::accept(CallFields { providers, ..fields(CallStatus::Completed) }, NOW).unwrap();
        let counts: Vec<usize> = call.facts().providers.iter().map(|usage| usage.latencies.len()).collect();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn a_call_is_created_replaced_and_never_reopened() {
        use CallStatus::{Active, Completed, Failed};
        assert_eq!(transition(None, &record(Failed), None).kind, TransitionKind::Created);
        assert_eq!(after(&record(Active), &record(Active)), TransitionKind::Replaced);
        assert_eq!(after(&record(Active), &record(Completed)), TransitionKind::Replaced);
        assert_eq!(after(&record(Completed), &record(Failed)), TransitionKind::Replaced);
        assert_eq!(after(&record(Completed), &record(Active)), TransitionKind::Ignored);
    }

    #[test]
    fn only_an_overdue_active_call_times_out() {
        let overdue = |started_before| Incoming::Overdue { id: CallId(Uuid::from_u128(1)), started_before };
        let started_at = NOW - Span::from_hours(1);
        assert_eq!(after(&record(CallStatus::Active), &overdue(NOW)), TransitionKind::TimedOut);
        assert_eq!(after(&record(CallStatus::Active), &overdue(started_at)), TransitionKind::Ignored);
        assert_eq!(after(&record(CallStatus::Completed), &overdue(NOW)), TransitionKind::Ignored);
        assert_eq!(transition(None, &overdue(NOW), None).kind, TransitionKind::Ignored);
    }

    #[test]
    fn a_timed_out_call_has_failed_without_an_end() {
        let active = transition(None, &record(CallStatus::Active), None).next;
        let overdue = Incoming::Overdue { id: CallId(Uuid::from_u128(1)), started_before: NOW };
        let closed = transition(active.as_ref(), &overdue, None).next.unwrap();
        assert_eq!((closed.status, closed.ended_at), (CallStatus::Failed, None));
        assert_eq!(transition(Some(&closed), &record(CallStatus::Completed), None).kind, TransitionKind::Replaced);
    }

    #[test]
    fn a_record_of_a_call_that_is_no_longer_kept_changes_nothing() {
        let kept_from = |instant| transition(None, &record(CallStatus::Completed), Some(instant)).kind;
        let started_at = NOW - Span::from_hours(1);
        assert_eq!(kept_from(started_at), TransitionKind::Created);
        assert_eq!(kept_from(started_at + Span::from_micros(1)), TransitionKind::Expired);
    }
}

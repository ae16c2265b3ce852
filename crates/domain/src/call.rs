//! A call: what a record may say of it.

use crate::errors::{CallError, ErrorKind};
use crate::ids::{CallId, TenantId, WorkflowId};
use crate::provider::ProviderUse;
use crate::text::{AgentName, EndReason, Text};
use crate::time::{Span, Timestamp};
use crate::words;
use crate::workflow::Workflow;

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
    /// Why it ended, in the client's words.
    pub end_reason: Option<EndReason>,
    /// The workflow it ran through.
    pub workflow_id: Option<WorkflowId>,
    /// The agent that ran it.
    pub agent: Option<AgentName>,
    /// Tokens that language models used.
    pub total_tokens: i64,
    /// What it used of each provider; a provider stands here once.
    pub providers: Vec<ProviderUse>,
    /// The kinds of its errors, by position.
    pub error_kinds: Vec<ErrorKind>,
}

/// A whole number that a record may give of a call, and that storage keeps beside the others: absent when it is zero.
#[derive(Clone, Copy)]
pub struct NumberFact {
    /// The number that stands for it in storage. It never changes.
    pub code: u64,
    /// Its value.
    pub get: fn(&CallFacts) -> i64,
    /// Sets its value.
    pub set: fn(&mut CallFacts, i64),
}

/// Every such number, by code.
pub const NUMBER_FACTS: &[NumberFact] =
    &[NumberFact { code: 1, get: |call| call.total_tokens, set: |call, value| call.total_tokens = value }];

impl CallFacts {
    /// A call of which nothing else is known.
    #[must_use]
    pub const fn bare(id: CallId, status: CallStatus, started_at: Timestamp) -> Self {
        Self {
            id,
            status,
            started_at,
            ended_at: None,
            end_reason: None,
            workflow_id: None,
            agent: None,
            total_tokens: 0,
            providers: Vec::new(),
            error_kinds: Vec::new(),
        }
    }

    /// The same call, closed because its end never came.
    #[must_use]
    pub fn timed_out(&self) -> Self {
        Self { status: CallStatus::Failed, end_reason: Some(Text::constant(TIMEOUT_END_REASON)), ..self.clone() }
    }
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
    workflow: Option<Workflow>,
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
            end_reason: fields.end_reason,
            workflow_id: fields.workflow.as_ref().map(|workflow| workflow.id),
            agent: fields.agent,
            total_tokens: fields.total_tokens,
            providers: merge_same(fields.providers),
            error_kinds: fields.errors.iter().map(|error| error.kind).collect(),
        };
        Ok(Self { facts, workflow: fields.workflow, errors: fields.errors })
    }

    pub(crate) fn join_other_workflow(&mut self, tenant: TenantId) {
        self.facts.workflow_id = Some(Workflow::other_id(tenant));
        self.workflow = Some(Workflow::other(tenant));
    }

    pub(crate) const fn facts_mut(&mut self) -> &mut CallFacts {
        &mut self.facts
    }

    /// What figures are made of.
    #[must_use]
    pub const fn facts(&self) -> &CallFacts {
        &self.facts
    }

    /// The workflow it ran through.
    #[must_use]
    pub const fn workflow(&self) -> Option<&Workflow> {
        self.workflow.as_ref()
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

pub(crate) fn merge_same(providers: Vec<ProviderUse>) -> Vec<ProviderUse> {
    let mut merged: Vec<ProviderUse> = Vec::with_capacity(providers.len());
    for usage in providers {
        match merged.iter_mut().find(|known| known.provider == usage.provider) {
            Some(known) => known.latencies.extend(usage.latencies),
            None => merged.push(usage),
        }
    }
    merged
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

    fn faults_of(change: impl FnOnce(&mut CallFields)) -> Vec<CallFault> {
        let mut fields = fields(CallStatus::Completed);
        change(&mut fields);
        Call::accept(fields, NOW).err().unwrap_or_default()
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
}

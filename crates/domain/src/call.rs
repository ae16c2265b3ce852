//! A call: what a record may say of it.

use crate::errors::{CallError, ErrorKind};
use crate::fact::{EndCategory, NumberFact, Numbers, TextFact, Texts};
use crate::ids::{CallId, WorkflowId};
use crate::provider::{Latency, ProviderUse};
use crate::text::{TagKey, TagValue, Text};
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
/// Most tags of one call.
pub const TAGS_PER_CALL_MAX: usize = 8;
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
    /// Its texts.
    pub texts: Texts,
    /// Its numbers.
    pub numbers: Numbers,
    /// Its tags, by key; a key stands here once.
    pub tags: Vec<(TagKey, TagValue)>,
    /// One latency a turn that was measured: the user stops speaking to the agent is heard.
    pub turn_latencies: Vec<Latency>,
    /// What it used of each provider; a provider and model stand here once.
    pub providers: Vec<ProviderUse>,
    /// The kinds of its errors, by position.
    pub error_kinds: Vec<ErrorKind>,
}

impl CallFacts {
    /// A call of which nothing else is known.
    #[must_use]
    pub fn bare(id: CallId, status: CallStatus, started_at: Timestamp) -> Self {
        Self {
            id,
            status,
            started_at,
            ended_at: None,
            workflow_id: None,
            texts: Texts::default(),
            numbers: Numbers::default(),
            tags: Vec::new(),
            turn_latencies: Vec::new(),
            providers: Vec::new(),
            error_kinds: Vec::new(),
        }
    }

    /// One of its texts, as a type of its own.
    #[must_use]
    pub fn text<const MAX: usize>(&self, fact: TextFact) -> Option<Text<MAX>> {
        self.texts.get(fact).map(Text::checked)
    }

    /// How long it lasted; none when its end is unknown.
    #[must_use]
    pub fn duration(&self) -> Option<Span> {
        self.ended_at.map(|ended_at| ended_at.since(self.started_at))
    }

    /// The same call, closed because its end never came.
    #[must_use]
    pub fn timed_out(&self) -> Self {
        let mut closed = Self { status: CallStatus::Failed, ..self.clone() };
        closed.texts.set(TextFact::EndReason, Some(TIMEOUT_END_REASON.into()));
        closed.texts.set(TextFact::EndCategory, Some(EndCategory::Timeout.as_str().into()));
        closed
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
    /// The workflow it ran through.
    pub workflow: Option<Workflow>,
    /// Its texts.
    pub texts: Texts,
    /// Its numbers. Without the total of tokens, it is what went in and what came out.
    pub numbers: Numbers,
    /// Its tags; a key stands here once.
    pub tags: Vec<(TagKey, TagValue)>,
    /// One latency a turn that was measured.
    pub turn_latencies: Vec<Latency>,
    /// What it used of each provider; entries of the same provider and model are merged.
    pub providers: Vec<ProviderUse>,
    /// What went wrong, by position.
    pub errors: Vec<CallError>,
}

impl CallFields {
    /// A record that says nothing else.
    #[must_use]
    pub fn bare(id: CallId, status: CallStatus, started_at: Timestamp) -> Self {
        let (workflow, texts, numbers, tags) = Default::default();
        let (turn_latencies, providers, errors) = Default::default();
        Self {
            id,
            status,
            started_at,
            ended_at: None,
            workflow,
            texts,
            numbers,
            tags,
            turn_latencies,
            providers,
            errors,
        }
    }
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
    /// A number is negative or absurd.
    #[error("must be between 0 and {}", .0.upper_bound())]
    NumberOutOfBounds(NumberFact),
    /// Too many tags.
    #[error("must have at most {TAGS_PER_CALL_MAX} entries")]
    TooManyTags,
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
        let mut tags = fields.tags;
        tags.sort_unstable();
        let facts = CallFacts {
            id: fields.id,
            status: fields.status,
            started_at: fields.started_at,
            ended_at: fields.ended_at,
            workflow_id: fields.workflow.as_ref().map(|workflow| workflow.id),
            texts: fields.texts,
            numbers: with_total_tokens(fields.numbers),
            tags,
            turn_latencies: fields.turn_latencies,
            providers: merge_same(fields.providers),
            error_kinds: fields.errors.iter().map(|error| error.kind).collect(),
        };
        Ok(Self { facts, workflow: fields.workflow, errors: fields.errors })
    }

    /// Gives it another workflow.
    pub(crate) fn set_workflow(&mut self, workflow: Workflow) {
        self.facts.workflow_id = Some(workflow.id);
        self.workflow = Some(workflow);
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
    let of_uses: usize = fields.providers.iter().map(|usage| usage.latencies.len()).sum();
    let samples = of_uses + fields.turn_latencies.len();
    let error_bytes: usize = fields.errors.iter().map(CallError::text_bytes).sum();
    let end = fields.ended_at;
    let finished = fields.status != CallStatus::Active;
    let rules = [
        (finished && end.is_none(), CallFault::EndMissing),
        (!finished && end.is_some(), CallFault::EndWhileActive),
        (end.is_some_and(|end| end < fields.started_at), CallFault::EndBeforeStart),
        (end.is_some_and(|end| end.since(fields.started_at) > CALL_DURATION_MAX), CallFault::TooLong),
        (fields.started_at.since(received_at) > FUTURE_START_MAX, CallFault::StartInFuture),
        (fields.tags.len() > TAGS_PER_CALL_MAX, CallFault::TooManyTags),
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
    let numbers = fields.numbers.iter().filter(|(fact, value)| !(0..=fact.upper_bound()).contains(value));
    broken.chain(numbers.map(|(fact, _)| CallFault::NumberOutOfBounds(fact))).chain(outside).collect()
}

/// A total that no record gives is what went in and what came out.
fn with_total_tokens(mut numbers: Numbers) -> Numbers {
    let parts = [NumberFact::InputTokens, NumberFact::OutputTokens].map(|fact| numbers.get(fact));
    if numbers.get(NumberFact::TotalTokens).is_none() && parts.iter().any(Option::is_some) {
        numbers.set(NumberFact::TotalTokens, Some(parts.into_iter().flatten().sum()));
    }
    numbers
}

pub(crate) fn merge_same(providers: Vec<ProviderUse>) -> Vec<ProviderUse> {
    let mut merged: Vec<ProviderUse> = Vec::with_capacity(providers.len());
    for usage in providers {
        match merged.iter_mut().find(|known| known.provider == usage.provider && known.model == usage.model) {
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
            ended_at: (status != CallStatus::Active).then(|| started_at + Span::from_minutes(3)),
            ..CallFields::bare(CallId(Uuid::from_u128(1)), status, started_at)
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
            provider_name: None,
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
        for &fact in NumberFact::ALL {
            let of = |value| faults_of(|call| call.numbers.set(fact, Some(value)));
            assert_eq!((of(-1), of(0)), (vec![CallFault::NumberOutOfBounds(fact)], vec![]), "{fact}");
            assert_eq!(
                (of(fact.upper_bound() + 1), of(fact.upper_bound())),
                (vec![CallFault::NumberOutOfBounds(fact)], vec![]),
                "{fact}"
            );
        }
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
        let usage = |name: &str, model: Option<&str>, micros| ProviderUse {
            provider: Provider { provider_type: ProviderType::Stt, provider_name: ProviderName::new(name).unwrap() },
            model: model.map(|model| Text::new(model).unwrap()),
            latencies: vec![Latency::from_micros(micros).unwrap()],
        };
        let providers = vec![usage("a", None, 1), usage("b", None, 2), usage("a", None, 3), usage("a", Some("m"), 4)];
        let call = Call::accept(CallFields { providers, ..fields(CallStatus::Completed) }, NOW).unwrap();
        let counts: Vec<usize> = call.facts().providers.iter().map(|usage| usage.latencies.len()).collect();
        assert_eq!(counts, [2, 1, 1]);
    }

    #[test]
    fn a_total_of_tokens_that_is_missing_is_the_sum_of_its_parts() {
        let total = |given: &[(NumberFact, i64)]| {
            let mut fields = fields(CallStatus::Completed);
            for &(fact, value) in given {
                fields.numbers.set(fact, Some(value));
            }
            Call::accept(fields, NOW).unwrap().facts().numbers.get(NumberFact::TotalTokens)
        };
        let (input, output) = ((NumberFact::InputTokens, 5), (NumberFact::OutputTokens, 7));
        assert_eq!((total(&[]), total(&[input]), total(&[input, output])), (None, Some(5), Some(12)));
        assert_eq!(total(&[input, output, (NumberFact::TotalTokens, 3)]), Some(3));
    }
}

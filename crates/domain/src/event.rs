//! Events: what those who follow calls live are told.

use crate::call::{Call, CallFacts, CallStatus};
use crate::errors::ErrorKind;
use crate::fact::TextFact;
use crate::ids::{CallId, WorkflowId};
use crate::text::{AgentName, EndReason, Message, Slug};
use crate::time::{Span, Timestamp};
use crate::words;

/// The number of an event among those of its tenant: without gaps, and ascending in the order in which transactions
/// were committed. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A call began.
    CallStarted,
    /// A call completed.
    CallEnded,
    /// A call failed, or was closed because its end never came.
    CallFailed,
    /// Something went wrong in a call.
    CallError,
}

words!(EventKind {
    CallStarted = "call.started",
    CallEnded = "call.ended",
    CallFailed = "call.failed",
    CallError = "call.error",
});

/// Something that happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEvent {
    /// The call.
    pub call_id: CallId,
    /// When it happened: the start or the end of the call, or the error's own time.
    pub timestamp: Timestamp,
    /// The workflow that the call runs through.
    pub workflow: Option<EventWorkflow>,
    /// Who runs the call; of an error, in which agent it arose.
    pub agent: Option<AgentName>,
    /// What happened.
    pub change: CallChange,
}

/// A workflow as an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventWorkflow {
    /// What it is known by in storage.
    pub id: WorkflowId,
    /// What it is known by in URLs.
    pub slug: Slug,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallChange {
    /// It began.
    Started,
    /// It completed.
    Completed(CallEnd),
    /// It failed.
    Failed(CallEnd),
    /// Something went wrong in it.
    Error(EventError),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEnd {
    /// How long it lasted; none when its end never came.
    pub duration: Option<Span>,
    /// Why it ended.
    pub reason: Option<EndReason>,
}

/// An error as an event shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    /// Its position in the call's list.
    pub position: u32,
    /// Service and level.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: Message,
}

impl CallEvent {
    /// What kind of event it is.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self.change {
            CallChange::Started => EventKind::CallStarted,
            CallChange::Completed(_) => EventKind::CallEnded,
            CallChange::Failed(_) => EventKind::CallFailed,
            CallChange::Error(_) => EventKind::CallError,
        }
    }
}

/// What happens when a record is applied to a call that is as `before` says: a start, errors that it did not have, an
/// end; in this order. A record that says nothing new makes no event. A call whose first record is its end has only
/// that, and an end that replaces another one is an event when the status changes or the call had been closed because
/// its end never came.
#[must_use]
pub fn call_events(before: Option<&CallFacts>, call: &Call) -> Vec<CallEvent> {
    let facts = call.facts();
    let agent = facts.text(TextFact::Agent);
    let event = |timestamp, agent: Option<&AgentName>, change| CallEvent {
        call_id: facts.id,
        timestamp,
        workflow: call.workflow().map(|workflow| EventWorkflow { id: workflow.id, slug: workflow.slug.clone() }),
        agent: agent.cloned(),
        change,
    };
    let mut events = Vec::new();
    if before.is_none() && facts.status == CallStatus::Active {
        events.push(event(facts.started_at, agent.as_ref(), CallChange::Started));
    }
    let known_errors = before.map_or(0, |before| before.error_kinds.len());
    for (position, error) in (0..).zip(call.errors()).skip(known_errors) {
        let agent = error.agent.as_ref().or(agent.as_ref());
        let change = EventError { position, kind: error.kind, message: error.message.clone() };
        events.push(event(error.timestamp, agent, CallChange::Error(change)));
    }
    let is_news = before.is_none_or(|before| before.status != facts.status || before.ended_at.is_none());
    if let Some(ended_at) = facts.ended_at.filter(|_| is_news) {
        let end = CallEnd { duration: facts.duration(), reason: facts.text(TextFact::EndReason) };
        let is_failed = facts.status == CallStatus::Failed;
        let change = if is_failed { CallChange::Failed(end) } else { CallChange::Completed(end) };
        events.push(event(ended_at, agent.as_ref(), change));
    }
    events
}

/// What happens when a call is closed because its end never came, as `closed` says; `slug` is that of its workflow.
#[must_use]
pub fn timeout_event(closed: &CallFacts, slug: Option<&Slug>, decided_at: Timestamp) -> CallEvent {
    CallEvent {
        call_id: closed.id,
        timestamp: decided_at,
        workflow: closed.workflow_id.zip(slug.cloned()).map(|(id, slug)| EventWorkflow { id, slug }),
        agent: closed.text(TextFact::Agent),
        change: CallChange::Failed(CallEnd { duration: None, reason: closed.text(TextFact::EndReason) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallFields;
    use crate::errors::{CallError, Level, Service};
    use uuid::Uuid;

    const START: Timestamp = Timestamp::from_micros(1_768_646_400_000_000);

    fn call(status: CallStatus, errors: usize) -> Call {
        let error = CallError {
            timestamp: START,
            kind: ErrorKind { service: Service::Stt, level: Level::Error },
            message: Message::new("lost").unwrap(),
            details: None,
            agent: None,
            provider_name: None,
        };
        let fields = CallFields {
            ended_at: (status != CallStatus::Active).then(|| START + Span::from_minutes(3)),
            errors: vec![error; errors],
            ..CallFields::bare(CallId(Uuid::from_u128(1)), status, START)
        };
        Call::accept(fields, START).unwrap()
    }

    fn kinds(before: Option<&Call>, call: &Call) -> Vec<EventKind> {
        call_events(before.map(Call::facts), call).iter().map(CallEvent::kind).collect()
    }

    #[test]
    fn each_step_of_a_call_is_told_once() {
        use EventKind::{CallEnded, CallError, CallFailed, CallStarted};
        let active = |errors| call(CallStatus::Active, errors);
        let (completed, failed) = (call(CallStatus::Completed, 1), call(CallStatus::Failed, 2));
        assert_eq!(kinds(None, &active(1)), [CallStarted, CallError]);
        assert_eq!(kinds(Some(&active(1)), &active(1)), []);
        assert_eq!(kinds(Some(&active(1)), &active(3)), [CallError, CallError]);
        assert_eq!(kinds(Some(&active(1)), &completed), [CallEnded]);
        assert_eq!(kinds(Some(&active(1)), &failed), [CallError, CallFailed]);
        assert_eq!(kinds(Some(&completed), &completed), []);
        assert_eq!(kinds(Some(&completed), &failed), [CallError, CallFailed]);
        assert_eq!(kinds(None, &completed), [CallError, CallEnded]);
    }

    #[test]
    fn an_end_after_a_timeout_is_told() {
        let timed_out = call(CallStatus::Active, 0).facts().timed_out();
        let failed = call(CallStatus::Failed, 0);
        let events = call_events(Some(&timed_out), &failed);
        let end = CallEnd { duration: Some(Span::from_minutes(3)), reason: None };
        assert_eq!(events.iter().map(|event| &event.change).collect::<Vec<_>>(), [&CallChange::Failed(end)]);
    }
}

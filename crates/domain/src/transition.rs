//! What becomes of a call when a record arrives, or when its end is overdue.

use crate::call::{Call, CallFacts, CallStatus};
use crate::fact::NumberFact;
use crate::ids::CallId;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use std::sync::Arc;

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
            Self::Record(call) => call.facts().id,
            Self::Overdue { id, .. } => *id,
        }
    }

    /// The call whose end is overdue, unless a record arrived.
    #[must_use]
    pub const fn overdue_id(&self) -> Option<CallId> {
        match self {
            Self::Record(_) => None,
            Self::Overdue { id, .. } => Some(*id),
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
    /// Nothing changes: an `active` record came after the end, a record has a lower version than what is known, or the call
    /// is not overdue any more.
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
        (_, Incoming::Record(call)) if kept_from.is_some_and(|kept_from| call.facts().started_at < kept_from) => {
            Transition { kind: TransitionKind::Expired, next: None }
        }
        (None, Incoming::Record(call)) => {
            Transition { kind: TransitionKind::Created, next: Some(call.facts().clone()) }
        }
        (Some(current), Incoming::Record(call)) => {
            let reopens = current.status != CallStatus::Active && call.facts().status == CallStatus::Active;
            if reopens || is_older(call.facts(), current) {
                return ignored;
            }
            Transition { kind: TransitionKind::Replaced, next: Some(call.facts().clone()) }
        }
        (Some(current), Incoming::Overdue { started_before, .. })
            if current.status == CallStatus::Active && current.started_at < *started_before =>
        {
            Transition { kind: TransitionKind::TimedOut, next: Some(current.timed_out()) }
        }
        (_, Incoming::Overdue { .. }) => ignored,
    }
}

/// Whether a record's version says that it was made before what is known. One without a version is as new as it arrives.
fn is_older(record: &CallFacts, known: &CallFacts) -> bool {
    let version = |call: &CallFacts| call.numbers.get(NumberFact::Version);
    version(record).zip(version(known)).is_some_and(|(record, known)| record < known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallFields;
    use crate::time::Span;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_micros(1_768_646_400_000_000);

    fn record(status: CallStatus) -> Incoming {
        let started_at = NOW - Span::from_hours(1);
        let fields = CallFields {
            ended_at: (status != CallStatus::Active).then(|| started_at + Span::from_minutes(3)),
            ..CallFields::bare(CallId(Uuid::from_u128(1)), status, started_at)
        };
        Incoming::Record(Arc::new(Call::accept(fields, NOW).unwrap()))
    }

    fn after(current: &Incoming, incoming: &Incoming) -> TransitionKind {
        transition(transition(None, current, None).next.as_ref(), incoming, None).kind
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
    fn a_lower_version_is_ignored_and_any_other_counts() {
        let of = |version| {
            let Incoming::Record(call) = record(CallStatus::Completed) else { unreachable!("it is a record") };
            let mut call = Arc::unwrap_or_clone(call);
            call.facts_mut().numbers.set(NumberFact::Version, version);
            Incoming::Record(Arc::new(call))
        };
        let kinds = [(Some(2), Some(1)), (Some(2), Some(2)), (Some(2), None), (None, Some(1))];
        let kinds = kinds.map(|(known, version)| after(&of(known), &of(version)));
        let replaced = TransitionKind::Replaced;
        assert_eq!(kinds, [TransitionKind::Ignored, replaced, replaced, replaced]);
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

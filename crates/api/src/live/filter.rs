//! The filter of a subscription to events.

use crate::field::{FieldCode, Rule};
use crate::params::{Query, QueryParams};
use callscope_analytics::live::LiveMessage;
use callscope_domain::{CallId, EventId, EventKind, Slug};
use std::collections::HashSet;
use std::str::FromStr;
use utoipa::IntoParams;

/// Calls that one socket may ask for by id.
pub const CALLS_MAX: usize = 1000;

/// What is followed, and from where on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FollowParams {
    /// Only events of calls of the workflow with this slug, such as `daily-call`.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    pub workflow: Option<Slug>,
    /// Only events of these types, separated by commas: `call.started`, `call.ended`, `call.failed`, `call.error`.
    /// Default: all.
    #[param(value_type = Option<String>, pattern = "^call\\.(started|ended|failed|error)(,call\\.(started|ended|failed|error))*$")]
    pub types: Option<Vec<EventKind>>,
    /// The id of the last event that was received: later events that are still kept are sent first.
    #[param(value_type = Option<i64>, minimum = 0)]
    pub since: Option<EventId>,
}

impl QueryParams for FollowParams {
    fn take(query: &mut Query) -> Self {
        Self {
            workflow: query.take("workflow", |text| Slug::new(text)),
            types: query.take("types", |text| text.split(',').map(EventKind::from_str).collect::<Result<Vec<_>, _>>()),
            since: query.take("since", event_id),
        }
    }
}

/// The number of an event, as clients write it.
pub fn event_id(text: &str) -> Result<EventId, Rule> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|_| is_digits).map(EventId);
    id.ok_or(Rule::new(FieldCode::InvalidFormat, "must be the id of an event, a whole number from 0 on"))
}

/// The filter of a subscription to events.
pub struct EventFilter {
    workflow: Option<Slug>,
    types: Option<Vec<EventKind>>,
    /// When there are some, only events of these calls.
    calls: HashSet<CallId>,
}

impl EventFilter {
    /// What the parameters say, of all calls.
    pub fn new(params: FollowParams) -> Self {
        // Each event is compared with each type, and a query string has room for thousands of repetitions.
        let types = params.types.map(|mut types| {
            types.sort_unstable();
            types.dedup();
            types
        });
        Self { workflow: params.workflow, types, calls: HashSet::new() }
    }

    /// Whether a message is wanted.
    pub fn wants(&self, message: &LiveMessage) -> bool {
        let LiveMessage::Event(delivered) = message else { return true };
        let event = &delivered.numbered.event;
        let is_of_workflow = |slug: &Slug| event.workflow.as_ref().is_some_and(|workflow| workflow.slug == *slug);
        (self.calls.is_empty() || self.calls.contains(&event.call_id))
            && self.types.as_ref().is_none_or(|types| types.contains(&event.kind()))
            && self.workflow.as_ref().is_none_or(is_of_workflow)
    }

    /// Adds a call; `false` when there are too many.
    pub fn add(&mut self, call: CallId) -> bool {
        let has_room = self.calls.len() < CALLS_MAX || self.calls.contains(&call);
        if has_room {
            self.calls.insert(call);
        }
        has_room
    }

    /// Takes a call away.
    pub fn remove(&mut self, call: CallId) {
        self.calls.remove(&call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_repeated_is_compared_once() {
        let types = [EventKind::CallError, EventKind::CallStarted].repeat(2000);
        let filter = EventFilter::new(FollowParams { workflow: None, types: Some(types), since: None });
        assert_eq!(filter.types, Some(vec![EventKind::CallStarted, EventKind::CallError]));
    }
}

//! Rows of events, and how they become values of the domain and back.

use crate::bulk::columns;
use crate::errors::damaged;
use crate::schema::call_events;
use crate::sql::{Id, Instant, Key, Time, Word};
use callscope_analytics::ports::{NumberedEvent, StoreError};
use callscope_domain::{
    AgentName, CallChange, CallEnd, CallEvent, EndReason, ErrorKind, EventError, EventId, EventKind, EventWorkflow,
    Level, Message, Service, Slug, Span, Timestamp,
};
use diesel::prelude::{Queryable, Selectable};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

columns! {
    /// Events, to be written.
    EventColumns {
        event_id: i64 as BigInt,
        recorded_at: Time as Instant,
        kind: Word<EventKind> as Text,
        call_id: Id as Key,
        occurred_at: Time as Instant,
        workflow_id: Option<Id> as Nullable<Key>,
        workflow_slug: Option<String> as Nullable<Text>,
        agent: Option<String> as Nullable<Text>,
        duration_us: Option<i64> as Nullable<BigInt>,
        end_reason: Option<String> as Nullable<Text>,
        position: Option<i32> as Nullable<Integer>,
        service: Option<Word<Service>> as Nullable<Text>,
        level: Option<Word<Level>> as Nullable<Text>,
        message: Option<String> as Nullable<Text>,
    }
}

impl EventColumns {
    /// Adds an event.
    pub fn push_event(&mut self, id: i64, recorded_at: Timestamp, event: &CallEvent) {
        let (end, error) = match &event.change {
            CallChange::Started => (None, None),
            CallChange::Completed(end) | CallChange::Failed(end) => (Some(end), None),
            CallChange::Error(error) => (None, Some(error)),
        };
        self.push((
            id,
            recorded_at.into(),
            Word(event.kind()),
            event.call_id.into(),
            event.timestamp.into(),
            event.workflow.as_ref().map(|workflow| workflow.id.into()),
            event.workflow.as_ref().map(|workflow| workflow.slug.to_string()),
            event.agent.as_ref().map(ToString::to_string),
            end.and_then(|end| end.duration).map(Span::as_micros),
            end.and_then(|end| end.reason.as_ref()).map(ToString::to_string),
            error.map(|error| i32::try_from(error.position).unwrap_or(i32::MAX)),
            error.map(|error| Word(error.kind.service)),
            error.map(|error| Word(error.kind.level)),
            error.map(|error| error.message.to_string()),
        ));
    }
}

/// An event, as it is read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = call_events)]
pub struct EventRow {
    event_id: i64,
    kind: Word<EventKind>,
    call_id: Id,
    occurred_at: Time,
    workflow_id: Option<Id>,
    workflow_slug: Option<String>,
    agent: Option<String>,
    duration_us: Option<i64>,
    end_reason: Option<String>,
    position: Option<i32>,
    service: Option<Word<Service>>,
    level: Option<Word<Level>>,
    message: Option<String>,
}

impl TryFrom<EventRow> for NumberedEvent {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let end = || {
            let reason = row.end_reason.clone().map(EndReason::new).transpose().map_err(damaged)?;
            Ok::<_, StoreError>(CallEnd { duration: row.duration_us.map(Span::from_micros), reason })
        };
        let error = || {
            let (Some(position), Some(service), Some(level), Some(message)) =
                (row.position, row.service, row.level, row.message.clone())
            else {
                return Err(damaged("an event of an error lacks a part"));
            };
            Ok(EventError {
                position: u32::try_from(position).map_err(damaged)?,
                kind: ErrorKind { service: service.0, level: level.0 },
                message: Message::new(message).map_err(damaged)?,
            })
        };
        let change = match row.kind.0 {
            EventKind::CallStarted => CallChange::Started,
            EventKind::CallEnded => CallChange::Completed(end()?),
            EventKind::CallFailed => CallChange::Failed(end()?),
            EventKind::CallError => CallChange::Error(error()?),
        };
        let slug = row.workflow_slug.map(Slug::new).transpose().map_err(damaged)?;
        let workflow = row.workflow_id.zip(slug).map(|(id, slug)| EventWorkflow { id: id.into(), slug });
        let event = CallEvent {
            call_id: row.call_id.into(),
            timestamp: row.occurred_at.0,
            workflow,
            agent: row.agent.map(AgentName::new).transpose().map_err(damaged)?,
            change,
        };
        Ok(Self { id: EventId(row.event_id), event })
    }
}

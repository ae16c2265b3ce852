//! Messages to followers, in wire format.

use crate::responses::{duration_seconds, rfc3339};
use callscope_analytics::live::{Follower, LiveMessage};
use callscope_analytics::ports::NumberedEvent;
use callscope_domain::{CallChange, CallEnd, TenantId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use uuid::Uuid;

/// What the server says, beside the events themselves.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice<'n> {
    /// The first message of a stream.
    Connected {
        tenant_id: Uuid,
        active_calls: u64,
        /// The id of the last event so far.
        cursor: i64,
    },
    /// What was missed is no longer kept: everything begins anew at the cursor.
    Reset {
        /// The id of the last event so far.
        cursor: i64,
    },
    ActiveCount {
        count: u64,
    },
    /// So many events were missed, since the other side was too slow.
    Dropped {
        count: i64,
    },
    /// A call is among those that are followed.
    Subscribed {
        call_id: Uuid,
    },
    /// A call is no longer among them.
    Unsubscribed {
        call_id: Uuid,
    },
    /// A series is among what is followed.
    #[serde(rename = "subscribed")]
    SubscribedTopic {
        topic: &'n str,
    },
    /// A series is no longer among it.
    #[serde(rename = "unsubscribed")]
    UnsubscribedTopic {
        topic: &'n str,
    },
    Pong,
    /// A message of the client was invalid.
    Error {
        /// What is wrong with it, and what would be right.
        detail: &'n str,
    },
}

impl Notice<'_> {
    /// The text of the message.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn connected(tenant: TenantId, follower: &Follower) -> Self {
        let (active_calls, cursor) = (follower.active_calls, follower.cursor.0);
        Self::Connected { tenant_id: tenant.0, active_calls, cursor }
    }
}

#[derive(Serialize)]
struct EventMessage<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: i64,
    call_id: Uuid,
    timestamp: String,
    data: EventData<'e>,
}

#[derive(Serialize)]
struct EventData<'e> {
    workflow_id: Option<Uuid>,
    workflow_slug: Option<&'e str>,
    agent: Option<String>,
    #[serde(flatten)]
    change: ChangeData,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ChangeData {
    Start {},
    End { status: &'static str, duration_seconds: Option<f64>, end_reason: Option<String> },
    Error { error_id: String, service: &'static str, level: &'static str, message: String },
}

/// The JSON of an event.
pub fn event_text(numbered: &NumberedEvent) -> String {
    let event = &numbered.event;
    let end = |status, end: &CallEnd| ChangeData::End {
        status,
        duration_seconds: end.duration.map(duration_seconds),
        end_reason: end.reason.as_ref().map(ToString::to_string),
    };
    let change = match &event.change {
        CallChange::Started => ChangeData::Start {},
        CallChange::Completed(how) => end("completed", how),
        CallChange::Failed(how) => end("failed", how),
        CallChange::Error(error) => ChangeData::Error {
            error_id: format!("{}-{}", event.call_id, error.position),
            service: error.kind.service.as_str(),
            level: error.kind.level.as_str(),
            message: error.message.to_string(),
        },
    };
    let message = EventMessage {
        kind: event.kind().as_str(),
        id: numbered.id.0,
        call_id: event.call_id.0,
        timestamp: rfc3339(event.timestamp),
        data: EventData {
            workflow_id: event.workflow.as_ref().map(|workflow| workflow.id.0),
            workflow_slug: event.workflow.as_ref().map(|workflow| workflow.slug.as_str()),
            agent: event.agent.as_ref().map(ToString::to_string),
            change,
        },
    };
    serde_json::to_string(&message).unwrap_or_default()
}

/// A message of a follower as it is written, with the name and the number that a stream gives it.
pub fn written(message: &LiveMessage) -> (&'static str, Option<i64>, Arc<str>) {
    match message {
        LiveMessage::Event(event) => {
            (event.numbered.event.kind().as_str(), Some(event.numbered.id.0), event.wire(event_text))
        }
        LiveMessage::ActiveCount(count) => ("active_count", None, Notice::ActiveCount { count: *count }.text().into()),
        LiveMessage::Dropped(count) => ("dropped", None, Notice::Dropped { count: *count }.text().into()),
    }
}

/// Figures, when they have changed.
#[derive(Serialize)]
pub struct FiguresMessage<'f> {
    #[serde(rename = "type")]
    pub topic: &'static str,
    /// The period that they are about.
    pub period: &'static str,
    /// The answer of the endpoint of that name.
    pub data: &'f RawValue,
}

//! Tap Health's Agent Studio: `{"id", "type", "created", "data"}`.
//!
//! Units: `created` and `duration_seconds` are in seconds. The latencies of `metrics` are averages, so they are no samples
//! and are not read.

use super::draft::{Draft, Ending, Rank, deliver, direction, workflow_by_id};
use super::{Delivery, Ignored, WebhookContext, WebhookFault, WebhookProvider};
use crate::json::{Items, Lenient, Maybe, Number, Text, read};
use crate::mapping::{EndTable, end_of};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    r#type: Maybe<Text>,
    created: Maybe<Number>,
    data: Lenient<Data>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    call_id: Maybe<Text>,
    workflow_slug: Maybe<Text>,
    duration_seconds: Maybe<Number>,
    direction: Maybe<Text>,
    agent_history: Lenient<Items<Text>>,
    metrics: Lenient<Metrics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    total_tokens: Maybe<Number>,
}

pub(super) fn parse(body: &[u8], context: &WebhookContext<'_>) -> Result<Delivery, WebhookFault> {
    let event: Event = read(body)?;
    let Some(kind) = event.r#type.as_deref().filter(|kind| kind.starts_with("call.")) else {
        return Ok(Delivery::Ignored(Ignored::OtherMessage));
    };
    let data = &event.data;
    let sent_at = event.created.and_then(Number::as_unix_seconds);
    let duration = data.duration_seconds.and_then(Number::seconds).unwrap_or_default();
    // Types that are not known to end the call, new ones among them, say that it goes on.
    let end = end_of(EndTable::Tap, kind);
    let draft = Draft {
        source: WebhookProvider::Tap,
        id: data.call_id.as_deref(),
        rank: if end.is_some() { Rank::Final } else { Rank::Active },
        sent_at,
        started_at: sent_at.and_then(|sent_at| sent_at.checked_sub_signed(duration)),
        ended_at: sent_at,
        ending: end.map(|end| Ending { reason: Some(kind.to_owned()), end, is_failure: false, message: None }),
    };
    let mut report = draft.into_report(context)?;
    report.workflow = data.workflow_slug.as_deref().and_then(workflow_by_id);
    report.agent = data.agent_history.first().map(|agent| agent.to_string());
    report.direction = data.direction.as_deref().and_then(direction);
    report.total_tokens = data.metrics.total_tokens.map(Number::count);
    Ok(deliver(report))
}

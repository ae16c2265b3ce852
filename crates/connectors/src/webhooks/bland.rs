//! Bland AI: the call object, posted once, at the call's end.
//!
//! Units: `call_length` is in **minutes**, `corrected_duration` in seconds as a string, `price` in US dollars. There are no
//! latencies, tokens or providers.

use super::draft::{Draft, Ending, Rank, deliver, named_workflow, to_micro_dollars, workflow_by_id};
use super::{Delivery, WebhookContext, WebhookFault, WebhookProvider};
use crate::json::{Lenient, Maybe, Number, Text, Time, read};
use crate::mapping::{End, EndTable, end_of};
use callscope_domain::{CallStatus, Direction, EndCategory};
use chrono::{DateTime, Utc};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call {
    call_id: Maybe<Text>,
    c_id: Maybe<Text>,
    status: Maybe<Text>,
    queue_status: Maybe<Text>,
    error_message: Maybe<Text>,
    answered_by: Maybe<Text>,
    call_ended_by: Maybe<Text>,
    transferred_to: Maybe<Text>,
    created_at: Maybe<Time>,
    started_at: Maybe<Time>,
    end_at: Maybe<Time>,
    corrected_duration: Maybe<Number>,
    call_length: Maybe<Number>,
    inbound: Maybe<bool>,
    price: Maybe<Number>,
    pathway_id: Maybe<Text>,
    metadata: Lenient<Metadata>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    workflow: Maybe<Text>,
}

pub(super) fn parse(body: &[u8], context: &WebhookContext<'_>) -> Result<Delivery, WebhookFault> {
    let call: Call = read(body)?;
    let started_at = call.started_at.or(*call.created_at).map(|time| time.0);
    let draft = Draft {
        source: WebhookProvider::Bland,
        id: call.call_id.as_deref().or(call.c_id.as_deref()),
        rank: Rank::Final,
        sent_at: None,
        started_at,
        ended_at: call.end_at.map(|time| time.0).or_else(|| ended_at(&call, started_at)),
        ending: Some(ending(&call)),
    };
    let mut report = draft.into_report(context)?;
    let by_name = || call.metadata.workflow.as_deref().and_then(named_workflow);
    report.workflow = call.pathway_id.as_deref().and_then(workflow_by_id).or_else(by_name);
    report.direction = call.inbound.map(|inbound| if inbound { Direction::Inbound } else { Direction::Outbound });
    report.cost_usd = call.price.map(|usd| to_micro_dollars(usd.get()));
    Ok(deliver(report))
}

fn ended_at(call: &Call, started_at: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let corrected = call.corrected_duration.and_then(Number::seconds);
    let duration = corrected.or_else(|| call.call_length.and_then(Number::minutes))?;
    started_at?.checked_add_signed(duration)
}

fn ending(call: &Call) -> Ending {
    let has_failed = call.queue_status.as_deref() == Some("error") || call.error_message.is_some();
    let status = call.status.as_deref().unwrap_or(if has_failed { "failed" } else { "completed" });
    let end = end_of(EndTable::BlandStatus, status).unwrap_or(End::UNKNOWN);
    let message = call.error_message.as_deref().map(str::to_owned);
    Ending {
        reason: message.clone().or_else(|| Some(status.to_owned())),
        end: if end.status == CallStatus::Completed { end_of_talk(call).unwrap_or(end) } else { end },
        is_failure: false,
        message,
    }
}

/// How a call ended, where the status says only that it was completed.
fn end_of_talk(call: &Call) -> Option<End> {
    if call.transferred_to.is_some() {
        return Some(End::of(EndCategory::Transferred));
    }
    let answered_by = call.answered_by.as_deref().and_then(|by| end_of(EndTable::BlandAnsweredBy, by));
    answered_by.or_else(|| call.call_ended_by.as_deref().and_then(|by| end_of(EndTable::BlandEndedBy, by)))
}

//! The rules that all webhooks share: ids, versions, times, the error of a failed call, and the bounds of a record.

use super::{Delivery, WebhookContext, WebhookFault, WebhookProvider};
use crate::mapping::End;
pub(super) use crate::report::Uses;
use crate::report::{CallReport, ErrorReport, WorkflowReport};
use crate::text::{cut, is_language_tag, slug};
use crate::times::Times;
use callscope_domain::{
    AGENT_MAX, CALL_DURATION_MAX, CLOCK_SKEW_MAX, COST_MAX, COUNT_MAX, CallStatus, Direction, END_REASON_MAX,
    ERRORS_PER_CALL_MAX, EXTERNAL_ID_MAX, Latency, Level, MESSAGE_MAX, MODEL_MAX, ProviderType, SAMPLES_PER_CALL_MAX,
    Service, TOKENS_MAX, WORKFLOW_NAME_MAX,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// The highest cost that is accepted, in US dollars.
const COST_USD_MAX: f64 = COST_MAX as f64 / 1e6;
/// The longest call.
const DURATION: TimeDelta = TimeDelta::microseconds(CALL_DURATION_MAX.as_micros());
/// How far outside of its call an error may be.
const CLOCK_SKEW: TimeDelta = TimeDelta::microseconds(CLOCK_SKEW_MAX.as_micros());
/// A version is the rank times 2^48, and the message's time in milliseconds, which stays below that until the year 10889.
/// An implausible time counts as none, so that one wrong clock does not outrank all later messages.
const TIME_BITS: u32 = 48;

/// How final a message is. A message of a lower rank never replaces one of a higher rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// The call is active.
    Active = 0,
    /// The call has ended; a more complete message will follow.
    Ended = 1,
    /// The source sends nothing more about the call.
    Final = 2,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// Why, in the source's words.
    pub(super) reason: Option<String>,
    /// The meaning of the reason, by the tables.
    pub(super) end: End,
    /// Whether the source marks the call as failed, whatever the reason.
    pub(super) is_failure: bool,
    /// The message of a failed call's error; without it, the reason.
    pub(super) message: Option<String>,
}

/// The fields that every message has.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) source: WebhookProvider,
    /// The source's id of the call.
    pub(super) id: Option<&'a str>,
    pub(super) rank: Rank,
    /// The message's own time.
    pub(super) sent_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    /// Absent while the call is active.
    pub(super) ending: Option<Ending>,
}

impl Draft<'_> {
    /// A report with everything that follows from these alone.
    pub(super) fn into_report(self, context: &WebhookContext<'_>) -> Result<CallReport, WebhookFault> {
        let id = self.id.filter(|id| is_id(id)).ok_or(WebhookFault::NoCallId)?;
        let times = Times::of_arrival(context.received_at);
        let is_believable = |time: &DateTime<Utc>| times.is_plausible(time.timestamp_micros());
        let [started_at, ended_at, sent_at] =
            [self.started_at, self.ended_at, self.sent_at].map(|time| time.filter(is_believable));
        let started_at = started_at.or(ended_at).or(sent_at).unwrap_or(context.received_at);

        let mut report = CallReport::new(self.source.as_str(), CallStatus::Active, started_at);
        // The hyphenated form alone: 32 hexadecimal digits may as well be an id of another kind.
        report.call_id = (id.len() == 36).then(|| Uuid::try_parse(id).ok()).flatten();
        report.external_id = Some(id.to_owned());
        report.version = Some(version(self.rank, sent_at));
        if let Some(ending) = self.ending {
            let ended_at = ended_at.unwrap_or(started_at).clamp(started_at, started_at + DURATION);
            end(&mut report, ending, ended_at, context);
        }
        Ok(report)
    }
}

/// Ends the call of a report.
fn end(report: &mut CallReport, ending: Ending, ended_at: DateTime<Utc>, context: &WebhookContext<'_>) {
    let reason = ending.reason.as_deref().and_then(|reason| cut(reason, END_REASON_MAX));
    let end = context.overrides.apply(&report.source, reason.as_deref(), ending.end);
    report.status = if ending.is_failure { CallStatus::Failed } else { end.status };
    report.ended_at = Some(ended_at);
    report.end_category = Some(end.category);
    if report.status == CallStatus::Failed {
        let message = ending.message.or(ending.reason).unwrap_or_else(|| "failed".to_owned());
        report.errors.push(error(ended_at, end.service, message));
    }
    report.end_reason = reason;
}

/// An error without a provider.
pub(super) fn error(timestamp: DateTime<Utc>, service: Service, message: String) -> ErrorReport {
    let level = Level::Error;
    ErrorReport { timestamp, service, level, provider_name: None, message, details: None, agent: None }
}

/// A workflow that has a name.
pub(super) fn named_workflow(name: &str) -> Option<WorkflowReport> {
    let name: String = cut(name.trim(), WORKFLOW_NAME_MAX)?;
    // A name without a letter that a slug can have gets its slug from the server, which knows the tenant.
    Some(WorkflowReport { slug: slug(&name), name: Some(name), id: None })
}

/// A workflow of which only an id is known.
pub(super) fn workflow_by_id(id: &str) -> Option<WorkflowReport> {
    slug(id).map(|slug| WorkflowReport { slug: Some(slug), name: None, id: None })
}

/// A direction in a source's words.
pub(super) fn direction(word: &str) -> Option<Direction> {
    match word {
        "inbound" | "inboundPhoneCall" => Some(Direction::Inbound),
        "outbound" | "outboundPhoneCall" => Some(Direction::Outbound),
        "web" | "webCall" | "web_call" => Some(Direction::Web),
        _ => None,
    }
}

impl Uses {
    /// Adds samples; two of one stage, provider and model are one.
    pub(super) fn add(
        &mut self,
        stage: ProviderType,
        name: &str,
        model: Option<&str>,
        latencies_ms: impl IntoIterator<Item = f64>,
    ) {
        let model: Option<String> = model.and_then(|model| cut(model, MODEL_MAX));
        if let Some(place) = self.place(stage, name, model.as_deref()) {
            self.latencies_ms(place).extend(latencies_ms.into_iter().filter(|ms| is_latency(*ms)));
        }
    }
}

/// The report within the bounds of a record, so that no field costs the rest.
pub(super) fn deliver(mut report: CallReport) -> Delivery {
    report.agent = report.agent.and_then(|agent| cut(&agent, AGENT_MAX));
    report.language = report.language.filter(|tag| is_language_tag(tag));
    report.cost_usd = report.cost_usd.filter(|cost| (0.0..=COST_USD_MAX).contains(cost));
    for tokens in
        [&mut report.total_tokens, &mut report.input_tokens, &mut report.output_tokens, &mut report.cached_input_tokens]
    {
        *tokens = tokens.filter(|tokens| (0..=TOKENS_MAX).contains(tokens));
    }
    if report.input_tokens.unwrap_or(0) + report.output_tokens.unwrap_or(0) > TOKENS_MAX {
        (report.input_tokens, report.output_tokens) = (None, None);
    }
    for count in [&mut report.turns, &mut report.interruptions, &mut report.tool_calls] {
        *count = count.filter(|count| i64::from(*count) <= COUNT_MAX);
    }
    // Cached tokens are part of the input.
    report.cached_input_tokens = report.cached_input_tokens.filter(|cached| Some(*cached) <= report.input_tokens);

    report.turn_latencies_ms.retain(|ms| is_latency(*ms));
    report.turn_latencies_ms.truncate(SAMPLES_PER_CALL_MAX);
    let mut room = SAMPLES_PER_CALL_MAX - report.turn_latencies_ms.len();
    for provider in &mut report.providers {
        provider.latencies_ms.truncate(room);
        room -= provider.latencies_ms.len();
    }

    report.errors.truncate(ERRORS_PER_CALL_MAX);
    let latest = report.ended_at.unwrap_or(report.started_at + DURATION) + CLOCK_SKEW;
    for error in &mut report.errors {
        error.timestamp = error.timestamp.clamp(report.started_at - CLOCK_SKEW, latest);
        error.message = cut(&error.message, MESSAGE_MAX).unwrap_or_else(|| "failed".to_owned());
    }
    Delivery::Call(Box::new(report))
}

/// Rounded to micro-dollars, the unit that is stored.
pub(super) fn to_micro_dollars(usd: f64) -> f64 {
    (usd * 1e6).round() / 1e6
}

fn version(rank: Rank, sent_at: Option<DateTime<Utc>>) -> i64 {
    let sent_at_ms = sent_at.map_or(0, |time| time.timestamp_millis());
    ((rank as i64) << TIME_BITS) + sent_at_ms.clamp(0, (1 << TIME_BITS) - 1)
}

fn is_id(id: &str) -> bool {
    !id.trim().is_empty() && id.chars().count() <= EXTERNAL_ID_MAX && !id.contains('\0')
}

fn is_latency(ms: f64) -> bool {
    Latency::from_ms(ms).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::EndOverrides;
    use chrono::TimeZone as _;

    #[test]
    fn a_version_grows_with_the_rank_before_the_time() {
        let at = |ms| DateTime::from_timestamp_millis(ms);
        assert!(version(Rank::Active, at(2)) < version(Rank::Active, at(3)));
        assert!(version(Rank::Active, at(i64::from(u32::MAX) * 1000)) < version(Rank::Ended, None));
        assert!(version(Rank::Ended, at(-5)) >= version(Rank::Ended, None));
    }

    #[test]
    fn implausible_times_are_replaced_by_the_next_plausible_one() {
        let overrides = EndOverrides::default();
        let received_at = Utc.timestamp_nanos(1_768_646_400_000_000_000);
        let context = WebhookContext { received_at, overrides: &overrides };
        let draft = |started_at, ended_at| {
            let ending = Some(Ending { reason: None, end: End::UNKNOWN, is_failure: false, message: None });
            let (source, id, rank, sent_at) = (WebhookProvider::Tap, Some("x"), Rank::Final, None);
            let report =
                Draft { source, id, rank, sent_at, started_at, ended_at, ending }.into_report(&context).expect("an id");
            (report.started_at, report.ended_at)
        };
        let absurd = Some(DateTime::<Utc>::MAX_UTC);
        assert_eq!(draft(absurd, None), (received_at, Some(received_at)));
        assert_eq!(draft(Some(DateTime::UNIX_EPOCH), absurd), (received_at, Some(received_at)));
        let earlier = received_at - TimeDelta::hours(30);
        assert_eq!(draft(Some(received_at), Some(earlier)), (received_at, Some(received_at)));
        assert_eq!(draft(Some(earlier), Some(received_at)), (earlier, Some(earlier + DURATION)));
    }
}

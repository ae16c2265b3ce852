//! Calls to write.

use callscope_domain::{
    Call, CallError, CallFields, CallId, CallStatus, Dimension, ErrorKind, Filter, Incoming, Latency, Level,
    NumberFact, Provider, ProviderType, ProviderUse, Service, Slug, Span, TenantId, TextFact, Timestamp, Workflow,
    WorkflowId,
};
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

/// 2026-01-17T00:00:00Z, a Saturday.
const ORIGIN_US: i64 = 1_768_608_000_000_000;
/// The length of a finished call, unless a test gives another one.
pub const LENGTH: Span = Span::from_minutes(3);

/// Minutes after the origin.
pub fn at(minutes: i64) -> Timestamp {
    Timestamp::from_micros(ORIGIN_US) + Span::from_minutes(minutes)
}

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub fn slug(text: &str) -> Slug {
    Slug::new(text).unwrap()
}

/// A call of a status, with an end when it has ended, and nothing else.
pub fn fields(call: u128, status: CallStatus, started_at: Timestamp) -> CallFields {
    CallFields {
        ended_at: (status != CallStatus::Active).then(|| started_at + LENGTH),
        ..CallFields::bare(CallId(id(call)), status, started_at)
    }
}

/// Gives a call a text.
pub fn set(fields: &mut CallFields, fact: TextFact, text: &str) {
    fields.texts.set(fact, Some(fact.check(text).unwrap()));
}

/// Gives a call a number.
pub fn set_number(fields: &mut CallFields, fact: NumberFact, number: i64) {
    fields.numbers.set(fact, Some(number));
}

/// The filter for a workflow, if there is one.
pub fn of_workflow(slug: Option<Slug>) -> Vec<Filter> {
    slug.into_iter().map(|slug| Filter::is(Dimension::Workflow, slug.as_str())).collect()
}

/// What arrives when a client sends a sound record.
pub fn record(fields: CallFields) -> Incoming {
    Incoming::Record(Arc::new(sound(fields)))
}

/// The call of a sound record.
pub fn sound(fields: CallFields) -> Call {
    let received_at = fields.started_at;
    Call::accept(fields, received_at).unwrap()
}

pub fn active(call: u128, started_at: Timestamp) -> Incoming {
    record(fields(call, CallStatus::Active, started_at))
}

pub fn completed(call: u128, started_at: Timestamp) -> Incoming {
    record(fields(call, CallStatus::Completed, started_at))
}

pub fn failed(call: u128, started_at: Timestamp) -> Incoming {
    record(fields(call, CallStatus::Failed, started_at))
}

pub fn overdue(call: u128, started_before: Timestamp) -> Incoming {
    Incoming::Overdue { id: CallId(id(call)), started_before }
}

/// A workflow as a record without an id names it.
pub fn workflow(tenant: TenantId, of: &str, called: Option<&str>) -> Workflow {
    Workflow { id: Workflow::derived_id(tenant, &slug(of)), slug: slug(of), name: called.map(name) }
}

/// A workflow as a record with an id names it.
pub fn workflow_with_id(number: u128, of: &str, called: Option<&str>) -> Workflow {
    Workflow { id: WorkflowId(id(number)), slug: slug(of), name: called.map(name) }
}

pub fn usage(provider_type: ProviderType, called: &str, latencies_ms: &[f64]) -> ProviderUse {
    let latencies = latencies_ms.iter().map(|&latency| Latency::from_ms(latency).unwrap()).collect();
    ProviderUse { provider: Provider { provider_type, provider_name: name(called) }, model: None, latencies }
}

pub fn error(timestamp: Timestamp, service: Service, level: Level, message: &str) -> CallError {
    let kind = ErrorKind { service, level };
    CallError { timestamp, kind, message: name(message), details: None, agent: None, provider_name: None }
}

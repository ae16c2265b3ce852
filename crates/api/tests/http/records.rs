//! Call records to send, from a few words each.

use callscope_domain::{Timestamp, Workflow};
use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use std::fmt;

/// The time on every server of these tests: a Saturday.
pub const NOW: &str = "2026-01-17T12:00:00Z";

pub fn instant(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).expect("RFC 3339").to_utc().into()
}

/// The id of the call with a number.
pub fn call_id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// The id that a workflow of a tenant gets when no record gives one.
pub fn workflow_id(tenant: callscope_domain::TenantId, slug: &str) -> String {
    let slug = callscope_domain::Slug::new(slug).expect("a slug");
    Workflow::derived_id(tenant, &slug).to_string()
}

/// A record.
#[derive(Clone, Debug)]
pub struct Record(Value);

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An active call that started at an instant.
pub fn active(number: u32, started_at: &str) -> Record {
    Record(json!({"call_id": call_id(number), "status": "active", "started_at": started_at}))
}

/// A completed call.
pub fn completed(number: u32, started_at: &str, seconds: i64) -> Record {
    active(number, started_at).finished("completed", seconds)
}

/// A failed call.
pub fn failed(number: u32, started_at: &str, seconds: i64) -> Record {
    active(number, started_at).finished("failed", seconds)
}

/// An error of a call.
pub fn error(timestamp: &str, service: &str, level: &str, message: &str) -> Value {
    json!({"timestamp": timestamp, "service": service, "level": level, "message": message})
}

impl Record {
    pub fn id(&self) -> &str {
        self.0["call_id"].as_str().expect("records have an id")
    }

    fn finished(self, status: &str, seconds: i64) -> Self {
        let started_at = self.0["started_at"].as_str().expect("records have a start");
        let started_at = DateTime::parse_from_rfc3339(started_at).expect("RFC 3339");
        let ended_at = (started_at + TimeDelta::seconds(seconds)).to_rfc3339_opts(SecondsFormat::AutoSi, true);
        self.with("status", status).with("ended_at", ended_at)
    }

    /// The record with one field set, sound or not.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// The record without a field.
    pub fn without(mut self, field: &str) -> Self {
        self.0.as_object_mut().expect("records are objects").remove(field);
        self
    }

    pub fn workflow(self, slug: &str, name: &str) -> Self {
        self.with("workflow", json!({"slug": slug, "name": name}))
    }

    pub fn tokens(self, tokens: i64) -> Self {
        self.with("total_tokens", tokens)
    }

    pub fn provider(self, provider_type: &str, provider_name: &str, latencies_ms: &[f64]) -> Self {
        self.push(
            "providers",
            json!({"provider_type": provider_type, "provider_name": provider_name, "latencies_ms": latencies_ms}),
        )
    }

    pub fn error(self, error: Value) -> Self {
        self.push("errors", error)
    }

    fn push(mut self, list: &str, item: Value) -> Self {
        if self.0[list].is_null() {
            self.0[list] = json!([]);
        }
        self.0[list].as_array_mut().expect("a list").push(item);
        self
    }
}

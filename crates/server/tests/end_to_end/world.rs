//! What a server should know after it has received records: their plain meaning, kept in memory.

use chrono::DateTime;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// The longest latency that counts.
const LATENCY_MS_MAX: f64 = 600_000.0;

/// All calls of one tenant, as the records left them.
#[derive(Clone, Default)]
pub struct World {
    pub calls: BTreeMap<String, Call>,
    /// By slug: the name of the newest call that gave one, and that call's start.
    names: HashMap<String, (i64, String)>,
}

/// One call.
#[derive(Clone)]
pub struct Call {
    pub id: String,
    pub status: String,
    /// Microseconds since the epoch, as everywhere here.
    pub started_us: i64,
    pub ended_us: Option<i64>,
    pub workflow: Option<Workflow>,
    pub agent: Option<String>,
    pub end_reason: Option<String>,
    pub tokens: Option<u64>,
    pub uses: Vec<Use>,
    pub errors: Vec<LoggedError>,
}

#[derive(Clone)]
pub struct Workflow {
    pub slug: String,
    pub id: Option<String>,
}

/// A provider's work in a call, with the latencies that count.
#[derive(Clone)]
pub struct Use {
    pub stage: String,
    pub name: String,
    pub latencies_ms: Vec<f64>,
}

#[derive(Clone)]
pub struct LoggedError {
    pub at_us: i64,
    pub service: String,
    pub level: String,
    pub message: Value,
    pub details: Value,
    pub agent: Value,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    Created,
    Replaced,
    Ignored,
}

impl World {
    /// Takes records in, in their order.
    pub fn receive_all(&mut self, records: &[Value]) {
        for record in records {
            self.receive(record);
        }
    }

    /// Takes a record in. An active one never reopens a finished call; any other replaces what was known.
    pub fn receive(&mut self, record: &Value) -> Reception {
        let call = Call::read(record);
        let known = self.calls.get(&call.id).map(|known| known.status != "active");
        let reception = match known {
            Some(true) if call.status == "active" => return Reception::Ignored,
            Some(_) => Reception::Replaced,
            None => Reception::Created,
        };
        if let (Some(workflow), Some(name)) = (&call.workflow, record["workflow"]["name"].as_str()) {
            let newest = self.names.entry(workflow.slug.clone()).or_insert((i64::MIN, String::new()));
            if call.started_us >= newest.0 {
                *newest = (call.started_us, name.to_owned());
            }
        }
        self.calls.insert(call.id.clone(), call);
        reception
    }

    /// What people call a workflow.
    pub fn name<'a>(&'a self, slug: &'a str) -> &'a str {
        self.names.get(slug).map_or(slug, |(_, name)| name)
    }
}

impl Call {
    fn read(record: &Value) -> Self {
        let workflow = &record["workflow"];
        Self {
            id: text(&record["call_id"]),
            status: text(&record["status"]),
            started_us: micros(&record["started_at"]),
            ended_us: record["ended_at"].is_string().then(|| micros(&record["ended_at"])),
            workflow: workflow
                .is_object()
                .then(|| Workflow { slug: text(&workflow["slug"]), id: workflow["id"].as_str().map(str::to_owned) }),
            agent: record["agent"].as_str().map(str::to_owned),
            end_reason: record["end_reason"].as_str().map(str::to_owned),
            tokens: record["total_tokens"].as_u64(),
            uses: list(&record["providers"]).iter().map(Use::read).collect(),
            errors: list(&record["errors"]).iter().map(LoggedError::read).collect(),
        }
    }

    pub fn is_finished(&self) -> bool {
        self.status != "active"
    }
}

impl Use {
    fn read(record: &Value) -> Self {
        let given = list(&record["latencies_ms"]).iter();
        Self {
            stage: text(&record["provider_type"]),
            name: text(&record["provider_name"]),
            latencies_ms: given.filter_map(Value::as_f64).filter(|&latency| counts(latency)).collect(),
        }
    }
}

impl LoggedError {
    fn read(record: &Value) -> Self {
        Self {
            at_us: micros(&record["timestamp"]),
            service: text(&record["service"]),
            level: text(&record["level"]),
            message: record["message"].clone(),
            details: record["details"].clone(),
            agent: record["agent"].clone(),
        }
    }
}

fn counts(latency_ms: f64) -> bool {
    latency_ms > 0.0 && latency_ms <= LATENCY_MS_MAX
}

/// How many latencies of a record do not count.
pub fn dropped_samples(record: &Value) -> u64 {
    let given = list(&record["providers"]).iter().flat_map(|provider| list(&provider["latencies_ms"]));
    given.filter(|latency| !latency.as_f64().is_some_and(counts)).count() as u64
}

/// An RFC 3339 timestamp in microseconds; what is finer is cut off.
pub fn micros(timestamp: &Value) -> i64 {
    let text = timestamp.as_str().unwrap_or_else(|| panic!("{timestamp} is no timestamp"));
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).timestamp_micros()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

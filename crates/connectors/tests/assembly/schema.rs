//! OTLP's messages, to take requests apart and to write them as JSON.

use prost::Message;
use serde_json::{Map, Value, json};
use std::fmt::Debug;

#[derive(Clone, PartialEq, Message)]
pub struct Request<S: Message + Default + Debug> {
    #[prost(message, repeated, tag = "1")]
    pub resources: Vec<Resources<S>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Resources<S: Message + Default + Debug> {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scopes: Vec<Scopes<S>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Scopes<S: Message + Default + Debug> {
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<S>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
#[expect(clippy::struct_field_names, reason = "the schema's name")]
pub struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(fixed64, tag = "7")]
    pub start: u64,
    #[prost(fixed64, tag = "8")]
    pub end: u64,
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Event {
    #[prost(fixed64, tag = "1")]
    pub time: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(int32, tag = "3")]
    pub code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub time: u64,
    #[prost(int32, tag = "2")]
    pub severity: i32,
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "10")]
    pub span_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    pub observed: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    #[prost(oneof = "AnyValueOf", tags = "1, 2, 3, 4, 5")]
    pub value: Option<AnyValueOf>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AnyValueOf {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(Array),
}

#[derive(Clone, PartialEq, Message)]
pub struct Array {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// How a writer of JSON spells names and 64-bit numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// As the specification has them, numbers as texts.
    Camel,
    /// As the schema has them, numbers as numbers.
    Snake,
}

impl Names {
    pub const ALL: [Self; 2] = [Self::Camel, Self::Snake];

    fn of(self, snake: &str) -> String {
        if self == Self::Snake {
            return snake.to_owned();
        }
        let mut parts = snake.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
    }

    fn object<const N: usize>(self, members: [(&str, Value); N]) -> Value {
        Value::Object(Map::from_iter(members.map(|(name, value)| (self.of(name), value))))
    }

    fn number(self, number: u64) -> Value {
        if self == Self::Snake { json!(number) } else { json!(number.to_string()) }
    }
}

/// What spans and log records have in common.
pub trait Record: Message + Debug + Default + Clone + PartialEq + 'static {
    const NAMES: [&'static str; 3];

    fn to_json(&self, names: Names) -> Value;

    /// A request in JSON.
    fn json(body: &[u8], names: Names) -> String {
        let [resources, scopes, records] = Self::NAMES;
        let request = Request::<Self>::decode(body).unwrap();
        let groups = request.resources.iter().map(|group| {
            let lists = group.scopes.iter().map(|scope| {
                let list: Vec<Value> = scope.records.iter().map(|record| record.to_json(names)).collect();
                let name = scope.scope.clone().unwrap_or_default().name;
                names.object([(records, json!(list)), ("scope", json!({"name": name}))])
            });
            let resource = group.resource.clone().unwrap_or_default();
            let resource = json!({"attributes": attributes(&resource.attributes, names)});
            names.object([(scopes, json!(lists.collect::<Vec<_>>())), ("resource", resource)])
        });
        names.object([(resources, json!(groups.collect::<Vec<_>>()))]).to_string()
    }
}

impl Record for Span {
    const NAMES: [&'static str; 3] = ["resource_spans", "scope_spans", "spans"];

    fn to_json(&self, names: Names) -> Value {
        let events = self.events.iter().map(|event| {
            names.object([
                ("time_unix_nano", names.number(event.time)),
                ("name", json!(event.name)),
                ("attributes", attributes(&event.attributes, names)),
            ])
        });
        let status = self.status.clone().unwrap_or_default();
        names.object([
            ("trace_id", json!(hex(&self.trace_id))),
            ("span_id", json!(hex(&self.span_id))),
            ("parent_span_id", json!(hex(&self.parent_span_id))),
            ("name", json!(self.name)),
            ("start_time_unix_nano", names.number(self.start)),
            ("end_time_unix_nano", names.number(self.end)),
            ("attributes", attributes(&self.attributes, names)),
            ("events", json!(events.collect::<Vec<_>>())),
            ("status", json!({"message": status.message, "code": status.code})),
        ])
    }
}

impl Record for LogRecord {
    const NAMES: [&'static str; 3] = ["resource_logs", "scope_logs", "log_records"];

    fn to_json(&self, names: Names) -> Value {
        names.object([
            ("time_unix_nano", names.number(self.time)),
            ("observed_time_unix_nano", names.number(self.observed)),
            ("severity_number", json!(self.severity)),
            ("body", self.body.as_ref().map_or(Value::Null, |body| value(body, names))),
            ("attributes", attributes(&self.attributes, names)),
            ("span_id", json!(hex(&self.span_id))),
        ])
    }
}

fn attributes(attributes: &[KeyValue], names: Names) -> Value {
    let value = |pair: &KeyValue| pair.value.as_ref().map_or(Value::Null, |found| value(found, names));
    attributes.iter().map(|pair| json!({"key": pair.key, "value": value(pair)})).collect()
}

fn value(value: &AnyValue, names: Names) -> Value {
    match &value.value {
        None => json!({}),
        Some(AnyValueOf::Text(text)) => names.object([("string_value", json!(text))]),
        Some(AnyValueOf::Bool(bool)) => names.object([("bool_value", json!(bool))]),
        Some(AnyValueOf::Int(number)) if names == Names::Snake => names.object([("int_value", json!(number))]),
        Some(AnyValueOf::Int(number)) => names.object([("int_value", json!(number.to_string()))]),
        Some(AnyValueOf::Double(number)) => names.object([("double_value", json!(number))]),
        Some(AnyValueOf::Array(_)) => names.object([("array_value", json!({"values": []}))]),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap().to_ascii_uppercase();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A request of each record.
pub fn split<S: Record>(body: &[u8]) -> Vec<Vec<u8>> {
    let request = Request::<S>::decode(body).unwrap();
    let mut bodies = Vec::new();
    for group in &request.resources {
        for list in &group.scopes {
            for record in &list.records {
                let scopes = vec![Scopes { scope: list.scope.clone(), records: vec![record.clone()] }];
                let resources = vec![Resources { resource: group.resource.clone(), scopes }];
                bodies.push(Request { resources }.encode_to_vec());
            }
        }
    }
    bodies
}

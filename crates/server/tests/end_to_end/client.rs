//! A client as others would write one: HTTP, JSON, a key.

use crate::process::PATIENCE;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::Write;

const INGEST_PATH: &str = "/api/v1/ingest/calls";

/// Asks one server with one key.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    key: Option<String>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    /// What a question was answered about.
    pub answered_window: Option<String>,
    pub text: String,
}

impl Answer {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless it is a clear refusal of what may be tried again.
    pub fn assert_is_for_later(&self) {
        assert_eq!((self.status, self.content_type.as_str()), (503, "application/problem+json"), "{self:?}");
        let code = self.json()["code"].clone();
        assert!(code == "unavailable" || code == "overloaded", "{self:?}");
        assert!(self.retry_after.as_ref().is_some_and(|after| after.parse::<u32>().is_ok()), "{self:?}");
    }
}

/// How records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    pub shape: Shape,
    pub packing: Packing,
}

/// How a body holds records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Ndjson,
    Array,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Transport {
    pub const NDJSON: Self = Self { shape: Shape::Ndjson, packing: Packing::Plain };

    /// Every way there is.
    pub const ALL: [Self; 6] = {
        const fn transport(shape: Shape, packing: Packing) -> Transport {
            Transport { shape, packing }
        }
        [
            Self::NDJSON,
            transport(Shape::Ndjson, Packing::Gzip),
            transport(Shape::Ndjson, Packing::Zstd),
            transport(Shape::Array, Packing::Plain),
            transport(Shape::Array, Packing::Gzip),
            transport(Shape::Array, Packing::Zstd),
        ]
    };
}

/// Records as one line each.
pub fn ndjson(records: &[Value]) -> Vec<u8> {
    records.iter().flat_map(|record| format!("{record}\n").into_bytes()).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

impl Client {
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        Self { agent: config.into(), url: url.to_owned(), key: key.map(str::to_owned) }
    }

    /// Gets a path, with its query.
    pub fn get(&self, path: &str) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key);
        }
        answer(request.call()).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Gets a path whose bytes may be anything: the status, and how many there are.
    pub fn get_bytes(&self, path: &str) -> (u16, usize) {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_vec().unwrap().len())
    }

    /// Asks an analytics endpoint, which must answer.
    pub fn ask(&self, question: &str) -> Value {
        let answer = self.get(&format!("/api/v1/analytics/{question}"));
        assert_eq!(answer.status, 200, "{question}: {answer:?}");
        answer.json()
    }

    /// Sends records; fails when the server goes away before it has answered.
    pub fn try_send(&self, records: &[Value], transport: Transport) -> Result<Answer, ureq::Error> {
        let (media_type, body) = match transport.shape {
            Shape::Ndjson => ("application/x-ndjson", ndjson(records)),
            Shape::Array => ("application/json", serde_json::to_vec(records).unwrap()),
        };
        let mut request = self.agent.post(format!("{}{INGEST_PATH}", self.url)).content_type(media_type);
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key);
        }
        answer(match transport.packing {
            Packing::Plain => request.send(body),
            Packing::Gzip => request.header("Content-Encoding", "gzip").send(gzip(&body)),
            Packing::Zstd => request.header("Content-Encoding", "zstd").send(zstd(&body)),
        })
    }

    /// Sends records, of which none may be refused, and gives the number of samples that were dropped.
    pub fn send(&self, records: &[Value], transport: Transport) -> u64 {
        let answer = self.try_send(records, transport).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        assert_eq!((&json["accepted"], &json["rejected"]), (&records.len().into(), &Value::Array(Vec::new())));
        json["dropped_samples"].as_u64().unwrap()
    }

    /// Posts a body to a path.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url)).content_type(content_type);
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key);
        }
        answer(request.send(body)).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Puts one record at its own path.
    pub fn put(&self, record: &Value) -> Answer {
        let path = format!("{INGEST_PATH}/{}", record["call_id"].as_str().unwrap());
        let mut request = self.agent.put(format!("{}{path}", self.url)).content_type("application/json");
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key);
        }
        answer(request.send(record.to_string())).unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }
}

fn answer(received: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, ureq::Error> {
    let mut response = received?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (content_type, retry_after) = (header("content-type").unwrap_or_default(), header("retry-after"));
    let (status, answered_window) = (response.status().as_u16(), header("x-answered-window"));
    Ok(Answer { status, content_type, retry_after, answered_window, text: response.body_mut().read_to_string()? })
}

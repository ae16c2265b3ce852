//! Reads captures, and makes facts of their requests.

use callscope_connectors::extraction::{CallFacts, Extracted, ExtractionSettings, extract_logs, extract_spans};
use callscope_connectors::livekit_upload::{Recording, RecordingReader};
use callscope_connectors::otlp::Encoding;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One run of a framework.
pub struct Capture {
    pub name: String,
    pub requests: Vec<Request>,
    pub expected: Value,
}

/// One request, unpacked.
pub enum Request {
    Traces(Vec<u8>),
    Logs(Vec<u8>),
    Recording(Vec<u8>),
}

/// When requests of captures arrive: after all of them.
pub fn received_at() -> DateTime<Utc> {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

pub fn all() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures");
    let captures: Vec<Capture> = sorted(&folder).iter().map(|folder| read(folder)).collect();
    assert_eq!(captures.len(), 25);
    captures
}

pub fn named(name: &str) -> Capture {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures").join(name))
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn read(folder: &Path) -> Capture {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let (mut requests, mut expected) = (Vec::new(), Value::Null);
    for path in sorted(folder) {
        let bytes = std::fs::read(&path).unwrap();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        match file.split_once('_').map_or(&*file, |(_, kind)| kind) {
            "traces" => requests.push(Request::Traces(bytes)),
            "logs" => requests.push(Request::Logs(bytes)),
            "recording" => requests.push(Request::Recording(bytes)),
            "expected" => expected = serde_json::from_slice(&bytes).unwrap(),
            other => panic!("{other} is no request"),
        }
    }
    Capture { name, requests, expected }
}

impl Request {
    pub fn facts(&self) -> Vec<CallFacts> {
        match self {
            Self::Traces(body) => spans(body, Encoding::Protobuf).calls,
            Self::Logs(body) => logs(body, Encoding::Protobuf).calls,
            Self::Recording(body) => of_recording(body),
        }
    }
}

pub fn spans(body: &[u8], encoding: Encoding) -> Extracted {
    extract_spans(body, encoding, &ExtractionSettings::default(), received_at()).unwrap()
}

pub fn logs(body: &[u8], encoding: Encoding) -> Extracted {
    extract_logs(body, encoding, &ExtractionSettings::default(), received_at()).unwrap()
}

/// The facts of a recording. A simulation, or one that tells nothing, has none.
fn of_recording(body: &[u8]) -> Vec<CallFacts> {
    let boundary = body[2..].split(|byte| *byte == b'\r').next().unwrap();
    let content_type = format!("multipart/form-data; boundary={}", String::from_utf8_lossy(boundary));
    let mut reader = RecordingReader::new(&content_type).unwrap();
    reader.push(body).unwrap();
    let Recording::Report(report) = reader.finish().unwrap() else { return Vec::new() };
    report.into_fact(received_at()).map(|(key, fact)| CallFacts { key, facts: vec![fact] }).into_iter().collect()
}

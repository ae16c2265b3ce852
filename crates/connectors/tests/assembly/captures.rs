//! Reads captures, and makes facts of their requests.

use callscope_connectors::extraction::{CallFacts, session_report};
use callscope_connectors::extraction::{Extracted, ExtractionSettings, SessionEnd, extract_logs, extract_spans};
use callscope_connectors::facts::{Model, ReportedSession, ReportedTurn, Sample, Tokens, latency_us};
use callscope_connectors::otlp::Encoding;
use callscope_domain::ProviderType;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    Recording(Value),
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
            "recording" => requests.push(Request::Recording(serde_json::from_slice(&bytes).unwrap())),
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
            Self::Recording(recording) => vec![of_recording(recording)],
        }
    }
}

pub fn spans(body: &[u8], encoding: Encoding) -> Extracted {
    extract_spans(body, encoding, &ExtractionSettings::default(), received_at()).unwrap()
}

pub fn logs(body: &[u8], encoding: Encoding) -> Extracted {
    extract_logs(body, encoding, &ExtractionSettings::default(), received_at()).unwrap()
}

/// The fact of a recording's header and dialogue, as the data set has them.
fn of_recording(recording: &Value) -> CallFacts {
    let summary = &recording["summary"];
    let messages = recording["messages"].as_array().unwrap();
    let count = |value: &Value| u32::try_from(value.as_u64().unwrap_or(0)).unwrap();
    let tokens = |usage: &Value, name: &str| usage[name].as_u64().unwrap_or(0);
    let usage = summary["usage"].as_array().into_iter().flatten().filter(|usage| usage["type"] == "llm_usage");
    let report = ReportedSession {
        close_reason: close_reason(summary["close_reason"].as_str()).map(Arc::from),
        error_counts: ["stt", "llm", "tts"].map(|service| count(&summary["errors"][service])),
        tokens: usage.fold(Tokens::default(), |sum, usage| {
            sum.plus(Tokens {
                input: tokens(usage, "input_tokens"),
                output: tokens(usage, "output_tokens"),
                cached_input: tokens(usage, "input_cached_tokens"),
            })
        }),
        turns: messages.iter().map(turn).collect(),
    };
    let ended_at = summary["timestamp"].as_f64();
    let ended_at = ended_at.or_else(|| messages.last()?["created_at"].as_f64()).unwrap();
    let end = SessionEnd {
        room_id: recording["room_id"].as_str().unwrap(),
        job_id: recording["job_id"].as_str().unwrap(),
        agent_name: summary["agent_name"].as_str().unwrap_or(""),
        ended_at_us: microseconds(ended_at),
        duration_us: recording["duration_ms"].as_i64().unwrap() * 1000,
    };
    let (key, fact) = session_report(&end, report, received_at()).unwrap();
    CallFacts { key, facts: vec![fact] }
}

fn turn(message: &Value) -> ReportedTurn {
    let metrics = &message["metrics"];
    let stages = [
        (ProviderType::Stt, "transcription_delay", "stt_metadata"),
        (ProviderType::Llm, "llm_node_ttft", "llm_metadata"),
        (ProviderType::Tts, "tts_node_ttfb", "tts_metadata"),
    ];
    let samples = stages.iter().filter_map(|(stage, seconds, model)| {
        let text = |name: &str| metrics[model][name].as_str().map(Arc::from);
        let model = Arc::new(Model { provider: text("model_provider"), name: text("model_name") });
        Some(Sample { stage: *stage, model, latency_us: latency_us(metrics[seconds].as_f64()?)? })
    });
    ReportedTurn {
        is_user: message["role"] == "user",
        is_interrupted: message["interrupted"] == true,
        latency_us: metrics["e2e_latency"].as_f64().and_then(latency_us),
        samples: samples.collect(),
    }
}

fn close_reason(code: Option<&str>) -> Option<&'static str> {
    match code? {
        "CR_ERROR" => Some("error"),
        "CR_JOB_SHUTDOWN" => Some("job_shutdown"),
        "CR_PARTICIPANT_DISCONNECTED" => Some("participant_disconnected"),
        "CR_USER_INITIATED" => Some("user_initiated"),
        "CR_COMPLETED" => Some("task_completed"),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
fn microseconds(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

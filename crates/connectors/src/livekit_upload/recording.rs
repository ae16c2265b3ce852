//! The recording that an agent posts once, at the end of its session: a header with the session's summary, the chat history,
//! and the audio.
//!
//! Of the chat history only roles, times and metrics are read; the text is skipped. The audio is discarded as it arrives.

use super::multipart::{MultipartFault, MultipartReader, PartSink};
use crate::facts::{Model, NAME_MAX, REPORTED_TURNS_MAX, ReportedSession, ReportedTurn, Sample, Tokens, latency_us};
use crate::json::{Items, Lenient, Maybe, Number, Text, read};
use crate::text::cut;
use callscope_domain::{CALL_DURATION_MAX, MODEL_MAX, ProviderType};
use chrono::{DateTime, TimeDelta, Utc};
use prost::Message;
use serde::Deserialize;
use std::sync::Arc;

/// Bytes of the part `header`.
pub const HEADER_MAX: usize = 1 << 20;
/// Bytes of the part `chat_history`. A longer one is not read, so that it does not cost the report.
pub const CHAT_HISTORY_MAX: usize = 16 << 20;
/// Bytes of a whole recording. All but the two parts above is audio and is discarded.
pub const RECORDING_MAX: u64 = 1 << 30;
/// No call is longer: a longer duration counts as this one.
const DURATION_MAX: TimeDelta = TimeDelta::microseconds(CALL_DURATION_MAX.as_micros());

/// The content of a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Recording {
    /// How a session went.
    Report(Box<SessionReport>),
    /// The session was a simulation and is not counted.
    Simulated,
    /// It names no room, or no time of the session's end.
    NothingTold,
}

/// Why a recording is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingFault {
    /// The body is no multipart form.
    #[error(transparent)]
    Multipart(#[from] MultipartFault),
    /// There is no header, or it is longer than its bound or no `MetricsRecordingHeader`.
    #[error("The recording's header is missing or malformed.")]
    Header,
    /// Longer than [`RECORDING_MAX`].
    #[error("The recording is too large.")]
    TooLarge,
}

/// The report of a session. [`SessionReport::into_fact`] makes the fact of its call.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionReport {
    /// The sid of the room: the key of the call.
    pub room_id: String,
    /// The job that ran the session. A job reports once.
    pub job_id: String,
    /// The name of the agent's deployment.
    pub agent_name: Option<String>,
    /// When the session began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How it went.
    pub session: ReportedSession,
}

/// Reads a recording as it arrives.
#[derive(Debug)]
pub struct RecordingReader {
    multipart: MultipartReader,
    parts: Parts,
    taken: u64,
}

impl RecordingReader {
    /// A reader of a body with this `Content-Type`.
    pub fn new(content_type: &str) -> Result<Self, RecordingFault> {
        Ok(Self { multipart: MultipartReader::new(content_type)?, parts: Parts::default(), taken: 0 })
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), RecordingFault> {
        self.taken += bytes.len() as u64;
        if self.taken > RECORDING_MAX {
            return Err(RecordingFault::TooLarge);
        }
        self.multipart.push(bytes, &mut self.parts)
    }

    /// The body has ended.
    pub fn finish(self) -> Result<Recording, RecordingFault> {
        self.multipart.finish()?;
        let header = self.parts.header.ok_or(RecordingFault::Header)?;
        let header = Header::decode(header.as_slice()).map_err(|_| RecordingFault::Header)?;
        if header.simulated {
            return Ok(Recording::Simulated);
        }
        // A chat history that cannot be read costs the turns, not the report.
        let chat = self.parts.chat_history.and_then(|json| read::<ChatHistory>(&json).ok()).unwrap_or_default();
        Ok(report(&header, &chat).map_or(Recording::NothingTold, |report| Recording::Report(Box::new(report))))
    }
}

/// The parts that are kept.
#[derive(Debug, Default)]
struct Parts {
    current: Part,
    header: Option<Vec<u8>>,
    /// `None` too if it was longer than its bound.
    chat_history: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    Header,
    ChatHistory,
    #[default]
    Other,
}

impl PartSink for Parts {
    type Fault = RecordingFault;

    fn begin(&mut self, name: &str) -> Result<(), RecordingFault> {
        self.current = match name {
            "header" => Part::Header,
            "chat_history" => Part::ChatHistory,
            _ => Part::Other,
        };
        // A part that comes again replaces the first, so that both together stay within the bound of one.
        match self.current {
            Part::Header => self.header = Some(Vec::new()),
            Part::ChatHistory => self.chat_history = Some(Vec::new()),
            Part::Other => {}
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), RecordingFault> {
        match (self.current, &mut self.header, &mut self.chat_history) {
            (Part::Header, Some(header), _) => {
                header.extend_from_slice(bytes);
                if header.len() > HEADER_MAX { Err(RecordingFault::Header) } else { Ok(()) }
            }
            (Part::ChatHistory, _, Some(history)) if history.len() + bytes.len() <= CHAT_HISTORY_MAX => {
                history.extend_from_slice(bytes);
                Ok(())
            }
            (Part::ChatHistory, ..) => {
                self.chat_history = None;
                Ok(())
            }
            (Part::Header | Part::Other, ..) => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), RecordingFault> {
        self.current = Part::Other;
        Ok(())
    }
}

/// `livekit.MetricsRecordingHeader`, as far as it is read. Strings are bytes here, so that one that is no UTF-8 costs no
/// more than itself.
#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(bytes = "vec", tag = "1")]
    room_id: Vec<u8>,
    /// Milliseconds.
    #[prost(uint64, tag = "3")]
    duration: u64,
    #[prost(bytes = "vec", tag = "8")]
    job_id: Vec<u8>,
    #[prost(bool, tag = "9")]
    simulated: bool,
    /// JSON; since livekit-agents 1.8.9.
    #[prost(bytes = "vec", tag = "11")]
    session_summary: Vec<u8>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Summary {
    timestamp: Maybe<Number>,
    close_reason: Maybe<Text>,
    errors: Lenient<ErrorCounts>,
    agent_name: Maybe<Text>,
    usage: Lenient<Items<Usage>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorCounts {
    stt: Maybe<Number>,
    llm: Maybe<Number>,
    tts: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    r#type: Maybe<Text>,
    input_tokens: Maybe<Number>,
    output_tokens: Maybe<Number>,
    input_cached_tokens: Maybe<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChatHistory {
    items: Lenient<Items<Item>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    r#type: Maybe<Text>,
    role: Maybe<Text>,
    created_at: Maybe<Number>,
    interrupted: Maybe<bool>,
    metrics: Lenient<Metrics>,
}

/// Seconds.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    transcription_delay: Maybe<Number>,
    llm_node_ttft: Maybe<Number>,
    tts_node_ttfb: Maybe<Number>,
    e2e_latency: Maybe<Number>,
    stt_metadata: Lenient<Metadata>,
    llm_metadata: Lenient<Metadata>,
    tts_metadata: Lenient<Metadata>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    model_name: Maybe<Text>,
    model_provider: Maybe<Text>,
}

fn report(header: &Header, chat: &ChatHistory) -> Option<SessionReport> {
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.is_empty() && !text.contains('\0'));
    let summary: Summary = read(&header.session_summary).unwrap_or_default();
    let last_message = || chat.items.iter().filter_map(|item| item.created_at.and_then(Number::as_unix_seconds)).max();
    let ended_at = summary.timestamp.and_then(Number::as_unix_seconds).or_else(last_message)?;
    let duration = i64::try_from(header.duration).ok().and_then(TimeDelta::try_milliseconds).unwrap_or(DURATION_MAX);
    let messages = chat.items.iter().filter(|item| item.r#type.as_deref() == Some("message"));
    Some(SessionReport {
        room_id: text(&header.room_id)?,
        job_id: text(&header.job_id).unwrap_or_default(),
        agent_name: summary.agent_name.as_deref().and_then(|name| cut(name, NAME_MAX)),
        started_at: ended_at.checked_sub_signed(duration.min(DURATION_MAX))?,
        ended_at,
        session: ReportedSession {
            close_reason: summary.close_reason.as_deref().and_then(close_reason).map(Arc::from),
            error_counts: error_counts(&summary.errors),
            tokens: summary.usage.iter().filter_map(tokens).fold(Tokens::default(), Tokens::plus),
            turns: messages.take(REPORTED_TURNS_MAX).map(turn).collect(),
        },
    })
}

/// The word of `lk.close_reason` for one of the summary's.
fn close_reason(word: &str) -> Option<&'static str> {
    match word {
        "CR_ERROR" => Some("error"),
        "CR_JOB_SHUTDOWN" => Some("job_shutdown"),
        "CR_PARTICIPANT_DISCONNECTED" => Some("participant_disconnected"),
        "CR_USER_INITIATED" => Some("user_initiated"),
        "CR_COMPLETED" => Some("task_completed"),
        _ => None,
    }
}

/// Of STT, LLM and TTS. A number past any count is none.
fn error_counts(counts: &ErrorCounts) -> [u32; 3] {
    let count = |number: &Maybe<Number>| number.and_then(|number| u32::try_from(number.count()).ok()).unwrap_or(0);
    [&counts.stt, &counts.llm, &counts.tts].map(count)
}

fn tokens(usage: &Usage) -> Option<Tokens> {
    let count = |number: &Maybe<Number>| number.map_or(0, |number| number.count().unsigned_abs());
    (usage.r#type.as_deref() == Some("llm_usage")).then(|| Tokens {
        input: count(&usage.input_tokens),
        output: count(&usage.output_tokens),
        cached_input: count(&usage.input_cached_tokens),
    })
}

fn turn(item: &Item) -> ReportedTurn {
    let metrics = &item.metrics;
    let stages = [
        (ProviderType::Stt, &metrics.transcription_delay, &metrics.stt_metadata),
        (ProviderType::Llm, &metrics.llm_node_ttft, &metrics.llm_metadata),
        (ProviderType::Tts, &metrics.tts_node_ttfb, &metrics.tts_metadata),
    ];
    let sample = |(stage, seconds, metadata): (ProviderType, &Maybe<Number>, &Lenient<Metadata>)| {
        let text = |name: &Maybe<Text>| name.as_deref().and_then(|name| cut(name, MODEL_MAX));
        let model = Model { provider: text(&metadata.model_provider), name: text(&metadata.model_name) };
        Some(Sample { stage, model: Arc::new(model), latency_us: latency(seconds)? })
    };
    ReportedTurn {
        is_user: item.role.as_deref() == Some("user"),
        is_interrupted: *item.interrupted == Some(true),
        latency_us: latency(&metrics.e2e_latency),
        samples: stages.into_iter().filter_map(sample).collect(),
    }
}

fn latency(seconds: &Maybe<Number>) -> Option<u32> {
    seconds.and_then(|seconds| latency_us(seconds.get()))
}

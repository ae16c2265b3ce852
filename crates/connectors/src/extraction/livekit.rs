//! LiveKit Agents: which of its spans and log records make which fact.

use super::{Extractor, fact_of, failure_of, key, parent_of, tokens_of};
use crate::facts::{AssemblyKey, Context, Event, Fact, FactId, Failure, Framework, NAME_MAX, REPORTED_TURNS_MAX};
use crate::facts::{ReportedSession, Speaker, latency_us};
use crate::otlp::{Attributes, LogRecord, Span};
use crate::text::cut;
use crate::times::Times;
use callscope_domain::{CALL_DURATION_MAX, EXTERNAL_ID_MAX, Level, MESSAGE_MAX, ProviderType, Service};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;

/// Longest text of metrics that is parsed; those of one request have some 500 bytes.
const METRICS_BYTES_MAX: usize = 64 << 10;
/// `WARN` in OpenTelemetry's numbers.
const SEVERITY_WARN: i32 = 13;

/// The fact of a span, if it makes one.
pub fn of_span(
    extractor: &mut Extractor<'_>,
    resource: &Attributes<'_>,
    span: &Span<'_>,
) -> Option<(AssemblyKey, Fact)> {
    let attributes = &span.attributes;
    if attributes.is_true("lk.simulation.enabled") {
        return None;
    }
    let name = |name| attributes.text(name).and_then(|text| cut(text, NAME_MAX));
    let mut sample = None;
    let mut tokens = None;
    let event = match &*span.name {
        "agent_session" => Event::Session { agent: name("lk.agent_label"), external_id: None },
        "session_close" => Event::SessionClose {
            session: parent_of(span),
            reason: name("lk.close_reason"),
            error_type: name("exception.type"),
        },
        "job_entrypoint" => Event::Job { failure: span.is_error.then(|| failure_of(span)) },
        "job_shutdown" => Event::JobShutdown { is_crash: attributes.text("lk.shutdown.reason") == Some("job crashed") },
        "user_turn" => {
            let delay = attributes.number("lk.transcription_delay");
            sample = extractor.sample(ProviderType::Stt, attributes, delay);
            turn(span, Speaker::User)
        }
        "agent_turn" => turn(span, Speaker::Agent),
        "llm_request" | "realtime_inference" => {
            tokens = Some(tokens_of(attributes));
            if !span.is_error {
                let seconds = time_to_first_token(span);
                sample = extractor.sample(ProviderType::Llm, attributes, seconds);
            }
            Event::Request { is_failed: span.is_error }
        }
        "tts_request" => Event::Request { is_failed: span.is_error },
        "tts_node" => {
            if !span.is_error {
                sample = extractor.sample(ProviderType::Tts, attributes, attributes.number("lk.response.ttfb"));
            }
            Event::Measurement
        }
        "llm_request_run" if span.is_error => attempt(extractor, span, Service::Llm),
        "tts_request_run" if span.is_error => attempt(extractor, span, Service::Tts),
        "function_tool" => Event::Tool {
            name: name("gen_ai.tool.name").or_else(|| name("lk.function_tool.name")).unwrap_or_else(|| "tool".into()),
            is_failed: attributes.is_true("lk.function_tool.is_error"),
            error_type: name("error.type"),
        },
        "on_user_turn_completed" if span.is_error => {
            Event::Problem { service: Service::Workflow, level: Level::Error, model: None, failure: failure_of(span) }
        }
        _ => return None,
    };
    let context = extractor.context(Some(resource), attributes);
    let room = attributes.text("gen_ai.conversation.id").or_else(|| attributes.text("room_id"));
    let fact = Fact { sample, tokens, ..fact_of(span, context, event) };
    Some((key(Framework::LiveKit, room, &span.trace_id), fact))
}

fn turn(span: &Span<'_>, speaker: Speaker) -> Event {
    let is_agent = speaker == Speaker::Agent;
    let agent = span.attributes.text("gen_ai.agent.name").filter(|_| is_agent);
    Event::Turn {
        session: parent_of(span),
        speaker,
        number: 0,
        is_interrupted: is_agent && span.attributes.is_true("lk.interrupted"),
        latency_us: span.attributes.number("lk.e2e_latency").filter(|_| is_agent).and_then(latency_us),
        agent: agent.and_then(|agent| cut(agent, NAME_MAX)),
        external_id: None,
    }
}

fn attempt(extractor: &mut Extractor<'_>, span: &Span<'_>, service: Service) -> Event {
    Event::Attempt {
        request: parent_of(span),
        service,
        retry: u32::try_from(span.attributes.count("lk.retry_count")).unwrap_or(u32::MAX),
        model: extractor.named_model(&span.attributes),
        failure: failure_of(span),
    }
}

/// Seconds to the first token. Before version 1.8 it was in a JSON text only.
fn time_to_first_token(span: &Span<'_>) -> Option<f64> {
    #[derive(Deserialize)]
    struct Metrics {
        ttft: Option<f64>,
    }
    let seconds = span.attributes.number("gen_ai.response.time_to_first_chunk").filter(|seconds| *seconds != 0.0);
    seconds.or_else(|| {
        let is_request = &*span.name == "llm_request";
        let metrics = span.attributes.text(if is_request { "lk.llm_metrics" } else { "lk.realtime_model_metrics" })?;
        let metrics = (metrics.len() <= METRICS_BYTES_MAX).then_some(metrics)?;
        serde_json::from_str::<Metrics>(metrics).ok()?.ttft
    })
}

/// The fact of a log record, if it makes one: errors of the STT and a crash before the session, which are in no span.
pub fn of_log(extractor: &mut Extractor<'_>, scope: &str, log: &LogRecord<'_>) -> Option<(AssemblyKey, Fact)> {
    let body = log.body.as_deref()?;
    let room: String = cut(log.attributes.text("room_id")?, EXTERNAL_ID_MAX)?;
    if log.severity < SEVERITY_WARN {
        return None;
    }
    let exception = log.attributes.text("exception.message");
    let failure = |parts: &[Option<&str>]| {
        let parts: Vec<&str> = parts.iter().copied().flatten().collect();
        let message: Arc<str> = cut(&parts.join(": "), MESSAGE_MAX).unwrap_or_else(|| "no message".into());
        Failure { at_us: log.at_us, message }
    };
    let event = if body == "unhandled exception while running the job task" {
        let kind = log.attributes.text("exception.type");
        let reason = if kind.is_none() && exception.is_none() { Some(body) } else { None };
        Event::Crash { failure: failure(&[reason, kind, exception]) }
    } else if body.starts_with("failed to recognize speech")
        || body.starts_with("STT stream ended on an unrecoverable error")
    {
        Event::Problem {
            service: Service::Stt,
            level: if body.contains("retrying in") { Level::Warning } else { Level::Error },
            model: None,
            failure: failure(&[Some(body), exception]),
        }
    } else {
        return None;
    };
    let fact = Fact {
        id: FactId::of_log(log.time_unix_nano, scope, body, &log.span_id),
        start_us: log.at_us,
        end_us: log.at_us,
        context: extractor.context(None, &log.attributes),
        sample: None,
        tokens: None,
        event,
    };
    Some((AssemblyKey { framework: Framework::LiveKit, key: room }, fact))
}

/// When and where a session was reported.
#[derive(Clone, Debug)]
pub struct SessionEnd<'a> {
    /// The room's sid. Without it the report belongs to no call.
    pub room_id: &'a str,
    /// The job.
    pub job_id: &'a str,
    /// The name of the agent's deployment; may be empty.
    pub agent_name: &'a str,
    /// Microseconds since 1970.
    pub ended_at_us: i64,
    /// In microseconds; more than 24 hours count as 24 hours.
    pub duration_us: i64,
}

/// The fact of a session's report. `None` if it names no room or no job, or if its time is implausible.
#[must_use]
pub fn session_report(
    end: &SessionEnd<'_>,
    mut report: ReportedSession,
    received_at: DateTime<Utc>,
) -> Option<(AssemblyKey, Fact)> {
    let key = AssemblyKey { framework: Framework::LiveKit, key: cut(end.room_id, EXTERNAL_ID_MAX)? };
    let job: Arc<str> = cut(end.job_id, NAME_MAX)?;
    if !Times::of_arrival(received_at).is_plausible(end.ended_at_us) {
        return None;
    }
    report.turns.truncate(REPORTED_TURNS_MAX);
    report.turns.iter_mut().for_each(|turn| turn.samples.truncate(ProviderType::ALL.len()));
    let context =
        Context { agent_name: cut(end.agent_name, NAME_MAX), job: Some(Arc::clone(&job)), ..Context::default() };
    let fact = Fact {
        id: FactId::of_report(&job),
        start_us: end.ended_at_us - end.duration_us.clamp(0, CALL_DURATION_MAX.as_micros()),
        end_us: end.ended_at_us,
        context: Arc::new(context),
        sample: None,
        tokens: None,
        event: Event::Report(Box::new(report)),
    };
    Some((key, fact))
}

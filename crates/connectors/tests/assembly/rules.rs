//! Rules of derivation that no capture shows, or not by itself.

use crate::bounds::{START, attribute, body, number, span, text};
use crate::captures::{received_at, spans};
use crate::schema::{AnyValueOf, KeyValue, Span, Status};
use crate::store::Store;
use callscope_connectors::derivation::{Derived, State};
use callscope_connectors::extraction::{CallFacts, SessionEnd, session_report};
use callscope_connectors::facts::{ReportedSession, Tokens};
use callscope_connectors::otlp::Encoding;
use callscope_connectors::report::{CallReport, EndCategory};
use callscope_domain::{CallStatus, Level, Service};

/// A span of LiveKit's, of one room and job.
fn livekit(id: u64, name: &str, parent: Option<u64>, attributes: Vec<KeyValue>) -> Span {
    let common = vec![text("room_id", "RM_1"), text("job_id", "AJ_1")];
    let mut span = span(id, name, [common, attributes].concat());
    span.parent_span_id = parent.map(|id| (id + 1).to_be_bytes().to_vec()).unwrap_or_default();
    span
}

fn failed(span: Span, message: &str) -> Span {
    Span { status: Some(Status { message: message.to_owned(), code: 2 }), ..span }
}

fn submit(store: &mut Store, records: Vec<Span>) -> Option<Derived> {
    let mut calls = spans(&body("livekit-agents", records), Encoding::Protobuf).calls;
    assert_eq!(calls.len(), 1);
    store.submit(calls.remove(0))
}

fn errors(report: &CallReport) -> Vec<(Service, Level, &str)> {
    report.errors.iter().map(|error| (error.service, error.level, &*error.message)).collect()
}

/// The report of a session of the job, 10 s after the first span.
fn report(session: ReportedSession) -> CallFacts {
    let end = SessionEnd {
        room_id: "RM_1",
        job_id: "AJ_1",
        agent_name: "receptionist",
        ended_at_us: i64::try_from(START / 1000).unwrap() + 10_000_000,
        duration_us: 10_000_000,
    };
    let (key, fact) = session_report(&end, session, received_at()).unwrap();
    CallFacts { key, facts: vec![fact] }
}

#[test]
fn nothing_opens_a_call_but_what_a_call_must_have() {
    for name in ["session_close", "job_shutdown", "job_entrypoint", "function_tool", "tts_node"] {
        assert_eq!(submit(&mut Store::default(), vec![livekit(1, name, None, Vec::new())]), None, "{name}");
    }
    for name in ["agent_session", "user_turn", "agent_turn", "llm_request", "tts_request"] {
        assert!(submit(&mut Store::default(), vec![livekit(1, name, None, Vec::new())]).is_some(), "{name}");
    }
}

#[test]
fn a_failed_attempt_is_held_back_until_its_request_is_over() {
    let retry = |retry| vec![attribute("lk.retry_count", AnyValueOf::Int(retry))];
    let attempt = |id, count| failed(livekit(id, "llm_request_run", Some(4), retry(count)), "no answer");
    let mut store = Store::default();
    let derived = submit(&mut store, vec![livekit(1, "user_turn", Some(9), Vec::new()), attempt(2, 0)]).unwrap();
    assert_eq!(errors(&derived.report), []);
    let request = failed(livekit(4, "llm_request", None, Vec::new()), "");
    let derived = submit(&mut store, vec![attempt(3, 1), request]).unwrap();
    let of = |level| (Service::Llm, level, "no answer");
    assert_eq!(errors(&derived.report), [of(Level::Warning), of(Level::Error)]);
    // A request that succeeded in the end has warnings only.
    let mut store = Store::default();
    let derived = submit(&mut store, vec![attempt(2, 0), livekit(4, "llm_request", None, Vec::new())]).unwrap();
    assert_eq!(errors(&derived.report), [of(Level::Warning)]);
    // At the end of the call nothing is held back.
    let mut store = Store::default();
    let derived = submit(&mut store, vec![attempt(2, 0), livekit(9, "agent_session", None, Vec::new())]).unwrap();
    assert_eq!(errors(&derived.report), [of(Level::Error)]);
}

#[test]
fn an_error_keeps_its_position_when_an_earlier_one_comes_later() {
    let tool = |id: u64, name: &str| {
        let is_error = attribute("lk.function_tool.is_error", AnyValueOf::Bool(true));
        livekit(id, "function_tool", None, vec![text("gen_ai.tool.name", name), is_error])
    };
    let mut store = Store::default();
    submit(&mut store, vec![livekit(1, "user_turn", Some(9), Vec::new()), tool(5, "book")]);
    let derived = submit(&mut store, vec![tool(3, "look_up")]).unwrap();
    let of = |message| (Service::Tool, Level::Error, message);
    assert_eq!(errors(&derived.report), [of("book: failed"), of("look_up: failed")]);
}

#[test]
fn a_lost_call_is_mended_by_its_end() {
    let mut store = Store::default();
    let turn = livekit(1, "user_turn", Some(9), vec![number("lk.transcription_delay", 0.5)]);
    assert_eq!(submit(&mut store, vec![turn]).unwrap().state, State::Active);
    let lost = store.records_if_idle().remove(0).1;
    assert_eq!((lost.state, lost.report.status), (State::Lost, CallStatus::Failed));
    assert_eq!(lost.report.end_reason.as_deref(), Some("telemetry_lost"));
    assert_eq!(lost.report.end_category, Some(EndCategory::Lost));
    let close = livekit(8, "session_close", Some(9), vec![text("lk.close_reason", "participant_disconnected")]);
    let derived = submit(&mut store, vec![livekit(9, "agent_session", None, Vec::new()), close]).unwrap();
    assert_eq!((derived.state, derived.report.status), (State::Ended, CallStatus::Completed));
    assert_eq!(derived.report.end_category, Some(EndCategory::CallerHangup));
    assert_eq!(derived.report.providers[0].latencies_ms, [500.0]);
}

#[test]
fn a_session_is_over_when_its_root_or_the_report_of_its_job_is_there() {
    let mut store = Store::default();
    let turn = livekit(1, "user_turn", Some(9), Vec::new());
    assert_eq!(submit(&mut store, vec![turn]).unwrap().state, State::Active);
    let tokens = Tokens { input: 30, output: 5, cached_input: 0 };
    let session = ReportedSession { close_reason: Some("user_initiated".into()), tokens, ..ReportedSession::default() };
    let derived = store.submit(report(session)).unwrap();
    assert_eq!((derived.state, derived.report.total_tokens), (State::Ended, Some(35)));
    assert_eq!(derived.report.ended_at.unwrap() - derived.report.started_at, chrono::TimeDelta::seconds(10));
    // Another session of another job is open again.
    let mut other = livekit(2, "user_turn", Some(10), Vec::new());
    other.attributes[1] = text("job_id", "AJ_2");
    assert_eq!(submit(&mut store, vec![other]).unwrap().state, State::Active);
    assert_eq!(submit(&mut store, vec![livekit(10, "agent_session", None, Vec::new())]).unwrap().state, State::Ended);
}

#[test]
fn counted_errors_stand_for_services_without_an_error_of_their_own() {
    let mut store = Store::default();
    let session = || ReportedSession { error_counts: [2, 1, 0], ..ReportedSession::default() };
    let derived = store.submit(report(session())).unwrap();
    let of = |service, count| (service, Level::Error, count);
    let stt = of(Service::Stt, "2 errors, reported at the end of the session");
    assert_eq!(errors(&derived.report), [stt, of(Service::Llm, "1 errors, reported at the end of the session")]);
    let request = failed(livekit(4, "llm_request", None, Vec::new()), "");
    let attempt = failed(livekit(3, "llm_request_run", Some(4), Vec::new()), "no answer");
    let derived = submit(&mut store, vec![request, attempt]).unwrap();
    assert_eq!(errors(&derived.report), [stt, of(Service::Llm, "no answer")]);
}

#[test]
fn a_job_that_failed_ends_the_call_and_a_crash_in_its_shutdown_only_fails_it() {
    let mut store = Store::default();
    let shutdown = livekit(5, "job_shutdown", None, vec![text("lk.shutdown.reason", "job crashed")]);
    let turn = livekit(1, "user_turn", Some(9), Vec::new());
    assert_eq!(submit(&mut store, vec![turn, shutdown]).unwrap().state, State::Active);
    let job = failed(livekit(7, "job_entrypoint", None, Vec::new()), "ValueError");
    let derived = submit(&mut store, vec![job]).unwrap();
    assert_eq!((derived.state, derived.report.status), (State::Ended, CallStatus::Failed));
    assert_eq!(derived.report.end_reason.as_deref(), Some("agent_crashed"));
    assert_eq!(errors(&derived.report), [(Service::Workflow, Level::Error, "ValueError")]);
}

#[test]
fn conversations_of_one_trace_are_counted() {
    let of = |id: u64, conversation: &str| span(id, "conversation", vec![text("conversation.id", conversation)]);
    let calls = spans(&body("pipecat", vec![of(1, "a"), of(2, "b"), of(3, "a")]), Encoding::Protobuf).calls;
    let derived = Store::default().submit(calls.into_iter().next().unwrap()).unwrap();
    assert_eq!((derived.conversations, derived.report.external_id.as_deref()), (2, Some("a")));
}

#[test]
fn the_workflow_is_what_the_user_calls_it_before_what_the_service_is_called() {
    let workflow_of = |attributes: Vec<KeyValue>| {
        let derived = submit(&mut Store::default(), vec![livekit(1, "agent_session", None, attributes)]);
        derived.unwrap().report.workflow
    };
    assert_eq!(workflow_of(Vec::new()), None);
    let deployed = workflow_of(vec![text("lk.agent_name", "Front Desk")]).unwrap();
    assert_eq!((deployed.slug.as_deref(), deployed.name.as_deref()), (Some("front-desk"), Some("Front Desk")));
    let named = vec![text("lk.agent_name", "desk"), text("workflow", "b"), text("callscope.workflow", "daily-call")];
    let named = workflow_of(named).unwrap();
    assert_eq!((named.slug.as_deref(), named.name.as_deref()), (Some("daily-call"), None));
}

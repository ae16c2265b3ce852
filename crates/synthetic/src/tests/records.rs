//! The rules of ingestion, for each record by itself.

use serde_json::{Value, json};

use super::{CallRecord, CallStatus, ErrorLevel, Generator, Profile, TimeDelta, calls, instant, monday, write_ndjson};
use crate::{
    CallOutcome, Direction, EndCategory, ErrorRecord, ErrorService, ProviderType, ProviderUse, Tags, WorkflowRef,
};

fn is_slug(slug: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = slug.as_bytes();
    (1..=64).contains(&bytes.len())
        && word(bytes[0])
        && bytes.iter().all(|&byte| word(byte) || byte == b'_' || byte == b'-')
}

fn assert_accepted(record: &CallRecord) {
    let ended_at = record.ended_at.unwrap();
    let duration = ended_at - record.started_at;
    assert_ne!(record.status, CallStatus::Active);
    assert!(record.end_reason.is_some());
    assert!((TimeDelta::zero()..=TimeDelta::hours(24)).contains(&duration));
    assert_eq!(ended_at.timestamp_subsec_nanos() % 1_000_000, 0);
    assert_eq!(record.call_id.get_version_num(), 4);
    if let Some(workflow) = &record.workflow {
        assert!(is_slug(&workflow.slug), "{}", workflow.slug);
    }
    for latency in record.providers.iter().flat_map(|used| &used.latencies_ms) {
        assert!(*latency > 0.0 && *latency <= 600_000.0);
        assert!(format!("{latency}").split('.').nth(1).unwrap_or("").len() <= 1);
    }
    for error in &record.errors {
        assert!((record.started_at..=ended_at).contains(&error.timestamp));
        assert!(!error.message.contains('{'), "{}", error.message);
        assert!(error.details.as_ref().is_some_and(Value::is_object));
    }
    assert!(record.errors.is_sorted_by_key(|error| error.timestamp));
    assert!(record.providers.is_sorted_by_key(|used| used.provider_type));
}

#[test]
fn every_record_keeps_the_rules_of_ingestion() {
    let odd = Profile { workflows: 200, failure_rate: 0.5, error_rate: 0.5, fallback_rate: 0.5, ..Profile::default() };
    for profile in [Profile::default(), odd] {
        calls(1, &profile, 20_000).iter().for_each(assert_accepted);
    }
}

#[test]
fn a_start_between_milliseconds_is_cut() {
    let mut generator = Generator::new(1, Profile::default());
    let call = generator.call(instant("2026-01-12T10:00:00.123456789Z"));
    assert_eq!(call.started_at, instant("2026-01-12T10:00:00.123Z"));
}

#[test]
fn a_live_call_finishes_as_the_call_it_stands_for() {
    let mut live = Generator::new(5, Profile::default());
    let mut plain = Generator::new(5, Profile::default());
    for _ in 0..1000 {
        let call = live.live_call(monday());
        assert_eq!(call.finished, plain.call(monday()));
        assert_eq!(call.active.call_id, call.finished.call_id);
        assert_eq!(call.active.started_at, call.finished.started_at);
        assert_eq!(call.active.workflow, call.finished.workflow);
        assert_eq!(call.active.status, CallStatus::Active);
        assert_eq!((call.active.ended_at, call.active.end_reason), (None, None));
        assert!(call.active.providers.is_empty());
        assert_eq!((&call.active.external_id, &call.active.tags), (&call.finished.external_id, &call.finished.tags));
        assert_eq!((call.active.turns, call.active.outcome, call.active.cost_usd), (None, None, None));
    }
}

#[test]
fn a_record_has_the_shape_of_the_wire() {
    let record = CallRecord {
        source: Some("livekit"),
        external_id: Some("RM_x2yGmRa".to_owned()),
        status: CallStatus::Completed,
        ended_at: Some(instant("2026-01-17T10:33:00.25Z")),
        end_reason: Some("user_hangup".to_owned()),
        end_category: Some(EndCategory::CallerHangup),
        outcome: Some(CallOutcome::Success),
        workflow: Some(WorkflowRef {
            slug: "daily-call".to_owned(),
            name: Some("Daily Health Check".to_owned()),
            id: None,
        }),
        agent: Some("greeter-agent".to_owned()),
        agent_version: Some("2026-01-12"),
        environment: Some("production"),
        direction: Some(Direction::Inbound),
        language: Some("en-US"),
        tags: Some(Tags { campaign: Some("spring"), ..Tags::default() }),
        turns: Some(9),
        interruptions: Some(1),
        tool_calls: Some(2),
        turn_latencies_ms: vec![812.0, 1040.5],
        total_tokens: 1500,
        input_tokens: Some(1320),
        output_tokens: Some(180),
        cached_input_tokens: Some(900),
        cost_usd: Some(0.0431),
        providers: vec![ProviderUse {
            provider_type: ProviderType::Stt,
            provider_name: "deepgram".to_owned(),
            model: Some("nova-3"),
            latencies_ms: vec![118.2, 131.5],
        }],
        errors: vec![ErrorRecord {
            timestamp: instant("2026-01-17T10:31:00Z"),
            service: ErrorService::Stt,
            level: ErrorLevel::Error,
            provider_name: Some("deepgram"),
            message: "Connection timeout to Deepgram".to_owned(),
            details: Some(json!({"timeout_ms": 5000})),
            agent: Some("meal-agent".to_owned()),
        }],
        ..CallRecord::active("31c02e4f-12e0-4af0-869b-aab222503a09".parse().unwrap(), instant("2026-01-17T10:30:00Z"))
    };
    let expected = json!({
        "call_id": "31c02e4f-12e0-4af0-869b-aab222503a09",
        "source": "livekit",
        "external_id": "RM_x2yGmRa",
        "status": "completed",
        "started_at": "2026-01-17T10:30:00Z",
        "ended_at": "2026-01-17T10:33:00.250Z",
        "end_reason": "user_hangup",
        "end_category": "caller_hangup",
        "outcome": "success",
        "workflow": {"slug": "daily-call", "name": "Daily Health Check"},
        "agent": "greeter-agent",
        "agent_version": "2026-01-12",
        "environment": "production",
        "direction": "inbound",
        "language": "en-US",
        "tags": {"campaign": "spring"},
        "turns": 9,
        "interruptions": 1,
        "tool_calls": 2,
        "turn_latencies_ms": [812.0, 1040.5],
        "total_tokens": 1500,
        "input_tokens": 1320,
        "output_tokens": 180,
        "cached_input_tokens": 900,
        "cost_usd": 0.0431,
        "providers": [
            {"provider_type": "stt", "provider_name": "deepgram", "model": "nova-3", "latencies_ms": [118.2, 131.5]},
        ],
        "errors": [{
            "timestamp": "2026-01-17T10:31:00Z", "service": "stt", "level": "error", "provider_name": "deepgram",
            "message": "Connection timeout to Deepgram", "details": {"timeout_ms": 5000},
            "agent": "meal-agent",
        }],
    });
    assert_eq!(serde_json::to_value(&record).unwrap(), expected);
}

#[test]
fn an_active_record_leaves_out_what_it_does_not_know() {
    let active = Generator::new(1, Profile::default()).live_call(monday()).active;
    let json = serde_json::to_value(&active).unwrap();
    assert_eq!(json["status"], "active");
    assert_eq!(json.get("ended_at"), None);
    assert_eq!(json.get("end_reason"), None);
}

#[test]
fn ndjson_has_one_line_for_each_record() {
    let records = calls(1, &Profile::default(), 50);
    let mut body = Vec::new();
    write_ndjson(&mut body, &records).unwrap();
    let text = String::from_utf8(body).unwrap();
    assert!(text.ends_with('\n'));
    let ids: Vec<String> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["call_id"].to_string()).collect();
    let expected: Vec<String> = records.iter().map(|record| format!("\"{}\"", record.call_id)).collect();
    assert_eq!(ids, expected);
}

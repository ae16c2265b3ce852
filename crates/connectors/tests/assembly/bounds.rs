//! Hostile and damaged input: what it may cost, and what it cannot do.

use crate::captures::{self, Capture, Request, received_at, spans};
use crate::schema::{AnyValue, AnyValueOf, Array, KeyValue, Request as Message, Resources, Scope, Scopes, Span};
use crate::store::identity;
use callscope_connectors::assembly::{
    Assembly, ENDING_BYTES_MAX, ENDING_FACTS_MAX, FACT_BYTES_MAX, MESSAGE_BYTES_MAX, REPORTS_PER_CALL_MAX,
    SEGMENTS_MAX, SHORT_MESSAGE_MAX, Write,
};
use callscope_connectors::derivation::{ReportedErrors, State};
use callscope_connectors::extraction::{ExtractionSettings, SessionEnd, extract_logs, extract_spans, session_report};
use callscope_connectors::facts::{Event, Fact, REPORTED_TURNS_MAX, ReportedSession, ReportedTurn, Sample};
use callscope_connectors::mapping::provider_of_telemetry;
use callscope_connectors::otlp::{ATTRIBUTES_MAX, Encoding};
use callscope_connectors::segment;
use callscope_domain::ProviderType;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;
use std::sync::{Arc, LazyLock};

pub const START: u64 = 1_795_335_372_000_000_000;
const START_US: i64 = 1_795_335_372_000_000;

pub fn text(key: &str, text: &str) -> KeyValue {
    attribute(key, AnyValueOf::Text(text.to_owned()))
}

pub fn number(key: &str, number: f64) -> KeyValue {
    attribute(key, AnyValueOf::Double(number))
}

pub fn attribute(key: &str, value: AnyValueOf) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

pub fn span(id: u64, name: &str, attributes: Vec<KeyValue>) -> Span {
    let start = START + id * 1_000_000;
    Span {
        trace_id: vec![7; 16],
        span_id: (id + 1).to_be_bytes().to_vec(),
        parent_span_id: Vec::new(),
        name: name.to_owned(),
        start,
        end: start + 500_000,
        attributes,
        events: Vec::new(),
        status: None,
    }
}

pub fn body(scope: &str, records: Vec<Span>) -> Vec<u8> {
    let scopes = vec![Scopes { scope: Some(Scope { name: scope.to_owned() }), records }];
    Message { resources: vec![Resources { resource: None, scopes }] }.encode_to_vec()
}

fn facts(records: Vec<Span>) -> Vec<Fact> {
    spans(&body("pipecat", records), Encoding::Protobuf).calls.into_iter().flat_map(|call| call.facts).collect()
}

#[test]
fn telemetry_of_other_programs_makes_no_calls() {
    let attributes = || vec![text("room_id", "RM_1"), number("metrics.ttfb", 0.2)];
    for (scope, name) in [("web-server", "llm"), ("", "llm"), ("pipecat", "GET /"), ("livekit-agents", "GET /")] {
        let extracted = spans(&body(scope, vec![span(1, name, attributes())]), Encoding::Protobuf);
        assert_eq!((extracted.kept, extracted.ignored), (0, 1), "{scope} {name}");
    }
}

#[test]
fn simulations_are_ignored() {
    for (value, kept) in [
        (AnyValueOf::Bool(true), 0),
        (AnyValueOf::Text("True".to_owned()), 0),
        (AnyValueOf::Bool(false), 1),
        (AnyValueOf::Int(0), 1),
    ] {
        let attributes = vec![text("room_id", "RM_1"), attribute("lk.simulation.enabled", value)];
        let extracted = spans(&body("livekit-agents", vec![span(1, "agent_session", attributes)]), Encoding::Protobuf);
        assert_eq!((extracted.kept, extracted.ignored), (kept, 1 - kept));
    }
}

#[test]
fn records_past_the_limit_are_counted() {
    let settings = ExtractionSettings { records_max: 3, ..ExtractionSettings::default() };
    let body = body("pipecat", (0..5).map(|id| span(id, "tts", Vec::new())).collect());
    let extracted = extract_spans(&body, Encoding::Protobuf, &settings, received_at()).unwrap();
    assert_eq!((extracted.kept, extracted.beyond_limit), (3, 2));
}

#[test]
fn attributes_past_the_limit_of_a_record_are_not_read() {
    let fact_with = |before: usize| {
        let mut attributes: Vec<_> = (0..before).map(|name| text(&name.to_string(), "x")).collect();
        attributes.push(number("metrics.ttfb", 0.2));
        let json = attributes.iter().map(|attribute| match &attribute.value.as_ref().unwrap().value {
            Some(AnyValueOf::Double(value)) => json!({"key": attribute.key, "value": {"doubleValue": value}}),
            _ => json!({"key": attribute.key, "value": {"stringValue": "x"}}),
        });
        let json = json!({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "pipecat"}, "spans": [{
            "traceId": "07".repeat(16), "spanId": "07".repeat(8), "name": "stt", "startTimeUnixNano": START,
            "endTimeUnixNano": START, "attributes": json.collect::<Vec<_>>()}]}]}]});
        let of_protobuf = facts(vec![span(1, "stt", attributes)]).remove(0);
        let of_json = spans(json.to_string().as_bytes(), Encoding::Json).calls.remove(0).facts.remove(0);
        assert_eq!(of_json.sample, of_protobuf.sample);
        of_protobuf
    };
    assert!(fact_with(ATTRIBUTES_MAX - 1).sample.is_some());
    assert!(fact_with(ATTRIBUTES_MAX).sample.is_none());
}

#[test]
fn texts_are_cut_and_have_no_nul() {
    let mut failed = span(1, "llm", vec![text("gen_ai.provider.name", &"p".repeat(500))]);
    failed.attributes.push(text("workflow", &format!("a\0b{}", "é".repeat(500))));
    failed.status = Some(crate::schema::Status { message: format!("\0{}", "m".repeat(9_000)), code: 2 });
    let fact = &facts(vec![failed])[0];
    let Event::Problem { failure, model: Some(model), .. } = &fact.event else { panic!("{fact:?}") };
    assert_eq!(*failure.message, *"m".repeat(4_096));
    assert_eq!(model.provider.as_deref().map(str::len), Some(128));
    let workflow = fact.context.workflow.as_deref().unwrap();
    assert_eq!(workflow.chars().count(), 200);
    assert!(workflow.starts_with("abé"));
}

#[test]
fn a_text_that_is_not_utf_8_is_absent_and_costs_nothing_else() {
    let mut bytes = body("pipecat", vec![span(1, "stt", vec![text("workflow", "XYZW"), number("metrics.ttfb", 0.2)])]);
    let place = bytes.windows(4).position(|window| window == b"XYZW").unwrap();
    bytes[place] = 0xff;
    let extracted = spans(&bytes, Encoding::Protobuf);
    let fact = &extracted.calls[0].facts[0];
    assert_eq!((fact.sample.is_some(), fact.context.workflow.as_deref()), (true, None));
}

#[test]
fn lists_are_skipped_however_deep_they_are() {
    let mut value = AnyValue { value: Some(AnyValueOf::Bool(true)) };
    for _ in 0..5_000 {
        value = AnyValue { value: Some(AnyValueOf::Array(Array { values: vec![value] })) };
    }
    let deep = KeyValue { key: "input".to_owned(), value: Some(value) };
    let records = vec![span(1, "stt", vec![deep, number("metrics.ttfb", 0.2)])];
    // On a thread of its own: the test's messages are recursive where the crate's reading is not.
    let body = std::thread::Builder::new().stack_size(64 << 20).spawn(move || {
        let bytes = body("pipecat", records.clone());
        std::mem::forget(records);
        bytes
    });
    let extracted = spans(&body.unwrap().join().unwrap(), Encoding::Protobuf);
    assert!(extracted.calls[0].facts[0].sample.is_some());
    let json = format!("{{\"resourceSpans\": [], \"deep\": {}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(spans(json.as_bytes(), Encoding::Json).kept, 0);
}

#[test]
fn a_body_of_empty_records_is_read() {
    // A resource with a scope with 1,000 records of no bytes: 2 bytes each.
    let records = [0x12, 0].repeat(1_000);
    let scope = [&[0x0a, 9, 0x0a, 7][..], b"pipecat", &records].concat();
    let body = [&[0x0a, 0xde, 0x0f, 0x12, 0xdb, 0x0f][..], &scope].concat();
    assert_eq!(scope.len(), 2_011);
    assert_eq!(spans(&body, Encoding::Protobuf).invalid, 1_000);
}

#[test]
fn a_call_takes_so_many_facts_and_its_end() {
    let mut assembly = Assembly::default();
    let appended = assembly.append(facts((0..20).map(|id| span(id, "tts", Vec::new())).collect()), 10);
    assert_eq!((appended.added, appended.refused), (10, 10));
    let appended = assembly.append(facts(vec![span(20, "tts", Vec::new()), span(21, "conversation", Vec::new())]), 10);
    assert_eq!((appended.added, appended.refused), (1, 1));
    let key = spans(&body("pipecat", vec![span(1, "tts", Vec::new())]), Encoding::Protobuf).calls.remove(0).key;
    let derived = assembly.derive(&identity(&key), &ReportedErrors::default(), false, provider_of_telemetry).unwrap();
    assert_eq!(derived.state, State::Ended);
    let roots = (30..30 + 2 * ENDING_FACTS_MAX as u64).map(|id| span(id, "conversation", Vec::new())).collect();
    assert_eq!(assembly.append(facts(roots), 10).added, ENDING_FACTS_MAX - 1);
}

#[test]
fn a_repeated_request_writes_nothing() {
    let mut assembly = Assembly::default();
    let one = facts(vec![span(1, "tts", Vec::new())]);
    assert_eq!(assembly.append(one.clone(), 10).write, Write::Append(segment::encode(&one)));
    let again = assembly.append(one, 10);
    assert_eq!((again.write, again.repeated), (Write::Nothing, 1));
}

#[test]
fn facts_that_come_one_by_one_are_written_a_few_times() {
    let mut assembly = Assembly::default();
    let mut stored: Vec<Vec<u8>> = Vec::new();
    let mut written = 0;
    for id in 0..5_000 {
        let segment = match assembly.append(facts(vec![span(id, "tts", Vec::new())]), 10_000).write {
            Write::Nothing => panic!("a new fact"),
            Write::Append(segment) => segment,
            Write::Replace(first, segment) => {
                stored.truncate(first);
                segment
            }
        };
        written += segment::decode(&segment).unwrap().len();
        stored.push(segment);
        assert_eq!(assembly.segments(), stored.len());
        assert!(stored.len() <= SEGMENTS_MAX);
    }
    assert!(written <= 5 * 5_000, "{written} facts were written");
    let restored = Assembly::of_segments(stored.iter().map(Vec::as_slice)).unwrap();
    assert_eq!(restored, assembly);
}

#[test]
fn long_messages_are_kept_up_to_a_bound() {
    let failed = |id| {
        let status = Some(crate::schema::Status { message: format!("{id:0>4096}"), code: 2 });
        Span { status, ..span(id, "llm", Vec::new()) }
    };
    let mut assembly = Assembly::default();
    let appended = assembly.append(facts((0..2_000).map(failed).collect()), 10_000);
    assert_eq!(appended.added, 2_000);
    let Write::Append(segment) = appended.write else { panic!() };
    assert!(segment.len() < MESSAGE_BYTES_MAX + 2_000 * (SHORT_MESSAGE_MAX + 40), "{}", segment.len());
}

#[test]
fn names_that_differ_in_each_fact_are_kept_up_to_a_bound() {
    const FACTS_MAX: usize = 5_000;
    const BYTES_MAX: usize = FACTS_MAX * FACT_BYTES_MAX + MESSAGE_BYTES_MAX;
    let named = |name: &'static str| {
        move |id: usize| {
            let long = format!("{id:\u{1f4de}<200}");
            let names = ["workflow", "gen_ai.provider.name", "job_id"].map(|key| text(key, &long));
            span(id as u64, name, [&names[..], &[number("metrics.ttfb", 0.2)]].concat())
        }
    };
    let mut assembly = Assembly::default();
    let mut stored = Vec::new();
    for ids in [0..4_000, 4_000..8_000, 8_000..9_000] {
        let appended = assembly.append(facts(ids.map(named("tts")).collect()), FACTS_MAX);
        if let Write::Append(segment) = appended.write {
            stored.push(segment);
        }
    }
    let bytes = |stored: &[Vec<u8>]| stored.iter().map(Vec::len).sum::<usize>();
    assert!(assembly.facts().len() < FACTS_MAX);
    assert!((BYTES_MAX - 2 * FACT_BYTES_MAX..=BYTES_MAX).contains(&bytes(&stored)), "{}", bytes(&stored));
    // A server that loads the call again goes on from there, and still takes the end.
    let mut restored = Assembly::of_segments(stored.iter().map(Vec::as_slice)).unwrap();
    assert_eq!(restored.append(facts(vec![named("tts")(9_000)]), FACTS_MAX).refused, 1);
    assert_eq!(restored.append(facts(vec![named("conversation")(9_001)]), FACTS_MAX).added, 1);
    let end = SessionEnd { room_id: "RM_1", job_id: "AJ_1", agent_name: "", ended_at_us: START_US, duration_us: 0 };
    let huge = |bytes: usize| ReportedSession { close_reason: Some("x".repeat(bytes).into()), ..Default::default() };
    let report = |bytes| session_report(&end, huge(bytes), received_at()).unwrap().1;
    assert_eq!(restored.append([report(ENDING_BYTES_MAX)], FACTS_MAX).refused, 1);
    assert_eq!(restored.append([report(ENDING_BYTES_MAX / 2)], FACTS_MAX).added, 1);
}

#[test]
fn a_call_takes_so_many_reports() {
    let reported = |job: &str, session| {
        let end =
            SessionEnd { room_id: "RM_1", job_id: job, agent_name: "", ended_at_us: START_US, duration_us: i64::MAX };
        session_report(&end, session, received_at())
    };
    let of_job = |job: &str| reported(job, ReportedSession::default());
    let mut assembly = Assembly::default();
    let reports = (0..20).map(|job| of_job(&format!("AJ_{job}")).unwrap().1);
    let appended = assembly.append(reports, 1_000);
    assert_eq!((appended.added, appended.refused), (REPORTS_PER_CALL_MAX, 20 - REPORTS_PER_CALL_MAX));
    assert_eq!(assembly.facts()[0].end_us - assembly.facts()[0].start_us, 86_400_000_000);
    assert_eq!(of_job(""), None);
    let sample = Sample { stage: ProviderType::Llm, model: Arc::default(), latency_us: 1 };
    let turn = ReportedTurn { samples: vec![sample; 4], ..ReportedTurn::default() };
    let long = ReportedSession { turns: vec![turn; REPORTED_TURNS_MAX + 1], ..ReportedSession::default() };
    let Event::Report(long) = reported("AJ_1", long).unwrap().1.event else { panic!("a report") };
    assert_eq!((long.turns.len(), long.turns[0].samples.len()), (REPORTED_TURNS_MAX, 3));
}

#[test]
fn a_call_that_fails_often_has_its_first_errors() {
    let failed = |id| {
        let status = Some(crate::schema::Status { message: format!("{id} {}", "m".repeat(9_000)), code: 2 });
        Span { status, ..span(id, "llm", Vec::new()) }
    };
    let mut assembly = Assembly::default();
    assembly.append(facts((0..1_000).map(failed).collect()), 10_000);
    let key = spans(&body("pipecat", vec![span(1, "tts", Vec::new())]), Encoding::Protobuf).calls.remove(0).key;
    let derived = assembly.derive(&identity(&key), &ReportedErrors::default(), false, provider_of_telemetry).unwrap();
    crate::store::assert_acceptable(&derived);
    assert_eq!(derived.report.errors.len(), 200);
    assert!(derived.report.errors[199].message.starts_with("199 "));
    assert!(derived.report.errors.iter().map(|error| error.message.len()).sum::<usize>() <= 1_000_000);
}

static REQUESTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let captures: Vec<Capture> = captures::all();
    let requests = captures.into_iter().flat_map(|capture| capture.requests);
    let bodies = requests.filter_map(|request| match request {
        Request::Traces(body) | Request::Logs(body) => Some(body),
        Request::Recording(_) => None,
    });
    bodies.collect()
});

fn read_in_every_way(body: &[u8]) {
    let settings = ExtractionSettings::default();
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        drop(extract_spans(body, encoding, &settings, received_at()));
        drop(extract_logs(body, encoding, &settings, received_at()));
    }
    drop(segment::decode(body));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        read_in_every_way(&body);
    }

    #[test]
    fn damaged_requests_and_segments_are_read_or_refused(
        request in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let request = &REQUESTS[request.index(REQUESTS.len())];
        let facts: Vec<Fact> = spans(request, Encoding::Protobuf).calls.into_iter().flat_map(|call| call.facts).collect();
        for mut bytes in [request.clone(), segment::encode(&facts)] {
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            read_in_every_way(&bytes);
            read_in_every_way(&bytes[..cut.index(bytes.len())]);
        }
    }
}

//! How large facts are, and how long they take.

use crate::bounds::{attribute, body, number, span, text};
use crate::captures::{self, Request, spans};
use crate::schema::{AnyValueOf, Span, Status};
use crate::store::{Store, identity, short_name};
use callscope_connectors::assembly::{Assembly, FACTS_PER_CALL_MAX, Write};
use callscope_connectors::derivation::ReportedErrors;
use callscope_connectors::otlp::Encoding;
use callscope_connectors::segment;
use std::time::{Duration, Instant};

/// The body of a call with so many spans: a turn of each five.
fn long_call(count: u64) -> Vec<u8> {
    let model = || vec![text("gen_ai.provider.name", "openai"), text("gen_ai.request.model", "gpt-4.1")];
    let spans = (0..count).map(|id| match id % 5 {
        0 => span(id, "turn", vec![attribute("turn.number", AnyValueOf::Int(id.cast_signed() / 5 + 1))]),
        1 | 2 => span(id, "tts", [model(), vec![number("metrics.ttfb", 0.123_456)]].concat()),
        3 => span(id, "stt", [model(), vec![number("metrics.ttfb", 0.3)]].concat()),
        _ => {
            let tokens = attribute("gen_ai.usage.input_tokens", AnyValueOf::Int(1_234));
            span(id, "llm", [model(), vec![tokens, number("metrics.ttfb", 0.45)]].concat())
        }
    });
    body("pipecat", spans.collect())
}

#[test]
fn a_fact_takes_at_most_40_bytes() {
    let facts = spans(&long_call(1_000), Encoding::Protobuf).calls.remove(0).facts;
    assert!(segment::encode(&facts).len() <= 40 * 1_000);
    // Of calls of half a minute, texts included, as a server stores them.
    let (mut bytes, mut facts) = (0, 0);
    for name in ["livekit_normal", "livekit_two_jobs", "pipecat_normal", "pipecat_tools"] {
        let mut store = Store::default();
        store.submit_all(captures::named(name).requests.iter().flat_map(Request::facts));
        bytes += store.segments().map(<[u8]>::len).sum::<usize>();
        facts += store.segments().map(|segment| segment::decode(segment).unwrap().len()).sum::<usize>();
    }
    println!("{bytes} bytes of {facts} facts");
    assert!(bytes <= 70 * facts, "{bytes} bytes of {facts} facts");
}

/// The body of a call in which everything fails: errors with messages of their own, in so many spans.
fn failing_call(count: u64) -> Vec<u8> {
    let spans = (0..count).map(|id| {
        let status = Some(Status { message: format!("{id:0>100}"), code: 2 });
        let mut span =
            span(id, if id % 4 == 0 { "llm_request" } else { "llm_request_run" }, vec![text("room_id", "RM_1")]);
        span.parent_span_id = (id / 4 * 4 + 1).to_be_bytes().to_vec();
        Span { status, ..span }
    });
    body("livekit-agents", spans.collect())
}

#[test]
#[ignore = "a measurement: run it alone, with --release"]
fn twenty_thousand_facts_are_derived_within_20_ms() {
    for (name, body) in
        [("long", long_call(FACTS_PER_CALL_MAX as u64)), ("failing", failing_call(FACTS_PER_CALL_MAX as u64))]
    {
        let reading = Instant::now();
        let call = spans(&body, Encoding::Protobuf).calls.remove(0);
        println!("{name}: read {:?}", reading.elapsed());
        let appending = Instant::now();
        let Write::Append(stored) = Assembly::default().append(call.facts, FACTS_PER_CALL_MAX).write else { panic!() };
        println!("{name}: appended after {:?}, {} bytes", appending.elapsed(), stored.len());
        let best = (0..20).map(|_| {
            let start = Instant::now();
            let assembly = Assembly::of_segments([&*stored]).unwrap();
            let restored = start.elapsed();
            assembly.derive(&identity(&call.key), &ReportedErrors::default(), false, short_name).unwrap();
            (start.elapsed(), restored)
        });
        let (best, restored) = best.min().unwrap();
        println!("{name}: restored after {restored:?}, derived after {best:?}");
        assert!(best <= Duration::from_millis(20), "{best:?}");
    }
}

//! How large facts are.

use crate::bounds::{attribute, body, number, span, text};
use crate::captures::{self, Request, spans};
use crate::schema::AnyValueOf;
use crate::store::Store;
use callscope_connectors::otlp::Encoding;
use callscope_connectors::segment;

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

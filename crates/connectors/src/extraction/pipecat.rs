//! Pipecat: which of its spans make which fact.

use super::{Extractor, fact_of, failure_of, key, parent_of, tokens_of};
use crate::facts::{AssemblyKey, Event, Fact, Failure, Framework, Speaker, Tokens, cut, latency_us};
use crate::otlp::{Attributes, Span};
use callscope_domain::{EXTERNAL_ID_MAX, Level, ProviderType, Service};

/// The fact of a span, if it makes one.
pub fn of_span(
    extractor: &mut Extractor<'_>,
    resource: &Attributes<'_>,
    span: &Span<'_>,
) -> Option<(AssemblyKey, Fact)> {
    let attributes = &span.attributes;
    let external_id = || attributes.text("conversation.id").and_then(|id| cut(id, EXTERNAL_ID_MAX));
    let time_to_first_byte = attributes.number("metrics.ttfb");
    let mut sample = None;
    let mut tokens = None;
    let event = match &*span.name {
        "conversation" => Event::Session { agent: None, external_id: external_id() },
        "turn" => Event::Turn {
            session: parent_of(span),
            speaker: Speaker::Both,
            number: u32::try_from(attributes.count("turn.number")).unwrap_or(u32::MAX),
            is_interrupted: attributes.is_true("turn.was_interrupted"),
            latency_us: attributes.number("turn.user_bot_latency_seconds").and_then(latency_us),
            agent: None,
            external_id: external_id(),
        },
        // The span lasts as long as the user talks, so its duration is no latency.
        "stt" => {
            sample = extractor.sample(ProviderType::Stt, attributes, time_to_first_byte);
            if attributes.is_true("stt.incomplete") {
                let failure = Failure { at_us: span.end_us, message: "the transcript was never finished".into() };
                problem(extractor, attributes, Service::Stt, Level::Warning, failure)
            } else {
                Event::Measurement
            }
        }
        "llm" | "llm_response" => {
            let used = tokens_of(attributes);
            tokens = Some(used);
            if span.is_error {
                problem(extractor, attributes, Service::Llm, Level::Error, failure_of(span))
            } else {
                // A canceled request shows the time until it was canceled.
                if used != Tokens::default() || attributes.text("output").is_some() {
                    sample = extractor.sample(ProviderType::Llm, attributes, time_to_first_byte);
                }
                Event::Measurement
            }
        }
        "tts" if span.is_error => problem(extractor, attributes, Service::Tts, Level::Error, failure_of(span)),
        "tts" => {
            sample = extractor.sample(ProviderType::Tts, attributes, time_to_first_byte);
            Event::Measurement
        }
        _ => return None,
    };
    let context = extractor.context(Some(resource), attributes);
    let fact = Fact { sample, tokens, ..fact_of(span, context, event) };
    Some((key(Framework::Pipecat, None, &span.trace_id), fact))
}

fn problem(
    extractor: &mut Extractor<'_>,
    attributes: &Attributes<'_>,
    service: Service,
    level: Level,
    failure: Failure,
) -> Event {
    Event::Problem { service, level, model: extractor.named_model(attributes), failure }
}

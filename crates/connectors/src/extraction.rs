//! From OTLP requests to facts, by call. Only known scopes and names make facts, so telemetry of other programs is
//! ignored. No prompt, no transcript and no payload of a tool is read, and nothing that LiveKit marks as personal.

mod livekit;
mod pipecat;

pub use livekit::{SessionEnd, session_report};

use crate::facts::{AssemblyKey, Context, Event, Fact, FactId, Failure, Framework, LANGUAGE_MAX, MODEL_MAX, Model};
use crate::facts::{NAME_MAX, Origin, Sample, Tokens, cut, latency_us};
use crate::otlp::{self, Attributes, Encoding, RECORDS_PER_REQUEST_MAX, Reading, Span, Unreadable};
use callscope_domain::{EXTERNAL_ID_MAX, MESSAGE_MAX, ProviderType, WORKFLOW_NAME_MAX};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The attributes that name a workflow, unless configured otherwise.
pub const WORKFLOW_ATTRIBUTES: [&str; 3] = ["callscope.workflow", "workflow", "workflow.name"];

/// Settings of the extraction.
#[derive(Clone, Debug)]
pub struct ExtractionSettings {
    /// The attributes that name a workflow; the first one that a record has counts.
    pub workflow_attributes: Vec<String>,
    /// Most records of one request.
    pub records_max: usize,
}

impl Default for ExtractionSettings {
    fn default() -> Self {
        Self {
            workflow_attributes: WORKFLOW_ATTRIBUTES.map(str::to_owned).to_vec(),
            records_max: RECORDS_PER_REQUEST_MAX,
        }
    }
}

/// The facts of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extracted {
    /// By call, in the order in which the calls appear.
    pub calls: Vec<CallFacts>,
    /// Records that made a fact.
    pub kept: usize,
    /// Records that were ignored on purpose. They are not part of `partial_success`.
    pub ignored: usize,
    /// Records with an invalid id or time, to be reported in `partial_success`.
    pub invalid: usize,
    /// Records past the limit of a request, to be reported in `partial_success`.
    pub beyond_limit: usize,
}

/// The facts that one request has of one call, in the order of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct CallFacts {
    /// Which call.
    pub key: AssemblyKey,
    /// At least one.
    pub facts: Vec<Fact>,
}

/// The facts of a request with spans.
pub fn extract_spans(
    body: &[u8],
    encoding: Encoding,
    settings: &ExtractionSettings,
    received_at: DateTime<Utc>,
) -> Result<Extracted, Unreadable> {
    let mut extractor = Extractor::new(settings);
    let wants_scope = |scope: &str| framework_of_spans(scope).is_some();
    let reading = Reading { received_at, records_max: settings.records_max, wants_scope };
    let tally = otlp::read_spans(body, encoding, &reading, |resource, scope, span| {
        let fact = framework_of_spans(scope).and_then(|framework| match framework {
            Framework::LiveKit => livekit::of_span(&mut extractor, resource, &span),
            Framework::Pipecat => pipecat::of_span(&mut extractor, resource, &span),
        });
        extractor.add(fact);
    })?;
    Ok(extractor.finish(tally))
}

/// The facts of a request with log records.
pub fn extract_logs(
    body: &[u8],
    encoding: Encoding,
    settings: &ExtractionSettings,
    received_at: DateTime<Utc>,
) -> Result<Extracted, Unreadable> {
    let mut extractor = Extractor::new(settings);
    let wants_scope = |scope: &str| scope.starts_with("livekit");
    let reading = Reading { received_at, records_max: settings.records_max, wants_scope };
    let tally = otlp::read_logs(body, encoding, &reading, |_, scope, log| {
        let fact = livekit::of_log(&mut extractor, scope, &log);
        extractor.add(fact);
    })?;
    Ok(extractor.finish(tally))
}

fn framework_of_spans(scope: &str) -> Option<Framework> {
    if scope == "livekit-agents" {
        Some(Framework::LiveKit)
    } else if scope.starts_with("pipecat") {
        Some(Framework::Pipecat)
    } else {
        None
    }
}

/// Collects the facts of a request. Facts share equal contexts and models.
struct Extractor<'s> {
    settings: &'s ExtractionSettings,
    extracted: Extracted,
    places: HashMap<AssemblyKey, usize>,
    contexts: HashSet<Arc<Context>>,
    models: HashSet<Arc<Model>>,
}

impl<'s> Extractor<'s> {
    fn new(settings: &'s ExtractionSettings) -> Self {
        Self {
            settings,
            extracted: Extracted::default(),
            places: HashMap::new(),
            contexts: HashSet::new(),
            models: HashSet::new(),
        }
    }

    fn add(&mut self, fact: Option<(AssemblyKey, Fact)>) {
        let Some((key, fact)) = fact else {
            self.extracted.ignored += 1;
            return;
        };
        self.extracted.kept += 1;
        let calls = &mut self.extracted.calls;
        if let Some(place) = self.places.get(&key) {
            calls[*place].facts.push(fact);
        } else {
            self.places.insert(key.clone(), calls.len());
            calls.push(CallFacts { key, facts: vec![fact] });
        }
    }

    fn finish(mut self, tally: otlp::Tally) -> Extracted {
        self.extracted.ignored += tally.unwanted;
        self.extracted.invalid = tally.invalid;
        self.extracted.beyond_limit = tally.beyond_limit;
        self.extracted
    }

    fn context(&mut self, resource: Option<&Attributes<'_>>, attributes: &Attributes<'_>) -> Arc<Context> {
        let name = |name| attributes.text(name).and_then(|text| cut(text, NAME_MAX));
        let of_resource = |name| resource.and_then(|resource| cut(resource.text(name)?, NAME_MAX));
        let workflow = self.settings.workflow_attributes.iter().find_map(|name| attributes.text(name));
        let context = Context {
            job: name("job_id").or_else(|| name("lk.job_id")),
            service_name: of_resource("service.name"),
            workflow: workflow.and_then(|workflow| cut(workflow, WORKFLOW_NAME_MAX)),
            agent_name: name("lk.agent_name"),
            // The second name is the one of older conventions; Pipecat uses it.
            environment: of_resource("deployment.environment.name").or_else(|| of_resource("deployment.environment")),
            agent_version: of_resource("service.version"),
            language: attributes.text("language").filter(|tag| is_language_tag(tag)).map(Arc::from),
        };
        shared(&mut self.contexts, context)
    }

    fn model(&mut self, attributes: &Attributes<'_>) -> Arc<Model> {
        let text = |name| attributes.text(name).and_then(|text| cut(text, MODEL_MAX));
        let model = Model { provider: text("gen_ai.provider.name"), name: text("gen_ai.request.model") };
        shared(&mut self.models, model)
    }

    fn sample(&mut self, stage: ProviderType, attributes: &Attributes<'_>, seconds: Option<f64>) -> Option<Sample> {
        let latency_us = latency_us(seconds?)?;
        Some(Sample { stage, model: self.model(attributes), latency_us })
    }

    /// The model, if the span names it or its provider.
    fn named_model(&mut self, attributes: &Attributes<'_>) -> Option<Arc<Model>> {
        let model = self.model(attributes);
        (*model != Model::default()).then_some(model)
    }
}

fn shared<T: std::hash::Hash + Eq>(known: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(shared) = known.get(&value) {
        return Arc::clone(shared);
    }
    let shared = Arc::new(value);
    known.insert(Arc::clone(&shared));
    shared
}

fn key(framework: Framework, room: Option<&str>, trace_id: &[u8; 16]) -> AssemblyKey {
    let room = room.and_then(|room| cut(room, EXTERNAL_ID_MAX));
    let key = room.map_or_else(|| format!("{:032x}", u128::from_be_bytes(*trace_id)), |room| room.to_string());
    AssemblyKey { framework, key }
}

fn id_of(span: &Span<'_>) -> FactId {
    FactId { origin: Origin::Trace(span.trace_id), id: span.span_id }
}

fn parent_of(span: &Span<'_>) -> Option<FactId> {
    span.parent_span_id.map(|id| FactId { origin: Origin::Trace(span.trace_id), id })
}

/// Whether a text has the form of a BCP 47 tag, such as `en-US`.
fn is_language_tag(text: &str) -> bool {
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LANGUAGE_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.split('-').all(is_part)
}

fn fact_of(span: &Span<'_>, context: Arc<Context>, event: Event) -> Fact {
    Fact { id: id_of(span), start_us: span.start_us, end_us: span.end_us, context, sample: None, tokens: None, event }
}

/// Why a span failed: the status says it, or else the exception.
fn failure_of(span: &Span<'_>) -> Failure {
    let exception = span.exception.as_ref();
    let message = cut(&span.status_message, MESSAGE_MAX)
        .or_else(|| cut(exception?.attributes.text("exception.message")?, MESSAGE_MAX))
        .unwrap_or_else(|| format!("{} failed", span.name).into());
    Failure { at_us: exception.and_then(|exception| exception.at_us).unwrap_or(span.end_us), message }
}

fn tokens_of(attributes: &Attributes<'_>) -> Tokens {
    Tokens {
        input: attributes.count("gen_ai.usage.input_tokens"),
        output: attributes.count("gen_ai.usage.output_tokens"),
        cached_input: attributes.count("gen_ai.usage.cache_read.input_tokens"),
    }
}

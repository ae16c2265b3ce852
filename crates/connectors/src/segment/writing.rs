//! Facts to bytes.

use super::{FLAG_A, FLAG_B, HAS_SAMPLE, HAS_TOKENS, VERSION, code, service_code, stage_code};
use crate::facts::{Context, Event, Fact, FactId, Failure, Model, Origin, ReportedSession, Sample, Speaker, Tokens};
use callscope_domain::{Level, varint};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

pub fn write(facts: &[Fact]) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut previous_start = 0;
    for fact in facts {
        writer.fact(fact, previous_start);
        previous_start = fact.start_us;
    }
    writer.finish(facts.len())
}

/// Values that are written once, and referred to by their place.
struct Dictionary<T> {
    values: Vec<T>,
    places: HashMap<T, u64>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { values: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Hash + Eq + Clone> Dictionary<T> {
    fn place(&mut self, value: &T) -> u64 {
        if let Some(place) = self.places.get(value) {
            return *place;
        }
        let place = self.values.len() as u64;
        self.values.push(value.clone());
        self.places.insert(value.clone(), place);
        place
    }
}

#[derive(Default)]
struct Writer {
    texts: Dictionary<Arc<str>>,
    traces: Dictionary<[u8; 16]>,
    contexts: Dictionary<[u64; 7]>,
    models: Dictionary<[u64; 2]>,
    ids: Dictionary<(u64, [u8; 8])>,
    // Neighbours nearly always share theirs, so most facts cost no look-up.
    last_context: Option<(Arc<Context>, u64)>,
    last_model: Option<(Arc<Model>, u64)>,
    facts: Vec<u8>,
}

impl Writer {
    fn finish(self, facts: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.facts.len() + 256);
        varint::push(&mut bytes, VERSION);
        section(&mut bytes, &self.texts.values, |bytes, text| {
            varint::push(bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        });
        section(&mut bytes, &self.traces.values, |bytes, trace| bytes.extend_from_slice(trace));
        section(&mut bytes, &self.contexts.values, |bytes, places| {
            for place in places {
                varint::push(bytes, *place);
            }
        });
        section(&mut bytes, &self.models.values, |bytes, places| {
            for place in places {
                varint::push(bytes, *place);
            }
        });
        section(&mut bytes, &self.ids.values, |bytes, (origin, id)| {
            varint::push(bytes, *origin);
            bytes.extend_from_slice(id);
        });
        varint::push(&mut bytes, facts as u64);
        bytes.extend_from_slice(&self.facts);
        bytes
    }

    fn number(&mut self, number: impl Into<u64>) {
        varint::push(&mut self.facts, number.into());
    }

    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn text_place(&mut self, text: Option<&Arc<str>>) -> u64 {
        text.map_or(0, |text| self.texts.place(text) + 1)
    }

    fn text(&mut self, text: Option<&Arc<str>>) {
        let place = self.text_place(text);
        self.number(place);
    }

    fn origin(&mut self, origin: Origin) -> u64 {
        match origin {
            Origin::Log => 0,
            Origin::Report => 1,
            Origin::Trace(trace) => self.traces.place(&trace) + 2,
        }
    }

    fn reference(&mut self, id: Option<FactId>) {
        let place = id.map_or(0, |id| {
            let origin = self.origin(id.origin);
            self.ids.place(&(origin, id.id)) + 1
        });
        self.number(place);
    }

    fn context(&mut self, context: &Arc<Context>) {
        let place = match &self.last_context {
            Some((last, place)) if Arc::ptr_eq(last, context) => *place,
            _ => {
                let Context { job, service_name, workflow, agent_name, environment, agent_version, language } =
                    &**context;
                let texts = [job, service_name, workflow, agent_name, environment, agent_version, language];
                let places = texts.map(|text| self.text_place(text.as_ref()));
                self.contexts.place(&places)
            }
        };
        self.last_context = Some((Arc::clone(context), place));
        self.number(place);
    }

    fn model_place(&mut self, model: &Arc<Model>) -> u64 {
        let place = match &self.last_model {
            Some((last, place)) if Arc::ptr_eq(last, model) => *place,
            _ => {
                let Model { provider, name } = &**model;
                let places = [provider, name].map(|text| self.text_place(text.as_ref()));
                self.models.place(&places)
            }
        };
        self.last_model = Some((Arc::clone(model), place));
        place
    }

    fn optional_model(&mut self, model: Option<&Arc<Model>>) {
        let place = model.map_or(0, |model| self.model_place(model) + 1);
        self.number(place);
    }

    fn sample(&mut self, sample: &Sample) {
        let model = self.model_place(&sample.model);
        self.number(model * 3 + stage_code(sample.stage));
        self.number(sample.latency_us);
    }

    fn tokens(&mut self, tokens: Tokens) {
        self.number(tokens.input);
        self.number(tokens.output);
        self.number(tokens.cached_input);
    }

    fn failure(&mut self, failure: &Failure, start_us: i64) {
        self.signed(failure.at_us - start_us);
        self.text(Some(&failure.message));
    }

    fn fact(&mut self, fact: &Fact, previous_start: i64) {
        let mut tag = tag_of(&fact.event);
        if fact.sample.is_some() {
            tag |= HAS_SAMPLE;
        }
        if fact.tokens.is_some() {
            tag |= HAS_TOKENS;
        }
        self.facts.push(tag);
        let origin = self.origin(fact.id.origin);
        self.number(origin);
        self.facts.extend_from_slice(&fact.id.id);
        self.signed(fact.start_us - previous_start);
        self.signed(fact.end_us - fact.start_us);
        self.context(&fact.context);
        if let Some(sample) = &fact.sample {
            self.sample(sample);
        }
        if let Some(tokens) = fact.tokens {
            self.tokens(tokens);
        }
        self.event(&fact.event, fact.start_us);
    }

    fn event(&mut self, event: &Event, start_us: i64) {
        match event {
            Event::Session { agent, external_id } => {
                self.text(agent.as_ref());
                self.text(external_id.as_ref());
            }
            Event::SessionClose { session, reason, error_type } => {
                self.reference(*session);
                self.text(reason.as_ref());
                self.text(error_type.as_ref());
            }
            Event::Job { failure } => {
                if let Some(failure) = failure {
                    self.failure(failure, start_us);
                }
            }
            Event::Turn { session, speaker, number, is_interrupted: _, latency_us, agent, external_id } => {
                self.reference(*session);
                self.number(match speaker {
                    Speaker::User => 0_u64,
                    Speaker::Agent => 1,
                    Speaker::Both => 2,
                });
                self.number(*number);
                if let Some(latency_us) = latency_us {
                    self.number(*latency_us);
                }
                self.text(agent.as_ref());
                self.text(external_id.as_ref());
            }
            Event::Attempt { request, service, retry, model, failure } => {
                self.reference(*request);
                self.number(service_code(*service));
                self.number(*retry);
                self.optional_model(model.as_ref());
                self.failure(failure, start_us);
            }
            Event::Tool { name, is_failed: _, error_type } => {
                self.text(Some(name));
                self.text(error_type.as_ref());
            }
            Event::Problem { service, level: _, model, failure } => {
                self.number(service_code(*service));
                self.optional_model(model.as_ref());
                self.failure(failure, start_us);
            }
            Event::Crash { failure } => self.failure(failure, start_us),
            Event::Report(report) => self.report(report),
            Event::JobShutdown { .. } | Event::Request { .. } | Event::Measurement => {}
        }
    }

    fn report(&mut self, report: &ReportedSession) {
        self.text(report.close_reason.as_ref());
        report.error_counts.iter().for_each(|count| self.number(*count));
        self.tokens(report.tokens);
        self.number(report.turns.len() as u64);
        for turn in &report.turns {
            let flags = u64::from(turn.is_user) | u64::from(turn.is_interrupted) << 1;
            self.number(flags | (turn.samples.len() as u64) << 2);
            self.number(turn.latency_us.unwrap_or(0));
            turn.samples.iter().for_each(|sample| self.sample(sample));
        }
    }
}

/// The event and its two flags.
fn tag_of(event: &Event) -> u8 {
    let flag = |flag: bool, bit: u8| if flag { bit } else { 0 };
    match event {
        Event::Session { .. } => code::SESSION,
        Event::SessionClose { .. } => code::SESSION_CLOSE,
        Event::Job { failure } => code::JOB | flag(failure.is_some(), FLAG_A),
        Event::JobShutdown { is_crash } => code::JOB_SHUTDOWN | flag(*is_crash, FLAG_A),
        Event::Turn { is_interrupted, latency_us, .. } => {
            code::TURN | flag(*is_interrupted, FLAG_A) | flag(latency_us.is_some(), FLAG_B)
        }
        Event::Request { is_failed } => code::REQUEST | flag(*is_failed, FLAG_A),
        Event::Attempt { .. } => code::ATTEMPT,
        Event::Tool { is_failed, .. } => code::TOOL | flag(*is_failed, FLAG_A),
        Event::Problem { level, .. } => code::PROBLEM | flag(*level == Level::Error, FLAG_A),
        Event::Crash { .. } => code::CRASH,
        Event::Measurement => code::MEASUREMENT,
        Event::Report(_) => code::REPORT,
    }
}

fn section<T>(bytes: &mut Vec<u8>, values: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    varint::push(bytes, values.len() as u64);
    for value in values {
        write(bytes, value);
    }
}

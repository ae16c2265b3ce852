//! Bytes to facts.

use super::{
    EVENT_BITS, FLAG_A, FLAG_B, HAS_SAMPLE, HAS_TOKENS, SegmentFault, VERSION, code, service_code, stage_code,
};
use crate::facts::{
    Context, Event, Fact, FactId, Failure, Model, Origin, ReportedSession, ReportedTurn, Sample, Speaker, Tokens,
};
use callscope_domain::{Level, ProviderType, Service, varint};
use std::sync::Arc;

type Read<T> = Result<T, SegmentFault>;

pub fn read(segment: &[u8]) -> Read<Vec<Fact>> {
    let mut bytes = Bytes(segment);
    if bytes.number()? != VERSION {
        return Err(SegmentFault);
    }
    let mut reader = Reader::of_dictionaries(bytes)?;
    let mut previous_start = 0;
    let count = reader.bytes.count()?;
    let mut facts = Vec::with_capacity(count);
    for _ in 0..count {
        let fact = reader.fact(previous_start)?;
        previous_start = fact.start_us;
        facts.push(fact);
    }
    if reader.bytes.0.is_empty() { Ok(facts) } else { Err(SegmentFault) }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn number(&mut self) -> Read<u64> {
        varint::take(&mut self.0).map_err(|_| SegmentFault)
    }

    fn small(&mut self) -> Read<u32> {
        u32::try_from(self.number()?).map_err(|_| SegmentFault)
    }

    fn signed(&mut self) -> Read<i64> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// How many elements follow. Each has at least a byte, so damaged bytes cannot make a list larger than themselves.
    fn count(&mut self) -> Read<usize> {
        let count = usize::try_from(self.number()?).map_err(|_| SegmentFault)?;
        if count <= self.0.len() { Ok(count) } else { Err(SegmentFault) }
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(SegmentFault)?;
        self.0 = rest;
        Ok(*array)
    }

    fn text(&mut self) -> Read<Arc<str>> {
        let length = usize::try_from(self.number()?).map_err(|_| SegmentFault)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(SegmentFault)?;
        self.0 = rest;
        std::str::from_utf8(text).map(Arc::from).map_err(|_| SegmentFault)
    }

    fn section<T>(&mut self, mut element: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.count()?;
        (0..count).map(|_| element(self)).collect()
    }
}

struct Reader<'a> {
    bytes: Bytes<'a>,
    texts: Vec<Arc<str>>,
    traces: Vec<[u8; 16]>,
    contexts: Vec<Arc<Context>>,
    models: Vec<Arc<Model>>,
    ids: Vec<FactId>,
}

impl<'a> Reader<'a> {
    fn of_dictionaries(bytes: Bytes<'a>) -> Read<Self> {
        let (texts, traces, contexts, models, ids) = Default::default();
        let mut reader = Self { bytes, texts, traces, contexts, models, ids };
        reader.texts = reader.bytes.section(Bytes::text)?;
        reader.traces = reader.bytes.section(Bytes::array)?;
        for _ in 0..reader.bytes.count()? {
            let context = Context {
                job: reader.optional_text()?,
                service_name: reader.optional_text()?,
                workflow: reader.optional_text()?,
                agent_name: reader.optional_text()?,
                environment: reader.optional_text()?,
                agent_version: reader.optional_text()?,
                language: reader.optional_text()?,
            };
            reader.contexts.push(Arc::new(context));
        }
        for _ in 0..reader.bytes.count()? {
            let model = Model { provider: reader.optional_text()?, name: reader.optional_text()? };
            reader.models.push(Arc::new(model));
        }
        for _ in 0..reader.bytes.count()? {
            let id = reader.id()?;
            reader.ids.push(id);
        }
        Ok(reader)
    }

    fn optional_text(&mut self) -> Read<Option<Arc<str>>> {
        optional(&self.texts, self.bytes.number()?)
    }

    fn text(&mut self) -> Read<Arc<str>> {
        self.optional_text()?.ok_or(SegmentFault)
    }

    fn id(&mut self) -> Read<FactId> {
        let origin = match self.bytes.number()? {
            0 => Origin::Log,
            1 => Origin::Report,
            trace => Origin::Trace(*at(&self.traces, trace - 2)?),
        };
        Ok(FactId { origin, id: self.bytes.array()? })
    }

    fn reference(&mut self) -> Read<Option<FactId>> {
        optional(&self.ids, self.bytes.number()?)
    }

    fn optional_model(&mut self) -> Read<Option<Arc<Model>>> {
        optional(&self.models, self.bytes.number()?)
    }

    fn sample(&mut self) -> Read<Sample> {
        let number = self.bytes.number()?;
        let stage = ProviderType::ALL.iter().find(|stage| stage_code(**stage) == number % 3).ok_or(SegmentFault)?;
        let model = Arc::clone(at(&self.models, number / 3)?);
        Ok(Sample { stage: *stage, model, latency_us: self.bytes.small()? })
    }

    fn tokens(&mut self) -> Read<Tokens> {
        let bytes = &mut self.bytes;
        Ok(Tokens { input: bytes.number()?, output: bytes.number()?, cached_input: bytes.number()? })
    }

    fn service(&mut self) -> Read<Service> {
        let code = self.bytes.number()?;
        Service::ALL.iter().copied().find(|service| service_code(*service) == code).ok_or(SegmentFault)
    }

    fn failure(&mut self, start_us: i64) -> Read<Failure> {
        let at_us = start_us.checked_add(self.bytes.signed()?).ok_or(SegmentFault)?;
        Ok(Failure { at_us, message: self.text()? })
    }

    fn fact(&mut self, previous_start: i64) -> Read<Fact> {
        let [tag] = self.bytes.array()?;
        let id = self.id()?;
        let start_us = previous_start.checked_add(self.bytes.signed()?).ok_or(SegmentFault)?;
        let end_us = start_us.checked_add(self.bytes.signed()?).ok_or(SegmentFault)?;
        let place = self.bytes.number()?;
        let context = Arc::clone(at(&self.contexts, place)?);
        let sample = if tag & HAS_SAMPLE == 0 { None } else { Some(self.sample()?) };
        let tokens = if tag & HAS_TOKENS == 0 { None } else { Some(self.tokens()?) };
        let event = self.event(tag, start_us)?;
        Ok(Fact { id, start_us, end_us, context, sample, tokens, event })
    }

    fn event(&mut self, tag: u8, start_us: i64) -> Read<Event> {
        let flag_a = tag & FLAG_A != 0;
        Ok(match tag & EVENT_BITS {
            code::SESSION => Event::Session { agent: self.optional_text()?, external_id: self.optional_text()? },
            code::SESSION_CLOSE => Event::SessionClose {
                session: self.reference()?,
                reason: self.optional_text()?,
                error_type: self.optional_text()?,
            },
            code::JOB => Event::Job { failure: if flag_a { Some(self.failure(start_us)?) } else { None } },
            code::JOB_SHUTDOWN => Event::JobShutdown { is_crash: flag_a },
            code::TURN => Event::Turn {
                session: self.reference()?,
                speaker: match self.bytes.number()? {
                    0 => Speaker::User,
                    1 => Speaker::Agent,
                    2 => Speaker::Both,
                    _ => return Err(SegmentFault),
                },
                number: self.bytes.small()?,
                is_interrupted: flag_a,
                latency_us: if tag & FLAG_B == 0 { None } else { Some(self.bytes.small()?) },
                agent: self.optional_text()?,
                external_id: self.optional_text()?,
            },
            code::REQUEST => Event::Request { is_failed: flag_a },
            code::ATTEMPT => Event::Attempt {
                request: self.reference()?,
                service: self.service()?,
                retry: self.bytes.small()?,
                model: self.optional_model()?,
                failure: self.failure(start_us)?,
            },
            code::TOOL => Event::Tool { name: self.text()?, is_failed: flag_a, error_type: self.optional_text()? },
            code::PROBLEM => Event::Problem {
                service: self.service()?,
                level: if flag_a { Level::Error } else { Level::Warning },
                model: self.optional_model()?,
                failure: self.failure(start_us)?,
            },
            code::CRASH => Event::Crash { failure: self.failure(start_us)? },
            code::MEASUREMENT => Event::Measurement,
            code::REPORT => Event::Report(Box::new(self.report()?)),
            _ => return Err(SegmentFault),
        })
    }

    fn report(&mut self) -> Read<ReportedSession> {
        let close_reason = self.optional_text()?;
        let error_counts = [self.bytes.small()?, self.bytes.small()?, self.bytes.small()?];
        let tokens = self.tokens()?;
        let count = self.bytes.count()?;
        let mut turns = Vec::with_capacity(count);
        for _ in 0..count {
            let head = self.bytes.number()?;
            let latency_us = self.bytes.small()?;
            let samples = (0..head >> 2).map(|_| self.sample()).collect::<Read<_>>()?;
            turns.push(ReportedTurn {
                is_user: head & 1 != 0,
                is_interrupted: head & 2 != 0,
                latency_us: (latency_us > 0).then_some(latency_us),
                samples,
            });
        }
        Ok(ReportedSession { close_reason, error_counts, tokens, turns })
    }
}

fn at<T>(values: &[T], place: u64) -> Read<&T> {
    usize::try_from(place).ok().and_then(|place| values.get(place)).ok_or(SegmentFault)
}

/// 0 is none, n is the value at n - 1.
fn optional<T: Clone>(values: &[T], place: u64) -> Read<Option<T>> {
    place.checked_sub(1).map(|place| at(values, place).cloned()).transpose()
}

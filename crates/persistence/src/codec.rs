//! Byte columns: of `calls`, latencies of turns and by provider and model, the kinds of errors, numbers, and tags; of
//! `rollup_distributions`, the distributions of a group.

use callscope_domain::varint::{self, VarintFault};
use callscope_domain::{
    CallFacts, Distribution, ErrorKind, Latency, Level, Measure, ModelName, NumberFact, Numbers, Provider,
    ProviderName, ProviderType, ProviderUse, Service, TagKey, TagValue, Totals,
};

/// The first byte of encoded latencies and distributions: it names the layout of the rest.
const VERSION: u8 = 1;

/// Why stored bytes cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a byte column is malformed")]
pub struct Malformed;

impl From<VarintFault> for Malformed {
    fn from(_: VarintFault) -> Self {
        Self
    }
}

/// Version byte; the number of latencies of turns, and each in microseconds; then for each provider and model the index of
/// its stage, its name and its model (empty when unknown), each with its length before it, the number of its latencies, and
/// each in microseconds. Numbers are LEB128. Nothing to tell: no bytes at all.
pub fn encode_latencies(call: &CallFacts) -> Vec<u8> {
    if call.providers.is_empty() && call.turn_latencies.is_empty() {
        return Vec::new();
    }
    let samples: usize = call.providers.iter().map(|usage| usage.latencies.len()).sum();
    let mut bytes = Vec::with_capacity(2 + call.providers.len() * 32 + (samples + call.turn_latencies.len()) * 3);
    bytes.push(VERSION);
    push_latencies(&mut bytes, &call.turn_latencies);
    for usage in &call.providers {
        varint::push(&mut bytes, position(ProviderType::ALL, usage.provider.provider_type) as u64);
        push_text(&mut bytes, usage.provider.provider_name.as_str());
        push_text(&mut bytes, usage.model.as_ref().map_or("", ModelName::as_str));
        push_latencies(&mut bytes, &usage.latencies);
    }
    bytes
}

/// Reads what [`encode_latencies`] wrote.
pub fn decode_latencies(bytes: &[u8], call: &mut CallFacts) -> Result<(), Malformed> {
    let Some((&version, mut rest)) = bytes.split_first() else { return Ok(()) };
    if version != VERSION {
        return Err(Malformed);
    }
    call.turn_latencies = take_latencies(&mut rest)?;
    while !rest.is_empty() {
        let provider_type = *ProviderType::ALL.get(take_number(&mut rest)?).ok_or(Malformed)?;
        let provider_name = ProviderName::new(take_text(&mut rest)?).map_err(|_| Malformed)?;
        let model = Some(take_text(&mut rest)?).filter(|model| !model.is_empty());
        let model = model.map(ModelName::new).transpose().map_err(|_| Malformed)?;
        let latencies = take_latencies(&mut rest)?;
        call.providers.push(ProviderUse { provider: Provider { provider_type, provider_name }, model, latencies });
    }
    Ok(())
}

/// The code and the value of each number that is known, as LEB128; values in two's complement.
pub fn encode_numbers(numbers: &Numbers) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (fact, value) in numbers.iter() {
        varint::push(&mut bytes, fact.code());
        varint::push(&mut bytes, value.cast_unsigned());
    }
    bytes
}

/// Reads what [`encode_numbers`] wrote.
pub fn decode_numbers(mut bytes: &[u8]) -> Result<Numbers, Malformed> {
    let mut numbers = Numbers::default();
    while !bytes.is_empty() {
        let code = varint::take(&mut bytes)?;
        let value = varint::take(&mut bytes)?.cast_signed();
        let fact = NumberFact::ALL.iter().find(|fact| fact.code() == code).ok_or(Malformed)?;
        numbers.set(*fact, Some(value));
    }
    Ok(numbers)
}

/// The key and the value of each tag, each with its length before it.
pub fn encode_tags(tags: &[(TagKey, TagValue)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in tags {
        push_text(&mut bytes, key.as_str());
        push_text(&mut bytes, value.as_str());
    }
    bytes
}

/// Reads what [`encode_tags`] wrote.
pub fn decode_tags(mut bytes: &[u8]) -> Result<Vec<(TagKey, TagValue)>, Malformed> {
    let mut tags = Vec::new();
    while !bytes.is_empty() {
        let key = TagKey::new(take_text(&mut bytes)?).map_err(|_| Malformed)?;
        tags.push((key, TagValue::new(take_text(&mut bytes)?).map_err(|_| Malformed)?));
    }
    Ok(tags)
}

/// Version byte; the number of calls, in two's complement; then for each distribution its code, its sum in two's complement, and its
/// histogram with the length before it. Numbers are LEB128.
pub fn encode_distributions(totals: &Totals) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    varint::push(&mut bytes, totals.sums[Measure::Calls].cast_unsigned());
    for (distribution, totals) in totals.distributions() {
        let histogram = totals.histogram.to_bytes();
        varint::push(&mut bytes, distribution.code().unsigned_abs().into());
        varint::push(&mut bytes, totals.sum_us.cast_unsigned());
        varint::push(&mut bytes, histogram.len() as u64);
        bytes.extend_from_slice(&histogram);
    }
    bytes
}

/// A distribution, its sum, and the bytes of its histogram.
type EncodedDistribution<'b> = (Distribution, i64, &'b [u8]);

/// Reads what [`encode_distributions`] wrote, but for the histograms.
pub fn decode_distributions(bytes: &[u8]) -> Result<(i64, Vec<EncodedDistribution<'_>>), Malformed> {
    let Some((&VERSION, mut bytes)) = bytes.split_first() else { return Err(Malformed) };
    let calls = varint::take(&mut bytes)?.cast_signed();
    let mut distributions = Vec::new();
    while !bytes.is_empty() {
        let code = i16::try_from(varint::take(&mut bytes)?).map_err(|_| Malformed)?;
        let distribution = Distribution::from_code(code).ok_or(Malformed)?;
        let sum_us = varint::take(&mut bytes)?.cast_signed();
        let length = take_number(&mut bytes)?;
        let (histogram, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
        bytes = rest;
        distributions.push((distribution, sum_us, histogram));
    }
    Ok((calls, distributions))
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    varint::push(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn take_text<'b>(bytes: &mut &'b [u8]) -> Result<&'b str, Malformed> {
    let length = take_number(bytes)?;
    let (text, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| Malformed)
}

fn push_latencies(bytes: &mut Vec<u8>, latencies: &[Latency]) {
    varint::push(bytes, latencies.len() as u64);
    for latency in latencies {
        varint::push(bytes, latency.as_micros().into());
    }
}

fn take_latencies(bytes: &mut &[u8]) -> Result<Vec<Latency>, Malformed> {
    let count = take_number(bytes)?;
    (0..count).map(|_| take_latency(bytes)).collect()
}

/// One byte an error: its service and its level.
pub fn encode_kinds(kinds: &[ErrorKind]) -> Vec<u8> {
    kinds.iter().map(|&kind| kind_byte(kind)).collect()
}

/// Reads what [`encode_kinds`] wrote.
pub fn decode_kinds(bytes: &[u8]) -> Result<Vec<ErrorKind>, Malformed> {
    bytes
        .iter()
        .map(|&byte| {
            let (service, level) = (usize::from(byte >> 4), usize::from(byte & 0x0f));
            let service = *Service::ALL.get(service).ok_or(Malformed)?;
            Ok(ErrorKind { service, level: *Level::ALL.get(level).ok_or(Malformed)? })
        })
        .collect()
}

fn kind_byte(kind: ErrorKind) -> u8 {
    let byte = (position(Service::ALL, kind.service) << 4) | position(Level::ALL, kind.level);
    byte.to_le_bytes()[0]
}

fn position<T: Copy + PartialEq>(all: &[T], value: T) -> usize {
    all.iter().position(|&candidate| candidate == value).unwrap_or_default()
}

fn take_number(bytes: &mut &[u8]) -> Result<usize, Malformed> {
    usize::try_from(varint::take(bytes)?).map_err(|_| Malformed)
}

fn take_latency(bytes: &mut &[u8]) -> Result<Latency, Malformed> {
    let micros = u32::try_from(take_number(bytes)?).map_err(|_| Malformed)?;
    Latency::from_micros(micros).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use callscope_domain::{CallId, CallStatus, LatencyTotals, Timestamp};
    use uuid::Uuid;

    fn latencies(latencies_ms: &[f64]) -> Vec<Latency> {
        latencies_ms.iter().filter_map(|&latency| Latency::from_ms(latency)).collect()
    }

    fn usage(provider_type: ProviderType, name: &str, model: Option<&str>, latencies_ms: &[f64]) -> ProviderUse {
        let provider_name = ProviderName::new(name).unwrap();
        let model = model.map(|model| ModelName::new(model).unwrap());
        ProviderUse { provider: Provider { provider_type, provider_name }, model, latencies: latencies(latencies_ms) }
    }

    fn call(turns: &[f64], providers: Vec<ProviderUse>) -> CallFacts {
        let bare = CallFacts::bare(CallId(Uuid::nil()), CallStatus::Active, Timestamp::from_micros(0));
        CallFacts { turn_latencies: latencies(turns), providers, ..bare }
    }

    fn again(call: &CallFacts) -> CallFacts {
        let mut again = CallFacts { turn_latencies: Vec::new(), providers: Vec::new(), ..call.clone() };
        decode_latencies(&encode_latencies(call), &mut again).unwrap();
        again
    }

    #[test]
    fn latencies_are_read_as_they_were_written() {
        let uses = vec![
            usage(ProviderType::Tts, "cartesia", Some("sonic-2"), &[0.001, 85.2, 600_000.0]),
            usage(ProviderType::Stt, "é", None, &[]),
        ];
        for call in
            [call(&[], Vec::new()), call(&[812.0], Vec::new()), call(&[], uses.clone()), call(&[1.0, 2.0], uses)]
        {
            assert_eq!(again(&call), call);
        }
    }

    #[test]
    fn numbers_and_tags_are_read_as_they_were_written() {
        let mut numbers = Numbers::default();
        for &fact in NumberFact::ALL {
            numbers.set(fact, Some(fact.upper_bound()));
        }
        assert_eq!(decode_numbers(&encode_numbers(&numbers)).unwrap(), numbers);
        numbers.set(NumberFact::Turns, None);
        numbers.set(NumberFact::CostMicrousd, Some(0));
        assert_eq!(decode_numbers(&encode_numbers(&numbers)).unwrap(), numbers);
        let tags = vec![(TagKey::new("a").unwrap(), TagValue::new("é: ✓").unwrap())];
        assert_eq!(decode_tags(&encode_tags(&tags)).unwrap(), tags);
    }

    #[test]
    fn distributions_are_read_as_they_were_written() {
        let mut totals = Totals::default();
        totals.sums.add(Measure::Calls, -3);
        totals.add_distribution(Distribution::Turn, &LatencyTotals::of(&latencies(&[1.0, 2.0])));
        totals.add_distribution(Distribution::Duration, &LatencyTotals::of(&latencies(&[60.0])));
        let bytes = encode_distributions(&totals);
        let (calls, read) = decode_distributions(&bytes).unwrap();
        let expected: Vec<(Distribution, i64, Vec<u8>)> = totals
            .distributions()
            .iter()
            .map(|(of, counted)| (*of, counted.sum_us, counted.histogram.to_bytes()))
            .collect();
        let read: Vec<_> = read.into_iter().map(|(of, sum_us, histogram)| (of, sum_us, histogram.to_vec())).collect();
        assert_eq!((calls, read), (-3, expected));
        for malformed in [&[][..], &[2, 0], &[1], &[1, 0, 99, 0, 0], &[1, 0, 0, 0, 9], &[1, 128]] {
            assert!(decode_distributions(malformed).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn kinds_are_read_as_they_were_written() {
        let kinds: Vec<ErrorKind> = Service::ALL
            .iter()
            .flat_map(|&service| Level::ALL.iter().map(move |&level| ErrorKind { service, level }))
            .collect();
        assert_eq!(decode_kinds(&encode_kinds(&kinds)).unwrap(), kinds);
    }

    #[test]
    fn the_stored_layout_never_changes() {
        // If this fails, databases can no longer be read: add a version instead.
        let uses =
            vec![usage(ProviderType::Llm, "openai", Some("m"), &[402.0]), usage(ProviderType::Tts, "x", None, &[])];
        let expected = [&[1, 1, 1, 1, 6][..], b"openai", &[1, b'm', 1, 0xd0, 0xc4, 0x18], &[2, 1, b'x', 0, 0]].concat();
        assert_eq!(encode_latencies(&call(&[0.001], uses)), expected);
        let kind = |service, level| ErrorKind { service, level };
        let kinds = [kind(Service::Stt, Level::Error), kind(Service::Tool, Level::Warning)];
        assert_eq!(encode_kinds(&kinds), [0x00, 0x41]);
        let mut numbers = Numbers::default();
        numbers.set(NumberFact::ToolCalls, Some(2));
        assert_eq!(encode_numbers(&numbers), [8, 2]);
    }

    #[test]
    fn malformed_bytes_are_refused() {
        for bytes in [
            [2].as_slice(),
            &[1],
            &[1, 5],
            &[1, 0, 9],
            &[1, 0, 0, 200],
            &[1, 0, 0, 1, b'a', 0, 1, 0],
            &[1, 0, 0, 0, 0, 0],
            &[1, 255, 255, 255, 255, 255],
        ] {
            assert!(decode_latencies(bytes, &mut call(&[], Vec::new())).is_err(), "{bytes:?}");
        }
        assert!(decode_kinds(&[0x50]).is_err() && decode_kinds(&[0x02]).is_err());
        assert!(decode_numbers(&[99, 1]).is_err() && decode_tags(&[1]).is_err() && decode_tags(&[1, b'A', 0]).is_err());
    }
}

//! The byte columns of `calls`: latency samples by provider, the kinds of errors, and numbers.

use callscope_domain::varint::{self, VarintFault};
use callscope_domain::{
    CallFacts, ErrorKind, Latency, Level, NUMBER_FACTS, Provider, ProviderName, ProviderType, ProviderUse, Service,
};

/// The first byte of encoded latencies: it names the layout of the rest.
const VERSION: u8 = 1;

/// Why stored bytes cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("latencies or error kinds are malformed")]
pub struct Malformed;

impl From<VarintFault> for Malformed {
    fn from(_: VarintFault) -> Self {
        Self
    }
}

/// Version byte; then for each provider the index of its type, the length and the bytes of its name, the number of
/// its samples, and each sample in microseconds. Numbers are LEB128. No providers: no bytes at all.
pub fn encode_providers(providers: &[ProviderUse]) -> Vec<u8> {
    if providers.is_empty() {
        return Vec::new();
    }
    let samples: usize = providers.iter().map(|usage| usage.latencies.len()).sum();
    let mut bytes = Vec::with_capacity(1 + providers.len() * 16 + samples * 3);
    bytes.push(VERSION);
    for usage in providers {
        let name = usage.provider.provider_name.as_str();
        varint::push(&mut bytes, position(ProviderType::ALL, usage.provider.provider_type) as u64);
        varint::push(&mut bytes, name.len() as u64);
        bytes.extend_from_slice(name.as_bytes());
        varint::push(&mut bytes, usage.latencies.len() as u64);
        usage.latencies.iter().for_each(|latency| varint::push(&mut bytes, latency.as_micros().into()));
    }
    bytes
}

/// Reads what [`encode_providers`] wrote.
pub fn decode_providers(bytes: &[u8]) -> Result<Vec<ProviderUse>, Malformed> {
    let Some((&version, mut rest)) = bytes.split_first() else { return Ok(Vec::new()) };
    if version != VERSION {
        return Err(Malformed);
    }
    let mut providers = Vec::new();
    while !rest.is_empty() {
        let provider_type = *ProviderType::ALL.get(take_number(&mut rest)?).ok_or(Malformed)?;
        let length = take_number(&mut rest)?;
        let (name, after) = rest.split_at_checked(length).ok_or(Malformed)?;
        rest = after;
        let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
        let provider_name = ProviderName::new(name).map_err(|_| Malformed)?;
        let samples = take_number(&mut rest)?;
        let latencies: Result<Vec<Latency>, Malformed> = (0..samples).map(|_| take_latency(&mut rest)).collect();
        providers.push(ProviderUse { provider: Provider { provider_type, provider_name }, latencies: latencies? });
    }
    Ok(providers)
}

/// The code and the value of each number that is not zero, as LEB128; values in two's complement.
pub fn encode_numbers(call: &CallFacts) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in NUMBER_FACTS {
        let value = (number.get)(call);
        if value != 0 {
            varint::push(&mut bytes, number.code);
            varint::push(&mut bytes, value.cast_unsigned());
        }
    }
    bytes
}

/// Reads what [`encode_numbers`] wrote.
pub fn decode_numbers(mut bytes: &[u8], call: &mut CallFacts) -> Result<(), Malformed> {
    while !bytes.is_empty() {
        let code = varint::take(&mut bytes)?;
        let value = varint::take(&mut bytes)?.cast_signed();
        let number = NUMBER_FACTS.iter().find(|number| number.code == code).ok_or(Malformed)?;
        (number.set)(call, value);
    }
    Ok(())
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

    fn usage(provider_type: ProviderType, name: &str, latencies_ms: &[f64]) -> ProviderUse {
        let provider_name = ProviderName::new(name).unwrap();
        let latencies = latencies_ms.iter().filter_map(|&latency| Latency::from_ms(latency)).collect();
        ProviderUse { provider: Provider { provider_type, provider_name }, latencies }
    }

    #[test]
    fn providers_are_read_as_they_were_written() {
        let providers =
            vec![usage(ProviderType::Tts, "cartesia", &[0.001, 85.2, 600_000.0]), usage(ProviderType::Stt, "é", &[])];
        assert_eq!(decode_providers(&encode_providers(&providers)).unwrap(), providers);
        assert_eq!(decode_providers(&encode_providers(&[])).unwrap(), []);
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
        // Written by the first version. If this fails, databases can no longer be read: add a version instead.
        let providers = [usage(ProviderType::Llm, "openai", &[402.0]), usage(ProviderType::Tts, "x", &[])];
        let bytes = [&[1, 1, 6][..], b"openai", &[1, 0xd0, 0xc4, 0x18, 2, 1], b"x", &[0]].concat();
        assert_eq!(encode_providers(&providers), bytes);
        let kind = |service, level| ErrorKind { service, level };
        let kinds = [kind(Service::Stt, Level::Error), kind(Service::Tool, Level::Warning)];
        assert_eq!(encode_kinds(&kinds), [0x00, 0x41]);
    }

    #[test]
    fn malformed_bytes_are_refused() {
        for bytes in [
            [2].as_slice(),
            &[1, 9],
            &[1, 0, 200],
            &[1, 0, 1, b'a', 1, 0],
            &[1, 0, 0, 0],
            &[1, 255, 255, 255, 255, 255],
        ] {
            assert!(decode_providers(bytes).is_err(), "{bytes:?}");
        }
        assert!(decode_kinds(&[0x50]).is_err() && decode_kinds(&[0x02]).is_err());
    }
}

//! The wire format of protobuf, one field at a time. Generated messages would collect every attribute, and take some 70
//! bytes of memory for an attribute of 2 bytes, so a hostile body of 64 MiB would take 2 GiB. Here nothing is copied
//! and nothing is collected.

use callscope_domain::varint;

/// The bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The bytes of a string or of a message within this one.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed) }
    }

    /// A number of up to 64 bits.
    pub fn varint(self) -> Result<u64, Malformed> {
        if let Self::Varint(number) = self { Ok(number) } else { Err(Malformed) }
    }

    /// A number of exactly 64 bits.
    pub fn fixed64(self) -> Result<u64, Malformed> {
        if let Self::Fixed64(number) = self { Ok(number) } else { Err(Malformed) }
    }
}

/// The fields of a message with their numbers, in the order of the bytes. After an error there are no more.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>), Malformed>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = take_field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Field<'a>), Malformed> {
    let key = varint::take(rest).map_err(|_| Malformed)?;
    let field = match key & 7 {
        0 => Field::Varint(varint::take(rest).map_err(|_| Malformed)?),
        1 => {
            let (bytes, after) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
            *rest = after;
            Field::Fixed64(u64::from_le_bytes(*bytes))
        }
        2 => {
            let length = varint::take(rest).map_err(|_| Malformed)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
            *rest = after;
            Field::Bytes(bytes)
        }
        5 => {
            let (_, after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
            *rest = after;
            Field::Fixed32
        }
        // 3 and 4 are groups, which OTLP does not have.
        _ => return Err(Malformed),
    };
    // 0 is no field number: such bytes are no protobuf, though they can be cut into fields.
    if key >> 3 == 0 { Err(Malformed) } else { Ok((key >> 3, field)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_by_their_wire_type() {
        let bytes = [0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, b'h', b'i', 0x25, 1, 2, 3, 4];
        let found: Result<Vec<_>, _> = fields(&bytes).collect();
        let expected = [(1, Field::Varint(150)), (2, Field::Fixed64(1)), (3, Field::Bytes(b"hi")), (4, Field::Fixed32)];
        assert_eq!(found.as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn truncated_fields_groups_and_field_zero_are_refused_once() {
        for bytes in [&b"{\"a\":1}"[..], &[0x0a, 5, 1], &[0x08], &[0x09, 1], &[0x0d, 1], &[0x00, 0], &[0x0b], &[0x0c]] {
            let found: Vec<_> = fields(bytes).collect();
            assert_eq!(found, [Err(Malformed)], "{bytes:?}");
        }
    }
}

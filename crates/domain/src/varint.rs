//! Unsigned LEB128 numbers: the building block of the byte layouts that callscope stores.

/// Bytes that end inside a number, or a number that does not fit 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes end inside a number, or hold one that is too large")]
pub struct VarintFault;

/// Appends a number: seven bits a byte, the lowest first, the high bit set on all bytes but the last.
pub fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Result<u64, VarintFault> {
    // A month of a busy provider is tens of thousands of numbers, nearly all of one byte or two.
    match **bytes {
        [only @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(u64::from(only))
        }
        [low, high @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
        }
        _ => take_long(bytes),
    }
}

fn take_long(bytes: &mut &[u8]) -> Result<u64, VarintFault> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(VarintFault)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(VarintFault)
}

//! Packed bodies are unpacked within bounds: of bytes, of the ratio to what was sent, of members and of time. So a few
//! kilobytes cannot keep a processor busy for long, or fill the memory.

use crate::problem::{Problem, ProblemCode};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Largest window of a Zstandard body, as a power of two: 64 MiB, which every level but --ultra and --long keeps to.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;
/// Most members of a gzip body and frames of a Zstandard body. Each costs some 10 µs, even if nothing is in it. Programs
/// that pack in blocks of 64 KiB make some thousand of them for the largest body.
const MEMBERS_MAX: usize = 4096;
/// Bytes that a body may always unpack to, however few were sent: short bodies may consist of repetition.
const RATIO_FREE_BYTES: usize = 64 << 10;
/// Bytes that are unpacked between two looks at the bounds.
const STEP_BYTES: usize = 64 << 10;

/// Longest time from the begin of unpacking to the end of parsing. The largest bodies that are accepted take a few
/// seconds; this bounds whatever the other limits let through.
pub const PARSE_TIME_MAX: Duration = Duration::from_secs(30);

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    /// gzip, RFC 1952.
    Gzip,
    /// zlib, RFC 1950, which HTTP calls deflate.
    Deflate,
    /// Zstandard, RFC 8878.
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    pub bytes_max: usize,
    /// Most bytes for each one that was sent.
    pub ratio_max: usize,
    /// When unpacking ends at the latest.
    pub deadline: Instant,
}

#[derive(Debug)]
pub enum UnpackFault {
    /// It is no body of its packing, or cut short.
    Damaged,
    /// It is larger than any may be.
    TooLarge,
    /// It is larger than it may be for what was sent.
    Ratio,
    /// It has too many members or frames.
    Members,
    Late,
    /// A fault that the caller found in the unpacked bytes.
    Refused(Problem),
}

impl UnpackFault {
    pub fn problem(self, packing: Packing, limits: UnpackLimits) -> Problem {
        let name = match packing {
            Packing::Plain => "identity",
            Packing::Gzip => "gzip",
            Packing::Deflate => "deflate",
            Packing::Zstd => "zstd",
        };
        let too_large = |detail: String| Problem::new(ProblemCode::PayloadTooLarge, detail);
        match self {
            Self::Damaged => {
                let detail = format!("the body is not valid {name}, or is cut short");
                Problem::new(ProblemCode::MalformedRequest, detail)
            }
            Self::TooLarge => {
                let bytes_max = limits.bytes_max;
                too_large(format!(
                    "the body must be at most {bytes_max} bytes, as sent and after decompression; split it"
                ))
            }
            Self::Ratio => {
                let ratio_max = limits.ratio_max;
                too_large(format!(
                    "the body must not unpack to more than {ratio_max} times its size, unless that is less than 64 KiB; \
                     send it unpacked, or split it"
                ))
            }
            Self::Members => {
                too_large(format!("the body must have at most {MEMBERS_MAX} {name} members or frames; pack it as one"))
            }
            Self::Late => took_too_long(),
            Self::Refused(problem) => problem,
        }
    }
}

/// A body that took too long to read.
pub fn took_too_long() -> Problem {
    let detail = format!("the body takes longer than {} s to read; split it", PARSE_TIME_MAX.as_secs());
    Problem::new(ProblemCode::PayloadTooLarge, detail)
}

/// Unpacks a body. `grow` is asked for room before the unpacked bytes become that many.
pub fn unpack(
    sent: &[u8],
    packing: Packing,
    limits: UnpackLimits,
    grow: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, UnpackFault> {
    let ratio_bytes_max = sent.len().saturating_mul(limits.ratio_max).max(RATIO_FREE_BYTES);
    let mut unpacker = Unpacker { unpacked: Vec::new(), step: vec![0; STEP_BYTES], limits, ratio_bytes_max, grow };
    let mut rest = sent;
    // At least once: nothing at all is no packed body.
    for _ in 0..MEMBERS_MAX {
        rest = match packing {
            Packing::Plain => unpacker.read(rest, |reader| reader)?,
            Packing::Gzip => {
                unpacker.read(flate2::bufread::GzDecoder::new(rest), flate2::bufread::GzDecoder::into_inner)?
            }
            Packing::Deflate => {
                unpacker.read(flate2::bufread::ZlibDecoder::new(rest), flate2::bufread::ZlibDecoder::into_inner)?
            }
            Packing::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(rest).map_err(|_| UnpackFault::Damaged)?;
                let mut decoder = decoder.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| UnpackFault::Damaged)?;
                unpacker.read(decoder, zstd::stream::read::Decoder::finish)?
            }
        };
        if rest.is_empty() {
            return Ok(unpacker.unpacked);
        }
    }
    Err(UnpackFault::Members)
}

struct Unpacker<G> {
    unpacked: Vec<u8>,
    step: Vec<u8>,
    limits: UnpackLimits,
    ratio_bytes_max: usize,
    grow: G,
}

impl<G: FnMut(usize) -> Result<(), Problem>> Unpacker<G> {
    /// Reads one member to its end, and gives what comes after it.
    fn read<'s, R: Read>(&mut self, mut reader: R, rest: impl FnOnce(R) -> &'s [u8]) -> Result<&'s [u8], UnpackFault> {
        loop {
            let read = match reader.read(&mut self.step) {
                Ok(0) => return Ok(rest(reader)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(UnpackFault::Damaged),
            };
            let length = self.unpacked.len() + read;
            if length > self.limits.bytes_max {
                return Err(UnpackFault::TooLarge);
            }
            if length > self.ratio_bytes_max {
                return Err(UnpackFault::Ratio);
            }
            if Instant::now() >= self.limits.deadline {
                return Err(UnpackFault::Late);
            }
            (self.grow)(length).map_err(UnpackFault::Refused)?;
            self.unpacked.extend_from_slice(&self.step[..read]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("memory takes bytes");
        encoder.finish().expect("memory takes bytes")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 0).expect("memory takes bytes")
    }

    fn limits() -> UnpackLimits {
        UnpackLimits { bytes_max: 64 << 20, ratio_max: 200, deadline: Instant::now() + Duration::from_mins(10) }
    }

    fn unpacked(sent: &[u8], packing: Packing) -> Result<Vec<u8>, UnpackFault> {
        unpack(sent, packing, limits(), |_| Ok(()))
    }

    #[test]
    fn members_follow_one_another_up_to_a_bound() {
        for (packing, pack) in [(Packing::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Packing::Zstd, zstd)] {
            let two = [pack(b"one "), pack(b"two")].concat();
            assert_eq!(unpacked(&two, packing).expect("two members"), b"one two");
            let many = pack(b"").repeat(MEMBERS_MAX);
            assert_eq!(unpacked(&many, packing).expect("as many as may be"), b"");
            let too_many = [many, pack(b"")].concat();
            assert!(matches!(unpacked(&too_many, packing), Err(UnpackFault::Members)), "{packing:?}");
        }
    }

    #[test]
    fn frames_that_are_skipped_count_and_change_nothing() {
        // RFC 8878, 3.1.2: a magic number and a length, here of nothing.
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        let body = [&skipped[..], &zstd(b"one"), &skipped].concat();
        assert_eq!(unpacked(&body, Packing::Zstd).expect("a frame"), b"one");
        assert!(matches!(unpacked(&skipped.repeat(MEMBERS_MAX + 1), Packing::Zstd), Err(UnpackFault::Members)));
    }

    #[test]
    fn what_unpacks_to_too_much_for_its_size_is_refused_unless_it_is_small() {
        let feeds = |bytes: usize| vec![b'\n'; bytes];
        for (packing, pack) in [(Packing::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Packing::Zstd, zstd)] {
            assert_eq!(unpacked(&pack(&feeds(RATIO_FREE_BYTES)), packing).expect("small").len(), RATIO_FREE_BYTES);
            let large = pack(&feeds(32 << 20));
            assert!(matches!(unpacked(&large, packing), Err(UnpackFault::Ratio)), "{packing:?}");
        }
    }

    #[test]
    fn a_body_that_takes_too_long_is_given_up_and_so_is_one_that_has_no_room() {
        let sent = zstd(&vec![b'\n'; 1000]);
        let late = UnpackLimits { deadline: Instant::now(), ..limits() };
        assert!(matches!(unpack(&sent, Packing::Zstd, late, |_| Ok(())), Err(UnpackFault::Late)));
        let refused = |bytes| Err(Problem::new(ProblemCode::Overloaded, format!("no room for {bytes}")));
        let Err(UnpackFault::Refused(problem)) = unpack(&sent, Packing::Zstd, limits(), refused) else {
            panic!("there is no room")
        };
        assert_eq!(problem.to_string(), "no room for 1000");
    }
}

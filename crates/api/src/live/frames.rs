//! Bounds of what comes in over a WebSocket: how long a frame may announce itself to be, and how often messages come.
//!
//! The framework's parser looks at the length of a frame only when all of it is in memory. So the heads of frames are read
//! here as well, before it sees them.

use crate::transport::Connection;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::{self, Bytes};
use actix_web::{FromRequest, HttpRequest};
use futures_util::{FutureExt, Stream};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Most bytes of a client's message.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Seconds of messages that may come at once: a client may say what it follows as soon as it is connected.
const BURST_SECONDS: u32 = 10;

/// Largest head of a frame: two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

/// The payload of a handshake, cut off at the first frame that announces too much; and whether that has happened.
pub fn guarded(request: &HttpRequest, payload: web::Payload) -> Option<(web::Payload, Rc<Cell<bool>>)> {
    let is_too_large = Rc::new(Cell::new(false));
    let guard = FrameGuard {
        payload: payload.into_inner(),
        frames: Frames::default(),
        is_too_large: Rc::clone(&is_too_large),
        connection: Connection::of(request).cloned(),
    };
    let mut guarded = Payload::Stream { payload: Box::pin(guard) as Pin<Box<dyn Stream<Item = _>>> };
    let payload = web::Payload::from_request(request, &mut guarded).now_or_never()?.ok()?;
    Some((payload, is_too_large))
}

struct FrameGuard {
    payload: Payload,
    frames: Frames,
    is_too_large: Rc<Cell<bool>>,
    connection: Option<Connection>,
}

impl Stream for FrameGuard {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_too_large.get() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.payload).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &polled
            && !self.frames.are_small(bytes)
        {
            self.is_too_large.set(true);
            if let Some(connection) = &self.connection {
                connection.stop_reading();
            }
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        polled
    }
}

/// Where in its frames a stream of bytes is.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    /// Bytes that are left of the frame whose head was read.
    left: usize,
}

impl Frames {
    /// Reads on; `false` at a frame that announces too much.
    fn are_small(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let Some((&byte, rest)) = bytes.split_first() else { break };
            self.head[self.head_len] = byte;
            self.head_len += 1;
            bytes = rest;
            if let Some(length) = self.complete_head() {
                let Some(length) = usize::try_from(length).ok().filter(|length| *length <= MESSAGE_BYTES_MAX) else {
                    return false;
                };
                (self.head_len, self.left) = (0, length);
            }
        }
        true
    }

    /// The length that the head announces, as soon as the head is complete.
    fn complete_head(&self) -> Option<u64> {
        let head = &self.head[..self.head_len];
        let (&second, rest) = head.get(1..)?.split_first()?;
        let mask_len = if second & 0x80 == 0 { 0 } else { 4 };
        let (length, length_len) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
            length => (u64::from(length), 0),
        };
        // A length that is too large needs no mask to be refused.
        (rest.len() >= length_len + mask_len || length > MESSAGE_BYTES_MAX as u64).then_some(length)
    }
}

/// How often messages of a client are read. What comes faster waits in the socket, and so slows down the client.
pub struct MessagePace {
    interval: Duration,
    burst: Duration,
    /// When the next message would be due if messages came evenly.
    due: Instant,
}

impl MessagePace {
    pub fn new(messages_per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / messages_per_second.max(1);
        let burst = Duration::from_secs(BURST_SECONDS.into());
        let now = Instant::now();
        Self { interval, burst, due: now.checked_sub(burst).unwrap_or(now) }
    }

    /// Counts a message.
    pub fn count(&mut self) {
        let now = Instant::now();
        let full = now.checked_sub(self.burst).unwrap_or(now);
        self.due = self.due.max(full) + self.interval;
    }

    /// From when on the next message may be read.
    pub fn ready_at(&self) -> Instant {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut bytes = match u16::try_from(length) {
            Ok(short @ ..126) => vec![0x81, mask | u8::try_from(short).unwrap()],
            Ok(medium) => [&[0x81, mask | 0x7e], medium.to_be_bytes().as_slice()].concat(),
            Err(_) => [&[0x81, mask | 0x7f], (length as u64).to_be_bytes().as_slice()].concat(),
        };
        bytes.resize(bytes.len() + length.min(10_000) + if is_masked { 4 } else { 0 }, 0xff);
        bytes
    }

    #[test]
    fn frames_up_to_the_bound_pass_however_they_are_cut() {
        let bytes = [frame(0, true), frame(125, true), frame(126, false), frame(4096, true), frame(5, true)].concat();
        for size in [1, 2, 3, 7, 4096, bytes.len()] {
            let mut frames = Frames::default();
            assert!(bytes.chunks(size).all(|chunk| frames.are_small(chunk)), "{size}");
            assert_eq!((frames.left, frames.head_len), (0, 0), "{size}");
        }
    }

    #[test]
    fn a_frame_that_announces_too_much_is_refused_by_its_head() {
        for length in [4097, 65_535, 65_536, 1 << 40, usize::MAX] {
            let bytes = [frame(3, true), frame(length, true)].concat();
            for size in [1, 5, bytes.len()] {
                let mut frames = Frames::default();
                let until_mask = bytes.len() - length.min(10_000) - 4;
                let mut head = bytes[..until_mask].chunks(size);
                assert!(!head.all(|chunk| frames.are_small(chunk)), "{length} {size}");
            }
        }
    }
}

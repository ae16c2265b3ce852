//! The least rate of bodies.

use crate::transport::Connection;
use actix_http::error::PayloadError;
use actix_http::{Payload, Request};
use actix_web::web::Bytes;
use futures_util::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until};

/// Why a body is given up.
#[derive(Debug, thiserror::Error)]
#[error("the body arrives too slowly")]
struct TooSlow;

/// Whether a body was given up because it came too slowly.
#[must_use]
pub fn is_too_slow(error: &PayloadError) -> bool {
    let PayloadError::Io(error) = error else { return false };
    error.get_ref().is_some_and(|inner| inner.downcast_ref::<TooSlow>().is_some())
}

/// Has the body of a request come at the least rate. What follows an upgrade is no body.
pub fn pace(mut request: Request) -> Request {
    let Some(connection) = request.conn_data::<Connection>().cloned() else { return request };
    if request.head().upgrade() {
        connection.set_upgraded();
        return request;
    }
    match request.take_payload() {
        Payload::None => request,
        payload => {
            connection.set_body_unread(true);
            let paced =
                PacedBody { payload, connection, waited: Duration::ZERO, received: 0, waiting: None, is_over: false };
            let payload = Payload::Stream { payload: Box::pin(paced) as Pin<Box<dyn Stream<Item = _>>> };
            request.replace_payload(payload).0
        }
    }
}

/// A body for which the server waits no longer than its size so far allows: some seconds, and one more for as many bytes
/// as must come in each. Time in which the server does not want more of it does not count.
struct PacedBody {
    payload: Payload,
    connection: Connection,
    waited: Duration,
    received: u64,
    waiting: Option<Waiting>,
    /// Whether it was given up.
    is_over: bool,
}

struct Waiting {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Stream for PacedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.payload).poll_next(context);
        match &polled {
            Poll::Ready(item) => {
                if let Some(waiting) = self.waiting.take() {
                    self.waited += waiting.since.elapsed();
                }
                match item {
                    Some(Ok(bytes)) => self.received += bytes.len() as u64,
                    Some(Err(_)) => {}
                    None => self.connection.set_body_unread(false),
                }
                polled
            }
            Poll::Pending => self.poll_patience(context),
        }
    }
}

impl PacedBody {
    /// Whether the client is still waited for.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Option<<Self as Stream>::Item>> {
        let transport = self.connection.transport();
        let rate = u64::from(transport.limits.transfer_rate_min.max(1));
        let patience =
            transport.limits.transfer_grace + Duration::from_millis(self.received.saturating_mul(1000) / rate);
        let left = patience.saturating_sub(self.waited);
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, timer: Box::pin(sleep_until((since + left).into())) }
        });
        if waiting.timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        transport.metrics.bodies_timed_out.inc();
        self.is_over = true;
        Poll::Ready(Some(Err(PayloadError::Io(io::Error::new(io::ErrorKind::TimedOut, TooSlow)))))
    }
}

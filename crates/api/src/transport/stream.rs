//! The one place for time limits of a connection.

use crate::transport::address::ClientAddress;
use crate::transport::connection::{Connection, Phase};
use crate::transport::{Transport, refusal};
use actix_web::web::Bytes;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

/// How long a client that does not read is waited for when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A socket that fails when its client is too slow, which ends the connection and releases all that is held for it.
///
/// One timer serves all limits. It is set again only when it has run out or a limit comes before it, so that a request
/// costs a comparison and not a change of the timer.
pub struct GuardedStream {
    io: TcpStream,
    peer: SocketAddr,
    connection: Connection,
    transport: Arc<Transport>,
    timer: Option<Timer>,
    /// Set while the socket does not take what was written.
    blocked: Option<Blocked>,
    /// What is written in place of the framework's own answer, and not yet taken.
    substitute: Bytes,
    is_over: bool,
}

struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

/// A wait for the client to read.
struct Blocked {
    until: Instant,
    /// Bytes that were taken since `until` was set.
    taken: u64,
    /// Whether the server's stop was noticed.
    is_stopping: bool,
}

impl GuardedStream {
    /// Takes a connection; none if its address has too many.
    pub fn accept(io: TcpStream, transport: Arc<Transport>) -> Option<Self> {
        let peer = io.peer_addr().ok()?;
        let address = ClientAddress(peer.ip());
        let place = if transport.limits.trusted_proxies.contain(address.0) {
            None
        } else if let Some(place) = transport.connections.take(address.block()) {
            Some(place)
        } else {
            transport.metrics.connections_refused.inc();
            return None;
        };
        // An answer goes out in pieces; the last one must not wait for the client to acknowledge those before it.
        let _ = io.set_nodelay(true);
        transport.metrics.connections_open.inc();
        let connection = Connection::new(Arc::clone(&transport), peer, place);
        let substitute = Bytes::new();
        Some(Self { io, peer, connection, transport, timer: None, blocked: None, substitute, is_over: false })
    }

    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Fails if a limit was passed; else the timer will wake the connection's task when the next one is.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.is_over {
            return Err(io::ErrorKind::TimedOut.into());
        }
        loop {
            let head = self.connection.head_deadline();
            let write = self.blocked.as_ref().map(|blocked| blocked.until);
            let Some(deadline) = [head, write].into_iter().flatten().min() else { return Ok(()) };
            if deadline <= Instant::now() {
                self.time_out(write.is_some_and(|write| write <= deadline));
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timer = self
                .timer
                .get_or_insert_with(|| Timer { sleep: Box::pin(sleep_until(deadline.into())), at: Some(deadline) });
            if timer.at.is_none_or(|at| at > deadline) {
                timer.sleep.as_mut().reset(deadline.into());
                timer.at = Some(deadline);
            }
            if timer.sleep.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            timer.at = None;
        }
    }

    fn time_out(&mut self, is_write: bool) {
        self.is_over = true;
        if is_write {
            self.transport.metrics.writes_timed_out.inc();
            self.connection.log_timeout("the client to read");
            return;
        }
        self.transport.metrics.heads_timed_out.inc();
        if let Phase::Head(wait) = self.connection.phase()
            && wait.is_answered()
        {
            let answer = refusal::too_slow(&self.transport.limits, self.connection.refusal_id());
            // Nothing else is under way, so the socket has room for it.
            let _ = self.io.try_write(&answer);
        }
        self.connection.log_timeout("a head");
    }

    /// Notes that the client took some bytes.
    fn progress(&mut self, bytes: usize) {
        let Some(blocked) = &mut self.blocked else { return };
        let (timeout, rate) = (self.transport.limits.write_timeout, self.transport.limits.transfer_rate_min);
        blocked.taken += bytes as u64;
        if blocked.taken >= u64::from(rate) * timeout.as_secs() && !blocked.is_stopping {
            *blocked = Blocked { until: Instant::now() + timeout, taken: 0, is_stopping: false };
        }
    }

    /// Notes that the client takes nothing now.
    fn block(&mut self) {
        let (now, is_stopping) = (Instant::now(), self.transport.is_stopping());
        let until = now + self.transport.limits.write_timeout;
        let blocked = self.blocked.get_or_insert(Blocked { until, taken: 0, is_stopping: false });
        if is_stopping && !blocked.is_stopping {
            blocked.until = blocked.until.min(now + STOP_PATIENCE);
            blocked.is_stopping = true;
        }
    }

    fn poll_write_to_socket(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => {
                self.progress(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.block();
                self.check(context)?;
                Poll::Pending
            }
        }
    }

    /// Writes a better answer in place of the framework's, if that is what is to be written: without the application
    /// nothing else is, while a head is waited for.
    fn poll_substitute(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if self.substitute.is_empty() {
            if !matches!(self.connection.phase(), Phase::Head(_)) {
                return Poll::Ready(Ok(None));
            }
            let Some(answer) = refusal::in_place_of(bytes, self.connection.refusal_id()) else {
                return Poll::Ready(Ok(None));
            };
            self.substitute = answer.into();
        }
        while !self.substitute.is_empty() {
            let rest = self.substitute.clone();
            let written = ready!(self.poll_write_to_socket(context, &rest))?;
            let _ = self.substitute.split_to(written);
        }
        Poll::Ready(Ok(Some(bytes.len())))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.connection.is_deaf() {
            this.check(context)?;
            return Poll::Pending;
        }
        let bytes_max = this.connection.read_bytes_max();
        if bytes_max == 0 {
            this.connection.wake_to_read(context.waker());
            this.check(context)?;
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = if bytes_max < buffer.remaining() {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(bytes_max));
            let polled = Pin::new(&mut this.io).poll_read(context, &mut part);
            let bytes = part.filled().len();
            buffer.advance(bytes);
            polled
        } else {
            Pin::new(&mut this.io).poll_read(context, buffer)
        };
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            this.connection.received(bytes);
        }
        if polled.is_pending() {
            this.check(context)?;
        }
        polled
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(written) = ready!(this.poll_substitute(context, bytes))? {
            return Poll::Ready(Ok(written));
        }
        this.poll_write_to_socket(context, bytes)
    }

    /// Called when all was written, and only then.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.blocked = None;
        self.connection.flushed();
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        self.connection.close();
        self.transport.metrics.connections_open.dec();
    }
}

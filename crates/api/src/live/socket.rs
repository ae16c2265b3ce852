//! One WebSocket: what goes out and comes in, whether the other side is there, and how it ends.

use crate::live::frames::{MESSAGE_BYTES_MAX, MessagePace, guarded};
use crate::live::messages::Notice;
use crate::live::quota::{LiveLimits, StreamSession};
use crate::problem::{Problem, ProblemCode};
use crate::transport::Connection;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};

/// How long a close frame may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for a client that was dropped for being slow: it must first take what was sent before.
const SLOW_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side closed it, or is gone.
    Theirs,
    Shutdown,
    /// Nothing was heard of the other side for too long.
    Idle,
    /// The other side does not take messages.
    Slow,
    /// The other side sends what no client sends.
    Unsupported,
    /// The other side sends a message that is too large.
    TooLarge,
    /// The database is unavailable.
    Unavailable,
    /// The credential has expired, or was revoked.
    Unauthenticated,
}

impl End {
    /// Codes from 4000 on are ours; they are like the HTTP status.
    fn reason(self) -> Option<CloseReason> {
        let (code, description) = match self {
            Self::Theirs => return None,
            Self::Shutdown => (CloseCode::Away, "the server is shutting down; connect again"),
            Self::Idle => (CloseCode::Other(4408), "no pong and no message for too long"),
            Self::Slow => (CloseCode::Other(4429), "messages are not taken fast enough"),
            Self::Unsupported => (CloseCode::Unsupported, "send JSON as unfragmented text"),
            Self::TooLarge => (CloseCode::Size, "messages must be at most 4096 bytes"),
            Self::Unauthenticated => (CloseCode::Other(4401), "the credential is no longer valid"),
            Self::Unavailable => (CloseCode::Again, "the database is not available; connect again"),
        };
        Some(CloseReason { code, description: Some(description.to_owned()) })
    }
}

/// Whether a request is the handshake of a WebSocket.
pub fn check_handshake(request: &HttpRequest) -> Result<(), Problem> {
    actix_http::ws::verify_handshake(request.head()).map_err(no_handshake)
}

fn no_handshake(error: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemCode::MalformedRequest, format!("this path is for WebSockets: {error}"))
}

/// A frame from the client.
pub enum Incoming {
    Text(String),
    /// It is time to look after the connection; [`Socket::tend`] does.
    Tick,
    /// Something that needs no answer.
    Nothing,
}

pub struct Socket {
    session: Session,
    stream: MessageStream,
    limits: LiveLimits,
    pings: Interval,
    heard_at: Instant,
    pace: MessagePace,
    /// Whether a frame announced too much.
    is_too_large: Rc<Cell<bool>>,
    connection: Option<Connection>,
    authorization: StreamSession,
}

impl Socket {
    /// Answers the handshake.
    pub fn open(
        request: &HttpRequest,
        payload: web::Payload,
        limits: LiveLimits,
        authorization: StreamSession,
    ) -> Result<(HttpResponse, Self), Problem> {
        let (payload, is_too_large) = guarded(request, payload).ok_or_else(Problem::internal)?;
        let (response, session, stream) = actix_ws::handle(request, payload).map_err(no_handshake)?;
        let now = Instant::now();
        let mut pings = interval_at(now + limits.ping_interval, limits.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stream = stream.max_frame_size(MESSAGE_BYTES_MAX);
        let pace = MessagePace::new(limits.messages_per_second_max);
        let connection = Connection::of(request).cloned();
        Ok((
            response,
            Self { session, stream, limits, pings, heard_at: now, pace, is_too_large, connection, authorization },
        ))
    }

    /// What comes in next. It may be dropped half-way and called again.
    pub async fn receive(&mut self) -> Result<Incoming, End> {
        let message = tokio::select! {
            message = async {
                sleep_until(self.pace.ready_at()).await;
                self.stream.recv().await
            } => message,
            _ = self.pings.tick() => return Ok(Incoming::Tick),
        };
        self.heard_at = Instant::now();
        self.pace.count();
        match message {
            Some(Ok(Message::Text(text))) => Ok(Incoming::Text(text.into())),
            Some(Ok(Message::Ping(bytes))) => {
                let sent = timeout(self.limits.send_timeout, self.session.pong(&bytes)).await;
                sent.map_err(|_| End::Slow)?.map_err(|_| End::Theirs)?;
                Ok(Incoming::Nothing)
            }
            Some(Ok(Message::Pong(_) | Message::Nop)) => Ok(Incoming::Nothing),
            Some(Err(_)) if self.is_too_large.get() => Err(End::TooLarge),
            Some(Ok(Message::Binary(_) | Message::Continuation(_)) | Err(_)) => Err(End::Unsupported),
            Some(Ok(Message::Close(_))) | None => Err(End::Theirs),
        }
    }

    /// Asks whether the other side is there, and may still be.
    pub async fn tend(&mut self) -> Result<(), End> {
        if self.heard_at.elapsed() > self.limits.idle_timeout {
            return Err(End::Idle);
        }
        if !self.authorization.is_authorized().await {
            return Err(End::Unauthenticated);
        }
        let sent = timeout(self.limits.send_timeout, self.session.ping(b"")).await;
        sent.map_err(|_| End::Slow)?.map_err(|_| End::Theirs)
    }

    pub async fn send(&mut self, text: &str) -> Result<(), End> {
        let sent = timeout(self.limits.send_timeout, self.session.text(text)).await;
        sent.map_err(|_| End::Slow)?.map_err(|_| End::Theirs)
    }

    pub async fn notify(&mut self, notice: &Notice<'_>) -> Result<(), End> {
        self.send(&notice.text()).await
    }

    /// Says why, if the other side still listens, and ends.
    pub async fn close(self, end: End) {
        let Self { session, authorization, connection, .. } = self;
        if end == End::Unsupported
            && let Some(connection) = connection
        {
            // What follows of the message costs no work.
            connection.stop_reading();
        }
        if end == End::TooLarge {
            authorization.count_refused_frame();
        }
        drop(authorization);
        let patience = if end == End::Slow { SLOW_CLOSE_TIMEOUT } else { CLOSE_TIMEOUT };
        let _ = timeout(patience, session.close(end.reason())).await;
    }
}

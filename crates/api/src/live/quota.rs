//! How many sockets and streams may be open, and the credentials that opened them.

use crate::authenticator::{Authenticator, Credential};
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemCode};
use crate::transport::Connection;
use actix_web::HttpRequest;
use callscope_analytics::shares::{Full, Share, Shares};
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::time::Duration;

/// The bounds of sockets and streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveLimits {
    pub sockets_max: usize,
    pub tenant_sockets_max: usize,
    /// Messages of a client that are read in a second, when it sends more all the time.
    pub messages_per_second_max: u32,
    /// How often the other side is asked whether it is there.
    pub ping_interval: Duration,
    /// How long the other side may be silent.
    pub idle_timeout: Duration,
    /// How long the other side may take to accept a message.
    pub send_timeout: Duration,
}

/// The quota of open sockets and streams.
pub struct SocketQuota {
    permits: Arc<Shares>,
    limits: LiveLimits,
    authenticator: Arc<Authenticator>,
    refused_frames: Counter,
}

impl SocketQuota {
    pub fn new(limits: LiveLimits, authenticator: Arc<Authenticator>, metrics: &Metrics) -> Self {
        let permits = Shares::new(limits.sockets_max, limits.tenant_sockets_max);
        Self { permits, limits, authenticator, refused_frames: metrics.transport.frames_refused.clone() }
    }

    pub const fn limits(&self) -> LiveLimits {
        self.limits
    }

    /// Sockets and streams that are open now.
    pub fn open_count(&self) -> usize {
        self.permits.held()
    }

    /// Takes a permit for a socket or stream that a credential opens. It is given back when the connection has ended or
    /// taken the whole answer, and not when the server has given up sending: what is counted is what is held.
    pub fn open(&self, request: &HttpRequest, credential: Credential) -> Result<StreamSession, Problem> {
        let permit = self.permits.take(credential.tenant, 1).map_err(|full| {
            let detail = match full {
                Full::OfHolder => "this tenant has too many sockets open; close some",
                Full::OfAll => "too many sockets are open; try again later",
            };
            Problem::new(ProblemCode::Overloaded, detail)
        })?;
        let permit = match Connection::of(request) {
            Some(connection) => {
                connection.hold(permit);
                None
            }
            None => Some(permit),
        };
        Ok(StreamSession {
            authenticator: Arc::clone(&self.authenticator),
            refused_frames: self.refused_frames.clone(),
            credential,
            _permit: permit,
        })
    }
}

/// An open socket or stream: the credential that opened it, and its permit.
pub struct StreamSession {
    authenticator: Arc<Authenticator>,
    refused_frames: Counter,
    credential: Credential,
    _permit: Option<Share>,
}

impl StreamSession {
    /// Counts a frame that announced too much.
    pub fn count_refused_frame(&self) {
        self.refused_frames.inc();
    }

    /// Checks the credential again. While the database is unreachable, the stream stays open.
    pub async fn is_authorized(&self) -> bool {
        self.authenticator.is_still_valid(&self.credential).await.unwrap_or(true)
    }
}

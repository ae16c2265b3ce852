//! How many may follow at one time.

use crate::access::Credential;
use crate::problem::{Problem, ProblemCode};
use crate::state::ApiState;
use crate::transport::Connection;
use actix_web::{HttpRequest, web};
use callscope_analytics::shares::{Full, Share, Shares};
use callscope_domain::TenantId;
use std::sync::Arc;
use std::time::Duration;

/// The bounds of sockets and streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveLimits {
    /// Most of them.
    pub sockets_max: usize,
    /// Most of one tenant.
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

/// Counts sockets and streams.
#[derive(Clone)]
pub struct SocketRoom {
    places: Arc<Shares>,
    limits: LiveLimits,
}

impl SocketRoom {
    /// Room for as many as the limits say.
    #[must_use]
    pub fn new(limits: LiveLimits) -> Self {
        Self { places: Shares::new(limits.sockets_max, limits.tenant_sockets_max), limits }
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> LiveLimits {
        self.limits
    }

    /// Sockets and streams that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.places.held()
    }

    /// Room for one more of a tenant, until the place is dropped.
    fn take(&self, tenant: TenantId) -> Result<Share, Problem> {
        self.places.take(tenant, 1).map_err(|full| {
            let detail = match full {
                Full::OfHolder => "this tenant has too many sockets open; close some",
                Full::OfAll => "too many sockets are open; try again later",
            };
            Problem::new(ProblemCode::Overloaded, detail)
        })
    }
}

/// One who was let in: the credential, and a place.
pub struct Guest {
    state: web::Data<ApiState>,
    credential: Credential,
    _place: Option<Share>,
}

impl Guest {
    /// Takes a place for the bearer of a credential. It is given back when the connection has ended or taken the whole
    /// answer, and not when the server has given up sending: what is counted is what is held.
    pub fn admit(state: &web::Data<ApiState>, request: &HttpRequest, credential: Credential) -> Result<Self, Problem> {
        let place = state.sockets.take(credential.tenant)?;
        let place = match Connection::of(request) {
            Some(connection) => {
                connection.hold(place);
                None
            }
            None => Some(place),
        };
        Ok(Self { state: state.clone(), credential, _place: place })
    }

    /// Counts a frame that announced too much.
    pub fn count_refused_frame(&self) {
        self.state.metrics.transport.frames_refused.inc();
    }

    /// Whether the credential would still be let in; while the database is away, nobody is sent out.
    pub async fn is_welcome(&self) -> bool {
        self.credential.is_still_valid(&self.state).await.unwrap_or(true)
    }
}

//! How many may follow at one time.

use crate::access::Credential;
use crate::problem::{Problem, ProblemCode};
use crate::state::ApiState;
use actix_web::web;
use callscope_domain::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The bounds of sockets and streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveLimits {
    /// Most of them.
    pub sockets_max: usize,
    /// Most of one tenant.
    pub tenant_sockets_max: usize,
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
    open: Arc<Mutex<Open>>,
    limits: LiveLimits,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_tenant: HashMap<TenantId, usize>,
}

impl SocketRoom {
    /// Room for as many as the limits say.
    #[must_use]
    pub fn new(limits: LiveLimits) -> Self {
        Self { open: Arc::default(), limits }
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> LiveLimits {
        self.limits
    }

    /// Sockets and streams that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.open).all
    }

    /// Room for one more of a tenant, until the place is dropped.
    fn take(&self, tenant: TenantId) -> Result<Place, Problem> {
        let mut open = lock(&self.open);
        let of_tenant = open.by_tenant.get(&tenant).copied().unwrap_or(0);
        if of_tenant >= self.limits.tenant_sockets_max {
            return Err(Problem::new(ProblemCode::Overloaded, "this tenant has too many sockets open; close some"));
        }
        if open.all >= self.limits.sockets_max {
            return Err(Problem::new(ProblemCode::Overloaded, "too many sockets are open; try again later"));
        }
        open.all += 1;
        open.by_tenant.insert(tenant, of_tenant + 1);
        Ok(Place { open: Arc::clone(&self.open), tenant })
    }
}

/// One who was let in: the credential, and a place.
pub struct Guest {
    state: web::Data<ApiState>,
    credential: Credential,
    _place: Place,
}

impl Guest {
    /// Takes a place for the bearer of a credential.
    pub fn admit(state: &web::Data<ApiState>, credential: Credential) -> Result<Self, Problem> {
        let place = state.sockets.take(credential.tenant)?;
        Ok(Self { state: state.clone(), credential, _place: place })
    }

    /// Whether the credential would still be let in; while the database is away, nobody is sent out.
    pub async fn is_welcome(&self) -> bool {
        self.credential.is_still_valid(&self.state).await.unwrap_or(true)
    }
}

/// Room for one socket or stream.
pub struct Place {
    open: Arc<Mutex<Open>>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        if let Some(of_tenant) = open.by_tenant.get_mut(&self.tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                open.by_tenant.remove(&self.tenant);
            }
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What the stream of a connection and the application tell each other.

use crate::transport::address::{AddressBlock, AddressPlace, ClientAddress};
use crate::transport::{Transport, TransportLimits};
use actix_http::error::ParseError;
use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use callscope_analytics::shares::Full;
use callscope_domain::TenantId;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;
use uuid::Uuid;

/// Largest answer that is not counted: about what a connection's buffers take.
const UNCOUNTED_BYTES: usize = 8 << 10;

/// Bytes that are read of what may follow a request, or of a head, at one time. actix-http makes requests of all that was
/// read at once, some kilobytes each: a thousand small ones in one piece stopped a worker and took megabytes.
const READ_AHEAD_BYTES: usize = 4 << 10;

/// Who is charged for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AnswerHolder {
    /// The tenant of the credential.
    Tenant(TenantId),
    /// The client, without a credential.
    Address(AddressBlock),
}

/// One connection. Cheap to clone.
#[derive(Clone)]
pub struct Connection(Rc<State>);

struct State {
    transport: Arc<Transport>,
    peer: IpAddr,
    /// Whether the peer is a proxy that says whom it speaks for.
    is_proxied: bool,
    phase: Cell<Phase>,
    /// Whether a part of the last request's body was not read.
    is_body_unread: Cell<bool>,
    /// Whether nothing more is read.
    is_deaf: Cell<bool>,
    /// Whether something was read since the last request began.
    has_read: Cell<bool>,
    /// Whether another protocol has taken the connection over.
    is_upgraded: Cell<bool>,
    /// Bytes that were read and belong to no body.
    read_ahead: Cell<usize>,
    /// Whom to wake when more may be read.
    reader: RefCell<Option<Waker>>,
    /// Whose request is in progress, as soon as that is known.
    tenant: Cell<Option<TenantId>>,
    /// What is held for the answer in progress.
    held: RefCell<Vec<Box<dyn Any>>>,
    /// What is held for answers that ended and are still to be taken by the socket.
    ended: RefCell<Vec<Box<dyn Any>>>,
    /// Held until the connection ends.
    place: RefCell<Option<AddressPlace>>,
    /// The id of an answer that the application knows nothing of.
    refusal: Cell<Option<Uuid>>,
}

/// What a connection is busy with.
#[derive(Clone, Copy)]
pub enum Phase {
    /// It waits for a head.
    Head(HeadWait),
    /// A request is being answered.
    Answering,
    /// The answer has ended, and some of it was not yet taken by the socket.
    Flushing,
}

/// A wait for a head.
#[derive(Clone, Copy)]
pub struct HeadWait {
    since: Instant,
    first_byte_at: Option<Instant>,
    /// Whether it is the connection's first.
    is_first: bool,
    /// Whether what comes is the rest of a body that was answered already.
    is_rest: bool,
}

impl HeadWait {
    /// Until when the head must be complete.
    fn deadline(self, limits: &TransportLimits) -> Instant {
        match self.first_byte_at {
            Some(first_byte_at) => first_byte_at + limits.header_timeout,
            None if self.is_first => self.since + limits.header_timeout,
            None => self.since + limits.keep_alive + limits.header_timeout,
        }
    }

    /// Whether the client has begun a request, so that the end of the connection is explained with an answer.
    pub const fn is_answered(self) -> bool {
        (self.first_byte_at.is_some() || self.is_first) && !self.is_rest
    }
}

impl Connection {
    /// The connection of a request; none in tests that call the application without one.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Option<&Self> {
        request.conn_data()
    }

    /// Reads nothing more, so that what the client still sends costs no work. What is written still arrives.
    pub fn stop_reading(&self) {
        self.0.is_deaf.set(true);
    }

    /// Notes that a request begins; `true` if it was read together with the one before.
    pub(crate) fn begins_from_buffer(&self) -> bool {
        !self.0.has_read.replace(false)
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.0.is_deaf.get()
    }

    pub(super) fn new(transport: Arc<Transport>, peer: SocketAddr, place: Option<AddressPlace>) -> Self {
        let (peer, now) = (peer.ip().to_canonical(), Instant::now());
        let is_proxied = transport.limits.trusted_proxies.contain(peer);
        let wait = HeadWait { since: now, first_byte_at: None, is_first: true, is_rest: false };
        Self(Rc::new(State {
            transport,
            peer,
            is_proxied,
            phase: Cell::new(Phase::Head(wait)),
            is_body_unread: Cell::new(false),
            is_deaf: Cell::new(false),
            has_read: Cell::new(false),
            is_upgraded: Cell::new(false),
            read_ahead: Cell::new(0),
            reader: RefCell::new(None),
            tenant: Cell::new(None),
            held: RefCell::default(),
            ended: RefCell::default(),
            place: RefCell::new(place),
            refusal: Cell::new(None),
        }))
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// The client that sent a request with these headers.
    pub(crate) fn client(&self, headers: &HeaderMap) -> ClientAddress {
        let State { peer, is_proxied, transport, .. } = &*self.0;
        if *is_proxied { transport.limits.trusted_proxies.client(*peer, headers) } else { ClientAddress(*peer) }
    }

    /// Counts a request in for its client, until its answer was taken; `false` if the client has too many. The requests
    /// of a peer that is no proxy are bounded by its connections.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        if !self.0.is_proxied {
            return true;
        }
        let place = self.0.transport.requests.take(self.client(headers).block());
        let is_admitted = place.is_some();
        if let Some(place) = place {
            self.hold(place);
        } else {
            self.0.transport.metrics.requests_refused.inc();
        }
        is_admitted
    }

    /// Counts the bytes of an answer until they were taken by the socket; fails if too many are in memory. Small answers
    /// are not counted: a connection takes as much by itself.
    pub(crate) fn hold_answer(&self, headers: &HeaderMap, bytes: usize) -> Result<(), Full> {
        if bytes <= UNCOUNTED_BYTES {
            return Ok(());
        }
        let holder = match self.0.tenant.get() {
            Some(tenant) => AnswerHolder::Tenant(tenant),
            None => AnswerHolder::Address(self.client(headers).block()),
        };
        let share = self.0.transport.answers.take(holder, bytes);
        let share = share.inspect_err(|_| {
            self.0.transport.metrics.answers_refused.inc();
        })?;
        self.hold(share);
        Ok(())
    }

    /// Says whose request is in progress.
    pub(crate) fn set_tenant(&self, tenant: TenantId) {
        self.0.tenant.set(Some(tenant));
    }

    /// Keeps something until the answer in progress was taken by the socket, or the connection has ended.
    pub(crate) fn hold(&self, held: impl Any) {
        self.0.held.borrow_mut().push(Box::new(held));
    }

    /// Begins a request.
    pub(super) fn begin(&self) -> RequestInProgress {
        self.0.phase.set(Phase::Answering);
        self.0.tenant.set(None);
        self.0.is_body_unread.set(false);
        RequestInProgress(self.clone())
    }

    pub(super) fn set_body_unread(&self, is_unread: bool) {
        self.0.is_body_unread.set(is_unread);
        if is_unread {
            self.wake_reader();
        }
    }

    /// Notes that what follows is of another protocol.
    pub(super) fn set_upgraded(&self) {
        self.0.is_upgraded.set(true);
        self.wake_reader();
    }

    /// Most bytes that may be read now; none if the reader has to wait.
    pub(super) fn read_bytes_max(&self) -> usize {
        if self.is_read_freely() { usize::MAX } else { READ_AHEAD_BYTES.saturating_sub(self.0.read_ahead.get()) }
    }

    fn is_read_freely(&self) -> bool {
        self.0.is_upgraded.get() || self.0.is_body_unread.get()
    }

    /// Wakes the reader as soon as more may be read: now, if a head is waited for, else when the answer has gone out.
    pub(super) fn wake_to_read(&self, waker: &Waker) {
        if matches!(self.0.phase.get(), Phase::Head(_)) {
            self.0.read_ahead.set(0);
            waker.wake_by_ref();
        } else {
            *self.0.reader.borrow_mut() = Some(waker.clone());
        }
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.0.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    /// Notes that bytes came in.
    pub(super) fn received(&self, bytes: usize) {
        self.0.has_read.set(true);
        if !self.is_read_freely() {
            self.0.read_ahead.set(self.0.read_ahead.get().saturating_add(bytes));
        }
        if let Phase::Head(wait) = self.0.phase.get()
            && wait.first_byte_at.is_none()
        {
            self.0.phase.set(Phase::Head(HeadWait { first_byte_at: Some(Instant::now()), ..wait }));
        }
    }

    /// Notes that all that was written was taken by the socket.
    pub(super) fn flushed(&self) {
        let mut ended = self.0.ended.borrow_mut();
        if !ended.is_empty() {
            ended.clear();
        }
        if matches!(self.0.phase.get(), Phase::Flushing) {
            let (since, is_rest) = (Instant::now(), self.0.is_body_unread.get());
            let first_byte_at = is_rest.then_some(since);
            self.0.phase.set(Phase::Head(HeadWait { since, first_byte_at, is_first: false, is_rest }));
            self.0.read_ahead.set(0);
            self.wake_reader();
        }
    }

    /// Until when the head that is waited for must be complete.
    pub(super) fn head_deadline(&self) -> Option<Instant> {
        match self.0.phase.get() {
            Phase::Head(wait) => Some(wait.deadline(&self.0.transport.limits)),
            Phase::Answering | Phase::Flushing => None,
        }
    }

    /// Gives back all that is held for the connection.
    pub(super) fn close(&self) {
        self.0.held.borrow_mut().clear();
        self.0.ended.borrow_mut().clear();
        self.0.place.borrow_mut().take();
    }

    /// The id of an answer that the application knows nothing of.
    pub(super) fn refusal_id(&self) -> Uuid {
        let id = Uuid::now_v7();
        self.0.refusal.set(Some(id));
        id
    }

    /// A line in the log for what could not be read.
    pub(super) fn log_malformed(&self, error: &ParseError) {
        self.0.transport.metrics.requests_malformed.inc();
        let id = self.0.refusal.get().unwrap_or_else(Uuid::now_v7);
        tracing::info!(%id, peer = %self.0.peer, error = error as &dyn std::error::Error, "refused a malformed request");
    }

    /// A line in the log for a connection that ended because its time was over.
    pub(super) fn log_timeout(&self, waited_for: &'static str) {
        tracing::debug!(id = self.0.refusal.get().map(tracing::field::display), peer = %self.0.peer, waited_for, "timed out");
    }
}

/// A request that is being answered. Dropped when the answer has ended.
pub struct RequestInProgress(Connection);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let state = &*self.0.0;
        state.phase.set(Phase::Flushing);
        let mut held = state.held.borrow_mut();
        if !held.is_empty() {
            state.ended.borrow_mut().append(&mut held);
        }
    }
}

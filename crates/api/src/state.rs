//! What all handlers share.

use crate::access::Access;
use crate::cors::CorsRules;
use crate::live::{Boards, LiveLimits, SocketRoom};
use callscope_analytics::clock::Clock;
use callscope_analytics::ingestion::IngestQueue;
use callscope_analytics::live::Live;
use callscope_analytics::service::Analytics;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// The bounds of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Most bytes of a body, as sent and after decompression.
    pub body_bytes_max: usize,
    /// Most records of a batch.
    pub batch_records_max: usize,
    /// Most bytes of all bodies that are being received or parsed at one time.
    pub inflight_bytes_max: usize,
}

/// Bodies that are unpacked and parsed at one time: it is work for processors, and each takes memory.
const PARSERS_MAX: usize = 2;

/// What all handlers share.
pub struct ApiState {
    /// Answers questions.
    pub analytics: Analytics,
    /// Takes records.
    pub ingest: IngestQueue,
    /// Lets clients in.
    pub access: Access,
    /// Knows the time.
    pub clock: Arc<dyn Clock>,
    /// Tells what happens.
    pub live: Live,
    /// Asks what is followed.
    pub boards: Boards,
    /// Bounds sockets and streams.
    pub sockets: SocketRoom,
    /// Bounds bodies.
    pub limits: ApiLimits,
    /// Which pages of other origins may use the interface; none, unless it is said.
    pub cors: CorsRules,
    /// Room for bodies, in bytes.
    pub(crate) inflight: Arc<Semaphore>,
    /// Room for parsers.
    pub(crate) parsers: Semaphore,
    /// Where they run.
    pub(crate) runtime: Handle,
}

impl ApiState {
    /// The state over its parts. Must be called inside the runtime that bodies are to be parsed on: one for all
    /// workers, so that few threads do that work.
    #[must_use]
    pub fn new(
        analytics: Analytics,
        ingest: IngestQueue,
        access: Access,
        clock: Arc<dyn Clock>,
        live: Live,
        limits: ApiLimits,
        live_limits: LiveLimits,
    ) -> Self {
        let inflight = Arc::new(Semaphore::new(limits.inflight_bytes_max.min(Semaphore::MAX_PERMITS)));
        let boards = Boards::new(analytics.clone(), live.clone(), Arc::clone(&clock));
        Self {
            live,
            boards,
            sockets: SocketRoom::new(live_limits),
            analytics,
            ingest,
            access,
            clock,
            limits,
            cors: CorsRules::none(),
            inflight,
            parsers: Semaphore::new(PARSERS_MAX),
            runtime: Handle::current(),
        }
    }
}

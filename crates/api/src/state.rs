//! What all handlers share.

use crate::access::Access;
use crate::body::BodyRoom;
use crate::cache::{AnswerCache, CacheLimits};
use crate::cors::CorsRules;
use crate::health::Readiness;
use crate::live::{Boards, LiveLimits, SocketRoom};
use crate::metrics::Metrics;
use crate::parsing::Parsers;
use crate::telemetry::Tracer;
use callscope_analytics::clock::Clock;
use callscope_analytics::ingestion::IngestQueue;
use callscope_analytics::live::Live;
use callscope_analytics::service::Analytics;
use callscope_analytics::turns::{TurnLimits, Turns};
use callscope_domain::Span;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The bounds of requests and their bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Most bytes of a body, as sent and after decompression.
    pub body_bytes_max: usize,
    /// Most records of a batch.
    pub batch_records_max: usize,
    /// Most rows of a batch: records, their errors and their providers.
    pub body_rows_max: usize,
    /// Most bytes that a packed body may unpack to for each byte that was sent.
    pub unpack_ratio_max: usize,
    /// Most bytes of all bodies that are being received or parsed at one time, of one tenant at most a quarter.
    pub inflight_bytes_max: usize,
    /// Most bodies that are being received or parsed, or whose records wait to be written, at one time; of one tenant
    /// at most a quarter.
    pub bodies_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long an answer may take, once the request is there.
    pub request_timeout: Duration,
    /// The widest window of a question.
    pub window_max: Span,
}

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
    /// Bounds requests.
    pub limits: ApiLimits,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
    /// Whether they are served beside everything else.
    pub serves_metrics: bool,
    /// Follows requests, if something does.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Answers that are kept.
    pub(crate) cache: AnswerCache,
    /// Whether the database answered lately.
    pub(crate) readiness: Readiness,
    /// Which pages of other origins may use the interface; none, unless it is said.
    pub cors: CorsRules,
    /// Room for bodies.
    pub(crate) bodies: BodyRoom,
    /// Turns at making answers.
    pub(crate) answers_in_work: Arc<Turns>,
    /// Turns at parsing.
    pub(crate) parsers: Parsers,
}

impl ApiState {
    /// The state over its parts. Must be called inside the runtime whose threads are to parse bodies: one for all
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
            metrics: Arc::default(),
            serves_metrics: true,
            tracer: None,
            cache: AnswerCache::new(CacheLimits::OFF),
            readiness: Readiness::new(Duration::ZERO),
            cors: CorsRules::none(),
            bodies: BodyRoom::new(&limits),
            answers_in_work: answers_in_work(&limits),
            parsers: Parsers::new(Handle::current()),
        }
    }

    /// The same state with a runtime of its own for large bodies.
    #[must_use]
    pub fn with_bulk_runtime(self, bulk: Handle) -> Self {
        Self { parsers: Parsers::new(bulk), ..self }
    }

    /// The same state with answers that are kept.
    #[must_use]
    pub fn with_cache(self, limits: CacheLimits) -> Self {
        Self { cache: AnswerCache::new(limits), readiness: Readiness::new(limits.ttl), ..self }
    }

    /// The same state with counters that something else counts with as well.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }
}

/// Answers of one tenant that may be made at one time where there are few processors, and those that may wait.
const ANSWERS_IN_WORK_MIN: usize = 2;
const ANSWERS_WAITING_MAX: usize = 200;

/// Answers of one tenant that are made at one time, so that the long ones leave the workers to others between two.
fn answers_in_work(limits: &ApiLimits) -> Arc<Turns> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Turns::new(TurnLimits {
        max: usize::MAX,
        holder_max: processors.max(ANSWERS_IN_WORK_MIN),
        waiting_max: ANSWERS_WAITING_MAX,
        timeout: limits.request_timeout,
    })
}

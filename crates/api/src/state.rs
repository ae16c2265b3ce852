//! What all handlers share. Handlers and extractors see it; its parts do not.

use crate::authenticator::Authenticator;
use crate::body::BodyRoom;
use crate::cache::{AnswerCache, CacheLimits};
use crate::cors::CorsRules;
use crate::limits::ApiLimits;
use crate::live::{Boards, LiveLimits, SocketQuota};
use crate::metrics::Metrics;
use crate::parsing::Parsers;
use crate::readiness::Readiness;
use crate::tracer::Tracer;
use callscope_analytics::assembler::Assembler;
use callscope_analytics::clock::Clock;
use callscope_analytics::ingestion::IngestQueue;
use callscope_analytics::live::Live;
use callscope_analytics::service::Analytics;
use callscope_analytics::turns::{TurnLimits, Turns};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

pub struct ApiParts {
    pub analytics: Analytics,
    pub ingest: IngestQueue,
    pub authenticator: Authenticator,
    pub clock: Arc<dyn Clock>,
    pub live: Live,
    /// Counts requests; the same that the other parts count with.
    pub metrics: Arc<Metrics>,
    pub limits: ApiLimits,
    /// The bounds of sockets and streams.
    pub live_limits: LiveLimits,
    /// Makes records of telemetry; see [`crate::assembler`].
    pub assembler: Assembler,
}

/// State shared by all handlers.
pub struct ApiState {
    pub(crate) analytics: Analytics,
    pub(crate) ingest: IngestQueue,
    pub authenticator: Arc<Authenticator>,
    pub(crate) clock: Arc<dyn Clock>,
    pub live: Live,
    pub(crate) boards: Boards,
    pub(crate) sockets: SocketQuota,
    pub(crate) limits: ApiLimits,
    pub metrics: Arc<Metrics>,
    /// Whether the metrics are served beside everything else.
    pub serves_metrics: bool,
    /// Follows requests, if something does.
    pub tracer: Option<Arc<dyn Tracer>>,
    pub(crate) cache: AnswerCache,
    pub(crate) readiness: Readiness,
    /// Which pages of other origins may use the interface; none, unless it is said.
    pub cors: CorsRules,
    pub(crate) bodies: BodyRoom,
    /// Permits for computing responses.
    pub(crate) answers_in_work: Arc<Turns>,
    pub(crate) parsers: Parsers,
    pub(crate) assembler: Assembler,
}

impl ApiState {
    /// The state over its parts. Must be called inside the runtime whose threads are to parse bodies: one for all
    /// workers, so that few threads do that work.
    #[must_use]
    pub fn new(parts: ApiParts) -> Self {
        let ApiParts { analytics, ingest, authenticator, clock, live, metrics, limits, live_limits, assembler } = parts;
        let authenticator = Arc::new(authenticator);
        Self {
            boards: Boards::new(analytics.clone(), live.clone(), Arc::clone(&clock)),
            live,
            sockets: SocketQuota::new(live_limits, Arc::clone(&authenticator), &metrics),
            analytics,
            ingest,
            authenticator,
            clock,
            limits,
            serves_metrics: true,
            tracer: None,
            cache: AnswerCache::new(CacheLimits::OFF),
            readiness: Readiness::new(Duration::ZERO),
            cors: CorsRules::none(),
            bodies: BodyRoom::new(&limits, &metrics),
            answers_in_work: answers_in_work(&limits),
            parsers: Parsers::new(Handle::current(), &metrics),
            assembler,
            metrics,
        }
    }

    /// The same state with a runtime of its own for large bodies.
    #[must_use]
    pub fn with_bulk_runtime(self, bulk: Handle) -> Self {
        Self { parsers: Parsers::new(bulk, &self.metrics), ..self }
    }

    /// The same state with answers that are kept.
    #[must_use]
    pub fn with_cache(self, limits: CacheLimits) -> Self {
        Self { cache: AnswerCache::new(limits), readiness: Readiness::new(limits.ttl), ..self }
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

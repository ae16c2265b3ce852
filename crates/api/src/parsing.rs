//! Bodies are unpacked and parsed on threads of their own, few at one time. Tenants take turns at it, and small bodies
//! have turns of their own, so that none waits for the megabytes of another.

use crate::body::{Received, Unpacked};
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemCode};
use crate::unpacking::PARSE_TIME_MAX;
use callscope_analytics::turns::{NoTurn, TurnLimits, Turns};
use callscope_domain::TenantId;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Most bytes of a small body, as sent and unpacked: parsed in about a millisecond.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// Small bodies that are parsed at one time.
const SMALL_PARSERS: usize = 4;
/// Most other bodies that are: each takes memory, and a processor, of which half are left to answers and to the writer.
const PARSERS_MAX: usize = 2;
/// Bodies of one tenant that may wait for their turn.
const WAITING_MAX: usize = 200;
/// How long they may.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Turns at parsing, and the threads that do it.
pub struct Parsers {
    small: Kind,
    large: Kind,
    refused: Counter,
}

struct Kind {
    turns: Arc<Turns>,
    threads: Handle,
}

impl Parsers {
    /// Parsing on threads for blocking work of the runtime that this is called in, and of another one for large bodies.
    pub fn new(bulk: Handle, metrics: &Metrics) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let parsers = (processors / 2).clamp(1, PARSERS_MAX);
        let turns = |max: usize, holder_max: usize| {
            Turns::new(TurnLimits { max, holder_max, waiting_max: WAITING_MAX, timeout: WAIT_MAX })
        };
        Self {
            small: Kind { turns: turns(SMALL_PARSERS, SMALL_PARSERS / 2), threads: Handle::current() },
            large: Kind { turns: turns(parsers, parsers), threads: bulk },
            refused: metrics.ingestion.bodies_refused.clone(),
        }
    }

    fn no_turn(&self, reason: NoTurn) -> Problem {
        self.refused.inc();
        let detail = match reason {
            NoTurn::LineFull => "too many bodies of this tenant wait to be parsed; nothing was stored",
            NoTurn::TimedOut => "the body was not parsed in time; nothing was stored",
        };
        Problem::new(ProblemCode::Overloaded, detail)
    }
}

/// What came of an attempt to read a body as a small one.
enum Attempt<T, R> {
    Done(T),
    /// It unpacks to more.
    IsLarge(Received, R),
}

/// Unpacks a body and has it read, in a turn of its tenant.
pub async fn parse<T: Send + 'static>(
    parsers: &Parsers,
    tenant: TenantId,
    received: Received,
    read: impl FnOnce(Unpacked) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let (received, read) = if received.sent_bytes() <= SMALL_BODY_BYTES {
        let attempt = move |deadline| match received.unpack(deadline, Some(SMALL_BODY_BYTES))? {
            Ok(unpacked) => read(unpacked).map(Attempt::Done),
            Err(received) => Ok(Attempt::IsLarge(received, read)),
        };
        match in_turn(parsers, &parsers.small, tenant, attempt).await? {
            Attempt::Done(parsed) => return Ok(parsed),
            Attempt::IsLarge(received, read) => (received, read),
        }
    } else {
        (received, read)
    };
    let work = move |deadline| match received.unpack(deadline, None)? {
        Ok(unpacked) => read(unpacked),
        Err(_) => Err(Problem::internal()),
    };
    in_turn(parsers, &parsers.large, tenant, work).await
}

async fn in_turn<T: Send + 'static>(
    parsers: &Parsers,
    kind: &Kind,
    tenant: TenantId,
    work: impl FnOnce(Instant) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = kind.turns.take(tenant).await.map_err(|reason| parsers.no_turn(reason))?;
    let parsed = kind.threads.spawn_blocking(move || {
        // Until the work is done, even if the client goes away.
        let _turn = turn;
        work(Instant::now() + PARSE_TIME_MAX)
    });
    parsed.await.map_err(|_| Problem::new(ProblemCode::Unavailable, "the server is shutting down"))?
}

//! What the server counts of itself, in the text format that Prometheus reads. No figure, label or name says anything of
//! a tenant.
//!
//! Counters are looked up once, and the handles kept. Gauges are read when the metrics are asked for.

mod ingestion;
mod otlp;
mod process;
mod requests;
mod transport;

pub use ingestion::MeteredCalls;
pub(crate) use ingestion::{IngestLevels, IngestionMetrics};
pub(crate) use otlp::{OtlpMetrics, OtlpResults};
pub(crate) use transport::TransportMetrics;

use crate::cache::Found;
use callscope_analytics::key_cache::KeyLookups;
use parking_lot::RwLock;
use process::ProcessCollector;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use requests::RequestMetrics;
use std::sync::atomic::Ordering;

/// The media type of the text (`OpenMetrics` 1.0, which Prometheus and its relatives read).
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Label = (&'static str, &'static str);

pub struct Metrics {
    registry: Registry,
    pub(crate) requests: RequestMetrics,
    /// Questions that the cache was asked.
    pub(crate) answers: LookupMetrics,
    /// Credentials that the cache of keys was asked for.
    pub keys: LookupMetrics,
    pub(crate) credentials: CredentialMetrics,
    /// Records on their way into the database.
    pub(crate) ingestion: IngestionMetrics,
    pub(crate) transport: TransportMetrics,
    pub(crate) otlp: OtlpMetrics,
    sockets_open: Gauge,
    active_calls: Gauge,
    connections: Family<[Label; 2], Gauge>,
    connections_max: Family<[Label; 1], Gauge>,
    /// Reads a state before it is shown.
    readings: RwLock<Vec<Reading>>,
}

/// Sets gauges from a state, when metrics are scraped.
type Reading = Box<dyn Fn(&Metrics) + Send + Sync>;

/// How often a cache had what was asked for.
pub struct LookupMetrics {
    hits: Counter,
    /// The load of a concurrent identical request was shared.
    shared: Counter,
    misses: Counter,
}

impl LookupMetrics {
    fn new(family: &Family<[Label; 2], Counter>, cache: &'static str) -> Self {
        let counter = |outcome| family.get_or_create_owned(&[("cache", cache), ("outcome", outcome)]);
        Self { hits: counter("hit"), shared: counter("shared"), misses: counter("miss") }
    }

    /// Sets what something else has counted.
    pub fn set(&self, lookups: KeyLookups) {
        self.hits.inner().store(lookups.hits, Ordering::Relaxed);
        self.misses.inner().store(lookups.misses, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, found: Found) {
        match found {
            Found::Hit => self.hits.inc(),
            Found::Shared => self.shared.inc(),
            Found::Miss => self.misses.inc(),
        };
    }
}

/// How often credentials were refused.
#[derive(Clone)]
pub(crate) struct CredentialMetrics {
    /// Not valid.
    pub failed: Counter,
    /// Their client address had too many that were not valid.
    pub limited: Counter,
}

impl CredentialMetrics {
    fn new(registry: &mut Registry) -> Self {
        let help = "Credentials that were refused: not valid, or past the limit of the client's address";
        let family: Family<[Label; 1], Counter> = registered(registry, "callscope_refused_credentials", help);
        let counter = |reason| family.get_or_create_owned(&[("reason", reason)]);
        Self { failed: counter("not_valid"), limited: counter("address_limit") }
    }
}

/// How many connections of a pool there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConnections {
    pub in_use: u32,
    /// Open and unused.
    pub idle: u32,
    pub max: u32,
}

impl Metrics {
    /// `routes` are the values of the label `route`.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = String>) -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("callscope_build", "Which build this is", build);
        let requests = RequestMetrics::new(&mut registry, routes);
        let lookups =
            registered(&mut registry, "callscope_cache_lookups", "What a cache was asked for, by what it had of it");
        let credentials = CredentialMetrics::new(&mut registry);
        let ingestion = IngestionMetrics::new(&mut registry);
        let transport = TransportMetrics::new(&mut registry);
        let otlp = OtlpMetrics::new(&mut registry);
        let sockets_open = registered(&mut registry, "callscope_sockets_open", "Live streams that are open");
        let active_calls =
            registered(&mut registry, "callscope_active_calls", "Calls that are active, of all tenants together");
        let connections =
            registered(&mut registry, "callscope_database_connections", "Connections to the database, by pool");
        let connections_max =
            registered(&mut registry, "callscope_database_connections_max", "Most connections of each pool");
        registry.register_collector(Box::new(ProcessCollector));
        Self {
            requests,
            answers: LookupMetrics::new(&lookups, "answers"),
            keys: LookupMetrics::new(&lookups, "keys"),
            credentials,
            ingestion,
            transport,
            otlp,
            sockets_open,
            active_calls,
            connections,
            connections_max,
            readings: RwLock::default(),
            registry,
        }
    }

    /// Has a state read whenever the metrics are shown. It must not wait.
    pub fn read_with(&self, reading: impl Fn(&Self) + Send + Sync + 'static) {
        self.readings.write().push(Box::new(reading));
    }

    /// Says how many connections of a pool there are.
    pub fn set_pool(&self, pool: &'static str, connections: PoolConnections) {
        let PoolConnections { in_use, idle, max } = connections;
        self.connections.get_or_create(&[("pool", pool), ("state", "in_use")]).set(in_use.into());
        self.connections.get_or_create(&[("pool", pool), ("state", "idle")]).set(idle.into());
        self.connections_max.get_or_create(&[("pool", pool)]).set(max.into());
    }

    /// Says how many calls are active, of all tenants together.
    pub fn set_active_calls(&self, count: u64) {
        self.active_calls.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_open_sockets(&self, count: usize) {
        self.sockets_open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All metrics as text.
    #[must_use]
    pub fn text(&self) -> String {
        for reading in self.readings.read().iter() {
            reading(self);
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A registered metric.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

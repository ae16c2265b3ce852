//! Records on their way into the database: what waits, what was taken and refused, and what the transactions take.

use super::{Label, registered};
use async_trait::async_trait;
use callscope_analytics::kept::BoundsMet;
use callscope_analytics::ports::{CallStore, CallTransaction, LockedCalls, StoreError, TenantChanges};
use callscope_domain::{CallId, Group, GroupId, Slug, TenantId, Timestamp, WorkflowId};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Upper bounds of the buckets of a transaction's times, in seconds: 1 ms to 65 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

/// Upper bounds of the buckets of a transaction's calls: 1 to 65,536.
fn calls() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 9))
}

/// Counts records and the transactions that write them.
pub struct IngestionMetrics {
    accepted: Counter,
    /// Records that were refused, each by itself.
    rejected: Counter,
    /// Latency samples that were dropped of accepted records.
    dropped_samples: Counter,
    /// Bodies that there was no room for.
    pub bodies_refused: Counter,
    queue_records: Gauge,
    queue_records_max: Gauge,
    body_bytes: Gauge,
    body_bytes_max: Gauge,
    transactions: TransactionMetrics,
}

#[derive(Clone)]
struct TransactionMetrics {
    committed: Counter,
    failed: Counter,
    calls: Histogram,
    commit_seconds: Histogram,
    seconds: Histogram,
    bounds_met: Family<[Label; 1], Counter>,
}

impl IngestionMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let records: Family<[Label; 1], Counter> =
            registered(registry, "callscope_ingest_records", "Records that were answered, by whether they were taken");
        let record = |outcome| records.get_or_create_owned(&[("outcome", outcome)]);
        let transactions: Family<[Label; 1], Counter> =
            registered(registry, "callscope_ingest_transactions", "Transactions that write calls, by how they ended");
        let transaction = |outcome| transactions.get_or_create_owned(&[("outcome", outcome)]);
        let (calls, commit_seconds, seconds) = (calls(), seconds(), seconds());
        let histograms = [
            ("callscope_ingest_transaction_calls", "Calls of a transaction", &calls),
            ("callscope_ingest_commit_duration_seconds", "Time of a transaction's commit", &commit_seconds),
            ("callscope_ingest_transaction_duration_seconds", "Time of a transaction, commit included", &seconds),
        ];
        for (name, help, histogram) in histograms {
            registry.register(name, help, histogram.clone());
        }
        let bounds_help = "Values, errors and records that met a bound on what is kept of a tenant, by its setting";
        let bounds_met: Family<[Label; 1], Counter> = registered(registry, "callscope_tenant_bounds_met", bounds_help);
        for (bound, _) in BoundsMet::default().by_name() {
            drop(bounds_met.get_or_create_owned(&[("bound", bound)]));
        }
        let dropped_help = "Latency samples that were no latencies, of accepted records";
        let refused_help = "Bodies that were refused because too many were being received";
        Self {
            accepted: record("accepted"),
            rejected: record("rejected"),
            dropped_samples: registered(registry, "callscope_ingest_dropped_samples", dropped_help),
            bodies_refused: registered(registry, "callscope_ingest_bodies_refused", refused_help),
            queue_records: registered(registry, "callscope_ingest_queue_records", "Records that wait or are written"),
            queue_records_max: registered(
                registry,
                "callscope_ingest_queue_records_max",
                "Bound on callscope_ingest_queue_records",
            ),
            body_bytes: registered(registry, "callscope_ingest_body_bytes", "Bytes of bodies in memory"),
            body_bytes_max: registered(
                registry,
                "callscope_ingest_body_bytes_max",
                "Bound on callscope_ingest_body_bytes",
            ),
            transactions: TransactionMetrics {
                committed: transaction("committed"),
                failed: transaction("failed"),
                calls,
                commit_seconds,
                seconds,
                bounds_met,
            },
        }
    }

    /// Counts the records of an answered body.
    pub fn count(&self, accepted: u64, rejected: u64, dropped_samples: u64) {
        self.accepted.inc_by(accepted);
        self.rejected.inc_by(rejected);
        self.dropped_samples.inc_by(dropped_samples);
    }

    pub fn set_levels(&self, levels: &IngestLevels) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.queue_records.set(gauge(levels.queue_records));
        self.queue_records_max.set(gauge(levels.queue_records_max));
        self.body_bytes.set(gauge(levels.body_bytes));
        self.body_bytes_max.set(gauge(levels.body_bytes_max));
    }
}

/// How full the queue and the memory for bodies are.
pub struct IngestLevels {
    /// Records that wait or are being written.
    pub queue_records: usize,
    pub queue_records_max: usize,
    /// Bytes of bodies in memory.
    pub body_bytes: usize,
    pub body_bytes_max: usize,
}

/// A store whose transactions are measured.
pub struct MeteredCalls {
    store: Arc<dyn CallStore>,
    metrics: Arc<super::Metrics>,
}

impl MeteredCalls {
    /// Measures the transactions of a store.
    #[must_use]
    pub fn new(store: Arc<dyn CallStore>, metrics: Arc<super::Metrics>) -> Self {
        Self { store, metrics }
    }
}

#[async_trait]
impl CallStore for MeteredCalls {
    async fn begin(&self) -> Result<Box<dyn CallTransaction>, StoreError> {
        let (began, metrics) = (Instant::now(), self.metrics.ingestion.transactions.clone());
        let end = End { metrics, began, calls: 0, bounds_met: Vec::new(), is_committed: false };
        let transaction = self.store.begin().await?;
        Ok(Box::new(MeteredTransaction { transaction, end }))
    }

    fn one_transaction_for_all_tenants(&self) -> bool {
        self.store.one_transaction_for_all_tenants()
    }

    fn writers_max(&self) -> usize {
        self.store.writers_max()
    }

    fn is_writer_awaited(&self) -> bool {
        self.store.is_writer_awaited()
    }

    async fn list_overdue_calls(
        &self,
        tenant: TenantId,
        started_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<CallId>, StoreError> {
        self.store.list_overdue_calls(tenant, started_before, limit).await
    }
}

struct MeteredTransaction {
    transaction: Box<dyn CallTransaction>,
    end: End,
}

/// Measures a transaction when it is over, however it ends.
struct End {
    metrics: TransactionMetrics,
    began: Instant,
    calls: usize,
    /// How often bounds on what is kept were met, by their settings.
    bounds_met: Vec<(&'static str, u64)>,
    is_committed: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.is_committed {
            self.metrics.committed.inc();
            self.metrics.calls.observe(self.calls as f64);
            for &(bound, met) in &self.bounds_met {
                self.metrics.bounds_met.get_or_create_owned(&[("bound", bound)]).inc_by(met);
            }
        } else {
            self.metrics.failed.inc();
        }
        self.metrics.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

#[async_trait]
impl CallTransaction for MeteredTransaction {
    async fn lock_calls(&mut self, tenant: TenantId, ids: &[CallId]) -> Result<LockedCalls, StoreError> {
        self.end.calls += ids.len();
        self.transaction.lock_calls(tenant, ids).await
    }

    async fn load_groups(&mut self, tenant: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError> {
        self.transaction.load_groups(tenant).await
    }

    async fn load_slugs(
        &mut self,
        tenant: TenantId,
        workflows: &[WorkflowId],
    ) -> Result<HashMap<WorkflowId, Slug>, StoreError> {
        self.transaction.load_slugs(tenant, workflows).await
    }

    async fn save(&mut self, tenant: TenantId, changes: &TenantChanges) -> Result<(), StoreError> {
        for (bound, met) in changes.bounds_met.by_name().filter(|(_, met)| *met > 0) {
            self.end.bounds_met.push((bound, met));
        }
        self.transaction.save(tenant, changes).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let Self { transaction, mut end } = *self;
        let started = Instant::now();
        let committed = transaction.commit().await;
        end.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        end.is_committed = committed.is_ok();
        committed
    }
}

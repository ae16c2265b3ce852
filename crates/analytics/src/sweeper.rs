//! Closes calls that have been active for too long.

use crate::clock::Clock;
use crate::ingestion::IngestQueue;
use crate::ports::{CallStore, StoreError, TenantStore, source};
use callscope_domain::{Incoming, Span, TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Calls that are closed with one submission.
const SWEEP_CALLS_MAX: u32 = 1000;

/// A task that walks over the tenants again and again, and closes every call that has been active for longer than
/// the timeout. Its closings go through the ingestion queue, so they meet a call's real end in one order.
pub struct Sweeper {
    pub calls: Arc<dyn CallStore>,
    pub tenants: Arc<dyn TenantStore>,
    /// Closings are submitted here, so that they are ordered with the records.
    pub queue: IngestQueue,
    pub clock: Arc<dyn Clock>,
    /// How long a call may be active.
    pub timeout: Duration,
}

impl Sweeper {
    /// Sweeps until it is dropped: at a tenth of the timeout, but between every second and every minute.
    pub async fn run(self) {
        let interval = (self.timeout / 10).clamp(Duration::from_secs(1), Duration::from_mins(1));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.sweep().await {
                Ok(0) => {}
                Ok(closed) => tracing::info!(closed, "closed calls that were active for too long"),
                Err(error) => tracing::warn!(error = source(&error), "could not list the tenants; will try again"),
            }
        }
    }

    /// Closes what is overdue now, and says how many calls that were. A tenant for which that fails is passed over.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let timeout = i64::try_from(self.timeout.as_micros()).unwrap_or(i64::MAX);
        let started_before = self.clock.now() - Span::from_micros(timeout);
        let mut closed = 0;
        for tenant in self.tenants.list_tenants().await? {
            match self.sweep_tenant(tenant.id, started_before).await {
                Ok(of_tenant) => closed += of_tenant,
                Err(error) => {
                    tracing::warn!(error = &*error, tenant = %tenant.slug, "could not close overdue calls; will try again");
                }
            }
        }
        Ok(closed)
    }

    async fn sweep_tenant(
        &self,
        tenant: TenantId,
        started_before: Timestamp,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let mut closed = 0;
        loop {
            let overdue = self.calls.list_overdue_calls(tenant, started_before, SWEEP_CALLS_MAX).await?;
            let found = overdue.len();
            if found > 0 {
                let closings = overdue.into_iter().map(|id| Incoming::Overdue { id, started_before }).collect();
                self.queue.submit(tenant, closings).await?;
                closed += found;
            }
            if found < SWEEP_CALLS_MAX as usize {
                return Ok(closed);
            }
        }
    }
}

//! Closes calls whose telemetry stopped before their end, and deletes the facts of calls that ended some time ago.

use crate::assembler::{Assembler, AssemblyError};
use crate::assemblies::AssemblyStore;
use crate::clock::Clock;
use crate::ports::{StoreError, TenantStore, source};
use callscope_domain::{Span, TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Assemblies that one statement finds or deletes.
const ASSEMBLIES_MAX: u32 = 200;
/// How long the facts of a call may stay after their time, and a call open after its timeout.
const INTERVAL: Duration = Duration::from_secs(30);

/// A task that visits all tenants at an interval.
pub struct AssemblySweeper {
    /// Assemblies are listed and deleted here.
    pub store: Arc<dyn AssemblyStore>,
    pub tenants: Arc<dyn TenantStore>,
    /// Calls are closed by it.
    pub assembler: Assembler,
    pub clock: Arc<dyn Clock>,
}

/// The results of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssemblySweep {
    /// Calls that were closed.
    pub closed: usize,
    /// Assemblies that were deleted.
    pub purged: usize,
}

impl AssemblySweeper {
    /// Sweeps until it is dropped.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.sweep().await {
                Ok(AssemblySweep { closed: 0, .. }) => {}
                Ok(AssemblySweep { closed, .. }) => tracing::info!(closed, "closed calls whose telemetry stopped"),
                Err(error) => tracing::warn!(error = source(&error), "could not list the tenants; will try again"),
            }
        }
    }

    /// Closes and deletes what is due now. A tenant for which that fails is passed over, and so is a call whose facts
    /// cannot be read.
    pub async fn sweep(&self) -> Result<AssemblySweep, StoreError> {
        let now = self.clock.now();
        let mut swept = AssemblySweep::default();
        for tenant in self.tenants.list_tenants().await? {
            if let Err(error) = self.sweep_tenant(tenant.id, now, &mut swept).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, tenant = %tenant.slug, "could not close calls without telemetry; will try again");
            }
        }
        Ok(swept)
    }

    async fn sweep_tenant(
        &self,
        tenant: TenantId,
        now: Timestamp,
        swept: &mut AssemblySweep,
    ) -> Result<(), AssemblyError> {
        self.purge(tenant, now, swept).await?;
        let idle_us = self.assembler.settings().idle_timeout.num_microseconds().unwrap_or(i64::MAX);
        let seen_before = now - Span::from_micros(idle_us);
        loop {
            let idle = self.store.list_idle_assemblies(tenant, seen_before, ASSEMBLIES_MAX).await?;
            let mut has_damaged = false;
            for (key, call_id) in &idle {
                match self.assembler.close_idle(tenant, key, *call_id).await {
                    Ok(is_closed) => swept.closed += usize::from(is_closed),
                    // The other calls do not wait for a repair of this one.
                    Err(AssemblyError::Store(StoreError::Broken(error))) => {
                        has_damaged = true;
                        tracing::error!(error, call_id = %call_id.0, "could not close a call without telemetry");
                    }
                    Err(error) => return Err(error),
                }
            }
            // A damaged assembly would be listed again at once.
            if has_damaged || idle.len() < ASSEMBLIES_MAX as usize {
                return Ok(());
            }
        }
    }

    async fn purge(&self, tenant: TenantId, now: Timestamp, swept: &mut AssemblySweep) -> Result<(), StoreError> {
        loop {
            let purged = self.store.purge_assemblies(tenant, now, ASSEMBLIES_MAX).await?;
            swept.purged += purged;
            if purged < ASSEMBLIES_MAX as usize {
                return Ok(());
            }
        }
    }
}

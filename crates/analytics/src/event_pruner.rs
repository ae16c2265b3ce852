//! Deletes call events that are no longer replayed.

use crate::clock::Clock;
use crate::ports::{EventBounds, EventStore, StoreError, TenantStore, source};
use callscope_domain::Span;
use std::sync::Arc;
use std::time::Duration;

/// A task that deletes events past the replay window or the bound of their tenant.
pub struct EventPruner {
    pub events: Arc<dyn EventStore>,
    pub tenants: Arc<dyn TenantStore>,
    pub clock: Arc<dyn Clock>,
    /// Events older than this are deleted.
    pub window: Duration,
    pub events_max: u32,
}

/// Events that are deleted in one transaction.
const PRUNED_EVENTS_MAX: u32 = 5000;

impl EventPruner {
    /// Deletes until it is dropped: at a tenth of the window, but between every second and every minute.
    pub async fn run(self) {
        let interval = (self.window / 10).clamp(Duration::from_secs(1), Duration::from_mins(1));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.prune().await {
                tracing::warn!(error = source(&error), "could not delete old events; will try again");
            }
        }
    }

    /// Deletes what is out of bounds now.
    pub async fn prune(&self) -> Result<(), StoreError> {
        let window = Span::from_micros(i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX));
        let bounds = EventBounds { recorded_from: self.clock.now() - window, events_max: self.events_max.into() };
        for tenant in self.tenants.list_tenants().await? {
            while self.events.delete_old_events(tenant.id, bounds, PRUNED_EVENTS_MAX).await?
                == PRUNED_EVENTS_MAX as usize
            {}
        }
        Ok(())
    }
}

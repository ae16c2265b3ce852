//! Deletes calls, and later rollups, that are older than they are to be kept.
//!
//! Rollups outlive the calls beneath them: figures of whole minutes stay, only the error log and the calls themselves go.

use crate::clock::Clock;
use crate::ports::{RetentionStore, StoreError, TenantStore, source};
use callscope_domain::{Resolution, Span, Tenant, TenantId, Timestamp, Window};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often is looked for what is too old. A day's calls all become so at midnight.
const INTERVAL: Duration = Duration::from_hours(1);
/// Calls that are deleted in one transaction: it holds the tenant's writer off.
const CALLS_PER_BATCH: u32 = 2000;
/// Between two transactions, so that the writer has its turn.
const PAUSE: Duration = Duration::from_millis(20);

/// How long things are kept, in days of UTC before the one that is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPeriods {
    /// Calls and their errors.
    pub calls_days: NonZeroU32,
    /// Rollups, at least as long as the calls; `None` for ever.
    pub rollups_days: Option<NonZeroU32>,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Calls.
    pub calls: u64,
    /// Days whose rollups were.
    pub rollup_days: u64,
}

/// A task that walks over the tenants again and again, and deletes what is too old. Several servers may do so at once.
pub struct Retention {
    /// Where it is deleted.
    pub store: Arc<dyn RetentionStore>,
    /// Where the tenants are found.
    pub tenants: Arc<dyn TenantStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How long things are kept.
    pub periods: RetentionPeriods,
}

impl Retention {
    /// Deletes until it is dropped: at once, and then every hour.
    pub async fn run(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.delete_all().await {
                tracing::warn!(error = source(&error), "could not list the tenants; will try again");
            }
        }
    }

    /// Deletes what is too old now. A tenant for which that fails is passed over.
    pub async fn delete_all(&self) -> Result<(), StoreError> {
        for tenant in self.tenants.list_tenants().await? {
            let Tenant { id, slug, .. } = tenant;
            match self.delete_of_tenant(id).await {
                Ok(Deleted { calls: 0, rollup_days: 0 }) => {}
                Ok(Deleted { calls, rollup_days }) => {
                    tracing::info!(tenant = %slug, calls, rollup_days, "deleted what is no longer kept");
                }
                Err(error) => {
                    let error = source(&error);
                    tracing::warn!(error, tenant = %slug, "could not delete what is no longer kept; will try again");
                }
            }
        }
        Ok(())
    }

    /// Deletes what is too old of one tenant.
    pub async fn delete_of_tenant(&self, tenant: TenantId) -> Result<Deleted, StoreError> {
        let mut deleted = Deleted::default();
        // One day for both horizons, even when deleting goes on past midnight: no rollups go before their calls.
        let today = Resolution::Day.floor(self.clock.now());
        self.store.keep_calls_from(tenant, horizon(today, self.periods.calls_days)).await?;
        loop {
            let calls = self.store.delete_expired_calls(tenant, CALLS_PER_BATCH).await?;
            deleted.calls += calls as u64;
            if calls < CALLS_PER_BATCH as usize {
                break;
            }
            sleep(PAUSE).await;
        }
        // Only now, so that no call is left whose rollups are gone.
        let Some(rollups_days) = self.periods.rollups_days else { return Ok(deleted) };
        let horizon = horizon(today, rollups_days);
        while let Some(start) = self.store.find_first_rollup_day(tenant).await?.filter(|start| *start < horizon) {
            let Ok(day) = Window::new(start, start + Resolution::Day.width()) else { break };
            self.store.delete_rollups(tenant, day).await?;
            deleted.rollup_days += 1;
            sleep(PAUSE).await;
        }
        Ok(deleted)
    }
}

/// The start of the first day that is kept. Days go as a whole, so that their rollups can be checked.
fn horizon(today: Timestamp, days: NonZeroU32) -> Timestamp {
    today - Span::from_hours(24 * i64::from(days.get()))
}

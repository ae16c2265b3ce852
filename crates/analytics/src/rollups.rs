//! Checks that rollups equal the sum of contributions, and makes them so.
//!
//! Both go day by day, since a day holds whole buckets of every resolution; each day is one transaction, so both may
//! run while records come in.

use crate::deltas::RollupDeltas;
use crate::ports::{RollupStore, RollupTransaction, StoreError};
use callscope_domain::{Contribution, Resolution, TenantId, Timestamp, Window};
use std::collections::BTreeMap;

/// A rollup that is not the sum of the contributions of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The width of the bucket.
    pub resolution: Resolution,
    /// The start of the bucket.
    pub bucket: Timestamp,
}

/// What a check or a rebuild went over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Days of UTC that have calls or rollups.
    pub days: u64,
    /// Calls.
    pub calls: u64,
    /// Non-zero buckets, over all resolutions.
    pub buckets: u64,
    /// The rollups that are wrong; a rebuild leaves this empty.
    pub mismatches: Vec<Mismatch>,
}

/// Compares every rollup of a tenant with the calls beneath it. `on_day` hears of each day before it is checked:
/// its number from 0, and the number of days.
pub async fn verify(
    store: &dyn RollupStore,
    tenant: TenantId,
    mut on_day: impl FnMut(u64, u64),
) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    for (index, count, day) in days(store, tenant).await? {
        on_day(index, count);
        let mut transaction = store.begin_audit(tenant, false).await?;
        let expected = sum_day(&mut *transaction, day, &mut audit).await?;
        for &resolution in Resolution::ALL {
            let mut found = transaction.load_rollups(resolution, day).await?;
            let expected = expected.iter().filter(|&(of, _, _)| of == resolution);
            for (_, bucket, contribution) in expected {
                audit.buckets += 1;
                if found.remove(&bucket).as_ref() != Some(contribution) {
                    audit.mismatches.push(Mismatch { resolution, bucket });
                }
            }
            audit.mismatches.extend(found.into_keys().map(|bucket| Mismatch { resolution, bucket }));
        }
        transaction.commit().await?;
    }
    Ok(audit)
}

/// Replaces every rollup of a tenant by the sum of the contributions of its calls.
pub async fn rebuild(
    store: &dyn RollupStore,
    tenant: TenantId,
    mut on_day: impl FnMut(u64, u64),
) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    for (index, count, day) in days(store, tenant).await? {
        on_day(index, count);
        let mut transaction = store.begin_audit(tenant, true).await?;
        let rollups = sum_day(&mut *transaction, day, &mut audit).await?;
        audit.buckets += rollups.iter().count() as u64;
        transaction.delete_rollups(day).await?;
        transaction.add_rollups(&rollups).await?;
        transaction.commit().await?;
    }
    Ok(audit)
}

/// The days of a tenant, each with its number and their count.
async fn days(store: &dyn RollupStore, tenant: TenantId) -> Result<Vec<(u64, u64, Window)>, StoreError> {
    let starts = store.list_days(tenant).await?;
    let count = starts.len() as u64;
    let windows = starts.into_iter().filter_map(|start| Window::new(start, start + Resolution::Day.width()).ok());
    Ok((0..).zip(windows).map(|(index, day)| (index, count, day)).collect())
}

/// The rollups that a day's calls should have. Calls are loaded an hour at a time.
async fn sum_day(
    transaction: &mut dyn RollupTransaction,
    day: Window,
    audit: &mut Audit,
) -> Result<RollupDeltas, StoreError> {
    audit.days += 1;
    let hour = Resolution::Hour.width();
    let mut minutes: BTreeMap<Timestamp, Contribution> = BTreeMap::new();
    let mut start = day.start();
    while let Ok(window) = Window::new(start, (start + hour).min(day.end())) {
        let calls = transaction.load_calls(window).await?;
        audit.calls += calls.len() as u64;
        for call in &calls {
            *minutes.entry(Resolution::Minute.floor(call.started_at)).or_default() += &Contribution::of(call);
        }
        start = window.end();
    }
    Ok(RollupDeltas::from_minutes(minutes))
}

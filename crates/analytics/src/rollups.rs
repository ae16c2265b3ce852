//! Checks that rollups equal the sum of contributions, and makes them so.
//!
//! Both go day by day, since a day holds whole buckets of every resolution, and hold no more than a page of calls at a
//! time. A day is read in one snapshot, which holds nobody up, so both may run while records come in. Where calls are no
//! longer kept there is nothing to compare with; there the coarser rollups must be the sums of those by the minute.

use crate::ports::{RollupStore, RollupTransaction, StoreError};
use crate::rollup_deltas::{FinestBuckets, RollupDeltas, RollupKey};
use callscope_domain::{Contribution, Dimension, Group, GroupId, Resolution, TenantId, Timestamp, Totals, Window};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Calls that are in memory at one time.
const PAGE_CALLS: u32 = 5000;
/// How often a day is looked at whose rollups another rebuild corrects meanwhile.
const ATTEMPTS_MAX: u32 = 10;
/// The pause before the second attempt, about; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

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
    /// The rollups that are wrong, or that were before they were rebuilt; by day, resolution and bucket.
    pub mismatches: Vec<Mismatch>,
}

/// Compares the rollups of one day, given by its start.
pub async fn verify_day(store: &dyn RollupStore, tenant: TenantId, day: Timestamp) -> Result<Audit, StoreError> {
    let mut snapshot = store.begin_audit(tenant, false).await?;
    let (audit, _) = compare(&mut *snapshot, day).await?;
    snapshot.commit().await?;
    Ok(audit)
}

/// Corrects the rollups of one day, given by its start, and says what it found wrong.
///
/// What is missing is computed in a snapshot and added later: additions commute with those of writers, who are held off
/// only while it is added. Dropped half-way, it has corrected the day or left no trace.
pub async fn rebuild_day(store: &dyn RollupStore, tenant: TenantId, day: Timestamp) -> Result<Audit, StoreError> {
    let mut pause = FIRST_PAUSE;
    for _ in 0..ATTEMPTS_MAX {
        match correct(store, tenant, day).await {
            Ok(Some(audit)) => return Ok(audit),
            Ok(None) | Err(StoreError::Conflict(_)) => {}
            // Perhaps rollups that cannot even be read.
            Err(StoreError::Broken(fault)) => return replace(store, tenant, day, fault).await,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        pause *= 2;
    }
    Err(StoreError::Conflict("other rebuilds change the rollups of this tenant all the time".into()))
}

/// Adds what is missing; `None` when the rollups were changed meanwhile by someone who adds no contributions, such as
/// another rebuild: two must not add the same.
async fn correct(store: &dyn RollupStore, tenant: TenantId, day: Timestamp) -> Result<Option<Audit>, StoreError> {
    let mut snapshot = store.begin_audit(tenant, false).await?;
    let rebuilds = snapshot.state().rebuilds;
    let (audit, missing) = compare(&mut *snapshot, day).await?;
    snapshot.commit().await?;
    if audit.mismatches.is_empty() {
        return Ok(Some(audit));
    }
    let mut correction = store.begin_audit(tenant, true).await?;
    if correction.state().rebuilds != rebuilds {
        return Ok(None);
    }
    correction.add_rollups(&missing).await?;
    correction.count_rebuild().await?;
    correction.commit().await?;
    Ok(Some(audit))
}

/// Makes a day's rollups anew from its calls, whatever they are now. Holds the tenant's writers off all the while.
async fn replace(
    store: &dyn RollupStore,
    tenant: TenantId,
    day: Timestamp,
    fault: Box<dyn std::error::Error + Send + Sync>,
) -> Result<Audit, StoreError> {
    let mut transaction = store.begin_audit(tenant, true).await?;
    if !has_calls(&*transaction, day) {
        return Err(StoreError::Broken(fault));
    }
    let window = window(day)?;
    let mut audit = Audit { days: 1, ..Audit::default() };
    let rollups = rollups_of_calls(&mut *transaction, window, &mut audit).await?;
    // Which of them were right cannot be told.
    audit.mismatches = buckets_of(rollups.rows().iter().map(|(key, _)| key));
    audit.buckets = audit.mismatches.len() as u64;
    transaction.delete_rollups(window).await?;
    transaction.add_rollups(&rollups).await?;
    transaction.count_rebuild().await?;
    transaction.commit().await?;
    Ok(audit)
}

/// Compares a day's rollups with what they should be. Gives what is missing of them, too.
async fn compare(transaction: &mut dyn RollupTransaction, day: Timestamp) -> Result<(Audit, RollupDeltas), StoreError> {
    let window = window(day)?;
    let mut audit = Audit { days: 1, ..Audit::default() };
    let expected = if has_calls(transaction, day) {
        rollups_of_calls(transaction, window, &mut audit).await?
    } else {
        RollupDeltas::from_finest(load_finest(transaction, window).await?)
    };
    audit.buckets = buckets_of(expected.rows().iter().map(|(key, _)| key)).len() as u64;
    let mut missing: BTreeMap<RollupKey, Totals> = expected.into_rows().into_iter().collect();
    for &resolution in Resolution::ALL {
        for (key, found) in transaction.load_rollups(resolution, window).await? {
            *missing.entry(key).or_default() -= &found;
        }
    }
    let missing = RollupDeltas::from_map(missing);
    audit.mismatches = buckets_of(missing.rows().iter().map(|(key, _)| key));
    Ok((audit, missing))
}

/// The buckets that rows belong to, each once, by resolution and start.
fn buckets_of<'k>(keys: impl Iterator<Item = &'k RollupKey>) -> Vec<Mismatch> {
    let buckets: BTreeSet<(Resolution, Timestamp)> = keys.map(|key| (key.resolution, key.bucket)).collect();
    buckets.into_iter().map(|(resolution, bucket)| Mismatch { resolution, bucket }).collect()
}

/// What each dimension's rollups have in the narrowest buckets that have it. Some of it may be in wider ones alone.
async fn load_finest(transaction: &mut dyn RollupTransaction, window: Window) -> Result<FinestBuckets, StoreError> {
    let mut finest = FinestBuckets::new();
    for &resolution in Resolution::ALL {
        let is_read = |dimension: Dimension| [dimension.narrowest(), dimension.finest_of_all()].contains(&resolution);
        if Dimension::ALL.iter().any(|&dimension| is_read(dimension)) {
            let rows = transaction.load_rollups(resolution, window).await?.into_iter();
            for (key, totals) in rows.filter(|(key, _)| is_read(key.dimension)) {
                let narrowest = key.dimension.narrowest();
                let totals =
                    if resolution == narrowest { totals } else { totals.not_kept_in(key.dimension, narrowest) };
                finest.entry((key.dimension, key.group)).or_default().push((key.bucket, totals));
            }
        }
    }
    for buckets in finest.values_mut() {
        buckets.sort_by_key(|(bucket, _)| *bucket);
    }
    Ok(finest)
}

/// Whether the calls of a day are kept. The horizon is a day's start; if it were not, such a day would not be whole.
fn has_calls(transaction: &dyn RollupTransaction, day: Timestamp) -> bool {
    transaction.state().kept_from.is_none_or(|kept_from| kept_from <= day)
}

fn window(day: Timestamp) -> Result<Window, StoreError> {
    Window::new(day, day + Resolution::Day.width()).map_err(|fault| StoreError::Broken(fault.into()))
}

/// The rollups that the calls of a window should have.
async fn rollups_of_calls(
    transaction: &mut dyn RollupTransaction,
    window: Window,
    audit: &mut Audit,
) -> Result<RollupDeltas, StoreError> {
    let groups: HashMap<Group, GroupId> = transaction.load_groups().await?.into_iter().collect();
    let minutes = sum_calls(transaction, window, audit).await?;
    let find = |group: &Group| if *group == Group::TENANT { Some(GroupId::TENANT) } else { groups.get(group).copied() };
    RollupDeltas::from_minutes(minutes, find).map_err(|fault| StoreError::Broken(fault.into()))
}

/// What the calls of a window add to each minute.
async fn sum_calls(
    transaction: &mut dyn RollupTransaction,
    window: Window,
    audit: &mut Audit,
) -> Result<BTreeMap<Timestamp, Contribution>, StoreError> {
    let mut minutes: BTreeMap<Timestamp, Contribution> = BTreeMap::new();
    let mut after = None;
    loop {
        let calls = transaction.load_calls(window, after, PAGE_CALLS).await?;
        audit.calls += calls.len() as u64;
        for call in &calls {
            minutes.entry(Resolution::Minute.floor(call.started_at)).or_default().add_call(call);
        }
        match calls.last() {
            Some(last) if calls.len() == PAGE_CALLS as usize => after = Some((last.started_at, last.id)),
            _ => return Ok(minutes),
        }
    }
}

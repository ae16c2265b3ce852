//! How calls and rollups that are no longer kept are deleted.

use crate::conn::{Access, Conn};
use crate::database::Database;
use crate::groups::load_groups;
use crate::rollups::delete_rollups_of;
use crate::schema::{call_errors, calls, rollup_sums};
use crate::sql::{Id, Time, Word};
use crate::states::{count_rebuild, find_state, lock_tenant, set_calls_kept_from, set_counts};
use async_trait::async_trait;
use callscope_analytics::ports::{RetentionStore, StoreError};
use callscope_domain::{CallStatus, Dimension, GroupId, Resolution, TenantId, Timestamp, Window};
use diesel::prelude::*;

/// Groups whose rollups are deleted in one transaction. A day has 1,561 buckets, so that is some 25,000 rows.
const GROUPS_PER_TRANSACTION: usize = 16;

#[async_trait]
impl RetentionStore for Database {
    async fn keep_calls_from(&self, tenant: TenantId, horizon: Timestamp) -> Result<(), StoreError> {
        let is_there = |kept_from: Option<Time>| kept_from.is_some_and(|kept_from| kept_from.0 >= horizon);
        let state = find_state(&mut self.connection(Access::Read).await?, tenant).await?;
        if state.is_some_and(|state| is_there(state.calls_kept_from)) {
            return Ok(());
        }
        let mut conn = self.transaction(Access::Write).await?;
        // Another server may have raised it meanwhile; then this transaction leaves no trace.
        if !is_there(lock_tenant(&mut conn, tenant).await?.calls_kept_from) {
            set_calls_kept_from(&mut conn, tenant, horizon).await?;
            conn.commit().await?;
        }
        Ok(())
    }

    async fn delete_expired_calls(&self, tenant: TenantId, limit: u32) -> Result<usize, StoreError> {
        // Nobody needs to be held off while there is nothing to delete.
        let mut reader = self.connection(Access::Read).await?;
        let kept_from = find_state(&mut reader, tenant).await?.and_then(|state| state.calls_kept_from);
        if find_expired(&mut reader, tenant, kept_from, 1).await?.is_empty() {
            return Ok(0);
        }
        drop(reader);
        // Under the lock, so that no writer works on a call that goes away.
        let mut conn = self.transaction(Access::Write).await?;
        let state = lock_tenant(&mut conn, tenant).await?;
        let Some(kept_from) = state.calls_kept_from else { return Ok(0) };
        let expired = find_expired(&mut conn, tenant, Some(kept_from), limit).await?;
        let mut counts = state.counts();
        for (_, status, logged_errors) in &expired {
            counts.active_calls -= i64::from(status.0 == CallStatus::Active);
            counts.stored_rows -= 1 + i64::from(*logged_errors);
        }
        let ids: Vec<Id> = expired.into_iter().map(|(id, ..)| id).collect();
        let errors = call_errors::table
            .filter(call_errors::tenant_id.eq(Id::from(tenant)))
            .filter(call_errors::call_id.eq_any(ids.clone()));
        conn.execute(diesel::delete(errors)).await?;
        let expired = calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(calls::call_id.eq_any(ids))
            .filter(calls::started_at.lt(kept_from));
        let deleted = conn.execute(diesel::delete(expired)).await?;
        set_counts(&mut conn, tenant, counts).await?;
        conn.commit().await?;
        Ok(deleted)
    }

    async fn find_first_rollup_day(&self, tenant: TenantId) -> Result<Option<Timestamp>, StoreError> {
        // Whatever was counted is in the sums of its day; those of the whole tenant are the last that are deleted.
        let query = rollup_sums::table
            .filter(rollup_sums::tenant_id.eq(Id::from(tenant)))
            .filter(rollup_sums::dimension.eq(Dimension::Tenant.row().code))
            .filter(rollup_sums::resolution.eq(Resolution::Day.code()))
            .filter(rollup_sums::group_id.eq(GroupId::TENANT.0))
            .order(rollup_sums::bucket)
            .limit(1)
            .select(rollup_sums::bucket);
        let first: Vec<Time> = self.connection(Access::Read).await?.load(query).await?;
        Ok(first.first().map(|bucket| bucket.0))
    }

    async fn delete_rollups(&self, tenant: TenantId, window: Window) -> Result<(), StoreError> {
        let groups = load_groups(&mut self.connection(Access::Read).await?, tenant).await?;
        // The whole tenant is the last, see `find_first_rollup_day`: a run that was interrupted begins again here.
        for &dimension in Dimension::ALL.iter().filter(|&&dimension| dimension != Dimension::Tenant) {
            let of_dimension = groups.iter().filter(|(group, _)| group.dimension == dimension);
            let ids: Vec<i32> = of_dimension.map(|(_, id)| id.0).collect();
            for ids in ids.chunks(GROUPS_PER_TRANSACTION) {
                self.delete_rollups_of_groups(tenant, dimension, ids, window).await?;
            }
        }
        self.delete_rollups_of_groups(tenant, Dimension::Tenant, &[GroupId::TENANT.0], window).await
    }
}

impl Database {
    /// Deletes what some groups have: all resolutions at once, or an audit would meet hours without their minutes.
    async fn delete_rollups_of_groups(
        &self,
        tenant: TenantId,
        dimension: Dimension,
        groups: &[i32],
        window: Window,
    ) -> Result<(), StoreError> {
        let mut conn = self.lock_rollups(tenant).await?;
        delete_rollups_of(&mut conn, tenant, dimension, groups, window).await?;
        conn.commit().await
    }

    /// A transaction that may take rollups away: what a rebuild has computed of them does not count any more.
    async fn lock_rollups(&self, tenant: TenantId) -> Result<Conn, StoreError> {
        let mut conn = self.transaction(Access::Write).await?;
        lock_tenant(&mut conn, tenant).await?;
        count_rebuild(&mut conn, tenant).await?;
        Ok(conn)
    }
}

/// A call that is no longer kept: its id, its status, and how many of its errors the log has.
type ExpiredCall = (Id, Word<CallStatus>, i32);

async fn find_expired(
    conn: &mut Conn,
    tenant: TenantId,
    kept_from: Option<Time>,
    limit: u32,
) -> Result<Vec<ExpiredCall>, StoreError> {
    let Some(kept_from) = kept_from else { return Ok(Vec::new()) };
    let query = calls::table
        .filter(calls::tenant_id.eq(Id::from(tenant)))
        .filter(calls::started_at.lt(kept_from))
        .order(calls::started_at)
        .limit(limit.into())
        .select((calls::call_id, calls::status, calls::logged_errors));
    conn.load(query).await
}

//! How rollups and the calls beneath them are read and corrected by an audit.

use crate::call_rows::StoredCallRow;
use crate::conn::{Access, Conn};
use crate::database::Database;
use crate::groups::load_groups;
use crate::rollups::{SumColumns, add_rollups, delete_rollups_of, load_distributions, load_sums};
use crate::rows::TenantStateRow;
use crate::scan::{add_page, all_calls_in};
use crate::schema::{calls, rollup_distributions, rollup_sums};
use crate::sql::{Id, Time};
use crate::states::{count_rebuild, find_state, lock_tenant};
use async_trait::async_trait;
use callscope_analytics::ports::{CallPosition, RollupStore, RollupTransaction, StoreError, TenantState};
use callscope_analytics::rollup_deltas::{RollupDeltas, RollupKey};
use callscope_domain::{
    CallFacts, CallId, Dimension, Group, GroupId, Resolution, Span, TenantId, Timestamp, Totals, Window,
};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// An instant before every call, and one that both databases can compare with: the year 1000 before our era.
const EARLIEST: Timestamp = Timestamp::from_micros(-93_700_000_000_000_000);
/// Groups whose rollups are read by one statement.
const GROUPS_PER_STATEMENT: usize = 500;

#[async_trait]
impl RollupStore for Database {
    async fn list_days(&self, tenant: TenantId) -> Result<Vec<Timestamp>, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let mut days = BTreeSet::new();
        list_call_days(&mut conn, tenant, &mut days).await?;
        list_rollup_days(&mut conn, tenant, &mut days).await?;
        conn.commit().await?;
        Ok(days.into_iter().collect())
    }

    async fn begin_audit(&self, tenant: TenantId, writable: bool) -> Result<Box<dyn RollupTransaction>, StoreError> {
        let access = if writable { Access::Write } else { Access::Read };
        let mut conn = self.transaction(access).await?;
        let state =
            if writable { Some(lock_tenant(&mut conn, tenant).await?) } else { find_state(&mut conn, tenant).await? };
        Ok(Box::new(RollupAudit {
            conn,
            tenant,
            state: state.map_or_else(TenantState::default, Into::into),
            groups: None,
        }))
    }
}

impl From<TenantStateRow> for TenantState {
    fn from(row: TenantStateRow) -> Self {
        Self { kept_from: row.calls_kept_from.map(|time| time.0), rebuilds: row.rebuilds }
    }
}

/// From one day's first entry of an index to that of the next: entries are many, days are few.
macro_rules! each_day {
    ($conn:ident, $days:ident, $instant:expr, $rows:expr) => {
        let mut from = Time(EARLIEST);
        loop {
            let first = $rows.filter($instant.ge(from)).order($instant).limit(1).select($instant);
            let Some(first) = $conn.load::<Time>(first).await?.first().copied() else { break };
            let day = Resolution::Day.floor(first.0);
            $days.insert(day);
            from = Time(day + Resolution::Day.width());
        }
    };
}

async fn list_call_days(conn: &mut Conn, tenant: TenantId, days: &mut BTreeSet<Timestamp>) -> Result<(), StoreError> {
    each_day!(conn, days, calls::started_at, calls::table.filter(calls::tenant_id.eq(Id::from(tenant))));
    Ok(())
}

/// Days with rollups. What a group has stands beside something of the whole tenant at every resolution, so that is looked
/// for; what is left of a group alone, by the days of the group.
async fn list_rollup_days(conn: &mut Conn, tenant: TenantId, days: &mut BTreeSet<Timestamp>) -> Result<(), StoreError> {
    for resolution in Resolution::ALL {
        let of_tenant = || {
            rollup_sums::table
                .filter(rollup_sums::tenant_id.eq(Id::from(tenant)))
                .filter(rollup_sums::dimension.eq(Dimension::Tenant.row().code))
                .filter(rollup_sums::resolution.eq(resolution.code()))
                .filter(rollup_sums::group_id.eq(GroupId::TENANT.0))
        };
        each_day!(conn, days, rollup_sums::bucket, of_tenant());
    }
    let codes = || Dimension::ALL.iter().map(|dimension| dimension.row().code);
    let sums = rollup_sums::table
        .filter(rollup_sums::tenant_id.eq(Id::from(tenant)))
        .filter(rollup_sums::dimension.eq_any(codes()))
        .filter(rollup_sums::resolution.eq(Resolution::Day.code()))
        .select(rollup_sums::bucket)
        .distinct();
    days.extend(conn.load::<Time>(sums).await?.into_iter().map(|day| day.0));
    let distributions = rollup_distributions::table
        .filter(rollup_distributions::tenant_id.eq(Id::from(tenant)))
        .filter(rollup_distributions::dimension.eq_any(codes()))
        .filter(rollup_distributions::resolution.eq(Resolution::Day.code()))
        .select(rollup_distributions::bucket)
        .distinct();
    days.extend(conn.load::<Time>(distributions).await?.into_iter().map(|day| day.0));
    Ok(())
}

struct RollupAudit {
    conn: Conn,
    tenant: TenantId,
    state: TenantState,
    /// The groups of the tenant, once they are loaded. The keys of rollups have the group before the bucket, so a day is
    /// only found by naming groups.
    groups: Option<Vec<(Group, GroupId)>>,
}

impl RollupAudit {
    async fn groups(&mut self) -> Result<&[(Group, GroupId)], StoreError> {
        if self.groups.is_none() {
            self.groups = Some(load_groups(&mut self.conn, self.tenant).await?);
        }
        Ok(self.groups.get_or_insert_default())
    }

    /// The numbers of the groups of a dimension, as many together as one statement reads.
    async fn chunks(&mut self, dimension: Dimension) -> Result<Vec<Vec<i32>>, StoreError> {
        if dimension == Dimension::Tenant {
            return Ok(vec![vec![GroupId::TENANT.0]]);
        }
        let of_dimension = self.groups().await?.iter().filter(|(group, _)| group.dimension == dimension);
        let ids: Vec<i32> = of_dimension.map(|(_, id)| id.0).collect();
        Ok(ids.chunks(GROUPS_PER_STATEMENT).map(<[i32]>::to_vec).collect())
    }
}

#[async_trait]
impl RollupTransaction for RollupAudit {
    fn state(&self) -> TenantState {
        self.state
    }

    async fn load_calls(
        &mut self,
        window: Window,
        after: Option<CallPosition>,
        limit: u32,
    ) -> Result<Vec<CallFacts>, StoreError> {
        let before_all = (window.start() - Span::from_micros(1), CallId(Uuid::nil()));
        let (instant, id) = after.unwrap_or(before_all);
        let mut query = all_calls_in(self.tenant.into(), window);
        add_page(&mut query, (instant, id), limit);
        let rows: Vec<StoredCallRow> = self.conn.load(query).await?;
        rows.into_iter().map(|StoredCallRow(row, _)| row.try_into()).collect()
    }

    async fn load_groups(&mut self) -> Result<Vec<(Group, GroupId)>, StoreError> {
        self.groups().await.map(<[_]>::to_vec)
    }

    async fn load_rollups(
        &mut self,
        resolution: Resolution,
        window: Window,
    ) -> Result<BTreeMap<RollupKey, Totals>, StoreError> {
        let mut found: BTreeMap<RollupKey, Totals> = BTreeMap::new();
        for &dimension in Dimension::ALL {
            let of = (dimension, resolution);
            for groups in self.chunks(dimension).await? {
                for (key, sums) in load_sums(&mut self.conn, self.tenant, of, &groups, window).await? {
                    found.entry(key).or_default().sums = sums;
                }
                for (key, totals) in load_distributions(&mut self.conn, self.tenant, of, &groups, window).await? {
                    *found.entry(key).or_default() += &totals;
                }
            }
        }
        // Rows that came back to zero stay in the tables; as rollups they are nothing.
        found.retain(|_, totals| !totals.is_zero());
        Ok(found)
    }

    async fn delete_rollups(&mut self, window: Window) -> Result<(), StoreError> {
        for &dimension in Dimension::ALL {
            for groups in self.chunks(dimension).await? {
                delete_rollups_of(&mut self.conn, self.tenant, dimension, &groups, window).await?;
            }
        }
        Ok(())
    }

    async fn add_rollups(&mut self, deltas: &RollupDeltas) -> Result<(), StoreError> {
        add_rollups(&mut self.conn, self.tenant, deltas, SumColumns::new(deltas)).await
    }

    async fn count_rebuild(&mut self) -> Result<(), StoreError> {
        count_rebuild(&mut self.conn, self.tenant).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.conn.commit().await
    }
}

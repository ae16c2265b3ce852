//! How rollups and the calls beneath them are read and corrected by an audit.

use crate::analytics::WHOLE_TENANT;
use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::retention::{delete_call_rollups, delete_error_rollups, delete_provider_rollups, list_workflows};
use crate::rollups::{SumRows, add_rollups};
use crate::rows::{CallFactsRow, CallRollupRow, ErrorCountRow, ProviderTotalsRow, TenantStateRow};
use crate::schema::{call_rollups, calls, error_rollups, provider_rollups};
use crate::sql::{Id, Time, Word};
use crate::states::{count_rebuild, find_state, lock_tenant};
use async_trait::async_trait;
use callscope_analytics::deltas::RollupDeltas;
use callscope_analytics::ports::{CallPosition, RollupStore, RollupTransaction, StoreError, TenantState};
use callscope_domain::{CallFacts, CallId, CallTotals, Contribution, Resolution, Span, TenantId, Timestamp, Window};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// An instant before every call, and one that both databases can compare with: the year 1000 before our era.
const EARLIEST: Timestamp = Timestamp::from_micros(-93_700_000_000_000_000);
/// Workflows whose rollups are read by one statement.
const WORKFLOWS_PER_STATEMENT: usize = 500;

#[async_trait]
impl RollupStore for Database {
    async fn list_days(&self, tenant: TenantId) -> Result<Vec<Timestamp>, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let mut days = BTreeSet::new();
        list_call_days(&mut conn, tenant, &mut days).await?;
        for &resolution in Resolution::ALL {
            list_rollup_days(&mut conn, tenant, resolution, &mut days).await?;
        }
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
            workflows: None,
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

/// Days with rollups of one resolution. Those of single workflows are not looked for: they stand beside one of the whole
/// tenant.
async fn list_rollup_days(
    conn: &mut Conn,
    tenant: TenantId,
    resolution: Resolution,
    days: &mut BTreeSet<Timestamp>,
) -> Result<(), StoreError> {
    let (tenant, resolution) = (Id::from(tenant), Word(resolution));
    let of_calls = || {
        call_rollups::table
            .filter(call_rollups::tenant_id.eq(tenant))
            .filter(call_rollups::resolution.eq(resolution))
            .filter(call_rollups::workflow_id.eq(WHOLE_TENANT))
    };
    each_day!(conn, days, call_rollups::bucket, of_calls());
    let of_providers = || {
        provider_rollups::table
            .filter(provider_rollups::tenant_id.eq(tenant))
            .filter(provider_rollups::resolution.eq(resolution))
    };
    each_day!(conn, days, provider_rollups::bucket, of_providers());
    let of_errors = || {
        error_rollups::table
            .filter(error_rollups::tenant_id.eq(tenant))
            .filter(error_rollups::resolution.eq(resolution))
    };
    each_day!(conn, days, error_rollups::bucket, of_errors());
    Ok(())
}

struct RollupAudit {
    conn: Conn,
    tenant: TenantId,
    state: TenantState,
    /// Those that can have rollups: known ones, and whichever a loaded call has. The key of the call rollups has the
    /// workflow before the bucket, so a day is only found by naming them.
    workflows: Option<BTreeSet<Uuid>>,
}

impl RollupAudit {
    async fn workflows(&mut self) -> Result<&mut BTreeSet<Uuid>, StoreError> {
        if self.workflows.is_none() {
            let known = list_workflows(&mut self.conn, self.tenant).await?;
            self.workflows = Some(known.into_iter().chain([WHOLE_TENANT]).map(|id| id.0).collect());
        }
        Ok(self.workflows.get_or_insert_default())
    }

    async fn workflow_chunks(&mut self) -> Result<Vec<Vec<Id>>, StoreError> {
        let ids: Vec<Id> = self.workflows().await?.iter().copied().map(Id).collect();
        Ok(ids.chunks(WORKFLOWS_PER_STATEMENT).map(<[Id]>::to_vec).collect())
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
        let query = calls::table
            .filter(calls::tenant_id.eq(Id::from(self.tenant)))
            // A bound of the index; the rest of the position is seen row by row.
            .filter(calls::started_at.ge(Time(instant.max(window.start()))))
            .filter(calls::started_at.lt(Time(window.end())))
            .filter(calls::started_at.gt(Time(instant)).or(calls::call_id.gt(Id::from(id))))
            .order((calls::started_at, calls::call_id))
            .limit(limit.into())
            .select(columns::<CallFactsRow>());
        let rows: Vec<CallFactsRow> = self.conn.load(query).await?;
        let facts: Vec<CallFacts> = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        self.workflows().await?.extend(facts.iter().filter_map(|call| call.workflow_id).map(|id| id.0));
        Ok(facts)
    }

    async fn load_rollups(
        &mut self,
        resolution: Resolution,
        window: Window,
    ) -> Result<BTreeMap<Timestamp, Contribution>, StoreError> {
        let tenant = Id::from(self.tenant);
        let (start, end) = (Time(window.start()), Time(window.end()));
        let mut found: BTreeMap<Timestamp, Contribution> = BTreeMap::new();
        for ids in self.workflow_chunks().await? {
            let query = call_rollups::table
                .filter(call_rollups::tenant_id.eq(tenant))
                .filter(call_rollups::resolution.eq(Word(resolution)))
                .filter(call_rollups::workflow_id.eq_any(ids))
                .filter(call_rollups::bucket.ge(start))
                .filter(call_rollups::bucket.lt(end))
                .select(columns::<CallRollupRow>());
            for row in self.conn.load::<CallRollupRow>(query).await? {
                let bucket = found.entry(row.bucket.0).or_default();
                match row.workflow_id {
                    WHOLE_TENANT => bucket.calls = CallTotals::from(&row),
                    workflow => drop(bucket.workflows.insert(workflow.into(), CallTotals::from(&row))),
                }
            }
        }
        let query = provider_rollups::table
            .filter(provider_rollups::tenant_id.eq(tenant))
            .filter(provider_rollups::resolution.eq(Word(resolution)))
            .filter(provider_rollups::bucket.ge(start))
            .filter(provider_rollups::bucket.lt(end))
            .select(columns::<ProviderTotalsRow>());
        for row in self.conn.load::<ProviderTotalsRow>(query).await? {
            let bucket = found.entry(row.bucket.0).or_default();
            let (provider, totals) = row.try_into()?;
            bucket.providers.insert(provider, totals);
        }
        let query = error_rollups::table
            .filter(error_rollups::tenant_id.eq(tenant))
            .filter(error_rollups::resolution.eq(Word(resolution)))
            .filter(error_rollups::bucket.ge(start))
            .filter(error_rollups::bucket.lt(end))
            .select(columns::<ErrorCountRow>());
        for row in self.conn.load::<ErrorCountRow>(query).await? {
            found.entry(row.bucket.0).or_default().errors.insert(row.kind(), row.error_count);
        }
        // Rows that came back to zero stay in the tables; as contributions they are nothing.
        Ok(found
            .into_iter()
            .map(|(bucket, sum)| (bucket, sum.without_zeros()))
            .filter(|(_, sum)| !sum.is_zero())
            .collect())
    }

    async fn delete_rollups(&mut self, window: Window) -> Result<(), StoreError> {
        for ids in self.workflow_chunks().await? {
            delete_call_rollups(&mut self.conn, self.tenant, &ids, window).await?;
        }
        for &resolution in Resolution::ALL {
            delete_provider_rollups(&mut self.conn, self.tenant, resolution, window).await?;
            delete_error_rollups(&mut self.conn, self.tenant, resolution, window).await?;
        }
        Ok(())
    }

    async fn add_rollups(&mut self, deltas: &RollupDeltas) -> Result<(), StoreError> {
        add_rollups(&mut self.conn, self.tenant, deltas, SumRows::new(deltas)).await
    }

    async fn count_rebuild(&mut self) -> Result<(), StoreError> {
        count_rebuild(&mut self.conn, self.tenant).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.conn.commit().await
    }
}

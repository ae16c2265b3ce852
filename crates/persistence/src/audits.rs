//! How rollups and the calls beneath them are read and corrected by an audit.

use crate::analytics::WHOLE_TENANT;
use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::rollups::add_rollups;
use crate::rows::{CallFactsRow, CallRollupRow, ErrorCountRow, ProviderTotalsRow};
use crate::schema::{call_rollups, calls, error_rollups, provider_rollups};
use crate::sql::{Id, Time, Word};
use crate::states::lock_tenant;
use async_trait::async_trait;
use callscope_analytics::deltas::RollupDeltas;
use callscope_analytics::ports::{RollupStore, RollupTransaction, StoreError};
use callscope_domain::{CallFacts, CallTotals, Contribution, Resolution, TenantId, Timestamp, Window};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// An instant before every call, and one that both databases can compare with: the year 1000 before our era.
const EARLIEST_US: i64 = -93_700_000_000_000_000;

#[async_trait]
impl RollupStore for Database {
    async fn list_days(&self, tenant: TenantId) -> Result<Vec<Timestamp>, StoreError> {
        let tenant = Id::from(tenant);
        let mut conn = self.transaction(Access::Read).await?;
        // All of a tenant's rollups are read, as they are by the audit that asks.
        let of_calls = call_rollups::table.filter(call_rollups::tenant_id.eq(tenant));
        let of_providers = provider_rollups::table.filter(provider_rollups::tenant_id.eq(tenant));
        let of_errors = error_rollups::table.filter(error_rollups::tenant_id.eq(tenant));
        let buckets: [Vec<Time>; 3] = [
            conn.load(of_calls.select(call_rollups::bucket).distinct()).await?,
            conn.load(of_providers.select(provider_rollups::bucket).distinct()).await?,
            conn.load(of_errors.select(error_rollups::bucket).distinct()).await?,
        ];
        let mut days: BTreeSet<Timestamp> =
            buckets.iter().flatten().map(|bucket| Resolution::Day.floor(bucket.0)).collect();
        // From one day's first call to that of the next: calls are many, days are few.
        let mut from = Time(Timestamp::from_micros(EARLIEST_US));
        loop {
            let later = calls::table
                .filter(calls::tenant_id.eq(tenant))
                .filter(calls::started_at.ge(from))
                .order(calls::started_at)
                .limit(1)
                .select(calls::started_at);
            let Some(first) = conn.load::<Time>(later).await?.first().copied() else { break };
            let day = Resolution::Day.floor(first.0);
            days.insert(day);
            from = Time(day + Resolution::Day.width());
        }
        conn.commit().await?;
        Ok(days.into_iter().collect())
    }

    async fn begin_audit(&self, tenant: TenantId, writable: bool) -> Result<Box<dyn RollupTransaction>, StoreError> {
        let access = if writable { Access::Write } else { Access::Read };
        let mut conn = self.transaction(access).await?;
        if writable {
            lock_tenant(&mut conn, tenant).await?;
        }
        Ok(Box::new(RollupAudit { conn, tenant }))
    }
}

struct RollupAudit {
    conn: Conn,
    tenant: TenantId,
}

#[async_trait]
impl RollupTransaction for RollupAudit {
    async fn load_calls(&mut self, window: Window) -> Result<Vec<CallFacts>, StoreError> {
        let query = calls::table
            .filter(calls::tenant_id.eq(Id::from(self.tenant)))
            .filter(calls::started_at.ge(Time(window.start())))
            .filter(calls::started_at.lt(Time(window.end())))
            .select(columns::<CallFactsRow>());
        let rows: Vec<CallFactsRow> = self.conn.load(query).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn load_rollups(
        &mut self,
        resolution: Resolution,
        window: Window,
    ) -> Result<BTreeMap<Timestamp, Contribution>, StoreError> {
        let tenant = Id::from(self.tenant);
        let (start, end) = (Time(window.start()), Time(window.end()));
        let mut found: BTreeMap<Timestamp, Contribution> = BTreeMap::new();
        let query = call_rollups::table
            .filter(call_rollups::tenant_id.eq(tenant))
            .filter(call_rollups::resolution.eq(Word(resolution)))
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
        let tenant = Id::from(self.tenant);
        let (start, end) = (Time(window.start()), Time(window.end()));
        let calls = call_rollups::table
            .filter(call_rollups::tenant_id.eq(tenant))
            .filter(call_rollups::bucket.ge(start))
            .filter(call_rollups::bucket.lt(end));
        self.conn.execute(diesel::delete(calls)).await?;
        let providers = provider_rollups::table
            .filter(provider_rollups::tenant_id.eq(tenant))
            .filter(provider_rollups::bucket.ge(start))
            .filter(provider_rollups::bucket.lt(end));
        self.conn.execute(diesel::delete(providers)).await?;
        let errors = error_rollups::table
            .filter(error_rollups::tenant_id.eq(tenant))
            .filter(error_rollups::bucket.ge(start))
            .filter(error_rollups::bucket.lt(end));
        self.conn.execute(diesel::delete(errors)).await?;
        Ok(())
    }

    async fn add_rollups(&mut self, deltas: &RollupDeltas) -> Result<(), StoreError> {
        add_rollups(&mut self.conn, self.tenant, deltas).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.conn.commit().await
    }
}

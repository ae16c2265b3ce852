//! What the read endpoints load.

use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::fragment::{UnionAll, maybe};
use crate::rows::{CallFactsRow, CallRollupRow, ErrorRollupRow, LoggedErrorRow, ProviderRollupRow, WorkflowRow};
use crate::schema::{call_errors, call_rollups, calls, error_rollups, provider_rollups, workflows};
use crate::sql::{Id, Time, Word};
use async_trait::async_trait;
use callscope_analytics::ports::{
    AnalyticsStore, CallParts, CallScope, ErrorFilter, ErrorParts, LoggedError, Page, ProviderParts, StoreError,
    WorkflowLabel, WorkflowParts,
};
use callscope_domain::{
    CALL_DURATION_MAX, CLOCK_SKEW_MAX, CallFacts, CallStatus, CallTotals, TenantId, Window, WindowPlan,
};
use diesel::prelude::*;
use uuid::Uuid;

/// The workflow under which the whole tenant's totals are kept.
pub const WHOLE_TENANT: Id = Id(Uuid::nil());

#[async_trait]
impl AnalyticsStore for Database {
    async fn load_call_parts(
        &self,
        tenant: TenantId,
        scope: &CallScope,
        plan: &WindowPlan,
    ) -> Result<CallParts, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let workflows = workflows_of(&mut conn, tenant, scope).await?;
        let rows = load_call_rollups(&mut conn, tenant, workflows.clone().unwrap_or_else(|| vec![WHOLE_TENANT]), plan);
        let buckets = rows.await?.iter().map(|row| (row.bucket.0, CallTotals::from(row))).collect();
        let edge_calls = load_edge_calls(&mut conn, tenant, workflows, plan).await?;
        conn.commit().await?;
        Ok(CallParts { buckets, edge_calls })
    }

    async fn count_active_calls(&self, tenant: TenantId, scope: &CallScope) -> Result<u64, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let workflows = workflows_of(&mut conn, tenant, scope).await?;
        let count: Vec<i64> = conn
            .load(
                calls::table
                    .filter(calls::tenant_id.eq(Id::from(tenant)))
                    .filter(calls::status.eq(Word(CallStatus::Active)))
                    .filter(maybe(workflows.map(|ids| calls::workflow_id.eq_any(ids).assume_not_null())))
                    .count(),
            )
            .await?;
        conn.commit().await?;
        Ok(count.first().map_or(0, |count| count.unsigned_abs()))
    }

    async fn load_workflow_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<WorkflowParts, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let labels: Vec<WorkflowRow> = conn
            .load(workflows::table.filter(workflows::tenant_id.eq(Id::from(tenant))).select(columns::<WorkflowRow>()))
            .await?;
        let mut buckets = Vec::new();
        let ids: Vec<Id> = labels.iter().map(|row| row.workflow_id).collect();
        for chunk in ids.chunks(WORKFLOWS_PER_QUERY_MAX) {
            let rows = load_call_rollups(&mut conn, tenant, chunk.to_vec(), plan).await?;
            buckets.extend(rows.iter().map(|row| (row.workflow_id.into(), CallTotals::from(row))));
        }
        let edge_calls = load_edge_calls(&mut conn, tenant, None, plan).await?;
        conn.commit().await?;
        let workflows: Result<Vec<WorkflowLabel>, StoreError> = labels.into_iter().map(TryInto::try_into).collect();
        Ok(WorkflowParts { buckets, edge_calls, workflows: workflows? })
    }

    async fn load_provider_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<ProviderParts, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let parts = plan.ranges.iter().map(|range| {
            provider_rollups::table
                .filter(provider_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(provider_rollups::resolution.eq(Word(range.resolution)))
                .filter(provider_rollups::bucket.ge(Time(range.start)))
                .filter(provider_rollups::bucket.lt(Time(range.end)))
                .select(columns::<ProviderRollupRow>())
        });
        let rows: Vec<ProviderRollupRow> = load_union(&mut conn, parts.collect()).await?;
        let buckets: Result<Vec<_>, StoreError> = rows.into_iter().map(TryInto::try_into).collect();
        let edge_calls = load_edge_calls(&mut conn, tenant, None, plan).await?;
        conn.commit().await?;
        Ok(ProviderParts { buckets: buckets?, edge_calls })
    }

    async fn load_error_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<ErrorParts, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let parts = plan.ranges.iter().map(|range| {
            error_rollups::table
                .filter(error_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(error_rollups::resolution.eq(Word(range.resolution)))
                .filter(error_rollups::bucket.ge(Time(range.start)))
                .filter(error_rollups::bucket.lt(Time(range.end)))
                .select(columns::<ErrorRollupRow>())
        });
        let rows: Vec<ErrorRollupRow> = load_union(&mut conn, parts.collect()).await?;
        let edge_calls = load_edge_calls(&mut conn, tenant, None, plan).await?;
        conn.commit().await?;
        Ok(ErrorParts { buckets: rows.iter().map(|row| (row.kind(), row.error_count)).collect(), edge_calls })
    }

    async fn list_errors(
        &self,
        tenant: TenantId,
        window: Window,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<Vec<LoggedError>, StoreError> {
        // An error lies within its call, give or take the skew: so the window of starts bounds the error's own time,
        // by which the indexes are ordered.
        let earliest = window.start() - CLOCK_SKEW_MAX;
        let latest = window.end() + CALL_DURATION_MAX + CLOCK_SKEW_MAX;
        let query = call_errors::table
            .filter(call_errors::tenant_id.eq(Id::from(tenant)))
            .filter(call_errors::occurred_at.ge(Time(earliest)))
            .filter(call_errors::occurred_at.lt(Time(latest)))
            .filter(call_errors::call_started_at.ge(Time(window.start())))
            .filter(call_errors::call_started_at.lt(Time(window.end())))
            .filter(maybe(filter.service.map(|service| call_errors::service.eq(Word(service)))))
            .filter(maybe(filter.level.map(|level| call_errors::level.eq(Word(level)))))
            .order((call_errors::occurred_at.desc(), call_errors::call_id, call_errors::position))
            .limit(page.limit.into())
            .offset(page.offset.into())
            .select(columns::<LoggedErrorRow>());
        let rows: Vec<LoggedErrorRow> = self.connection(Access::Read).await?.load(query).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut conn = self.connection(Access::Read).await?;
        let _: Vec<Id> = conn.load(workflows::table.select(workflows::tenant_id).limit(1)).await?;
        Ok(())
    }
}

/// Each takes a bound parameter in each of a plan's ranges; SQLite has room for 32,766 in a statement.
const WORKFLOWS_PER_QUERY_MAX: usize = 4000;

/// The ids of a scope's workflows; `None` for the whole tenant.
async fn workflows_of(conn: &mut Conn, tenant: TenantId, scope: &CallScope) -> Result<Option<Vec<Id>>, StoreError> {
    let CallScope::Workflow(slug) = scope else { return Ok(None) };
    let query = workflows::table
        .filter(workflows::tenant_id.eq(Id::from(tenant)))
        .filter(workflows::slug.eq(slug.to_string()))
        .select(workflows::workflow_id)
        .limit(i64::try_from(WORKFLOWS_PER_QUERY_MAX).unwrap_or(i64::MAX));
    conn.load(query).await.map(Some)
}

/// The rollups of a plan's whole buckets, for some workflows.
async fn load_call_rollups(
    conn: &mut Conn,
    tenant: TenantId,
    workflows: Vec<Id>,
    plan: &WindowPlan,
) -> Result<Vec<CallRollupRow>, StoreError> {
    let parts = plan.ranges.iter().map(|range| {
        call_rollups::table
            .filter(call_rollups::tenant_id.eq(Id::from(tenant)))
            .filter(call_rollups::resolution.eq(Word(range.resolution)))
            .filter(call_rollups::workflow_id.eq_any(workflows.clone()))
            .filter(call_rollups::bucket.ge(Time(range.start)))
            .filter(call_rollups::bucket.lt(Time(range.end)))
            .select(columns::<CallRollupRow>())
    });
    load_union(conn, parts.collect()).await
}

/// The calls of a plan's edges, of some workflows or all.
async fn load_edge_calls(
    conn: &mut Conn,
    tenant: TenantId,
    workflows: Option<Vec<Id>>,
    plan: &WindowPlan,
) -> Result<Vec<CallFacts>, StoreError> {
    let parts = plan.edges.iter().map(|edge| {
        calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(calls::started_at.ge(Time(edge.start())))
            .filter(calls::started_at.lt(Time(edge.end())))
            .filter(maybe(workflows.clone().map(|ids| calls::workflow_id.eq_any(ids).assume_not_null())))
            .select(columns::<CallFactsRow>())
    });
    let rows: Vec<CallFactsRow> = load_union(conn, parts.collect()).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The rows of several queries of one shape; none of no queries.
async fn load_union<Q, U>(conn: &mut Conn, parts: Vec<Q>) -> Result<Vec<U>, StoreError>
where
    U: Send + 'static,
    UnionAll<Q>: crate::conn::Query<U>,
{
    if parts.is_empty() { Ok(Vec::new()) } else { conn.load(UnionAll(parts)).await }
}

impl TryFrom<WorkflowRow> for WorkflowLabel {
    type Error = StoreError;

    fn try_from(row: WorkflowRow) -> Result<Self, StoreError> {
        let slug = callscope_domain::Slug::new(row.slug).map_err(crate::errors::damaged)?;
        let name = row.name.unwrap_or_else(|| slug.to_string());
        Ok(Self { id: row.workflow_id.into(), slug, name })
    }
}

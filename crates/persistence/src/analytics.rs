//! What the read endpoints load.

use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::fragment::{UnionAll, maybe};
use crate::rows::{
    CallFactsRow, CallRollupRow, ErrorCountRow, LoggedErrorRow, ProviderTotalsRow, WorkflowRow, sum_by_provider,
};
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
use diesel::sql_types::Integer;
use std::collections::HashSet;
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
        let ids = workflows.as_deref().unwrap_or(&[WHOLE_TENANT]);
        let rows = load_call_rollups(&mut conn, tenant, ids, plan).await?;
        let buckets = rows.iter().map(|row| (row.bucket.0, CallTotals::from(row))).collect();
        let mut edge_calls = load_edge_calls(&mut conn, tenant, plan).await?;
        if let Some(ids) = &workflows {
            let ids: HashSet<Id> = ids.iter().copied().collect();
            edge_calls.retain(|call| call.workflow_id.is_some_and(|id| ids.contains(&Id::from(id))));
        }
        conn.commit().await?;
        Ok(CallParts { buckets, edge_calls })
    }

    async fn count_active_calls(&self, tenant: TenantId, scope: &CallScope) -> Result<u64, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let workflows = workflows_of(&mut conn, tenant, scope).await?;
        let active = calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(calls::status.eq(Word(CallStatus::Active)));
        let mut total = 0;
        match workflows {
            None => total += conn.load::<i64>(active.count()).await?.iter().sum::<i64>(),
            Some(ids) => {
                for chunk in ids.chunks(WORKFLOWS_PER_QUERY_MAX) {
                    let of_chunk = calls::workflow_id.eq_any(chunk.to_vec()).assume_not_null();
                    total += conn.load::<i64>(active.filter(of_chunk).count()).await?.iter().sum::<i64>();
                }
            }
        }
        conn.commit().await?;
        Ok(total.unsigned_abs())
    }

    async fn load_workflow_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<WorkflowParts, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let labels: Vec<WorkflowRow> = conn
            .load(workflows::table.filter(workflows::tenant_id.eq(Id::from(tenant))).select(columns::<WorkflowRow>()))
            .await?;
        let ids: Vec<Id> = labels.iter().map(|row| row.workflow_id).collect();
        let rows = load_call_rollups(&mut conn, tenant, &ids, plan).await?;
        let buckets = rows.iter().map(|row| (row.workflow_id.into(), CallTotals::from(row))).collect();
        let edge_calls = load_edge_calls(&mut conn, tenant, plan).await?;
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
                .select(columns::<ProviderTotalsRow>())
        });
        let rows: Vec<ProviderTotalsRow> = load_union(&mut conn, parts.collect()).await?;
        let edge_calls = load_edge_calls(&mut conn, tenant, plan).await?;
        conn.commit().await?;
        Ok(ProviderParts { buckets: sum_by_provider(rows)?, edge_calls })
    }

    async fn load_error_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<ErrorParts, StoreError> {
        let mut conn = self.transaction(Access::Read).await?;
        let parts = plan.ranges.iter().map(|range| {
            error_rollups::table
                .filter(error_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(error_rollups::resolution.eq(Word(range.resolution)))
                .filter(error_rollups::bucket.ge(Time(range.start)))
                .filter(error_rollups::bucket.lt(Time(range.end)))
                .select(columns::<ErrorCountRow>())
        });
        let rows: Vec<ErrorCountRow> = load_union(&mut conn, parts.collect()).await?;
        let edge_calls = load_edge_calls(&mut conn, tenant, plan).await?;
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
        conn.load::<i32>(diesel::select(1_i32.into_sql::<Integer>())).await?;
        Ok(())
    }
}

/// Workflows of one statement: each is a bound parameter in each of a plan's ranges, and SQLite has room for 32,766.
const WORKFLOWS_PER_QUERY_MAX: usize = 4000;

/// The ids of a scope's workflows; `None` for the whole tenant.
async fn workflows_of(conn: &mut Conn, tenant: TenantId, scope: &CallScope) -> Result<Option<Vec<Id>>, StoreError> {
    let CallScope::Workflow(slug) = scope else { return Ok(None) };
    let query = workflows::table
        .filter(workflows::tenant_id.eq(Id::from(tenant)))
        .filter(workflows::slug.eq(slug.to_string()))
        .select(workflows::workflow_id);
    conn.load(query).await.map(Some)
}

/// The rollups of a plan's whole buckets, for some workflows.
async fn load_call_rollups(
    conn: &mut Conn,
    tenant: TenantId,
    workflows: &[Id],
    plan: &WindowPlan,
) -> Result<Vec<CallRollupRow>, StoreError> {
    let mut rows = Vec::new();
    for chunk in workflows.chunks(WORKFLOWS_PER_QUERY_MAX) {
        let parts = plan.ranges.iter().map(|range| {
            call_rollups::table
                .filter(call_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(call_rollups::resolution.eq(Word(range.resolution)))
                .filter(call_rollups::workflow_id.eq_any(chunk.to_vec()))
                .filter(call_rollups::bucket.ge(Time(range.start)))
                .filter(call_rollups::bucket.lt(Time(range.end)))
                .select(columns::<CallRollupRow>())
        });
        rows.extend(load_union(conn, parts.collect()).await?);
    }
    Ok(rows)
}

/// The calls of a plan's edges.
async fn load_edge_calls(conn: &mut Conn, tenant: TenantId, plan: &WindowPlan) -> Result<Vec<CallFacts>, StoreError> {
    let parts = plan.edges.iter().map(|edge| {
        calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(calls::started_at.ge(Time(edge.start())))
            .filter(calls::started_at.lt(Time(edge.end())))
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

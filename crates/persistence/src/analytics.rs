//! What the read endpoints load. Each question is one statement: one round trip, one state of the database, and on a
//! distributed one, one node.

use crate::conn::{Access, columns};
use crate::database::Database;
use crate::fragment::{Either, ForEach, IsActive, IsChosen, IsIn, Mixed, Part, WorkflowIds, maybe};
use crate::rows::{
    CallFactsRow, CallRollupRow, ErrorCountRow, LoggedErrorRow, ProviderTotalsRow, WorkflowRow, sum_by_provider,
};
use crate::schema::{call_errors, call_rollups, calls, error_rollups, provider_rollups, tenant_states, workflows};
use crate::sql::{Id, Time, Word};
use async_trait::async_trait;
use callscope_analytics::ports::{
    AnalyticsStore, CallParts, CallScope, ErrorFilter, ErrorLogParts, LoggedError, Page, ProviderParts, StoreError,
    SummaryParts, WorkflowLabel, WorkflowParts,
};
use callscope_domain::{
    BucketRange, CALL_DURATION_MAX, CLOCK_SKEW_MAX, CallFacts, CallTotals, Resolution, TenantId, Timestamp, Window,
    WindowPlan,
};
use diesel::dsl::{SqlTypeOf, auto_type, count_star};
use diesel::pg::Pg;
use diesel::prelude::*;
use std::collections::HashSet;
use uuid::Uuid;

/// The workflow under which the whole tenant's totals are kept.
pub const WHOLE_TENANT: Id = Id(Uuid::nil());

/// The columns that a row type is read from.
type ColumnsOf<Row> = SqlTypeOf<<Row as Selectable<Pg>>::SelectExpression>;

/// Calls that started before it are no longer kept; no row when all are.
type KeptFrom = (Time,);

#[async_trait]
impl AnalyticsStore for Database {
    async fn load_summary_parts(
        &self,
        tenant: TenantId,
        scope: &CallScope,
        plan: &WindowPlan,
    ) -> Result<SummaryParts, StoreError> {
        let active = calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(IsActive)
            .filter(maybe(
                slug_of(scope).map(|slug| IsIn(calls::workflow_id, workflows_with_slug(tenant.into(), slug))),
            ))
            .select((count_star(),));
        let groups =
            (kept_from(tenant), call_rollups_of(tenant, scope, plan), calls_of(tenant, scope, plan), vec![active]);
        let rows: Vec<(Option<KeptFrom>, Option<CallRollupRow>, Option<CallFactsRow>, Option<(i64,)>)> =
            self.ask(Mixed(groups)).await?;
        let mut parts = Parts::default();
        let mut active_calls = 0;
        for (kept_from, bucket, call, count) in rows {
            parts.push(kept_from, bucket, call);
            active_calls += count.map_or(0, |(count,)| count);
        }
        Ok(SummaryParts { calls: parts.into_calls(plan)?, active_calls: active_calls.unsigned_abs() })
    }

    async fn load_call_parts(
        &self,
        tenant: TenantId,
        scope: &CallScope,
        plan: &WindowPlan,
    ) -> Result<CallParts, StoreError> {
        let groups = (kept_from(tenant), call_rollups_of(tenant, scope, plan), calls_of(tenant, scope, plan));
        let rows: Vec<(Option<KeptFrom>, Option<CallRollupRow>, Option<CallFactsRow>)> =
            self.ask(Mixed(groups)).await?;
        let mut parts = Parts::default();
        for (kept_from, bucket, call) in rows {
            parts.push(kept_from, bucket, call);
        }
        parts.into_calls(plan)
    }

    async fn count_active_calls(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let active = calls::table.filter(calls::tenant_id.eq(Id::from(tenant))).filter(IsActive).count();
        let counts: Vec<i64> = self.ask(active).await?;
        Ok(counts.iter().sum::<i64>().unsigned_abs())
    }

    async fn load_workflow_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<WorkflowParts, StoreError> {
        let labels = workflows::table.filter(workflows::tenant_id.eq(Id::from(tenant)));
        let ids = WorkflowIds(labels.select(workflows::workflow_id));
        let buckets = ranges(plan).map(|range| {
            let of_workflow = call_rollups::table
                .filter(call_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(call_rollups::resolution.eq(Word(range.resolution)))
                .filter(IsChosen(ids.clone()))
                .filter(call_rollups::bucket.ge(Time(range.start)))
                .filter(call_rollups::bucket.lt(Time(range.end)))
                .select(columns::<CallRollupRow>());
            ForEach(ids.clone(), of_workflow)
        });
        let labels = vec![labels.select(columns::<WorkflowRow>())];
        let groups = (kept_from(tenant), buckets.collect(), calls_of(tenant, &CallScope::Tenant, plan), labels);
        let rows: Vec<(Option<KeptFrom>, Option<CallRollupRow>, Option<CallFactsRow>, Option<WorkflowRow>)> =
            self.ask(Mixed(groups)).await?;
        let mut parts = Parts::default();
        let mut workflows: Vec<WorkflowLabel> = Vec::new();
        for (kept_from, bucket, call, label) in rows {
            parts.push(kept_from, bucket, call);
            if let Some(label) = label {
                workflows.push(label.try_into()?);
            }
        }
        let Settled { kept_from, buckets, edge_calls } = parts.settle(plan)?;
        let buckets = buckets.iter().map(|row| (row.workflow_id.into(), CallTotals::from(row))).collect();
        Ok(WorkflowParts { kept_from, buckets, edge_calls, workflows })
    }

    async fn load_provider_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<ProviderParts, StoreError> {
        let buckets = ranges(plan).map(|range| {
            provider_rollups::table
                .filter(provider_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(provider_rollups::resolution.eq(Word(range.resolution)))
                .filter(provider_rollups::bucket.ge(Time(range.start)))
                .filter(provider_rollups::bucket.lt(Time(range.end)))
                .select(columns::<ProviderTotalsRow>())
        });
        let groups = (kept_from(tenant), buckets.collect(), calls_of(tenant, &CallScope::Tenant, plan));
        let rows: Vec<(Option<KeptFrom>, Option<ProviderTotalsRow>, Option<CallFactsRow>)> =
            self.ask(Mixed(groups)).await?;
        let mut parts = Parts::default();
        for (kept_from, bucket, call) in rows {
            parts.push(kept_from, bucket, call);
        }
        let Settled { kept_from, buckets, edge_calls } = parts.settle(plan)?;
        Ok(ProviderParts { kept_from, buckets: sum_by_provider(buckets)?, edge_calls })
    }

    async fn load_error_log_parts(
        &self,
        tenant: TenantId,
        window: Window,
        plan: &WindowPlan,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<ErrorLogParts, StoreError> {
        let buckets = ranges(plan).map(|range| {
            error_rollups::table
                .filter(error_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(error_rollups::resolution.eq(Word(range.resolution)))
                .filter(error_rollups::bucket.ge(Time(range.start)))
                .filter(error_rollups::bucket.lt(Time(range.end)))
                .select(columns::<ErrorCountRow>())
        });
        // An error lies within its call, give or take the skew: so the window of starts bounds the error's own time,
        // by which the indexes are ordered.
        let earliest = window.start() - CLOCK_SKEW_MAX;
        let latest = window.end() + CALL_DURATION_MAX + CLOCK_SKEW_MAX;
        let items = call_errors::table
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
        let groups = (kept_from(tenant), buckets.collect(), calls_of(tenant, &CallScope::Tenant, plan), vec![items]);
        let rows: Vec<(Option<KeptFrom>, Option<ErrorCountRow>, Option<CallFactsRow>, Option<LoggedErrorRow>)> =
            self.ask(Mixed(groups)).await?;
        let mut parts = Parts::default();
        let mut items: Vec<LoggedError> = Vec::new();
        for (kept_from, bucket, call, item) in rows {
            parts.push(kept_from, bucket, call);
            if let Some(item) = item {
                items.push(item.try_into()?);
            }
        }
        // SQL promises no order for a part of a union.
        items.sort_unstable_by_key(|item| (std::cmp::Reverse(item.error.timestamp), item.call_id, item.position));
        let Settled { kept_from, buckets, edge_calls } = parts.settle(plan)?;
        let buckets = buckets.iter().map(|row| (row.kind(), row.error_count)).collect();
        Ok(ErrorLogParts { kept_from, buckets, edge_calls, items })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.connection(Access::Read).await?.check_writable().await?;
        self.analytics_connection().await?.check().await
    }
}

impl Database {
    /// Asks one question.
    async fn ask<U: Send + 'static>(&self, question: impl crate::conn::Query<U>) -> Result<Vec<U>, StoreError> {
        self.analytics_connection().await?.load(question).await
    }
}

/// The slug of a scope that is not the whole tenant.
fn slug_of(scope: &CallScope) -> Option<String> {
    match scope {
        CallScope::Tenant => None,
        CallScope::Workflow(slug) => Some(slug.to_string()),
    }
}

#[auto_type(no_type_alias)]
fn workflows_with_slug(tenant: Id, slug: String) -> _ {
    workflows::table
        .filter(workflows::tenant_id.eq(tenant))
        .filter(workflows::slug.eq(slug))
        .select(workflows::workflow_id)
}

/// From when on calls are kept.
fn kept_from(tenant: TenantId) -> Vec<impl Part<SqlType = (crate::sql::Instant,)>> {
    let state = tenant_states::table.filter(tenant_states::tenant_id.eq(Id::from(tenant)));
    let kept_from = tenant_states::calls_kept_from;
    vec![state.filter(kept_from.is_not_null()).select((kept_from.assume_not_null(),))]
}

/// The ranges of whole buckets that a question reads, and the minutes of its edges, always equally many: so a question
/// is one statement, prepared once, whatever its window.
fn ranges(plan: &WindowPlan) -> impl Iterator<Item = BucketRange> {
    const NOTHING: BucketRange = BucketRange {
        resolution: Resolution::Minute,
        start: Timestamp::from_micros(0),
        end: Timestamp::from_micros(0),
    };
    let ranges = plan.ranges.iter().copied().chain(plan.edge_minutes());
    ranges.chain(std::iter::repeat(NOTHING)).take(WindowPlan::RANGES_MAX + WindowPlan::EDGES_MAX)
}

/// The totals of a question's buckets.
fn call_rollups_of(
    tenant: TenantId,
    scope: &CallScope,
    plan: &WindowPlan,
) -> Vec<impl Part<SqlType = ColumnsOf<CallRollupRow>>> {
    let part = |range: BucketRange| {
        let buckets = call_rollups::table
            .filter(call_rollups::tenant_id.eq(Id::from(tenant)))
            .filter(call_rollups::resolution.eq(Word(range.resolution)))
            .filter(call_rollups::bucket.ge(Time(range.start)))
            .filter(call_rollups::bucket.lt(Time(range.end)));
        match slug_of(scope) {
            None => Either::Left(
                buckets.filter(call_rollups::workflow_id.eq(WHOLE_TENANT)).select(columns::<CallRollupRow>()),
            ),
            Some(slug) => {
                let ids = WorkflowIds(workflows_with_slug(tenant.into(), slug));
                let of_workflow = buckets.filter(IsChosen(ids.clone())).select(columns::<CallRollupRow>());
                Either::Right(ForEach(ids, of_workflow))
            }
        }
    };
    ranges(plan).map(part).collect()
}

/// The calls of a question's edges.
fn calls_of(
    tenant: TenantId,
    scope: &CallScope,
    plan: &WindowPlan,
) -> Vec<impl Part<SqlType = ColumnsOf<CallFactsRow>>> {
    let part = |(start, end): (Timestamp, Timestamp)| {
        calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(calls::started_at.ge(Time(start)))
            .filter(calls::started_at.lt(Time(end)))
            .filter(maybe(
                slug_of(scope).map(|slug| IsIn(calls::workflow_id, workflows_with_slug(tenant.into(), slug))),
            ))
            .select(columns::<CallFactsRow>())
    };
    let edges = plan.edges.iter().map(|edge| (edge.start(), edge.end()));
    let nothing = (Timestamp::from_micros(0), Timestamp::from_micros(0));
    edges.chain(std::iter::repeat(nothing)).take(WindowPlan::EDGES_MAX).map(part).collect()
}

/// A row of a bucket.
trait BucketRow {
    /// The start of the bucket.
    fn bucket(&self) -> Timestamp;
}

macro_rules! bucket_rows {
    ($($row:ident),+) => {$(
        impl BucketRow for $row {
            fn bucket(&self) -> Timestamp {
                self.bucket.0
            }
        }
    )+};
}
bucket_rows!(CallRollupRow, ProviderTotalsRow, ErrorCountRow);

/// The rows of an answer as they come.
struct Parts<B> {
    kept_from: Option<Timestamp>,
    buckets: Vec<B>,
    calls: Vec<CallFactsRow>,
}

/// The rows of an answer that count.
struct Settled<B> {
    kept_from: Option<Timestamp>,
    buckets: Vec<B>,
    edge_calls: Vec<CallFacts>,
}

impl<B> Default for Parts<B> {
    fn default() -> Self {
        Self { kept_from: None, buckets: Vec::new(), calls: Vec::new() }
    }
}

impl<B: BucketRow> Parts<B> {
    fn push(&mut self, kept_from: Option<KeptFrom>, bucket: Option<B>, call: Option<CallFactsRow>) {
        self.kept_from = self.kept_from.or(kept_from.map(|(kept_from,)| kept_from.0));
        self.buckets.extend(bucket);
        self.calls.extend(call);
    }

    /// Of each edge keeps either the calls, or the minute around it when such calls are no longer kept.
    fn settle(self, plan: &WindowPlan) -> Result<Settled<B>, StoreError> {
        let Self { kept_from, mut buckets, calls } = self;
        let is_gone = |minute: Timestamp| kept_from.is_some_and(|kept_from| minute < kept_from);
        let unneeded: HashSet<Timestamp> =
            plan.edge_minutes().map(|minute| minute.start).filter(|&start| !is_gone(start)).collect();
        buckets.retain(|row| !unneeded.contains(&row.bucket()));
        let calls = calls.into_iter().map(CallFacts::try_from);
        let is_kept = |call: &Result<CallFacts, _>| {
            call.as_ref().map_or(true, |call| !is_gone(Resolution::Minute.floor(call.started_at)))
        };
        Ok(Settled { kept_from, buckets, edge_calls: calls.filter(is_kept).collect::<Result<_, _>>()? })
    }
}

impl Parts<CallRollupRow> {
    fn into_calls(self, plan: &WindowPlan) -> Result<CallParts, StoreError> {
        let Settled { kept_from, buckets, edge_calls } = self.settle(plan)?;
        let buckets = buckets.iter().map(|row| (row.bucket(), CallTotals::from(row))).collect();
        Ok(CallParts { kept_from, buckets, edge_calls })
    }
}

impl TryFrom<WorkflowRow> for WorkflowLabel {
    type Error = StoreError;

    fn try_from(row: WorkflowRow) -> Result<Self, StoreError> {
        let slug = callscope_domain::Slug::new(row.slug).map_err(crate::errors::damaged)?;
        let name = row.name.unwrap_or_else(|| slug.to_string());
        Ok(Self { id: row.workflow_id.into(), slug, name })
    }
}

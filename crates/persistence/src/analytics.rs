//! What the read endpoints load. Each question is one statement: one round trip, one state of the database, and on a
//! distributed one, one node.

use crate::conn::{Access, columns};
use crate::database::Database;
use crate::fragment::{Either, ForEach, IsActive, IsChosen, IsIn, Mixed, Part, RowsOf, Sum, maybe};
use crate::rows::{
    CallFactsRow, CallRollupRow, ErrorKindsRow, ErrorSumRow, LoggedErrorRow, ProviderTotalsRow, WorkflowRow,
    sum_by_provider,
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
use diesel::dsl::{SqlTypeOf, auto_type, count_star, min};
use diesel::helper_types::min;
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
        let plan = plan.clone();
        let read = move |rows: Vec<(Option<KeptFrom>, Option<CallRollupRow>, Option<CallFactsRow>, Option<(i64,)>)>| {
            let mut parts = Parts::default();
            let mut active_calls = 0;
            for (kept_from, bucket, call, count) in rows {
                parts.push(kept_from, bucket, call);
                active_calls += count.map_or(0, |(count,)| count);
            }
            Ok(SummaryParts { calls: parts.into_calls(&plan)?, active_calls: active_calls.unsigned_abs() })
        };
        self.ask(tenant, Mixed(groups), read).await
    }

    async fn load_call_parts(
        &self,
        tenant: TenantId,
        scope: &CallScope,
        plan: &WindowPlan,
    ) -> Result<CallParts, StoreError> {
        let groups = (kept_from(tenant), call_rollups_of(tenant, scope, plan), calls_of(tenant, scope, plan));
        let plan = plan.clone();
        let read = move |rows: Vec<(Option<KeptFrom>, Option<CallRollupRow>, Option<CallFactsRow>)>| {
            let mut parts = Parts::default();
            for (kept_from, bucket, call) in rows {
                parts.push(kept_from, bucket, call);
            }
            parts.into_calls(&plan)
        };
        self.ask(tenant, Mixed(groups), read).await
    }

    async fn count_active_calls(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let active = calls::table.filter(calls::tenant_id.eq(Id::from(tenant))).filter(IsActive).count();
        self.ask(tenant, active, |counts: Vec<i64>| Ok(counts.iter().sum::<i64>().unsigned_abs())).await
    }

    async fn load_workflow_parts(&self, tenant: TenantId, plan: &WindowPlan) -> Result<WorkflowParts, StoreError> {
        let labels = workflows::table.filter(workflows::tenant_id.eq(Id::from(tenant)));
        let ids = workflow_ids(labels.select(workflows::workflow_id));
        let buckets = ranges(plan).map(|range| {
            let of_workflow = call_rollups::table
                .filter(call_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(call_rollups::resolution.eq(Word(range.resolution)))
                .filter(IsChosen(ids.clone()))
                .filter(call_rollups::bucket.ge(Time(range.start)))
                .filter(call_rollups::bucket.lt(Time(range.end)))
                .group_by(call_rollups::workflow_id)
                .select(sums_of_calls());
            ForEach(ids.clone(), of_workflow)
        });
        let labels = vec![labels.select(columns::<WorkflowRow>())];
        let groups = (kept_from(tenant), buckets.collect(), calls_of(tenant, &CallScope::Tenant, plan), labels);
        let plan = plan.clone();
        let read =
            move |rows: Vec<(Option<KeptFrom>, Option<CallRollupRow>, Option<CallFactsRow>, Option<WorkflowRow>)>| {
                let mut parts = Parts::default();
                let mut workflows: Vec<WorkflowLabel> = Vec::new();
                for (kept_from, bucket, call, label) in rows {
                    parts.push(kept_from, bucket, call);
                    if let Some(label) = label {
                        workflows.push(label.try_into()?);
                    }
                }
                let Parts { kept_from, buckets, edges } = parts.settle(&plan);
                let buckets = buckets.iter().map(|row| (row.workflow_id.into(), CallTotals::from(row))).collect();
                Ok(WorkflowParts { kept_from, buckets, edge_calls: facts(edges)?, workflows })
            };
        self.ask(tenant, Mixed(groups), read).await
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
        let plan = plan.clone();
        let read = move |rows: Vec<(Option<KeptFrom>, Option<ProviderTotalsRow>, Option<CallFactsRow>)>| {
            let mut parts = Parts::default();
            for (kept_from, bucket, call) in rows {
                parts.push(kept_from, bucket, call);
            }
            let Parts { kept_from, buckets, edges } = parts.settle(&plan);
            Ok(ProviderParts { kept_from, buckets: sum_by_provider(buckets)?, edge_calls: facts(edges)? })
        };
        self.ask(tenant, Mixed(groups), read).await
    }

    async fn load_error_log_parts(
        &self,
        tenant: TenantId,
        window: Window,
        plan: &WindowPlan,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<ErrorLogParts, StoreError> {
        let counts = ranges(plan).map(|range| {
            error_rollups::table
                .filter(error_rollups::tenant_id.eq(Id::from(tenant)))
                .filter(error_rollups::resolution.eq(Word(range.resolution)))
                .filter(error_rollups::bucket.ge(Time(range.start)))
                .filter(error_rollups::bucket.lt(Time(range.end)))
                .filter(maybe(filter.service.map(|service| error_rollups::service.eq(Word(service)))))
                .filter(maybe(filter.level.map(|level| error_rollups::level.eq(Word(level)))))
                .select((min(error_rollups::bucket).assume_not_null(), Sum(error_rollups::error_count)))
        });
        // An error lies within its call, give or take the skew: so the window of starts bounds the error's own time,
        // by which the indexes are ordered.
        let earliest = window.start() - CLOCK_SKEW_MAX;
        let latest = window.end() + CALL_DURATION_MAX + CLOCK_SKEW_MAX;
        let page = call_errors::table
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
            .select((call_errors::call_id, call_errors::position));
        let with_errors = |(start, end)| {
            calls_within(tenant.into(), Time(start), Time(end))
                .filter(calls::error_kinds.ne(Vec::new()))
                .select(columns::<ErrorKindsRow>())
        };
        let edges = edges(plan).map(with_errors).collect();
        // The index alone says which errors are on the page. Only their rows are read, none of those before it.
        let page = RowsOf { columns: &["call_id", "position"], query: page };
        let items = call_errors::table
            .filter(call_errors::tenant_id.eq(Id::from(tenant)))
            .filter(IsChosen(page.clone()))
            .select(columns::<LoggedErrorRow>());
        let groups = (kept_from(tenant), counts.collect(), edges, vec![ForEach(page, items)]);
        let plan = plan.clone();
        let read =
            move |rows: Vec<(Option<KeptFrom>, Option<ErrorSumRow>, Option<ErrorKindsRow>, Option<LoggedErrorRow>)>| {
                let mut parts = Parts::default();
                let mut items: Vec<LoggedError> = Vec::new();
                for (kept_from, bucket, call, item) in rows {
                    parts.push(kept_from, bucket, call);
                    if let Some(item) = item {
                        items.push(item.try_into()?);
                    }
                }
                // SQL promises no order for a part of a union.
                items.sort_unstable_by_key(|item| {
                    (std::cmp::Reverse(item.error.timestamp), item.call_id, item.position)
                });
                let Parts { kept_from, buckets, edges } = parts.settle(&plan);
                let bucket_errors = buckets.iter().map(|row| row.error_count).sum();
                let edge_errors = edges.iter().map(ErrorKindsRow::kinds).collect::<Result<Vec<_>, _>>()?.concat();
                Ok(ErrorLogParts { kept_from, bucket_errors, edge_errors, items })
            };
        self.ask(tenant, Mixed(groups), read).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.connection(Access::Read).await?.check_writable().await?;
        self.analytics_connection().await?.check().await
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
                let ids = workflow_ids(workflows_with_slug(tenant.into(), slug));
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
        calls_within(tenant.into(), Time(start), Time(end))
            .filter(maybe(
                slug_of(scope).map(|slug| IsIn(calls::workflow_id, workflows_with_slug(tenant.into(), slug))),
            ))
            .select(columns::<CallFactsRow>())
    };
    edges(plan).map(part).collect()
}

/// The bounds of a question's edges, always equally many.
fn edges(plan: &WindowPlan) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let edges = plan.edges.iter().map(|edge| (edge.start(), edge.end()));
    let nothing = (Timestamp::from_micros(0), Timestamp::from_micros(0));
    edges.chain(std::iter::repeat(nothing)).take(WindowPlan::EDGES_MAX)
}

#[auto_type(no_type_alias)]
fn calls_within(tenant: Id, start: Time, end: Time) -> _ {
    calls::table
        .filter(calls::tenant_id.eq(tenant))
        .filter(calls::started_at.ge(start))
        .filter(calls::started_at.lt(end))
}

/// The ids of some workflows, to be looked for.
const fn workflow_ids<Q>(query: Q) -> RowsOf<Q> {
    RowsOf { columns: &["workflow_id"], query }
}

/// The columns of a [`CallRollupRow`] that is the sum of those of one workflow.
#[auto_type(no_type_alias)]
fn sums_of_calls() -> _ {
    (
        call_rollups::workflow_id,
        min(call_rollups::bucket).assume_not_null(),
        Sum(call_rollups::total),
        Sum(call_rollups::completed),
        Sum(call_rollups::failed),
        Sum(call_rollups::ended),
        Sum(call_rollups::duration_us),
        Sum(call_rollups::total_tokens),
        Sum(call_rollups::stt_samples),
        Sum(call_rollups::stt_latency_us),
        Sum(call_rollups::llm_samples),
        Sum(call_rollups::llm_latency_us),
        Sum(call_rollups::tts_samples),
        Sum(call_rollups::tts_latency_us),
    )
}

/// A row of a bucket, or of the sum of some.
trait BucketRow {
    /// The start of the bucket, or of the first of them.
    fn bucket(&self) -> Timestamp;
}

/// A row of a call of an edge.
trait EdgeRow {
    /// When the call started.
    fn started_at(&self) -> Timestamp;
}

macro_rules! rows_in_time {
    ($($kind:ident($instant:ident): $($row:ident),+;)+) => {$($(
        impl $kind for $row {
            fn $instant(&self) -> Timestamp {
                self.$instant.0
            }
        }
    )+)+};
}
rows_in_time! {
    BucketRow(bucket): CallRollupRow, ProviderTotalsRow, ErrorSumRow;
    EdgeRow(started_at): CallFactsRow, ErrorKindsRow;
}

/// The rows of an answer as they come, or those of them that count.
struct Parts<B, E> {
    kept_from: Option<Timestamp>,
    buckets: Vec<B>,
    edges: Vec<E>,
}

impl<B, E> Default for Parts<B, E> {
    fn default() -> Self {
        Self { kept_from: None, buckets: Vec::new(), edges: Vec::new() }
    }
}

impl<B: BucketRow, E: EdgeRow> Parts<B, E> {
    fn push(&mut self, kept_from: Option<KeptFrom>, bucket: Option<B>, edge: Option<E>) {
        self.kept_from = self.kept_from.or(kept_from.map(|(kept_from,)| kept_from.0));
        self.buckets.extend(bucket);
        self.edges.extend(edge);
    }

    /// Of each edge keeps either the calls, or the minute around it when such calls are no longer kept.
    fn settle(mut self, plan: &WindowPlan) -> Self {
        let is_gone = |minute: Timestamp| self.kept_from.is_some_and(|kept_from| minute < kept_from);
        let unneeded: HashSet<Timestamp> =
            plan.edge_minutes().map(|minute| minute.start).filter(|&start| !is_gone(start)).collect();
        self.buckets.retain(|row| !unneeded.contains(&row.bucket()));
        self.edges.retain(|row| !is_gone(Resolution::Minute.floor(row.started_at())));
        self
    }
}

impl Parts<CallRollupRow, CallFactsRow> {
    fn into_calls(self, plan: &WindowPlan) -> Result<CallParts, StoreError> {
        let Self { kept_from, buckets, edges } = self.settle(plan);
        let buckets = buckets.iter().map(|row| (row.bucket(), CallTotals::from(row))).collect();
        Ok(CallParts { kept_from, buckets, edge_calls: facts(edges)? })
    }
}

fn facts(rows: Vec<CallFactsRow>) -> Result<Vec<CallFacts>, StoreError> {
    rows.into_iter().map(CallFacts::try_from).collect()
}

impl TryFrom<WorkflowRow> for WorkflowLabel {
    type Error = StoreError;

    fn try_from(row: WorkflowRow) -> Result<Self, StoreError> {
        let slug = callscope_domain::Slug::new(row.slug).map_err(crate::errors::damaged)?;
        let name = row.name.unwrap_or_else(|| slug.to_string());
        Ok(Self { id: row.workflow_id.into(), slug, name })
    }
}

//! What the read endpoints load. Each question is one statement: one round trip, one state of the database, and on a
//! distributed one, one node.

use crate::call_rows::CallFactsRow;
use crate::codec::decode_distributions;
use crate::conn::Access;
use crate::database::Database;
use crate::errors::damaged;
use crate::fragment::IsActive;
use crate::groups::value_of;
use crate::rows::LoggedErrorRow;
use crate::scan::{add_conditions, push_texts};
use crate::schema::calls;
use crate::sql::{Id, Instant, Key, Time};
use crate::statement::Statement;
use crate::wide::{Cell, OfBackend, WideRow, WideStatement, present};
use async_trait::async_trait;
use callscope_analytics::ports::{AnalyticsStore, ErrorFilter, LoggedError, Page, StoreError};
use callscope_domain::{
    BucketRange, CALL_DURATION_MAX, CLOCK_SKEW_MAX, CallFacts, CallStatus, Dimension, Filter, GroupId, GroupValue,
    Loaded, LoadedDistribution, LoadedGroup, LoadedSums, Measure, MeasureSubject, ReadPlan, Resolution, Slug, Sums,
    TenantId, Timestamp, WindowPlan, WorkflowId, WorkflowLabel,
};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::prelude::*;
use diesel::row::NamedRow;
use diesel::sql_types::{BigInt, Binary, Integer, Text};
use std::cmp::Reverse;
use tokio::sync::mpsc;

#[async_trait]
impl AnalyticsStore for Database {
    async fn load(&self, tenant: TenantId, plan: &ReadPlan) -> Result<Loaded, StoreError> {
        let (statement, plan) = (parts_of(tenant, plan).finish(), plan.clone());
        self.ask(tenant, statement, move |rows| Ok(loaded(&plan, rows)?.0)).await
    }

    async fn send_calls(
        &self,
        tenant: TenantId,
        plan: &ReadPlan,
        pages: mpsc::Sender<Vec<CallFacts>>,
    ) -> Result<(), StoreError> {
        let _turn = self.take_turn(tenant).await?;
        Self::send_calls(self, tenant, plan, pages).await
    }

    async fn load_errors(
        &self,
        tenant: TenantId,
        plan: &ReadPlan,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<(Loaded, Vec<LoggedError>), StoreError> {
        let mut statement = parts_of(tenant, plan);
        let of_page = errors_of(tenant, plan, filter, page);
        statement.add(Part::ERROR, LoggedErrorRow::CELLS, false, &of_page);
        let plan = plan.clone();
        let read = move |rows| {
            let (loaded, mut errors) = loaded(&plan, rows)?;
            // SQL promises no order for a part of a union.
            errors.sort_unstable_by_key(|item| (Reverse(item.error.timestamp), item.call_id, item.position));
            Ok((loaded, errors))
        };
        self.ask(tenant, statement.finish(), read).await
    }

    async fn count_active_calls(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let active = calls::table.filter(calls::tenant_id.eq(Id::from(tenant))).filter(IsActive).count();
        self.ask(tenant, active, |counts: Vec<i64>| Ok(counts.iter().sum::<i64>().unsigned_abs())).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.connection(Access::Read).await?.check_writable().await?;
        self.analytics_connection().await?.check().await
    }
}

/// A row of one of the parts of a question's statement.
enum Part {
    KeptFrom(Time),
    Sums { group: i64, bucket: Time, sums: Vec<i64> },
    Distributions { group: i64, bucket: Time, histograms: Vec<u8> },
    Call(Box<CallFactsRow>),
    Group { id: i64, value: String },
    Workflow { id: i64, workflow: Id, slug: String, name: Option<String> },
    ActiveCalls(i64),
    Error(LoggedErrorRow),
}

impl Part {
    const KEPT_FROM: i32 = 0;
    const SUMS: i32 = 1;
    const DISTRIBUTIONS: i32 = 2;
    const CALL: i32 = 3;
    const GROUP: i32 = 4;
    const WORKFLOW: i32 = 5;
    const ACTIVE_CALLS: i32 = 6;
    const ERROR: i32 = 7;

    fn read(row: &impl WideRow) -> deserialize::Result<Self> {
        let number = |cell| present(row.number(cell)?);
        let time = |cell| present(row.time(cell)?);
        Ok(match row.part()? {
            Self::KEPT_FROM => Self::KeptFrom(time(Cell::Time0)?),
            Self::SUMS => {
                Self::Sums { group: number(Cell::Number)?, bucket: time(Cell::Time0)?, sums: row.measures()? }
            }
            Self::DISTRIBUTIONS => Self::Distributions {
                group: number(Cell::Number)?,
                bucket: time(Cell::Time0)?,
                histograms: present(row.bytes(Cell::Bytes0)?)?,
            },
            Self::CALL => Self::Call(Box::new(CallFactsRow::from_wide(row)?)),
            Self::GROUP => Self::Group { id: number(Cell::Number)?, value: present(row.text(Cell::Text0)?)? },
            Self::WORKFLOW => Self::Workflow {
                id: number(Cell::Number)?,
                workflow: present(row.id(Cell::Key0)?)?,
                slug: present(row.text(Cell::Text0)?)?,
                name: row.text(Cell::Text1)?,
            },
            Self::ACTIVE_CALLS => Self::ActiveCalls(number(Cell::Number)?),
            Self::ERROR => Self::Error(LoggedErrorRow::from_wide(row)?),
            part => return Err(format!("unknown part {part}").into()),
        })
    }
}

impl<DB> QueryableByName<DB> for Part
where
    DB: Backend,
    i32: FromSql<Integer, DB>,
    i64: FromSql<BigInt, DB>,
    Time: FromSql<Instant, DB>,
    Vec<u8>: FromSql<Binary, DB>,
    String: FromSql<Text, DB>,
    Id: FromSql<Key, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        Self::read(&OfBackend::new(row))
    }
}

/// What was read, and the errors of a page.
fn loaded(plan: &ReadPlan, rows: Vec<Part>) -> Result<(Loaded, Vec<LoggedError>), StoreError> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    let group_id = |number: i64| i32::try_from(number).map(GroupId).map_err(damaged);
    for row in rows {
        match row {
            Part::KeptFrom(time) => loaded.kept_from = Some(time.0),
            Part::Sums { group, bucket, sums } => {
                let mut all = Sums::default();
                plan.read_sums().iter().zip(sums).for_each(|(&measure, sum)| all.add(measure, sum));
                loaded.sums.push(LoadedSums { group: group_id(group)?, bucket: bucket.0, sums: all });
            }
            Part::Distributions { group, bucket, histograms } => {
                let (group, bucket) = (group_id(group)?, bucket.0);
                let (calls, found) = decode_distributions(&histograms).map_err(damaged)?;
                if plan.told_by_distributions {
                    let mut sums = Sums::default();
                    sums.add(Measure::Calls, calls);
                    loaded.sums.push(LoadedSums { group, bucket, sums });
                }
                for (distribution, sum_us, histogram) in found {
                    if plan.distributions.contains(&distribution) {
                        let histogram = histogram.to_vec();
                        loaded.distributions.push(LoadedDistribution {
                            group,
                            bucket,
                            distribution,
                            sum_us,
                            histogram,
                        });
                    }
                }
            }
            Part::Call(row) => loaded.calls.push(CallFacts::try_from(*row)?),
            Part::Group { id, value } => {
                let value = value_of(plan.dimension, &value)?;
                loaded.groups.push(LoadedGroup { id: group_id(id)?, value, label: None });
            }
            Part::Workflow { id, workflow, slug, name } => {
                let slug = Slug::new(slug).map_err(damaged)?;
                let name = name.unwrap_or_else(|| slug.to_string());
                let value = GroupValue::Workflow(WorkflowId::from(workflow));
                let label = Some(WorkflowLabel { slug, name });
                loaded.groups.push(LoadedGroup { id: group_id(id)?, value, label });
            }
            Part::ActiveCalls(count) => loaded.active_calls = count.unsigned_abs(),
            Part::Error(row) => errors.push(row.try_into()?),
        }
    }
    Ok((loaded, errors))
}

/// The statement that reads what a plan needs. The number of its parts does not depend on the window, so each question
/// is prepared once a connection.
fn parts_of(tenant: TenantId, plan: &ReadPlan) -> WideStatement {
    let tenant = Id::from(tenant);
    let mut statement = WideStatement::new(plan.read_sums().iter().map(|measure| measure.as_str()).collect());
    if !plan.measures.is_empty() || !plan.distributions.is_empty() {
        statement.add(Part::KEPT_FROM, &[(Cell::Time0, "calls_kept_from")], false, &kept_from(tenant));
        if !plan.is_from_calls {
            add_pieces(&mut statement, tenant, plan);
        }
        add_groups(&mut statement, tenant, plan);
    }
    if plan.active_calls {
        statement.add(Part::ACTIVE_CALLS, &[(Cell::Number, "active")], false, &active_calls(tenant, plan));
    }
    statement
}

/// The buckets and the calls of the edges.
fn add_pieces(statement: &mut WideStatement, tenant: Id, plan: &ReadPlan) {
    for range in ranges(&plan.pieces) {
        add_range(statement, tenant, plan, plan.dimension, range);
        if plan.with_tenant {
            add_range(statement, tenant, plan, Dimension::Tenant, range);
        }
    }
    let is_read = |(cell, _): &(Cell, &str)| plan.reads_latencies() || *cell != CallFactsRow::LATENCIES;
    let cells: Vec<_> = CallFactsRow::cells().into_iter().filter(is_read).collect();
    for edge in edges(&plan.pieces) {
        statement.add(Part::CALL, &cells, false, &calls_of(tenant, plan, edge));
    }
}

/// The ranges of whole buckets that a question reads, and the buckets of its edges, always equally many.
fn ranges(plan: &WindowPlan) -> impl Iterator<Item = BucketRange> {
    const NOTHING: BucketRange = BucketRange {
        resolution: Resolution::Minute,
        start: Timestamp::from_micros(0),
        end: Timestamp::from_micros(0),
    };
    let ranges = plan.ranges.iter().copied().chain(plan.edge_buckets());
    ranges.chain(std::iter::repeat(NOTHING)).take(WindowPlan::RANGES_MAX + WindowPlan::EDGES_MAX)
}

/// The bounds of a question's edges, always equally many.
fn edges(plan: &WindowPlan) -> impl Iterator<Item = (Time, Time)> {
    let edges = plan.edges.iter().map(|edge| (Time(edge.start()), Time(edge.end())));
    let nothing = Time(Timestamp::from_micros(0));
    edges.chain(std::iter::repeat((nothing, nothing))).take(WindowPlan::EDGES_MAX)
}

/// From when on calls are kept; no row when all are.
fn kept_from(tenant: Id) -> Statement {
    let mut state = Statement::default();
    state.push("SELECT calls_kept_from FROM tenant_states WHERE tenant_id = ").bind_id(tenant);
    state.push(" AND calls_kept_from IS NOT NULL");
    state
}

/// What the groups of a dimension have in a range.
fn add_range(statement: &mut WideStatement, tenant: Id, plan: &ReadPlan, of: Dimension, range: BucketRange) {
    if !plan.read_sums().is_empty() {
        let columns: Vec<String> = plan.read_sums().iter().map(|&measure| column(measure, plan.by_bucket)).collect();
        let columns = columns.join(", ");
        let mut query = Statement::default();
        let bucket = if plan.by_bucket { "bucket" } else { "MIN(bucket) AS bucket" };
        query.push(format!("SELECT group_id, {bucket}, {columns} FROM rollup_sums WHERE "));
        add_key(&mut query, tenant, plan, of, range);
        add_bounds(&mut query, range);
        if !plan.by_bucket {
            query.push(" GROUP BY group_id");
        }
        let cells = [(Cell::Number, "group_id"), (Cell::Time0, "bucket")];
        statement.add(Part::SUMS, &cells, true, &for_each_group(query, tenant, plan, of));
    }
    if !plan.distributions.is_empty() {
        let mut query = Statement::default();
        query.push("SELECT group_id, bucket, histograms FROM rollup_distributions WHERE ");
        add_key(&mut query, tenant, plan, of, range);
        add_bounds(&mut query, range);
        let cells = [(Cell::Number, "group_id"), (Cell::Time0, "bucket"), (Cell::Bytes0, "histograms")];
        statement.add(Part::DISTRIBUTIONS, &cells, false, &for_each_group(query, tenant, plan, of));
    }
}

/// A measure of a row, or the sum over rows as such a number: PostgreSQL's own sum is a decimal.
fn column(measure: Measure, by_bucket: bool) -> String {
    if by_bucket { measure.to_string() } else { format!("CAST(SUM({measure}) AS bigint) AS {measure}") }
}

/// The condition on the group: one that is known, or each of those of [`groups_of`].
fn add_key(query: &mut Statement, tenant: Id, plan: &ReadPlan, of: Dimension, range: BucketRange) {
    query.push("tenant_id = ").bind_id(tenant).push(" AND dimension = ").bind_code(of.row().code);
    query.push(" AND resolution = ").bind_code(range.resolution.code());
    if of == Dimension::Tenant {
        query.push(" AND group_id = ").bind_integer(GroupId::TENANT.0);
    } else {
        query.push_either(" AND group_id = chosen.group_id", " AND group_id IN (");
        query.append(&groups_of(tenant, plan).only_on_sqlite());
        query.push_either("", ")");
    }
}

fn add_bounds(query: &mut Statement, range: BucketRange) {
    query.push(" AND bucket >= ").bind_time(Time(range.start)).push(" AND bucket < ").bind_time(Time(range.end));
}

/// A query once for each group, where there may be many. PostgreSQL looks each up in the index on its own, which is what
/// a planner that has no statistics yet would not do by itself; SQLite does.
fn for_each_group(query: Statement, tenant: Id, plan: &ReadPlan, of: Dimension) -> Statement {
    if of == Dimension::Tenant {
        return query;
    }
    let mut each = Statement::default();
    each.push_either("SELECT found.* FROM (", "");
    each.append(&groups_of(tenant, plan).only_on_pg());
    each.push_either(") AS chosen CROSS JOIN LATERAL (", "").append(&query);
    // It changes no row, but keeps the planner from turning the two into another kind of join.
    each.push_either(" OFFSET 0) AS found", "");
    each
}

/// The numbers of the groups that a question is about.
fn groups_of(tenant: Id, plan: &ReadPlan) -> Statement {
    let mut groups = Statement::default();
    groups.push("SELECT group_id");
    add_groups_source(&mut groups, tenant, plan);
    groups
}

/// Workflows have a table of their own, with their slugs and names.
fn add_groups_source(query: &mut Statement, tenant: Id, plan: &ReadPlan) {
    let value = if plan.dimension == Dimension::Workflow {
        query.push(" FROM workflows WHERE tenant_id = ").bind_id(tenant);
        " AND slug IN ("
    } else {
        query.push(" FROM groups WHERE tenant_id = ").bind_id(tenant);
        query.push(" AND dimension = ").bind_code(plan.dimension.row().code);
        " AND value IN ("
    };
    if let Some(only) = &plan.values {
        query.push(value);
        push_texts(query, only);
        query.push(")");
    }
}

/// The groups themselves; and the workflows, where calls name some.
fn add_groups(statement: &mut WideStatement, tenant: Id, plan: &ReadPlan) {
    let is_rolled_up = plan.dimension != Dimension::Tenant && !plan.is_from_calls;
    let of_workflows = is_rolled_up && plan.dimension == Dimension::Workflow;
    if of_workflows || plan.reads_workflows() {
        let mut query = Statement::default();
        query.push("SELECT group_id, workflow_id, slug, name");
        // Calls of other workflows than those of the filters need no slug to be told apart, but from calls without any.
        if of_workflows && !plan.filters().iter().any(Filter::has_unknown) {
            add_groups_source(&mut query, tenant, plan);
        } else {
            query.push(" FROM workflows WHERE tenant_id = ").bind_id(tenant);
        }
        let cells =
            [(Cell::Number, "group_id"), (Cell::Key0, "workflow_id"), (Cell::Text0, "slug"), (Cell::Text1, "name")];
        statement.add(Part::WORKFLOW, &cells, false, &query);
    }
    if is_rolled_up && !of_workflows {
        let mut query = Statement::default();
        query.push("SELECT group_id, value");
        add_groups_source(&mut query, tenant, plan);
        statement.add(Part::GROUP, &[(Cell::Number, "group_id"), (Cell::Text0, "value")], false, &query);
    }
}

/// The calls of an edge that the filters may let through.
fn calls_of(tenant: Id, plan: &ReadPlan, (start, end): (Time, Time)) -> Statement {
    let columns: Vec<&str> = CallFactsRow::cells().into_iter().map(|(_, column)| column).collect();
    let mut query = Statement::default();
    query.push(format!("SELECT {} FROM calls WHERE tenant_id = ", columns.join(", "))).bind_id(tenant);
    query.push(" AND started_at >= ").bind_time(start).push(" AND started_at < ").bind_time(end);
    add_conditions(&mut query, tenant, plan.filters());
    if plan.dimension.subject() == MeasureSubject::Error {
        query.push(" AND length(error_kinds) > 0");
    }
    query
}

/// The number of active calls. The word is a part of the statement and not a parameter, or no plan that holds for every
/// parameter could use the partial index of active calls.
fn active_calls(tenant: Id, plan: &ReadPlan) -> Statement {
    let mut query = Statement::default();
    query.push("SELECT count(*) AS active FROM calls WHERE tenant_id = ").bind_id(tenant);
    query.push(format!(" AND status = '{}'", CallStatus::Active));
    add_conditions(&mut query, tenant, plan.filters());
    query
}

/// A page of the errors of the calls of a window. An index alone says which errors are on it; only their rows are read,
/// none of those before them.
fn errors_of(tenant: TenantId, plan: &ReadPlan, filter: ErrorFilter, page: Page) -> Statement {
    let tenant = Id::from(tenant);
    let (start, end) = (plan.window().start(), plan.window().end());
    let mut keys = Statement::default();
    keys.push("SELECT call_id, position FROM call_errors WHERE tenant_id = ").bind_id(tenant);
    // An error lies within its call, give or take the skew: so the window of starts bounds the error's own time, by
    // which the indexes are ordered.
    keys.push(" AND occurred_at >= ").bind_time(Time(start - CLOCK_SKEW_MAX));
    keys.push(" AND occurred_at < ").bind_time(Time(end + CALL_DURATION_MAX + CLOCK_SKEW_MAX));
    keys.push(" AND call_started_at >= ").bind_time(Time(start));
    keys.push(" AND call_started_at < ").bind_time(Time(end));
    if let Some(service) = filter.service {
        keys.push(" AND service = ").bind_text(service.as_str());
    }
    if let Some(level) = filter.level {
        keys.push(" AND level = ").bind_text(level.as_str());
    }
    let of_calls: Vec<Filter> = plan.filters().iter().filter(|filter| filter.axis.is_column()).cloned().collect();
    if !of_calls.is_empty() {
        keys.push(" AND EXISTS (SELECT 1 FROM calls WHERE tenant_id = ").bind_id(tenant);
        keys.push(" AND call_id = call_errors.call_id");
        add_conditions(&mut keys, tenant, &of_calls);
        keys.push(")");
    }
    keys.push(" ORDER BY occurred_at DESC, call_id, position LIMIT ").bind_bigint(page.limit.into());
    keys.push(" OFFSET ").bind_bigint(page.offset.into());
    let columns: Vec<&str> = LoggedErrorRow::CELLS.iter().map(|&(_, column)| column).collect();
    let mut query = Statement::default();
    query.push_either("SELECT found.* FROM (", "").append(&keys.only_on_pg());
    query.push_either(") AS chosen CROSS JOIN LATERAL (", "");
    query.push(format!("SELECT {} FROM call_errors WHERE tenant_id = ", columns.join(", "))).bind_id(tenant);
    query.push_either(" AND call_id = chosen.call_id AND position = chosen.position", " AND (call_id, position) IN (");
    query.append(&keys.only_on_sqlite()).push_either(" OFFSET 0) AS found", ")");
    query
}

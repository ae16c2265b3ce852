//! Calls in the order of their starts, and the conditions that filters put on them.

use crate::call_rows::{StoredCallRow, call_columns};
use crate::conn::Access;
use crate::database::Database;
use crate::errors::damaged;
use crate::rows::LoggedErrorRow;
use crate::schema::workflows;
use crate::sql::{Id, Time};
use crate::statement::Statement;
use async_trait::async_trait;
use callscope_analytics::call_reader::{CallReader, WantedCalls};
use callscope_analytics::ports::{CallPosition, LoggedError, StoreError};
use callscope_domain::{
    Axis, CallFacts, CallId, Dimension, Filter, Grouping, Operator, ReadPlan, Slug, Span, TenantId, Window, WorkflowId,
    WorkflowLabel,
};
use diesel::prelude::*;
use std::collections::HashMap;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Calls that are read at one time.
const PAGE: u32 = 5_000;

/// A query for the calls of a window, without an end.
pub fn all_calls_in(tenant: Id, window: Window) -> Statement {
    let mut query = Statement::default();
    query.push(format!("SELECT {} FROM calls WHERE tenant_id = ", call_columns())).bind_id(tenant);
    query.push(" AND started_at < ").bind_time(Time(window.end()));
    query.push(" AND started_at >= ").bind_time(Time(window.start()));
    query
}

/// The end of such a query: the next calls after a position, so many.
pub fn add_page(query: &mut Statement, (instant, id): CallPosition, limit: u32) {
    // A bound of the index; the rest of the position is seen row by row.
    query.push(" AND started_at >= ").bind_time(Time(instant));
    query.push(" AND (started_at > ").bind_time(Time(instant)).push(" OR call_id > ").bind_id(id.into()).push(")");
    query.push(" ORDER BY started_at, call_id LIMIT ").bind_bigint(limit.into());
}

/// The end of such a query the other way: the calls before a position.
fn add_page_down(query: &mut Statement, position: Option<CallPosition>, limit: u32) {
    if let Some((instant, id)) = position {
        query.push(" AND started_at <= ").bind_time(Time(instant));
        query.push(" AND (started_at < ").bind_time(Time(instant)).push(" OR call_id < ").bind_id(id.into()).push(")");
    }
    query.push(" ORDER BY started_at DESC, call_id DESC LIMIT ").bind_bigint(limit.into());
}

/// The conditions of a list beside its filters.
fn add_wanted(query: &mut Statement, tenant: Id, wanted: &WantedCalls) {
    add_conditions(query, tenant, &wanted.filters);
    if let Some(status) = wanted.status {
        // A part of the statement, so that the index of active calls can be used.
        query.push(format!(" AND status = '{status}'"));
    }
    if let Some(least) = wanted.min_duration {
        let micros = least.as_micros();
        query.push_either(" AND ended_at - started_at >= make_interval(secs => ", " AND ended_at - started_at >= ");
        query.push(micros.to_string()).push_either(" / 1000000.0)", "");
    }
    match wanted.has_errors {
        Some(true) => {
            query.push(" AND length(error_kinds) > 0");
        }
        Some(false) => {
            query.push(" AND length(error_kinds) = 0");
        }
        None => {}
    }
    if let Some(text) = &wanted.search {
        query.push(" AND (external_id = ").bind_text(text.clone());
        if let Ok(id) = text.parse::<Uuid>() {
            query.push(" OR call_id = ").bind_id(Id(id));
        }
        query.push(")");
    }
}

#[async_trait]
impl CallReader for Database {
    async fn list_calls(
        &self,
        tenant: TenantId,
        wanted: &WantedCalls,
        after: Option<CallPosition>,
        limit: u32,
    ) -> Result<Vec<CallFacts>, StoreError> {
        let mut query = all_calls_in(tenant.into(), wanted.window);
        add_wanted(&mut query, tenant.into(), wanted);
        if wanted.descends {
            add_page_down(&mut query, after, limit);
        } else {
            let start = (wanted.window.start() - Span::from_micros(1), CallId(Uuid::nil()));
            add_page(&mut query, after.unwrap_or(start), limit);
        }
        self.ask(tenant, query, |rows: Vec<StoredCallRow>| {
            rows.into_iter().map(|StoredCallRow(row, _)| row.try_into()).collect()
        })
        .await
    }

    async fn find_call(
        &self,
        tenant: TenantId,
        id: CallId,
    ) -> Result<Option<(CallFacts, Vec<LoggedError>)>, StoreError> {
        let mut query = Statement::default();
        query.push(format!("SELECT {} FROM calls WHERE tenant_id = ", call_columns())).bind_id(tenant.into());
        query.push(" AND call_id = ").bind_id(id.into());
        let call = |rows: Vec<StoredCallRow>| {
            rows.into_iter().next().map(|StoredCallRow(row, _)| CallFacts::try_from(row)).transpose()
        };
        let Some(call) = self.ask(tenant, query, call).await? else { return Ok(None) };
        let mut query = Statement::default();
        let columns: Vec<&str> = LoggedErrorRow::CELLS.iter().map(|&(_, column)| column).collect();
        query.push(format!("SELECT {} FROM call_errors WHERE tenant_id = ", columns.join(", ")));
        query.bind_id(tenant.into()).push(" AND call_id = ").bind_id(id.into()).push(" ORDER BY position");
        let errors = self.ask(tenant, query, |rows: Vec<LoggedErrorRow>| {
            rows.into_iter().map(TryInto::try_into).collect::<Result<Vec<LoggedError>, StoreError>>()
        });
        Ok(Some((call, errors.await?)))
    }

    async fn load_labels(
        &self,
        tenant: TenantId,
        ids: &[WorkflowId],
    ) -> Result<HashMap<WorkflowId, WorkflowLabel>, StoreError> {
        let of_tenant = workflows::table.filter(workflows::tenant_id.eq(Id::from(tenant)));
        let columns = (workflows::workflow_id, workflows::slug, workflows::name);
        let read = |rows: Vec<(Id, String, Option<String>)>| {
            let label = |(id, slug, name): (Id, String, Option<String>)| {
                let slug = Slug::new(slug).map_err(damaged)?;
                let name = name.unwrap_or_else(|| slug.to_string());
                Ok((id.into(), WorkflowLabel { slug, name }))
            };
            rows.into_iter().map(label).collect()
        };
        if ids.is_empty() {
            return self.ask(tenant, of_tenant.select(columns), read).await;
        }
        let ids: Vec<Id> = ids.iter().copied().map(Id::from).collect();
        self.ask(tenant, of_tenant.filter(workflows::workflow_id.eq_any(ids)).select(columns), read).await
    }
}

/// The conditions of the filters that the columns of calls can answer; the others see the calls later.
pub fn add_conditions(query: &mut Statement, tenant: Id, filters: &[Filter]) {
    for filter in filters {
        let Axis::Dimension(dimension) = filter.axis else { continue };
        match dimension.row().grouping {
            Grouping::Workflow => add_workflows(query, tenant, filter),
            Grouping::Text(fact) => {
                let column = fact.as_str();
                add_condition(query, column, filter, |query, is| {
                    query.push(if is { " IN (" } else { " NOT IN (" });
                    push_texts(query, filter.values.iter().flatten());
                    query.push(")");
                });
            }
            Grouping::Tenant | Grouping::Use(..) | Grouping::Error(_) => {
                // A call without errors has none of any kind.
                if dimension == Dimension::ErrorKind && !filter.accepts_unknown() {
                    query.push(" AND length(error_kinds) > 0");
                }
            }
        }
    }
}

/// The condition on a column: its value is in a list, or not, and so may be unknown, or not.
fn add_condition(
    query: &mut Statement,
    column: &'static str,
    filter: &Filter,
    push_is_in: impl FnOnce(&mut Statement, bool),
) {
    let is = filter.operator == Operator::Is;
    query.push(" AND (").push(column);
    if filter.values.iter().any(Option::is_some) {
        push_is_in(query, is);
    } else {
        // Of no values, every known one is not one.
        query.push(if is { " <> " } else { " = " }).push(column);
    }
    // What compares with NULL is not true, so only one that is wanted has to be named.
    if filter.accepts_unknown() {
        query.push(" OR ").push(column).push(" IS NULL");
    }
    query.push(")");
}

/// The workflows are looked for once.
fn add_workflows(query: &mut Statement, tenant: Id, filter: &Filter) {
    add_condition(query, "workflow_id", filter, |query, is| {
        if is {
            query.push_either(" = ANY (ARRAY (", " IN (");
        } else {
            query.push_either(" <> ALL (ARRAY (", " NOT IN (");
        }
        query.push("SELECT workflow_id FROM workflows WHERE tenant_id = ").bind_id(tenant).push(" AND slug IN (");
        push_texts(query, filter.values.iter().flatten());
        query.push_either(")))", "))");
    });
}

/// A list of texts; without any, one that nothing is in.
pub fn push_texts<'t>(query: &mut Statement, texts: impl IntoIterator<Item = &'t Box<str>>) {
    let mut separator = "";
    for text in texts {
        query.push(separator).bind_text(text.clone());
        separator = ", ";
    }
    if separator.is_empty() {
        query.push("NULL");
    }
}

impl Database {
    /// Sends the calls of a plan's window from one snapshot of the database, until the receiver is dropped.
    pub(crate) async fn send_calls(
        &self,
        tenant: TenantId,
        plan: &ReadPlan,
        pages: mpsc::Sender<Vec<CallFacts>>,
    ) -> Result<(), StoreError> {
        let mut conn = self.analytics_connection().await?;
        conn.begin(Access::Read).await?;
        let window = plan.window();
        let mut position = (window.start() - Span::from_micros(1), CallId(Uuid::nil()));
        loop {
            let mut query = all_calls_in(tenant.into(), window);
            add_conditions(&mut query, tenant.into(), plan.filters());
            add_page(&mut query, position, PAGE);
            let rows: Vec<StoredCallRow> = conn.load(query).await?;
            let is_last = rows.len() < PAGE as usize;
            let calls: Result<Vec<CallFacts>, StoreError> =
                rows.into_iter().map(|StoredCallRow(row, _)| row.try_into()).collect();
            let calls = calls?;
            if let Some(last) = calls.last() {
                position = (last.started_at, last.id);
            }
            if pages.send(calls).await.is_err() || is_last {
                return conn.commit().await;
            }
        }
    }
}

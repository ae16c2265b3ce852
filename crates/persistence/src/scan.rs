//! Calls in the order of their starts, and the conditions that filters put on them.

use crate::conn::Access;
use crate::database::Database;
use crate::rows::{StoredCallRow, call_columns};
use crate::sql::{Id, Time};
use crate::statement::Statement;
use callscope_analytics::ports::{CallPosition, StoreError};
use callscope_domain::{
    Axis, CallFacts, CallId, Dimension, Filter, Grouping, Operator, ReadPlan, Span, TenantId, Window,
};
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
    /// Sends the calls of a plan's window, as one state of the database, until nobody takes them any more.
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

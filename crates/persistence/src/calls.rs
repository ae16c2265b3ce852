//! The transactions that change calls.

use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::rollups::add_rollups;
use crate::rows::{CallErrorRow, CallFactsRow, CallRow, WorkflowRow};
use crate::schema::{call_errors, calls, workflows};
use crate::sql::{Id, Time, Word};
use crate::states::lock_tenant;
use async_trait::async_trait;
use callscope_analytics::ports::{CallStore, CallTransaction, LockedCalls, StoreError, TenantChanges};
use callscope_domain::{CallId, CallStatus, Span, TIMEOUT_END_REASON, TenantId, Timestamp, Workflow};
use diesel::prelude::*;
use diesel::upsert::excluded;
use std::collections::HashMap;

/// Rows of one statement: enough to make its cost small, few enough for the bound parameters of both databases.
pub const ROWS_PER_STATEMENT_MAX: usize = 1000;

#[async_trait]
impl CallStore for Database {
    async fn begin(&self) -> Result<Box<dyn CallTransaction>, StoreError> {
        Ok(Box::new(CallWrite { conn: self.transaction(Access::Write).await? }))
    }

    fn one_transaction_for_all_tenants(&self) -> bool {
        self.is_embedded()
    }

    fn writers_max(&self) -> usize {
        self.writers_max()
    }

    async fn list_overdue_calls(
        &self,
        tenant: TenantId,
        started_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<CallId>, StoreError> {
        let query = calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(calls::status.eq(Word(CallStatus::Active)))
            .filter(calls::started_at.lt(Time(started_before)))
            .order(calls::started_at)
            .limit(limit.into())
            .select(calls::call_id);
        let ids: Vec<Id> = self.connection(Access::Read).await?.load(query).await?;
        Ok(ids.into_iter().map(Into::into).collect())
    }
}

struct CallWrite {
    conn: Conn,
}

#[async_trait]
impl CallTransaction for CallWrite {
    async fn lock_calls(&mut self, tenant: TenantId, ids: &[CallId]) -> Result<LockedCalls, StoreError> {
        let state = lock_tenant(&mut self.conn, tenant).await?;
        let mut calls = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(ROWS_PER_STATEMENT_MAX) {
            let chunk: Vec<Id> = chunk.iter().copied().map(Id::from).collect();
            let query = calls::table
                .filter(calls::tenant_id.eq(Id::from(tenant)))
                .filter(calls::call_id.eq_any(chunk))
                .select(columns::<CallFactsRow>());
            let rows: Vec<CallFactsRow> = self.conn.load(query).await?;
            for row in rows {
                calls.push(row.try_into()?);
            }
        }
        Ok(LockedCalls { kept_from: state.calls_kept_from.map(|time| time.0), calls })
    }

    async fn save(&mut self, tenant: TenantId, changes: &TenantChanges) -> Result<(), StoreError> {
        let conn = &mut self.conn;
        save_workflows(conn, tenant, &changes.workflows).await?;
        for chunk in changes.calls.chunks(ROWS_PER_STATEMENT_MAX) {
            upsert_calls(conn, chunk.iter().map(|call| CallRow::new(tenant, call)).collect()).await?;
        }
        close_calls(conn, tenant, &changes.timed_out).await?;
        delete_errors(conn, tenant, &changes.stale_errors).await?;
        let errors: Vec<CallErrorRow> =
            changes.calls.iter().flat_map(|call| CallErrorRow::of_call(tenant, call)).collect();
        for chunk in chunks(errors) {
            conn.execute(diesel::insert_into(call_errors::table).values(chunk)).await?;
        }
        add_rollups(conn, tenant, &changes.rollups).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.conn.commit().await
    }
}

/// Splits owned rows into statements' worth.
pub fn chunks<T>(rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = rows.by_ref().take(ROWS_PER_STATEMENT_MAX).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

async fn upsert_calls(conn: &mut Conn, rows: Vec<CallRow>) -> Result<(), StoreError> {
    use calls::columns::*;
    let statement = diesel::insert_into(calls::table).values(rows).on_conflict((tenant_id, call_id)).do_update().set((
        status.eq(excluded(status)),
        started_at.eq(excluded(started_at)),
        ended_at.eq(excluded(ended_at)),
        end_reason.eq(excluded(end_reason)),
        workflow_id.eq(excluded(workflow_id)),
        agent.eq(excluded(agent)),
        total_tokens.eq(excluded(total_tokens)),
        latencies.eq(excluded(latencies)),
        error_kinds.eq(excluded(error_kinds)),
    ));
    conn.execute(statement).await.map(drop)
}

async fn close_calls(conn: &mut Conn, tenant: TenantId, ids: &[CallId]) -> Result<(), StoreError> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT_MAX) {
        let chunk: Vec<Id> = chunk.iter().copied().map(Id::from).collect();
        let overdue = calls::table.filter(calls::tenant_id.eq(Id::from(tenant))).filter(calls::call_id.eq_any(chunk));
        let closed = (calls::status.eq(Word(CallStatus::Failed)), calls::end_reason.eq(TIMEOUT_END_REASON));
        conn.execute(diesel::update(overdue).set(closed)).await?;
    }
    Ok(())
}

async fn delete_errors(conn: &mut Conn, tenant: TenantId, ids: &[CallId]) -> Result<(), StoreError> {
    for chunk in ids.chunks(ROWS_PER_STATEMENT_MAX) {
        let chunk: Vec<Id> = chunk.iter().copied().map(Id::from).collect();
        let stale = call_errors::table
            .filter(call_errors::tenant_id.eq(Id::from(tenant)))
            .filter(call_errors::call_id.eq_any(chunk));
        conn.execute(diesel::delete(stale)).await?;
    }
    Ok(())
}

/// Keeps the label from the newest call: one that names its workflow over one that does not. Under the tenant's lock,
/// what is loaded here stays as it is.
async fn save_workflows(
    conn: &mut Conn,
    tenant: TenantId,
    sightings: &[(Workflow, Timestamp)],
) -> Result<(), StoreError> {
    use workflows::columns::*;
    for sightings in sightings.chunks(ROWS_PER_STATEMENT_MAX) {
        let query = workflows::table
            .filter(tenant_id.eq(Id::from(tenant)))
            .filter(workflow_id.eq_any(sightings.iter().map(|(workflow, _)| Id::from(workflow.id)).collect::<Vec<_>>()))
            .select(columns::<WorkflowRow>());
        let known: Vec<WorkflowRow> = conn.load(query).await?;
        let known: HashMap<Id, Time> = known.into_iter().map(|row| (row.workflow_id, row.named_at)).collect();
        let is_news = |row: &WorkflowRow| known.get(&row.workflow_id).is_none_or(|&known| known <= row.named_at);
        let rows: Vec<WorkflowRow> =
            sightings.iter().map(|(workflow, seen_at)| row(tenant, workflow, *seen_at)).collect();
        let news: Vec<WorkflowRow> = rows.into_iter().filter(is_news).collect();
        if news.is_empty() {
            continue;
        }
        let statement = diesel::insert_into(workflows::table)
            .values(news)
            .on_conflict((tenant_id, workflow_id))
            .do_update()
            .set((slug.eq(excluded(slug)), name.eq(excluded(name)), named_at.eq(excluded(named_at))));
        conn.execute(statement).await?;
    }
    Ok(())
}

fn row(tenant: TenantId, workflow: &Workflow, seen_at: Timestamp) -> WorkflowRow {
    // A record without a name counts as older than any with one, but is as old as it is among its like.
    let named_at = if workflow.name.is_some() { seen_at } else { seen_at - UNNAMED_SHIFT };
    WorkflowRow {
        tenant_id: tenant.into(),
        workflow_id: workflow.id.into(),
        slug: workflow.slug.to_string(),
        name: workflow.name.as_ref().map(ToString::to_string),
        named_at: named_at.into(),
    }
}

/// 4000 years: they move every call to before the year 0 (calls start at most a day ahead), and none to before
/// 4713 BC, where the time of PostgreSQL begins.
const UNNAMED_SHIFT: Span = Span::from_hours(4000 * 365 * 24);

//! The transactions that change calls.

use crate::bulk::{OnConflict, OneOf, Target};
use crate::call_rows::{CallColumns, CallKeys, ChosenCalls, StoredCallRow};
use crate::conn::{Access, Conn};
use crate::database::Database;
use crate::errors::damaged;
use crate::events::save_events_and_counts;
use crate::fragment::IsActive;
use crate::groups::{add_groups, load_groups};
use crate::rollups::{SumColumns, add_rollups};
use crate::rows::{CallErrorColumns, WorkflowColumns};
use crate::schema::{call_errors, calls, workflows};
use crate::sql::{Id, Time, Word};
use crate::states::lock_tenant;
use async_trait::async_trait;
use callscope_analytics::ports::{CallStore, CallTransaction, LockedCalls, StoreError, TenantChanges};
use callscope_domain::{
    Call, CallFacts, CallId, Group, GroupId, Slug, Span, TenantId, TextFact, Timestamp, Workflow, WorkflowId,
};
use diesel::prelude::*;
use futures_util::join;
use std::collections::{HashMap, HashSet};

/// Ids that one statement asks for.
const IDS_PER_STATEMENT_MAX: usize = 5000;

const KNOWN_CALLS: Target = Target { table: "calls", key: &["call_id"], on_conflict: OnConflict::Replace };
const NEW_CALLS: Target = Target { on_conflict: OnConflict::Fail, ..KNOWN_CALLS };
const CALL_ERRORS: Target =
    Target { table: "call_errors", key: &["call_id", "position"], on_conflict: OnConflict::Fail };
const WORKFLOWS: Target = Target { table: "workflows", key: &["workflow_id"], on_conflict: OnConflict::Replace };

#[async_trait]
impl CallStore for Database {
    async fn begin(&self) -> Result<Box<dyn CallTransaction>, StoreError> {
        Ok(Box::new(CallWrite { conn: self.transaction(Access::Write).await?, absent: HashSet::new() }))
    }

    fn one_transaction_for_all_tenants(&self) -> bool {
        self.is_embedded()
    }

    fn writers_max(&self) -> usize {
        self.writers_max()
    }

    fn is_writer_awaited(&self) -> bool {
        self.is_writer_awaited()
    }

    async fn list_overdue_calls(
        &self,
        tenant: TenantId,
        started_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<CallId>, StoreError> {
        let query = calls::table
            .filter(calls::tenant_id.eq(Id::from(tenant)))
            .filter(IsActive)
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
    /// Calls of the tenant locked last that do not exist, and cannot while the lock is held.
    absent: HashSet<CallId>,
}

#[async_trait]
impl CallTransaction for CallWrite {
    async fn lock_calls(&mut self, tenant: TenantId, ids: &[CallId]) -> Result<LockedCalls, StoreError> {
        let state = lock_tenant(&mut self.conn, tenant).await?;
        let mut calls = Vec::with_capacity(ids.len());
        let mut logged_errors = HashMap::new();
        self.absent = ids.iter().copied().collect();
        let mut keys = CallKeys::default();
        for &id in ids {
            keys.push((id.into(),));
        }
        for keys in OneOf::split(keys, self.conn.is_embedded()) {
            let rows: Vec<StoredCallRow> = self.conn.load(ChosenCalls { tenant: tenant.into(), keys }).await?;
            for StoredCallRow(row, logged) in rows {
                let call: CallFacts = row.try_into()?;
                self.absent.remove(&call.id);
                if let Some(logged) = usize::try_from(logged).ok().filter(|&logged| logged > 0) {
                    logged_errors.insert(call.id, logged);
                }
                calls.push(call);
            }
        }
        let kept_from = state.calls_kept_from.map(|time| time.0);
        let counts = state.counts();
        Ok(LockedCalls { kept_from, calls, logged_errors, counts, slugs: HashMap::new() })
    }

    async fn load_groups(&mut self, tenant: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError> {
        load_groups(&mut self.conn, tenant).await
    }

    async fn load_slugs(
        &mut self,
        tenant: TenantId,
        ids: &[WorkflowId],
    ) -> Result<HashMap<WorkflowId, Slug>, StoreError> {
        let mut slugs = HashMap::new();
        for ids in ids.chunks(IDS_PER_STATEMENT_MAX) {
            let ids: Vec<Id> = ids.iter().copied().map(Id::from).collect();
            let query = workflows::table
                .filter(workflows::tenant_id.eq(Id::from(tenant)))
                .filter(workflows::workflow_id.eq_any(ids))
                .select((workflows::workflow_id, workflows::slug));
            for (id, slug) in self.conn.load::<(Id, String)>(query).await? {
                slugs.insert(id.into(), Slug::new(slug).map_err(damaged)?);
            }
        }
        Ok(slugs)
    }

    async fn save(&mut self, tenant: TenantId, changes: &TenantChanges) -> Result<(), StoreError> {
        let conn = &mut self.conn;
        save_workflows(conn, tenant, &changes.workflows).await?;
        delete_errors(conn, tenant, &changes.stale_errors).await?;
        // To insert without looking for the key first is cheaper.
        let logged_errors =
            |call: &Call| changes.logged_errors.get(&call.facts().id).copied().unwrap_or(call.errors().len());
        let (mut new_calls, mut known_calls) = (CallColumns::default(), CallColumns::default());
        for call in &changes.calls {
            let is_new = self.absent.contains(&call.facts().id);
            if is_new { &mut new_calls } else { &mut known_calls }.push_call(call, logged_errors(call));
        }
        // While the database inserts the calls, the rows of what follows are made.
        let following = async {
            let mut errors = CallErrorColumns::default();
            changes.calls.iter().for_each(|call| errors.push_errors_of(call, logged_errors(call)));
            (errors, SumColumns::new(&changes.rollups))
        };
        let (inserted, (errors, sums)) = join!(conn.insert(NEW_CALLS, tenant, new_calls), following);
        inserted?;
        conn.insert(KNOWN_CALLS, tenant, known_calls).await?;
        conn.insert(CALL_ERRORS, tenant, errors).await?;
        close_calls(conn, tenant, &changes.timed_out).await?;
        add_rollups(conn, tenant, &changes.rollups, sums).await?;
        add_groups(conn, tenant, &changes.groups).await?;
        save_events_and_counts(conn, tenant, changes).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.conn.commit().await
    }
}

/// Writes what a timeout changes of calls: all that close alike by one statement.
async fn close_calls(conn: &mut Conn, tenant: TenantId, closed: &[CallFacts]) -> Result<(), StoreError> {
    let ends = |call: &CallFacts| {
        let text = |fact| call.texts.get(fact).map(ToOwned::to_owned);
        (call.status, text(TextFact::EndReason), text(TextFact::EndCategory))
    };
    let is_alike = |left: &CallFacts, right: &CallFacts| ends(left) == ends(right);
    for alike in closed.chunk_by(is_alike).flat_map(|alike| alike.chunks(IDS_PER_STATEMENT_MAX)) {
        let ids: Vec<Id> = alike.iter().map(|call| call.id.into()).collect();
        let overdue = calls::table.filter(calls::tenant_id.eq(Id::from(tenant))).filter(calls::call_id.eq_any(ids));
        let (status, reason, category) = ends(&alike[0]);
        let closed = (calls::status.eq(Word(status)), calls::end_reason.eq(reason), calls::end_category.eq(category));
        conn.execute(diesel::update(overdue).set(closed)).await?;
    }
    Ok(())
}

async fn delete_errors(conn: &mut Conn, tenant: TenantId, ids: &[CallId]) -> Result<(), StoreError> {
    for chunk in ids.chunks(IDS_PER_STATEMENT_MAX) {
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
    sightings: &[(Workflow, Timestamp, GroupId)],
) -> Result<(), StoreError> {
    use workflows::columns::*;
    for sightings in sightings.chunks(IDS_PER_STATEMENT_MAX) {
        let ids: Vec<Id> = sightings.iter().map(|(workflow, ..)| workflow.id.into()).collect();
        let query = workflows::table
            .filter(tenant_id.eq(Id::from(tenant)))
            .filter(workflow_id.eq_any(ids))
            .select((workflow_id, named_at));
        let known: Vec<(Id, Time)> = conn.load(query).await?;
        let known: HashMap<Id, Time> = known.into_iter().collect();
        let mut news = WorkflowColumns::default();
        for (workflow, seen_at, group) in sightings {
            let (id, seen_at) = (Id::from(workflow.id), named_time(workflow, *seen_at));
            if known.get(&id).is_none_or(|&known| known <= seen_at) {
                let (of, called) = (workflow.slug.to_string(), workflow.name.as_ref().map(ToString::to_string));
                news.push((id, group.0, of, called, seen_at));
            }
        }
        conn.insert(WORKFLOWS, tenant, news).await?;
    }
    Ok(())
}

/// A record without a name counts as older than any with one, but is as old as it is among its like.
fn named_time(workflow: &Workflow, seen_at: Timestamp) -> Time {
    Time(if workflow.name.is_some() { seen_at } else { seen_at - UNNAMED_SHIFT })
}

/// 4000 years: they move every call to before the year 0 (calls start at most a day ahead), and none to before
/// 4713 BC, where the time of PostgreSQL begins.
const UNNAMED_SHIFT: Span = Span::from_hours(4000 * 365 * 24);

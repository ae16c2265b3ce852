//! Events: rows that are written with the changes they tell of, and the way to other processes.

use crate::bulk::{OnConflict, Target};
use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::errors::damaged;
use crate::event_rows::{EventColumns, EventRow};
use crate::schema::{call_events, tenant_states};
use crate::sql::{Id, Time};
use crate::states::{count_columns, lock_tenant};
use async_trait::async_trait;
use callscope_analytics::ports::{EventBounds, EventRange, EventStore, NumberedEvent, StoreError, TenantChanges};
use callscope_domain::{EventId, TenantId};
use diesel::prelude::*;
use tokio::sync::mpsc;

const CALL_EVENTS: Target = Target { table: "call_events", key: &["event_id"], on_conflict: OnConflict::Fail };

/// Tenants of one notification: PostgreSQL's have less than 8,000 bytes.
const TENANTS_PER_NOTIFICATION_MAX: usize = 200;

/// Writes the events of a batch, and the counts of what is stored after it: one statement raises both. The transaction
/// holds the tenant's lock, and has written everything else.
pub async fn save_events_and_counts(
    conn: &mut Conn,
    tenant: TenantId,
    changes: &TenantChanges,
) -> Result<(), StoreError> {
    let count = i64::try_from(changes.events.len()).unwrap_or(i64::MAX);
    if count == 0 && !changes.counts_changed {
        return Ok(());
    }
    let state = tenant_states::table.filter(tenant_states::tenant_id.eq(Id::from(tenant)));
    let raised = diesel::update(state)
        .set((tenant_states::last_event.eq(tenant_states::last_event + count), count_columns(changes.counts)))
        .returning(tenant_states::last_event);
    let last: Vec<i64> = conn.load(raised).await?;
    let last = last.first().ok_or_else(|| damaged("the tenant's state is gone"))?;
    let mut rows = EventColumns::default();
    for (id, event) in (last - count + 1..).zip(&changes.events) {
        rows.push_event(id, changes.decided_at, event);
    }
    conn.insert(CALL_EVENTS, tenant, rows).await
}

#[async_trait]
impl EventStore for Database {
    async fn find_event_range(&self, tenant: TenantId) -> Result<EventRange, StoreError> {
        find_range(&mut self.connection(Access::Read).await?, tenant).await
    }

    async fn load_events(
        &self,
        tenant: TenantId,
        after: EventId,
        limit: u32,
    ) -> Result<Vec<NumberedEvent>, StoreError> {
        let query = call_events::table
            .filter(call_events::tenant_id.eq(Id::from(tenant)))
            .filter(call_events::event_id.gt(after.0))
            .order(call_events::event_id)
            .limit(limit.into())
            .select(columns::<EventRow>());
        let rows: Vec<EventRow> = self.connection(Access::Read).await?.load(query).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn delete_old_events(&self, tenant: TenantId, bounds: EventBounds, limit: u32) -> Result<usize, StoreError> {
        // Nobody needs to be held off while there is nothing to delete.
        let mut reader = self.connection(Access::Read).await?;
        let last = find_range(&mut reader, tenant).await?.last;
        let query = call_events::table
            .filter(call_events::tenant_id.eq(Id::from(tenant)))
            .order(call_events::event_id)
            .limit(limit.into())
            .select((call_events::event_id, call_events::recorded_at));
        let oldest: Vec<(i64, Time)> = reader.load(query).await?;
        drop(reader);
        let kept_from = last.0.saturating_sub(bounds.events_max);
        let is_old = |&&(id, recorded_at): &&(i64, Time)| recorded_at.0 < bounds.recorded_from || id <= kept_from;
        let Some(&(cut, _)) = oldest.iter().take_while(is_old).last() else { return Ok(0) };
        let mut conn = self.transaction(Access::Write).await?;
        lock_tenant(&mut conn, tenant).await?;
        let old = call_events::table
            .filter(call_events::tenant_id.eq(Id::from(tenant)))
            .filter(call_events::event_id.le(cut));
        let deleted = conn.execute(diesel::delete(old)).await?;
        let state = tenant_states::table
            .filter(tenant_states::tenant_id.eq(Id::from(tenant)))
            .filter(tenant_states::events_before.lt(cut));
        conn.execute(diesel::update(state).set(tenant_states::events_before.eq(cut))).await?;
        conn.commit().await?;
        Ok(deleted)
    }

    async fn announce(&self, tenants: &[TenantId]) -> Result<(), StoreError> {
        // Whoever reads a file is in this process.
        if self.is_embedded() {
            return Ok(());
        }
        let mut conn = self.connection(Access::Read).await?;
        for tenants in tenants.chunks(TENANTS_PER_NOTIFICATION_MAX) {
            let ids: Vec<String> = tenants.iter().map(|tenant| tenant.0.simple().to_string()).collect();
            conn.notify(ids.join(",")).await?;
        }
        Ok(())
    }

    async fn listen(&self, heard: mpsc::Sender<TenantId>) -> Result<(), StoreError> {
        self.hear_commits(heard).await
    }
}

async fn find_range(conn: &mut Conn, tenant: TenantId) -> Result<EventRange, StoreError> {
    let query = tenant_states::table
        .filter(tenant_states::tenant_id.eq(Id::from(tenant)))
        .select((tenant_states::events_before, tenant_states::last_event));
    let ranges: Vec<(i64, i64)> = conn.load(query).await?;
    let range = ranges.first().map(|&(before, last)| EventRange { before: EventId(before), last: EventId(last) });
    Ok(range.unwrap_or_default())
}

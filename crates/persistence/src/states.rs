//! What a tenant's writers agree on, and the one lock that they take.

use crate::conn::{Conn, columns};
use crate::rows::TenantStateRow;
use crate::schema::tenant_states;
use crate::sql::{Id, Time};
use callscope_analytics::kept::KeptCounts;
use callscope_analytics::ports::StoreError;
use callscope_domain::{TenantId, Timestamp};
use diesel::dsl::Eq;
use diesel::prelude::*;

/// Holds off every other writer of a tenant until the transaction ends, by raising its revision; gives its state. One
/// lock a tenant is no loss: batches of a tenant meet in the same rollup rows anyway; and one lock cannot deadlock.
pub async fn lock_tenant(conn: &mut Conn, tenant: TenantId) -> Result<TenantStateRow, StoreError> {
    use tenant_states::columns::*;
    let statement = diesel::insert_into(tenant_states::table)
        .values((tenant_id.eq(Id::from(tenant)), revision.eq(1_i64), rebuilds.eq(0_i64)))
        .on_conflict(tenant_id)
        .do_update()
        .set(revision.eq(revision + 1_i64))
        .returning(columns::<TenantStateRow>());
    let rows: Vec<TenantStateRow> = conn.load(statement).await?;
    rows.into_iter().next().ok_or_else(|| crate::errors::damaged("the tenant's state was not returned"))
}

/// A tenant's state, without its lock; none before its first writer.
pub async fn find_state(conn: &mut Conn, tenant: TenantId) -> Result<Option<TenantStateRow>, StoreError> {
    let query =
        tenant_states::table.filter(tenant_states::tenant_id.eq(Id::from(tenant))).select(columns::<TenantStateRow>());
    Ok(conn.load::<TenantStateRow>(query).await?.into_iter().next())
}

/// Sets the start from which on calls are kept. The transaction holds the tenant's lock.
pub async fn set_calls_kept_from(conn: &mut Conn, tenant: TenantId, instant: Timestamp) -> Result<(), StoreError> {
    let state = tenant_states::table.filter(tenant_states::tenant_id.eq(Id::from(tenant)));
    let statement = diesel::update(state).set(tenant_states::calls_kept_from.eq(Some(Time(instant))));
    conn.execute(statement).await.map(drop)
}

/// Sets the counts of what is stored. The transaction holds the tenant's lock.
pub async fn set_counts(conn: &mut Conn, tenant: TenantId, counts: KeptCounts) -> Result<(), StoreError> {
    use tenant_states::columns::*;
    let state = tenant_states::table.filter(tenant_id.eq(Id::from(tenant)));
    conn.execute(diesel::update(state).set(count_columns(counts))).await.map(drop)
}

type CountColumns = (
    Eq<tenant_states::active_calls, i64>,
    Eq<tenant_states::stored_rows, i64>,
    Eq<tenant_states::errors_day, Option<Time>>,
    Eq<tenant_states::errors_logged, i64>,
    Eq<tenant_states::groups, i64>,
);

/// The columns of a tenant's state that hold the counts.
pub fn count_columns(counts: KeptCounts) -> CountColumns {
    use tenant_states::columns::*;
    (
        active_calls.eq(counts.active_calls),
        stored_rows.eq(counts.stored_rows),
        errors_day.eq(counts.errors_day.map(Time)),
        errors_logged.eq(counts.errors_logged),
        groups.eq(counts.groups),
    )
}

/// Counts a change of rollups that is not the addition of contributions, so that a correction that was computed before
/// is computed again. The transaction holds the tenant's lock.
pub async fn count_rebuild(conn: &mut Conn, tenant: TenantId) -> Result<(), StoreError> {
    use tenant_states::columns::*;
    let state = tenant_states::table.filter(tenant_id.eq(Id::from(tenant)));
    conn.execute(diesel::update(state).set(rebuilds.eq(rebuilds + 1_i64))).await.map(drop)
}

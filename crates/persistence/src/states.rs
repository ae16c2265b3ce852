//! What a tenant's writers agree on, and the one lock that they take.

use crate::conn::{Conn, columns};
use crate::rows::TenantStateRow;
use crate::schema::tenant_states;
use crate::sql::Id;
use callscope_analytics::ports::StoreError;
use callscope_domain::TenantId;
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

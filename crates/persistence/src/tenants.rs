//! Tenants and keys.

use crate::access::audit_key;
use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::schema::{api_keys, tenants};
use crate::sql::{Id, Time};
use crate::tenant_rows::{ApiKeyRow, TenantRow};
use async_trait::async_trait;
use callscope_analytics::ports::{StoreError, TenantStore};
use callscope_domain::{Actor, ApiKey, KeyAction, KeyId, Slug, Tenant, TenantId, Timestamp};
use diesel::prelude::*;

#[async_trait]
impl TenantStore for Database {
    async fn create_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let statement = diesel::insert_into(tenants::table).values(TenantRow::from(tenant));
        self.connection(Access::Write).await?.execute(statement).await.map(drop)
    }

    async fn list_tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let query = tenants::table.select(columns::<TenantRow>());
        let rows: Vec<TenantRow> = self.connection(Access::Read).await?.load(query).await?;
        let mut tenants = rows.into_iter().map(Tenant::try_from).collect::<Result<Vec<_>, _>>()?;
        // Not in SQL: PostgreSQL orders text by the database's language.
        tenants.sort_by(|left, right| left.slug.cmp(&right.slug));
        Ok(tenants)
    }

    async fn find_tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        let query = tenants::table.filter(tenants::slug.eq(slug.to_string())).select(columns::<TenantRow>());
        let rows: Vec<TenantRow> = self.connection(Access::Read).await?.load(query).await?;
        rows.into_iter().next().map(TryInto::try_into).transpose()
    }

    async fn create_key(
        &self,
        key: &ApiKey,
        secret_hash: &[u8; 32],
        actor: &Actor,
        valid_max: u32,
    ) -> Result<bool, StoreError> {
        let _turn = self.access_write(key.tenant_id).await?;
        let mut conn = self.transaction(Access::Write).await?;
        lock_keys(&mut conn, key.tenant_id).await?;
        if count_valid_keys(&mut conn, key.tenant_id, key.created_at).await? >= i64::from(valid_max) {
            return Ok(false);
        }
        conn.execute(diesel::insert_into(api_keys::table).values(ApiKeyRow::new(key, secret_hash))).await?;
        audit_key(&mut conn, (key.tenant_id, key.id), KeyAction::Created, key.created_at, actor).await?;
        conn.commit().await?;
        Ok(true)
    }

    async fn list_keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>, StoreError> {
        let query = api_keys::table
            .filter(api_keys::tenant_id.eq(Id::from(tenant)))
            .order((api_keys::created_at, api_keys::key_id))
            .select(columns::<ApiKeyRow>());
        let rows: Vec<ApiKeyRow> = self.connection(Access::Read).await?.load(query).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn revoke_key(
        &self,
        tenant: TenantId,
        key: KeyId,
        revoked_at: Timestamp,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let of_key = || {
            api_keys::table.filter(api_keys::tenant_id.eq(Id::from(tenant))).filter(api_keys::key_id.eq(Id::from(key)))
        };
        let _turn = self.access_write(tenant).await?;
        let mut conn = self.transaction(Access::Write).await?;
        let unrevoked = of_key().filter(api_keys::revoked_at.is_null());
        let revoked = diesel::update(unrevoked).set(api_keys::revoked_at.eq(Some(Time(revoked_at))));
        if conn.execute(revoked).await? > 0 {
            audit_key(&mut conn, (tenant, key), KeyAction::Revoked, revoked_at, actor).await?;
        }
        let known: Vec<Id> = conn.load(of_key().select(api_keys::key_id)).await?;
        conn.commit().await?;
        Ok(!known.is_empty())
    }

    async fn find_key(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let query =
            api_keys::table.filter(api_keys::secret_hash.eq(secret_hash.to_vec())).select(columns::<ApiKeyRow>());
        let rows: Vec<ApiKeyRow> = self.credentials_connection(Access::Read).await?.load(query).await?;
        rows.into_iter().next().map(TryInto::try_into).transpose()
    }
}

/// Holds off every other transaction that creates keys of a tenant, until this one ends: an update that changes nothing
/// locks the tenant's row. Records of calls lock another row and do not wait.
async fn lock_keys(conn: &mut Conn, tenant: TenantId) -> Result<(), StoreError> {
    let row = tenants::table.filter(tenants::tenant_id.eq(Id::from(tenant)));
    conn.execute(diesel::update(row).set(tenants::name.eq(tenants::name))).await.map(drop)
}

async fn count_valid_keys(conn: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<i64, StoreError> {
    let valid = api_keys::table
        .filter(api_keys::tenant_id.eq(Id::from(tenant)))
        .filter(api_keys::revoked_at.is_null())
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(Some(Time(now)))));
    let counts: Vec<i64> = conn.load(valid.count()).await?;
    Ok(counts.into_iter().sum())
}

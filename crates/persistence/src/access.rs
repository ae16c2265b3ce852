//! Who is let in: tenants and keys by id, tickets, and the audit of keys.

use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::errors::damaged;
use crate::schema::{api_keys, key_audits, tenants, tickets};
use crate::sql::{Id, Time, Word};
use crate::tenant_rows::{ApiKeyRow, join_scopes, split_scopes};
use async_trait::async_trait;
use callscope_analytics::access::{AccessStore, TICKETS_PER_TENANT_MAX};
use callscope_analytics::ports::{Page, StoreError};
use callscope_domain::{Actor, ApiKey, KeyAction, KeyId, TenantId, Ticket, Timestamp};
use diesel::prelude::*;
use uuid::Uuid;

/// Writes down what was done to a key. The transaction is the one that does it.
pub async fn audit_key(
    conn: &mut Conn,
    key: (TenantId, KeyId),
    action: KeyAction,
    at: Timestamp,
    actor: &Actor,
) -> Result<(), StoreError> {
    let row = KeyAuditRow {
        tenant_id: key.0.into(),
        audit_id: Id(Uuid::now_v7()),
        audited_at: at.into(),
        actor: actor.to_string(),
        action: Word(action),
        key_id: key.1.into(),
    };
    conn.execute(diesel::insert_into(key_audits::table).values(row)).await.map(drop)
}

/// What was done to a key.
#[derive(Insertable)]
#[diesel(table_name = key_audits)]
struct KeyAuditRow {
    tenant_id: Id,
    audit_id: Id,
    audited_at: Time,
    actor: String,
    action: Word<KeyAction>,
    key_id: Id,
}

/// A ticket.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = tickets, treat_none_as_default_value = false)]
struct TicketRow {
    tenant_id: Id,
    ticket_hash: Vec<u8>,
    scopes: String,
    holder: String,
    expires_at: Time,
    credential_expires_at: Option<Time>,
}

impl TicketRow {
    fn new(ticket: &Ticket, hash: &[u8; 32]) -> Self {
        Self {
            tenant_id: ticket.tenant_id.into(),
            ticket_hash: hash.to_vec(),
            scopes: join_scopes(&ticket.scopes),
            holder: ticket.holder.to_string(),
            expires_at: ticket.expires_at.into(),
            credential_expires_at: ticket.credential_expires_at.map(Time),
        }
    }
}

impl TryFrom<TicketRow> for Ticket {
    type Error = StoreError;

    fn try_from(row: TicketRow) -> Result<Self, StoreError> {
        Ok(Self {
            tenant_id: row.tenant_id.into(),
            scopes: split_scopes(&row.scopes)?,
            holder: row.holder.parse().map_err(damaged)?,
            expires_at: row.expires_at.0,
            credential_expires_at: row.credential_expires_at.map(|time| time.0),
        })
    }
}

#[async_trait]
impl AccessStore for Database {
    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError> {
        let query = tenants::table.filter(tenants::tenant_id.eq(Id::from(tenant))).select(tenants::tenant_id);
        let found: Vec<Id> = self.credentials_connection(Access::Read).await?.load(query).await?;
        Ok(!found.is_empty())
    }

    async fn find_key_by_id(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKey>, StoreError> {
        let query = api_keys::table
            .filter(api_keys::tenant_id.eq(Id::from(tenant)))
            .filter(api_keys::key_id.eq(Id::from(key)))
            .select(columns::<ApiKeyRow>());
        let rows: Vec<ApiKeyRow> = self.credentials_connection(Access::Read).await?.load(query).await?;
        rows.into_iter().next().map(TryInto::try_into).transpose()
    }

    async fn list_key_page(&self, tenant: TenantId, page: Page) -> Result<(Vec<ApiKey>, u64), StoreError> {
        let of_tenant = || api_keys::table.filter(api_keys::tenant_id.eq(Id::from(tenant)));
        let query = of_tenant()
            .order((api_keys::created_at, api_keys::key_id))
            .select(columns::<ApiKeyRow>())
            .offset(page.offset.into())
            .limit(page.limit.into());
        let mut conn = self.transaction(Access::Read).await?;
        let rows: Vec<ApiKeyRow> = conn.load(query).await?;
        let counts: Vec<i64> = conn.load(of_tenant().count()).await?;
        conn.commit().await?;
        let keys = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let total = counts.first().copied().unwrap_or_default();
        Ok((keys, u64::try_from(total).map_err(damaged)?))
    }

    async fn create_ticket(&self, ticket: &Ticket, hash: &[u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        let of_tenant = || tickets::table.filter(tickets::tenant_id.eq(Id::from(ticket.tenant_id)));
        let _turn = self.access_write(ticket.tenant_id).await?;
        let mut conn = self.credentials_connection(Access::Write).await?;
        // There are never many: the bound below sees to it.
        conn.execute(diesel::delete(of_tenant().filter(tickets::expires_at.le(Time(now))))).await?;
        let counts: Vec<i64> = conn.load(of_tenant().count()).await?;
        // Two at one moment may pass together: the bound is there to bound, not to be exact.
        if counts.first().is_none_or(|&count| count >= TICKETS_PER_TENANT_MAX) {
            return Ok(false);
        }
        conn.execute(diesel::insert_into(tickets::table).values(TicketRow::new(ticket, hash))).await?;
        Ok(true)
    }

    async fn take_ticket(&self, tenant: TenantId, hash: &[u8; 32]) -> Result<Option<Ticket>, StoreError> {
        let ticket = || {
            tickets::table
                .filter(tickets::tenant_id.eq(Id::from(tenant)))
                .filter(tickets::ticket_hash.eq(hash.to_vec()))
        };
        // What strangers make up must not wait for the one connection that writes to a file, nor hold it.
        if self.is_embedded() {
            let query = ticket().select(tickets::tenant_id);
            let known: Vec<Id> = self.credentials_connection(Access::Read).await?.load(query).await?;
            if known.is_empty() {
                return Ok(None);
            }
        }
        let _turn = self.access_write(tenant).await?;
        let statement = diesel::delete(ticket()).returning(columns::<TicketRow>());
        let rows: Vec<TicketRow> = self.credentials_connection(Access::Write).await?.load(statement).await?;
        rows.into_iter().next().map(TryInto::try_into).transpose()
    }
}

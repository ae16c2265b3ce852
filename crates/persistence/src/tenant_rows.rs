//! Rows of tenants and their keys, and how they become values of the domain and back.

use crate::errors::damaged;
use crate::schema::{api_keys, tenants};
use crate::sql::{Id, Time};
use callscope_analytics::ports::StoreError;
use callscope_domain::{ApiKey, DisplayName, RateLimit, Scope, Slug, Tenant};
use diesel::prelude::{Insertable, Queryable, Selectable};

/// A tenant.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = tenants, treat_none_as_default_value = false)]
pub struct TenantRow {
    tenant_id: Id,
    slug: String,
    name: String,
    created_at: Time,
}

impl From<&Tenant> for TenantRow {
    fn from(tenant: &Tenant) -> Self {
        Self {
            tenant_id: tenant.id.into(),
            slug: tenant.slug.to_string(),
            name: tenant.name.to_string(),
            created_at: tenant.created_at.into(),
        }
    }
}

impl TryFrom<TenantRow> for Tenant {
    type Error = StoreError;

    fn try_from(row: TenantRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.tenant_id.into(),
            slug: Slug::new(row.slug).map_err(damaged)?,
            name: DisplayName::new(row.name).map_err(damaged)?,
            created_at: row.created_at.0,
        })
    }
}

/// An API key.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = api_keys, treat_none_as_default_value = false)]
pub struct ApiKeyRow {
    tenant_id: Id,
    key_id: Id,
    secret_hash: Vec<u8>,
    name: Option<String>,
    scopes: String,
    created_at: Time,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
    requests_per_second: Option<i32>,
    burst: Option<i32>,
}

impl ApiKeyRow {
    /// The row of a key.
    pub fn new(key: &ApiKey, secret_hash: &[u8; 32]) -> Self {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Self {
            tenant_id: key.tenant_id.into(),
            key_id: key.id.into(),
            secret_hash: secret_hash.to_vec(),
            name: key.name.as_ref().map(ToString::to_string),
            scopes: join_scopes(&key.scopes),
            created_at: key.created_at.into(),
            expires_at: key.expires_at.map(Time),
            revoked_at: key.revoked_at.map(Time),
            requests_per_second: key.rate.map(|rate| number(rate.requests_per_second())),
            burst: key.rate.map(|rate| number(rate.burst())),
        }
    }
}

/// Scopes as one column.
pub fn join_scopes(scopes: &[Scope]) -> String {
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    words.join(" ")
}

/// Scopes of one column.
pub fn split_scopes(column: &str) -> Result<Vec<Scope>, StoreError> {
    let scopes: Result<Vec<Scope>, _> = column.split_whitespace().map(str::parse).collect();
    scopes.map_err(damaged)
}

fn rate(requests_per_second: i32, burst: i32) -> Result<RateLimit, StoreError> {
    let requests_per_second = u32::try_from(requests_per_second).map_err(damaged)?;
    RateLimit::new(requests_per_second, u32::try_from(burst).map_err(damaged)?).map_err(damaged)
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: ApiKeyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.key_id.into(),
            tenant_id: row.tenant_id.into(),
            name: row.name.map(DisplayName::new).transpose().map_err(damaged)?,
            scopes: split_scopes(&row.scopes)?,
            created_at: row.created_at.0,
            expires_at: row.expires_at.map(|time| time.0),
            revoked_at: row.revoked_at.map(|time| time.0),
            rate: row.requests_per_second.zip(row.burst).map(|(requests, burst)| rate(requests, burst)).transpose()?,
        })
    }
}

//! The schema, tenants and keys from the command line.

use crate::command_line::{KeysCommand, TenantsCommand};
use crate::serve::open;
use crate::settings::Settings;
use crate::table::Table;
use anyhow::{Context, bail};
use callscope_analytics::clock::{Clock, SystemClock};
use callscope_analytics::keys::{self, KeySecret};
use callscope_analytics::ports::{StoreError, TenantStore};
use callscope_domain::{Actor, ApiKey, DisplayName, KeyId, RateLimit, Scope, Slug, Span, Tenant, TenantId, Timestamp};
use callscope_persistence::Database;
use chrono::SecondsFormat;
use std::process::ExitCode;
use std::time::Duration;
use uuid::Uuid;

/// `callscope migrate`
pub async fn migrate(settings: &Settings, distributed: bool) -> anyhow::Result<ExitCode> {
    match Database::migrate(settings.database.url.reveal()).await? {
        0 => println!("the schema is up to date"),
        1 => println!("ran 1 migration; the schema is up to date"),
        count => println!("ran {count} migrations; the schema is up to date"),
    }
    if distributed {
        match Database::distribute(settings.database.url.reveal()).await?.as_slice() {
            [] => println!("every table is distributed"),
            tables => println!("distributed {}; every table is distributed", tables.join(", ")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `callscope tenants …`
pub async fn tenants(settings: &Settings, command: TenantsCommand) -> anyhow::Result<ExitCode> {
    let database = open(settings).await?;
    match command {
        TenantsCommand::Create { slug, name } => {
            let tenant = create_tenant(&database, slug, name).await?;
            println!("created tenant {} ({})", tenant.slug, tenant.id);
        }
        TenantsCommand::List => {
            let mut table = Table::new(["ID", "SLUG", "CREATED", "NAME"]);
            for tenant in database.list_tenants().await? {
                let Tenant { id, slug, name, created_at } = tenant;
                table.add([id.to_string(), slug.to_string(), date(created_at), name.to_string()]);
            }
            print!("{table}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates a tenant whose slug is free.
pub async fn create_tenant(database: &Database, slug: Slug, name: Option<DisplayName>) -> anyhow::Result<Tenant> {
    let name = name.map_or_else(|| DisplayName::new(slug.as_str()), Ok)?;
    let tenant = Tenant { id: TenantId(Uuid::now_v7()), slug, name, created_at: SystemClock.now() };
    match database.create_tenant(&tenant).await {
        Err(StoreError::Duplicate) => bail!("the tenant {} exists already", tenant.slug),
        outcome => outcome?,
    }
    Ok(tenant)
}

/// `callscope keys …`
pub async fn keys(settings: &Settings, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let database = open(settings).await?;
    match command {
        KeysCommand::Create { tenant, scopes, name, expires_in, rate, burst } => {
            let tenant = find_tenant(&database, &tenant).await?;
            let wanted = NewKey { scopes, name, expires_in, rate: rate_limit(rate, burst)? };
            let (key, secret) = create_key(&database, &tenant, wanted, settings.auth.tenant_keys_max).await?;
            // Standard output carries the key and nothing else, so that scripts can take it.
            eprintln!("created key {} of {}; it is shown this once:", key.id, tenant.slug);
            println!("{}", secret.reveal());
        }
        KeysCommand::List { tenant } => {
            let tenant = find_tenant(&database, &tenant).await?;
            let mut table = Table::new(["ID", "STATE", "CREATED", "EXPIRES", "RATE", "SCOPES", "NAME"]);
            for key in database.list_keys(tenant.id).await? {
                table.add(key_row(&key));
            }
            print!("{table}");
            keys::log_listing(tenant.id, &Actor::CommandLine);
        }
        KeysCommand::Revoke { tenant, key_id } => {
            let tenant = find_tenant(&database, &tenant).await?;
            if !keys::revoke(&database, tenant.id, KeyId(key_id), SystemClock.now(), &Actor::CommandLine).await? {
                bail!("{} has no key {key_id}; `callscope keys list` shows those it has", tenant.slug);
            }
            println!("revoked key {key_id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
pub struct NewKey {
    /// What it may do; with none named, what clients do.
    pub scopes: Vec<Scope>,
    pub name: Option<DisplayName>,
    /// How long it is valid; for ever if not given.
    pub expires_in: Option<Duration>,
    pub rate: Option<RateLimit>,
}

fn rate_limit(rate: Option<u32>, burst: Option<u32>) -> anyhow::Result<Option<RateLimit>> {
    let Some(rate) = rate else { return Ok(None) };
    let limit = burst.map_or_else(|| RateLimit::steady(rate), |burst| RateLimit::new(rate, burst));
    limit.map(Some).context("--rate or --burst cannot be")
}

pub async fn create_key(
    database: &Database,
    tenant: &Tenant,
    wanted: NewKey,
    keys_max: u32,
) -> anyhow::Result<(ApiKey, KeySecret)> {
    let NewKey { mut scopes, name, expires_in, rate } = wanted;
    if scopes.is_empty() {
        scopes = Scope::OF_CLIENTS.to_vec();
    }
    scopes.sort();
    scopes.dedup();
    let now = SystemClock.now();
    let lifetime = expires_in.map(|span| i64::try_from(span.as_micros())).transpose();
    let expires_at = lifetime.context("--expires-in is too long")?.map(|micros| now + Span::from_micros(micros));
    let id = KeyId(Uuid::now_v7());
    let key = ApiKey { id, tenant_id: tenant.id, name, scopes, created_at: now, expires_at, revoked_at: None, rate };
    let secret = KeySecret::generate();
    if !keys::create(database, &key, &secret, &Actor::CommandLine, keys_max).await? {
        bail!(
            "{} has {keys_max} valid keys, the most it may have: revoke one (`callscope keys list --tenant {0}` shows \
             them), or raise auth.tenant_keys_max (CALLSCOPE__AUTH__TENANT_KEYS_MAX)",
            tenant.slug
        );
    }
    Ok((key, secret))
}

/// The tenant that a command names.
pub async fn find_tenant(database: &Database, slug: &Slug) -> anyhow::Result<Tenant> {
    let tenant = database.find_tenant(slug).await?;
    tenant.with_context(|| format!("there is no tenant {slug}; `callscope tenants create {slug}` makes one"))
}

fn key_row(key: &ApiKey) -> [String; 7] {
    let state = match key {
        ApiKey { revoked_at: Some(_), .. } => "revoked",
        key if !key.is_valid_at(SystemClock.now()) => "expired",
        _ => "valid",
    };
    let (id, created) = (key.id, date(key.created_at));
    let expires = key.expires_at.map_or_else(|| "never".to_owned(), date);
    let rate = match key.rate {
        None => "default".to_owned(),
        Some(rate) if rate.is_limited() => format!("{}/{}", rate.requests_per_second(), rate.burst()),
        Some(_) => "none".to_owned(),
    };
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let name = key.name.as_ref().map_or("", |name| name.as_str());
    [id.to_string(), state.to_owned(), created, expires, rate, scopes.join(","), name.to_owned()]
}

/// The day and the time, to the second.
pub fn date(instant: Timestamp) -> String {
    instant.to_datetime().unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

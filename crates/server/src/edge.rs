//! What stands between clients and the service: the caches, the counters, and the address that shows them.

use crate::settings::Settings;
use crate::traces::RequestTracer;
use actix_web::dev::Server;
use actix_web::web;
use anyhow::Context;
use callscope_analytics::key_cache::CachedTenants;
use callscope_analytics::ports::{AnalyticsStore, StoreError, TenantStore};
use callscope_api::metrics::{Metrics, PoolConnections};
use callscope_api::transport::{self, Transport};
use callscope_api::{ApiState, METRICS_PATH, metrics_app, route_templates};
use callscope_persistence::Database;
use std::sync::Arc;
use std::time::Duration;

/// Metrics with the pools of a database.
pub fn metrics(database: &Database) -> Arc<Metrics> {
    let (metrics, database) = (Arc::new(Metrics::new(route_templates())), database.clone());
    metrics.read_with(move |metrics| {
        for pool in database.pools() {
            let in_use = pool.open.saturating_sub(pool.idle);
            metrics.set_pool(pool.name, PoolConnections { in_use, idle: pool.idle, max: pool.max });
        }
    });
    metrics
}

/// How often active calls are counted: that takes one statement a tenant.
const ACTIVE_CALLS_INTERVAL: Duration = Duration::from_secs(15);

/// Counts the active calls of all tenants again and again, one tenant after the other.
pub async fn count_active_calls(database: Database, metrics: Arc<Metrics>) {
    loop {
        match sum_active_calls(&database).await {
            Ok(count) => metrics.set_active_calls(count),
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "active calls are counted later"),
        }
        tokio::time::sleep(ACTIVE_CALLS_INTERVAL).await;
    }
}

async fn sum_active_calls(database: &Database) -> Result<u64, StoreError> {
    let mut sum = 0;
    for tenant in database.list_tenants().await? {
        sum += database.count_active_calls(tenant.id).await?;
    }
    Ok(sum)
}

/// The store of tenants, with the cache of keys that the settings ask for.
pub fn tenants(settings: &Settings, database: &Database, metrics: &Metrics) -> Arc<dyn TenantStore> {
    let ttl = settings.cache.ttl;
    if ttl.is_zero() {
        return Arc::new(database.clone());
    }
    let tenants = Arc::new(CachedTenants::new(Arc::new(database.clone()), ttl));
    let read = Arc::clone(&tenants);
    metrics.read_with(move |metrics| metrics.keys.set(read.lookups()));
    tenants
}

/// The same state with what the settings say of the cache, traces and metrics.
pub fn with_settings(state: ApiState, settings: &Settings) -> ApiState {
    let mut state = state.with_cache((&settings.cache).into());
    if !settings.telemetry.otlp_endpoint.reveal().is_empty() {
        state.tracer = Some(Arc::new(RequestTracer));
    }
    state.serves_metrics = settings.metrics.enabled && settings.metrics.bind.is_none();
    state
}

/// Serves the metrics at an address of their own, if there is one.
pub fn metrics_server(settings: &Settings, state: &web::Data<ApiState>) -> anyhow::Result<Option<Server>> {
    let Some(bind) = settings.metrics.bind.filter(|_| settings.metrics.enabled) else { return Ok(None) };
    let state = state.clone();
    let transport = Transport::new(settings.server.transport(1)?, &state.metrics);
    let listener = match transport::listen(bind) {
        Ok(listener) => listener,
        // This is the default address, which another server or Prometheus itself may use.
        Err(error) if settings.metrics.is_default_bind() => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, %bind, "metrics are not served: cannot listen there; choose another metrics.bind");
            return Ok(None);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot listen on {bind}; choose another metrics.bind"));
        }
    };
    let address = listener.local_addr()?;
    tracing::info!(metrics_address = %address, "metrics are at http://{address}{METRICS_PATH}");
    Ok(Some(transport::serve(&transport, listener, move || metrics_app(state.clone()))?))
}

pub fn workers(settings: &Settings) -> usize {
    match settings.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

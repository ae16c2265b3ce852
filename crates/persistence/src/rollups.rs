//! How deltas are added to rollups.

use crate::analytics::WHOLE_TENANT;
use crate::bulk::{OnConflict, OneOf, Target};
use crate::conn::{Conn, columns};
use crate::fragment::{ForEach, IsChosen};
use crate::rows::{
    CallRollupColumns, ErrorRollupColumns, ProviderRollupColumns, ProviderRollupKeys, ProviderTotalsRow,
};
use crate::schema::provider_rollups;
use crate::sql::{Id, Word};
use callscope_analytics::deltas::RollupDeltas;
use callscope_analytics::ports::StoreError;
use callscope_domain::{CallTotals, Provider, ProviderTotals, Resolution, TenantId, Timestamp};
use diesel::prelude::*;
use std::collections::HashMap;

const CALL_ROLLUPS: Target =
    Target { table: "call_rollups", key: &["resolution", "workflow_id", "bucket"], on_conflict: OnConflict::Add };
const ERROR_ROLLUPS: Target =
    Target { table: "error_rollups", key: &["resolution", "bucket", "service", "level"], on_conflict: OnConflict::Add };
/// Replaced and not added to: histograms are added here and not in SQL.
const PROVIDER_ROLLUPS: Target = Target {
    table: "provider_rollups",
    key: &["resolution", "bucket", "provider_type", "provider_name"],
    on_conflict: OnConflict::Replace,
};

const NEW_PROVIDER_ROLLUPS: Target = Target { on_conflict: OnConflict::Fail, ..PROVIDER_ROLLUPS };

/// Provider rollups that are in memory at one time.
const PROVIDER_ROLLUPS_MAX: usize = 20_000;

/// What deltas change of call and error rollups, as rows.
#[derive(Debug, Default)]
pub struct SumRows {
    calls: CallRollupColumns,
    errors: ErrorRollupColumns,
}

impl SumRows {
    /// The rows of deltas.
    pub fn new(deltas: &RollupDeltas) -> Self {
        let mut rows = Self::default();
        for (resolution, bucket, delta) in deltas.iter() {
            if delta.calls != CallTotals::default() {
                rows.calls.push_totals(resolution, bucket, WHOLE_TENANT, &delta.calls);
            }
            for (workflow, totals) in &delta.workflows {
                rows.calls.push_totals(resolution, bucket, (*workflow).into(), totals);
            }
            for (kind, count) in &delta.errors {
                rows.errors.push((Word(resolution), bucket.into(), Word(kind.service), Word(kind.level), *count));
            }
        }
        rows
    }
}

/// Adds deltas to a tenant's rollups; `sums` are their rows. The transaction holds the tenant's lock.
pub async fn add_rollups(
    conn: &mut Conn,
    tenant: TenantId,
    deltas: &RollupDeltas,
    sums: SumRows,
) -> Result<(), StoreError> {
    conn.insert(CALL_ROLLUPS, tenant, sums.calls).await?;
    conn.insert(ERROR_ROLLUPS, tenant, sums.errors).await?;
    add_provider_rollups(conn, tenant, deltas).await
}

/// Loads the histograms that exist, adds, and writes the sums. Under the tenant's lock they stay as they were loaded.
async fn add_provider_rollups(conn: &mut Conn, tenant: TenantId, deltas: &RollupDeltas) -> Result<(), StoreError> {
    use provider_rollups::columns::{resolution, tenant_id};
    type Delta<'d> = (Resolution, Timestamp, &'d Provider, &'d ProviderTotals);
    let changed: Vec<Delta<'_>> = deltas
        .iter()
        .flat_map(|(of, start, delta)| delta.providers.iter().map(move |(key, totals)| (of, start, key, totals)))
        .collect();
    for changed in changed.chunks(PROVIDER_ROLLUPS_MAX) {
        let mut keys = ProviderRollupKeys::default();
        for &(of, start, provider, _) in changed {
            let name = provider.provider_name.to_string();
            keys.push((Word(of), start.into(), Word(provider.provider_type), name));
        }
        let mut stored: HashMap<(Resolution, Timestamp, Provider), ProviderTotals> = HashMap::new();
        for keys in OneOf::split(keys, conn.is_embedded()) {
            let query = provider_rollups::table
                .filter(tenant_id.eq(Id::from(tenant)))
                .filter(IsChosen(keys.clone()))
                .select((resolution, columns::<ProviderTotalsRow>()));
            let rows: Vec<(Word<Resolution>, ProviderTotalsRow)> = conn.load(ForEach(keys, query)).await?;
            for (of, row) in rows {
                let start = row.bucket.0;
                let (provider, totals) = row.try_into()?;
                stored.insert((of.0, start, provider), totals);
            }
        }
        let (mut new_sums, mut known_sums) = (ProviderRollupColumns::default(), ProviderRollupColumns::default());
        for &(of, start, provider, delta) in changed {
            let known = stored.remove(&(of, start, provider.clone()));
            let sums = if known.is_some() { &mut known_sums } else { &mut new_sums };
            let mut sum = known.unwrap_or_default();
            sum += delta;
            sums.push((
                Word(of),
                start.into(),
                Word(provider.provider_type),
                provider.provider_name.to_string(),
                sum.calls,
                sum.latency_us,
                sum.histogram.to_bytes(),
            ));
        }
        conn.insert(NEW_PROVIDER_ROLLUPS, tenant, new_sums).await?;
        conn.insert(PROVIDER_ROLLUPS, tenant, known_sums).await?;
    }
    Ok(())
}

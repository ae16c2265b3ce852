//! How deltas are added to rollups.

use crate::analytics::WHOLE_TENANT;
use crate::calls::{ROWS_PER_STATEMENT_MAX, chunks};
use crate::conn::{Conn, columns};
use crate::rows::{CallRollupRow, ErrorRollupRow, ProviderRollupRow, ProviderTotalsRow};
use crate::schema::{call_rollups, error_rollups, provider_rollups};
use crate::sql::{Id, Time, Word};
use callscope_analytics::deltas::RollupDeltas;
use callscope_analytics::ports::StoreError;
use callscope_domain::{CallTotals, Provider, ProviderTotals, Resolution, TenantId, Timestamp};
use diesel::prelude::*;
use diesel::upsert::excluded;
use std::collections::{BTreeSet, HashMap};

/// Adds deltas to a tenant's rollups. The transaction holds the tenant's lock.
pub async fn add_rollups(conn: &mut Conn, tenant: TenantId, deltas: &RollupDeltas) -> Result<(), StoreError> {
    let mut calls = Vec::new();
    let mut errors = Vec::new();
    for (resolution, bucket, delta) in deltas.iter() {
        let mut push = |workflow, totals| calls.push(CallRollupRow::new(tenant, resolution, bucket, workflow, totals));
        if delta.calls != CallTotals::default() {
            push(WHOLE_TENANT, &delta.calls);
        }
        delta.workflows.iter().for_each(|(workflow, totals)| push((*workflow).into(), totals));
        let counts = delta.errors.iter();
        errors.extend(counts.map(|(kind, count)| ErrorRollupRow::new(tenant, resolution, bucket, *kind, *count)));
    }
    for chunk in chunks(calls) {
        add_call_rollups(conn, chunk).await?;
    }
    for chunk in chunks(errors) {
        add_error_rollups(conn, chunk).await?;
    }
    for &resolution in Resolution::ALL {
        add_provider_rollups(conn, tenant, resolution, deltas).await?;
    }
    Ok(())
}

async fn add_call_rollups(conn: &mut Conn, rows: Vec<CallRollupRow>) -> Result<(), StoreError> {
    use call_rollups::columns::*;
    let statement = diesel::insert_into(call_rollups::table)
        .values(rows)
        .on_conflict((tenant_id, resolution, workflow_id, bucket))
        .do_update()
        .set((
            total.eq(total + excluded(total)),
            completed.eq(completed + excluded(completed)),
            failed.eq(failed + excluded(failed)),
            ended.eq(ended + excluded(ended)),
            duration_us.eq(duration_us + excluded(duration_us)),
            total_tokens.eq(total_tokens + excluded(total_tokens)),
            stt_samples.eq(stt_samples + excluded(stt_samples)),
            stt_latency_us.eq(stt_latency_us + excluded(stt_latency_us)),
            llm_samples.eq(llm_samples + excluded(llm_samples)),
            llm_latency_us.eq(llm_latency_us + excluded(llm_latency_us)),
            tts_samples.eq(tts_samples + excluded(tts_samples)),
            tts_latency_us.eq(tts_latency_us + excluded(tts_latency_us)),
        ));
    conn.execute(statement).await.map(drop)
}

async fn add_error_rollups(conn: &mut Conn, rows: Vec<ErrorRollupRow>) -> Result<(), StoreError> {
    use error_rollups::columns::*;
    let statement = diesel::insert_into(error_rollups::table)
        .values(rows)
        .on_conflict((tenant_id, resolution, bucket, service, level))
        .do_update()
        .set(error_count.eq(error_count + excluded(error_count)));
    conn.execute(statement).await.map(drop)
}

/// Histograms are added here and not in SQL: loads those that exist, and writes the sums.
async fn add_provider_rollups(
    conn: &mut Conn,
    tenant: TenantId,
    of: Resolution,
    deltas: &RollupDeltas,
) -> Result<(), StoreError> {
    use provider_rollups::columns::*;
    let changed: Vec<(Timestamp, &Provider, &ProviderTotals)> = deltas
        .iter()
        .filter(|(of_delta, ..)| *of_delta == of)
        .flat_map(|(_, start, delta)| delta.providers.iter().map(move |(key, totals)| (start, key, totals)))
        .collect();
    for changed in changed.chunks(ROWS_PER_STATEMENT_MAX) {
        let starts: BTreeSet<Timestamp> = changed.iter().map(|&(start, ..)| start).collect();
        let names: BTreeSet<&str> = changed.iter().map(|(_, key, _)| key.provider_name.as_str()).collect();
        let query = provider_rollups::table
            .filter(tenant_id.eq(Id::from(tenant)))
            .filter(resolution.eq(Word(of)))
            .filter(bucket.eq_any(starts.into_iter().map(Time).collect::<Vec<_>>()))
            .filter(provider_name.eq_any(names.into_iter().map(str::to_owned).collect::<Vec<_>>()))
            .select(columns::<ProviderTotalsRow>());
        let stored: Vec<ProviderTotalsRow> = conn.load(query).await?;
        let mut sums: HashMap<(Timestamp, Provider), ProviderTotals> = HashMap::with_capacity(stored.len());
        for row in stored {
            let start = row.bucket.0;
            let (provider, totals) = row.try_into()?;
            sums.insert((start, provider), totals);
        }
        let add = |&(start, provider, delta): &(Timestamp, &Provider, &ProviderTotals)| {
            let mut sum = sums.remove(&(start, provider.clone())).unwrap_or_default();
            sum += delta;
            ProviderRollupRow::new(tenant, of, start, provider, &sum)
        };
        replace_provider_rollups(conn, changed.iter().map(add).collect()).await?;
    }
    Ok(())
}

async fn replace_provider_rollups(conn: &mut Conn, rows: Vec<ProviderRollupRow>) -> Result<(), StoreError> {
    use provider_rollups::columns::*;
    let statement = diesel::insert_into(provider_rollups::table)
        .values(rows)
        .on_conflict((tenant_id, resolution, bucket, provider_type, provider_name))
        .do_update()
        .set((
            call_count.eq(excluded(call_count)),
            latency_us.eq(excluded(latency_us)),
            histogram.eq(excluded(histogram)),
        ));
    conn.execute(statement).await.map(drop)
}

//! Reports that were derived from telemetry, read as call records: by the same rules as the records that clients send.

use crate::reading::{RecordContext, RefusedRecord, parse_record};
use callscope_analytics::assembler::Assembler;
use callscope_analytics::assemblies::AssemblyStore;
use callscope_analytics::clock::Clock;
use callscope_analytics::ingestion::IngestQueue;
use callscope_connectors::mapping::provider_of_telemetry;
use callscope_connectors::report::CallReport;
use callscope_connectors::sealing::AssemblySettings;
use callscope_domain::{Call, CallId, TenantId, Timestamp};
use std::sync::Arc;

/// The service that makes records of telemetry, and submits them to a queue.
#[must_use]
pub fn assembler(
    store: Arc<dyn AssemblyStore>,
    queue: IngestQueue,
    clock: Arc<dyn Clock>,
    settings: AssemblySettings,
) -> Assembler {
    Assembler::new(store, queue, clock, settings, read_report, provider_of_telemetry)
}

fn read_report(tenant: TenantId, report: &CallReport, received_at: Timestamp) -> Result<Arc<Call>, String> {
    let json = serde_json::to_vec(report).map_err(|error| error.to_string())?;
    let context = RecordContext { tenant, path_id: report.call_id.map(CallId), received_at, strict: false };
    match parse_record(&json, context) {
        Ok(parsed) => Ok(parsed.call),
        Err(RefusedRecord { errors, .. }) => {
            let faults = errors.iter().map(|error| format!("{}: {}", error.field, error.message));
            Err(faults.collect::<Vec<_>>().join("; "))
        }
    }
}

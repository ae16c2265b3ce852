//! Telemetry over OTLP: what became of its records.

use super::{Label, registered};
use callscope_connectors::otlp::Signal;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of the records of a request, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtlpResults {
    /// They made a fact, or repeated one.
    pub kept: usize,
    /// They say nothing of a call.
    pub ignored: usize,
    /// Their call's facts were deleted some time after its end.
    pub late: usize,
    /// They are invalid, or met a bound.
    pub refused: usize,
}

/// Counts records of telemetry.
pub struct OtlpMetrics {
    records: Family<[Label; 2], Counter>,
    refused_reports: Counter,
}

impl OtlpMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Spans and log records that were received over OTLP, by what became of them; of metrics, requests";
        let records = registered(registry, "callscope_otlp_records", help);
        let help = "Call records that were derived from telemetry and refused";
        let metrics = Self { records, refused_reports: registered(registry, "callscope_refused_reports", help) };
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            metrics.count(signal, OtlpResults::default());
        }
        metrics
    }

    /// Counts the records of an answered request.
    pub fn count(&self, signal: Signal, results: OtlpResults) {
        let name = match signal {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        };
        let OtlpResults { kept, ignored, late, refused } = results;
        for (result, count) in [("kept", kept), ("ignored", ignored), ("late", late), ("refused", refused)] {
            self.records.get_or_create_owned(&[("signal", name), ("result", result)]).inc_by(count as u64);
        }
    }

    /// Counts records of calls that were derived and refused.
    pub fn count_refused_reports(&self, count: usize) {
        self.refused_reports.inc_by(count as u64);
    }
}

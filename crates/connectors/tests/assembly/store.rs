//! A store in memory: what a server keeps of assemblies, and how it uses this crate.

use callscope_connectors::assembly::{Assembly, FACTS_PER_CALL_MAX, Write};
use callscope_connectors::derivation::{Derived, Identity, ReportedErrors, State};
use callscope_connectors::extraction::CallFacts;
use callscope_connectors::facts::AssemblyKey;
use callscope_connectors::report::CallReport;
use callscope_domain::{CallId, CallStatus, ExternalId, ProviderType, TenantId};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Default)]
pub struct Store {
    assemblies: BTreeMap<AssemblyKey, Stored>,
}

#[derive(Default)]
struct Stored {
    segments: Vec<Vec<u8>>,
    reported_errors: Vec<u8>,
}

impl Store {
    /// Takes the facts of one request, and derives the call.
    pub fn submit(&mut self, call: CallFacts) -> Option<Derived> {
        let stored = self.assemblies.entry(call.key.clone()).or_default();
        let mut assembly = stored.restore();
        match assembly.append(call.facts, FACTS_PER_CALL_MAX).write {
            Write::Nothing => {}
            Write::Append(segment) => stored.segments.push(segment),
            Write::Replace(first, segment) => {
                stored.segments.truncate(first);
                stored.segments.push(segment);
            }
        }
        assert_eq!(stored.segments.len(), assembly.segments());
        stored.derive(&call.key, &assembly, false)
    }

    /// Takes the facts of some requests.
    pub fn submit_all(&mut self, calls: impl IntoIterator<Item = CallFacts>) {
        for call in calls {
            self.submit(call);
        }
    }

    /// The records of all calls, once those that are active are idle.
    pub fn records_if_idle(&mut self) -> Vec<(AssemblyKey, Derived)> {
        let assemblies = self.assemblies.iter_mut();
        let records = assemblies.filter_map(|(key, stored)| {
            let assembly = stored.restore();
            Some((key.clone(), stored.derive(key, &assembly, true)?))
        });
        records.collect()
    }

    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.assemblies.values().flat_map(|stored| &stored.segments).map(Vec::as_slice)
    }
}

impl Stored {
    fn restore(&self) -> Assembly {
        Assembly::of_segments(self.segments.iter().map(Vec::as_slice)).unwrap()
    }

    fn derive(&mut self, key: &AssemblyKey, assembly: &Assembly, is_idle: bool) -> Option<Derived> {
        let reported_errors = ReportedErrors::of_bytes(&self.reported_errors).unwrap();
        let derived = assembly.derive(&identity(key), &reported_errors, is_idle, short_name)?;
        assert_acceptable(&derived);
        self.reported_errors = derived.reported_errors.to_bytes();
        Some(derived)
    }
}

pub fn identity(key: &AssemblyKey) -> Identity {
    let external_id = ExternalId::new(key.key.as_str()).unwrap();
    let call_id = CallId::derived(TenantId(Uuid::nil()), &key.framework.slug(), &external_id).0;
    Identity { call_id, key: key.clone() }
}

/// A naming that is enough for the providers of the captures.
pub fn short_name(_: ProviderType, provider: &str, _: &str) -> String {
    let name = provider.trim().to_lowercase();
    if name == "api.openai.com" { "openai".to_owned() } else { name.split_whitespace().collect::<Vec<_>>().join("_") }
}

/// What a record must be like to be accepted.
pub fn assert_acceptable(derived: &Derived) {
    let report = &derived.report;
    let is_active = derived.state == State::Active;
    assert_eq!(report.status == CallStatus::Active, is_active);
    assert_eq!(report.ended_at.is_none(), is_active);
    assert!(report.ended_at.is_none_or(|end| (0..=86_400_000_000).contains(&micros_between(report, end))));
    assert!(report.providers.len() <= 32);
    assert!(sample_count(report) + report.turn_latencies_ms.len() <= 10_000);
    assert!(report.errors.len() <= 200);
    assert_eq!(derived.reported_errors.to_bytes().len(), report.errors.len() * 8);
    let end = report.ended_at.unwrap_or(report.started_at + chrono::TimeDelta::hours(24));
    let skew = chrono::TimeDelta::minutes(5);
    for error in &report.errors {
        assert!((report.started_at - skew..=end + skew).contains(&error.timestamp));
        assert!((1..=4096).contains(&error.message.chars().count()));
    }
}

fn micros_between(report: &CallReport, end: chrono::DateTime<chrono::Utc>) -> i64 {
    end.timestamp_micros() - report.started_at.timestamp_micros()
}

pub fn sample_count(report: &CallReport) -> usize {
    report.providers.iter().map(|provider| provider.latencies_ms.len()).sum()
}

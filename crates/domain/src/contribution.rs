//! What one call adds to every figure: the only definition of every metric.
//!
//! Contributions form a commutative group, so a rollup is a sum of them, a correction is a difference, and a window is
//! the sum of its buckets. Sums wrap around at the ends of `i64`, so that the laws hold for all values. Calls of three
//! minutes take 5 * 10^10 of them to get there; a million records that use every bound to the full would, and the
//! database then refuses them.

use crate::call::{CallFacts, CallStatus};
use crate::errors::ErrorKind;
use crate::histogram::LatencyHistogram;
use crate::ids::WorkflowId;
use crate::provider::{Latency, Provider, ProviderType};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What one call, one bucket or one window adds to every figure. The default is zero, and holds no entries; entries
/// that become zero are removed, so equal sums are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contribution {
    /// The whole tenant.
    pub calls: CallTotals,
    /// By workflow; calls without one are in none of these.
    pub workflows: BTreeMap<WorkflowId, CallTotals>,
    /// By provider.
    pub providers: BTreeMap<Provider, ProviderTotals>,
    /// Number of errors by kind.
    pub errors: BTreeMap<ErrorKind, i64>,
}

/// Counts and sums over calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// Calls of any status.
    pub total: i64,
    /// Calls that completed.
    pub completed: i64,
    /// Calls that failed, timed-out ones included.
    pub failed: i64,
    /// Finished calls whose end is known: the base of the average duration.
    pub ended: i64,
    /// Sum of the durations of those calls, in microseconds.
    pub duration_us: i64,
    /// Sum of tokens.
    pub total_tokens: i64,
    /// Latencies of all speech-to-text turns.
    pub stt: StageTotals,
    /// Latencies of all language-model turns.
    pub llm: StageTotals,
    /// Latencies of all text-to-speech turns.
    pub tts: StageTotals,
}

/// Count and sum of latency samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTotals {
    /// Number of samples.
    pub samples: i64,
    /// Their sum, in microseconds.
    pub latency_us: i64,
}

/// What is known of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderTotals {
    /// Calls that used it, with or without samples.
    pub calls: i64,
    /// Sum of its latencies, in microseconds.
    pub latency_us: i64,
    /// Its latencies, counted.
    pub histogram: LatencyHistogram,
}

impl Contribution {
    /// The contribution of one call.
    #[must_use]
    pub fn of(call: &CallFacts) -> Self {
        let calls = CallTotals::of(call);
        let providers = call.providers.iter().map(|usage| {
            let mut totals = ProviderTotals::default();
            totals.count(&usage.latencies);
            (usage.provider.clone(), totals)
        });
        let providers = providers.collect();
        let mut errors = BTreeMap::new();
        for &kind in &call.error_kinds {
            *errors.entry(kind).or_default() += 1;
        }
        let workflows = call.workflow_id.map(|id| (id, calls)).into_iter().collect();
        Self { calls, workflows, providers, errors }
    }

    /// The same value without entries that are zero, for sums that come from outside.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        self.workflows.retain(|_, totals| *totals != CallTotals::default());
        self.providers.retain(|_, totals| *totals != ProviderTotals::default());
        self.errors.retain(|_, count| *count != 0);
        self
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl CallTotals {
    /// The counts and sums of [`Contribution::of`], for answers that need no other part.
    #[must_use]
    pub fn of(call: &CallFacts) -> Self {
        let is = |status| i64::from(call.status == status);
        let mut totals = Self {
            total: 1,
            completed: is(CallStatus::Completed),
            failed: is(CallStatus::Failed),
            total_tokens: call.total_tokens,
            ..Self::default()
        };
        if let Some(ended_at) = call.ended_at {
            totals.ended = 1;
            totals.duration_us = ended_at.since(call.started_at).as_micros();
        }
        for usage in &call.providers {
            let stage = match usage.provider.provider_type {
                ProviderType::Stt => &mut totals.stt,
                ProviderType::Llm => &mut totals.llm,
                ProviderType::Tts => &mut totals.tts,
            };
            for latency in &usage.latencies {
                stage.samples += 1;
                stage.latency_us += i64::from(latency.as_micros());
            }
        }
        totals
    }

    /// Percentage of the calls that completed, of those that completed or failed; `None` when there are none.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        mean(self.completed, self.completed.wrapping_add(self.failed)).map(|share| 100.0 * share)
    }

    /// Average duration in seconds, over calls whose end is known.
    #[must_use]
    pub fn avg_duration_seconds(&self) -> Option<f64> {
        mean(self.duration_us, self.ended).map(|micros| micros / 1e6)
    }

    /// The sum of two, or with `sign` -1 their difference.
    fn merge(&mut self, other: &Self, sign: i64) {
        let add = |mine: &mut i64, theirs: i64| *mine = mine.wrapping_add(theirs.wrapping_mul(sign));
        // Taken apart so that a new field cannot be forgotten here.
        let Self { total, completed, failed, ended, duration_us, total_tokens, stt, llm, tts } = other;
        add(&mut self.total, *total);
        add(&mut self.completed, *completed);
        add(&mut self.failed, *failed);
        add(&mut self.ended, *ended);
        add(&mut self.duration_us, *duration_us);
        add(&mut self.total_tokens, *total_tokens);
        for (mine, theirs) in [(&mut self.stt, stt), (&mut self.llm, llm), (&mut self.tts, tts)] {
            add(&mut mine.samples, theirs.samples);
            add(&mut mine.latency_us, theirs.latency_us);
        }
    }
}

impl StageTotals {
    /// Average latency in milliseconds over all samples.
    #[must_use]
    pub fn avg_latency_ms(&self) -> Option<f64> {
        mean(self.latency_us, self.samples).map(|micros| micros / 1e3)
    }
}

impl ProviderTotals {
    /// Average latency in milliseconds over all samples.
    #[must_use]
    pub fn avg_latency_ms(&self) -> Option<f64> {
        mean(self.latency_us, self.histogram.len()).map(|micros| micros / 1e3)
    }

    /// The nearest-rank percentile of its latencies in milliseconds, as [`LatencyHistogram::percentile_ms`] gives it.
    #[must_use]
    pub fn percentile_ms(&self, percent: u8) -> Option<f64> {
        self.histogram.percentile_ms(percent, self.latency_us)
    }

    /// Adds a call that used the provider, as in [`Contribution::of`], for answers that need no other part.
    pub fn count(&mut self, latencies: &[Latency]) {
        self.calls = self.calls.wrapping_add(1);
        for &latency in latencies {
            self.latency_us = self.latency_us.wrapping_add(i64::from(latency.as_micros()));
            self.histogram.record(latency);
        }
    }

    fn merge(&mut self, other: &Self, sign: i64) {
        let Self { calls, latency_us, histogram } = other;
        self.calls = self.calls.wrapping_add(calls.wrapping_mul(sign));
        self.latency_us = self.latency_us.wrapping_add(latency_us.wrapping_mul(sign));
        if sign < 0 { self.histogram -= histogram } else { self.histogram += histogram }
    }
}

/// `sum / count`; `None` when nothing is counted, since no data is not zero.
#[must_use]
pub fn mean(sum: i64, count: i64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}

impl Contribution {
    fn merge(&mut self, other: &Self, sign: i64) {
        self.calls.merge(&other.calls, sign);
        for (workflow, totals) in &other.workflows {
            update(&mut self.workflows, workflow, |mine| mine.merge(totals, sign));
        }
        for (provider, totals) in &other.providers {
            update(&mut self.providers, provider, |mine| mine.merge(totals, sign));
        }
        for (kind, count) in &other.errors {
            update(&mut self.errors, kind, |mine| *mine = mine.wrapping_add(count.wrapping_mul(sign)));
        }
    }
}

/// Changes the value of a key, which starts as zero, and removes the entry if that leaves zero.
fn update<K: Clone + Ord, V: Default + PartialEq>(entries: &mut BTreeMap<K, V>, key: &K, change: impl FnOnce(&mut V)) {
    match entries.entry(key.clone()) {
        Entry::Vacant(entry) => {
            let mut value = V::default();
            change(&mut value);
            if value != V::default() {
                entry.insert(value);
            }
        }
        Entry::Occupied(mut entry) => {
            change(entry.get_mut());
            if *entry.get() == V::default() {
                entry.remove();
            }
        }
    }
}

impl std::ops::AddAssign<&Self> for Contribution {
    fn add_assign(&mut self, other: &Self) {
        self.merge(other, 1);
    }
}

impl std::ops::SubAssign<&Self> for Contribution {
    fn sub_assign(&mut self, other: &Self) {
        self.merge(other, -1);
    }
}

impl std::ops::AddAssign<&Self> for CallTotals {
    fn add_assign(&mut self, other: &Self) {
        self.merge(other, 1);
    }
}

impl std::ops::AddAssign<&Self> for ProviderTotals {
    fn add_assign(&mut self, other: &Self) {
        self.merge(other, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallFacts;
    use crate::errors::{Level, Service};
    use crate::ids::CallId;
    use crate::provider::{Latency, ProviderUse};
    use crate::text::ProviderName;
    use crate::time::{Span, Timestamp};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn provider_use() -> impl Strategy<Value = ProviderUse> {
        let latencies =
            prop::collection::vec((1_u32..2_000_000).prop_filter_map("in bounds", Latency::from_micros), 0..6);
        (0..ProviderType::ALL.len(), 0..3_u8, latencies).prop_map(|(stage, name, latencies)| ProviderUse {
            provider: Provider {
                provider_type: ProviderType::ALL[stage],
                provider_name: ProviderName::new(format!("provider-{name}")).unwrap(),
            },
            latencies,
        })
    }

    fn error_kind() -> impl Strategy<Value = ErrorKind> {
        (0..Service::ALL.len(), 0..Level::ALL.len())
            .prop_map(|(service, level)| ErrorKind { service: Service::ALL[service], level: Level::ALL[level] })
    }

    /// Calls as records leave them, but for a provider that may stand twice in a list of three.
    fn call() -> impl Strategy<Value = CallFacts> {
        let status = 0..CallStatus::ALL.len();
        let providers = prop::collection::vec(provider_use(), 0..2);
        let errors = prop::collection::vec(error_kind(), 0..4);
        (status, 0_i64..90_000, prop::option::of(0_u128..3), 0_i64..5_000, providers, errors).prop_map(
            |(status, seconds, workflow, total_tokens, providers, error_kinds)| {
                let status = CallStatus::ALL[status];
                let started_at = Timestamp::from_micros(0);
                let ended_at = (status != CallStatus::Active).then(|| started_at + Span::from_seconds(seconds));
                let workflow_id = workflow.map(|id| WorkflowId(Uuid::from_u128(id + 1)));
                let id = CallId(Uuid::nil());
                CallFacts { id, status, started_at, ended_at, workflow_id, total_tokens, providers, error_kinds }
            },
        )
    }

    fn sum_of(calls: &[CallFacts]) -> Contribution {
        let mut sum = Contribution::default();
        for call in calls {
            sum += &Contribution::of(call);
        }
        sum
    }

    fn plus(left: &Contribution, right: &Contribution) -> Contribution {
        let mut sum = left.clone();
        sum += right;
        sum
    }

    proptest! {
        #[test]
        fn addition_is_associative_and_commutative(
            a in prop::collection::vec(call(), 0..4),
            b in prop::collection::vec(call(), 0..4),
            c in prop::collection::vec(call(), 0..4),
        ) {
            let (a, b, c) = (sum_of(&a), sum_of(&b), sum_of(&c));
            prop_assert_eq!(plus(&a, &b), plus(&b, &a));
            prop_assert_eq!(plus(&plus(&a, &b), &c), plus(&a, &plus(&b, &c)));
        }

        #[test]
        fn adding_then_subtracting_is_zero(calls in prop::collection::vec(call(), 0..6), other in call()) {
            let sum = sum_of(&calls);
            let mut difference = plus(&sum, &Contribution::of(&other));
            difference -= &Contribution::of(&other);
            prop_assert_eq!(&difference, &sum);
            difference -= &sum;
            prop_assert!(difference.is_zero());
        }
    }

    #[test]
    fn what_has_no_data_has_no_average() {
        let nothing = CallTotals::default();
        assert_eq!((nothing.success_rate(), nothing.avg_duration_seconds()), (None, None));
        assert_eq!((nothing.stt.avg_latency_ms(), ProviderTotals::default().avg_latency_ms()), (None, None));
    }

    #[test]
    fn a_call_without_a_known_end_does_not_touch_the_average_duration() {
        let ended = CallTotals { total: 1, failed: 1, ended: 1, duration_us: 2_000_000, ..CallTotals::default() };
        let timed_out = CallTotals { total: 1, failed: 1, ..CallTotals::default() };
        let mut sum = ended;
        sum += &timed_out;
        assert_eq!((sum.avg_duration_seconds(), sum.success_rate()), (Some(2.0), Some(0.0)));
    }
}

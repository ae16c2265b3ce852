//! What one call adds to every group: the only definition of what is summed.
//!
//! Contributions form a commutative group, so a rollup is a sum of them, a correction is a difference, and a window is
//! the sum of its buckets.

use crate::call::CallFacts;
use crate::dimension::{Dimension, Group, GroupValue, Grouping};
use crate::distribution::{Distribution, LatencyTotals, duration_value};
use crate::measure::{Measure, Sums};
use crate::plan::Resolution;
use crate::provider::ProviderUse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What is known of one group: a sum for each measure, and counted latencies. The default is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The sums.
    pub sums: Sums,
    /// Non-zero distributions, ascending. Empty for the groups of dimensions that have none.
    distributions: Vec<(Distribution, LatencyTotals)>,
}

impl Totals {
    /// Whether it adds nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.distributions.is_empty() && self.sums == Sums::default()
    }

    /// The distributions that are not zero, ascending.
    #[must_use]
    pub fn distributions(&self) -> &[(Distribution, LatencyTotals)] {
        &self.distributions
    }

    /// One distribution; none when it is zero.
    #[must_use]
    pub fn distribution(&self, distribution: Distribution) -> Option<&LatencyTotals> {
        let at = self.find(distribution).ok()?;
        Some(&self.distributions[at].1)
    }

    /// Some measures and distributions, without all others.
    #[must_use]
    pub fn only(mut self, measures: &[Measure], distributions: &[Distribution]) -> Self {
        self.sums = self.sums.only(measures);
        self.distributions.retain(|(distribution, _)| distributions.contains(distribution));
        self
    }

    /// What groups of a dimension keep of it in buckets of a resolution.
    #[must_use]
    pub fn kept_in(mut self, dimension: Dimension, resolution: Resolution) -> Self {
        let row = dimension.row();
        if resolution < row.finest {
            self.sums = self.sums.only(&[Measure::Calls]);
        }
        self.distributions.retain(|(distribution, _)| resolution >= dimension.finest_of(*distribution));
        self
    }

    /// What they do not keep of it there.
    #[must_use]
    pub fn not_kept_in(mut self, dimension: Dimension, resolution: Resolution) -> Self {
        let kept = self.clone().kept_in(dimension, resolution);
        self -= &kept;
        self
    }

    /// Adds counted values to a distribution.
    pub fn add_distribution(&mut self, distribution: Distribution, totals: &LatencyTotals) {
        if !totals.is_zero() {
            self.change(distribution, |mine| *mine += totals);
        }
    }

    fn find(&self, distribution: Distribution) -> Result<usize, usize> {
        self.distributions.binary_search_by_key(&distribution, |&(known, _)| known)
    }

    /// Changes a distribution, which starts as zero, and removes it if that leaves zero.
    fn change(&mut self, distribution: Distribution, change: impl FnOnce(&mut LatencyTotals)) {
        let at = self.find(distribution).unwrap_or_else(|at| {
            self.distributions.insert(at, (distribution, LatencyTotals::default()));
            at
        });
        let totals = &mut self.distributions[at].1;
        change(totals);
        if totals.is_zero() {
            self.distributions.remove(at);
        }
    }
}

impl std::ops::AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        self.sums += &other.sums;
        for (distribution, totals) in &other.distributions {
            self.change(*distribution, |mine| *mine += totals);
        }
    }
}

impl std::ops::SubAssign<&Self> for Totals {
    fn sub_assign(&mut self, other: &Self) {
        self.sums -= &other.sums;
        for (distribution, totals) in &other.distributions {
            self.change(*distribution, |mine| *mine -= totals);
        }
    }
}

/// What a call adds to each of its groups of one dimension. A measure of the call is in each of them once, however often
/// the call used the provider or had the error.
#[must_use]
pub fn totals_of(call: &CallFacts, dimension: Dimension) -> Vec<(GroupValue, Totals)> {
    let mut found: Vec<(GroupValue, Totals)> = Vec::new();
    CallTotals::new(call).visit(dimension, &mut |value, totals| match found
        .iter_mut()
        .find(|(known, _)| *known == value)
    {
        Some((_, known)) => *known += totals,
        None => found.push((value, totals.clone())),
    });
    found
}

/// The totals of one call, which all of its groups share.
struct CallTotals<'c> {
    call: &'c CallFacts,
    /// What is of the call alone, and not of its uses and errors.
    own: Totals,
    /// Everything.
    whole: Totals,
}

impl<'c> CallTotals<'c> {
    fn new(call: &'c CallFacts) -> Self {
        let mut own = Totals { sums: Sums::of_call(call), distributions: Vec::new() };
        own.add_distribution(Distribution::Turn, &LatencyTotals::of(&call.turn_latencies));
        if let Some(duration) = call.duration() {
            own.add_distribution(Distribution::Duration, &LatencyTotals::of(&[duration_value(duration)]));
        }
        let mut whole = own.clone();
        call.providers.iter().for_each(|usage| whole += &of_use(usage));
        call.error_kinds.iter().for_each(|&kind| whole.sums += &Sums::of_error(kind));
        Self { call, own, whole }
    }

    /// Passes on what the call adds to its groups of a dimension. Of several parts for one group, the first alone has what
    /// is of the call.
    fn visit(&self, dimension: Dimension, add: &mut impl FnMut(GroupValue, &Totals)) {
        match dimension.row().grouping {
            Grouping::Tenant | Grouping::Workflow | Grouping::Text(_) => {
                if let Some(value) = dimension.value_of(self.call) {
                    add(value, &self.whole);
                }
            }
            Grouping::Use(value, _) => {
                let mut seen = Vec::with_capacity(self.call.providers.len());
                for usage in &self.call.providers {
                    let Some(value) = value(usage) else { continue };
                    let mut totals = self.once(&mut seen, &value);
                    totals += &of_use(usage);
                    add(value, &totals);
                }
            }
            Grouping::Error(value) => {
                let mut seen = Vec::new();
                for &kind in &self.call.error_kinds {
                    let value = value(kind);
                    let mut sums = self.once(&mut seen, &value).sums;
                    sums += &Sums::of_error(kind);
                    add(value, &Totals { sums, distributions: Vec::new() });
                }
            }
        }
    }

    /// What is of the call for the first part of a group, nothing for any other.
    fn once(&self, seen: &mut Vec<GroupValue>, value: &GroupValue) -> Totals {
        if seen.contains(value) {
            return Totals::default();
        }
        seen.push(value.clone());
        self.own.clone()
    }
}

/// What one use of a provider adds.
fn of_use(usage: &ProviderUse) -> Totals {
    let mut totals = Totals { sums: Sums::of_use(usage), distributions: Vec::new() };
    let stage = Distribution::of_stage(usage.provider.provider_type);
    totals.add_distribution(stage, &LatencyTotals::of(&usage.latencies));
    totals
}

/// What one call, one bucket or one window adds to every group. The default is zero, and holds no groups; groups that
/// become zero are removed, so equal sums are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contribution {
    groups: BTreeMap<Group, Totals>,
}

impl Contribution {
    /// The contribution of one call.
    #[must_use]
    pub fn of(call: &CallFacts) -> Self {
        let mut contribution = Self::default();
        contribution.add_call(call);
        contribution
    }

    /// Adds what a call adds.
    pub fn add_call(&mut self, call: &CallFacts) {
        self.visit(call, |mine, theirs| *mine += theirs);
    }

    /// Takes away what a call adds.
    pub fn subtract_call(&mut self, call: &CallFacts) {
        self.visit(call, |mine, theirs| *mine -= theirs);
    }

    /// The groups that are not zero, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, &Totals)> {
        self.groups.iter()
    }

    /// The same, with the groups by value.
    pub fn into_groups(self) -> impl Iterator<Item = (Group, Totals)> {
        self.groups.into_iter()
    }

    /// What it adds to one group.
    #[must_use]
    pub fn totals(&self, group: &Group) -> Totals {
        self.groups.get(group).cloned().unwrap_or_default()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.groups.is_empty()
    }

    fn visit(&mut self, call: &CallFacts, mut merge: impl FnMut(&mut Totals, &Totals)) {
        let totals_of_call = CallTotals::new(call);
        for &dimension in Dimension::ALL {
            totals_of_call.visit(dimension, &mut |value, totals| {
                self.change(Group { dimension, value }, |mine| merge(mine, totals));
            });
        }
    }

    /// Changes the totals of a group, which start as zero, and removes it if that leaves zero.
    fn change(&mut self, group: Group, change: impl FnOnce(&mut Totals)) {
        match self.groups.entry(group) {
            Entry::Vacant(entry) => {
                let mut totals = Totals::default();
                change(&mut totals);
                if !totals.is_zero() {
                    entry.insert(totals);
                }
            }
            Entry::Occupied(mut entry) => {
                change(entry.get_mut());
                if entry.get().is_zero() {
                    entry.remove();
                }
            }
        }
    }
}

impl std::ops::AddAssign<&Self> for Contribution {
    fn add_assign(&mut self, other: &Self) {
        for (group, totals) in &other.groups {
            self.change(group.clone(), |mine| *mine += totals);
        }
    }
}

impl std::ops::SubAssign<&Self> for Contribution {
    fn sub_assign(&mut self, other: &Self) {
        for (group, totals) in &other.groups {
            self.change(group.clone(), |mine| *mine -= totals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallStatus;
    use crate::errors::{ErrorKind, Level, Service};
    use crate::fact::{NumberFact, Numbers, TextFact, Texts};
    use crate::ids::{CallId, WorkflowId};
    use crate::measure::Subject;
    use crate::provider::{Latency, Provider, ProviderType};
    use crate::text::{ModelName, ProviderName};
    use crate::time::{Span, Timestamp};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn provider_use() -> impl Strategy<Value = ProviderUse> {
        let latencies =
            prop::collection::vec((1_u32..2_000_000).prop_filter_map("in bounds", Latency::from_micros), 0..6);
        let model = prop::option::of((0..2_u8).prop_map(|number| ModelName::new(format!("model-{number}")).unwrap()));
        (0..ProviderType::ALL.len(), 0..3_u8, model, latencies).prop_map(|(stage, name, model, latencies)| {
            ProviderUse {
                model,
                provider: Provider {
                    provider_type: ProviderType::ALL[stage],
                    provider_name: ProviderName::new(format!("provider-{name}")).unwrap(),
                },
                latencies,
            }
        })
    }

    fn error_kind() -> impl Strategy<Value = ErrorKind> {
        (0..Service::ALL.len(), 0..Level::ALL.len())
            .prop_map(|(service, level)| ErrorKind { service: Service::ALL[service], level: Level::ALL[level] })
    }

    fn texts() -> impl Strategy<Value = Texts> {
        prop::collection::vec(prop::option::of(0..3_u8), TextFact::COUNT).prop_map(|numbers| {
            let mut texts = Texts::default();
            for (&fact, number) in TextFact::ALL.iter().zip(numbers) {
                texts.set(fact, number.map(|number| format!("value-{number}").into()));
            }
            texts
        })
    }

    fn numbers() -> impl Strategy<Value = Numbers> {
        prop::collection::vec(prop::option::of(0_i64..5_000), NumberFact::COUNT).prop_map(|values| {
            let mut numbers = Numbers::default();
            NumberFact::ALL.iter().zip(values).for_each(|(&fact, value)| numbers.set(fact, value));
            numbers
        })
    }

    /// Calls as records leave them, but for a provider that may stand twice in a list.
    fn call() -> impl Strategy<Value = CallFacts> {
        let status = 0..CallStatus::ALL.len();
        let providers = prop::collection::vec(provider_use(), 0..4);
        let errors = prop::collection::vec(error_kind(), 0..4);
        let turns = prop::collection::vec((1_u32..2_000_000).prop_filter_map("in bounds", Latency::from_micros), 0..4);
        let given = (texts(), numbers(), turns);
        (status, 0_i64..86_000, prop::option::of(0_u128..3), providers, errors, given).prop_map(
            |(status, seconds, workflow, providers, error_kinds, (texts, numbers, turn_latencies))| {
                let status = CallStatus::ALL[status];
                let started_at = Timestamp::from_micros(0);
                CallFacts {
                    ended_at: (status != CallStatus::Active).then(|| started_at + Span::from_seconds(seconds)),
                    workflow_id: workflow.map(|id| WorkflowId(Uuid::from_u128(id + 1))),
                    texts,
                    numbers,
                    turn_latencies,
                    providers,
                    error_kinds,
                    ..CallFacts::bare(CallId(Uuid::nil()), status, started_at)
                }
            },
        )
    }

    fn sum_of(calls: &[CallFacts]) -> Contribution {
        let mut sum = Contribution::default();
        for call in calls {
            sum.add_call(call);
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
            difference.subtract_call(&other);
            prop_assert_eq!(&difference, &sum);
            difference -= &sum;
            prop_assert!(difference.is_zero());
        }

        #[test]
        fn groups_of_calls_add_up_to_the_calls_that_have_a_value(calls in prop::collection::vec(call(), 0..6)) {
            let sum = sum_of(&calls);
            for &dimension in Dimension::ALL.iter().filter(|dimension| dimension.subject() == Subject::Call) {
                let of_dimension: Vec<&Totals> =
                    sum.iter().filter(|(group, _)| group.dimension == dimension).map(|(_, totals)| totals).collect();
                let with_value: Vec<&CallFacts> =
                    calls.iter().filter(|call| !totals_of(call, dimension).is_empty()).collect();
                for &measure in Measure::ALL {
                    let groups: i64 = of_dimension.iter().map(|totals| totals.sums[measure]).sum();
                    let whole = |call: &&CallFacts| Contribution::of(call).totals(&Group::TENANT).sums[measure];
                    prop_assert_eq!(groups, with_value.iter().map(whole).sum::<i64>(), "{} {}", dimension, measure);
                }
            }
        }

        #[test]
        fn the_parts_of_one_call_are_those_of_its_contribution(call in call()) {
            let contribution = Contribution::of(&call);
            let mut groups = 0;
            for &dimension in Dimension::ALL {
                for (value, totals) in totals_of(&call, dimension) {
                    groups += usize::from(!totals.is_zero());
                    prop_assert_eq!(contribution.totals(&Group { dimension, value }), totals);
                }
            }
            prop_assert_eq!(groups, contribution.iter().count());
        }

        #[test]
        fn what_a_bucket_keeps_and_what_it_does_not_keep_are_the_whole(call in call()) {
            for (group, whole) in Contribution::of(&call).iter() {
                for &resolution in Resolution::ALL {
                    let mut sum = whole.clone().kept_in(group.dimension, resolution);
                    let is_all = sum == *whole;
                    sum += &whole.clone().not_kept_in(group.dimension, resolution);
                    prop_assert_eq!(&sum, whole);
                    prop_assert!(is_all || resolution < group.dimension.finest_of_all());
                }
            }
        }

        #[test]
        fn a_call_counts_once_in_each_of_its_groups(call in call()) {
            for (group, totals) in Contribution::of(&call).iter() {
                prop_assert_eq!(totals.sums[Measure::Calls], 1, "{:?}", group);
                for &measure in Measure::ALL.iter().filter(|&&measure| !group.dimension.has_sum(measure)) {
                    prop_assert_eq!(totals.sums[measure], 0, "{} of {:?}", measure, group);
                }
                for (distribution, counted) in totals.distributions() {
                    prop_assert!(group.dimension.has_distributions());
                    prop_assert_eq!(totals.sums[distribution.samples()], counted.histogram.len());
                }
            }
        }
    }
}

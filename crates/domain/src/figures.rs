//! What was read for a question, and the figures that come of it. Pure.

use crate::call::CallFacts;
use crate::contribution::{Totals, totals_of};
use crate::dimension::{GroupId, GroupValue};
use crate::distribution::{Distribution, LatencyTotals};
use crate::histogram::{HistogramBytesFault, HistogramSum};
use crate::measure::{Measure, Subject, Sums};
use crate::metric::{Metric, MetricValue};
use crate::question::ReadPlan;
use crate::text::Slug;
use crate::time::Timestamp;
use crate::window::Window;
use std::collections::{BTreeMap, HashMap};

/// What was read for a plan, as one state of the database.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Calls that started before it are no longer kept; none when all are.
    pub kept_from: Option<Timestamp>,
    /// The sums of the plan's measures; other measures are zero.
    pub sums: Vec<LoadedSums>,
    /// The plan's distributions.
    pub distributions: Vec<LoadedDistribution>,
    /// The calls of the plan's edges; perhaps more than those with the plan's value.
    pub calls: Vec<CallFacts>,
    /// The groups with the plan's value, or all of the dimension.
    pub groups: Vec<LoadedGroup>,
    /// Calls with the plan's value that are active now.
    pub active_calls: u64,
}

/// Sums of one group in one bucket, or in all buckets of one range.
#[derive(Clone, Copy, Debug)]
pub struct LoadedSums {
    /// The group.
    pub group: GroupId,
    /// The start of the bucket, or of the first of the range that has any sums.
    pub bucket: Timestamp,
    /// The sums.
    pub sums: Sums,
}

/// A distribution of one group in one bucket.
#[derive(Clone, Debug)]
pub struct LoadedDistribution {
    /// The group.
    pub group: GroupId,
    /// The start of the bucket.
    pub bucket: Timestamp,
    /// Which distribution.
    pub distribution: Distribution,
    /// Calls that used the stage.
    pub calls: i64,
    /// The sum of its latencies, in microseconds.
    pub sum_us: i64,
    /// The latencies, as `LatencyHistogram::to_bytes` writes them.
    pub histogram: Vec<u8>,
}

/// A group, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedGroup {
    /// Its number.
    pub id: GroupId,
    /// Its value.
    pub value: GroupValue,
    /// The slug and the name of a workflow.
    pub label: Option<WorkflowLabel>,
}

/// How a workflow is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowLabel {
    /// Its slug, from the newest call that ran through it.
    pub slug: Slug,
    /// Its name, likewise; the slug when no record gave one.
    pub name: String,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// One row for each group and bucket: by group in the order of their numbers, then by bucket. Without a dimension there
    /// is one group; with one, only groups that have calls in the window. A series has all of its buckets.
    pub rows: Vec<FiguresRow>,
    /// Calls that are active now; 0 when no metric needs it.
    pub active_calls: u64,
    /// Whether the groups are of disjoint calls, so that their counts add up to that of the calls with a value.
    pub additive: bool,
    /// The window that was asked; wider by parts of a bucket where calls are no longer kept.
    pub answered_window: Window,
}

/// The figures of one group in one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct FiguresRow {
    /// The group, of a question with a dimension.
    pub group: Option<LoadedGroup>,
    /// The start of the bucket, of a question with a series.
    pub bucket: Option<Timestamp>,
    /// What metrics are computed from.
    pub totals: Totals,
}

impl FiguresRow {
    /// The value of a metric that the question named and that does not need the number of active calls.
    #[must_use]
    pub fn value(&self, metric: Metric) -> Option<MetricValue> {
        metric.value(&self.totals, 0)
    }

    /// The value of a count.
    #[must_use]
    pub fn count(&self, measure: Measure) -> i64 {
        self.totals.sums[measure]
    }
}

/// Sums what was read for a plan.
pub fn fold(plan: &ReadPlan, loaded: Loaded) -> Result<Figures, HistogramBytesFault> {
    let Loaded { kept_from, sums, distributions, calls, groups, active_calls } = loaded;
    let answers_by_calls = |instant| plan.pieces.is_answered_by_calls(instant, kept_from);
    // Of each edge either the calls count, or the bucket around it where such calls are no longer kept.
    let unneeded: Vec<Timestamp> =
        plan.pieces.edge_buckets().map(|bucket| bucket.start).filter(|&start| answers_by_calls(start)).collect();
    let mut cells = Cells { plan, cells: BTreeMap::new() };
    for LoadedSums { group, bucket, sums } in sums {
        if !unneeded.contains(&bucket) {
            cells.at(group, bucket).sums += &sums;
        }
    }
    cells.add_distributions(distributions.into_iter().filter(|row| !unneeded.contains(&row.bucket)).collect())?;
    let ids: HashMap<&GroupValue, GroupId> = groups.iter().map(|group| (&group.value, group.id)).collect();
    for call in calls.iter().filter(|call| answers_by_calls(call.started_at)) {
        for (value, totals) in totals_of(call, plan.dimension) {
            let id = if value == GroupValue::Tenant { Some(GroupId::TENANT) } else { ids.get(&value).copied() };
            if let Some(id) = id {
                *cells.at(id, call.started_at) += &totals.only(&plan.measures, &plan.distributions);
            }
        }
    }
    Ok(Figures {
        rows: cells.into_rows(groups),
        active_calls,
        additive: plan.dimension.subject() == Subject::Call,
        answered_window: plan.pieces.answered_window(plan.window(), kept_from),
    })
}

/// Totals by group and by index of the bucket.
struct Cells<'p> {
    plan: &'p ReadPlan,
    cells: BTreeMap<(GroupId, usize), Totals>,
}

impl Cells<'_> {
    fn at(&mut self, group: GroupId, instant: Timestamp) -> &mut Totals {
        self.cells.entry(self.plan.cell_of(group, instant)).or_default()
    }

    /// One cell and distribution after the other, so that only one array of all cells of a histogram is in memory.
    fn add_distributions(&mut self, mut rows: Vec<LoadedDistribution>) -> Result<(), HistogramBytesFault> {
        let plan = self.plan;
        let key = |row: &LoadedDistribution| (plan.cell_of(row.group, row.bucket), row.distribution);
        rows.sort_by_cached_key(key);
        for rows in rows.chunk_by(|left, right| key(left) == key(right)) {
            let mut histogram = HistogramSum::default();
            let (mut calls, mut sum_us) = (0_i64, 0_i64);
            for row in rows {
                calls = calls.wrapping_add(row.calls);
                sum_us = sum_us.wrapping_add(row.sum_us);
                histogram.add_bytes(&row.histogram)?;
            }
            let first = &rows[0];
            let totals = LatencyTotals { calls, sum_us, histogram: histogram.into() };
            self.at(first.group, first.bucket).add_distribution(first.distribution, &totals);
        }
        Ok(())
    }

    fn into_rows(mut self, groups: Vec<LoadedGroup>) -> Vec<FiguresRow> {
        let buckets = self.plan.shown_buckets();
        let mut shown: Vec<(GroupId, Option<LoadedGroup>)> = Vec::new();
        if self.plan.is_grouped() {
            let mut groups = groups;
            groups.sort_unstable_by_key(|group| group.id);
            groups.retain(|group| {
                let of_group = (group.id, 0)..=(group.id, usize::MAX);
                self.cells.range(of_group).any(|(_, totals)| totals.sums[Measure::Calls] > 0)
            });
            shown.extend(groups.into_iter().map(|group| (group.id, Some(group))));
        } else {
            shown.push((GroupId::TENANT, None));
        }
        let mut rows = Vec::with_capacity(shown.len() * buckets.len());
        for (id, group) in shown {
            for (index, &bucket) in buckets.iter().enumerate() {
                let totals = self.cells.remove(&(id, index)).unwrap_or_default();
                rows.push(FiguresRow { group: group.clone(), bucket, totals });
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Question, plan};
    use crate::time::Span;

    const NOON: Timestamp = Timestamp::from_micros(1_768_651_200_000_000);

    #[test]
    fn edges_come_from_calls_that_are_kept_and_from_their_bucket_otherwise() {
        let window = Window::new(NOON - Span::from_hours(3) - Span::from_seconds(30), NOON).unwrap();
        let metrics = vec![Metric::TotalCalls];
        let plan = plan(Question { window, metrics, dimension: None, filter: None, series: None }).unwrap();
        let mut sums = Sums::default();
        sums.add(Measure::Calls, 7);
        let bucket = plan.pieces.edge_buckets().next().unwrap().start;
        let total = |kept_from| {
            let of_edge = LoadedSums { group: GroupId::TENANT, bucket, sums };
            let loaded = Loaded { kept_from, sums: vec![of_edge], ..Loaded::default() };
            let figures = fold(&plan, loaded).unwrap();
            (figures.rows[0].count(Measure::Calls), figures.answered_window.start())
        };
        assert_eq!(total(None), (0, plan.window().start()));
        assert_eq!(total(Some(bucket)), (0, plan.window().start()));
        assert_eq!(total(Some(bucket + Span::from_micros(1))), (7, bucket));
    }
}

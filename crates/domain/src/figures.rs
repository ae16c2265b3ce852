//! What was read for a question, and the figures that come of it. Pure.

use crate::call::CallFacts;
use crate::contribution::{Totals, totals_of};
use crate::dimension::{Dimension, GroupId, GroupValue, OTHER};
use crate::distribution::{Distribution, LatencyTotals};
use crate::filter::{Axis, CallFilter, Operator, Slugs, tag_of, text_of};
use crate::histogram::{HistogramBytesFault, HistogramSum};
use crate::measure::{Measure, Subject, Sums};
use crate::metric::{Metric, MetricValue};
use crate::question::ReadPlan;
use crate::series::Cell;
use crate::text::Slug;
use crate::time::Timestamp;
use crate::window::Window;
use std::collections::BTreeMap;

/// What was read for a plan, as one state of the database.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Calls that started before it are no longer kept; none when all are.
    pub kept_from: Option<Timestamp>,
    /// The sums of the plan's measures; other measures are zero.
    pub sums: Vec<LoadedSums>,
    /// The plan's distributions.
    pub distributions: Vec<LoadedDistribution>,
    /// The calls of the plan's edges; perhaps more than those that its filters let through.
    pub calls: Vec<CallFacts>,
    /// The groups with the plan's values, or all of the dimension; and the workflows, where calls name some.
    pub groups: Vec<LoadedGroup>,
    /// Calls that the plan's filters let through and that are active now.
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
    /// The sum of its values.
    pub sum_us: i64,
    /// The values, as `LatencyHistogram::to_bytes` writes them.
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

/// A value that calls are grouped by, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownValue {
    /// The value.
    pub value: GroupValue,
    /// The slug and the name of a workflow.
    pub label: Option<WorkflowLabel>,
    /// The value as clients read and write it; none for a workflow whose slug is unknown.
    pub text: Option<Box<str>>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// One row for each group and cell: by group, then by cell. Without an axis there is one group; with one, only groups
    /// that have calls in the window. A series has all of its cells.
    pub rows: Vec<FiguresRow>,
    /// The cells of each group.
    pub cells: usize,
    /// All calls that the filters let through, each once; not known of groups that a filter narrows and that are of uses
    /// or errors.
    pub total: Totals,
    /// Calls that are active now; 0 when no metric needs it.
    pub active_calls: u64,
    /// Whether the groups are of disjoint calls, so that their counts add up.
    pub additive: bool,
    /// Whether a group holds values past the bound of their dimension.
    pub has_other: bool,
    /// The window that was asked; wider by parts of a bucket, or narrower, where calls are no longer kept.
    pub answered_window: Window,
}

/// The figures of one group in one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct FiguresRow {
    /// The values of the axes; none for the calls without a value.
    pub values: Vec<Option<ShownValue>>,
    /// The cell of the series.
    pub cell: Cell,
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

    /// The value of the first axis.
    #[must_use]
    pub fn first_value(&self) -> Option<&ShownValue> {
        self.values.first()?.as_ref()
    }
}

/// Sums what was read for a plan.
pub fn fold(plan: &ReadPlan, loaded: Loaded) -> Result<Figures, HistogramBytesFault> {
    let Loaded { kept_from, sums, distributions, calls, groups, active_calls } = loaded;
    let mut folding = Folding::new(plan, kept_from, groups);
    folding.add_rollups(sums, distributions)?;
    folding.add_calls(&calls);
    Ok(folding.finish(active_calls))
}

/// The values of a group, one for each axis; none for the calls without one.
type Key = Vec<Option<GroupValue>>;

/// Totals by group and cell, while they are summed.
pub struct Folding<'p> {
    plan: &'p ReadPlan,
    kept_from: Option<Timestamp>,
    groups: Vec<LoadedGroup>,
    slugs: Slugs,
    rows: BTreeMap<(Key, usize), Totals>,
    total: Totals,
}

impl<'p> Folding<'p> {
    /// Begins with nothing but the groups that there are.
    #[must_use]
    pub fn new(plan: &'p ReadPlan, kept_from: Option<Timestamp>, groups: Vec<LoadedGroup>) -> Self {
        let slug = |group: &LoadedGroup| match (&group.value, &group.label) {
            (GroupValue::Workflow(id), Some(label)) => Some((*id, label.slug.clone())),
            _ => None,
        };
        let slugs = groups.iter().filter_map(slug).collect();
        Self { plan, kept_from, groups, slugs, rows: BTreeMap::new(), total: Totals::default() }
    }

    /// Adds what the rollups have.
    pub fn add_rollups(
        &mut self,
        sums: Vec<LoadedSums>,
        distributions: Vec<LoadedDistribution>,
    ) -> Result<(), HistogramBytesFault> {
        let pieces = &self.plan.pieces;
        // Of each edge either the calls count, or the bucket around it where such calls are no longer kept.
        let unneeded: Vec<Timestamp> = pieces
            .edge_buckets()
            .map(|bucket| bucket.start)
            .filter(|&start| pieces.is_answered_by_calls(start, self.kept_from))
            .collect();
        let mut buckets: BTreeMap<(GroupId, usize), Totals> = BTreeMap::new();
        for LoadedSums { group, bucket, sums } in sums {
            if !unneeded.contains(&bucket) {
                buckets.entry((group, self.plan.cell_of(bucket))).or_default().sums += &sums;
            }
        }
        let needed = distributions.into_iter().filter(|row| !unneeded.contains(&row.bucket)).collect();
        add_distributions(self.plan, needed, &mut buckets)?;
        self.place(buckets);
        Ok(())
    }

    /// Puts the totals of groups where they are shown.
    fn place(&mut self, buckets: BTreeMap<(GroupId, usize), Totals>) {
        let plan = self.plan;
        let is_grouped = !plan.axes().is_empty();
        if plan.dimension == Dimension::Tenant {
            for ((_, cell), totals) in buckets {
                self.total += &totals;
                *self.rows.entry((Key::new(), cell)).or_default() += &totals;
            }
            return;
        }
        let of_dimension = |group: &&LoadedGroup| is_of(plan.dimension, &group.value);
        let values: BTreeMap<GroupId, GroupValue> =
            self.groups.iter().filter(of_dimension).map(|group| (group.id, group.value.clone())).collect();
        let is_call = plan.dimension.subject() == Subject::Call;
        for ((group, cell), totals) in buckets {
            let key = |value| if is_grouped { vec![value] } else { Key::new() };
            if group == GroupId::TENANT {
                self.total += &totals;
                // What the groups take away below leaves the calls without a value.
                if is_call {
                    *self.rows.entry((key(None), cell)).or_default() += &totals;
                }
                continue;
            }
            let Some(value) = values.get(&group) else { continue };
            let is_let_through = self.is_let_through(value);
            if plan.with_tenant {
                if is_call {
                    *self.rows.entry((key(None), cell)).or_default() -= &totals;
                }
            } else if is_let_through {
                self.total += &totals;
            }
            if is_let_through {
                *self.rows.entry((key(Some(value.clone())), cell)).or_default() += &totals;
            } else if plan.with_tenant && is_call {
                self.total -= &totals;
            }
        }
        let unknown_is_let_through = plan.filters().iter().all(crate::filter::Filter::accepts_unknown);
        debug_assert!(!plan.with_tenant || unknown_is_let_through || !is_call, "the tenant is read for nothing");
    }

    /// Whether the filters, which are all of the plan's dimension, let calls with a value through.
    fn is_let_through(&self, value: &GroupValue) -> bool {
        let text = text_of(value, &self.slugs);
        self.plan.filters().iter().all(|filter| {
            let is_one = text.as_ref().is_some_and(|text| filter.stored_values().contains(text));
            is_one == (filter.operator == Operator::Is)
        })
    }

    /// Adds calls of the edges.
    pub fn add_calls(&mut self, calls: &[CallFacts]) {
        let plan = self.plan;
        let slugs = std::mem::take(&mut self.slugs);
        let filter = CallFilter::new(plan.filters(), &slugs);
        for call in calls {
            let counts = plan.is_from_calls || plan.pieces.is_answered_by_calls(call.started_at, self.kept_from);
            if !counts || !filter.lets_through(call) {
                continue;
            }
            let narrowed = filter.narrowed(call);
            self.add_call(narrowed.as_ref().unwrap_or(call));
        }
        self.slugs = slugs;
    }

    fn add_call(&mut self, call: &CallFacts) {
        let plan = self.plan;
        let only = |totals: Totals| totals.only(&plan.measures, &plan.distributions);
        let index = plan.cell_of(call.started_at);
        let whole = totals_of(call, Dimension::Tenant).pop().map(|(_, totals)| only(totals)).unwrap_or_default();
        self.total += &whole;
        // At most one axis has several values of one call.
        let several = plan
            .axes()
            .iter()
            .position(|axis| axis.dimension().is_some_and(|dimension| dimension.subject() != Subject::Call));
        let mut key: Key = plan.axes().iter().map(|axis| value_of(axis, call)).collect();
        let knows_all = |key: &Key| plan.shows_unknown() || key.iter().all(Option::is_some);
        match several {
            None => {
                if knows_all(&key) {
                    *self.rows.entry((key, index)).or_default() += &whole;
                }
            }
            Some(at) => {
                let Some(dimension) = plan.axes()[at].dimension() else { return };
                for (value, totals) in totals_of(call, dimension) {
                    key[at] = Some(value);
                    if knows_all(&key) {
                        *self.rows.entry((key.clone(), index)).or_default() += &only(totals);
                    }
                }
            }
        }
    }

    /// The figures.
    #[must_use]
    pub fn finish(mut self, active_calls: u64) -> Figures {
        let plan = self.plan;
        let cells = plan.cells();
        let mut keys: Vec<Key> = Vec::new();
        if plan.axes().is_empty() {
            keys.push(Key::new());
        } else {
            for ((key, _), totals) in &self.rows {
                let is_new = totals.sums[Measure::Calls] > 0 && keys.last() != Some(key);
                if is_new && (plan.shows_unknown() || key.iter().all(Option::is_some)) {
                    keys.push(key.clone());
                }
            }
        }
        let mut rows = Vec::with_capacity(keys.len() * cells.len());
        for key in keys {
            let values: Vec<Option<ShownValue>> =
                key.iter().map(|value| value.as_ref().map(|value| self.shown(value))).collect();
            for (index, &cell) in cells.iter().enumerate() {
                let totals = self.rows.remove(&(key.clone(), index)).unwrap_or_default();
                rows.push(FiguresRow { values: values.clone(), cell, totals });
            }
        }
        let subjects = plan.axes().iter().filter_map(Axis::dimension).map(Dimension::subject);
        let has_other = |row: &FiguresRow| {
            row.values.iter().flatten().any(|shown| is_other(shown.text.as_deref(), shown.label.as_ref()))
        };
        let answered_window = self.answered_window();
        Figures {
            has_other: rows.iter().any(has_other),
            rows,
            cells: cells.len(),
            total: self.total,
            active_calls,
            additive: subjects.into_iter().all(|subject| subject == Subject::Call),
            answered_window,
        }
    }

    fn answered_window(&self) -> Window {
        let window = self.plan.window();
        if self.plan.is_from_calls {
            let start = self.kept_from.map_or(window.start(), |kept_from| kept_from.max(window.start()));
            return Window::new(start, window.end()).unwrap_or(window);
        }
        self.plan.pieces.answered_window(window, self.kept_from)
    }

    fn shown(&self, value: &GroupValue) -> ShownValue {
        let label = match value {
            GroupValue::Workflow(_) => {
                self.groups.iter().find(|group| group.value == *value).and_then(|group| group.label.clone())
            }
            _ => None,
        };
        ShownValue { value: value.clone(), label, text: text_of(value, &self.slugs) }
    }
}

fn is_other(text: Option<&str>, label: Option<&WorkflowLabel>) -> bool {
    let name = label.map(|label| label.name.as_str());
    [text, name]
        .into_iter()
        .flatten()
        .any(|text| text == OTHER || text.split_once(':').is_some_and(|(_, name)| name == OTHER))
}

fn is_of(dimension: Dimension, value: &GroupValue) -> bool {
    (dimension == Dimension::Workflow) == matches!(value, GroupValue::Workflow(_))
}

/// The value of a call on an axis that has at most one.
fn value_of(axis: &Axis, call: &CallFacts) -> Option<GroupValue> {
    match axis {
        Axis::Dimension(dimension) => dimension.value_of(call),
        Axis::Tag(key) => tag_of(call, key).map(|text| GroupValue::Text(text.into())),
    }
}

/// One cell and distribution after the other, so that only one array of all cells of a histogram is in memory.
fn add_distributions(
    plan: &ReadPlan,
    mut rows: Vec<LoadedDistribution>,
    buckets: &mut BTreeMap<(GroupId, usize), Totals>,
) -> Result<(), HistogramBytesFault> {
    let key = |row: &LoadedDistribution| (row.group, plan.cell_of(row.bucket), row.distribution);
    rows.sort_by_cached_key(key);
    for rows in rows.chunk_by(|left, right| key(left) == key(right)) {
        let mut histogram = HistogramSum::default();
        let mut sum_us = 0_i64;
        for row in rows {
            sum_us = sum_us.wrapping_add(row.sum_us);
            histogram.add_bytes(&row.histogram)?;
        }
        let (group, cell, distribution) = key(&rows[0]);
        let totals = LatencyTotals { sum_us, histogram: histogram.into() };
        let of_cell = buckets.entry((group, cell)).or_default();
        if plan.told_by_distributions {
            of_cell.sums.add(distribution.samples(), totals.histogram.len());
            if let Some(latency_us) = distribution.latency_us() {
                of_cell.sums.add(latency_us, sum_us);
            }
        }
        of_cell.add_distribution(distribution, &totals);
    }
    Ok(())
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
        let (axes, filters) = (Vec::new(), Vec::new());
        let plan = plan(Question { window, metrics, axes, filters, cut: None, shows_unknown: true, wants_total: true })
            .unwrap();
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

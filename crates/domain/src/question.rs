//! Questions about figures, and how they are read from rollups and calls. Pure.

use crate::dimension::Dimension;
use crate::distribution::Distribution;
use crate::filter::{Axis, Filter, Operator};
use crate::measure::{Measure, Subject};
use crate::metric::{Formula, Metric};
use crate::plan::{Resolution, WindowPlan};
use crate::series::{Cell, Cut, Series, SeriesFault};
use crate::time::Timestamp;
use crate::window::Window;

/// A question about the calls of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which calls, by their starts.
    pub window: Window,
    /// What is to be shown.
    pub metrics: Vec<Metric>,
    /// What the calls are grouped by; one group of all without any.
    pub axes: Vec<Axis>,
    /// Only calls that every filter lets through.
    pub filters: Vec<Filter>,
    /// The cells of a series; one cell, the window, without it.
    pub cut: Option<Cut>,
    /// Whether calls without a value are a group as well.
    pub shows_unknown: bool,
    /// Whether the figures of all calls are wanted beside those of the groups.
    pub wants_total: bool,
}

/// Why a question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionFault {
    /// The series would be too long.
    #[error(transparent)]
    Series(#[from] SeriesFault),
    /// The groups of a dimension do not have the metric.
    #[error("{metric} cannot be grouped or filtered by {dimension}")]
    NoSuchFigure {
        /// The metric.
        metric: Metric,
        /// The dimension.
        dimension: Dimension,
    },
    /// A dimension of uses and one of errors, or two of one: no call has one value of both.
    #[error("{0} and {1} cannot be combined in one question: ask for one of them")]
    Combination(Dimension, Dimension),
    /// The buckets of the series begin inside of buckets of the dimension, as in zones of long ago.
    #[error(
        "the buckets of this time zone are not made of whole buckets of {0}: ask for another zone or a later window"
    )]
    Unaligned(Dimension),
}

/// What has to be read for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one more thing is read")]
pub struct ReadPlan {
    /// The dimension whose groups are read from rollups.
    pub dimension: Dimension,
    /// Only groups with one of these values, as [`Filter`] has them; all without.
    pub values: Option<Vec<Box<str>>>,
    /// Whether the group of the whole tenant is read as well: less some groups, it is the calls that are in none of them.
    pub with_tenant: bool,
    /// The measures that are needed, ascending.
    pub measures: Vec<Measure>,
    /// The distributions that are needed, ascending.
    pub distributions: Vec<Distribution>,
    /// The buckets and calls that are needed.
    pub pieces: WindowPlan,
    /// Whether each bucket is needed by itself; otherwise the sum of those of a range is enough.
    pub by_bucket: bool,
    /// Whether the number of active calls is needed.
    pub active_calls: bool,
    /// Whether no rollup has the figures, so that all calls of the window are read.
    pub is_from_calls: bool,
    /// Whether the distributions tell the measures of the groups, all but the number of calls.
    pub told_by_distributions: bool,
    question: Question,
    series: Option<Series>,
}

/// Says what has to be read for a question, or why it has no answer.
pub fn plan(question: Question) -> Result<ReadPlan, QuestionFault> {
    let special = special_dimension(&question)?;
    for &metric in &question.metrics {
        if let Some(dimension) = lacking(metric, &question, special) {
            return Err(QuestionFault::NoSuchFigure { metric, dimension });
        }
    }
    let series = question.cut.map(|cut| Series::new(question.window, cut)).transpose()?;
    let mut measures: Vec<Measure> = question.metrics.iter().flat_map(|metric| metric.measures()).collect();
    let mut distributions: Vec<Distribution> =
        question.metrics.iter().filter_map(|metric| metric.distribution()).collect();
    let reads_figures = !measures.is_empty() || !distributions.is_empty();
    if reads_figures && !question.axes.is_empty() {
        // Says which groups there are.
        measures.push(Measure::Calls);
    }
    // Their base goes with them.
    measures.extend(distributions.iter().map(|distribution| distribution.samples()));
    measures.sort_unstable();
    measures.dedup();
    distributions.sort_unstable();
    distributions.dedup();
    let rollups = rollups_of(&question, &measures, &distributions);
    let is_from_calls = reads_figures && rollups.is_none();
    let (dimension, values, with_tenant) = rollups.unwrap_or((Dimension::Tenant, None, false));
    let told_by_distributions = !is_from_calls && are_told_by_distributions(dimension, &measures, &distributions);
    if told_by_distributions {
        distributions = told_by(&measures).chain(distributions).collect();
        distributions.sort_unstable();
        distributions.dedup();
    }
    let pieces = if is_from_calls {
        WindowPlan::calls_of(question.window)
    } else if reads_figures {
        let coarsest = series.as_ref().map_or(Resolution::Day, Series::resolution);
        let finest = finest_of(dimension, with_tenant, told_by_distributions, &distributions);
        if coarsest < finest {
            return Err(QuestionFault::Unaligned(dimension));
        }
        WindowPlan::new(question.window, finest, coarsest)
    } else {
        WindowPlan::nothing()
    };
    Ok(ReadPlan {
        dimension,
        values,
        with_tenant,
        measures,
        distributions,
        pieces,
        by_bucket: series.is_some(),
        active_calls: question.metrics.iter().any(|metric| metric.row().formula == Formula::ActiveCalls),
        is_from_calls,
        told_by_distributions,
        series,
        question,
    })
}

/// Whether distributions tell all measures, of groups that have them in narrower buckets than sums.
fn are_told_by_distributions(dimension: Dimension, measures: &[Measure], distributions: &[Distribution]) -> bool {
    let row = dimension.row();
    let of_uses = |measure: &Measure| *measure == Measure::Calls || measure.subject() == Subject::Use;
    row.finest_distributions < row.finest
        && measures.iter().all(of_uses)
        && distributions.iter().all(|distribution| distribution.subject() == Subject::Use)
}

/// The distributions that tell some measures.
fn told_by(measures: &[Measure]) -> impl Iterator<Item = Distribution> {
    let tells = |distribution: &&Distribution| {
        let told = [Some(distribution.samples()), distribution.latency_us()];
        told.into_iter().flatten().any(|measure| measures.contains(&measure))
    };
    Distribution::ALL.iter().filter(tells).copied()
}

/// The narrowest buckets that have all that is read.
fn finest_of(dimension: Dimension, with_tenant: bool, by_distributions: bool, read: &[Distribution]) -> Resolution {
    let of = |dimension: Dimension, sums: Resolution| {
        read.iter().map(|&distribution| dimension.finest_of(distribution)).fold(sums, Resolution::max)
    };
    let row = dimension.row();
    let finest = of(dimension, if by_distributions { row.finest_distributions } else { row.finest });
    if with_tenant { finest.max(of(Dimension::Tenant, Dimension::Tenant.row().finest)) } else { finest }
}

/// The one dimension of uses or errors that a question names, if it names any.
fn special_dimension(question: &Question) -> Result<Option<Dimension>, QuestionFault> {
    let of_axes = question.axes.iter().chain(question.filters.iter().map(|filter| &filter.axis));
    let mut special: Option<Dimension> = None;
    for dimension in of_axes.filter_map(Axis::dimension).filter(|dimension| dimension.subject() != Subject::Call) {
        match special {
            // A filter by the one narrows the uses that are grouped by the other.
            Some(known) if known.subject() != dimension.subject() => {
                return Err(QuestionFault::Combination(known, dimension));
            }
            _ => special = Some(dimension),
        }
    }
    let grouped = question.axes.iter().filter_map(Axis::dimension).filter(|of| of.subject() != Subject::Call);
    let grouped: Vec<Dimension> = grouped.collect();
    match grouped[..] {
        [first, second, ..] => Err(QuestionFault::Combination(first, second)),
        _ => Ok(special),
    }
}

/// The dimension of a question that a metric cannot be asked for.
fn lacking(metric: Metric, question: &Question, special: Option<Dimension>) -> Option<Dimension> {
    if metric.row().formula == Formula::ActiveCalls {
        let by_group = question.axes.first().and_then(Axis::dimension);
        let by_filter = question.filters.iter().find(|filter| !filter.axis.is_column());
        return by_group.or_else(|| by_filter.map(|filter| filter.axis.dimension().unwrap_or(Dimension::Tenant)));
    }
    special.filter(|&dimension| !metric.is_kept_by(dimension))
}

/// A dimension, the values of its groups that are read (all without), and whether the tenant's are read beside them.
type RollupGroups = (Dimension, Option<Vec<Box<str>>>, bool);

/// The groups of a rollup that have the figures: their dimension, their values, and whether those of the tenant are needed
/// beside them. None when no rollup has them.
fn rollups_of(question: &Question, measures: &[Measure], distributions: &[Distribution]) -> Option<RollupGroups> {
    let mut axes = question.axes.iter().chain(question.filters.iter().map(|filter| &filter.axis));
    let Some(first) = axes.next() else { return Some((Dimension::Tenant, None, false)) };
    let dimension = first.dimension()?;
    if axes.any(|axis| axis != first) {
        return None;
    }
    let is_grouped = !question.axes.is_empty();
    let subject = dimension.subject();
    let is_of_subject = measures.iter().all(|measure| measure.subject() == subject)
        && distributions.iter().all(|distribution| distribution.subject() == subject);
    let wanted: Vec<&Filter> = question.filters.iter().filter(|filter| filter.operator == Operator::Is).collect();
    let values = wanted.first().map(|filter| filter.stored_values());
    if subject != Subject::Call {
        // Calls that use two of several providers would count twice, and those that use none of them are in no group.
        let is_one = values.as_ref().is_none_or(|values| values.len() == 1);
        let is_simple = wanted.len() == question.filters.len() && wanted.len() <= 1;
        let has_unknown = question.filters.iter().any(Filter::has_unknown);
        // Without a filter, the total is the tenant's.
        let with_tenant = is_grouped && question.filters.is_empty() && question.wants_total;
        return (is_simple && !has_unknown && (is_one || is_of_subject)).then_some((dimension, values, with_tenant));
    }
    let accepts_unknown = question.filters.iter().all(Filter::accepts_unknown);
    if !accepts_unknown {
        // Only calls with a value count, so the groups are enough.
        return Some((dimension, values, false));
    }
    if is_grouped {
        return Some((dimension, None, question.shows_unknown));
    }
    // All calls but some: the tenant's less those. With a filter for the calls without a value, all groups are read.
    let excluded = question.filters.iter().all(|filter| filter.operator == Operator::IsNot);
    let excluded = excluded.then(|| question.filters.iter().flat_map(Filter::stored_values).collect());
    Some((dimension, excluded, true))
}

impl ReadPlan {
    /// The measures whose sums are read, ascending.
    #[must_use]
    pub fn read_sums(&self) -> &[Measure] {
        if self.told_by_distributions { &[Measure::Calls] } else { &self.measures }
    }

    /// Whether the latencies of calls are needed, or what they used.
    #[must_use]
    pub fn reads_latencies(&self) -> bool {
        let names_uses = |axis: &Axis| axis.dimension().is_some_and(|dimension| dimension.subject() == Subject::Use);
        self.question.axes.iter().chain(self.question.filters.iter().map(|filter| &filter.axis)).any(names_uses)
            || self.distributions.iter().any(|&distribution| distribution != Distribution::Duration)
            || self.measures.iter().any(|measure| measure.subject() == Subject::Use)
            || self.measures.iter().any(|measure| matches!(measure, Measure::TurnSamples | Measure::TurnLatencyUs))
    }

    /// Whether the workflows of the tenant are needed, since calls name them by their ids alone.
    #[must_use]
    pub fn reads_workflows(&self) -> bool {
        let mut axes = self.question.axes.iter().chain(self.question.filters.iter().map(|filter| &filter.axis));
        axes.any(|axis| axis.dimension() == Some(Dimension::Workflow))
    }

    /// What the calls are grouped by.
    #[must_use]
    pub fn axes(&self) -> &[Axis] {
        &self.question.axes
    }

    /// What the calls must be let through by.
    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        &self.question.filters
    }

    /// Whether calls without a value are a group as well.
    pub(crate) const fn shows_unknown(&self) -> bool {
        self.question.shows_unknown
    }

    /// The cells that are shown: those of the series, or the window.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        self.series.as_ref().map_or_else(|| vec![Cell::Window], Series::cells)
    }

    /// The window of the question.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.question.window
    }

    /// The index of the cell that an instant is in.
    pub(crate) fn cell_of(&self, instant: Timestamp) -> usize {
        self.series.as_ref().map_or(0, |series| series.index_of(instant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Interval;
    use crate::time::Span;

    const NOON: Timestamp = Timestamp::from_micros(1_768_651_200_000_000);

    fn question(metrics: &[Metric]) -> Question {
        let window = Window::new(NOON - Span::from_hours(3) - Span::from_seconds(30), NOON).unwrap();
        Question {
            window,
            metrics: metrics.to_vec(),
            axes: Vec::new(),
            filters: Vec::new(),
            cut: None,
            shows_unknown: true,
            wants_total: true,
        }
    }

    fn by(dimension: Dimension, metric: Metric) -> Question {
        Question { axes: vec![Axis::Dimension(dimension)], ..question(&[metric]) }
    }

    fn of(dimension: Dimension, operator: Operator, values: &[Option<&str>]) -> Filter {
        let values = values.iter().map(|value| value.map(Into::into)).collect();
        Filter { axis: Axis::Dimension(dimension), operator, values }
    }

    #[test]
    fn a_plan_needs_what_its_metrics_are_computed_from_and_nothing_else() {
        let plan = plan(question(&[Metric::ErrorsPerCall, Metric::TotalErrors])).unwrap();
        assert_eq!((plan.dimension, &plan.measures[..]), (Dimension::Tenant, &[Measure::Calls, Measure::Errors][..]));
        assert_eq!((plan.distributions.len(), plan.active_calls, plan.by_bucket), (0, false, false));
        let active = super::plan(question(&[Metric::ActiveCallsNow])).unwrap();
        assert!(active.active_calls && active.measures.is_empty() && active.pieces == WindowPlan::nothing());
    }

    #[test]
    fn edges_are_as_wide_as_the_finest_buckets_of_the_dimension() {
        let late = Window::new(NOON - Span::from_hours(1), NOON + Span::from_seconds(61)).unwrap();
        let edges =
            |dimension| plan(Question { window: late, ..by(dimension, Metric::TotalCalls) }).unwrap().pieces.edges;
        assert_eq!(edges(Dimension::Workflow)[0].start(), NOON + Span::from_seconds(60));
        assert_eq!(edges(Dimension::Agent)[0].start(), NOON);
    }

    #[test]
    fn buckets_are_as_narrow_as_those_that_have_what_is_read() {
        let finest = |dimension, metric, wants_total| {
            let plan = plan(Question { wants_total, ..by(dimension, metric) }).unwrap();
            let edge = plan.pieces.edge_buckets().next().unwrap();
            (edge.resolution, plan.told_by_distributions)
        };
        let (provider, tenant) = (Dimension::Provider, Dimension::Workflow);
        assert_eq!(finest(provider, Metric::P95SttLatencyMs, false), (Resolution::Minute, true));
        assert_eq!(finest(provider, Metric::AvgSttLatencyMs, false), (Resolution::Minute, true));
        // The tenant's distributions are wider than those of its providers.
        assert_eq!(finest(provider, Metric::P95SttLatencyMs, true), (Resolution::FifteenMinutes, true));
        assert_eq!(finest(provider, Metric::SuccessRate, false), (Resolution::FifteenMinutes, false));
        assert_eq!(finest(provider, Metric::P95TurnLatencyMs, false), (Resolution::FifteenMinutes, false));
        assert_eq!(finest(tenant, Metric::SuccessRate, false), (Resolution::Minute, false));
        assert_eq!(finest(tenant, Metric::P95SttLatencyMs, false), (Resolution::FifteenMinutes, false));
        let plan = plan(Question { wants_total: false, ..by(provider, Metric::AvgSttLatencyMs) }).unwrap();
        assert_eq!((plan.read_sums(), &plan.distributions[..]), (&[Measure::Calls][..], &[Distribution::Stt][..]));
    }

    #[test]
    fn what_groups_do_not_have_is_refused() {
        for (metric, dimension) in [
            (Metric::P95LlmLatencyMs, Dimension::ErrorKind),
            (Metric::AvgLlmLatencyMs, Dimension::ErrorKind),
            (Metric::TotalErrors, Dimension::Provider),
            (Metric::ActiveCallsNow, Dimension::Workflow),
        ] {
            let refused = Err(QuestionFault::NoSuchFigure { metric, dimension });
            assert_eq!(plan(by(dimension, metric)).map(drop), refused);
        }
        for (metric, dimension) in [
            (Metric::P95LlmLatencyMs, Dimension::Provider),
            (Metric::P95LlmLatencyMs, Dimension::Agent),
            (Metric::SuccessRate, Dimension::Provider),
            (Metric::P95TurnLatencyMs, Dimension::Model),
            (Metric::ErrorsPerCall, Dimension::EndReason),
        ] {
            assert_eq!(plan(by(dimension, metric)).map(drop), Ok(()), "{metric} by {dimension}");
        }
    }

    #[test]
    fn rollups_answer_one_dimension_and_calls_answer_the_rest() {
        use Operator::{Is, IsNot};
        let filtered =
            |question: Question, filters: &[Filter]| plan(Question { filters: filters.to_vec(), ..question }).unwrap();
        let calls = || question(&[Metric::TotalCalls]);
        let agent = |operator, values: &[Option<&str>]| of(Dimension::Agent, operator, values);
        let read = |plan: ReadPlan| {
            let values = plan.values.map(|values| values.iter().map(ToString::to_string).collect::<Vec<_>>());
            (plan.dimension, values, plan.with_tenant, plan.is_from_calls)
        };
        let some = |values: &[&str]| Some(values.iter().map(ToString::to_string).collect::<Vec<_>>());
        let of_agent = |values, with_tenant| (Dimension::Agent, values, with_tenant, false);
        assert_eq!(read(filtered(calls(), &[agent(Is, &[Some("a"), Some("b")])])), of_agent(some(&["a", "b"]), false));
        assert_eq!(read(filtered(calls(), &[agent(IsNot, &[Some("a")])])), of_agent(some(&["a"]), true));
        assert_eq!(read(filtered(calls(), &[agent(Is, &[None])])), of_agent(None, true));
        assert_eq!(read(filtered(by(Dimension::Agent, Metric::TotalCalls), &[])), of_agent(None, true));
        let both = [agent(Is, &[Some("a")]), of(Dimension::Outcome, Is, &[Some("success")])];
        assert!(filtered(calls(), &both).is_from_calls);
        assert!(filtered(by(Dimension::Workflow, Metric::TotalCalls), &both[..1]).is_from_calls);
        // A call may use two of several providers.
        let providers = of(Dimension::Provider, Is, &[Some("stt:a"), Some("stt:b")]);
        assert!(filtered(calls(), std::slice::from_ref(&providers)).is_from_calls);
        assert!(!filtered(question(&[Metric::AvgSttLatencyMs]), &[providers]).is_from_calls);
        assert!(filtered(calls(), &[of(Dimension::Provider, IsNot, &[Some("stt:a")])]).is_from_calls);
        assert!(!filtered(calls(), &[of(Dimension::Provider, Is, &[Some("stt:a")])]).is_from_calls);
        assert!(filtered(calls(), &[of(Dimension::Provider, Is, &[Some("a")])]).is_from_calls);
    }

    #[test]
    fn two_dimensions_of_uses_are_refused_and_so_are_uses_with_errors() {
        let (provider, model, kind) = (Dimension::Provider, Dimension::Model, Dimension::ErrorKind);
        let axes = |dimensions: &[Dimension]| {
            let axes = dimensions.iter().copied().map(Axis::Dimension).collect();
            plan(Question { axes, ..question(&[Metric::TotalCalls]) }).map(drop)
        };
        assert_eq!(axes(&[provider, model]), Err(QuestionFault::Combination(provider, model)));
        assert_eq!(axes(&[provider, kind]), Err(QuestionFault::Combination(provider, kind)));
        assert_eq!(axes(&[provider, Dimension::Agent]), Ok(()));
    }

    #[test]
    fn a_zone_with_hours_that_no_bucket_ends_with_is_refused_for_wide_buckets_alone() {
        // Until 1911 clocks in Paris were 9 minutes and 21 seconds ahead.
        let window =
            Window::new(Timestamp::from_micros(-2_000_000_000_000_000), Timestamp::from_micros(-1_999_900_000_000_000));
        let window = window.unwrap();
        let cut = Some(Cut::Buckets(Interval::Hour, "Europe/Paris".parse().unwrap()));
        let by = by(Dimension::Agent, Metric::TotalCalls);
        assert_eq!(plan(Question { window, cut, ..by }).map(drop), Err(QuestionFault::Unaligned(Dimension::Agent)));
        assert_eq!(plan(Question { window, cut, ..question(&[Metric::TotalCalls]) }).map(drop), Ok(()));
    }
}

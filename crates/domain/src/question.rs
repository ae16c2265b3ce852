//! Questions about figures, and how they are read from rollups and calls. Pure.

use crate::dimension::{Dimension, GroupId, Keeps};
use crate::distribution::Distribution;
use crate::measure::{Measure, Subject};
use crate::metric::{Formula, Metric};
use crate::plan::{Resolution, WindowPlan};
use crate::series::{Interval, Series, SeriesFault, Zone};
use crate::time::Timestamp;
use crate::window::Window;

/// A question about the calls of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which calls, by their starts.
    pub window: Window,
    /// What is to be shown.
    pub metrics: Vec<Metric>,
    /// What the calls are grouped by; one group of all without it.
    pub dimension: Option<Dimension>,
    /// Only calls with a value of a dimension.
    pub filter: Option<Filter>,
    /// The buckets of a series; one bucket, the window, without them.
    pub series: Option<(Interval, Zone)>,
}

/// Narrows a question to the calls with one value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The dimension.
    pub dimension: Dimension,
    /// The value, as clients write it: a workflow's slug, `stt:deepgram` for a provider, an agent's name.
    pub value: Box<str>,
}

/// Why a question cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// No rollup has both dimensions.
    #[error("calls cannot be grouped by {dimension} and filtered by {filter} in one question")]
    Combination {
        /// What they are grouped by.
        dimension: Dimension,
        /// What they are filtered by.
        filter: Dimension,
    },
    /// The buckets of the series begin inside of buckets of the dimension, as in zones of long ago.
    #[error(
        "the buckets of this time zone are not made of whole buckets of {0}: ask for another zone or a later window"
    )]
    Unaligned(Dimension),
}

/// What has to be read for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    /// The dimension whose groups are read.
    pub dimension: Dimension,
    /// Only groups with this value, as in [`Filter::value`].
    pub value: Option<Box<str>>,
    /// The measures that are needed, ascending.
    pub measures: Vec<Measure>,
    /// The distributions that are needed, ascending; they tell the measures of dimensions that keep nothing else.
    pub distributions: Vec<Distribution>,
    /// The buckets and calls that are needed.
    pub pieces: WindowPlan,
    /// Whether each bucket is needed by itself; otherwise the sum of those of a range is enough.
    pub by_bucket: bool,
    /// Whether the number of active calls is needed.
    pub active_calls: bool,
    question: Question,
    series: Option<Series>,
}

/// Says what has to be read for a question, or why it has no answer.
pub fn plan(question: Question) -> Result<ReadPlan, QuestionFault> {
    let filter = question.filter.as_ref();
    let dimension = match (question.dimension, filter.map(|filter| filter.dimension)) {
        (Some(dimension), Some(filter)) if dimension != filter => {
            return Err(QuestionFault::Combination { dimension, filter });
        }
        (Some(dimension), _) | (None, Some(dimension)) => dimension,
        (None, None) => Dimension::Tenant,
    };
    if let Some(&metric) = question.metrics.iter().find(|metric| !is_kept(**metric, &question, dimension)) {
        return Err(QuestionFault::NoSuchFigure { metric, dimension });
    }
    let series = question.series.map(|(interval, zone)| Series::new(question.window, interval, zone)).transpose()?;
    let coarsest = series.as_ref().map_or(Resolution::Day, Series::resolution);
    let finest = dimension.row().finest;
    if coarsest < finest {
        return Err(QuestionFault::Unaligned(dimension));
    }
    let mut measures: Vec<Measure> = question.metrics.iter().flat_map(|metric| metric.measures()).collect();
    let mut distributions: Vec<Distribution> =
        question.metrics.iter().filter_map(|metric| metric.distribution()).collect();
    let reads_rollups = !measures.is_empty() || !distributions.is_empty();
    if question.dimension.is_some() {
        // Says which groups there are.
        measures.push(Measure::Calls);
    }
    measures.sort_unstable();
    measures.dedup();
    if reads_rollups && dimension.row().keeps == Keeps::Distributions {
        distributions = Distribution::ALL.to_vec();
    }
    distributions.sort_unstable();
    distributions.dedup();
    Ok(ReadPlan {
        dimension,
        value: filter.map(|filter| filter.value.clone()),
        measures,
        distributions,
        pieces: if reads_rollups { WindowPlan::new(question.window, finest, coarsest) } else { WindowPlan::nothing() },
        by_bucket: series.is_some(),
        active_calls: question.metrics.iter().any(|metric| metric.row().formula == Formula::ActiveCalls),
        series,
        question,
    })
}

impl ReadPlan {
    /// Whether sums are read; otherwise the distributions say everything.
    #[must_use]
    pub fn reads_sums(&self) -> bool {
        !self.measures.is_empty() && self.dimension.row().keeps == Keeps::Sums
    }

    /// Whether the latencies of calls are needed.
    #[must_use]
    pub fn reads_latencies(&self) -> bool {
        !self.distributions.is_empty() || self.measures.iter().any(|measure| measure.subject() == Subject::Use)
    }

    /// Whether each group is shown by itself.
    pub(crate) const fn is_grouped(&self) -> bool {
        self.question.dimension.is_some()
    }

    /// The buckets that are shown: those of the series, or one without a start.
    pub(crate) fn shown_buckets(&self) -> Vec<Option<Timestamp>> {
        match &self.series {
            Some(series) => series.starts().iter().copied().map(Some).collect(),
            None => vec![None],
        }
    }

    /// The window of the question.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.question.window
    }

    /// The row of the answer that sums of a group are shown in: all groups are one without a dimension.
    pub(crate) fn cell_of(&self, group: GroupId, instant: Timestamp) -> (GroupId, usize) {
        let group = if self.question.dimension.is_some() { group } else { GroupId::TENANT };
        (group, self.series.as_ref().map_or(0, |series| series.index_of(instant)))
    }
}

/// Whether a metric can be shown of the groups of a dimension.
fn is_kept(metric: Metric, question: &Question, dimension: Dimension) -> bool {
    let is_counted_by_group = metric.row().formula == Formula::ActiveCalls && question.dimension.is_some();
    metric.is_kept_by(dimension) && !is_counted_by_group
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const NOON: Timestamp = Timestamp::from_micros(1_768_651_200_000_000);

    fn question(metrics: &[Metric]) -> Question {
        let window = Window::new(NOON - Span::from_hours(3) - Span::from_seconds(30), NOON).unwrap();
        Question { window, metrics: metrics.to_vec(), dimension: None, filter: None, series: None }
    }

    fn filter(dimension: Dimension) -> Filter {
        Filter { dimension, value: "x".into() }
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
        let lengths = |dimension| {
            let plan = plan(Question { dimension: Some(dimension), ..question(&[Metric::TotalCalls]) }).unwrap();
            plan.pieces.edges.iter().map(|edge| edge.end().since(edge.start())).collect::<Vec<_>>()
        };
        assert_eq!(lengths(Dimension::Workflow), [Span::from_seconds(30)]);
        assert_eq!(lengths(Dimension::Agent), [Span::from_seconds(30)]);
        let late = Window::new(NOON - Span::from_hours(1), NOON + Span::from_seconds(61)).unwrap();
        let edges = |dimension| {
            let question = Question { dimension: Some(dimension), window: late, ..question(&[Metric::TotalCalls]) };
            plan(question).unwrap().pieces.edges
        };
        assert_eq!(edges(Dimension::Workflow)[0].start(), NOON + Span::from_seconds(60));
        assert_eq!(edges(Dimension::Agent)[0].start(), NOON);
    }

    #[test]
    fn what_groups_do_not_have_is_refused() {
        let by = |metric, dimension| plan(Question { dimension: Some(dimension), ..question(&[metric]) }).map(drop);
        let refused = |metric, dimension| Err(QuestionFault::NoSuchFigure { metric, dimension });
        for (metric, dimension) in [
            (Metric::P95LlmLatencyMs, Dimension::Agent),
            (Metric::AvgLlmLatencyMs, Dimension::ErrorKind),
            (Metric::TotalErrors, Dimension::Provider),
            (Metric::SuccessRate, Dimension::Provider),
            (Metric::ActiveCallsNow, Dimension::Workflow),
        ] {
            assert_eq!(by(metric, dimension), refused(metric, dimension));
        }
        for (metric, dimension) in [
            (Metric::P95LlmLatencyMs, Dimension::Provider),
            (Metric::AvgLlmLatencyMs, Dimension::Agent),
            (Metric::AvgTtsLatencyMs, Dimension::Provider),
            (Metric::ErrorsPerCall, Dimension::EndReason),
        ] {
            assert_eq!(by(metric, dimension), Ok(()), "{metric} by {dimension}");
        }
    }

    #[test]
    fn two_dimensions_are_refused_and_one_twice_is_not() {
        let (dimension, filtered) = (Dimension::Workflow, Dimension::Agent);
        let both =
            Question { dimension: Some(dimension), filter: Some(filter(filtered)), ..question(&[Metric::TotalCalls]) };
        assert_eq!(plan(both).map(drop), Err(QuestionFault::Combination { dimension, filter: filtered }));
        let one =
            Question { dimension: Some(filtered), filter: Some(filter(filtered)), ..question(&[Metric::TotalCalls]) };
        assert_eq!(plan(one).unwrap().value.as_deref(), Some("x"));
    }

    #[test]
    fn a_zone_with_hours_that_no_bucket_ends_with_is_refused_for_wide_buckets_alone() {
        // Until 1911 clocks in Paris were 9 minutes and 21 seconds ahead.
        let window =
            Window::new(Timestamp::from_micros(-2_000_000_000_000_000), Timestamp::from_micros(-1_999_900_000_000_000));
        let series = Some((Interval::Hour, "Europe/Paris".parse().unwrap()));
        let by = |dimension| {
            let question = Question { dimension, series, window: window.unwrap(), ..question(&[Metric::TotalCalls]) };
            plan(question).map(drop)
        };
        assert_eq!(by(Some(Dimension::Agent)), Err(QuestionFault::Unaligned(Dimension::Agent)));
        assert_eq!(by(None), Ok(()));
    }
}

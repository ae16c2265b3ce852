//! The answer to a question, as it is written on the wire.

use crate::query_link::{link, window_of};
use crate::query_request::{HOUR_OF_WEEK, OrderBy, Understood};
use crate::responses::{rfc3339, rounded};
use callscope_domain::{
    Axis, Cell, Figures, FiguresRow, Filter, Measure, Metric, MetricValue, Timestamp, Totals, Window,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Most rows of one answer.
pub const ROWS_MAX: usize = 10_000;

/// The answer to a question.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "query": {
        "metrics": ["total_calls", "p95_turn_latency_ms"], "dimensions": ["agent"], "filters": [],
        "started_after": "2026-01-10T10:30:00Z", "started_before": "2026-01-17T10:30:00Z", "timezone": "UTC", "limit": 20,
        "compare": {"started_after": "2026-01-03T10:30:00Z", "started_before": "2026-01-10T10:30:00Z"}
    },
    "columns": [
        {"name": "agent", "kind": "dimension"}, {"name": "total_calls", "kind": "metric", "unit": "count"},
        {"name": "p95_turn_latency_ms", "kind": "metric", "unit": "ms"}
    ],
    "rows": [{
        "dimensions": {"agent": "greeter-agent"}, "metrics": {"total_calls": 12, "p95_turn_latency_ms": 1220.4},
        "previous": {"total_calls": 10, "p95_turn_latency_ms": 1180.0},
        "change": {"total_calls": 2, "p95_turn_latency_ms": 40.4},
        "change_percent": {"total_calls": 20.0, "p95_turn_latency_ms": 3.4},
        "calls": "/api/v1/analytics/calls?started_after=2026-01-10T10%3A30%3A00Z&started_before=2026-01-17T10%3A30%3A00Z&agent=greeter-agent"
    }],
    "totals": {"metrics": {"total_calls": 12, "p95_turn_latency_ms": 1220.4}},
    "additive": true, "has_other": false, "coverage": {"total_calls": 12, "p95_turn_latency_ms": 108},
    "answered_window": {"started_after": "2026-01-10T10:30:00Z", "started_before": "2026-01-17T10:30:00Z"}
}))]
pub struct QueryResponse {
    /// The question as it was understood, with the bounds of the window.
    #[schema(value_type = Object)]
    query: Value,
    /// What the rows have.
    columns: Vec<Column>,
    /// One row for each group and bucket.
    rows: Vec<QueryRow>,
    /// The figures of all calls of the question, each counted once.
    totals: TotalsRow,
    /// The groups that the limit left out, together; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<RestRow>,
    /// Whether the counts of the groups add up to the totals: not by provider, model or kind of errors, since a call may
    /// have several.
    #[schema(example = true)]
    additive: bool,
    /// Whether a row `(other)` holds values past the bound of their dimension.
    #[schema(example = false)]
    has_other: bool,
    /// What each metric rests on: the calls that give the number, or the latencies.
    #[schema(value_type = Object)]
    coverage: Map<String, Value>,
    /// The window that was answered. Where calls are no longer kept, it is another one than the question's.
    answered_window: WindowBounds,
}

/// A column of an answer.
#[derive(Serialize, ToSchema)]
pub struct Column {
    /// Its name.
    #[schema(example = "p95_turn_latency_ms")]
    name: String,
    /// `bucket`, `dimension` or `metric`.
    #[schema(example = "metric")]
    kind: &'static str,
    /// The unit of a metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "ms")]
    unit: Option<&'static str>,
}

/// The figures of a group in a bucket.
#[derive(Serialize, ToSchema)]
pub struct QueryRow {
    /// The start of the bucket, of a series.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-01-17T23:00:00Z")]
    bucket: Option<String>,
    /// The values of the dimensions; null for calls without one.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    dimensions: Map<String, Value>,
    /// The metrics; null without data.
    #[schema(value_type = Object)]
    metrics: Map<String, Value>,
    /// The same in the window that is compared with; null where it has no counterpart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    previous: Option<Value>,
    /// The metrics less those before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    change: Option<Value>,
    /// The change as a percentage of what was before; null where that is 0 or unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    change_percent: Option<Value>,
    /// Where the calls of the row are listed; absent where no list has exactly them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/api/v1/analytics/calls?started_after=2026-01-17T23:00:00Z&agent=greeter-agent")]
    calls: Option<String>,
}

/// The figures of all calls of a question.
#[derive(Serialize, ToSchema)]
pub struct TotalsRow {
    /// The metrics; null without data.
    #[schema(value_type = Object)]
    metrics: Map<String, Value>,
    /// The same in the window that is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    previous: Option<Value>,
    /// The metrics less those before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    change: Option<Value>,
    /// The change as a percentage of what was before; null where that is 0 or unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    change_percent: Option<Value>,
}

/// The groups that a limit left out.
#[derive(Serialize, ToSchema)]
pub struct RestRow {
    /// How many.
    #[schema(example = 12)]
    groups: usize,
    /// Their metrics together. By provider, model or kind of errors, a call may be in several of them.
    #[schema(value_type = Object)]
    metrics: Map<String, Value>,
}

/// The bounds of a window.
#[derive(Serialize, ToSchema)]
pub struct WindowBounds {
    /// Its first instant.
    #[schema(format = DateTime, example = "2026-01-10T10:30:00Z")]
    started_after: String,
    /// Its end.
    #[schema(format = DateTime, example = "2026-01-17T10:30:00Z")]
    started_before: String,
}

impl From<Window> for WindowBounds {
    fn from(window: Window) -> Self {
        Self { started_after: rfc3339(window.start()), started_before: rfc3339(window.end()) }
    }
}

/// Why an answer is too long; there is one rule.
#[derive(Debug)]
pub struct TooManyRows(pub usize);

/// Makes the answer of the figures, and of those of the window that is compared with.
pub fn answer(asked: &Understood, figures: &Figures, before: Option<&Figures>) -> Result<QueryResponse, TooManyRows> {
    let cells = figures.cells.max(1);
    let mut groups: Vec<(&[FiguresRow], Totals)> = figures.rows.chunks(cells).map(|rows| (rows, sum(rows))).collect();
    groups.sort_by(|(left, left_total), (right, right_total)| compare(asked, (left, left_total), (right, right_total)));
    let kept = groups.len().min(asked.limit);
    if kept * cells > ROWS_MAX {
        return Err(TooManyRows(kept * cells));
    }
    let omitted = &groups[kept..];
    let rest = (!omitted.is_empty()).then(|| {
        let mut totals = Totals::default();
        for (_, of_group) in omitted {
            totals += of_group;
        }
        RestRow { groups: omitted.len(), metrics: metrics(asked, &totals, 0) }
    });
    let earlier = before.map(|before| Earlier::new(asked, before));
    let mut rows = Vec::with_capacity(kept * cells);
    for (of_group, _) in &groups[..kept] {
        for (index, row) in of_group.iter().enumerate() {
            let end = of_group.get(index + 1).map(|next| next.cell);
            let window = window_of(asked, row.cell, end);
            let shown = metrics(asked, &row.totals, 0);
            let compared =
                earlier.as_ref().map(|earlier| compared(asked, &row.totals, earlier.find(asked, row, index)));
            let [previous, change, change_percent] =
                compared.map_or_else(Default::default, |compared| compared.map(Some));
            rows.push(QueryRow {
                bucket: if let Cell::Bucket(start) = row.cell { Some(rfc3339(start)) } else { None },
                dimensions: dimensions(asked, row),
                metrics: shown,
                previous,
                change,
                change_percent,
                calls: window.and_then(|window| link(asked, row, window)),
            });
        }
    }
    let compared = before.map(|before| compared(asked, &figures.total, Some(&before.total)));
    let [previous, change, change_percent] = compared.map_or_else(Default::default, |compared| compared.map(Some));
    let totals_row =
        TotalsRow { metrics: metrics(asked, &figures.total, figures.active_calls), previous, change, change_percent };
    Ok(QueryResponse {
        query: understood(asked),
        columns: columns(asked),
        rows,
        totals: totals_row,
        rest,
        additive: figures.additive,
        has_other: figures.has_other,
        coverage: coverage(asked, &figures.total),
        answered_window: figures.answered_window.into(),
    })
}

fn sum(rows: &[FiguresRow]) -> Totals {
    let mut totals = Totals::default();
    for row in rows {
        totals += &row.totals;
    }
    totals
}

/// The order of two groups: as asked, else the greatest first; then by their values.
fn compare(asked: &Understood, left: (&[FiguresRow], &Totals), right: (&[FiguresRow], &Totals)) -> Ordering {
    let texts = |rows: &[FiguresRow]| -> Vec<Option<Box<str>>> {
        let values = rows.first().map(|row| row.values.as_slice()).unwrap_or_default();
        values.iter().map(|value| value.as_ref().and_then(|shown| shown.text.clone())).collect()
    };
    let by_metric = |at: usize| {
        let value = |totals: &Totals| number(asked.question.metrics[at].value(totals, 0));
        let (left, right) = (value(left.1), value(right.1));
        left.partial_cmp(&right).unwrap_or(Ordering::Equal)
    };
    let by_default = [(OrderBy::Metric(0), true)];
    let order = if asked.order.is_empty() { &by_default[..] } else { &asked.order };
    for &(by, descends) in order {
        let ordering = match by {
            OrderBy::Metric(at) => by_metric(at),
            OrderBy::Dimension(at) => texts(left.0).get(at).cmp(&texts(right.0).get(at)),
        };
        let ordering = if descends { ordering.reverse() } else { ordering };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    texts(left.0).cmp(&texts(right.0))
}

/// A value to order by; what has no data is less than everything else.
fn number(value: Option<MetricValue>) -> Option<f64> {
    value.map(|value| match value {
        MetricValue::Whole(number) => number as f64,
        MetricValue::Real(number) => number,
    })
}

fn metrics(asked: &Understood, totals: &Totals, active_calls: u64) -> Map<String, Value> {
    let shown = |metric: &Metric| (metric.to_string(), shown(*metric, metric.value(totals, active_calls)));
    asked.question.metrics.iter().map(shown).collect()
}

/// A value as it is shown: rounded, or null.
fn shown(metric: Metric, value: Option<MetricValue>) -> Value {
    match value {
        None => Value::Null,
        Some(MetricValue::Whole(number)) => json!(number),
        Some(MetricValue::Real(number)) => json!(rounded(number, metric.row().decimals)),
    }
}

/// What was before, what has changed, and by how many percent.
fn compared(asked: &Understood, now: &Totals, before: Option<&Totals>) -> [Value; 3] {
    let Some(before) = before else { return [const { Value::Null }; 3] };
    let (mut previous, mut change, mut percent) = (Map::new(), Map::new(), Map::new());
    for &metric in &asked.question.metrics {
        let [now, before] = [now, before].map(|totals| metric.value(totals, 0));
        let difference = number(now).zip(number(before)).map(|(now, before)| now - before);
        let is_whole = matches!(now, Some(MetricValue::Whole(_)));
        previous.insert(metric.to_string(), shown(metric, before));
        change.insert(
            metric.to_string(),
            match difference {
                None => Value::Null,
                #[expect(clippy::cast_possible_truncation, reason = "a difference of whole numbers")]
                Some(difference) if is_whole => json!(difference as i64),
                Some(difference) => json!(rounded(difference, metric.row().decimals)),
            },
        );
        let of = number(before).filter(|before| *before != 0.0);
        let share = difference.zip(of).map(|(difference, before)| rounded(100.0 * difference / before.abs(), 1));
        percent.insert(metric.to_string(), share.map_or(Value::Null, |share| json!(share)));
    }
    [previous.into(), change.into(), percent.into()]
}

/// The values of a group, as clients read them.
type Values = Vec<Option<Box<str>>>;

/// The figures of the window that is compared with, by group and cell.
struct Earlier<'f> {
    rows: HashMap<(Values, Place), &'f Totals>,
    /// How much later by the clocks of the zone the window of the question is.
    shift: i64,
}

/// A cell that both windows have.
#[derive(PartialEq, Eq, Hash)]
enum Place {
    /// What the clocks of the zone show at the start of the bucket, in the window of the question.
    Clock(i64),
    /// The number of the cell.
    Index(usize),
}

impl<'f> Earlier<'f> {
    fn new(asked: &Understood, before: &'f Figures) -> Self {
        let clock = |instant: Timestamp| asked.zone.wall_clock(instant).as_micros();
        let start = asked.compared.map_or(0, |window| clock(window.start()));
        let shift = clock(asked.question.window.start()) - start;
        let mut rows = HashMap::new();
        for of_group in before.rows.chunks(before.cells.max(1)) {
            for (index, row) in of_group.iter().enumerate() {
                rows.insert((texts(row), Self::place(asked, row.cell, index, shift)), &row.totals);
            }
        }
        Self { rows, shift }
    }

    /// Buckets of the clock are found by it, where the windows are whole hours apart.
    fn place(asked: &Understood, cell: Cell, index: usize, shift: i64) -> Place {
        const HOUR: i64 = 3_600_000_000;
        match (cell, asked.interval) {
            (Cell::Bucket(start), Some(_)) if shift % HOUR == 0 && !is_month(asked) => {
                Place::Clock(asked.zone.wall_clock(start).as_micros() + shift)
            }
            _ => Place::Index(index),
        }
    }

    fn find(&self, asked: &Understood, row: &FiguresRow, index: usize) -> Option<&'f Totals> {
        let place = match Self::place(asked, row.cell, index, self.shift) {
            Place::Clock(clock) => Place::Clock(clock - self.shift),
            place @ Place::Index(_) => place,
        };
        self.rows.get(&(texts(row), place)).copied()
    }
}

fn is_month(asked: &Understood) -> bool {
    asked.interval == Some(callscope_domain::Interval::Month)
}

fn texts(row: &FiguresRow) -> Values {
    row.values.iter().map(|value| value.as_ref().and_then(|shown| shown.text.clone())).collect()
}

fn dimensions(asked: &Understood, row: &FiguresRow) -> Map<String, Value> {
    let names = asked.question.axes.iter().map(ToString::to_string);
    let mut shown: Map<String, Value> = names.zip(texts(row).into_iter().map(|text| json!(text))).collect();
    if let Cell::HourOfWeek(hour) = row.cell {
        shown.insert(HOUR_OF_WEEK.to_owned(), json!(hour));
    }
    shown
}

/// What each metric rests on.
fn coverage(asked: &Understood, totals: &Totals) -> Map<String, Value> {
    let base = |metric: &Metric| {
        let (first, second) = metric.base();
        let sum = |measure: Measure| totals.sums[measure];
        (metric.to_string(), json!(sum(first) + second.map_or(0, sum)))
    };
    let rests = |metric: &&Metric| metric.row().formula != callscope_domain::Formula::ActiveCalls;
    asked.question.metrics.iter().filter(rests).map(base).collect()
}

fn columns(asked: &Understood) -> Vec<Column> {
    let bucket = asked.interval.map(|_| Column { name: "bucket".to_owned(), kind: "bucket", unit: None });
    let dimension = |name: String| Column { name, kind: "dimension", unit: None };
    let hour = asked.by_hour_of_week.then(|| dimension(HOUR_OF_WEEK.to_owned()));
    let axes = asked.question.axes.iter().map(|axis| dimension(axis.to_string()));
    let metrics = asked.question.metrics.iter().map(|metric| Column {
        name: metric.to_string(),
        kind: "metric",
        unit: Some(metric.row().unit.as_str()),
    });
    bucket.into_iter().chain(axes).chain(hour).chain(metrics).collect()
}

/// The question as it was understood.
fn understood(asked: &Understood) -> Value {
    let filter = |filter: &Filter| {
        let values: Vec<&str> =
            filter.values.iter().map(|value| value.as_deref().unwrap_or(crate::filters::NONE)).collect();
        json!({"dimension": filter.axis.to_string(), "operator": filter.operator.as_str(), "values": values})
    };
    let window = |window: Window| json!(WindowBounds::from(window));
    let Understood { question, zone, interval, compared, limit, .. } = asked;
    let mut shown = json!({
        "metrics": question.metrics.iter().map(|metric| metric.as_str()).collect::<Vec<_>>(),
        "dimensions": question.axes.iter().map(Axis::to_string)
            .chain(asked.by_hour_of_week.then(|| HOUR_OF_WEEK.to_owned())).collect::<Vec<_>>(),
        "filters": question.filters.iter().map(filter).collect::<Vec<_>>(),
        "started_after": rfc3339(question.window.start()),
        "started_before": rfc3339(question.window.end()),
        "timezone": zone.name(),
        "limit": limit,
    });
    if let Some(interval) = interval {
        shown["interval"] = json!(interval.as_str());
    }
    if let Some(compared) = compared {
        shown["compare"] = window(*compared);
    }
    shown
}

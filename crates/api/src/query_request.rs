//! A question as a client writes it, and how it becomes one of the domain: every fault is named, with the path of its
//! field.

use crate::field::{FieldCode, FieldError, Rule, Violation};
use crate::filters;
use crate::params::WindowParams;
use crate::problem::Problem;
use crate::words::timestamp;
use callscope_domain::{
    Axis, Cut, Filter, Interval, Metric, Operator, Period, Question, Span, Timestamp, Window, Zone,
};
use serde::Deserialize;
use std::str::FromStr;
use utoipa::ToSchema;

/// Most questions of one request.
pub const QUESTIONS_MAX: usize = 10;
/// Most metrics of one question.
pub const METRICS_MAX: usize = 50;
/// Most dimensions of one question.
pub const DIMENSIONS_MAX: usize = 3;
/// Most filters of one question.
pub const FILTERS_MAX: usize = 20;
/// Most parts of the order of groups.
pub const ORDERS_MAX: usize = 5;
/// Most groups of one answer.
pub const GROUPS_MAX: u32 = 1_000;
const GROUPS_DEFAULT: u32 = 100;
/// The dimension that is no fact of a call, but of its start.
pub const HOUR_OF_WEEK: &str = "hour_of_week";

/// A question about the calls of a window.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Query, example = json!({
    "metrics": ["total_calls", "p95_turn_latency_ms"], "dimensions": ["agent"], "period": "7d",
    "filters": [{"dimension": "environment", "operator": "is_not", "values": ["test"]}],
    "compare": "previous_week", "order_by": [{"by": "total_calls", "direction": "desc"}], "limit": 20
}))]
pub struct QueryRequest {
    /// The metrics to show, by their names in the catalogue.
    #[schema(min_items = 1, max_items = 50, example = json!(["total_calls", "p95_turn_latency_ms"]))]
    metrics: Vec<String>,
    /// What the calls are grouped by: dimensions of the catalogue, `tag.KEY`, or `hour_of_week` (168 cells).
    #[serde(default)]
    #[schema(max_items = 3, example = json!(["agent"]))]
    dimensions: Vec<String>,
    /// Only calls that every filter lets through.
    #[serde(default)]
    #[schema(max_items = 20)]
    filters: Vec<FilterRequest>,
    /// The length of a window that has no `started_after`: 1h, 24h, 7d, 30d or 90d; 24h if absent.
    #[schema(example = "7d")]
    period: Option<String>,
    /// The first instant of the window, RFC 3339.
    #[schema(format = DateTime)]
    started_after: Option<String>,
    /// The end of the window, RFC 3339, exclusive; now if absent.
    #[schema(format = DateTime)]
    started_before: Option<String>,
    /// The buckets of a series: minute, 15m, hour, day, week or month. More than 10,000 buckets are refused.
    #[schema(example = "day")]
    interval: Option<String>,
    /// The IANA time zone of the buckets, such as `Europe/Berlin`; UTC if absent.
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// Another window to compare with.
    #[schema(value_type = Option<CompareRequest>)]
    compare: Option<CompareRequest>,
    /// The order of the groups; the first metric, the greatest first, if absent.
    #[serde(default)]
    #[schema(max_items = 5)]
    order_by: Vec<OrderRequest>,
    /// The largest number of groups to return.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Narrows a question to some calls.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterRequest {
    /// A dimension of the catalogue, or `tag.KEY`.
    #[schema(example = "environment")]
    dimension: String,
    /// `is`: calls with one of the values; `is_not`: calls with none of them.
    #[serde(default = "is")]
    #[schema(default = "is", example = "is_not")]
    operator: String,
    /// The values. `(none)` stands for calls without one.
    #[schema(min_items = 1, max_items = 50, example = json!(["test"]))]
    values: Vec<String>,
}

fn is() -> String {
    Operator::Is.to_string()
}

/// `previous_period`, `previous_week`, or the bounds of another window.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum CompareRequest {
    /// `previous_period`: as long, just before. `previous_week`: seven days earlier.
    #[schema(example = "previous_week")]
    Word(String),
    /// Another window.
    Bounds(CompareBounds),
}

/// The bounds of another window.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareBounds {
    /// Its first instant, RFC 3339.
    #[schema(format = DateTime)]
    started_after: String,
    /// Its end, RFC 3339, exclusive.
    #[schema(format = DateTime)]
    started_before: String,
}

/// How groups are ordered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// A metric or a dimension of the question.
    #[schema(example = "total_calls")]
    by: String,
    /// `asc` or `desc`.
    #[serde(default = "descending")]
    #[schema(default = "desc", example = "desc")]
    direction: String,
}

fn descending() -> String {
    "desc".to_owned()
}

/// What groups are ordered by.
#[derive(Clone, Copy, Debug)]
pub enum OrderBy {
    /// The metric at a position.
    Metric(usize),
    /// The dimension at a position.
    Dimension(usize),
}

/// A question that was understood.
#[derive(Debug)]
pub struct Understood {
    /// The question.
    pub question: Question,
    /// The zone of its buckets.
    pub zone: Zone,
    /// The width of its buckets.
    pub interval: Option<Interval>,
    /// Whether the hours of a week are a dimension.
    pub by_hour_of_week: bool,
    /// The window to compare with.
    pub compared: Option<Window>,
    /// The order of the groups, and whether it goes down.
    pub order: Vec<(OrderBy, bool)>,
    /// The largest number of groups.
    pub limit: usize,
}

/// Reads one question, or several.
pub fn read(body: &[u8]) -> Result<(Vec<QueryRequest>, bool), Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Several {
        queries: Vec<QueryRequest>,
    }
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body is not valid JSON: {}", crate::json::syntax(&error));
        Problem::new(crate::problem::ProblemCode::MalformedRequest, detail)
    })?;
    if !value.is_object() {
        return Err(Problem::invalid_field("(body)", Rule::new(FieldCode::InvalidType, "must be an object")));
    }
    if value.get("queries").is_none() {
        return Ok((vec![typed(value)?], false));
    }
    let queries = typed::<Several>(value)?.queries;
    match queries.len() {
        0 => Err(Problem::invalid_field("queries", Rule::new(FieldCode::Empty, "must have at least one query"))),
        count if count > QUESTIONS_MAX => {
            let message = format!("must have at most {QUESTIONS_MAX} entries");
            Err(Problem::invalid_field("queries", Rule::owned(FieldCode::TooMany, message)))
        }
        _ => Ok((queries, true)),
    }
}

/// A value of the form that is needed, or the place where it is not.
fn typed<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let text = error.into_inner().to_string();
        let named = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.split('`').next()).map(str::to_owned);
        let within = |name: String| if path == "." { name } else { format!("{path}.{name}") };
        let field = |name: String| name.chars().take(80).collect::<String>();
        if let Some(name) = named("missing field `") {
            return Problem::invalid_field(&field(within(name)), Rule::REQUIRED);
        }
        if let Some(name) = named("unknown field `") {
            // The path ends with the name already.
            let known: Vec<&str> = text.split('`').skip(3).step_by(2).collect();
            let path = if path.ends_with(&name) { path.clone() } else { within(name) };
            return Problem::invalid_field(&field(path), Rule::unknown(&known));
        }
        let expected = text.rsplit_once("expected ").map_or("of another type", |(_, expected)| expected);
        let message = format!("must be {}", expected.replace("a sequence", "a list"));
        Problem::invalid_field(&field(path), Rule::owned(FieldCode::InvalidType, message))
    })
}

/// The fields of a question that break a rule.
struct Reader {
    faults: Vec<FieldError>,
}

impl Reader {
    fn fault(&mut self, field: impl Into<String>, violation: impl Violation) {
        if self.faults.len() < 20 {
            self.faults.push(FieldError::new(field, violation));
        }
    }

    fn parse<T, E: Violation>(
        &mut self,
        field: impl Into<String>,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(field, fault);
                None
            }
        }
    }

    fn bounded(&mut self, field: &str, count: usize, max: usize) {
        if count > max {
            self.fault(field, Rule::owned(FieldCode::TooMany, format!("must have at most {max} entries")));
        }
    }
}

impl QueryRequest {
    /// What is asked, at this moment, of a window at most so wide.
    pub fn understand(&self, now: Timestamp, widest: Span) -> Result<Understood, Vec<FieldError>> {
        let mut reader = Reader { faults: Vec::new() };
        reader.bounded("metrics", self.metrics.len(), METRICS_MAX);
        reader.bounded("dimensions", self.dimensions.len(), DIMENSIONS_MAX);
        reader.bounded("filters", self.filters.len(), FILTERS_MAX);
        reader.bounded("order_by", self.order_by.len(), ORDERS_MAX);
        if self.metrics.is_empty() {
            reader.fault("metrics", Rule::new(FieldCode::Empty, "must have at least one entry"));
        }
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
        let mut metrics = Vec::with_capacity(self.metrics.len());
        for (index, name) in self.metrics.iter().enumerate() {
            let metric = reader.parse(format!("metrics[{index}]"), Some(name), |name| {
                let unknown = "must be a metric of the catalogue: GET /api/v1/analytics/metrics";
                Metric::from_str(name).map_err(|_| Rule::new(FieldCode::UnknownValue, unknown))
            });
            match metric {
                Some(metric) if metrics.contains(&metric) => reader.fault(format!("metrics[{index}]"), Rule::TWICE),
                Some(metric) => metrics.push(metric),
                None => {}
            }
        }
        let (axes, by_hour_of_week) = self.axes(&mut reader);
        let filters = self.filters(&mut reader);
        let zone = reader.parse("timezone", self.timezone.as_deref(), Zone::from_str).unwrap_or_default();
        let interval = reader.parse("interval", self.interval.as_deref(), Interval::from_str);
        if interval.is_some() && by_hour_of_week {
            reader
                .fault("interval", Rule::new(FieldCode::NotAllowed, "must be absent with the dimension hour_of_week"));
        }
        let window = self.window(&mut reader, now, widest);
        let compared = window.and_then(|window| self.compared(&mut reader, window, zone));
        let order = self.order(&mut reader);
        let limit = self.limit.unwrap_or(GROUPS_DEFAULT);
        if !(1..=GROUPS_MAX).contains(&limit) {
            reader.fault("limit", Rule::whole_number(1, GROUPS_MAX));
        }
        let (Some(window), []) = (window, &reader.faults[..]) else { return Err(reader.faults) };
        let cut = match interval {
            _ if by_hour_of_week => Some(Cut::HoursOfWeek(zone)),
            interval => interval.map(|interval| Cut::Buckets(interval, zone)),
        };
        let question = Question { window, metrics, axes, filters, cut, shows_unknown: true, wants_total: true };
        Ok(Understood { question, zone, interval, by_hour_of_week, compared, order, limit: limit as usize })
    }

    fn axes(&self, reader: &mut Reader) -> (Vec<Axis>, bool) {
        let (mut axes, mut by_hour_of_week) = (Vec::new(), false);
        for (index, name) in self.dimensions.iter().enumerate() {
            let field = format!("dimensions[{index}]");
            if name == HOUR_OF_WEEK && !by_hour_of_week {
                by_hour_of_week = true;
                continue;
            }
            match reader.parse(&*field, Some(name), axis) {
                Some(of) if axes.contains(&of) => reader.fault(field, Rule::TWICE),
                Some(of) => axes.push(of),
                None => {}
            }
        }
        (axes, by_hour_of_week)
    }

    fn filters(&self, reader: &mut Reader) -> Vec<Filter> {
        let mut filters = Vec::with_capacity(self.filters.len());
        for (index, filter) in self.filters.iter().enumerate() {
            let field = |name: &str| format!("filters[{index}].{name}");
            let axis = reader.parse(field("dimension"), Some(&filter.dimension), axis);
            let operator = reader.parse(field("operator"), Some(&filter.operator), Operator::from_str);
            if filter.values.is_empty() {
                reader.fault(field("values"), Rule::new(FieldCode::Empty, "must have at least one entry"));
            }
            reader.bounded(&field("values"), filter.values.len(), filters::VALUES_MAX);
            let mut values = Vec::new();
            for (at, value) in filter.values.iter().take(filters::VALUES_MAX).enumerate() {
                let check = |value: &str| match axis.as_ref().and_then(Axis::dimension) {
                    Some(dimension) => filters::check(dimension, value),
                    None => Ok(()),
                };
                let value = reader
                    .parse(format!("filters[{index}].values[{at}]"), Some(value), |text| filters::value(text, check));
                values.extend(value);
            }
            if let (Some(axis), Some(operator)) = (axis, operator) {
                filters.push(Filter { axis, operator, values });
            }
        }
        filters
    }

    fn window(&self, reader: &mut Reader, now: Timestamp, widest: Span) -> Option<Window> {
        let period = reader.parse("period", self.period.as_deref(), Period::from_str).unwrap_or_default();
        let started_after = reader.parse("started_after", self.started_after.as_deref(), timestamp);
        let started_before = reader.parse("started_before", self.started_before.as_deref(), timestamp);
        let is_given = self.started_after.is_none() == started_after.is_none()
            && self.started_before.is_none() == started_before.is_none();
        if !is_given {
            return None;
        }
        match (WindowParams { period, started_after, started_before }).window_or_fault(now, widest) {
            Ok(window) => Some(window),
            Err((field, rule)) => {
                reader.fault(field, rule);
                None
            }
        }
    }

    /// The window to compare with. A week earlier means by the clocks of the zone.
    fn compared(&self, reader: &mut Reader, window: Window, zone: Zone) -> Option<Window> {
        let earlier = |span: Span| {
            let shifted = |instant: Timestamp| {
                let by_span = instant - span;
                let (here, there) = (zone.wall_clock(instant).since(instant), zone.wall_clock(by_span).since(by_span));
                by_span + Span::from_micros(here.as_micros() - there.as_micros())
            };
            Window::new(shifted(window.start()), shifted(window.end())).ok()
        };
        match self.compare.as_ref()? {
            CompareRequest::Word(word) if word == "previous_period" => {
                let length = window.end().since(window.start());
                Window::new(window.start() - length, window.start()).ok()
            }
            CompareRequest::Word(word) if word == "previous_week" => earlier(Span::from_hours(7 * 24)),
            CompareRequest::Word(_) => {
                let message =
                    "must be previous_period, previous_week, or an object of started_after and started_before";
                reader.fault("compare", Rule::new(FieldCode::UnknownValue, message));
                None
            }
            CompareRequest::Bounds(bounds) => {
                let after = reader.parse("compare.started_after", Some(&bounds.started_after), timestamp)?;
                let before = reader.parse("compare.started_before", Some(&bounds.started_before), timestamp)?;
                let window = Window::new(after, before);
                window.map_err(|fault| reader.fault("compare.started_before", fault)).ok()
            }
        }
    }

    fn order(&self, reader: &mut Reader) -> Vec<(OrderBy, bool)> {
        let mut order = Vec::new();
        let dimensions: Vec<&String> = self.dimensions.iter().filter(|name| *name != HOUR_OF_WEEK).collect();
        for (index, OrderRequest { by, direction }) in self.order_by.iter().enumerate() {
            let metric = self.metrics.iter().position(|name| name == by).map(OrderBy::Metric);
            let dimension = dimensions.iter().position(|name| *name == by).map(OrderBy::Dimension);
            let descends = match direction.as_str() {
                "asc" => Some(false),
                "desc" => Some(true),
                _ => None,
            };
            match (metric.or(dimension), descends) {
                (Some(by), Some(descends)) => order.push((by, descends)),
                (None, _) => {
                    let message = "must be a metric or a dimension of the question";
                    reader.fault(format!("order_by[{index}].by"), Rule::new(FieldCode::UnknownValue, message));
                }
                (_, None) => {
                    let rule = Rule::new(FieldCode::UnknownValue, "must be asc or desc");
                    reader.fault(format!("order_by[{index}].direction"), rule);
                }
            }
        }
        order
    }
}

fn axis(name: &str) -> Result<Axis, callscope_domain::AxisFault> {
    name.parse()
}

//! Query strings: each parameter parsed by the domain's own rule, every fault named, nothing unknown accepted.

use crate::problem::{FieldError, Problem, ProblemCode};
use crate::words;
use callscope_analytics::ports::{CallScope, ErrorFilter, Page};
use callscope_domain::{Interval, Level, Period, Service, Slug, SlugFault, Timestamp, Window, Zone};
use chrono::{DateTime, Utc};
use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use utoipa::IntoParams;

/// Most workflows of one answer.
const WORKFLOWS_MAX: u32 = 50;
const WORKFLOWS_DEFAULT: u32 = 10;
/// Most errors of one page.
const ERRORS_MAX: u32 = 200;
const ERRORS_DEFAULT: u32 = 50;

/// What is wrong with a timestamp.
pub const TIMESTAMP_RULE: &str = "must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z";

/// A set of parameters.
pub trait QueryParams: Sized {
    /// Takes what belongs to the set; faults are noted in the query.
    fn take(query: &mut Query) -> Self;

    /// Reads a whole query string, which may hold nothing but this set.
    fn from_query_string(query_string: &str) -> Result<Self, Problem> {
        let mut query = Query::parse(query_string)?;
        let params = Self::take(&mut query);
        query.finish()?;
        Ok(params)
    }
}

/// A query string while it is read.
pub struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Vec<FieldError>,
}

impl Query {
    fn parse(query_string: &str) -> Result<Self, Problem> {
        let malformed =
            |_| Problem::new(ProblemCode::MalformedRequest, "the query string is not valid percent-encoded UTF-8");
        let decoded = percent_decoded_is_utf8(query_string).map_err(malformed)?;
        let pairs = serde_html_form::from_str(decoded).map_err(|_| {
            Problem::new(ProblemCode::MalformedRequest, "the query string is not of the form name=value&name=value")
        })?;
        Ok(Self { pairs, known: Vec::new(), faults: Vec::new() })
    }

    /// The value of a parameter, if it is there and sound.
    fn take<T, E: Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.known.push(name);
        let mut values = self.pairs.extract_if(.., |(known, _)| known == name).map(|(_, value)| value);
        let value = values.next()?;
        let repeated = values.count() > 0;
        if repeated {
            self.fault(name, "must not be given more than once");
            return None;
        }
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(fault) => {
                self.fault(name, fault);
                None
            }
        }
    }

    fn fault(&mut self, field: &str, message: impl Display) {
        self.faults.push(FieldError { field: field.to_owned(), message: message.to_string() });
    }

    fn finish(mut self) -> Result<(), Problem> {
        let unknown: Vec<String> = self.pairs.drain(..).map(|(name, _)| name).collect();
        for name in unknown {
            let message = match self.known.as_slice() {
                [] => "is not known here; this operation takes no parameters".to_owned(),
                known => format!("is not known here; known are {}", known.join(", ")),
            };
            self.fault(&name, message);
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid(self.faults)) }
    }
}

/// The form decoder would replace bytes that are no UTF-8; they are refused instead.
fn percent_decoded_is_utf8(query_string: &str) -> Result<&str, std::str::Utf8Error> {
    let bytes = query_string.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (bytes[index], escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                index += 1;
            }
        }
    }
    std::str::from_utf8(&decoded).map(|_| query_string)
}

/// For operations without parameters.
pub struct NoParams;

impl QueryParams for NoParams {
    fn take(_: &mut Query) -> Self {
        Self
    }
}

/// Which calls: those that started in `[started_after, started_before)`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WindowParams {
    /// The length of the window. Without bounds the window ends now; with one bound it is this long; with both bounds
    /// this is ignored.
    #[param(value_type = Option<words::Period>, inline, default = "24h", example = "24h", required = false)]
    pub period: Period,
    /// The first instant of the window, RFC 3339, inclusive. A `+` in an offset must be sent as `%2B`.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-01-01T00:00:00Z")]
    pub started_after: Option<Timestamp>,
    /// The end of the window, RFC 3339, exclusive; must be later than `started_after`.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-01-15T23:59:59Z")]
    pub started_before: Option<Timestamp>,
}

impl QueryParams for WindowParams {
    fn take(query: &mut Query) -> Self {
        Self {
            period: query.take("period", Period::from_str).unwrap_or_default(),
            started_after: query.take("started_after", timestamp),
            started_before: query.take("started_before", timestamp),
        }
    }
}

impl WindowParams {
    /// The window that is meant at this moment.
    pub fn window(&self, now: Timestamp) -> Result<Window, Problem> {
        Window::resolve(self.period, self.started_after, self.started_before, now)
            .map_err(|fault| Problem::invalid_field("started_before", fault))
    }
}

/// Which workflow.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkflowParam {
    /// Only calls of the workflow with this slug. A slug that no call has used gives zeros and nulls.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", example = "daily-call")]
    pub workflow: Option<Slug>,
}

impl QueryParams for WorkflowParam {
    fn take(query: &mut Query) -> Self {
        Self { workflow: query.take("workflow", |text| Slug::new(text).map_err(|fault: SlugFault| fault)) }
    }
}

impl From<WorkflowParam> for CallScope {
    fn from(param: WorkflowParam) -> Self {
        param.workflow.map_or(Self::Tenant, Self::Workflow)
    }
}

/// How a series is cut.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SeriesParams {
    /// The width of a bucket. More than 10,000 buckets are refused.
    #[param(value_type = Option<words::Interval>, inline, default = "hour", example = "hour", required = false)]
    pub interval: Interval,
    /// The IANA time zone whose hours, days and weeks the buckets are, daylight saving included.
    #[param(value_type = Option<String>, default = "UTC", example = "Europe/Berlin", required = false)]
    pub timezone: Zone,
}

impl QueryParams for SeriesParams {
    fn take(query: &mut Query) -> Self {
        Self {
            interval: query.take("interval", Interval::from_str).unwrap_or_default(),
            timezone: query.take("timezone", Zone::from_str).unwrap_or_default(),
        }
    }
}

/// How many workflows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkflowLimit {
    /// Most workflows to return.
    #[param(minimum = 1, maximum = 50, default = 10, example = 10, required = false)]
    pub limit: u32,
}

impl QueryParams for WorkflowLimit {
    fn take(query: &mut Query) -> Self {
        Self { limit: query.take("limit", |text| number(text, 1..=WORKFLOWS_MAX)).unwrap_or(WORKFLOWS_DEFAULT) }
    }
}

/// Which errors.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ErrorParams {
    /// Only errors of this service.
    #[param(value_type = Option<words::Service>, inline, example = "stt")]
    pub service: Option<Service>,
    /// Only errors of this level.
    #[param(value_type = Option<words::Level>, inline, example = "error")]
    pub level: Option<Level>,
    /// How many errors to pass over.
    #[param(minimum = 0, maximum = 4_294_967_295_u64, default = 0, example = 0, required = false)]
    pub offset: u32,
    /// Most errors to return.
    #[param(minimum = 1, maximum = 200, default = 50, example = 50, required = false)]
    pub limit: u32,
}

impl QueryParams for ErrorParams {
    fn take(query: &mut Query) -> Self {
        Self {
            service: query.take("service", Service::from_str),
            level: query.take("level", Level::from_str),
            offset: query.take("offset", |text| number(text, 0..=u32::MAX)).unwrap_or(0),
            limit: query.take("limit", |text| number(text, 1..=ERRORS_MAX)).unwrap_or(ERRORS_DEFAULT),
        }
    }
}

impl ErrorParams {
    /// The filter among them.
    pub const fn filter(&self) -> ErrorFilter {
        ErrorFilter { service: self.service, level: self.level }
    }

    /// The page among them.
    pub const fn page(&self) -> Page {
        Page { offset: self.offset, limit: self.limit }
    }
}

macro_rules! sets_together {
    ($($set:ident),+) => {
        impl<$($set: QueryParams),+> QueryParams for ($($set,)+) {
            fn take(query: &mut Query) -> Self {
                ($($set::take(query),)+)
            }
        }
    };
}
sets_together!(A, B);
sets_together!(A, B, C);

fn number(text: &str, bounds: RangeInclusive<u32>) -> Result<u32, String> {
    let sound = text.parse().ok().filter(|number| bounds.contains(number));
    sound.ok_or_else(|| format!("must be a whole number from {} to {}", bounds.start(), bounds.end()))
}

/// An instant in RFC 3339.
pub fn timestamp(text: &str) -> Result<Timestamp, Cow<'static, str>> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(instant) => Ok(instant.with_timezone(&Utc).into()),
        // In a query string, `+` means a space.
        Err(_) if text.contains(' ') => Err(format!("{TIMESTAMP_RULE}; send the + of an offset as %2B").into()),
        Err(_) => Err(TIMESTAMP_RULE.into()),
    }
}

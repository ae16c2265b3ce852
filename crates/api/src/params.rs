//! Query strings: each parameter parsed by the domain's own rule, every fault named, nothing unknown accepted.

use crate::field::{FieldCode, FieldError, Rule, Violation};
use crate::problem::{Problem, ProblemCode};
use crate::words::{self, timestamp};
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use callscope_analytics::ports::{ErrorFilter, Page};
use callscope_domain::{Level, Period, Service, Slug, Span, Timestamp, VolumeInterval, Window, Zone};
use std::future::{Ready, ready};
use std::ops::RangeInclusive;
use std::str::FromStr;
use utoipa::IntoParams;

/// Most workflows of one answer.
pub const WORKFLOWS_MAX: u32 = 50;
const WORKFLOWS_DEFAULT: u32 = 10;
/// Most errors of one page.
pub const ERRORS_MAX: u32 = 200;
const ERRORS_DEFAULT: u32 = 50;
/// Most keys of one page.
pub const KEYS_MAX: u32 = 200;
const KEYS_DEFAULT: u32 = 50;

/// The rule of a window that has no end of its own.
const STARTS_IN_FUTURE: Rule =
    Rule::new(FieldCode::OutOfRange, "must be in the past: without started_before the window lasts until now");
/// What is wrong with a window that reaches out of the years that RFC 3339 can name.
const LEAVES_CALENDAR: Rule =
    Rule::new(FieldCode::OutOfRange, "must leave the window within the years 0000 to 9999 of UTC");

/// Most faults that are named of one query string.
const FAULTS_MAX: usize = 20;

/// A set of parameters.
pub trait QueryParams: Sized {
    /// Takes what belongs to the set; faults are noted in the query.
    fn take(query: &mut Query) -> Self;

    /// Reads a whole query string, which may hold nothing but this set.
    fn from_query_string(query_string: &str) -> Result<Self, Problem> {
        Self::from_query(Query::parse(query_string)?)
    }

    /// Reads what is left of a query string, which may be nothing but this set.
    fn from_query(mut query: Query) -> Result<Self, Problem> {
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
    /// Cuts a query string into names and values.
    pub fn parse(query_string: &str) -> Result<Self, Problem> {
        let malformed = |detail| Problem::new(ProblemCode::MalformedRequest, detail);
        // The form decoder lets bad escapes through and replaces bytes that are no UTF-8; both are refused instead.
        let is_sound = percent_decoded(query_string).is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok());
        if !is_sound {
            return Err(malformed("the query string is not valid percent-encoded UTF-8"));
        }
        let pairs: Result<Vec<(String, String)>, _> = serde_html_form::from_str(query_string);
        let named = pairs.ok().filter(|pairs| pairs.iter().all(|(name, _)| !name.is_empty()));
        let pairs = named.ok_or_else(|| malformed("the query string is not of the form name=value&name=value"))?;
        Ok(Self { pairs, known: Vec::new(), faults: Vec::new() })
    }

    /// Takes every value of a name out, without a trace: it is not named among the known parameters, and in no fault.
    pub fn take_secrets(&mut self, name: &str) -> Vec<String> {
        self.pairs.extract_if(.., |(known, _)| known == name).map(|(_, value)| value).collect()
    }

    /// The value of a parameter, if it is there and sound.
    pub fn take<T, E: Violation>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.known.push(name);
        let mut values = self.pairs.extract_if(.., |(known, _)| known == name).map(|(_, value)| value);
        let value = values.next()?;
        let repeated = values.count() > 0;
        if repeated {
            self.fault(name, Rule::TWICE);
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

    /// The parameters `tag.KEY`, of which at most one more than so many are read.
    pub fn take_tags(&mut self, max: usize) -> Vec<(String, String)> {
        self.known.push("tag.KEY");
        let mut tags: Vec<(String, String)> = self.pairs.extract_if(.., |(name, _)| name.starts_with("tag.")).collect();
        if tags.len() > max {
            self.fault("tag.KEY", Rule::owned(FieldCode::TooMany, format!("must be given for at most {max} keys")));
            tags.truncate(max);
        }
        tags
    }

    /// Notes a fault of a parameter.
    pub fn fault(&mut self, field: &str, violation: impl Violation) {
        self.faults.push(FieldError::new(field, violation));
    }

    fn finish(mut self) -> Result<(), Problem> {
        let unknown: Vec<String> = self.pairs.drain(..).map(|(name, _)| name).collect();
        for name in unknown {
            if self.faults.len() == FAULTS_MAX {
                break;
            }
            if self.faults.iter().any(|fault| fault.field == name) {
                continue;
            }
            let rule = Rule::unknown(&self.known);
            self.fault(&name, rule);
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid(self.faults)) }
    }
}

/// The bytes that a query string stands for; `None` where a `%` is not followed by two hexadecimal digits.
fn percent_decoded(query_string: &str) -> Option<Vec<u8>> {
    let mut rest = query_string.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = tail;
            continue;
        }
        let (&[high, low], tail) = tail.split_first_chunk()?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        decoded.push(digit(high)? << 4 | digit(low)?);
        rest = tail;
    }
    Some(decoded)
}

/// For operations without parameters. As an extractor it is for operations without a credential.
pub struct NoParams;

impl FromRequest for NoParams {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::from_query_string(request.query_string()))
    }
}

impl QueryParams for NoParams {
    fn take(_: &mut Query) -> Self {
        Self
    }
}

/// Which calls: those that started in `[started_after, started_before)`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WindowParams {
    /// The length of a window that has no `started_after`: it begins this long before its end. Ignored when
    /// `started_after` is given.
    #[param(value_type = words::Period, required = false)]
    pub period: Period,
    /// The first instant of the window, RFC 3339, inclusive. Without `started_before` the window lasts until
    /// now. Example: `2026-01-01T00:00:00Z`. A `+` in an offset must be sent as `%2B`.
    #[param(value_type = Option<String>, format = DateTime)]
    pub started_after: Option<Timestamp>,
    /// The end of the window, RFC 3339, exclusive; must be later than `started_after`. Without it the window ends now.
    #[param(value_type = Option<String>, format = DateTime)]
    pub started_before: Option<Timestamp>,
}

impl QueryParams for WindowParams {
    fn take(query: &mut Query) -> Self {
        Self {
            period: query.take("period", Period::from_str).unwrap_or_default(),
            started_after: query.take("started_after", instant),
            started_before: query.take("started_before", instant),
        }
    }
}

impl WindowParams {
    /// The window that is meant at this moment, at most so wide.
    pub fn window(&self, now: Timestamp, widest: Span) -> Result<Window, Problem> {
        self.window_or_fault(now, widest).map_err(|(field, rule)| Problem::invalid_field(field, rule))
    }

    /// The same, or the parameter at fault and what is wrong with it.
    pub fn window_or_fault(&self, now: Timestamp, widest: Span) -> Result<Window, (&'static str, Rule)> {
        let given = if self.started_before.is_some() { "started_before" } else { "started_after" };
        let window = Window::resolve(self.period, self.started_after, self.started_before, now);
        let window = window.map_err(|fault| match self.started_before {
            Some(_) => (given, Rule::owned(fault.code(), fault.to_string())),
            None => (given, STARTS_IN_FUTURE),
        })?;
        if !window.start().is_nameable() || !window.end().is_nameable() {
            return Err((given, LEAVES_CALENDAR));
        }
        if window.end().since(window.start()) > widest {
            let days = widest.as_whole_days();
            let message = format!("makes the window wider than {days} days: ask for parts of at most {days} days each");
            return Err((given, Rule::owned(FieldCode::OutOfRange, message)));
        }
        Ok(window)
    }
}

/// Which workflow.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkflowParam {
    /// Only calls of the workflow with this slug, such as `daily-call`. A slug that no call has used gives zeros and nulls.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    pub workflow: Option<Slug>,
}

impl QueryParams for WorkflowParam {
    fn take(query: &mut Query) -> Self {
        Self { workflow: query.take("workflow", |text| Slug::new(text)) }
    }
}

/// How a series is cut.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SeriesParams {
    /// The width of a bucket. More than 10,000 buckets are refused.
    #[param(value_type = words::VolumeInterval, required = false)]
    pub interval: VolumeInterval,
    /// The IANA time zone of the buckets, such as `Europe/Berlin`; daylight saving is applied.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_+/-]+$", default = "UTC", required = false)]
    pub timezone: Zone,
}

impl QueryParams for SeriesParams {
    fn take(query: &mut Query) -> Self {
        Self {
            interval: query.take("interval", VolumeInterval::from_str).unwrap_or_default(),
            timezone: query.take("timezone", Zone::from_str).unwrap_or_default(),
        }
    }
}

/// How many workflows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkflowLimit {
    /// The largest number of workflows to return.
    #[param(minimum = 1, maximum = 50, default = 10, required = false)]
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
    /// Only errors of this service. Default: all.
    #[param(value_type = words::Service, required = false)]
    pub service: Option<Service>,
    /// Only errors of this level. Default: all.
    #[param(value_type = words::Level, required = false)]
    pub level: Option<Level>,
    /// How many errors to skip.
    #[param(format = Int64, minimum = 0, maximum = 4_294_967_295_u64, default = 0, required = false)]
    pub offset: u32,
    /// The largest number of errors to return.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
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

/// How records are read.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct IngestParams {
    /// Whether records with unknown fields are refused. Otherwise unknown fields are ignored, and named in
    /// `ignored_fields`.
    #[param(default = false, required = false)]
    pub strict: bool,
}

impl QueryParams for IngestParams {
    fn take(query: &mut Query) -> Self {
        Self { strict: query.take("strict", boolean).unwrap_or_default() }
    }
}

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// How many keys to skip.
    #[param(format = Int64, minimum = 0, maximum = 4_294_967_295_u64, default = 0, required = false)]
    pub offset: u32,
    /// The largest number of keys to return.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    pub limit: u32,
}

impl QueryParams for PageParams {
    fn take(query: &mut Query) -> Self {
        Self {
            offset: query.take("offset", |text| number(text, 0..=u32::MAX)).unwrap_or(0),
            limit: query.take("limit", |text| number(text, 1..=KEYS_MAX)).unwrap_or(KEYS_DEFAULT),
        }
    }
}

impl PageParams {
    /// The page.
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

/// A whole number within bounds.
pub fn number(text: &str, bounds: RangeInclusive<u32>) -> Result<u32, Rule> {
    // Rust's own parser would let a leading + through.
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = text.parse().ok().filter(|number| is_digits && bounds.contains(number));
    sound.ok_or_else(|| Rule::whole_number(bounds.start(), bounds.end()))
}

/// `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, Rule> {
    text.parse().map_err(|_| Rule::new(FieldCode::UnknownValue, "must be true or false"))
}

/// An instant, as a query string holds it.
fn instant(text: &str) -> Result<Timestamp, Rule> {
    // There, `+` means a space.
    let hint = if text.contains(' ') { "; send the + of an offset as %2B" } else { "" };
    timestamp(text).map_err(|rule| Rule::owned(rule.code(), format!("{rule}{hint}")))
}

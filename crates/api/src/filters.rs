//! Filters in query strings: one parameter for each dimension of calls, and `tag.KEY` for each tag.

use crate::field::{FieldCode, Rule, Violation};
use crate::params::{Query, QueryParams};
use callscope_domain::{
    Axis, Dimension, Filter, Grouping, MeasureSubject, OTHER, Operator, SLUG_MAX, Slug, TextFact, TextRule,
    TextRuleFault,
};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

/// Most values of one filter.
pub const VALUES_MAX: usize = 50;
/// Stands for the calls without a value.
pub const NONE: &str = "(none)";
/// Most tags that one question may name.
const TAGS_MAX: usize = 8;

/// Filters by everything that calls are told apart by.
pub struct FilterParams(pub Vec<Filter>);

/// Filters by what the columns of calls tell: no providers, models and tags.
pub struct CallFilterParams(pub Vec<Filter>);

/// The dimensions that a parameter filters by. Errors have parameters of their own.
fn dimensions(subjects: &'static [MeasureSubject]) -> impl Iterator<Item = Dimension> {
    let is_meant = |dimension: &Dimension| *dimension != Dimension::Tenant && subjects.contains(&dimension.subject());
    Dimension::ALL.iter().copied().filter(is_meant)
}

const OF_CALLS: &[MeasureSubject] = &[MeasureSubject::Call];
const OF_CALLS_AND_USES: &[MeasureSubject] = &[MeasureSubject::Call, MeasureSubject::Use];

impl QueryParams for FilterParams {
    fn take(query: &mut Query) -> Self {
        let mut filters: Vec<Filter> = dimensions(OF_CALLS_AND_USES).flat_map(|of| take_dimension(query, of)).collect();
        for (name, value) in query.take_tags(TAGS_MAX) {
            match name.parse::<Axis>() {
                Ok(axis) => match filters_of(&axis, &value, |_| Ok(())) {
                    Ok(found) => filters.extend(found),
                    Err(rule) => query.fault(&name, rule),
                },
                Err(fault) => query.fault(&name, fault),
            }
        }
        Self(filters)
    }
}

impl QueryParams for CallFilterParams {
    fn take(query: &mut Query) -> Self {
        Self(dimensions(OF_CALLS).flat_map(|dimension| take_dimension(query, dimension)).collect())
    }
}

fn take_dimension(query: &mut Query, dimension: Dimension) -> Vec<Filter> {
    let axis = Axis::Dimension(dimension);
    let check = |value: &str| check(dimension, value);
    query.take(dimension.as_str(), |text| filters_of(&axis, text, check)).unwrap_or_default()
}

/// The filters that a list of values stands for: those that are wanted, and those that are not.
fn filters_of(axis: &Axis, text: &str, check: impl Fn(&str) -> Result<(), Rule>) -> Result<Vec<Filter>, Rule> {
    let (mut is, mut is_not) = (Vec::new(), Vec::new());
    for value in text.split(',') {
        let (values, value) = value.strip_prefix('!').map_or((&mut is, value), |value| (&mut is_not, value));
        if value.is_empty() {
            return Err(Rule::new(FieldCode::Empty, "must not have an empty value"));
        }
        values.push(self::value(value, &check)?);
    }
    if is.len() + is_not.len() > VALUES_MAX {
        return Err(Rule::owned(FieldCode::TooMany, format!("must have at most {VALUES_MAX} values")));
    }
    let filter =
        |operator, values: Vec<_>| (!values.is_empty()).then(|| Filter { axis: axis.clone(), operator, values });
    Ok(filter(Operator::Is, is).into_iter().chain(filter(Operator::IsNot, is_not)).collect())
}

/// A value of a filter; none for the calls without one.
pub fn value(text: &str, check: impl Fn(&str) -> Result<(), Rule>) -> Result<Option<Box<str>>, Rule> {
    if text == NONE {
        return Ok(None);
    }
    if text.contains('\0') {
        return Err(Rule::new(FieldCode::InvalidFormat, "must not contain the NUL character"));
    }
    check(text)?;
    Ok(Some(text.into()))
}

/// Whether a dimension can have a value.
pub fn check(dimension: Dimension, value: &str) -> Result<(), Rule> {
    let rule = |fault: TextRuleFault| Rule::owned(fault.code(), fault.to_string());
    match dimension.row().grouping {
        _ if value == OTHER => Ok(()),
        Grouping::Workflow => Slug::new(value).map(drop).map_err(|fault| rule(fault.into())),
        // A text that is too long is one that no call has.
        Grouping::Text(fact) if matches!(fact.rule(), TextRule::Free(_)) => Ok(()),
        Grouping::Text(fact) => fact.check(value).map(drop).map_err(rule),
        Grouping::Tenant | Grouping::Use(..) | Grouping::Error(_) => Ok(()),
    }
}

impl IntoParams for FilterParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        dimensions(OF_CALLS_AND_USES).map(parameter).collect()
    }
}

impl IntoParams for CallFilterParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        dimensions(OF_CALLS).map(parameter).collect()
    }
}

fn parameter(dimension: Dimension) -> Parameter {
    let description = dimension.row().description;
    let of_uses = if dimension.subject() == MeasureSubject::Use {
        " Without a stage, of any stage. Latencies are then of that use alone."
    } else {
        ""
    };
    let text = format!(
        "Only calls with one of these values, separated by commas; a `!` before a value excludes it, and `(none)` stands \
         for calls without one. {description}{of_uses}"
    );
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern(dimension)));
    ParameterBuilder::new()
        .name(dimension.as_str())
        .parameter_in(ParameterIn::Query)
        .description(Some(text))
        .schema(Some(schema))
        .build()
}

/// What the values of a dimension with a rule look like.
fn pattern(dimension: Dimension) -> String {
    const ANY: &str = "[^,\\u0000]+";
    let value = match dimension.row().grouping {
        Grouping::Workflow | Grouping::Text(TextFact::Source) => {
            format!("[a-z0-9][a-z0-9_-]{{0,{}}}", SLUG_MAX - 1)
        }
        Grouping::Text(fact) => match fact.rule() {
            TextRule::Words(words) => words.join("|"),
            TextRule::Free(_) | TextRule::Slug => ANY.to_owned(),
        },
        Grouping::Tenant | Grouping::Use(..) | Grouping::Error(_) => ANY.to_owned(),
    };
    // A `!` alone has nothing to exclude.
    let one = if value == ANY {
        "(![^,\\u0000]+|[^!,\\u0000][^,\\u0000]*)".to_owned()
    } else {
        format!("!?({value}|\\(none\\)|\\(other\\))")
    };
    format!("^{one}(,{one}){{0,{}}}$", VALUES_MAX - 1)
}

//! Any question, the catalogue of what may be asked, and the values that dimensions have.

use crate::asked::{Asked, answer_as, plain_answer};
use crate::auth::{AnalyticsRead, Authorized};
use crate::body::{self, Expected, Format};
use crate::cache::Answer;
use crate::field::{FieldCode, FieldError, Rule};
use crate::filters::FilterParams;
use crate::params::{NoParams, Query, QueryParams, WindowParams, number};
use crate::parsing::parse;
use crate::problem::Problem;
use crate::problem_responses::{ReadProblems, problems};
use crate::query_answer::{QueryResponse, ROWS_MAX, TooManyRows, answer};
use crate::query_request::{self, QueryRequest, Understood};
use crate::state::ApiState;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use callscope_analytics::service::ServiceError;
use callscope_domain::{
    Axis, Dimension, Figures, Formula, Measure, MeasureSubject, Metric, Question, QuestionFault, TenantId, ValuesMax,
};
use serde::Serialize;
use std::cmp::Reverse;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

/// Most bytes of a request.
const QUERY_BYTES_MAX: usize = 64 << 10;
/// Most values of one answer.
const VALUES_MAX: u32 = 1_000;
const VALUES_DEFAULT: u32 = 100;

type State = web::Data<ApiState>;
type Answered = Result<HttpResponse, Problem>;

problems! {
    /// Of a query.
    QueryProblems:
    MalformedRequest = "the body is not valid JSON: expected value (column 1)",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    RequestTimeout = "the body must arrive within 30s",
    PayloadTooLarge = "the body must be at most 65536 bytes",
    UnsupportedMediaType = "the content type must be application/json",
    ValidationError = "metrics[0] unknown_value: must be a metric of the catalogue: GET /api/v1/analytics/metrics",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// Of the catalogue, which asks nothing of the database.
    CatalogueProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    ValidationError = "period unknown: is unknown; this operation takes no parameters",
    RateLimitExceeded = "the credential's limit of requests is reached",
}

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(run_query).service(list_metrics).service(list_dimension_values);
}

/// The answer to one question, or to several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there is one of them a request")]
enum QueryAnswer {
    /// To one.
    One(QueryResponse),
    /// To several.
    Several(QueryResults),
}

/// The answers to several questions, in their order.
#[derive(Serialize, ToSchema)]
struct QueryResults {
    /// The answers.
    results: Vec<QueryResponse>,
}

/// Metrics of any group, filter and series
///
/// Any metrics of the catalogue, grouped by up to three dimensions, of the calls that every filter lets through, as a
/// series in any time zone, compared with another window. `{"queries": [...]}` asks up to 10 questions at once and is
/// answered as `{"results": [...]}`. Percentiles are over all turns, exact within 0.5 %. What no call tells is null, not 0.
///
/// One dimension or filter is answered from sums. Several are answered from the calls of the window, at most 200,000
/// unless configured otherwise; past them, 422.
#[utoipa::path(
    tag = "Analytics",
    request_body(content = QueryRequest, description = "The question"),
    responses((status = 200, description = "The figures", body = QueryAnswer), QueryProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[post("/api/v1/analytics/query")]
async fn run_query(
    state: State,
    asked: Authorized<AnalyticsRead>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answered {
    let tenant = asked.tenant;
    let expected = Expected { tenant, formats: &[Format::Json], bytes_max: QUERY_BYTES_MAX };
    let received = body::receive(&state.bodies, &request, payload, expected).await?;
    // The text is what the question is known by in the cache.
    let (text, requests, are_several) = parse(&state.parsers, tenant, received, |unpacked| {
        let (requests, are_several) = query_request::read(&unpacked.bytes)?;
        Ok((String::from_utf8_lossy(&unpacked.bytes).into_owned(), requests, are_several))
    })
    .await?;
    let ask = async || -> Result<Answer, Problem> {
        let now = state.clock.now();
        let mut results = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let prefix = if are_several { format!("queries[{index}].") } else { String::new() };
            let asked = request.understand(now, state.limits.window_max).map_err(|faults| within(&prefix, faults))?;
            results.push(Arc::new(asked).ask(&state, tenant, &prefix).await?);
        }
        match results.pop() {
            Some(result) if !are_several => plain_answer(&QueryAnswer::One(result)),
            last => {
                results.extend(last);
                plain_answer(&QueryAnswer::Several(QueryResults { results }))
            }
        }
    };
    answer_as(&state, tenant, "run_query", &text, request.headers(), ask).await
}

/// The faults of one of several questions.
fn within(prefix: &str, faults: Vec<FieldError>) -> Problem {
    let named = |fault: FieldError| FieldError { field: format!("{prefix}{}", fault.field), ..fault };
    Problem::invalid(faults.into_iter().map(named).collect())
}

impl Understood {
    async fn ask(self: Arc<Self>, state: &ApiState, tenant: TenantId, prefix: &str) -> Result<QueryResponse, Problem> {
        let figures = self.figures(state, tenant, self.question.clone(), prefix).await?;
        let before = match self.compared {
            Some(window) => {
                let question = Question { window, ..self.question.clone() };
                Some(self.figures(state, tenant, question, prefix).await?)
            }
            None => None,
        };
        let made = web::block(move || answer(&self, &figures, before.as_ref())).await;
        made.map_err(|_| Problem::internal())?.map_err(|TooManyRows(count)| {
            let message = format!("gives {count} rows, more than {ROWS_MAX}: ask for fewer groups or a wider interval");
            Problem::invalid_field(&format!("{prefix}limit"), Rule::owned(FieldCode::TooMany, message))
        })
    }

    async fn figures(
        &self,
        state: &ApiState,
        tenant: TenantId,
        question: Question,
        prefix: &str,
    ) -> Result<Figures, Problem> {
        state.analytics.ask(tenant, question).await.map_err(|error| match error {
            ServiceError::Question(fault) => {
                let field = match &fault {
                    QuestionFault::Series(_) => "interval",
                    QuestionFault::Unaligned(_) => "timezone",
                    QuestionFault::NoSuchFigure { .. } => "metrics",
                    QuestionFault::Combination(..) => "dimensions",
                };
                Problem::invalid_field(&format!("{prefix}{field}"), fault)
            }
            ServiceError::TooManyCalls { .. } | ServiceError::TooSlow => {
                let field = if self.question.filters.is_empty() { "dimensions" } else { "filters" };
                let rule = Rule::owned(FieldCode::OutOfRange, error.to_string());
                Problem::invalid_field(&format!("{prefix}{field}"), rule)
            }
            ServiceError::Store(error) => Problem::from(&error),
        })
    }
}

/// What may be asked.
#[derive(Serialize, ToSchema)]
struct Catalogue {
    /// Every metric.
    metrics: Vec<CatalogueMetric>,
    /// Every dimension. Beside them, `tag.KEY` and `hour_of_week`.
    dimensions: Vec<CatalogueDimension>,
}

/// A metric of the catalogue.
#[derive(Serialize, ToSchema)]
struct CatalogueMetric {
    /// Its name.
    #[schema(example = "p95_turn_latency_ms")]
    name: &'static str,
    /// What its numbers are: count, percent, seconds, ms or usd.
    #[schema(example = "ms")]
    unit: &'static str,
    /// One sentence about it.
    #[schema(example = "95th percentile of the latency over all turns.")]
    description: &'static str,
    /// Decimals that answers show.
    #[schema(example = 1)]
    decimals: u8,
    /// Whether the counts of disjoint groups add up to that of all.
    #[schema(example = false)]
    additive: bool,
    /// The dimensions that it can be grouped and filtered by.
    #[schema(example = json!(["workflow", "agent"]))]
    dimensions: Vec<&'static str>,
}

/// A dimension of the catalogue.
#[derive(Serialize, ToSchema)]
struct CatalogueDimension {
    /// Its name.
    #[schema(example = "agent")]
    name: &'static str,
    /// One sentence about it.
    #[schema(example = "The agent that ran the call.")]
    description: &'static str,
    /// What it groups: `call`, `use` of a provider, or `error`. A call may have several uses and errors, so those groups do
    /// not add up.
    #[schema(example = "call")]
    subject: &'static str,
    /// The narrowest buckets that its sums are kept in.
    #[schema(example = "15m")]
    finest: &'static str,
    /// The setting that bounds its values; null where the vocabulary does.
    #[schema(required, example = "tenant.agents_max")]
    values_max: Option<String>,
}

/// The metrics and dimensions that a query may name
///
/// Each with its unit, a sentence about it, and what it may be combined with.
#[utoipa::path(
    tag = "Analytics",
    responses((status = 200, description = "The catalogue", body = Catalogue), CatalogueProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/metrics")]
async fn list_metrics(state: State, asked: Asked<NoParams>) -> Answered {
    asked.answer(&state, "list_metrics", async |_, NoParams| plain_answer(&catalogue())).await
}

/// The dimensions that may be asked for.
fn dimensions() -> impl Iterator<Item = Dimension> {
    Dimension::ALL.iter().copied().filter(|dimension| *dimension != Dimension::Tenant)
}

fn catalogue() -> Catalogue {
    let metric = |metric: &Metric| {
        let row = metric.row();
        CatalogueMetric {
            name: metric.as_str(),
            unit: row.unit.as_str(),
            description: row.description,
            decimals: row.decimals,
            additive: matches!(row.formula, Formula::Sum(_) | Formula::Known(..) | Formula::Difference(..)),
            dimensions: dimensions().filter(|of| metric.is_kept_by(*of)).map(Dimension::as_str).collect(),
        }
    };
    let dimension = |dimension: Dimension| CatalogueDimension {
        name: dimension.as_str(),
        description: dimension.row().description,
        subject: dimension.subject().as_str(),
        finest: dimension.row().finest.as_str(),
        values_max: match dimension.row().values_max {
            ValuesMax::Setting(name) => Some(format!("tenant.{name}")),
            ValuesMax::Vocabulary => None,
        },
    };
    Catalogue { metrics: Metric::ALL.iter().map(metric).collect(), dimensions: dimensions().map(dimension).collect() }
}

/// The values of a dimension.
#[derive(Serialize, ToSchema)]
struct DimensionValues {
    /// The dimension.
    #[schema(example = "agent")]
    dimension: String,
    /// The values, those with the most calls first.
    values: Vec<DimensionValue>,
    /// How many there are, whatever the limit.
    #[schema(minimum = 0, example = 20)]
    total: usize,
}

/// A value of a dimension.
#[derive(Serialize, ToSchema)]
struct DimensionValue {
    /// The value; null for calls without one.
    #[schema(required, example = "greeter-agent")]
    value: Option<Box<str>>,
    /// What people call it, of a workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Daily Health Check")]
    name: Option<String>,
    /// Calls that have it.
    #[schema(minimum = 0, example = 120)]
    calls: i64,
}

/// Which values.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ValueParams {
    /// Only values that contain this text, whatever the case.
    search: Option<String>,
    /// The largest number of values to return.
    #[param(minimum = 1, maximum = 1000, default = 100, required = false)]
    limit: u32,
}

impl QueryParams for ValueParams {
    fn take(query: &mut Query) -> Self {
        Self {
            search: query.take("search", |text| Ok::<_, Rule>(text.to_lowercase())),
            limit: query.take("limit", |text| number(text, 1..=VALUES_MAX)).unwrap_or(VALUES_DEFAULT),
        }
    }
}

/// The values of a dimension, with their numbers of calls
///
/// For menus of filters: the values that calls of the window have, those with the most calls first. Calls without a value
/// are counted under null.
#[utoipa::path(
    tag = "Analytics",
    params(
        ("dimension" = String, Path, description = "A dimension of the catalogue, or `tag.KEY`", example = "agent"),
        WindowParams, FilterParams, ValueParams
    ),
    responses((status = 200, description = "The values", body = DimensionValues), ReadProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/dimensions/{dimension}")]
async fn list_dimension_values(
    state: State,
    path: web::Path<String>,
    asked: Asked<(WindowParams, FilterParams, ValueParams)>,
) -> Answered {
    type Params = (WindowParams, FilterParams, ValueParams);
    let name = path.into_inner();
    let axis: Axis = name.parse().map_err(|fault| Problem::invalid_field("dimension", fault))?;
    let operation = format!("list_dimension_values {axis}");
    let ask = async |tenant, (window, FilterParams(filters), params): Params| {
        let window = window.window(state.clock.now(), state.limits.window_max)?;
        let is_call = axis.dimension().is_none_or(|dimension| dimension.subject() == MeasureSubject::Call);
        let question = Question {
            window,
            metrics: vec![Metric::TotalCalls],
            axes: vec![axis.clone()],
            filters,
            cut: None,
            shows_unknown: is_call,
            wants_total: false,
        };
        let figures = state.analytics.ask(tenant, question).await?;
        plain_answer(&values(&axis, &figures, &params))
    };
    asked.answer(&state, &operation, ask).await
}

fn values(axis: &Axis, figures: &Figures, params: &ValueParams) -> DimensionValues {
    let mut values: Vec<DimensionValue> = figures
        .rows
        .iter()
        .map(|row| DimensionValue {
            value: row.first_value().and_then(|shown| shown.text.clone()),
            name: row.first_value().and_then(|shown| shown.label.as_ref()).map(|label| label.name.clone()),
            calls: row.count(Measure::Calls),
        })
        .filter(|found| {
            params.search.as_ref().is_none_or(|search| {
                let texts = [found.value.as_deref(), found.name.as_deref()];
                texts.into_iter().flatten().any(|text| text.to_lowercase().contains(search.as_str()))
            })
        })
        .collect();
    values.sort_by(|left, right| (Reverse(left.calls), &left.value).cmp(&(Reverse(right.calls), &right.value)));
    let total = values.len();
    values.truncate(params.limit as usize);
    DimensionValues { dimension: axis.to_string(), values, total }
}

//! Calls: lists of them, and one whole.

use crate::asked::{Asked, answer, plain_answer};
use crate::call_answer::{CallDetail, CallListResponse};
use crate::call_cursor::cursor;
use crate::field::{FieldCode, Rule};
use crate::filters::FilterParams;
use crate::params::{NoParams, Query, QueryParams, WindowParams, boolean, number};
use crate::problem::{Problem, ProblemCode};
use crate::problem_responses::{ReadProblems, problems};
use crate::reading::uuid;
use crate::state::ApiState;
use crate::words;
use actix_web::{HttpResponse, get, web};
use callscope_analytics::call_list::ListPosition;
use callscope_analytics::call_reader::{Sort, WantedCalls};
use callscope_domain::{CallId, CallStatus, EXTERNAL_ID_MAX, ExternalId, Span};
use std::str::FromStr;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

/// Most calls of one page.
pub const CALLS_MAX: u32 = 200;
const CALLS_DEFAULT: u32 = 50;
/// Longest duration that can be asked for: that of the longest call.
const DURATION_MAX: u32 = 86_400;

type State = web::Data<ApiState>;
type Answered = Result<HttpResponse, Problem>;

problems! {
    /// Of one call.
    CallProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    NotFound = "the tenant has no such call",
    ValidationError = "call_id invalid_format: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_calls).service(get_call);
}

/// Which calls, and in which order.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only calls of this status. Default: all.
    #[param(value_type = words::CallStatus, required = false)]
    status: Option<CallStatus>,
    /// Only calls that lasted at least so many seconds.
    #[param(minimum = 0, maximum = 86_400)]
    min_duration_seconds: Option<u32>,
    /// Only calls with errors (`true`), or without any (`false`). Default: all.
    has_errors: Option<bool>,
    /// Only the call with this id: its own, or that of its source.
    #[param(min_length = 1, max_length = 256, pattern = "^[^\\u0000]*$")]
    search: Option<String>,
    /// What the calls are ordered by: `started_at`, `duration`, `cost` or `worst_turn`; a `-` before it puts the greatest
    /// first. All but `started_at` look at every call of the window: at most 200,000, unless configured otherwise.
    #[param(value_type = Option<String>, pattern = "^-?(started_at|duration|cost|worst_turn)$", default = "-started_at")]
    sort: (Sort, bool),
    /// Where the page begins: the `next_cursor` of the page before, of a list with the same parameters.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<ListPosition>,
    /// The largest number of calls to return.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    limit: u32,
    /// Whether the number of all calls of the list is wanted. It is null where no sums tell it: with
    /// `min_duration_seconds`, `has_errors` or `search`.
    #[param(default = false, required = false)]
    total: bool,
}

impl QueryParams for ListParams {
    fn take(query: &mut Query) -> Self {
        Self {
            status: query.take("status", CallStatus::from_str),
            min_duration_seconds: query.take("min_duration_seconds", |text| number(text, 0..=DURATION_MAX)),
            has_errors: query.take("has_errors", boolean),
            search: query.take("search", |text| ExternalId::new(text).map(|text| text.to_string())),
            sort: query.take("sort", sort).unwrap_or((Sort::StartedAt, true)),
            cursor: query.take("cursor", cursor),
            limit: query.take("limit", |text| number(text, 1..=CALLS_MAX)).unwrap_or(CALLS_DEFAULT),
            total: query.take("total", boolean).unwrap_or_default(),
        }
    }
}

const _: () = assert!(EXTERNAL_ID_MAX == 256, "the bound of search above");

fn sort(text: &str) -> Result<(Sort, bool), Rule> {
    let (descends, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
    let sort = match name {
        "started_at" => Sort::StartedAt,
        "duration" => Sort::Duration,
        "cost" => Sort::Cost,
        "worst_turn" => Sort::WorstTurn,
        _ => {
            let message =
                "must be one of started_at, duration, cost, worst_turn, with a - before it for the greatest first";
            return Err(Rule::new(FieldCode::UnknownValue, message));
        }
    };
    Ok((sort, descends))
}

/// Calls of a window, newest first
///
/// The calls that started in the window and that every filter lets through. Pages follow each other by `next_cursor`, and
/// stay as they are while calls come in: of a window that has ended, each call is on exactly one page. A page may have fewer
/// calls than `limit` and still a `next_cursor`.
#[utoipa::path(
    tag = "Calls",
    params(WindowParams, FilterParams, ListParams),
    responses((status = 200, description = "A page of calls", body = CallListResponse), ReadProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/calls")]
async fn list_calls(state: State, asked: Asked<(WindowParams, FilterParams, ListParams)>) -> Answered {
    type Params = (WindowParams, FilterParams, ListParams);
    let ask = async |tenant, (window, FilterParams(filters), params): Params| {
        let window = window.window(state.clock.now(), state.limits.window_max)?;
        let (sort, descends) = params.sort;
        let wanted = WantedCalls {
            window,
            filters,
            status: params.status,
            min_duration: params.min_duration_seconds.map(|seconds| Span::from_seconds(seconds.into())),
            has_errors: params.has_errors,
            search: params.search.map(Into::into),
            sort,
            descends,
        };
        let limit = params.limit as usize;
        let page = state.analytics.list_calls(tenant, &wanted, params.cursor, limit, params.total).await?;
        answer(&CallListResponse::new(&page), window)
    };
    asked.answer(&state, "list_calls", ask).await
}

/// One call whole
///
/// The record, the latencies of each stage, provider and model with their percentiles, its errors, what happened to it, and
/// how its worst turn compares to the turns of its workflow within a day of it.
#[utoipa::path(
    tag = "Calls",
    params(("call_id" = Uuid, Path, description = "The call's id", example = "31c02e4f-12e0-4af0-869b-aab222503a09")),
    responses((status = 200, description = "The call", body = CallDetail), CallProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/calls/{call_id}")]
async fn get_call(state: State, call_id: web::Path<String>, asked: Asked<NoParams>) -> Answered {
    let id = CallId(uuid(&call_id).map_err(|fault| Problem::invalid_field("call_id", fault))?);
    let ask = async |tenant, NoParams| match state.analytics.find_call(tenant, id).await? {
        Some(call) => plain_answer(&CallDetail::new(call)),
        None => Err(Problem::new(ProblemCode::NotFound, "the tenant has no such call")),
    };
    asked.answer(&state, &format!("get_call {id}"), ask).await
}

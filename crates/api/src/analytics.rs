//! The six read endpoints.

use crate::asked::{Asked, answer, plain_answer};
use crate::filters::{CallFilterParams, FilterParams};
use crate::params::{ErrorParams, SeriesParams, WindowParams, WorkflowLimit};
use crate::problem::Problem;
use crate::problem_responses::ReadProblems;
use crate::responses::{
    ActiveCallsResponse, CallVolumeResponse, ErrorLogResponse, ProviderLatency, SummaryResponse, WorkflowStats,
};
use crate::state::ApiState;
use actix_web::{HttpResponse, get, web};
use utoipa_actix_web::service_config::ServiceConfig;

/// Buckets from which on a series takes milliseconds to write.
const LONG_SERIES: usize = 1000;

type State = web::Data<ApiState>;
type Answered = Result<HttpResponse, Problem>;

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(get_summary)
        .service(get_call_volume)
        .service(get_workflow_stats)
        .service(get_provider_latency)
        .service(list_errors)
        .service(get_active_calls);
}

/// Totals, averages and success rate of a window
///
/// Counts, averages and sums over the calls that started in the window. Durations are in seconds, latencies in
/// milliseconds and rates in percent, each rounded to one decimal. An average without data is null, never 0. With
/// filters, every figure is of the calls that they let through, including latencies and active calls.
///
/// Suggested polling interval: 30 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, FilterParams),
    responses(
        (status = 200, description = "The figures of the window", body = SummaryResponse,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered. Where calls are no longer kept, it is \
                            rounded outward to minutes"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/summary")]
async fn get_summary(state: State, asked: Asked<(WindowParams, FilterParams)>) -> Answered {
    let ask = async |tenant, (window, FilterParams(filters)): (WindowParams, FilterParams)| {
        let window = window.window(state.clock.now(), state.limits.window_max)?;
        let figures = state.analytics.summary(tenant, window, filters).await?;
        answer(&SummaryResponse::from(&figures), figures.answered_window)
    };
    asked.answer(&state, "get_summary", ask).await
}

/// Number of calls per hour, day or week
///
/// How many calls started in each hour, day or week of the window, in the time zone `timezone`. Empty buckets are
/// included. Each timestamp is the start of its bucket, in UTC.
///
/// Suggested polling interval: 60 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, SeriesParams, FilterParams),
    responses(
        (status = 200, description = "The number of calls of each bucket", body = CallVolumeResponse,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered. Where calls are no longer kept, it is \
                            rounded outward to minutes"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/call-volume")]
async fn get_call_volume(state: State, asked: Asked<(WindowParams, SeriesParams, FilterParams)>) -> Answered {
    let ask = async |tenant, (window, series, FilterParams(filters)): (WindowParams, SeriesParams, FilterParams)| {
        let window = window.window(state.clock.now(), state.limits.window_max)?;
        let SeriesParams { interval, timezone } = series;
        let figures = state.analytics.call_volume(tenant, window, interval.into(), timezone, filters).await?;
        let is_long = figures.rows.len() > LONG_SERIES;
        let make = move || answer(&CallVolumeResponse::new(interval, &figures), figures.answered_window);
        // On a thread that serves no others.
        if is_long { web::block(make).await.map_err(|_| Problem::internal())? } else { make() }
    };
    asked.answer(&state, "get_call_volume", ask).await
}

/// Calls, success rate and duration per workflow
///
/// Figures of each workflow that has calls in the window, ordered by number of calls, then by slug. Calls without a
/// workflow are not included. Durations are in seconds, rates in percent.
///
/// Suggested polling interval: 60 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, FilterParams, WorkflowLimit),
    responses(
        (status = 200, description = "The workflows with the most calls", body = Vec<WorkflowStats>,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered. Where calls are no longer kept, it is \
                            rounded outward to minutes"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/workflow-stats")]
async fn get_workflow_stats(state: State, asked: Asked<(WindowParams, FilterParams, WorkflowLimit)>) -> Answered {
    type Params = (WindowParams, FilterParams, WorkflowLimit);
    let ask = async |tenant, (window, FilterParams(filters), WorkflowLimit { limit }): Params| {
        let window = window.window(state.clock.now(), state.limits.window_max)?;
        let figures = state.analytics.workflow_stats(tenant, window, filters, limit as usize).await?;
        let workflows: Vec<_> = figures.rows.iter().filter_map(WorkflowStats::new).collect();
        answer(&workflows, figures.answered_window)
    };
    asked.answer(&state, "get_workflow_stats", ask).await
}

/// Latency average and percentiles per provider
///
/// Average, median, 95th and 99th percentile over all turns of each provider that calls of the window used, in
/// milliseconds. Ordered by stage (speech to text, language model, text to speech), then by number of calls.
///
/// Suggested polling interval: 60 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, FilterParams),
    responses(
        (status = 200, description = "The latency of each provider", body = Vec<ProviderLatency>,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered. Where calls are no longer kept, it is \
                            rounded outward to minutes"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/provider-latency")]
async fn get_provider_latency(state: State, asked: Asked<(WindowParams, FilterParams)>) -> Answered {
    let ask = async |tenant, (window, FilterParams(filters)): (WindowParams, FilterParams)| {
        let window = window.window(state.clock.now(), state.limits.window_max)?;
        let figures = state.analytics.provider_latency(tenant, window, filters).await?;
        let providers: Vec<_> = figures.rows.iter().filter_map(ProviderLatency::new).collect();
        answer(&providers, figures.answered_window)
    };
    asked.answer(&state, "get_provider_latency", ask).await
}

/// Errors of calls, newest first
///
/// Errors of the calls that started in the window, ordered by the timestamp of the error, then by call id and position.
/// `total` counts all errors that match, on every page; it includes errors of calls that are no longer kept, which no
/// page shows.
///
/// Suggested polling interval: 30 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, CallFilterParams, ErrorParams),
    responses(
        (status = 200, description = "A page of errors", body = ErrorLogResponse,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered. Where calls are no longer kept, it is \
                            rounded outward to minutes"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/errors")]
async fn list_errors(state: State, asked: Asked<(WindowParams, CallFilterParams, ErrorParams)>) -> Answered {
    type Params = (WindowParams, CallFilterParams, ErrorParams);
    let ask = async |tenant, (window, CallFilterParams(filters), errors): Params| {
        let window = window.window(state.clock.now(), state.limits.window_max)?;
        let log = state.analytics.errors(tenant, window, errors.filter(), filters, errors.page()).await?;
        let window = log.answered_window;
        answer(&ErrorLogResponse::from(log), window)
    };
    asked.answer(&state, "list_errors", ask).await
}

/// Number of calls that are active now
///
/// Counted over all servers. A call without an end is closed after 4 hours, unless configured otherwise.
///
/// Suggested polling interval: 10 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(CallFilterParams),
    responses((status = 200, description = "The number of active calls", body = ActiveCallsResponse), ReadProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/active-calls")]
async fn get_active_calls(state: State, asked: Asked<CallFilterParams>) -> Answered {
    let ask = async |tenant, CallFilterParams(filters)| {
        let count = state.analytics.active_calls(tenant, state.clock.now(), filters).await?;
        plain_answer(&ActiveCallsResponse { count })
    };
    asked.answer(&state, "get_active_calls", ask).await
}

//! The six read endpoints.

use crate::asked::{Asked, answer, plain_answer};
use crate::openapi::ReadProblems;
use crate::params::{ErrorParams, SeriesParams, WindowParams, WorkflowLimit, WorkflowParam};
use crate::problem::Problem;
use crate::responses::{
    ActiveCallsResponse, CallVolumeResponse, ErrorLogResponse, ProviderLatency, SummaryResponse, WorkflowStats,
};
use crate::state::ApiState;
use actix_web::{HttpResponse, get, web};
use utoipa_actix_web::service_config::ServiceConfig;

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

/// Get the summary
///
/// Counts, averages and sums over the calls that started in the window. Percentages, seconds and milliseconds are
/// rounded to one decimal; what has no data is null, never 0. With `workflow`, every figure is that workflow's, the
/// latency averages and the active calls included.
///
/// A dashboard does well to ask every 30 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, WorkflowParam),
    responses(
        (status = 200, description = "The figures of the window", body = SummaryResponse,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered: as asked, but rounded outward to minutes \
                            where calls are no longer kept"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/summary")]
async fn get_summary(state: State, asked: Asked<(WindowParams, WorkflowParam)>) -> Answered {
    let ask = async |tenant, (window, workflow): (WindowParams, WorkflowParam)| {
        let window = window.window(state.clock.now())?;
        answer(state.analytics.summary(tenant, window, &workflow.into()).await?, SummaryResponse::from)
    };
    asked.answer(&state, "get_summary", ask).await
}

/// Get call volume
///
/// How many calls started in each hour, day or week of the window, as the clocks and calendars of `timezone` have
/// them. No bucket is left out; timestamps are the starts of the buckets, in UTC.
///
/// A dashboard does well to ask every 60 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, SeriesParams, WorkflowParam),
    responses(
        (status = 200, description = "The series", body = CallVolumeResponse,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered: as asked, but rounded outward to minutes \
                            where calls are no longer kept"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/call-volume")]
async fn get_call_volume(state: State, asked: Asked<(WindowParams, SeriesParams, WorkflowParam)>) -> Answered {
    let ask = async |tenant, (window, series, workflow): (WindowParams, SeriesParams, WorkflowParam)| {
        let window = window.window(state.clock.now())?;
        let SeriesParams { interval, timezone } = series;
        let buckets = state.analytics.call_volume(tenant, window, interval, timezone, &workflow.into()).await?;
        answer(buckets, |buckets| CallVolumeResponse::new(interval, buckets))
    };
    asked.answer(&state, "get_call_volume", ask).await
}

/// Get workflow statistics
///
/// The workflows that calls of the window ran through: the busiest first, ties by slug. Calls without a workflow are
/// in none of them.
///
/// A dashboard does well to ask every 60 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, WorkflowLimit),
    responses(
        (status = 200, description = "The busiest workflows", body = Vec<WorkflowStats>,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered: as asked, but rounded outward to minutes \
                            where calls are no longer kept"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/workflow-stats")]
async fn get_workflow_stats(state: State, asked: Asked<(WindowParams, WorkflowLimit)>) -> Answered {
    let ask = async |tenant, (window, WorkflowLimit { limit }): (WindowParams, WorkflowLimit)| {
        let window = window.window(state.clock.now())?;
        let figures = state.analytics.workflow_stats(tenant, window, limit as usize).await?;
        answer(figures, |figures| figures.into_iter().map(WorkflowStats::from).collect::<Vec<_>>())
    };
    asked.answer(&state, "get_workflow_stats", ask).await
}

/// Get provider latency
///
/// Average and percentiles over every turn of each provider that calls of the window used, in milliseconds: speech to
/// text, then language models, then text to speech; within a stage the busiest first.
///
/// A dashboard does well to ask every 60 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams),
    responses(
        (status = 200, description = "The providers", body = Vec<ProviderLatency>,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered: as asked, but rounded outward to minutes \
                            where calls are no longer kept"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/provider-latency")]
async fn get_provider_latency(state: State, asked: Asked<WindowParams>) -> Answered {
    let ask = async |tenant, window: WindowParams| {
        let window = window.window(state.clock.now())?;
        let figures = state.analytics.provider_latency(tenant, window).await?;
        answer(figures, |figures| figures.into_iter().map(ProviderLatency::from).collect::<Vec<_>>())
    };
    asked.answer(&state, "get_provider_latency", ask).await
}

/// List errors
///
/// Errors of the calls that started in the window: newest first by their own timestamp, ties by call id, then
/// position. `total` counts all that match, whatever the page, and those whose calls are no longer kept, which no page
/// shows.
///
/// A dashboard does well to ask every 30 seconds.
#[utoipa::path(
    tag = "Analytics",
    params(WindowParams, ErrorParams),
    responses(
        (status = 200, description = "A page of errors", body = ErrorLogResponse,
         headers((
             "X-Answered-Window" = String,
             description = "`start/end` of the window that was answered: as asked, but rounded outward to minutes \
                            where calls are no longer kept"
         ))),
        ReadProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/errors")]
async fn list_errors(state: State, asked: Asked<(WindowParams, ErrorParams)>) -> Answered {
    let ask = async |tenant, (window, errors): (WindowParams, ErrorParams)| {
        let window = window.window(state.clock.now())?;
        let log = state.analytics.errors(tenant, window, errors.filter(), errors.page()).await?;
        answer(log, ErrorLogResponse::from)
    };
    asked.answer(&state, "list_errors", ask).await
}

/// Get active calls
///
/// How many calls are active now, over all servers. A call whose end never comes is closed after a while (4 hours
/// unless configured otherwise).
///
/// A dashboard does well to ask every 10 seconds.
#[utoipa::path(
    tag = "Analytics",
    responses((status = 200, description = "The count", body = ActiveCallsResponse), ReadProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/active-calls")]
async fn get_active_calls(state: State, asked: Asked) -> Answered {
    let ask = async |tenant, _| {
        let count = state.analytics.active_calls(tenant).await?;
        plain_answer(&ActiveCallsResponse { count })
    };
    asked.answer(&state, "get_active_calls", ask).await
}

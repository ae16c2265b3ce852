//! The six read endpoints.

use crate::auth::{AnalyticsRead, Authorized};
use crate::openapi::ReadProblems;
use crate::params::{ErrorParams, SeriesParams, WindowParams, WorkflowLimit, WorkflowParam};
use crate::problem::Problem;
use crate::responses::{
    ActiveCallsResponse, CallVolumeResponse, ErrorLogResponse, ProviderLatency, SummaryResponse, WorkflowStats, rfc3339,
};
use crate::state::ApiState;
use actix_web::{CustomizeResponder, Responder, get, web};
use callscope_analytics::service::Answer;
use serde::Serialize;
use utoipa_actix_web::service_config::ServiceConfig;

type State = web::Data<ApiState>;
type Answered<T> = Result<CustomizeResponder<web::Json<T>>, Problem>;

/// Names the window that an answer is about. Where retention has deleted calls, an edge inside a minute is answered from
/// the whole minute.
const ANSWERED_WINDOW: &str = "X-Answered-Window";

/// The answer to a question about a window.
fn answer<T, R: Serialize>(answer: Answer<T>, respond: impl FnOnce(T) -> R) -> CustomizeResponder<web::Json<R>> {
    let window = format!("{}/{}", rfc3339(answer.window.start()), rfc3339(answer.window.end()));
    web::Json(respond(answer.figures)).customize().insert_header((ANSWERED_WINDOW, window))
}

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
async fn get_summary(
    state: State,
    asked: Authorized<AnalyticsRead, (WindowParams, WorkflowParam)>,
) -> Answered<SummaryResponse> {
    let (window, workflow) = asked.params;
    let window = window.window(state.clock.now())?;
    let summary = state.analytics.summary(asked.tenant, window, &workflow.into()).await?;
    Ok(answer(summary, Into::into))
}

/// Get call volume
///
/// How many calls started in each hour, day or week of the window, as the clocks and calendars of `timezone` have
/// them. No bucket is left out; timestamps are the starts of the buckets, in UTC.
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
async fn get_call_volume(
    state: State,
    asked: Authorized<AnalyticsRead, (WindowParams, SeriesParams, WorkflowParam)>,
) -> Answered<CallVolumeResponse> {
    let (window, SeriesParams { interval, timezone }, workflow) = asked.params;
    let window = window.window(state.clock.now())?;
    let buckets = state.analytics.call_volume(asked.tenant, window, interval, timezone, &workflow.into()).await?;
    Ok(answer(buckets, |buckets| CallVolumeResponse::new(interval, buckets)))
}

/// Get workflow statistics
///
/// The workflows that calls of the window ran through: the busiest first, ties by slug. Calls without a workflow are
/// in none of them.
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
async fn get_workflow_stats(
    state: State,
    asked: Authorized<AnalyticsRead, (WindowParams, WorkflowLimit)>,
) -> Answered<Vec<WorkflowStats>> {
    let (window, WorkflowLimit { limit }) = asked.params;
    let window = window.window(state.clock.now())?;
    let figures = state.analytics.workflow_stats(asked.tenant, window, limit as usize).await?;
    Ok(answer(figures, |figures| figures.into_iter().map(Into::into).collect()))
}

/// Get provider latency
///
/// Average and percentiles over every turn of each provider that calls of the window used, in milliseconds: speech to
/// text, then language models, then text to speech; within a stage the busiest first.
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
async fn get_provider_latency(
    state: State,
    asked: Authorized<AnalyticsRead, WindowParams>,
) -> Answered<Vec<ProviderLatency>> {
    let window = asked.params.window(state.clock.now())?;
    let figures = state.analytics.provider_latency(asked.tenant, window).await?;
    Ok(answer(figures, |figures| figures.into_iter().map(Into::into).collect()))
}

/// List errors
///
/// Errors of the calls that started in the window: newest first by their own timestamp, ties by call id, then
/// position. `total` counts all that match, whatever the page, and those whose calls are no longer kept, which no page
/// shows.
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
async fn list_errors(
    state: State,
    asked: Authorized<AnalyticsRead, (WindowParams, ErrorParams)>,
) -> Answered<ErrorLogResponse> {
    let (window, errors) = asked.params;
    let window = window.window(state.clock.now())?;
    let log = state.analytics.errors(asked.tenant, window, errors.filter(), errors.page()).await?;
    Ok(answer(log, Into::into))
}

/// Get active calls
///
/// How many calls are active now, over all servers. A call whose end never comes is closed after a while (4 hours
/// unless configured otherwise).
#[utoipa::path(
    tag = "Analytics",
    responses((status = 200, description = "The count", body = ActiveCallsResponse), ReadProblems),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/analytics/active-calls")]
async fn get_active_calls(
    state: State,
    asked: Authorized<AnalyticsRead>,
) -> Result<web::Json<ActiveCallsResponse>, Problem> {
    let count = state.analytics.active_calls(asked.tenant).await?;
    Ok(web::Json(ActiveCallsResponse { count }))
}

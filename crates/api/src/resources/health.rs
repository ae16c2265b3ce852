//! Health checks: whether the server runs, and whether its database answers. They need no credential.

use crate::params::NoParams;
use crate::problem::Problem;
use crate::problem_responses::problems;
use crate::state::ApiState;
use actix_web::{get, web};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

problems! {
    /// Of a check that asks nothing of the database.
    LivenessProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    ValidationError = "x unknown: is not known here; this operation takes no parameters",
}

problems! {
    /// Of a check of the database.
    HealthProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    ValidationError = "x unknown: is not known here; this operation takes no parameters",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

/// What the paths of all routes here start with.
pub const HEALTH_PATH: &str = "/health";

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_health).service(get_liveness).service(get_readiness);
}

/// The state of the server.
#[derive(Serialize, ToSchema)]
struct HealthResponse {
    /// Always `ok`: any other state is answered with a problem.
    #[schema(example = "ok")]
    status: &'static str,
    /// The server's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

const HEALTHY: HealthResponse = HealthResponse { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// Check server and database
///
/// Returns 200 when the server runs and its database answers, else 503.
#[utoipa::path(
    tag = "Health",
    responses((status = 200, description = "Server and database work", body = HealthResponse), HealthProblems)
)]
#[get("/health")]
async fn get_health(_: NoParams, state: web::Data<ApiState>) -> Result<web::Json<HealthResponse>, Problem> {
    state.readiness.check(&state.analytics).await?;
    Ok(web::Json(HEALTHY))
}

/// Check that the server runs
///
/// For liveness probes. The database is not asked, because restarting the server does not repair a database.
#[utoipa::path(
    tag = "Health",
    responses((status = 200, description = "The server runs", body = HealthResponse), LivenessProblems)
)]
#[get("/health/live")]
async fn get_liveness(_: NoParams) -> web::Json<HealthResponse> {
    web::Json(HEALTHY)
}

/// Check that requests can be served
///
/// For readiness probes: returns 200 when the database answers, else 503.
#[utoipa::path(
    tag = "Health",
    responses((status = 200, description = "Requests can be served", body = HealthResponse), HealthProblems)
)]
#[get("/health/ready")]
async fn get_readiness(_: NoParams, state: web::Data<ApiState>) -> Result<web::Json<HealthResponse>, Problem> {
    state.readiness.check(&state.analytics).await?;
    Ok(web::Json(HEALTHY))
}

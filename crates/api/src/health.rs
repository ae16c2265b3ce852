//! Whether the server lives, and whether it can work. Without a credential.

use crate::openapi::UnavailableProblem;
use crate::problem::Problem;
use crate::state::ApiState;
use actix_web::{get, web};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

/// What the paths of all routes here start with.
pub const HEALTH_PATH: &str = "/health";

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_health).service(get_liveness).service(get_readiness);
}

/// How the server is.
#[derive(Serialize, ToSchema)]
struct HealthResponse {
    /// Always `ok`; a server that is not answers with a problem, or not at all.
    #[schema(example = "ok")]
    status: &'static str,
    /// The server's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

const HEALTHY: HealthResponse = HealthResponse { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// Get health
///
/// Whether the server can work: it runs, and its database answers.
#[utoipa::path(
    tag = "Health",
    responses((status = 200, description = "The server can work", body = HealthResponse), UnavailableProblem)
)]
#[get("/health")]
async fn get_health(state: web::Data<ApiState>) -> Result<web::Json<HealthResponse>, Problem> {
    state.analytics.ping().await?;
    Ok(web::Json(HEALTHY))
}

/// Get liveness
///
/// Whether the server runs. It asks nothing of the database: restarting a server does not bring a database back.
#[utoipa::path(
    tag = "Health",
    responses((status = 200, description = "The server runs", body = HealthResponse))
)]
#[get("/health/live")]
async fn get_liveness() -> web::Json<HealthResponse> {
    web::Json(HEALTHY)
}

/// Get readiness
///
/// Whether requests should be sent here: the database answers.
#[utoipa::path(
    tag = "Health",
    responses((status = 200, description = "The server takes requests", body = HealthResponse), UnavailableProblem)
)]
#[get("/health/ready")]
async fn get_readiness(state: web::Data<ApiState>) -> Result<web::Json<HealthResponse>, Problem> {
    state.analytics.ping().await?;
    Ok(web::Json(HEALTHY))
}

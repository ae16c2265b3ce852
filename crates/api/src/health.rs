//! Health checks: whether the server runs, and whether its database answers. They need no credential.

use crate::openapi::{HealthProblems, LivenessProblems};
use crate::params::NoParams;
use crate::problem::Problem;
use crate::state::ApiState;
use actix_web::{get, web};
use callscope_analytics::service::Analytics;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

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

/// Whether the database answered lately, so that many probes ask it once.
pub struct Readiness {
    age_max: Duration,
    last: Mutex<Option<(Instant, Result<(), Problem>)>>,
}

impl Readiness {
    /// Answers are kept for so long; zero: each probe asks the database.
    pub fn new(age_max: Duration) -> Self {
        Self { age_max, last: Mutex::new(None) }
    }

    async fn check(&self, analytics: &Analytics) -> Result<(), Problem> {
        if self.age_max.is_zero() {
            return Ok(analytics.ping().await?);
        }
        // Held while the database is asked: probes that arrive meanwhile share the answer.
        let mut last = self.last.lock().await;
        match &*last {
            Some((asked_at, answer)) if asked_at.elapsed() < self.age_max => answer.clone(),
            _ => {
                let asked_at = Instant::now();
                let answer = analytics.ping().await.map_err(Problem::from);
                *last = Some((asked_at, answer.clone()));
                answer
            }
        }
    }
}

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

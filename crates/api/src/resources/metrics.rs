//! `GET /metrics`: what the server counts of itself, for Prometheus. It needs no credential, and tells nothing about
//! tenants.

use crate::methods::only_reads;
use crate::metrics::{IngestLevels, MEDIA_TYPE};
use crate::state::ApiState;
use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};

/// Where the metrics are, if they are served.
pub const METRICS_PATH: &str = "/metrics";

pub fn routes(config: &mut ServiceConfig) {
    let route = web::resource(METRICS_PATH).route(web::get().to(get_metrics)).default_service(web::to(only_reads));
    config.service(route);
}

async fn get_metrics(state: web::Data<ApiState>) -> HttpResponse {
    state.metrics.ingestion.set_levels(&IngestLevels {
        queue_records: state.ingest.records_waiting(),
        queue_records_max: state.ingest.records_max(),
        body_bytes: state.bodies.bytes(),
        body_bytes_max: state.limits.inflight_bytes_max,
    });
    state.metrics.set_open_sockets(state.sockets.open_count());
    HttpResponse::Ok().content_type(MEDIA_TYPE).body(state.metrics.text())
}

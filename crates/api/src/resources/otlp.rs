//! The OTLP endpoints: telemetry of agent frameworks becomes records of calls. Exporters append the paths to the address
//! that they are configured with, and know no others.

#![expect(clippy::doc_markdown, reason = "the description of the endpoints is for people, and LiveKit is a product")]

use super::otlp_answers::{ExportFailures, ExportRequest, ExportResult, ProtobufMessage, exported, failed};
use crate::auth::{Authorized, TelemetryWrite};
use crate::body::{self, Expected, Format, Unpacked};
use crate::metrics::OtlpResults;
use crate::parsing::parse;
use crate::problem::{Problem, ProblemCode};
use crate::state::ApiState;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, post, web};
use callscope_analytics::assembler::{AssemblyError, AssemblyOutcome};
use callscope_connectors::extraction::{Extracted, ExtractionSettings, extract_logs, extract_spans};
use callscope_connectors::otlp::answer::Rejected;
use callscope_connectors::otlp::{Encoding, Signal};
use callscope_domain::{TenantId, Timestamp};
use std::time::Duration;
use utoipa_actix_web::service_config::ServiceConfig;

/// Longest time to an answer, because exporters give up after 10 seconds. Then they send the same telemetry again, which
/// changes nothing.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(8);

type State = web::Data<ApiState>;
/// Exporters do not understand problem documents, so the handler itself answers a refused credential.
type Asked = Result<Authorized<TelemetryWrite>, Problem>;

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(export_traces).service(export_logs).service(export_metrics);
}

/// Receive traces
///
/// Receives an OTLP export of spans. The spans of LiveKit Agents and Pipecat become calls, with their figures and errors;
/// all other spans are ignored. Each call appears with its first span, and changes with each request. Sending spans twice
/// changes nothing. When the answer arrives, the telemetry is durable.
#[utoipa::path(
    tag = "Connectors",
    request_body(
        content((ExportRequest = "application/json"), (inline(ProtobufMessage) = "application/x-protobuf")),
        description = "An `ExportTraceServiceRequest`. `Content-Encoding` may be gzip, deflate or zstd."
    ),
    responses(
        (status = 200, description = "The spans were read", content(
            (ExportResult = "application/json"), (inline(ProtobufMessage) = "application/x-protobuf"))),
        ExportFailures
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[post("/v1/traces")]
async fn export_traces(state: State, asked: Asked, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    export(Signal::Traces, &state, asked, &request, payload).await
}

/// Receive logs
///
/// Receives an OTLP export of log records. Those of LiveKit Agents report failures that are in no span; all others are
/// ignored.
#[utoipa::path(
    tag = "Connectors",
    request_body(
        content((ExportRequest = "application/json"), (inline(ProtobufMessage) = "application/x-protobuf")),
        description = "An `ExportLogsServiceRequest`. `Content-Encoding` may be gzip, deflate or zstd."
    ),
    responses(
        (status = 200, description = "The log records were read", content(
            (ExportResult = "application/json"), (inline(ProtobufMessage) = "application/x-protobuf"))),
        ExportFailures
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[post("/v1/logs")]
async fn export_logs(state: State, asked: Asked, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    export(Signal::Logs, &state, asked, &request, payload).await
}

/// Receive metrics
///
/// Receives an OTLP export of metrics and ignores it: the spans of agent frameworks hold the same figures in more
/// detail. The endpoint exists because exporters send metrics to the same address.
#[utoipa::path(
    tag = "Connectors",
    request_body(
        content((ExportRequest = "application/json"), (inline(ProtobufMessage) = "application/x-protobuf")),
        description = "An `ExportMetricsServiceRequest`. `Content-Encoding` may be gzip, deflate or zstd."
    ),
    responses(
        (status = 200, description = "The metrics were ignored", content(
            (ExportResult = "application/json"), (inline(ProtobufMessage) = "application/x-protobuf"))),
        ExportFailures
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[post("/v1/metrics")]
async fn export_metrics(state: State, asked: Asked, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    export(Signal::Metrics, &state, asked, &request, payload).await
}

async fn export(
    signal: Signal,
    state: &State,
    asked: Asked,
    request: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let encoding = content_type.and_then(Encoding::of_content_type);
    let answered = async {
        let tenant = asked?.tenant;
        let work = receive(signal, state, tenant, request, payload);
        let written = tokio::time::timeout(state.limits.request_timeout.min(ANSWER_TIME_MAX), work).await;
        let late = "the telemetry was not written in time, and may still be; send it again";
        written.map_err(|_| Problem::new(ProblemCode::Unavailable, late))?
    };
    match (answered.await, encoding) {
        (Ok(rejected), Some(encoding)) => exported(signal, encoding, &rejected),
        (Err(problem), Some(encoding)) => failed(encoding, &problem),
        (Ok(_), None) => Problem::internal().error_response(),
        (Err(problem), None) => problem.error_response(),
    }
}

/// Receives a body and stores what it says. Returns what was not kept.
async fn receive(
    signal: Signal,
    state: &State,
    tenant: TenantId,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Rejected, Problem> {
    let bytes_max = state.limits.body_bytes_max;
    let expected = Expected { tenant, formats: &[Format::Protobuf, Format::Json], bytes_max };
    let received = body::receive(&state.bodies, request, payload, expected).await?;
    let received_at = state.clock.now();
    let (extracted, _room) = parse(&state.parsers, tenant, received, move |body| {
        let extracted = extract(signal, &body, received_at)?;
        Ok((extracted, body.room))
    })
    .await?;
    let Extracted { calls, ignored, invalid, beyond_limit, .. } = extracted;
    let outcome = state.assembler.submit(tenant, calls).await?;
    let AssemblyOutcome { kept, repeated, late, beyond_call, beyond_tenant, refused_records } = outcome;
    let rejected = Rejected { invalid, beyond_request: beyond_limit, beyond_call, beyond_tenant };
    let results = OtlpResults { kept: kept + repeated, ignored, late, refused: rejected.total() };
    state.metrics.otlp.count(signal, results);
    state.metrics.otlp.count_refused_reports(refused_records);
    Ok(rejected)
}

fn extract(signal: Signal, body: &Unpacked, received_at: Timestamp) -> Result<Extracted, Problem> {
    let encoding = match body.format {
        Format::Protobuf => Encoding::Protobuf,
        Format::Json | Format::Ndjson => Encoding::Json,
    };
    let received_at = received_at.to_datetime().unwrap_or_default();
    let settings = ExtractionSettings::default();
    let extracted = match signal {
        // They are not decoded.
        Signal::Metrics => return Ok(Extracted { ignored: 1, ..Extracted::default() }),
        // An empty request is a success.
        _ if body.bytes.is_empty() => return Ok(Extracted::default()),
        Signal::Traces => extract_spans(&body.bytes, encoding, &settings, received_at),
        Signal::Logs => extract_logs(&body.bytes, encoding, &settings, received_at),
    };
    extracted.map_err(|unreadable| Problem::new(ProblemCode::MalformedRequest, unreadable.to_string()))
}

impl From<AssemblyError> for Problem {
    fn from(error: AssemblyError) -> Self {
        match error {
            AssemblyError::Store(error) => Self::from(error),
            AssemblyError::Submit(error) => Self::from(error),
        }
    }
}

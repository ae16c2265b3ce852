//! A request id for every request, the trace that it belongs to, a count of its answer, and a line in the log.

use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemCode};
use crate::resources::HEALTH_PATH;
use crate::state::ApiState;
use crate::traceparent::TraceParent;
use crate::tracer::Answered;
use crate::transport::Connection;
use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};
use callscope_analytics::shares::Full;
use std::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;

/// Takes over the client's request id or makes one, puts it on the log and on the answer, and logs and counts the answer.
/// Query strings are not logged.
pub async fn request_log<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let Some(state) = request.app_data::<web::Data<ApiState>>().cloned() else {
        return Err(Problem::internal().into());
    };
    let id = request_id(&request);
    let method = request.method().clone();
    let span = begin(&state, &request, &id);
    let _in_flight = state.metrics.requests.enter();
    let started = Instant::now();
    let connection = request.conn_data::<Connection>();
    let called = if connection.is_none_or(|connection| connection.admit(request.headers())) {
        next.call(request).instrument(span.clone()).await.map(within_memory)
    } else {
        Ok(request.into_response(too_many_of_address().error_response()).map_into_right_body())
    };
    let mut response = match called {
        Ok(response) => response,
        // Only a panic gets here: the request is lost, so the answer is made from the error alone.
        Err(error) => {
            state.metrics.requests.count_lost(&method, started.elapsed());
            return Err(Problem::of(&error).with_header(REQUEST_ID, id).into());
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    end(&state, &span, &response, &method, started);
    Ok(response)
}

/// The same answer, if there is room in memory for its bytes until the client has read them.
fn within_memory<B: MessageBody>(response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B>> {
    let request = response.request();
    let held = match (request.conn_data::<Connection>(), response.response().body().size()) {
        (Some(connection), BodySize::Sized(bytes)) => {
            connection.hold_answer(request.headers(), usize::try_from(bytes).unwrap_or(usize::MAX))
        }
        _ => Ok(()),
    };
    match held {
        Ok(()) => response.map_into_left_body(),
        Err(full) => response.into_response(no_memory(full).error_response()).map_into_right_body(),
    }
}

fn no_memory(full: Full) -> Problem {
    let detail = match full {
        Full::OfHolder => "too many bytes of answers are waiting for you to read them; read answers as they come",
        Full::OfAll => "too many bytes of answers are waiting for their clients; try again later",
    };
    Problem::new(ProblemCode::Overloaded, detail)
}

fn too_many_of_address() -> Problem {
    Problem::too_many("this address has too many requests in flight; wait for their answers", 1)
}

/// The span of a request; none where neither the log nor a tracer wants one.
fn begin(state: &ApiState, request: &ServiceRequest, id: &HeaderValue) -> Span {
    let id = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", id, trace_id = Empty, otel.kind = Empty);
    if span.is_disabled() {
        return span;
    }
    let parent = TraceParent::of(request.headers());
    if let Some(parent) = &parent {
        span.record("trace_id", parent.trace_id());
    }
    if let Some(tracer) = &state.tracer {
        tracer.begin(&span, parent.as_ref());
    }
    span
}

fn end<B>(state: &ApiState, span: &Span, response: &ServiceResponse<B>, method: &Method, started: Instant) {
    let (request, status, elapsed) = (response.request(), response.status(), started.elapsed());
    let metrics: &Metrics = &state.metrics;
    let route = metrics.requests.count(request, method, status, elapsed);
    let elapsed_ms = elapsed.as_micros() as f64 / 1000.0;
    let (path, status) = (request.path(), status.as_u16());
    span.in_scope(|| {
        // Probes come every few seconds; one that fails is worth a line.
        if route.starts_with(HEALTH_PATH) && response.status().is_success() {
            tracing::debug!(%method, path, status, elapsed_ms, "answered");
        } else {
            tracing::info!(%method, path, status, elapsed_ms, "answered");
        }
    });
    if let Some(tracer) = &state.tracer {
        tracer.end(span, &Answered { method, route, status });
    }
}

fn request_id(request: &ServiceRequest) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let sound = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_MAX && bytes.iter().all(u8::is_ascii_graphic)
    };
    given.filter(sound).cloned().unwrap_or_else(|| {
        let id = Uuid::now_v7().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}

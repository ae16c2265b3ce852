//! Spans of requests, sent to an OpenTelemetry collector over OTLP (protobuf over HTTP). Without an endpoint there is
//! none of it.

use crate::settings::TelemetrySettings;
use anyhow::Context as _;
use async_trait::async_trait;
use callscope_api::{Answered, TraceParent, Tracer};
use opentelemetry::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use std::time::Duration;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::registry::LookupSpan;

/// Where traces are below an endpoint.
const TRACES_PATH: &str = "/v1/traces";
/// How long the collector may take for one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Our spans have targets that start so.
const OUR_TARGET: &str = "callscope";

/// Gathers spans and sends them, from a thread of its own.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts to gather; `None` where the settings name no endpoint.
    pub fn start(settings: &TelemetrySettings) -> anyhow::Result<Option<Self>> {
        if settings.otlp_endpoint.reveal().is_empty() {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT)
            .with_endpoint(format!("{}{TRACES_PATH}", settings.otlp_endpoint.reveal().trim_end_matches('/')))
            .build()
            .context("setting telemetry.otlp_endpoint")?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sampling_ratio)));
        let resource = Resource::builder().with_service_name(settings.service_name.clone()).build();
        let builder = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler);
        Ok(Some(Self { provider: builder.with_resource(resource).build() }))
    }

    /// What turns spans of ours into spans of OpenTelemetry.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target().starts_with(OUR_TARGET);
        let tracer: SdkTracer = self.provider.tracer(OUR_TARGET);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        layer.with_filter(FilterFn::new(ours).with_max_level_hint(LevelFilter::INFO))
    }

    /// Sends what is still here. Blocks.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Gives the spans of requests what OpenTelemetry expects of a server's.
pub struct RequestTracer;

impl Tracer for RequestTracer {
    fn begin(&self, span: &Span, parent: Option<&TraceParent>) {
        span.record("otel.kind", "server");
        if let Some(parent) = parent.and_then(remote) {
            // It fails only for a span that is not recorded.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        } else {
            span.record("trace_id", span.context().span().span_context().trace_id().to_string());
        }
    }

    fn end(&self, span: &Span, answered: &Answered<'_>) {
        let Answered { method, route, status } = *answered;
        span.context().span().update_name(format!("{method} {route}"));
        span.set_attribute("http.request.method", method.to_string());
        span.set_attribute("http.route", route.to_owned());
        span.set_attribute("http.response.status_code", i64::from(status));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }
}

/// The client's span.
fn remote(parent: &TraceParent) -> Option<SpanContext> {
    let trace_id = TraceId::from_hex(parent.trace_id()).ok()?;
    let span_id = SpanId::from_hex(parent.parent_id()).ok()?;
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    Some(SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE))
}

/// Sends batches. It blocks, which the thread that gathers them is for.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(EXPORT_TIMEOUT));
        Self(config.build().into())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, &*body))?;
        let (head, mut body) = answer.into_parts();
        Ok(Response::from_parts(head, body.read_to_vec()?.into()))
    }
}

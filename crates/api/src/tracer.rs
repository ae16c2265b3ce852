//! What a tracing system must do to follow requests.

use crate::traceparent::TraceParent;
use actix_web::http::Method;
use tracing::Span;

/// Follows requests to somewhere else than the log.
pub trait Tracer: Send + Sync {
    /// A request begins: in its client's trace if it named one. The span has the fields `trace_id` and
    /// `otel.kind`.
    fn begin(&self, span: &Span, parent: Option<&TraceParent>);

    fn end(&self, span: &Span, answered: &Answered<'_>);
}

/// An answered request, as a [`Tracer`] sees it.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub method: &'a Method,
    /// The template of its route.
    pub route: &'a str,
    pub status: u16,
}

//! The answers of the OTLP endpoints. OTLP defines its own bodies, in the encoding of the request, and says which
//! statuses a client tries again after: 429, 502, 503 and 504. Transient failures are therefore answered with one of these.

use crate::problem::{PROBLEM_JSON, Problem, ProblemCode, ProtocolError};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use callscope_connectors::otlp::answer::{self, Rejected, StatusCode as RpcCode};
use callscope_connectors::otlp::{Encoding, Signal};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::openapi::content::Content;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// When a client may try again. Exporters give a request and its retries 10 seconds, and drop what they would have to
/// hold for longer.
const RETRY_AFTER_S: &str = "1";

/// The answer to a request that was read.
pub fn exported(signal: Signal, encoding: Encoding, rejected: &Rejected) -> HttpResponse {
    let body = answer::export_response(signal, encoding, rejected);
    HttpResponse::Ok().content_type(encoding.content_type()).body(body)
}

/// The answer to a request that failed.
pub fn failed(encoding: Encoding, problem: &Problem) -> HttpResponse {
    let original = problem.error_response();
    let (status, code) = match problem.status_code() {
        StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, RpcCode::Unauthenticated),
        StatusCode::FORBIDDEN => (StatusCode::FORBIDDEN, RpcCode::PermissionDenied),
        StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, RpcCode::ResourceExhausted),
        StatusCode::TOO_MANY_REQUESTS => (StatusCode::TOO_MANY_REQUESTS, RpcCode::ResourceExhausted),
        // The type or the encoding of the body is unknown, so the client may not be one of OTLP.
        StatusCode::UNSUPPORTED_MEDIA_TYPE => return original,
        StatusCode::REQUEST_TIMEOUT => (StatusCode::SERVICE_UNAVAILABLE, RpcCode::Unavailable),
        status if status.is_server_error() => (StatusCode::SERVICE_UNAVAILABLE, RpcCode::Unavailable),
        _ => (StatusCode::BAD_REQUEST, RpcCode::InvalidArgument),
    };
    let mut response = HttpResponse::build(status);
    response.content_type(encoding.content_type());
    if let Some(challenge) = original.headers().get(header::WWW_AUTHENTICATE) {
        response.insert_header((header::WWW_AUTHENTICATE, challenge.clone()));
    }
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.insert_header((header::RETRY_AFTER, RETRY_AFTER_S));
    }
    let mut response = response.body(answer::error(encoding, code, &problem.to_string()));
    response.extensions_mut().insert(ProtocolError);
    response
}

/// A request of OTLP in its JSON mapping.
#[derive(ToSchema)]
#[schema(example = json!({"resourceSpans": []}))]
pub struct ExportRequest {}

/// The answer to an export: `{}` when every record was kept, or ignored because it says nothing of a call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({}))]
pub struct ExportResult {
    /// What was not kept. A client must not send it again.
    #[schema(required = false)]
    partial_success: Option<PartialSuccess>,
}

/// What was not kept of an export.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartialSuccess {
    /// Of traces: how many spans, as a decimal number.
    #[schema(required = false, example = "3")]
    rejected_spans: Option<String>,
    /// Of logs: how many records, as a decimal number.
    #[schema(required = false, example = "3")]
    rejected_log_records: Option<String>,
    /// Why.
    #[schema(example = "3 spans were not kept: 3 have an invalid id or time")]
    error_message: String,
}

/// An error of OTLP: `google.rpc.Status`.
#[derive(Serialize, ToSchema)]
pub struct RpcStatus {
    /// 3 invalid argument, 7 permission denied, 8 resource exhausted, 14 unavailable, 16 unauthenticated.
    #[schema(minimum = 0, example = 3)]
    code: i32,
    /// What is wrong.
    #[schema(example = "the body is not an ExportTraceServiceRequest")]
    message: String,
}

/// The failures of an export, for the OpenAPI document.
pub struct ExportFailures;

impl IntoResponses for ExportFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let own = [
            (StatusCode::BAD_REQUEST, "The body cannot be read. Do not send it again"),
            (StatusCode::UNAUTHORIZED, "A valid credential is required"),
            (StatusCode::FORBIDDEN, "The credential lacks the scope calls:write"),
            (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large. Do not send it again"),
            (StatusCode::TOO_MANY_REQUESTS, "Too many requests. Send it again after `Retry-After`"),
            (StatusCode::SERVICE_UNAVAILABLE, "The telemetry was not stored. Send it again after `Retry-After`"),
        ];
        let mut responses: BTreeMap<_, _> = own
            .into_iter()
            .map(|(status, text)| (status.as_str().to_owned(), RefOr::T(failure(status, text))))
            .collect();
        let detail = "Content-Type must be application/x-protobuf or application/json";
        let example = Problem::new(ProblemCode::UnsupportedMediaType, detail);
        let problem = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .example(serde_json::to_value(example).ok())
            .build();
        let unsupported = ResponseBuilder::new()
            .description("The body's type or encoding is not supported")
            .content(PROBLEM_JSON, problem);
        responses.insert(StatusCode::UNSUPPORTED_MEDIA_TYPE.as_str().to_owned(), RefOr::T(unsupported.build()));
        responses
    }
}

fn failure(status: StatusCode, description: &str) -> Response {
    let status_json = ContentBuilder::new().schema(Some(Ref::from_schema_name("RpcStatus"))).build();
    let response = ResponseBuilder::new()
        .description(description)
        .content(Encoding::Json.content_type(), status_json)
        .content(Encoding::Protobuf.content_type(), bytes());
    let (name, kind) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ("WWW-Authenticate", Type::String),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ("Retry-After", Type::Integer),
        _ => return response.build(),
    };
    let schema = ObjectBuilder::new().schema_type(kind).build();
    response.header(name, HeaderBuilder::new().schema(Some(schema)).build()).build()
}

fn bytes() -> Content {
    let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
    let schema = ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).build();
    ContentBuilder::new().schema(Some(schema)).build()
}

/// A message in protobuf.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it describes bytes")]
pub struct ProtobufMessage(Vec<u8>);

//! The write endpoints.

use crate::auth::{Authorized, CallsWrite};
use crate::body::{self, Expected, Format, Unpacked};
use crate::field::{FieldCode, FieldError, Rule};
use crate::limits::ApiLimits;
use crate::params::IngestParams;
use crate::parsing::parse;
use crate::problem::{Problem, ProblemCode};
use crate::problem_responses::problems;
use crate::reading::{IGNORED_FIELDS_MAX, ParsedRecord, RecordContext, RefusedRecord, parse_record, uuid};
use crate::record::CallRecord;
use crate::rejections::{RejectedRecord, Rejections};
use crate::schemas::{BatchLines, BatchRecords};
use crate::state::ApiState;
use crate::unpacking::took_too_long;
use actix_web::http::StatusCode;
use actix_web::{CustomizeResponder, HttpRequest, Responder, post, put, web};
use callscope_analytics::ingestion::rows;
use callscope_domain::{CallId, Incoming, Refusal, TenantId, TransitionKind};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Instant;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

problems! {
    /// Of the endpoint for a batch.
    WriteProblems:
    MalformedRequest = "the body is not valid gzip, or is cut short",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope calls:write",
    RequestTimeout = "the body must arrive within 1m",
    PayloadTooLarge = "the body must hold at most 50000 records; split it",
    UnsupportedMediaType = "Content-Type must be application/x-ndjson or application/json",
    ValidationError = "(body) empty: must hold at least one record",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Overloaded = "too many records are waiting to be written; nothing was stored",
}

problems! {
    /// Of the endpoint for one record.
    PutProblems:
    MalformedRequest = "the body is not valid JSON: expected `,` or `}` (column 12)",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope calls:write",
    RequestTimeout = "the body must arrive within 1m",
    PayloadTooLarge = "the body must be at most 67108864 bytes, as sent and after decompression; split it",
    UnsupportedMediaType = "Content-Type must be application/json",
    ValidationError = "ended_at inconsistent: must not be before started_at",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Overloaded = "too many records are waiting to be written; nothing was stored",
}

type State = web::Data<ApiState>;

/// Records after which the parser looks at the time.
const RECORDS_PER_LOOK: usize = 64;

/// What is wrong with a record that came too late: its call may have been counted and deleted, so it cannot be counted
/// again.
const EXPIRED: &str = "must not be before the retention horizon: calls that started earlier are no longer kept; leave \
    the record out";

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(put_call).service(ingest_calls);
}

/// What became of one record.
#[derive(Serialize, ToSchema)]
struct PutResult {
    /// The call.
    #[schema(example = "31c02e4f-12e0-4af0-869b-aab222503a09")]
    call_id: Uuid,
    /// What became of the record.
    result: PutOutcome,
    /// Latencies that were null, not above 0 or above 600,000 ms; they were dropped, the call was kept.
    #[schema(minimum = 0, example = 0)]
    dropped_samples: u64,
    /// Fields of the record that this server does not know, such as `providers[].region`; they were ignored.
    #[schema(max_items = 50, example = json!([]))]
    ignored_fields: Vec<String>,
}

/// Whether a record created or replaced its call.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PutOutcome {
    /// The call was unknown.
    Created,
    /// The call is now what the record says.
    Replaced,
    /// The record is `active` and came after the call's end; the call stays as it is.
    Ignored,
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
struct IngestResult {
    /// Records that were accepted; they are durable.
    #[schema(minimum = 0, example = 2)]
    accepted: u64,
    /// Records that were not, in order.
    rejected: Vec<RejectedRecord>,
    /// Further records that were not: `rejected` holds no more of them than fit into an answer of 2 MiB. Absent if there
    /// are none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false, minimum = 0, example = 0)]
    rejected_omitted: u64,
    /// Latencies of accepted records that were null, not above 0 or above 600,000 ms; they were dropped, the calls
    /// were kept.
    #[schema(minimum = 0, example = 0)]
    dropped_samples: u64,
    /// Fields of accepted records that this server does not know, such as `providers[].region`, each named once; they
    /// were ignored.
    #[schema(max_items = 50, example = json!([]))]
    ignored_fields: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde demands it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Store one call
///
/// Stores the whole state of one call: creates it, or replaces the stored record. Sending a record twice changes
/// nothing. An `active` record never reopens a finished call. Where a retention time is configured, a record of a call
/// that started before it is refused; so is a record that meets a bound on what one tenant may keep. When the answer
/// arrives, the data is durable.
#[utoipa::path(
    tag = "Ingestion",
    params(("call_id" = Uuid, Path, description = "The call's id, unique within the tenant",
            example = "31c02e4f-12e0-4af0-869b-aab222503a09"), IngestParams),
    request_body(content = CallRecord, description = "The call. `call_id` may be left out; if it is there, it must be \
        that of the path. `Content-Encoding` may be gzip or zstd."),
    responses(
        (status = 201, description = "The call is new", body = PutResult),
        (status = 200, description = "The call was known; it was replaced or left unchanged",
         body = PutResult,
         example = json!({"call_id": "31c02e4f-12e0-4af0-869b-aab222503a09", "result": "replaced", "dropped_samples": 0, "ignored_fields": []})),
        PutProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[put("/api/v1/ingest/calls/{call_id}")]
async fn put_call(
    state: State,
    asked: Authorized<CallsWrite, IngestParams>,
    call_id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<CustomizeResponder<web::Json<PutResult>>, Problem> {
    let bytes_max = state.limits.body_bytes_max;
    let expected = Expected { tenant: asked.tenant, formats: &[Format::Json], bytes_max };
    let received = body::receive(&state.bodies, &request, payload, expected).await?;
    let call_id = CallId(uuid(&call_id).map_err(|fault| Problem::invalid_field("call_id", fault))?);
    let (tenant, received_at, strict) = (asked.tenant, state.clock.now(), asked.params.strict);
    let context = RecordContext { tenant, path_id: Some(call_id), received_at, strict };
    let (parsed, _room) = parse(&state.parsers, tenant, received, move |Unpacked { bytes, room, .. }| {
        Ok((parse_record(&bytes, context).map_err(refused)?, room))
    })
    .await?;
    let kinds = submit(&state, asked.tenant, vec![Incoming::Record(parsed.call)]).await?;
    let result = outcome_of(kinds.first().copied().unwrap_or(TransitionKind::Ignored));
    let dropped_samples = if result.is_ok() { parsed.dropped_samples } else { 0 };
    state.metrics.ingestion.count(u64::from(result.is_ok()), u64::from(result.is_err()), dropped_samples);
    let result = result?;
    let status = if matches!(result, PutOutcome::Created) { StatusCode::CREATED } else { StatusCode::OK };
    let ParsedRecord { dropped_samples, ignored_fields, .. } = parsed;
    let response = PutResult { call_id: call_id.0, result, dropped_samples, ignored_fields };
    Ok(web::Json(response).customize().with_status(status))
}

/// Writes records, and waits until they are durable, though not for ever.
async fn submit(state: &ApiState, tenant: TenantId, arrivals: Vec<Incoming>) -> Result<Vec<TransitionKind>, Problem> {
    let written = tokio::time::timeout(state.limits.request_timeout, state.ingest.submit(tenant, arrivals)).await;
    let detail = "the records were not written in time, and may still be; send them again";
    Ok(written.map_err(|_| Problem::new(ProblemCode::Unavailable, detail))??)
}

fn outcome_of(kind: TransitionKind) -> Result<PutOutcome, Problem> {
    match kind {
        TransitionKind::Created => Ok(PutOutcome::Created),
        TransitionKind::Replaced => Ok(PutOutcome::Replaced),
        TransitionKind::TimedOut | TransitionKind::Ignored => Ok(PutOutcome::Ignored),
        TransitionKind::Expired | TransitionKind::Refused(_) => {
            Err(Problem::invalid(fault_of(kind).into_iter().collect()))
        }
    }
}

/// The fault of a record that was understood and not stored, if it was not.
#[must_use]
pub fn fault_of(kind: TransitionKind) -> Option<FieldError> {
    match kind {
        TransitionKind::Created | TransitionKind::Replaced | TransitionKind::TimedOut | TransitionKind::Ignored => None,
        TransitionKind::Expired => Some(expired_record()),
        TransitionKind::Refused(refusal) => Some(refused_record(refusal)),
    }
}

fn expired_record() -> FieldError {
    FieldError::new("started_at", Rule::new(FieldCode::Expired, EXPIRED))
}

fn refused_record(refusal: Refusal) -> FieldError {
    let field = match refusal {
        Refusal::StartTooOld { .. } => "started_at",
        Refusal::ActiveCalls { .. } => "status",
        Refusal::Rows { .. } => "call_id",
    };
    FieldError::new(field, refusal)
}

/// One refused record as a whole refused request.
fn refused(record: RefusedRecord) -> Problem {
    match record.errors.first() {
        Some(error) if error.code == FieldCode::InvalidJson => {
            Problem::new(ProblemCode::MalformedRequest, format!("the body {}", error.message))
        }
        _ => Problem::invalid(record.errors),
    }
}

/// Store a batch of calls
///
/// Stores many records, in order, each as a `PUT` of its own would. An invalid record does not affect the others: it is
/// listed in `rejected` with each invalid field, as is a record of a call that started before the retention horizon,
/// if one is configured, and a record that meets a bound on what one tenant may keep. When the answer arrives, the data
/// is durable. At most 50,000 records and 64 MiB, as sent and after decompression, unless configured otherwise.
#[utoipa::path(
    tag = "Ingestion",
    request_body(
        content(
            (inline(BatchRecords) = "application/json"),
            (inline(BatchLines) = "application/x-ndjson", example = json!("{\"call_id\":\"31c02e4f-12e0-4af0-869b-aab222503a09\",\
\"status\":\"active\",\"started_at\":\"2026-01-17T10:30:00Z\"}\n"))
        ),
        description = "A JSON array of records, or one record a line. `Content-Encoding` may be gzip or zstd."
    ),
    responses(
        (status = 200, description = "Every record was accepted, or is listed in `rejected`",
         body = IngestResult),
        WriteProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[post("/api/v1/ingest/calls")]
async fn ingest_calls(
    state: State,
    asked: Authorized<CallsWrite, IngestParams>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<IngestResult>, Problem> {
    let bytes_max = state.limits.body_bytes_max;
    let expected = Expected { tenant: asked.tenant, formats: &[Format::Ndjson, Format::Json], bytes_max };
    let received = body::receive(&state.bodies, &request, payload, expected).await?;
    let (tenant, limits) = (asked.tenant, state.limits);
    let context = RecordContext { tenant, path_id: None, received_at: state.clock.now(), strict: asked.params.strict };
    let (batch, _room) = parse(&state.parsers, tenant, received, move |unpacked| {
        let batch = parse_batch(&unpacked, limits, context)?;
        Ok((batch, unpacked.room))
    })
    .await?;
    let Batch { arrivals, accepted, rejections, ignored_fields } = batch;
    let kinds = submit(&state, tenant, arrivals).await?;
    let response = IngestResult { ignored_fields, ..answer(&accepted, &kinds, rejections) };
    let rejected = response.rejected.len() as u64 + response.rejected_omitted;
    state.metrics.ingestion.count(response.accepted, rejected, response.dropped_samples);
    Ok(web::Json(response))
}

/// A batch that was read: what to write, and what to answer when that is done.
struct Batch {
    arrivals: Vec<Incoming>,
    /// What the answer says of each arrival.
    accepted: Vec<AcceptedRecord>,
    rejections: Rejections,
    ignored_fields: Vec<String>,
}

/// A record that was understood.
struct AcceptedRecord {
    index: usize,
    call_id: CallId,
    dropped_samples: u64,
}

/// The answer to a batch that was written: records that met a bound on what is kept are rejected as well.
fn answer(accepted: &[AcceptedRecord], kinds: &[TransitionKind], mut rejections: Rejections) -> IngestResult {
    let (mut taken, mut dropped_samples) = (0, 0);
    for (record, kind) in accepted.iter().zip(kinds) {
        if let Some(fault) = fault_of(*kind) {
            rejections.add(record.index, Some(record.call_id.0.to_string()), vec![fault]);
        } else {
            taken += 1;
            dropped_samples += record.dropped_samples;
        }
    }
    let Rejections { records: mut rejected, omitted: rejected_omitted, .. } = rejections;
    rejected.sort_by_key(|record| record.index);
    IngestResult { accepted: taken, rejected, rejected_omitted, dropped_samples, ignored_fields: Vec::new() }
}

fn parse_batch(body: &Unpacked, limits: ApiLimits, context: RecordContext) -> Result<Batch, Problem> {
    let records = body::records(body, limits.body_records_max)?;
    let (mut arrivals, mut accepted) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
    let (mut rejections, mut batch_rows, mut ignored_fields) = (Rejections::default(), 0, BTreeSet::new());
    for (index, json) in records.iter().enumerate() {
        if index % RECORDS_PER_LOOK == 0 && Instant::now() >= body.deadline {
            return Err(took_too_long());
        }
        match parse_record(json, context) {
            Ok(ParsedRecord { call, dropped_samples, ignored_fields: ignored }) => {
                ignored_fields.extend(ignored);
                while ignored_fields.len() > IGNORED_FIELDS_MAX {
                    ignored_fields.pop_last();
                }
                accepted.push(AcceptedRecord { index, call_id: call.facts().id, dropped_samples });
                let incoming = Incoming::Record(call);
                batch_rows += rows(&incoming);
                if batch_rows > limits.body_rows_max {
                    return Err(too_many_rows(limits.body_rows_max));
                }
                arrivals.push(incoming);
            }
            Err(RefusedRecord { call_id, errors }) => rejections.add(index, call_id, errors),
        }
    }
    Ok(Batch { arrivals, accepted, rejections, ignored_fields: ignored_fields.into_iter().collect() })
}

fn too_many_rows(rows_max: usize) -> Problem {
    let detail = format!("the body must hold at most {rows_max} records, errors and providers together; split it");
    Problem::new(ProblemCode::PayloadTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_record_is_rejected_at_its_place_and_not_counted_as_accepted() {
        let accepted = |index, dropped_samples| AcceptedRecord {
            index,
            call_id: CallId(Uuid::from_u128(index as u128)),
            dropped_samples,
        };
        let mut rejections = Rejections::default();
        rejections.add(1, None, Vec::new());
        let kinds =
            [TransitionKind::Expired, TransitionKind::Created, TransitionKind::Ignored, TransitionKind::Expired];
        let response = answer(&[accepted(0, 1), accepted(2, 2), accepted(3, 0), accepted(4, 4)], &kinds, rejections);
        assert_eq!((response.accepted, response.dropped_samples), (2, 2));
        let rejected: Vec<_> = response.rejected.iter().map(|record| (record.index, record.call_id.clone())).collect();
        let id = |index| Some(Uuid::from_u128(index).to_string());
        assert_eq!(rejected, [(0, id(0)), (1, None), (4, id(4))]);
        assert_eq!(response.rejected[2].errors[0].field, "started_at");
    }

    #[test]
    fn an_expired_put_is_refused() {
        assert!(outcome_of(TransitionKind::Ignored).is_ok());
        let problem = outcome_of(TransitionKind::Expired).err().expect("it is refused");
        assert_eq!(problem.to_string(), format!("started_at: {EXPIRED}"));
    }
}

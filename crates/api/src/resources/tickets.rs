//! Tickets: what a browser opens a socket with, as it can send no header there.

use crate::auth::{AnalyticsRead, Authorized};
use crate::problem::Problem;
use crate::problem_responses::problems;
use crate::responses::rfc3339;
use crate::state::ApiState;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{CustomizeResponder, Responder, post, web};
use callscope_analytics::tickets::TicketSecret;
use callscope_domain::{Scope, Span, Ticket};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

problems! {
    /// Of the endpoint for tickets.
    TicketProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    ValidationError = "x: is unknown; this operation takes no parameters",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

/// What a ticket may do: to watch. It travels in an address, which others log.
const TICKET_SCOPES: [Scope; 1] = [Scope::AnalyticsRead];

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(create_ticket);
}

/// A ticket.
#[derive(Serialize, ToSchema)]
struct TicketResponse {
    /// The ticket: the value of the parameter `ticket` in the address of a socket or stream.
    #[schema(example = "cs_ticket_31c02e4f12e04af0869baab222503a09_\
        0000000000000000000000000000000000000000000000000000000000000000")]
    ticket: String,
    /// When it becomes invalid.
    #[schema(format = DateTime, example = "2026-01-17T12:00:30Z")]
    expires_at: String,
}

/// Create a ticket for one socket or stream
///
/// For browsers, which cannot send a credential in a header there; a key or token in an address would end up in logs.
/// The ticket opens one WebSocket or event stream, once, within 30 seconds unless configured otherwise. The socket can
/// read analytics only, and is closed when the credential that created the ticket becomes invalid.
#[utoipa::path(
    tag = "Access",
    responses(
        (status = 201, description = "The ticket", body = TicketResponse),
        TicketProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[post("/api/v1/auth/tickets")]
async fn create_ticket(
    state: web::Data<ApiState>,
    asked: Authorized<AnalyticsRead>,
) -> Result<CustomizeResponder<web::Json<TicketResponse>>, Problem> {
    let (now, ttl) = (state.clock.now(), state.authenticator.ticket_ttl);
    let secret = TicketSecret::generate(asked.tenant);
    let ticket = Ticket {
        tenant_id: asked.tenant,
        scopes: TICKET_SCOPES.to_vec(),
        holder: asked.credential.principal,
        expires_at: now + Span::from_micros(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)),
        credential_expires_at: asked.credential.expires_at,
    };
    if !state.authenticator.store.create_ticket(&ticket, &secret.hash(), now).await? {
        return Err(Problem::too_many("the tenant has too many tickets that were not used yet", ttl.as_secs().max(1)));
    }
    let response = TicketResponse { ticket: secret.reveal().to_owned(), expires_at: rfc3339(ticket.expires_at) };
    let response = web::Json(response).customize().with_status(StatusCode::CREATED);
    Ok(response.insert_header((CACHE_CONTROL, "no-store")))
}

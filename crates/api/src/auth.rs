//! Authentication and authorization of requests, as extractors. A handler that names [`Authorized`] cannot forget the check.

use crate::HeadOnly;
use crate::authenticator::{Authenticator, Credential, RequestLimits};
use crate::live::{self, ANALYTICS_SOCKET_PATH, CALLS_SOCKET_PATH};
use crate::params::{NoParams, Query, QueryParams};
use crate::problem::Problem;
use crate::state::ApiState;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use callscope_domain::{Scope, TenantId};
use futures_util::future::LocalBoxFuture;
use std::marker::PhantomData;

/// The header that carries a key by itself.
pub const API_KEY_HEADER: &str = "X-API-Key";
/// The parameter of a socket's address that carries a ticket.
const TICKET_PARAM: &str = "ticket";
/// The one that carries a key or a token, where that is allowed.
const TOKEN_PARAM: &str = "access_token";

/// A scope as a type, for the signature of a handler.
pub trait Right {
    const SCOPE: Scope;
    const LIMITS: RequestLimits = RequestLimits::Configured;
}

pub struct AnalyticsRead;

pub struct CallsWrite;

/// As [`CallsWrite`], for exporters of telemetry. Each process of an agent sends every second or so and drops what is
/// refused for long, so the limits of requests of the settings would lose telemetry. The room for bodies bounds it.
pub struct TelemetryWrite;

pub struct KeysManage;

impl Right for AnalyticsRead {
    const SCOPE: Scope = Scope::AnalyticsRead;
}

impl Right for CallsWrite {
    const SCOPE: Scope = Scope::CallsWrite;
}

impl Right for TelemetryWrite {
    const SCOPE: Scope = Scope::CallsWrite;
    const LIMITS: RequestLimits = RequestLimits::OfKey;
}

impl Right for KeysManage {
    const SCOPE: Scope = Scope::KeysManage;
}

/// A request with a valid credential that carries the right `R`, and with a valid query string. The credential is checked
/// first, so that requests without one learn nothing about parameters.
pub struct Authorized<R, P = NoParams> {
    /// The credential's tenant.
    pub tenant: TenantId,
    pub params: P,
    pub credential: Credential,
    right: PhantomData<R>,
}

impl<R: Right, P: QueryParams> FromRequest for Authorized<R, P> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let authenticator = authenticator(&request)?;
            let presented = credential(request.headers())?.ok_or_else(|| Problem::unauthenticated(ABSENT))?;
            let credential = authenticator.authenticate(&request, presented).await?;
            authenticator.authorize(&request, &credential, R::SCOPE, R::LIMITS)?;
            let params = P::from_query_string(request.query_string())?;
            Ok(Self { tenant: credential.tenant, params, credential, right: PhantomData })
        })
    }
}

/// As [`Authorized`], for routes that browsers open as sockets or streams of events, where they cannot send headers:
/// besides the headers, a ticket in the query string is a credential, and a key or token there if the settings
/// allow it. Neither is left among the parameters.
pub struct SocketAuthorized<R, P = NoParams> {
    /// The credential's tenant.
    pub tenant: TenantId,
    /// The query string without its credential.
    pub params: P,
    /// While a socket is open, it is checked at intervals whether the credential
    /// [is still valid](Authenticator::is_still_valid).
    pub credential: Credential,
    right: PhantomData<R>,
}

impl<R: Right, P: QueryParams> FromRequest for SocketAuthorized<R, P> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let authenticator = authenticator(&request)?;
            let mut query = Query::parse(request.query_string());
            let secrets = query.as_mut().map(Secrets::take).unwrap_or_default();
            let credential = secrets.authenticate(authenticator, &request).await?;
            authenticator.authorize(&request, &credential, R::SCOPE, R::LIMITS)?;
            let params = P::from_query(query?)?;
            Ok(Self { tenant: credential.tenant, params, credential, right: PhantomData })
        })
    }
}

/// The part of a query string that only the authenticator may see.
#[derive(Default)]
struct Secrets {
    tickets: Vec<String>,
    tokens: Vec<String>,
}

impl Secrets {
    fn take(query: &mut Query) -> Self {
        Self { tickets: query.take_secrets(TICKET_PARAM), tokens: query.take_secrets(TOKEN_PARAM) }
    }

    async fn authenticate(self, authenticator: &Authenticator, request: &HttpRequest) -> Result<Credential, Problem> {
        if !self.tokens.is_empty() && !authenticator.query_tokens {
            return Err(Problem::unauthenticated(
                "access_token is not accepted here; send a ticket from /api/v1/auth/tickets",
            ));
        }
        match (credential(request.headers())?, self.tickets.as_slice(), self.tokens.as_slice()) {
            (Some(presented), [], []) => authenticator.authenticate(request, presented).await,
            (None, [ticket], []) => {
                must_open(request)?;
                authenticator.redeem(request, ticket).await
            }
            (None, [], [token]) => authenticator.authenticate(request, token).await,
            (None, [], []) => Err(Problem::unauthenticated(ABSENT_FOR_SOCKET)),
            _ => Err(Problem::unauthenticated(DIFFERENT)),
        }
    }
}

/// Whether a request opens what a ticket is for, so that one which cannot does not use the ticket up.
fn must_open(request: &HttpRequest) -> Result<(), Problem> {
    let is_socket =
        request.match_pattern().is_some_and(|path| path == CALLS_SOCKET_PATH || path == ANALYTICS_SOCKET_PATH);
    if is_socket {
        live::check_handshake(request)
    } else if request.extensions().contains::<HeadOnly>() {
        Err(Problem::unauthenticated("a ticket opens a stream by GET; HEAD does not use it up"))
    } else {
        Ok(())
    }
}

const ABSENT: &str = "send an API key in X-API-Key, or in Authorization as a Bearer token";
const ABSENT_FOR_SOCKET: &str =
    "send a ticket from /api/v1/auth/tickets as the parameter ticket, or an API key or a token in a header";
const DIFFERENT: &str = "the request carries different credentials; send one";

/// Counts a request without a credential against the limit of its client address.
pub fn count_page(request: &HttpRequest) -> Result<(), Problem> {
    authenticator(request)?.count_page(request)
}

fn authenticator(request: &HttpRequest) -> Result<&Authenticator, Problem> {
    let state = request.app_data::<web::Data<ApiState>>().ok_or_else(Problem::internal)?;
    Ok(&state.authenticator)
}

/// The key or token that a request presents, in either of the two headers; several times only if all are the same.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let api_keys = headers.get_all(API_KEY_HEADER).map(text);
    let bearers = headers.get_all(header::AUTHORIZATION).map(|value| text(value).and_then(bearer));
    let mut presented = api_keys.chain(bearers);
    let Some(first) = presented.next().transpose()? else { return Ok(None) };
    for other in presented {
        if other? != first {
            return Err(Problem::unauthenticated(DIFFERENT));
        }
    }
    Ok(Some(first))
}

fn text(value: &HeaderValue) -> Result<&str, Problem> {
    value.to_str().map(str::trim).map_err(|_| Problem::unauthenticated("the credential is not plain text"))
}

fn bearer(value: &str) -> Result<&str, Problem> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Problem::unauthenticated("the Authorization header must be of the form: Bearer cs_live_…"))
    }
}

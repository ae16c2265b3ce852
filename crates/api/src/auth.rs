//! Who asks, and what they may do. A handler that names [`Authorized`] cannot forget to check.

use crate::params::{NoParams, QueryParams};
use crate::problem::{Problem, ProblemCode};
use crate::state::ApiState;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{FromRequest, HttpRequest, web};
use callscope_analytics::keys::hash_key;
use callscope_domain::{Scope, TenantId};
use futures_util::future::LocalBoxFuture;
use std::marker::PhantomData;

/// The header that carries a key by itself.
pub const API_KEY_HEADER: &str = "X-API-Key";

/// A right that a handler demands, as a type.
pub trait Right {
    /// The scope that grants it.
    const SCOPE: Scope;
}

/// To ask the analytics endpoints.
pub struct AnalyticsRead;

/// To send call records.
pub struct CallsWrite;

impl Right for AnalyticsRead {
    const SCOPE: Scope = Scope::AnalyticsRead;
}

impl Right for CallsWrite {
    const SCOPE: Scope = Scope::CallsWrite;
}

/// A request whose credential is valid and carries the right `R`, and whose query string is sound. The credential is
/// looked at first: strangers learn nothing about parameters.
pub struct Authorized<R, P = NoParams> {
    /// Whose data it is about: the credential's tenant, and no other.
    pub tenant: TenantId,
    /// What the query string says.
    pub params: P,
    right: PhantomData<R>,
}

impl<R: Right, P: QueryParams> FromRequest for Authorized<R, P> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let tenant = authorize(&request, R::SCOPE).await?;
            let params = P::from_query_string(request.query_string())?;
            Ok(Self { tenant, params, right: PhantomData })
        })
    }
}

async fn authorize(request: &HttpRequest, scope: Scope) -> Result<TenantId, Problem> {
    let state = request
        .app_data::<web::Data<ApiState>>()
        .ok_or_else(|| Problem::new(ProblemCode::InternalError, "the server is not set up"))?;
    let presented = credential(request.headers())?;
    let hash = hash_key(presented).ok_or_else(|| unauthenticated("the API key is not valid"))?;
    let key = state.tenants.find_key(&hash).await?.ok_or_else(|| unauthenticated("the API key is not valid"))?;
    if key.revoked_at.is_some() {
        return Err(unauthenticated("the API key has been revoked"));
    }
    if !key.is_valid_at(state.clock.now()) {
        return Err(unauthenticated("the API key has expired"));
    }
    if !key.allows(scope) {
        return Err(forbidden(scope));
    }
    Ok(key.tenant_id)
}

/// The key that a request presents, in either of the two headers; several times only if all are the same.
fn credential(headers: &HeaderMap) -> Result<&str, Problem> {
    let api_keys = headers.get_all(API_KEY_HEADER).map(text);
    let bearers = headers.get_all(header::AUTHORIZATION).map(|value| text(value).and_then(bearer));
    let mut presented = api_keys.chain(bearers);
    let absent = || unauthenticated("send an API key in X-API-Key, or in Authorization as a Bearer token");
    let first = presented.next().ok_or_else(absent)??;
    for other in presented {
        if other? != first {
            return Err(unauthenticated("the request carries different credentials; send one"));
        }
    }
    Ok(first)
}

fn text(value: &HeaderValue) -> Result<&str, Problem> {
    value.to_str().map(str::trim).map_err(|_| unauthenticated("the credential is not plain text"))
}

fn bearer(value: &str) -> Result<&str, Problem> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(unauthenticated("the Authorization header must be of the form: Bearer cs_live_…"))
    }
}

fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::AuthenticationError, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="callscope""#))
}

fn forbidden(scope: Scope) -> Problem {
    let challenge = format!(r#"Bearer realm="callscope", error="insufficient_scope", scope="{scope}""#);
    let problem = Problem::new(ProblemCode::AuthorizationError, format!("the credential lacks the scope {scope}"));
    match HeaderValue::from_str(&challenge) {
        Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

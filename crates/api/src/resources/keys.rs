//! The tenant's API keys.

use crate::auth::{Authorized, KeysManage};
use crate::authenticator::{Credential, KeyRules};
use crate::body::{self, Expected, Format};
use crate::field::{FieldCode, FieldError, Rule, Violation};
use crate::json::{self, Whole};
use crate::object::Object;
use crate::params::PageParams;
use crate::parsing::parse;
use crate::problem::{Problem, ProblemCode};
use crate::problem_responses::problems;
use crate::reading::uuid;
use crate::responses::rfc3339;
use crate::state::ApiState;
use crate::words::{self, timestamp};
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{CustomizeResponder, HttpRequest, HttpResponse, Responder, delete, get, post, web};
use callscope_analytics::keys::{self, KeySecret};
use callscope_domain::{
    Actor, ApiKey, DisplayName, KeyId, Principal, RATE_MAX, RateLimit, Scope, Span, Timestamp, UnknownWord,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

problems! {
    /// Of the endpoint that makes a key.
    CreateKeyProblems:
    MalformedRequest = "the body is not valid JSON: expected `,` or `}` (column 12)",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope keys:manage",
    RequestTimeout = "the body must arrive within 1m",
    LimitReached = "the tenant has 100 valid keys, the most it may have; revoke one first",
    PayloadTooLarge = "the body must be at most 67108864 bytes, as sent and after decompression; split it",
    UnsupportedMediaType = "Content-Type must be application/json",
    ValidationError = "scopes empty: must name at least one scope",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// Of the list of keys.
    ListKeysProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope keys:manage",
    ValidationError = "limit out_of_range: must be a whole number from 1 to 200",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

problems! {
    /// Of the endpoint that revokes a key.
    RevokeKeyProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope keys:manage",
    NotFound = "the tenant has no key with this id",
    ValidationError = "key_id invalid_format: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Unavailable = "the database is not available; try again later",
}

type State = web::Data<ApiState>;

/// The field that a fault of a whole body is put under.
const WHOLE_BODY: &str = "(body)";

/// A key is described in few words.
const KEY_BYTES_MAX: usize = 16 << 10;

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(create_key).service(list_keys).service(revoke_key);
}

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Dashboard", "scopes": ["analytics:read"], "expires_at": "2027-01-01T00:00:00Z",
                          "requests_per_second": 20, "burst": 40}))]
struct CreateKeyRequest {
    /// What it is for.
    #[schema(
        min_length = 1,
        max_length = 200,
        example = "Dashboard",
        pattern = r"^[^\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]*$"
    )]
    name: Option<String>,
    /// What it may do: at least one, and none that the asking credential lacks.
    #[schema(value_type = Vec<words::Scope>, required, min_items = 1)]
    scopes: Option<Vec<String>>,
    /// From when on it is refused, RFC 3339; in the future, and not later than the end of the asking credential. Left out,
    /// a key that a key makes does not expire, and one that a token makes ends as late as it may: with the token, and
    /// after 90 days at most, unless the server is configured otherwise.
    #[schema(format = DateTime, example = "2027-01-01T00:00:00Z")]
    expires_at: Option<String>,
    /// Most requests a second, in the long run. Left out, those of the asking credential. 0 is no limit, which only a
    /// credential without one can grant.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000, example = 20)]
    requests_per_second: Option<Whole>,
    /// Most requests at once; needs `requests_per_second`. Left out, twice as many.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000, example = 40)]
    burst: Option<Whole>,
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
struct KeyResponse {
    /// What it is named by when it is to be revoked.
    #[schema(example = "31c02e4f-12e0-4af0-869b-aab222503a09")]
    key_id: Uuid,
    /// What it is for.
    #[schema(required, example = "Dashboard")]
    name: Option<String>,
    /// What it may do.
    scopes: Vec<words::Scope>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-17T12:00:00Z")]
    created_at: String,
    /// From when on it is refused; null when it does not expire.
    #[schema(required, format = DateTime, example = "2027-01-01T00:00:00Z")]
    expires_at: Option<String>,
    /// When it was revoked; null when it was not.
    #[schema(required, format = DateTime)]
    revoked_at: Option<String>,
    /// Most requests a second, 0 for no limit; null when the server's own limit holds.
    #[schema(required, minimum = 0, example = 20)]
    requests_per_second: Option<u32>,
    /// Most requests at once; null when the server's own limit holds.
    #[schema(required, minimum = 1, example = 40)]
    burst: Option<u32>,
}

/// A new key.
#[derive(Serialize, ToSchema)]
struct CreateKeyResponse {
    /// The key itself. It is shown this once: only its hash is stored.
    #[schema(example = "cs_live_0000000000000000000000000000000000000000000000000000000000000000")]
    secret: String,
    /// What is known of it from now on.
    key: KeyResponse,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
struct KeyListResponse {
    /// The keys, the oldest first; those that have expired or were revoked among them.
    items: Vec<KeyResponse>,
    /// The number of all keys, whatever the page.
    #[schema(minimum = 0, example = 1)]
    total: u64,
}

impl From<&ApiKey> for KeyResponse {
    fn from(key: &ApiKey) -> Self {
        Self {
            key_id: key.id.0,
            name: key.name.as_ref().map(ToString::to_string),
            scopes: key.scopes.iter().copied().map(words::Scope).collect(),
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            revoked_at: key.revoked_at.map(rfc3339),
            requests_per_second: key.rate.map(RateLimit::requests_per_second),
            burst: key.rate.map(RateLimit::burst),
        }
    }
}

/// Create an API key and get its secret
///
/// The answer is the only place where the secret is shown. The new key cannot do more than the credential that creates
/// it: no further scope, no higher rate limit, and no later end. A tenant has at most 100 valid keys, unless configured
/// otherwise.
#[utoipa::path(
    tag = "Access",
    request_body(content = CreateKeyRequest, description = "The key to make"),
    responses(
        (status = 201, description = "The key", body = CreateKeyResponse),
        CreateKeyProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[post("/api/v1/keys")]
async fn create_key(
    state: State,
    asked: Authorized<KeysManage>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<CustomizeResponder<web::Json<CreateKeyResponse>>, Problem> {
    let expected = Expected { tenant: asked.tenant, formats: &[Format::Json], bytes_max: KEY_BYTES_MAX };
    let received = body::receive(&state.bodies, &request, payload, expected).await?;
    let wanted = parse(&state.parsers, asked.tenant, received, |unpacked| read(&unpacked.bytes)).await?;
    let rules = state.authenticator.keys;
    let key = wanted.key(&asked.credential, rules, state.authenticator.rate(&asked.credential), state.clock.now())?;
    let (secret, actor) = (KeySecret::generate(), Actor::Principal(asked.credential.principal));
    if !keys::create(&*state.authenticator.tenants, &key, &secret, &actor, rules.tenant_max).await? {
        let detail = format!("the tenant has {} valid keys, the most it may have; revoke one first", rules.tenant_max);
        return Err(Problem::new(ProblemCode::LimitReached, detail));
    }
    let response = CreateKeyResponse { secret: secret.reveal().to_owned(), key: (&key).into() };
    let response = web::Json(response).customize().with_status(StatusCode::CREATED);
    Ok(response.insert_header((CACHE_CONTROL, "no-store")))
}

/// API keys of the tenant, oldest first
///
/// The keys without their secrets, which are not stored. Expired and revoked keys stay in the list.
#[utoipa::path(
    tag = "Access",
    params(PageParams),
    responses(
        (status = 200, description = "A page of the keys", body = KeyListResponse),
        ListKeysProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/keys")]
async fn list_keys(
    state: State,
    asked: Authorized<KeysManage, PageParams>,
) -> Result<web::Json<KeyListResponse>, Problem> {
    let (keys, total) = state.authenticator.store.list_key_page(asked.tenant, asked.params.page()).await?;
    keys::log_listing(asked.tenant, &Actor::Principal(asked.credential.principal));
    Ok(web::Json(KeyListResponse { items: keys.iter().map(Into::into).collect(), total }))
}

/// Revoke an API key
///
/// The key becomes invalid. Revoking it again changes nothing. Other servers on the same database may accept it for a
/// few seconds more.
#[utoipa::path(
    tag = "Access",
    params(("key_id" = Uuid, Path, description = "The key's id, as `GET /api/v1/keys` returns it",
            example = "31c02e4f-12e0-4af0-869b-aab222503a09")),
    responses(
        (status = 204, description = "The key is revoked"),
        RevokeKeyProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[delete("/api/v1/keys/{key_id}")]
async fn revoke_key(
    state: State,
    asked: Authorized<KeysManage>,
    key_id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let key_id = KeyId(uuid(&key_id).map_err(|fault| Problem::invalid_field("key_id", fault))?);
    let actor = Actor::Principal(asked.credential.principal);
    if keys::revoke(&*state.authenticator.tenants, asked.tenant, key_id, state.clock.now(), &actor).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::new(ProblemCode::NotFound, "the tenant has no key with this id"))
    }
}

fn read(body: &[u8]) -> Result<CreateKeyRequest, Problem> {
    let read: Result<Object<CreateKeyRequest>, _> = serde_json::from_slice(body);
    let Object { value, unknown, known } = read.map_err(|error| {
        let fault = json::fault::<Object<CreateKeyRequest>>(body, &error);
        if fault.field != json::WHOLE_RECORD {
            return Problem::invalid(vec![fault]);
        }
        if fault.code == FieldCode::InvalidJson {
            return Problem::new(ProblemCode::MalformedRequest, format!("the body {}", fault.message));
        }
        Problem::invalid(vec![FieldError { field: WHOLE_BODY.to_owned(), ..fault }])
    })?;
    if unknown.is_empty() {
        return Ok(value);
    }
    Err(Problem::invalid(unknown.into_iter().map(|name| FieldError::new(name, Rule::unknown(known))).collect()))
}

/// Takes fields one after the other and remembers which are at fault.
#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn check<T, E: Violation>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        let fault = |fault: E| self.0.push(FieldError::new(field, fault));
        value.map_err(fault).ok()
    }
}

impl CreateKeyRequest {
    /// The key that is asked for by a credential with a limit of its own or the server's.
    fn key(self, by: &Credential, rules: KeyRules, rate_of_by: RateLimit, now: Timestamp) -> Result<ApiKey, Problem> {
        let mut faults = Faults::default();
        let name = self.name.and_then(|name| faults.check("name", DisplayName::new(name)));
        let scopes = faults.check("scopes", scopes(&self.scopes.unwrap_or_default()));
        let expires_at = self.expires_at.and_then(|text| faults.check("expires_at", future(&text, now)));
        let requests = self.requests_per_second.map(|Whole(number)| whole(number, 0));
        let requests = requests.and_then(|number| faults.check("requests_per_second", number));
        let burst = self.burst.map(|Whole(number)| whole(number, 1));
        let burst = burst.and_then(|number| faults.check("burst", number));
        if self.burst.is_some() && self.requests_per_second.is_none() {
            faults.check::<(), _>("burst", Err(Rule::new(FieldCode::Inconsistent, "needs requests_per_second")));
        }
        let rate = requests.map(|requests| match burst {
            Some(burst) => RateLimit::new(requests, burst),
            None => RateLimit::steady(requests),
        });
        let rate = rate.and_then(|rate| faults.check("requests_per_second", rate));
        let Some(scopes) = scopes.filter(|_| faults.0.is_empty()) else { return Err(Problem::invalid(faults.0)) };
        if let Some(&scope) = scopes.iter().find(|&&scope| !by.allows(scope)) {
            return Err(Problem::forbidden(
                format!("the credential cannot grant the scope {scope}, which it lacks"),
                scope,
            ));
        }
        let expires_at = match by.principal {
            Principal::Key(_) => end_of_keys_key(expires_at, by)?,
            Principal::Subject(_) => Some(end_of_tokens_key(expires_at, by, rules, now)?),
        };
        if rate.is_some_and(|rate| !rate.is_within(rate_of_by)) {
            let detail = "the credential cannot grant a wider limit of requests than its own";
            return Err(Problem::forbidden(detail.to_owned(), Scope::KeysManage));
        }
        Ok(ApiKey {
            id: KeyId(Uuid::now_v7()),
            tenant_id: by.tenant,
            name,
            scopes,
            created_at: now,
            expires_at,
            revoked_at: None,
            rate: rate.or(by.own_rate),
        })
    }
}

/// The end of a key that a key makes.
fn end_of_keys_key(wanted: Option<Timestamp>, by: &Credential) -> Result<Option<Timestamp>, Problem> {
    if by.ends_at.is_some_and(|own_end| wanted.is_none_or(|end| end > own_end)) {
        let detail = "the credential cannot grant a key that outlives it; give expires_at";
        return Err(Problem::forbidden(detail.to_owned(), Scope::KeysManage));
    }
    Ok(wanted)
}

/// The end of a key that a token makes: as late as it may be, if no other is wanted.
fn end_of_tokens_key(
    wanted: Option<Timestamp>,
    by: &Credential,
    rules: KeyRules,
    now: Timestamp,
) -> Result<Timestamp, Problem> {
    let refused = |detail: String| Err(Problem::forbidden(detail, Scope::KeysManage));
    if rules.token_ttl_max == Span::ZERO {
        return refused("tokens make no keys here; use an API key with keys:manage".to_owned());
    }
    // Within the leeway a token that has expired is still let in, but grants nothing that lasts.
    let Some(token_end) = by.ends_at.filter(|&end| end > now) else {
        return refused("the token has expired, so it makes no keys".to_owned());
    };
    let rule_end = now + rules.token_ttl_max;
    let latest = if rules.outlive_token { rule_end } else { rule_end.min(token_end) };
    match wanted {
        None => Ok(latest),
        Some(end) if end <= latest => Ok(end),
        Some(_) if latest == rule_end => {
            let message = format!("must be at most {}, as a token makes the key", rfc3339(latest));
            Err(Problem::invalid_field("expires_at", Rule::owned(FieldCode::OutOfRange, message)))
        }
        Some(_) => refused(format!(
            "the credential cannot grant a key that outlives it; expires_at must be at most {}",
            rfc3339(latest)
        )),
    }
}

fn scopes(words: &[String]) -> Result<Vec<Scope>, Rule> {
    let scopes: Result<Vec<Scope>, UnknownWord> = words.iter().map(|word| word.parse()).collect();
    let mut scopes = scopes.map_err(|unknown| Rule::owned(FieldCode::UnknownValue, format!("each {unknown}")))?;
    scopes.sort_unstable();
    scopes.dedup();
    let at_least_one = Rule::new(FieldCode::Empty, "must name at least one scope");
    if scopes.is_empty() { Err(at_least_one) } else { Ok(scopes) }
}

fn future(text: &str, now: Timestamp) -> Result<Timestamp, Rule> {
    let instant = timestamp(text)?;
    if instant > now { Ok(instant) } else { Err(Rule::new(FieldCode::OutOfRange, "must be in the future")) }
}

fn whole(number: i64, least: u32) -> Result<u32, Rule> {
    let sound = u32::try_from(number).ok().filter(|number| (least..=RATE_MAX).contains(number));
    sound.ok_or_else(|| Rule::whole_number(least, RATE_MAX))
}

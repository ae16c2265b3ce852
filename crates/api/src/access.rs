//! What a presented credential opens: API keys, tokens and tickets become one [`Credential`], and are counted.

use crate::failed_credentials::FailedCredentials;
use crate::jwt::{JwtFault, JwtOptions, JwtVerifier};
use crate::problem::{Problem, ProblemCode};
use crate::rates::{Allowance, Rates};
use crate::state::ApiState;
use crate::transport::{AddressBlock, ClientAddress, Connection};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpMessage, HttpRequest, web};
use callscope_analytics::access::AccessStore;
use callscope_analytics::keys::hash_key;
use callscope_analytics::ports::{StoreError, TenantStore};
use callscope_analytics::tickets::read_ticket;
use callscope_domain::{ApiKey, Principal, RateLimit, Scope, Span, TenantId, Timestamp};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tenants that are remembered to exist.
const KNOWN_TENANTS_MAX: usize = 10_000;
/// For how long.
const KNOWN_TENANT_AGE_MAX: Duration = Duration::from_mins(1);

/// Who is let in, and how often.
pub struct AccessOptions {
    /// Which tokens are accepted; `None` for none.
    pub jwt: Option<JwtOptions>,
    /// Whether sockets take a key or a token in their query string.
    pub query_tokens: bool,
    /// How long a ticket is valid.
    pub ticket_ttl: Duration,
    /// How often credentials may be used that have no limit of their own.
    pub rate: RateLimit,
    /// How often all credentials of one tenant together may be used.
    pub tenant_rate: RateLimit,
    /// How often one client address may ask for what takes no credential: pages, and paths and methods without a route.
    pub page_rate: RateLimit,
    /// Failed credentials of one client address in a minute; 0 for any number.
    pub failed_credentials_per_minute: u32,
    /// What keys over HTTP can be.
    pub keys: KeyRules,
}

/// What keys can be that are made over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// Longest life of a key that a token makes; zero: tokens make none.
    pub token_ttl_max: Span,
    /// Whether such a key may outlive the token.
    pub outlive_token: bool,
    /// Most valid keys of a tenant.
    pub tenant_max: u32,
}

/// Lets clients in.
pub struct Access {
    /// Keys.
    pub(crate) tenants: Arc<dyn TenantStore>,
    /// Tenants and keys by id, and tickets.
    pub(crate) store: Arc<dyn AccessStore>,
    jwt: Option<JwtVerifier>,
    /// Whether sockets take a key or a token in their query string.
    pub(crate) query_tokens: bool,
    /// How long a ticket is valid.
    pub(crate) ticket_ttl: Duration,
    rate: RateLimit,
    tenant_rate: RateLimit,
    rates: Rates,
    page_rate: RateLimit,
    page_rates: Rates<AddressBlock>,
    failed: FailedCredentials,
    /// What keys over HTTP can be.
    pub(crate) keys: KeyRules,
    known_tenants: Mutex<HashMap<TenantId, Instant>>,
}

/// A credential that is valid: whose data it opens, and what may be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Whose data it opens.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whom it stands for: the same for every credential of one key or one subject.
    pub principal: Principal,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it ends by its own word: for a token earlier than `expires_at`, which allows for the issuer's clock.
    pub(crate) ends_at: Option<Timestamp>,
    /// Its limit, if it has one of its own.
    pub(crate) own_rate: Option<RateLimit>,
}

impl Access {
    /// Must be called inside a runtime, on whose threads for blocking work the keys of tokens will be fetched.
    #[must_use]
    pub fn new(tenants: Arc<dyn TenantStore>, store: Arc<dyn AccessStore>, options: AccessOptions) -> Self {
        Self {
            tenants,
            store,
            jwt: options.jwt.map(JwtVerifier::new),
            query_tokens: options.query_tokens,
            ticket_ttl: options.ticket_ttl,
            rate: options.rate,
            tenant_rate: options.tenant_rate,
            rates: Rates::default(),
            page_rate: options.page_rate,
            page_rates: Rates::default(),
            failed: FailedCredentials::new(options.failed_credentials_per_minute),
            keys: options.keys,
            known_tenants: Mutex::default(),
        }
    }

    /// How often a credential may be used.
    pub(crate) fn rate(&self, credential: &Credential) -> RateLimit {
        credential.own_rate.unwrap_or(self.rate)
    }

    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError> {
        let known = |seen: &Instant| seen.elapsed() < KNOWN_TENANT_AGE_MAX;
        if self.known_tenants.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).is_some_and(known) {
            return Ok(true);
        }
        let exists = self.store.has_tenant(tenant).await?;
        if exists {
            let mut tenants = self.known_tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if tenants.len() >= KNOWN_TENANTS_MAX {
                tenants.clear();
            }
            tenants.insert(tenant, Instant::now());
        }
        Ok(exists)
    }
}

impl Credential {
    /// One without a limit of its own.
    #[must_use]
    pub const fn new(
        tenant: TenantId,
        scopes: Vec<Scope>,
        principal: Principal,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { tenant, scopes, principal, expires_at, ends_at: expires_at, own_rate: None }
    }

    fn of_key(key: ApiKey) -> Self {
        Self {
            tenant: key.tenant_id,
            scopes: key.scopes,
            principal: Principal::Key(key.id),
            expires_at: key.expires_at,
            ends_at: key.expires_at,
            own_rate: key.rate,
        }
    }

    /// Whether it may do what the scope stands for.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it would still be let in: it has not expired, and its key has not been revoked. Asks the database where
    /// it stands for a key.
    pub async fn is_still_valid(&self, state: &ApiState) -> Result<bool, StoreError> {
        let now = state.clock.now();
        if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Ok(false);
        }
        let Principal::Key(id) = self.principal else { return Ok(true) };
        let key = state.access.store.find_key_by_id(self.tenant, id).await?;
        Ok(key.is_some_and(|key| key.is_valid_at(now)))
    }
}

/// The address that a client's failures are counted for.
fn client_address(request: &HttpRequest) -> IpAddr {
    ClientAddress::of(request).map_or(Ipv4Addr::UNSPECIFIED.into(), |ClientAddress(address)| address)
}

/// The credential that a key or a token is. Failures are counted: past their limit the answer is 429, and keys are looked
/// up only if they were valid a while ago.
pub async fn authenticate(state: &ApiState, request: &HttpRequest, presented: &str) -> Result<Credential, Problem> {
    if is_token(presented) {
        // The database is asked for the tenant of sound tokens alone, so these need not wait.
        return count_failure(state, request, authenticate_token(state, presented).await);
    }
    let hash = hash_key(presented);
    if !hash.is_some_and(|hash| state.access.failed.was_valid(&hash)) {
        refuse_guesses(state, request)?;
    }
    count_failure(state, request, authenticate_key(state, hash).await)
}

async fn authenticate_key(state: &ApiState, hash: Option<[u8; 32]>) -> Result<Credential, Problem> {
    let unknown = || unauthenticated("the API key is not valid");
    let hash = hash.ok_or_else(unknown)?;
    let key = state.access.tenants.find_key(&hash).await?.ok_or_else(unknown)?;
    let key = valid_key(key, state.clock.now())?;
    state.access.failed.remember(&hash);
    Ok(Credential::of_key(key))
}

/// Refuses a credential of a client address with too many failures.
fn refuse_guesses(state: &ApiState, request: &HttpRequest) -> Result<(), Problem> {
    match state.access.failed.wait(client_address(request)) {
        None => Ok(()),
        Some(wait) => {
            state.metrics.credentials.limited.inc();
            let detail = "too many credentials of this client address were not valid; try again later";
            Err(too_many(detail, wait.as_secs() + 1))
        }
    }
}

/// Counts a failed credential. Past the limit the answer becomes 429.
fn count_failure(
    state: &ApiState,
    request: &HttpRequest,
    outcome: Result<Credential, Problem>,
) -> Result<Credential, Problem> {
    let problem = match outcome {
        Err(problem) if problem.is_unauthenticated() => problem,
        outcome => return outcome,
    };
    refuse_guesses(state, request)?;
    state.metrics.credentials.failed.inc();
    state.access.failed.count(client_address(request));
    Err(problem)
}

/// A token has three parts, and a key has no dots.
fn is_token(presented: &str) -> bool {
    presented.bytes().filter(|&byte| byte == b'.').count() == 2
}

fn valid_key(key: ApiKey, now: Timestamp) -> Result<ApiKey, Problem> {
    if key.revoked_at.is_some() {
        return Err(unauthenticated("the API key has been revoked"));
    }
    if !key.is_valid_at(now) {
        return Err(unauthenticated("the API key has expired"));
    }
    Ok(key)
}

async fn authenticate_token(state: &ApiState, token: &str) -> Result<Credential, Problem> {
    let Some(jwt) = &state.access.jwt else {
        return Err(unauthenticated("tokens are not accepted here; send an API key"));
    };
    let verified = jwt.verify(token, state.clock.now()).await.map_err(refused_token)?;
    if !state.access.has_tenant(verified.tenant).await? {
        return Err(unauthenticated("the token's tenant does not exist"));
    }
    Ok(Credential {
        tenant: verified.tenant,
        scopes: verified.scopes,
        principal: Principal::Subject(verified.subject),
        expires_at: Some(verified.expires_at),
        ends_at: Some(verified.ends_at),
        own_rate: None,
    })
}

fn refused_token(fault: JwtFault) -> Problem {
    match fault {
        JwtFault::KeysUnavailable => Problem::new(ProblemCode::Unavailable, fault.to_string()),
        fault => unauthenticated(fault.to_string()),
    }
}

/// The credential that a ticket is, which it is once: with the rights of the ticket, and as long as the one that the
/// ticket was made with. Failures are counted with those of keys and tokens.
pub async fn redeem(state: &ApiState, request: &HttpRequest, presented: &str) -> Result<Credential, Problem> {
    refuse_guesses(state, request)?;
    count_failure(state, request, redeem_ticket(state, presented).await)
}

async fn redeem_ticket(state: &ApiState, presented: &str) -> Result<Credential, Problem> {
    let refused = || unauthenticated("the ticket is not valid: it was used, has expired, or never was one");
    let (tenant, hash) = read_ticket(presented).ok_or_else(refused)?;
    let now = state.clock.now();
    let ticket = state.access.store.take_ticket(tenant, &hash).await?;
    let ticket = ticket.filter(|ticket| now < ticket.expires_at).ok_or_else(refused)?;
    let credential = match &ticket.holder {
        Principal::Key(id) => {
            let key = state.access.store.find_key_by_id(tenant, *id).await?.ok_or_else(refused)?;
            Credential::of_key(valid_key(key, now)?)
        }
        Principal::Subject(_) => Credential {
            tenant,
            scopes: Vec::new(),
            principal: ticket.holder,
            expires_at: ticket.credential_expires_at,
            ends_at: ticket.credential_expires_at,
            own_rate: None,
        },
    };
    if credential.expires_at.is_some_and(|expires_at| now >= expires_at) {
        return Err(refused());
    }
    Ok(Credential { scopes: ticket.scopes, ..credential })
}

/// Counts a request, and lets it pass if its credential may ask now and has a right.
pub fn admit(state: &ApiState, request: &HttpRequest, credential: &Credential, scope: Scope) -> Result<(), Problem> {
    if let Some(connection) = Connection::of(request) {
        connection.set_tenant(credential.tenant);
    }
    count_request(state, request, credential)?;
    if credential.allows(scope) { Ok(()) } else { Err(lacks(scope)) }
}

/// Counts a request for its principal, and if that may ask for its tenant: keys are free, so that a limit of each alone
/// would bound nothing.
fn count_request(state: &ApiState, request: &HttpRequest, credential: &Credential) -> Result<(), Problem> {
    let Access { rates, tenant_rate, .. } = &state.access;
    let principal = (credential.tenant, Some(credential.principal.clone()));
    let own = rates.take(&principal, state.access.rate(credential));
    let is_refused = own.is_some_and(|allowance| allowance.retry_after_s.is_some());
    let of_tenant = if is_refused { None } else { rates.take(&(credential.tenant, None), *tenant_rate) };
    let tightest = own.into_iter().chain(of_tenant).reduce(Allowance::tighter);
    let Some(allowance) = tightest else { return Ok(()) };
    request.extensions_mut().insert::<Allowance>(allowance);
    match allowance.retry_after_s {
        None => Ok(()),
        Some(seconds) if is_refused => Err(too_many("the credential's limit of requests is reached", seconds)),
        Some(seconds) => Err(too_many("the tenant's limit of requests is reached", seconds)),
    }
}

/// Counts a request that takes no credential for its client address, and lets it pass if that may ask now.
pub fn count_page(request: &HttpRequest) -> Result<(), Problem> {
    let state = request.app_data::<web::Data<ApiState>>().ok_or_else(Problem::internal)?;
    let Some(address) = ClientAddress::of(request) else { return Ok(()) };
    let Access { page_rates, page_rate, .. } = &state.access;
    match page_rates.take(&address.block(), *page_rate).and_then(|allowance| allowance.retry_after_s) {
        None => Ok(()),
        Some(seconds) => Err(too_many("the limit of requests without a credential is reached", seconds)),
    }
}

/// No valid credential.
pub fn unauthenticated(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemCode::AuthenticationError, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="callscope""#))
}

/// A valid credential that may not do this, as it lacks a scope.
fn lacks(scope: Scope) -> Problem {
    forbidden(format!("the credential lacks the scope {scope}"), scope)
}

/// A valid credential that may not do this, but might with another scope or another limit.
pub fn forbidden(detail: String, scope: Scope) -> Problem {
    let challenge = format!(r#"Bearer realm="callscope", error="insufficient_scope", scope="{scope}""#);
    let problem = Problem::new(ProblemCode::AuthorizationError, detail);
    match HeaderValue::from_str(&challenge) {
        Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

/// Too many requests; some seconds later is better.
pub fn too_many(detail: &'static str, retry_after_s: u64) -> Problem {
    Problem::new(ProblemCode::RateLimitExceeded, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_s))
}

//! What a presented credential opens: API keys, tokens and tickets become one [`Credential`], and are counted.

use crate::failed_credentials::FailedCredentials;
use crate::jwt::{JwtFault, JwtOptions, JwtVerifier};
use crate::metrics::{CredentialMetrics, Metrics};
use crate::problem::{Problem, ProblemCode};
use crate::rates::{Allowance, Rates};
use crate::transport::{AddressBlock, ClientAddress, Connection};
use actix_web::{HttpMessage, HttpRequest};
use callscope_analytics::access::AccessStore;
use callscope_analytics::clock::Clock;
use callscope_analytics::keys::hash_key;
use callscope_analytics::ports::{StoreError, TenantStore};
use callscope_analytics::tickets::read_ticket;
use callscope_domain::{ApiKey, Principal, RateLimit, Scope, Span, TenantId, Timestamp};
use moka::future::Cache;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// The cache of tenants that are known to exist.
const KNOWN_TENANTS_MAX: u64 = 10_000;
const KNOWN_TENANT_AGE_MAX: Duration = Duration::from_mins(1);

pub struct AuthOptions {
    /// Which tokens are accepted; `None` for none.
    pub jwt: Option<JwtOptions>,
    /// Whether sockets take a key or a token in their query string.
    pub query_tokens: bool,
    pub ticket_ttl: Duration,
    /// The limit of each credential that has none of its own.
    pub rate: RateLimit,
    /// The limit of all credentials of one tenant together.
    pub tenant_rate: RateLimit,
    /// How often one client address may ask for what takes no credential: pages, and paths and methods without a route.
    pub page_rate: RateLimit,
    /// Failed credentials of one client address in a minute; 0 for any number.
    pub failed_credentials_per_minute: u32,
    pub keys: KeyRules,
}

/// Bounds of keys that are made over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// Longest life of a key that a token makes; zero: tokens make none.
    pub token_ttl_max: Span,
    /// Whether such a key may outlive the token.
    pub outlive_token: bool,
    pub tenant_max: u32,
}

/// Checks credentials, and counts how often they are used.
pub struct Authenticator {
    pub(crate) tenants: Arc<dyn TenantStore>,
    /// Tenants and keys by id, and tickets.
    pub(crate) store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    refused: CredentialMetrics,
    jwt: Option<JwtVerifier>,
    pub(crate) query_tokens: bool,
    pub(crate) ticket_ttl: Duration,
    rate: RateLimit,
    tenant_rate: RateLimit,
    rates: Rates,
    page_rate: RateLimit,
    page_rates: Rates<AddressBlock>,
    failed: FailedCredentials,
    pub(crate) keys: KeyRules,
    known_tenants: Cache<TenantId, ()>,
}

/// A valid credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub tenant: TenantId,
    pub scopes: Vec<Scope>,
    /// The same for every credential of one key or one subject.
    pub principal: Principal,
    pub expires_at: Option<Timestamp>,
    /// When it ends by its own word: for a token earlier than `expires_at`, which allows for the issuer's clock.
    pub(crate) ends_at: Option<Timestamp>,
    /// Its limit, if it has one of its own.
    pub(crate) own_rate: Option<RateLimit>,
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

    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

impl Authenticator {
    /// Must be called inside a runtime, on whose threads for blocking work the keys of tokens will be fetched.
    #[must_use]
    pub fn new(
        tenants: Arc<dyn TenantStore>,
        store: Arc<dyn AccessStore>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
        options: AuthOptions,
    ) -> Self {
        Self {
            tenants,
            store,
            clock,
            refused: metrics.credentials.clone(),
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
            known_tenants: Cache::builder().max_capacity(KNOWN_TENANTS_MAX).time_to_live(KNOWN_TENANT_AGE_MAX).build(),
        }
    }

    /// The credential that a key or a token is. Failures are counted: past their limit the answer is 429, and keys are
    /// looked up only if they were valid a while ago.
    pub(crate) async fn authenticate(&self, request: &HttpRequest, presented: &str) -> Result<Credential, Problem> {
        if is_token(presented) {
            // The database is asked for the tenant of valid tokens alone, so these need not wait.
            return self.count_failure(request, self.authenticate_token(presented).await);
        }
        let hash = hash_key(presented);
        if !hash.is_some_and(|hash| self.failed.was_valid(&hash)) {
            self.refuse_guesses(request)?;
        }
        self.count_failure(request, self.authenticate_key(hash).await)
    }

    /// Redeems a ticket, which works once. The credential has the ticket's scopes, and ends when the credential that
    /// issued the ticket ends. Failures are counted with those of keys and tokens.
    pub(crate) async fn redeem(&self, request: &HttpRequest, presented: &str) -> Result<Credential, Problem> {
        self.refuse_guesses(request)?;
        self.count_failure(request, self.redeem_ticket(presented).await)
    }

    /// Counts a request against the limits of its credential and tenant, and checks that the credential has a scope.
    pub(crate) fn authorize(
        &self,
        request: &HttpRequest,
        credential: &Credential,
        scope: Scope,
        limits: RequestLimits,
    ) -> Result<(), Problem> {
        if let Some(connection) = Connection::of(request) {
            connection.set_tenant(credential.tenant);
        }
        self.count_request(request, credential, limits)?;
        if credential.allows(scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("the credential lacks the scope {scope}"), scope))
    }

    /// Counts a request without a credential against the limit of its client address.
    pub(crate) fn count_page(&self, request: &HttpRequest) -> Result<(), Problem> {
        let Some(address) = ClientAddress::of(request) else { return Ok(()) };
        let allowance = self.page_rates.take(&address.block(), self.page_rate);
        match allowance.and_then(|allowance| allowance.retry_after_s) {
            None => Ok(()),
            Some(seconds) => Err(Problem::too_many("the limit of requests without a credential is reached", seconds)),
        }
    }

    /// Whether a credential would still be accepted: it has not expired, and its key has not been revoked. Asks the
    /// database for a key.
    pub async fn is_still_valid(&self, credential: &Credential) -> Result<bool, StoreError> {
        let now = self.clock.now();
        if credential.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Ok(false);
        }
        let Principal::Key(id) = credential.principal else { return Ok(true) };
        let key = self.store.find_key_by_id(credential.tenant, id).await?;
        Ok(key.is_some_and(|key| key.is_valid_at(now)))
    }

    pub(crate) fn rate(&self, credential: &Credential) -> RateLimit {
        credential.own_rate.unwrap_or(self.rate)
    }

    async fn authenticate_key(&self, hash: Option<[u8; 32]>) -> Result<Credential, Problem> {
        let unknown = || Problem::unauthenticated("the API key is not valid");
        let hash = hash.ok_or_else(unknown)?;
        let key = self.tenants.find_key(&hash).await?.ok_or_else(unknown)?;
        let key = valid_key(key, self.clock.now())?;
        self.failed.remember(&hash);
        Ok(Credential::of_key(key))
    }

    async fn authenticate_token(&self, token: &str) -> Result<Credential, Problem> {
        let Some(jwt) = &self.jwt else {
            return Err(Problem::unauthenticated("tokens are not accepted here; send an API key"));
        };
        let verified = jwt.verify(token, self.clock.now()).await.map_err(refused_token)?;
        if !self.has_tenant(verified.tenant).await? {
            return Err(Problem::unauthenticated("the token's tenant does not exist"));
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

    async fn redeem_ticket(&self, presented: &str) -> Result<Credential, Problem> {
        let refused =
            || Problem::unauthenticated("the ticket is not valid: it was used, has expired, or never was one");
        let (tenant, hash) = read_ticket(presented).ok_or_else(refused)?;
        let now = self.clock.now();
        let ticket = self.store.take_ticket(tenant, &hash).await?;
        let ticket = ticket.filter(|ticket| now < ticket.expires_at).ok_or_else(refused)?;
        let credential = match &ticket.holder {
            Principal::Key(id) => {
                let key = self.store.find_key_by_id(tenant, *id).await?.ok_or_else(refused)?;
                Credential::of_key(valid_key(key, now)?)
            }
            Principal::Subject(_) => Credential::new(tenant, Vec::new(), ticket.holder, ticket.credential_expires_at),
        };
        if credential.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Err(refused());
        }
        Ok(Credential { scopes: ticket.scopes, ..credential })
    }

    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError> {
        if self.known_tenants.contains_key(&tenant) {
            return Ok(true);
        }
        let exists = self.store.has_tenant(tenant).await?;
        if exists {
            self.known_tenants.insert(tenant, ()).await;
        }
        Ok(exists)
    }

    /// Refuses a credential of a client address with too many failures.
    fn refuse_guesses(&self, request: &HttpRequest) -> Result<(), Problem> {
        match self.failed.wait(client_address(request)) {
            None => Ok(()),
            Some(wait) => {
                self.refused.limited.inc();
                let detail = "too many credentials of this client address were not valid; try again later";
                Err(Problem::too_many(detail, wait.as_secs() + 1))
            }
        }
    }

    /// Counts a failed credential. Past the limit the answer becomes 429.
    fn count_failure(
        &self,
        request: &HttpRequest,
        outcome: Result<Credential, Problem>,
    ) -> Result<Credential, Problem> {
        let problem = match outcome {
            Err(problem) if problem.is_unauthenticated() => problem,
            outcome => return outcome,
        };
        self.refuse_guesses(request)?;
        self.refused.failed.inc();
        self.failed.count(client_address(request));
        Err(problem)
    }

    /// Counts a request for its principal, and if that is within its limit for its tenant: keys are free, so that a limit
    /// of each alone would bound nothing.
    fn count_request(
        &self,
        request: &HttpRequest,
        credential: &Credential,
        limits: RequestLimits,
    ) -> Result<(), Problem> {
        let (rate, tenant_rate) = match limits {
            RequestLimits::Configured => (self.rate(credential), self.tenant_rate),
            RequestLimits::OfKey => (credential.own_rate.unwrap_or(RateLimit::NONE), RateLimit::NONE),
        };
        let principal = (credential.tenant, Some(credential.principal.clone()));
        let own = self.rates.take(&principal, rate);
        let is_refused = own.is_some_and(|allowance| allowance.retry_after_s.is_some());
        let of_tenant = if is_refused { None } else { self.rates.take(&(credential.tenant, None), tenant_rate) };
        let tightest = own.into_iter().chain(of_tenant).reduce(Allowance::tighter);
        let Some(allowance) = tightest else { return Ok(()) };
        request.extensions_mut().insert::<Allowance>(allowance);
        match allowance.retry_after_s {
            None => Ok(()),
            Some(seconds) if is_refused => {
                Err(Problem::too_many("the credential's limit of requests is reached", seconds))
            }
            Some(seconds) => Err(Problem::too_many("the tenant's limit of requests is reached", seconds)),
        }
    }
}

/// Which limits of requests apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestLimits {
    /// Those of the settings, or the key's own, and the tenant's.
    Configured,
    /// The key's own, if it has one.
    OfKey,
}

/// The address that a client's failures are counted for.
fn client_address(request: &HttpRequest) -> IpAddr {
    ClientAddress::of(request).map_or(Ipv4Addr::UNSPECIFIED.into(), |ClientAddress(address)| address)
}

/// A token has three parts, and a key has no dots.
fn is_token(presented: &str) -> bool {
    presented.bytes().filter(|&byte| byte == b'.').count() == 2
}

fn valid_key(key: ApiKey, now: Timestamp) -> Result<ApiKey, Problem> {
    if key.revoked_at.is_some() {
        return Err(Problem::unauthenticated("the API key has been revoked"));
    }
    if !key.is_valid_at(now) {
        return Err(Problem::unauthenticated("the API key has expired"));
    }
    Ok(key)
}

fn refused_token(fault: JwtFault) -> Problem {
    match fault {
        JwtFault::KeysUnavailable => Problem::new(ProblemCode::Unavailable, fault.to_string()),
        fault => Problem::unauthenticated(fault.to_string()),
    }
}

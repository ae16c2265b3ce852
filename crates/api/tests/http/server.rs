//! A server for one test: its own socket, its own database, tenants and keys.

use crate::client::Client;
use crate::records::{NOW, instant};
use crate::store::SwitchedStore;
use actix_web::dev::ServerHandle;
use actix_web::web;
use callscope_analytics::clock::FixedClock;
use callscope_analytics::ingestion::{IngestLimits, IngestQueue, ingestion};
use callscope_analytics::kept::KeptLimits;
use callscope_analytics::key_cache::CachedTenants;
use callscope_analytics::keys::KeySecret;
use callscope_analytics::live::Live;
use callscope_analytics::ports::TenantStore;
use callscope_analytics::service::{Analytics, CallLimits};
use callscope_api::metrics::{MeteredCalls, Metrics, PoolConnections};
use callscope_api::transport::{self, Transport, TransportLimits, TrustedProxies};
use callscope_api::{
    ApiLimits, ApiParts, ApiState, AuthOptions, Authenticator, CacheLimits, CorsRules, JwtOptions, KeyRules,
    LiveLimits, route_templates,
};
use callscope_connectors::sealing::AssemblySettings;
use callscope_domain::{Actor, ApiKey, DisplayName, KeyId, RateLimit, Scope, Slug, Span, Tenant, TenantId};
use callscope_persistence::{Database, DatabaseOptions};
use callscope_testkit::{Backend, Scratch};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The bounds of a server that is configured as usual.
pub const LIMITS: ApiLimits = ApiLimits {
    body_bytes_max: 64 << 20,
    body_records_max: 50_000,
    body_rows_max: 400_000,
    unpack_ratio_max: 200,
    inflight_bytes_max: 256 << 20,
    bodies_max: 2000,
    body_timeout: Duration::from_mins(1),
    request_timeout: Duration::from_mins(1),
    window_max: Span::from_hours(24 * 4_000_000),
};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The bounds of connections of a server that is configured as usual, with one thread.
pub fn transport_limits() -> TransportLimits {
    TransportLimits {
        workers: 1,
        connections_max: 20_000,
        connections_per_address_max: 1000,
        trusted_proxies: TrustedProxies::default(),
        keep_alive: Duration::from_secs(5),
        header_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(30),
        transfer_rate_min: 2048,
        transfer_grace: Duration::from_secs(10),
        answer_bytes_max: 128 << 20,
        shutdown_timeout: Duration::from_secs(30),
    }
}

/// What keys over HTTP are by default.
pub const KEY_RULES: KeyRules =
    KeyRules { token_ttl_max: Span::from_hours(90 * 24), outlive_token: false, tenant_max: 100 };

/// What a test may choose.
#[derive(Clone, Copy)]
pub struct Setup {
    pub cors: fn() -> CorsRules,
    pub limits: ApiLimits,
    pub queue_records_max: usize,
    pub cache: CacheLimits,
    pub serves_metrics: bool,
    pub live_limits: LiveLimits,
    pub deliveries_per_second: u32,
    /// Whether commits are announced at once, and not only found by looking.
    pub announces: bool,
    /// Which tokens are accepted.
    pub jwt: Option<fn() -> JwtOptions>,
    /// Whether sockets take keys and tokens in their query string.
    pub query_tokens: bool,
    /// How often a credential may be used.
    pub rate: RateLimit,
    /// How often all credentials of one tenant together may be used.
    pub tenant_rate: RateLimit,
    /// The bounds of connections.
    pub transport: fn() -> TransportLimits,
    /// The bounds on what is kept of a tenant.
    pub kept: fn() -> KeptLimits,
    /// How often one address may ask without a credential.
    pub page_rate: RateLimit,
    /// Failed credentials of one address in a minute; 0 for any number.
    pub failed_credentials_per_minute: u32,
    /// What keys over HTTP can be.
    pub keys: KeyRules,
    /// The time on the server.
    pub now: &'static str,
    /// The bounds of telemetry.
    pub assemblies: fn() -> AssemblySettings,
}

/// How long a ticket is valid.
pub const TICKET_TTL: Duration = Duration::from_secs(30);

impl Default for Setup {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        let live_limits = LiveLimits {
            sockets_max: 100,
            tenant_sockets_max: 50,
            messages_per_second_max: 100,
            ping_interval: 30 * second,
            idle_timeout: 75 * second,
            send_timeout: 10 * second,
        };
        Self {
            cors: CorsRules::none,
            limits: LIMITS,
            queue_records_max: 200_000,
            live_limits,
            deliveries_per_second: 100_000,
            announces: false,
            jwt: None,
            query_tokens: false,
            rate: RateLimit::NONE,
            tenant_rate: RateLimit::NONE,
            transport: transport_limits,
            kept: || KeptLimits::NONE,
            page_rate: RateLimit::NONE,
            failed_credentials_per_minute: 0,
            keys: KEY_RULES,
            cache: CacheLimits::OFF,
            serves_metrics: true,
            now: NOW,
            assemblies: AssemblySettings::default,
        }
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub store: Arc<SwitchedStore>,
    pub queue: IngestQueue,
    pub state: web::Data<ApiState>,
    pub transport: Arc<Transport>,
    handle: ServerHandle,
    _scratch: Scratch,
}

/// A tenant and a client with a key of it that may do everything.
pub struct TenantClient {
    pub id: TenantId,
    pub key: String,
    pub client: Client,
}

impl std::ops::Deref for TenantClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Server {
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, Setup::default()).await
    }

    #[expect(clippy::large_types_passed_by_value, reason = "a struct literal at each call reads best")]
    pub async fn start_with(backend: Backend, setup: Setup) -> Self {
        let migrate = async |url: String| {
            Database::migrate(&url).await.expect("a database");
        };
        let scratch = Scratch::migrated(backend, migrate).await;
        let options = DatabaseOptions {
            url: scratch.url().to_owned(),
            read_url: None,
            pool_size: 4,
            acquire_timeout: Duration::from_secs(30),
            // Some tests stop the clock, which every bound on waiting would take for an end.
            statement_timeout: Duration::ZERO,
        };
        let store = Arc::new(SwitchedStore::new(Database::open(&options).await.expect("a database")));
        let limits = IngestLimits {
            queue_records_max: setup.queue_records_max,
            batch_records_max: 10_000,
            batch_rows_max: 200_000,
            batch_wait: Duration::ZERO,
            event_age_max: Duration::from_hours(1),
        };
        let metrics = Arc::new(Metrics::new(route_templates()));
        let calls = Arc::new(MeteredCalls::new(store.clone(), Arc::clone(&metrics)));
        let (queue, writer) = ingestion(calls, limits);
        metrics.set_pool("main", PoolConnections { in_use: 1, idle: 2, max: 4 });
        let clock = Arc::new(FixedClock(instant(setup.now)));
        let writer = writer.with_clock(clock.clone()).with_kept_limits((setup.kept)());
        let live = Live::new(Arc::new(store.database.clone()), store.clone(), setup.deliveries_per_second);
        if setup.announces {
            actix_web::rt::spawn(live.clone().run(writer.commits()));
        }
        actix_web::rt::spawn(writer.run());
        let analytics = Analytics::new(store.clone(), CallLimits::default());
        let tenants: Arc<dyn TenantStore> = match setup.cache.ttl {
            Duration::ZERO => store.clone(),
            ttl => Arc::new(CachedTenants::new(store.clone(), ttl)),
        };
        let options = AuthOptions {
            jwt: setup.jwt.map(|options| options()),
            query_tokens: setup.query_tokens,
            ticket_ttl: TICKET_TTL,
            rate: setup.rate,
            tenant_rate: setup.tenant_rate,
            page_rate: setup.page_rate,
            failed_credentials_per_minute: setup.failed_credentials_per_minute,
            keys: setup.keys,
        };
        let authenticator = Authenticator::new(tenants, store.clone(), clock.clone(), &metrics, options);
        let assembler = callscope_api::assembler(store.clone(), queue.clone(), clock.clone(), (setup.assemblies)());
        let state = ApiState::new(ApiParts {
            analytics,
            ingest: queue.clone(),
            authenticator,
            clock,
            live,
            metrics,
            limits: setup.limits,
            live_limits: setup.live_limits,
            assembler,
        });
        let mut state = state.with_cache(setup.cache);
        state.serves_metrics = setup.serves_metrics;
        state.cors = (setup.cors)();
        let state = web::Data::new(state);
        let transport = Transport::new((setup.transport)(), &state.metrics);
        let (listener, shared) = (transport::listen(ANY_PORT).expect("a port"), state.clone());
        let address = listener.local_addr().expect("an address");
        let app = move || callscope_api::app(shared.clone());
        let server = transport::serve(&transport, listener, app).expect("a listener");
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { address, store, queue, state, transport, handle, _scratch: scratch }
    }

    /// A new tenant, and a client that may do everything for it.
    pub async fn tenant(&self, slug: &str) -> TenantClient {
        // Ids that do not change from run to run make workflow ids that do not change either.
        let id = TenantId(Uuid::new_v5(&Uuid::NAMESPACE_URL, slug.as_bytes()));
        let (slug, name) = (Slug::new(slug).expect("a slug"), DisplayName::new(slug).expect("a name"));
        let tenant = Tenant { id, slug, name, created_at: instant(NOW) };
        self.store.create_tenant(&tenant).await.expect("a tenant");
        let key = self.key(id, Scope::ALL).await;
        TenantClient { id, client: self.client(&key), key }
    }

    /// A new key of a tenant.
    pub async fn key(&self, tenant: TenantId, scopes: &[Scope]) -> String {
        self.key_with(tenant, scopes, |_| {}).await
    }

    /// A new key of a tenant that `change` has its way with.
    pub async fn key_with(&self, tenant_id: TenantId, scopes: &[Scope], change: impl FnOnce(&mut ApiKey)) -> String {
        let mut key = ApiKey {
            id: KeyId(Uuid::now_v7()),
            tenant_id,
            name: None,
            scopes: scopes.to_vec(),
            created_at: instant(NOW),
            expires_at: None,
            revoked_at: None,
            rate: None,
        };
        change(&mut key);
        let secret = KeySecret::generate();
        assert!(self.store.create_key(&key, &secret.hash(), &Actor::CommandLine, u32::MAX).await.expect("a key"));
        secret.reveal().to_owned()
    }

    /// A new key of some tenant.
    pub async fn any_key(&self) -> String {
        let tenants = self.store.list_tenants().await.expect("tenants");
        self.key(tenants.first().expect("a tenant").id, Scope::ALL).await
    }

    /// A client with a key.
    pub fn client(&self, key: &str) -> Client {
        Client::new(self.address, Some(key.to_owned()))
    }

    /// A client without one.
    pub fn stranger(&self) -> Client {
        Client::new(self.address, None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The order to stop is given at once; nobody needs to see it done.
        drop(self.handle.stop(false));
    }
}

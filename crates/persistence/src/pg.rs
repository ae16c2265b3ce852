//! Connections to PostgreSQL: what a URL asks for, how they are encrypted, and what each is told before its first use.

use crate::errors::{store_error, unavailable};
use callscope_analytics::ports::StoreError;
use diesel::ConnectionError;
use diesel::result::QueryResult;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where PostgreSQL listens unless a URL says otherwise.
const POSTGRES_PORT: u16 = 5432;
/// How long the network may take to make a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// When a silent peer is asked whether it lives, and how long data may stay unacknowledged: a server that vanished with
/// its machine is noticed within half a minute instead of hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// How long a transaction of ours may sit idle: longer than any pause between two statements, short enough that a
/// process that hangs does not hold a tenant's lock for ever.
const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_mins(1);

/// What notifications of commits are sent on.
pub const CHANNEL: &str = "callscope_commits";
/// How often a listener looks whether its connection still lives.
const LISTENER_CHECK: Duration = Duration::from_secs(5);

/// How much longer than the statement timeout an answer is waited for.
const GRACE: Duration = Duration::from_secs(10);

/// What a PostgreSQL URL says.
#[derive(Clone)]
pub struct PgAddress {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// Hosts with ports, database and user, for messages.
    place: Arc<str>,
}

/// What is wrong with a PostgreSQL URL. It never shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum PgAddressFault {
    /// No sound URL, a parameter that the driver does not know, or a wrong value of one.
    #[error("{}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE?KEY=VALUE", describe(.0))]
    Form(#[from] tokio_postgres::Error),
    /// A password that is cut off by its own question mark. What comes after it is not shown.
    #[error("it is not understood; percent-encode the special characters of the password, such as %3F for ?")]
    Password,
    /// Nowhere to connect to.
    #[error("it names no host; write postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoHost,
    /// An `sslmode` that is not supported.
    #[error("sslmode={0} is not supported; write disable, prefer, require or verify-full")]
    SslMode(String),
    /// Certificates of the authorities to be trusted cannot be read.
    #[error("the certificates of sslrootcert={file} cannot be read: {reason}")]
    RootCertificates {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// Nothing to trust.
    #[error("sslmode=verify-full finds no trusted certificates on this machine; name a file with sslrootcert=")]
    NoRootCertificates,
    /// The TLS library refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl PgAddress {
    /// Reads a URL. As with libpq, `sslmode=require` encrypts without asking who the server is; `verify-full` checks
    /// the server's certificate, and its name, against the authorities in `sslrootcert=FILE` or those of the machine.
    pub fn parse(url: &str) -> Result<Self, PgAddressFault> {
        // By hand, since the driver knows fewer modes; several hosts, which it knows, are not for a URL library.
        let (location, query) = url.split_once('?').unwrap_or((url, ""));
        if query.contains('@') {
            return Err(PgAddressFault::Password);
        }
        let (mut mode, mut root_file, mut rest) = (None, None, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let value = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            match parameter.split_once('=') {
                Some(("sslmode", text)) => mode = Some(value(text)),
                Some(("sslrootcert", text)) => root_file = Some(value(text)),
                _ => rest.push(parameter),
            }
        }
        let (ssl_mode, checks_server) = match mode.as_deref() {
            None | Some("prefer") => (SslMode::Prefer, false),
            Some("disable") => (SslMode::Disable, false),
            Some("require") => (SslMode::Require, false),
            Some("verify-full") => (SslMode::Require, true),
            Some(other) => return Err(PgAddressFault::SslMode(other.to_owned())),
        };
        let mut config: tokio_postgres::Config = format!("{location}?{}", rest.join("&")).parse()?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(PgAddressFault::NoHost);
        }
        config.ssl_mode(ssl_mode);
        if config.get_application_name().is_none() {
            config.application_name("callscope");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE_IDLE).tcp_user_timeout(UNACKNOWLEDGED_MAX);
        let tls = MakeRustlsConnect::new(client_config(checks_server, root_file.as_deref())?);
        Ok(Self { place: place(&config).into(), config, tls })
    }

    /// Opens a connection that is ready for use. Without a statement timeout, a statement may take as long as it likes.
    pub async fn connect(&self, statement_timeout: Duration) -> Result<AsyncPgConnection, ConnectionError> {
        // The driver's own bound is for the network alone; a server may accept and then be silent.
        let opened = tokio::time::timeout(2 * CONNECT_TIMEOUT, self.open(statement_timeout)).await;
        let opened =
            opened.unwrap_or_else(|_| Err(ConnectionError::BadConnection("the server does not answer".to_owned())));
        opened.map_err(|error| match error {
            ConnectionError::BadConnection(reason) => {
                ConnectionError::BadConnection(format!("cannot connect to PostgreSQL at {}: {reason}", self.place))
            }
            other => other,
        })
    }

    async fn open(&self, statement_timeout: Duration) -> Result<AsyncPgConnection, ConnectionError> {
        let failed = |error: tokio_postgres::Error| ConnectionError::BadConnection(describe(&error));
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(failed)?;
        let mut connection = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
        // Errors are told apart by their text where the driver keeps no code. Only a superuser may choose its language;
        // for others the server's own is English, or an administrator sets it for the role. And not every system can
        // notice that a client which waits for a long statement has gone.
        let _ = connection.batch_execute("SET lc_messages = 'C'").await;
        let _ = connection.batch_execute("SET client_connection_check_interval = '5s'").await;
        // Each statement has an index that starts with the tenant, and reads one range of it whatever its parameters:
        // one plan, made once a connection, is right for all of them, even before a new table has statistics. Such a
        // plan is done before helping processes or compiled code could begin. And what is acknowledged must be durable,
        // whatever the server's default. (Citus plans each statement for its tenant and cannot do so without parameters.)
        let settings = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0; SET jit = off; \
             SELECT set_config('plan_cache_mode', 'force_generic_plan', false) \
             WHERE to_regclass('pg_dist_partition') IS NULL; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
            statement_timeout.as_millis(),
            IDLE_IN_TRANSACTION_MAX.as_millis(),
        );
        connection.batch_execute(&settings).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }
}

/// Where a connection goes and as whom, as in `db.internal:5432, database calls, user callscope`. Never the password.
fn place(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(POSTGRES_PORT);
    let named = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    });
    let mut hosts: Vec<String> = named.collect();
    if hosts.is_empty() {
        hosts = config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    let hosts: Vec<String> = hosts.iter().enumerate().map(|(index, host)| format!("{host}:{}", port(index))).collect();
    let user = config.get_user().unwrap_or("of the operating system");
    // As with libpq, the database is called like the user unless it is named.
    let database = config.get_dbname().or(config.get_user()).unwrap_or("of the user's name");
    format!("{}, database {database}, user {user}", hosts.join(","))
}

/// The error with its causes: the driver's own text is only "error connecting to server".
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn client_config(checks_server: bool, root_file: Option<&str>) -> Result<ClientConfig, PgAddressFault> {
    let provider = Arc::new(ring::default_provider());
    let judge: Arc<dyn ServerCertVerifier> = if checks_server {
        let roots = Arc::new(root_certificates(root_file)?);
        let strict = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        strict.map_err(|error| PgAddressFault::Tls(error.to_string()))?
    } else {
        Arc::new(AnyServer(Arc::clone(&provider)))
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| PgAddressFault::Tls(error.to_string()))?;
    Ok(config.dangerous().with_custom_certificate_verifier(judge).with_no_client_auth())
}

fn root_certificates(file: Option<&str>) -> Result<RootCertStore, PgAddressFault> {
    let certificates: Vec<CertificateDer<'static>> = match file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => {
            let unreadable = |reason: &dyn ToString| PgAddressFault::RootCertificates {
                file: file.to_owned(),
                reason: reason.to_string(),
            };
            let read = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))?;
            let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| unreadable(&error))?;
            if read.is_empty() {
                return Err(unreadable(&"it holds none"));
            }
            read
        }
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() { Err(PgAddressFault::NoRootCertificates) } else { Ok(roots) }
}

/// Accepts whoever answers, as `sslmode=require` says; the connection is still encrypted, and signatures still hold.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection of a pool.
pub struct Pg {
    connection: AsyncPgConnection,
    /// How long to wait for an answer: the server ends a statement that takes too long, unless it hangs itself.
    patience: Option<Duration>,
    /// Whether work is under way, or was left: then no one else may have the connection.
    is_busy: bool,
}

impl Pg {
    /// Does work on the connection. Dropped half-way, it leaves a connection that the pool closes.
    pub async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        self.is_busy = true;
        let work = work(&mut self.connection);
        let outcome = match self.patience {
            None => work.await,
            Some(patience) => tokio::time::timeout(patience, work).await.map_err(unavailable)?,
        };
        self.is_busy = false;
        outcome.map_err(store_error)
    }
}

/// Opens connections for a pool.
pub struct PgManager {
    address: PgAddress,
    statement_timeout: Duration,
    sockets: Arc<Sockets>,
}

/// What sockets are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketsRole {
    /// Records and background tasks, which can wait.
    Records,
    /// What an answer needs: analytics reads and credentials.
    Questions,
}

/// The threads that the sockets of pools live on. They are used by many threads and must outlive the one that asked for
/// them; and an answer must not wait behind the work that a batch of records is for the writer's threads.
pub struct Sockets {
    /// Only gone while this is dropped.
    runtime: Option<Runtime>,
}

/// The threads of sockets have ended.
#[derive(Debug, thiserror::Error)]
#[error("the threads of the connections have ended")]
pub struct Ended;

impl Sockets {
    /// Starts the threads. Rows are read and summed on those of questions, so these are half as many as the processors.
    pub fn start(role: SocketsRole) -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let (name, threads) = match role {
            SocketsRole::Records => ("records", 1),
            SocketsRole::Questions => {
                let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
                ("questions", processors.div_ceil(2))
            }
        };
        let runtime = builder.worker_threads(threads).thread_name(name).enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Does work where the sockets are, so that the one who waits wakes up once, and not for each piece of an answer.
    /// Dropped half-way, the work is too.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Ended> {
        let runtime = self.runtime.as_ref().ok_or(Ended)?;
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, runtime.handle());
        match tasks.join_next().await {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Err(Ended),
        }
    }

    /// A connection whose socket is here.
    async fn connect(
        &self,
        address: PgAddress,
        statement_timeout: Duration,
    ) -> Result<AsyncPgConnection, ConnectionError> {
        let connected = self.run(async move { address.connect(statement_timeout).await }).await;
        connected.unwrap_or_else(|ended| Err(ConnectionError::BadConnection(ended.to_string())))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // To wait for it is forbidden where this may be dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl PgManager {
    /// A manager for connections to one server.
    pub const fn new(address: PgAddress, statement_timeout: Duration, sockets: Arc<Sockets>) -> Self {
        Self { address, statement_timeout, sockets }
    }
}

/// Hears what other processes send on [`CHANNEL`], on a connection of its own, until that is lost or nobody listens.
pub struct Listener {
    address: PgAddress,
    sockets: Arc<Sockets>,
}

impl Listener {
    /// A listener on one server.
    pub const fn new(address: PgAddress, sockets: Arc<Sockets>) -> Self {
        Self { address, sockets }
    }

    /// Passes on the payloads.
    pub async fn listen(&self, heard: mpsc::Sender<String>) -> Result<(), StoreError> {
        let mut connection = self.sockets.connect(self.address.clone(), Duration::ZERO).await.map_err(unavailable)?;
        connection.batch_execute(&format!("LISTEN {CHANNEL}")).await.map_err(store_error)?;
        loop {
            // Dropped after each look, so that the connection can be asked how it is.
            let next = tokio::time::timeout(LISTENER_CHECK, async {
                let mut notifications = pin!(connection.notifications_stream());
                notifications.next().await
            });
            match next.await {
                Ok(Some(Ok(notification))) => {
                    if heard.send(notification.payload).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(Some(Err(error))) => return Err(store_error(error)),
                Ok(None) => return Err(unavailable(ConnectionLost)),
                Err(_) if connection.is_broken() => return Err(unavailable(ConnectionLost)),
                Err(_) => {}
            }
        }
    }
}

/// The connection on which notifications come is lost.
#[derive(Debug, thiserror::Error)]
#[error("the server closed the connection")]
struct ConnectionLost;

impl bb8::ManageConnection for PgManager {
    type Connection = Pg;
    type Error = ConnectionError;

    async fn connect(&self) -> Result<Pg, ConnectionError> {
        let statement_timeout = self.statement_timeout;
        let connection = self.sockets.connect(self.address.clone(), statement_timeout).await?;
        let patience = (!statement_timeout.is_zero()).then(|| statement_timeout + GRACE);
        Ok(Pg { connection, patience, is_busy: false })
    }

    /// Asks nothing of the server: that would cost a round trip each time, and the driver notices a closed connection.
    async fn is_valid(&self, pg: &mut Pg) -> Result<(), ConnectionError> {
        if self.has_broken(pg) {
            return Err(ConnectionError::BadConnection("the server closed the connection".to_owned()));
        }
        Ok(())
    }

    fn has_broken(&self, pg: &mut Pg) -> bool {
        pg.is_busy || pg.connection.is_broken()
    }
}

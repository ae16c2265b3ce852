//! The database that a URL names: its pools, and the transactions that they lend.

use crate::checkpoints::Checkpoints;
use crate::conn::{Access, Conn, Query};
use crate::distribution::{self, DistributionError};
use crate::errors::unavailable;
use crate::files;
use crate::lite::{LiteManager, LiteRole};
use crate::migrations;
use crate::options::{DatabaseFault, DatabaseOptions, Location, OpenError, address, location};
use crate::pg::{Listener, PgManager, Sockets, SocketsRole};
use callscope_analytics::ports::StoreError;
use callscope_analytics::turns::{Turn, TurnLimits, Turns};
use callscope_domain::TenantId;
use diesel_async::AsyncPgConnection;
use futures_util::join;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Analytics reads of one tenant that may wait for a connection.
const READS_WAITING_MAX: usize = 200;

/// Keys and tickets that are written at one time, each of another tenant, and those of one tenant that may wait.
const ACCESS_WRITES_MAX: usize = 2;
const ACCESS_WRITES_WAITING_MAX: usize = 200;

/// How long after a ticket or a key was written to a file the writer of calls keeps its transactions short.
const WRITER_WANTED_AGE_MAX: Duration = Duration::from_secs(30);

/// A database, behind every port. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pools: Pools,
    pool_size: u32,
    writer_wanted: Arc<Mutex<Option<Instant>>>,
    /// Turns at the connections for analytics reads.
    reads: Arc<Turns>,
    /// Turns at writing keys and tickets.
    access_writes: Arc<Turns>,
}

#[derive(Clone)]
enum Pools {
    /// Three pools, so that none of questions, batches and who wants to be let in can take all connections from the
    /// others.
    Pg {
        main: bb8::Pool<PgManager>,
        analytics: bb8::Pool<PgManager>,
        credentials: bb8::Pool<PgManager>,
        questions: Arc<Sockets>,
        listener: Arc<Listener>,
    },
    Lite {
        writer: bb8::Pool<LiteManager>,
        readers: bb8::Pool<LiteManager>,
        _checkpoints: Arc<Checkpoints>,
    },
}

impl Database {
    /// Brings the schema up to date, and says how many migrations that took.
    pub async fn migrate(url: &str) -> Result<usize, OpenError> {
        let migrated = match location(url)? {
            Location::Sqlite(path) => {
                files::create_folder(&path).map_err(|(folder, source)| OpenError::Folder { folder, source })?;
                files::create_or_close_to_others(&path);
                let path = path.to_string_lossy().into_owned();
                tokio::task::spawn_blocking(move || migrations::migrate_sqlite(&path)).await
            }
            Location::Postgres => {
                // A migration may take as long as it needs.
                let connection = address("url", url)?.connect(Duration::ZERO).await;
                let connection = connection.map_err(|error| OpenError::Connect(error.into()))?;
                tokio::task::spawn_blocking(move || migrations::migrate_postgres(connection)).await
            }
        };
        migrated.map_err(|error| OpenError::Migrate(error.into()))?.map_err(OpenError::Migrate)
    }

    /// Distributes the tables of a migrated PostgreSQL with Citus by tenant, and names those that were not distributed
    /// before.
    pub async fn distribute(url: &str) -> Result<Vec<&'static str>, DistributionError> {
        on_citus(url, distribution::distribute).await
    }

    /// The tables that a distributed database has not distributed: migrations that came later made them, and another
    /// [`Self::distribute`] is due.
    pub async fn undistributed(url: &str) -> Result<Vec<&'static str>, DistributionError> {
        match location(url) {
            Ok(Location::Postgres) => on_citus(url, distribution::left_behind).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Opens a database whose schema is up to date.
    pub async fn open(options: &DatabaseOptions) -> Result<Self, OpenError> {
        let pools = match location(&options.url)? {
            Location::Sqlite(_) if options.read_url.is_some() => return Err(DatabaseFault::no_replica().into()),
            Location::Sqlite(path) => Pools::Lite {
                writer: pool(options, 1, lite(path.clone(), LiteRole::Writer)?).await?,
                readers: pool(options, readers_max(options), lite(path.clone(), LiteRole::Reader)?).await?,
                _checkpoints: Checkpoints::start(&path).map_err(|error| OpenError::Connect(error.into()))?.into(),
            },
            Location::Postgres => {
                let main_address = address("url", &options.url)?;
                let analytics_address = match &options.read_url {
                    None => main_address.clone(),
                    Some(url) if matches!(location(url), Ok(Location::Postgres)) => address("read_url", url)?,
                    Some(_) => return Err(DatabaseFault::no_replica().into()),
                };
                // Apart, so that an answer does not wait for megabytes of records on their way out. Each question begins
                // with a credential.
                let (records, questions) = (sockets(SocketsRole::Records)?, sockets(SocketsRole::Questions)?);
                let timeout = options.statement_timeout;
                let listener = Arc::new(Listener::new(main_address.clone(), Arc::clone(&records)));
                let credentials = PgManager::new(main_address.clone(), timeout, Arc::clone(&questions));
                let main = PgManager::new(main_address, timeout, records);
                let analytics = PgManager::new(analytics_address, timeout, Arc::clone(&questions));
                Pools::Pg {
                    questions,
                    listener,
                    main: pool(options, main_size(options.pool_size), main).await?,
                    analytics: pool(options, analytics_size(options.pool_size), analytics).await?,
                    credentials: pool(options, credentials_size(options.pool_size), credentials).await?,
                }
            }
        };
        let connections = match &pools {
            Pools::Pg { .. } => analytics_size(options.pool_size),
            // One is left for everything else that is read.
            Pools::Lite { .. } => readers_max(options).saturating_sub(1).max(1),
        };
        let max = usize::try_from(connections).unwrap_or(usize::MAX);
        // What reads a file keeps a processor busy: more at one time would only make others wait.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let is_embedded = matches!(pools, Pools::Lite { .. });
        let reads = Turns::new(TurnLimits {
            max,
            holder_max: if is_embedded { max.div_ceil(2).min(processors) } else { max.div_ceil(2) },
            waiting_max: READS_WAITING_MAX,
            timeout: options.acquire_timeout,
        });
        let access_writes = Turns::new(TurnLimits {
            max: ACCESS_WRITES_MAX,
            holder_max: 1,
            waiting_max: ACCESS_WRITES_WAITING_MAX,
            timeout: options.acquire_timeout,
        });
        Ok(Self { pools, pool_size: options.pool_size, writer_wanted: Arc::default(), reads, access_writes })
    }

    /// How many connections there are, by pool.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolState> {
        match &self.pools {
            Pools::Pg { main, analytics, credentials, .. } => vec![
                PoolState::of("main", main),
                PoolState::of("analytics", analytics),
                PoolState::of("credentials", credentials),
            ],
            Pools::Lite { writer, readers, .. } => {
                vec![PoolState::of("writer", writer), PoolState::of("readers", readers)]
            }
        }
    }

    /// Whether the database is one file that one connection writes.
    pub(crate) const fn is_embedded(&self) -> bool {
        matches!(self.pools, Pools::Lite { .. })
    }

    /// Transactions of the writer that may be open side by side: on PostgreSQL as many as the main pool has connections,
    /// but one, which is left for the sweeper, retention and audits.
    pub(crate) fn writers_max(&self) -> usize {
        let connections = if self.is_embedded() { 1 } else { main_size(self.pool_size).saturating_sub(1).max(1) };
        usize::try_from(connections).unwrap_or(usize::MAX)
    }

    /// The turn of a tenant to write a key or a ticket, one at a time: calls of other tenants are written between two.
    pub(crate) async fn access_write(&self, tenant: TenantId) -> Result<Turn, StoreError> {
        if self.is_embedded() {
            *self.writer_wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.access_writes.take(tenant).await.map_err(|_| StoreError::Overloaded)
    }

    /// Whether one has done so lately.
    pub(crate) fn is_writer_awaited(&self) -> bool {
        let wanted = *self.writer_wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.is_some_and(|wanted| wanted.elapsed() < WRITER_WANTED_AGE_MAX)
    }

    /// A connection for single statements.
    pub(crate) async fn connection(&self, access: Access) -> Result<Conn, StoreError> {
        match (&self.pools, access) {
            (Pools::Pg { main, .. }, _) => main.get_owned().await.map(Conn::Pg).map_err(unavailable),
            (Pools::Lite { writer, .. }, Access::Write) => {
                writer.get_owned().await.map(Conn::Lite).map_err(unavailable)
            }
            (Pools::Lite { readers, .. }, Access::Read) => {
                readers.get_owned().await.map(Conn::Lite).map_err(unavailable)
            }
        }
    }

    /// A tenant's turn at the connections of the read endpoints.
    pub(crate) async fn take_turn(&self, tenant: TenantId) -> Result<Turn, StoreError> {
        self.reads.take(tenant).await.map_err(|_| StoreError::Overloaded)
    }

    /// Asks one question of the read endpoints for a tenant, in its turn, and makes an answer of its rows. A tenant has at
    /// most half of the connections.
    pub(crate) async fn ask<U: Send + 'static, T: Send + 'static>(
        &self,
        tenant: TenantId,
        question: impl Query<U>,
        read: impl FnOnce(Vec<U>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.take_turn(tenant).await?;
        let mut conn = self.analytics_connection().await?;
        let answer = async move { read(conn.load(question).await?) };
        match &self.pools {
            Pools::Pg { questions, .. } => questions.run(answer).await.map_err(unavailable)?,
            Pools::Lite { .. } => answer.await,
        }
    }

    /// A connection for the questions of the read endpoints, perhaps to a replica.
    pub(crate) async fn analytics_connection(&self) -> Result<Conn, StoreError> {
        match &self.pools {
            Pools::Pg { analytics, .. } => analytics.get_owned().await.map(Conn::Pg).map_err(unavailable),
            Pools::Lite { readers, .. } => readers.get_owned().await.map(Conn::Lite).map_err(unavailable),
        }
    }

    /// A connection for single statements about who is let in, which every request waits for.
    pub(crate) async fn credentials_connection(&self, access: Access) -> Result<Conn, StoreError> {
        match &self.pools {
            Pools::Pg { credentials, .. } => credentials.get_owned().await.map(Conn::Pg).map_err(unavailable),
            Pools::Lite { .. } => self.connection(access).await,
        }
    }

    /// A connection in a transaction, which is undone unless it is committed.
    pub(crate) async fn transaction(&self, access: Access) -> Result<Conn, StoreError> {
        let mut conn = self.connection(access).await?;
        conn.begin(access).await?;
        Ok(conn)
    }
}

impl Database {
    /// Hears whose batches other processes commit; on SQLite there is nothing to hear.
    pub(crate) async fn hear_commits(&self, heard: mpsc::Sender<TenantId>) -> Result<(), StoreError> {
        let Pools::Pg { listener, .. } = &self.pools else {
            heard.closed().await;
            return Ok(());
        };
        let (sender, mut payloads) = mpsc::channel::<String>(1);
        let passing = async {
            while let Some(payload) = payloads.recv().await {
                // Whatever else is sent on the channel is nothing to us.
                for id in payload.split(',').filter_map(|id| id.parse().ok()) {
                    if heard.send(TenantId(id)).await.is_err() {
                        return;
                    }
                }
            }
        };
        let (listened, ()) = join!(listener.listen(sender), passing);
        listened
    }
}

/// How many connections a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Which pool.
    pub name: &'static str,
    /// Connections that are open.
    pub open: u32,
    /// Those of them that are lent to nobody.
    pub idle: u32,
    /// Most that there may be.
    pub max: u32,
}

impl PoolState {
    fn of<M: bb8::ManageConnection>(name: &'static str, pool: &bb8::Pool<M>) -> Self {
        let state = pool.state();
        Self { name, open: state.connections, idle: state.idle_connections, max: pool.config().max_size }
    }
}

async fn on_citus<T: Send + 'static>(
    url: &str,
    work: impl FnOnce(AsyncPgConnection) -> Result<T, DistributionError> + Send + 'static,
) -> Result<T, DistributionError> {
    if !matches!(location(url), Ok(Location::Postgres)) {
        return Err(DistributionError::NotPostgres);
    }
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| DistributionError::Failed(error);
    let address = address("url", url).map_err(|error| failed(error.into()))?;
    let connection = address.connect(Duration::ZERO).await.map_err(|error| failed(error.into()))?;
    tokio::task::spawn_blocking(move || work(connection)).await.map_err(|error| failed(error.into()))?
}

fn lite(path: PathBuf, role: LiteRole) -> Result<LiteManager, OpenError> {
    LiteManager::new(path, role).map_err(|error| OpenError::Connect(error.into()))
}

fn sockets(role: SocketsRole) -> Result<Arc<Sockets>, OpenError> {
    Sockets::start(role).map(Arc::new).map_err(|error| OpenError::Connect(error.into()))
}

/// PostgreSQL's connections for the analytics reads.
fn analytics_size(pool_size: u32) -> u32 {
    (pool_size / 2).max(1)
}

/// PostgreSQL's connections for credentials: few, since each is needed for a fraction of a millisecond.
fn credentials_size(pool_size: u32) -> u32 {
    (pool_size / 10).max(1)
}

/// PostgreSQL's connections for everything else.
fn main_size(pool_size: u32) -> u32 {
    pool_size.saturating_sub(analytics_size(pool_size) + credentials_size(pool_size)).max(1)
}

fn readers_max(options: &DatabaseOptions) -> u32 {
    options.pool_size.saturating_sub(1).max(1)
}

async fn pool<M>(options: &DatabaseOptions, size: u32, manager: M) -> Result<bb8::Pool<M>, OpenError>
where
    M: bb8::ManageConnection,
    M::Error: std::error::Error + Send + Sync + 'static,
{
    bb8::Pool::builder()
        .max_size(size.max(1))
        .connection_timeout(options.acquire_timeout)
        .error_sink(Box::new(LoggedErrors))
        .build(manager)
        .await
        .map_err(|error| OpenError::Connect(error.into()))
}

/// A pool tries again by itself; its log says why it must.
#[derive(Clone, Copy, Debug)]
struct LoggedErrors;

impl<E: std::error::Error + 'static> bb8::ErrorSink<E> for LoggedErrors {
    fn sink(&self, error: E) {
        tracing::warn!(error = &error as &dyn std::error::Error, "a connection to the database failed");
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<E>> {
        Box::new(*self)
    }
}

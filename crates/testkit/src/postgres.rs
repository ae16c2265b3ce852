//! PostgreSQL servers: one that all tests share, and servers of one test, which it may kill.

use crate::cluster::{Cluster, text};
use crate::shared::SharedServer;
use std::fmt;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A database without any data of tests.
const MAINTENANCE: &str = "postgres";
const DEFAULT_PORT: u16 = 5432;
/// What `ALTER SYSTEM` writes, which wins over `postgresql.conf`.
const SETTINGS_FILE: &str = "postgresql.auto.conf";

/// Why there is no server.
#[derive(Debug)]
pub struct NoPostgres(String);

impl fmt::Display for NoPostgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NoPostgres {}

/// What a server of a test's own is like.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Whether it survives a power cut, as benchmarks want it. Any server survives [`Postgres::kill`].
    pub durable: bool,
    /// Whether it listens on a free port of 127.0.0.1, and not only on its socket.
    pub listens: bool,
    /// By their names in `postgresql.conf`; later ones win.
    pub settings: Vec<(String, String)>,
    /// By their names in the folder of its data, which is where relative paths in settings point: keys and
    /// certificates, or a `pg_hba.conf`. Only the server may read them.
    pub files: Vec<(String, String)>,
}

impl ServerOptions {
    /// With one more setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A server. A server of one test stops when this is dropped or the process ends, and its files are removed.
pub struct Postgres {
    server: Server,
    options: ServerOptions,
    port: u16,
    /// Whether the server counts statements, once it is prepared.
    prepared: OnceCell<bool>,
    template: OnceCell<String>,
    databases: AtomicU32,
}

enum Server {
    Own(Cluster),
    Shared(Arc<SharedServer>),
}

impl Server {
    fn folder(&self) -> &Path {
        match self {
            Self::Own(cluster) => cluster.folder(),
            Self::Shared(shared) => shared.folder(),
        }
    }
}

impl Postgres {
    /// The server of all test processes, started by the first one. It is made for speed, counts statements if the
    /// library for that is installed, and must not be killed.
    pub fn shared() -> Result<&'static Self, &'static NoPostgres> {
        static SHARED: OnceLock<Result<Postgres, NoPostgres>> = OnceLock::new();
        let join = || {
            let options = ServerOptions::default().with("synchronous_commit", "off").with("full_page_writes", "off");
            let counting = options.clone().with("shared_preload_libraries", "pg_stat_statements");
            let counting = counting.with("pg_stat_statements.track_utility", "off");
            let counting = counting.with("pg_stat_statements.max", "20000");
            let start = |home: &Path| {
                let start = |options| start_in(home, options, DEFAULT_PORT, Cluster::initialize);
                start(&counting).or_else(|_| start(&options))
            };
            let shared = SharedServer::join(start).map_err(NoPostgres)?;
            Ok(Self::new(Server::Shared(Arc::new(shared)), &options, DEFAULT_PORT))
        };
        SHARED.get_or_init(join).as_ref()
    }

    /// A server of one test.
    pub fn start(options: &ServerOptions) -> Result<Self, NoPostgres> {
        Self::make(options, Cluster::initialize).map_err(NoPostgres)
    }

    /// Another server, which follows this one and can be read, from everything that this one holds now.
    pub fn standby(&self) -> Result<Self, NoPostgres> {
        let primary = format!("host={} port={} user=postgres", self.server.folder().display(), self.port);
        let options = self.options.clone().with("primary_conninfo", &primary);
        Self::make(&options, |cluster| cluster.copy(self.own_cluster(), self.port)).map_err(NoPostgres)
    }

    fn make(options: &ServerOptions, fill: impl FnOnce(&Cluster) -> Result<(), String>) -> Result<Self, String> {
        let port = if options.listens { free_port()? } else { DEFAULT_PORT };
        // Not the user's temporary folder: a socket's path has at most 107 bytes, and the server's user must reach it.
        let cluster = start_in(Path::new("/tmp"), options, port, fill)?;
        Ok(Self::new(Server::Own(cluster), options, port))
    }

    fn new(server: Server, options: &ServerOptions, port: u16) -> Self {
        let (prepared, template, databases) = (OnceCell::new(), OnceCell::new(), AtomicU32::new(0));
        Self { server, options: options.clone(), port, prepared, template, databases }
    }

    fn own_cluster(&self) -> &Cluster {
        match &self.server {
            Server::Own(cluster) => cluster,
            Server::Shared(_) => panic!("the server is shared with other tests"),
        }
    }

    /// Ends the server as a crash would, all of its processes at once.
    ///
    /// # Panics
    ///
    /// When it does not run, or is shared.
    pub fn kill(&self) {
        self.own_cluster().crash().expect("the server runs");
    }

    /// Starts the server again after [`Self::kill`], with the same files at the same place, and returns when it
    /// accepts connections.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&self) {
        self.own_cluster().start().expect("the server starts again");
    }

    /// Makes a standby a server of its own, and returns when it can be written to.
    ///
    /// # Panics
    ///
    /// When it is not a standby.
    pub async fn promote(&self) {
        let promoted = self.query(MAINTENANCE, "SELECT pg_promote()").await;
        assert_eq!(promoted, ["t"]);
    }

    /// A new database without tables; gives its name.
    ///
    /// # Panics
    ///
    /// When the server cannot be reached.
    pub async fn create_database(&self) -> String {
        self.create("").await
    }

    /// A new database with the schema that `migrate` gives to an empty one; returns its name. `migrate` runs once for
    /// each test program, and later databases are copies.
    pub(crate) async fn migrated_database(&self, migrate: impl AsyncFnOnce(String)) -> String {
        let template = async || {
            let _lock = self.lock().await;
            let name = format!("migrated_{:016x}", program());
            if self.query(MAINTENANCE, &format!("SELECT 1 FROM pg_database WHERE datname = '{name}'")).await.is_empty()
            {
                // Renamed at the end: a process that is killed halfway leaves no template that is incomplete.
                self.execute(MAINTENANCE, &format!("DROP DATABASE IF EXISTS new_{name} WITH (FORCE)")).await;
                self.execute(MAINTENANCE, &format!("CREATE DATABASE new_{name}")).await;
                migrate(self.url(&format!("new_{name}"))).await;
                self.execute(MAINTENANCE, &format!("ALTER DATABASE new_{name} RENAME TO {name}")).await;
            }
            name
        };
        let template = self.template.get_or_init(template).await;
        self.create(&format!("TEMPLATE {template} STRATEGY FILE_COPY")).await
    }

    async fn create(&self, options: &str) -> String {
        self.prepare().await;
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", databases_of(std::process::id()));
        self.execute(MAINTENANCE, &format!("CREATE DATABASE {name} {options}")).await;
        name
    }

    /// Drops databases of processes that have ended, and installs the extension that counts statements; returns whether
    /// there is one.
    async fn prepare(&self) -> bool {
        let prepare = async || {
            let _lock = self.lock().await;
            for name in self.query(MAINTENANCE, "SELECT datname FROM pg_database WHERE datname LIKE 'test%'").await {
                let process = name.split('_').nth(1).and_then(|number| number.parse().ok());
                let process = process.and_then(rustix::process::Pid::from_raw);
                let runs = process
                    .is_some_and(|process| rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH));
                // This process has made none yet, so a database with its number is of an earlier one.
                if !runs || name.starts_with(&databases_of(std::process::id())) {
                    self.execute(MAINTENANCE, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
                }
            }
            let loaded = "SELECT 1 FROM pg_settings
                 WHERE name = 'shared_preload_libraries' AND setting LIKE '%pg_stat_statements%'";
            let counts = !self.query(MAINTENANCE, loaded).await.is_empty();
            if counts {
                self.execute(MAINTENANCE, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await;
            }
            counts
        };
        *self.prepared.get_or_init(prepare).await
    }

    /// Keeps other processes from what must be done once on a shared server.
    async fn lock(&self) -> Option<std::fs::File> {
        let Server::Shared(shared) = &self.server else { return None };
        let shared = Arc::clone(shared);
        let locked = tokio::task::spawn_blocking(move || shared.lock()).await.expect("locking does not panic");
        Some(locked.expect("the lock file can be locked"))
    }

    /// Runs statements in a database, as superuser.
    ///
    /// # Panics
    ///
    /// When one fails.
    pub async fn execute(&self, database: &str, statements: &str) {
        self.query(database, statements).await;
    }

    /// Runs statements in a database, as superuser, and gives the first column of all their rows, as text; what is NULL
    /// is empty.
    ///
    /// # Panics
    ///
    /// When one fails.
    pub async fn query(&self, database: &str, statements: &str) -> Vec<String> {
        let connected = tokio_postgres::connect(&self.url(database), NoTls).await;
        let (client, connection) = connected.expect("the server accepts connections");
        let work = async move { client.simple_query(statements).await };
        // The connection ends when the client is dropped.
        let (messages, _) = tokio::join!(work, connection);
        let messages = messages.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
        let first = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        };
        messages.iter().filter_map(first).collect()
    }

    /// The text of every statement that was planned in a database so far, constants replaced, those of tests included.
    /// None when the server does not count statements.
    ///
    /// # Panics
    ///
    /// When the server cannot be reached.
    pub async fn statements(&self, database: &str) -> Option<Vec<String>> {
        if !self.prepare().await {
            return None;
        }
        let texts = format!(
            "SELECT s.query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
             WHERE d.datname = '{database}' ORDER BY s.query COLLATE \"C\""
        );
        Some(self.query(MAINTENANCE, &texts).await)
    }

    /// The URL of a database, through the server's socket.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let host = self.server.folder().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}:{}/{database}", self.port)
    }

    /// The address that the server listens on, if it listens on one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.options.listens.then(|| (Ipv4Addr::LOCALHOST, self.port).into())
    }
}

/// Starts a server in a new folder below `parent`, with files that `fill` makes.
fn start_in(
    parent: &Path,
    options: &ServerOptions,
    port: u16,
    fill: impl FnOnce(&Cluster) -> Result<(), String>,
) -> Result<Cluster, String> {
    let cluster = Cluster::new(parent)?;
    fill(&cluster)?;
    for (name, contents) in &options.files {
        cluster.write(name, contents)?;
    }
    cluster.write(SETTINGS_FILE, &settings(&cluster, options, port))?;
    cluster.start()?;
    Ok(cluster)
}

/// The beginning of the names of a process's databases.
fn databases_of(process: u32) -> String {
    format!("test_{process}_")
}

/// Differs from build to build, since what a template holds may.
fn program() -> u64 {
    let path = std::env::current_exe().expect("the path of the program");
    let built = path.metadata().and_then(|metadata| metadata.modified()).expect("the time of the build");
    let mut hasher = DefaultHasher::new();
    (path, built).hash(&mut hasher);
    hasher.finish()
}

/// A file of settings.
fn settings(cluster: &Cluster, options: &ServerOptions, port: u16) -> String {
    let folder = cluster.folder().display().to_string();
    let port = port.to_string();
    let own = [
        ("unix_socket_directories", folder.as_str()),
        ("listen_addresses", if options.listens { "127.0.0.1" } else { "" }),
        ("port", &port),
        ("max_connections", "200"),
        // The tests end servers, not the machine: written data outlives them without it.
        ("fsync", if options.durable { "on" } else { "off" }),
    ];
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut text = String::new();
    for (name, value) in own.into_iter().chain(given) {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    text
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    listener.local_addr().map(|address| address.port()).map_err(text)
}

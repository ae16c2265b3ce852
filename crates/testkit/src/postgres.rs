//! PostgreSQL servers of a test process: one that all tests share, and ones of a test's own, which it may kill.

use crate::cluster::{Cluster, text};
use std::fmt;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const TEMPLATE: &str = "migrated";
/// Where nothing of a test is.
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

/// A server. What it has is gone when this is dropped, or the process ends.
pub struct Postgres {
    cluster: Cluster,
    options: ServerOptions,
    port: u16,
    template: OnceCell<()>,
    statements: OnceCell<bool>,
    databases: AtomicU32,
}

impl Postgres {
    /// The server of this process, started by whoever asks first. It is made for speed, counts statements where it
    /// has the library, and must not be killed.
    pub fn shared() -> Result<&'static Self, &'static NoPostgres> {
        static SHARED: OnceLock<Result<Postgres, NoPostgres>> = OnceLock::new();
        let start = || {
            let options = ServerOptions::default().with("synchronous_commit", "off").with("full_page_writes", "off");
            let counting = options.clone().with("shared_preload_libraries", "pg_stat_statements");
            let counting = counting.with("pg_stat_statements.track_utility", "off");
            Self::start(&counting.with("pg_stat_statements.max", "20000")).or_else(|_| Self::start(&options))
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// A server of one's own.
    pub fn start(options: &ServerOptions) -> Result<Self, NoPostgres> {
        Self::make(options, Cluster::initialize).map_err(NoPostgres)
    }

    /// Another server, which follows this one and can be read, from everything that this one holds now.
    pub fn standby(&self) -> Result<Self, NoPostgres> {
        let primary = format!("host={} port={} user=postgres", self.cluster.folder().display(), self.port);
        let options = self.options.clone().with("primary_conninfo", &primary);
        Self::make(&options, |cluster| cluster.copy(&self.cluster, self.port)).map_err(NoPostgres)
    }

    fn make(options: &ServerOptions, fill: impl FnOnce(&Cluster) -> Result<(), String>) -> Result<Self, String> {
        let cluster = Cluster::new()?;
        fill(&cluster)?;
        let port = if options.listens { free_port()? } else { DEFAULT_PORT };
        for (name, contents) in &options.files {
            cluster.write(name, contents)?;
        }
        cluster.write(SETTINGS_FILE, &settings(&cluster, options, port))?;
        cluster.start()?;
        let options = options.clone();
        let (template, statements, databases) = (OnceCell::new(), OnceCell::new(), AtomicU32::new(0));
        Ok(Self { cluster, options, port, template, statements, databases })
    }

    /// Ends the server as a crash would, all of its processes at once.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&self) {
        self.cluster.crash().expect("the server runs");
    }

    /// Starts the server again after [`Self::kill`], with the same files at the same place, and returns when it
    /// accepts connections.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&self) {
        self.cluster.start().expect("the server starts again");
    }

    /// Makes a standby a server of its own, and returns when it can be written to.
    ///
    /// # Panics
    ///
    /// When it is none.
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

    /// A new database like the one that `migrate` made of an empty one when it was first called; gives its name.
    pub(crate) async fn migrated_database(&self, migrate: impl AsyncFnOnce(String)) -> String {
        let template = async || {
            self.execute(MAINTENANCE, &format!("CREATE DATABASE {TEMPLATE}")).await;
            migrate(self.url(TEMPLATE)).await;
        };
        self.template.get_or_init(template).await;
        self.create(&format!("TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")).await
    }

    async fn create(&self, options: &str) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(MAINTENANCE, &format!("CREATE DATABASE {name} {options}")).await;
        name
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

    /// The text of every statement that was planned in a database so far, constants replaced, whoever sent it. None
    /// when the server does not count statements.
    ///
    /// # Panics
    ///
    /// When the server cannot be reached.
    pub async fn statements(&self, database: &str) -> Option<Vec<String>> {
        let counts = async || {
            let loaded = "SELECT 1 WHERE current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'";
            let is_loaded = !self.query(MAINTENANCE, loaded).await.is_empty();
            if is_loaded {
                self.execute(MAINTENANCE, "CREATE EXTENSION pg_stat_statements").await;
            }
            is_loaded
        };
        if !*self.statements.get_or_init(counts).await {
            return None;
        }
        let texts = format!(
            "SELECT s.query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
             WHERE d.datname = '{database}' ORDER BY s.query COLLATE \"C\""
        );
        Some(self.query(MAINTENANCE, &texts).await)
    }

    /// What the program under test is told: a database, through the socket.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let host = self.cluster.folder().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}:{}/{database}", self.port)
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.options.listens.then(|| (Ipv4Addr::LOCALHOST, self.port).into())
    }
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
        // What the operating system has been given outlives the server.
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

//! A PostgreSQL server for one test process: started in a temporary folder, reached by a socket in it, and gone when
//! the process ends, however it ends.

use std::fmt;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

/// Names the folder of the server's programs.
const PG_BIN: &str = "PG_BIN";
/// Where Debian and its kin keep each major version.
const VERSIONS_FOLDER: &str = "/usr/lib/postgresql";
/// Whom the server runs as when the tests run as root, which it refuses.
const SERVER_USER: &str = "postgres";
const TEMPLATE: &str = "migrated";

/// Makes a cluster, starts it, says "ready", waits for the end of its input, and clears away. The input is a pipe
/// from the test process, which the kernel closes when that process ends. A linguistic collation, where the server
/// has one, shows what depends on the order of strings.
const SCRIPT: &str = r#"
# Nobody may be left to read "ready".
trap '' PIPE
bin=$1 folder=$2
make() { "$bin/initdb" --no-sync --auth=trust --username=postgres --encoding=UTF8 --pgdata="$folder/data" "$@"; }
settings="-c listen_addresses='' -c unix_socket_directories='$folder' -c max_connections=200 \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
{ make --locale=C --locale-provider=icu --icu-locale=en-US || make --locale=C; } >"$folder/log" 2>&1 &&
    "$bin/pg_ctl" start --wait --pgdata="$folder/data" --log="$folder/log" --options="$settings" >>"$folder/log" &&
    echo ready || tail -n 3 "$folder/log"
exec >/dev/null
cat
"$bin/pg_ctl" stop --mode=immediate --pgdata="$folder/data"
rm -rf "$folder"
"#;

/// Why there is no server.
#[derive(Debug)]
pub struct NoPostgres(String);

impl fmt::Display for NoPostgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A running server.
pub struct Postgres {
    folder: PathBuf,
    /// When it closes, the server stops.
    _lifeline: ChildStdin,
    template: OnceCell<()>,
    databases: AtomicU32,
}

impl Postgres {
    /// The server of this process, started by whoever asks first.
    pub fn shared() -> Result<&'static Self, &'static NoPostgres> {
        static SHARED: OnceLock<Result<Postgres, NoPostgres>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().map_err(NoPostgres)).as_ref()
    }

    fn start() -> Result<Self, String> {
        let programs = find_programs()?;
        // Not the user's temporary folder: a socket's path has at most 107 bytes, and the server's user must reach it.
        let private = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("callscope-pg-").permissions(private).tempdir_in("/tmp");
        let folder = folder.map_err(text)?;
        let mut command = Command::new("sh");
        if folder.path().metadata().map_err(text)?.uid() == 0 {
            let (user, group) = (server_id("-u")?, server_id("-g")?);
            chown(folder.path(), Some(user), Some(group)).map_err(text)?;
            command.uid(user).gid(group);
        }
        command.args(["-c", SCRIPT, "sh"]).arg(programs).arg(folder.path()).current_dir(folder.path());
        // In a group of its own, an interrupt from the keyboard does not reach it before its work is done.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().map_err(text)?;
        let (lifeline, output) = shell.stdin.take().zip(shell.stdout.take()).ok_or("no pipes")?;
        // From here on the script clears away.
        let folder = folder.keep();
        let mut output = BufReader::new(output);
        let mut said = String::new();
        output.read_line(&mut said).map_err(text)?;
        if said != "ready\n" {
            output.read_to_string(&mut said).map_err(text)?;
            return Err(format!("the server does not start: {}", said.trim_end().replace('\n', "; ")));
        }
        Ok(Self { folder, _lifeline: lifeline, template: OnceCell::new(), databases: AtomicU32::new(0) })
    }

    /// A new database like the one that `migrate` made of an empty one when it was first called.
    pub(crate) async fn migrated_database(&self, migrate: impl AsyncFnOnce(String)) -> String {
        let template = async || {
            self.execute(&format!("CREATE DATABASE {TEMPLATE}")).await;
            migrate(self.url(TEMPLATE)).await;
        };
        self.template.get_or_init(template).await;
        self.create(&format!("TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")).await
    }

    /// A new database without tables.
    pub(crate) async fn empty_database(&self) -> String {
        self.create("").await
    }

    async fn create(&self, options: &str) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} {options}")).await;
        self.url(&name)
    }

    async fn execute(&self, statement: &str) {
        let connected = tokio_postgres::connect(&self.url("postgres"), NoTls).await;
        let (client, connection) = connected.expect("the server accepts connections");
        let work = async move { client.batch_execute(statement).await };
        // The connection ends when the client is dropped.
        let (done, _) = tokio::join!(work, connection);
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }

    fn url(&self, database: &str) -> String {
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/{database}")
    }
}

fn find_programs() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os(PG_BIN).map(PathBuf::from) {
        let reason = format!("{PG_BIN} names {}, where there is no initdb", folder.display());
        return if has_programs(&folder) { Ok(folder) } else { Err(reason) };
    }
    let installed = std::fs::read_dir(VERSIONS_FOLDER).into_iter().flatten().flatten();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut installed: Vec<PathBuf> = installed.map(|entry| entry.path()).collect();
    installed.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    let installed = installed.into_iter().map(|folder| folder.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed
        .chain(std::env::split_paths(&path))
        .find(|folder| has_programs(folder))
        .ok_or_else(|| format!("no server programs on this machine (set {PG_BIN} to the folder of initdb)"))
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).is_file())
}

/// The number of the server's user or group.
fn server_id(which: &str) -> Result<u32, String> {
    let output = Command::new("id").args([which, SERVER_USER]).output().map_err(text)?;
    let number = String::from_utf8_lossy(&output.stdout).trim().parse();
    number.map_err(|_| format!("it does not run as root, and there is no user {SERVER_USER}"))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

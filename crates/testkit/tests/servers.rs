//! Servers that tests kill and promote keep what was committed and leave nothing behind; processes share one server.

use callscope_testkit::{Backend, Postgres, Scratch, ServerOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);
/// Precedes the folder in what a process prints.
const FOLDER: &str = "folder: ";

/// Makes a test of each function.
macro_rules! on_postgres {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            #[test]
            fn postgres() {
                callscope_testkit::run_on(callscope_testkit::Backend::Postgres, |_| {
                    tokio::runtime::Runtime::new().expect("a runtime").block_on(super::$test());
                });
            }
        }
    )+};
}

on_postgres!(
    a_killed_server_starts_again_with_what_was_committed,
    a_standby_follows_and_can_be_promoted,
    options_are_what_the_server_runs_with,
    a_dropped_server_leaves_nothing_behind,
    statements_are_counted_by_database,
    processes_share_a_server_that_stops_when_the_last_one_is_killed,
    a_server_whose_shell_was_killed_is_removed_by_the_next_process,
);

async fn a_killed_server_starts_again_with_what_was_committed() {
    let server = server(&ServerOptions::default());
    let database = server.create_database().await;
    server.execute(&database, "CREATE TABLE t (n int)").await;
    let url = server.url(&database);
    for round in 0..3 {
        server.execute(&database, &format!("INSERT INTO t VALUES ({round})")).await;
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("it runs");
        tokio::spawn(connection);
        let sleep = client.batch_execute("SELECT pg_sleep(600)");
        let killed = async { server.kill() };
        let (cut_off, ()) = tokio::join!(sleep, killed);
        assert!(cut_off.is_err());
        assert!(tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err());
        server.start_again();
    }
    assert_eq!(server.url(&database), url);
    assert_eq!(server.query(&database, "SELECT count(*) FROM t").await, ["3"]);
}

async fn a_standby_follows_and_can_be_promoted() {
    let primary = server(&ServerOptions::default());
    let database = primary.create_database().await;
    primary.execute(&database, "CREATE TABLE t (n int)").await;
    let standby = primary.standby().unwrap_or_else(|error| panic!("{error}"));
    primary.execute(&database, "INSERT INTO t VALUES (1)").await;
    let deadline = Instant::now() + PATIENCE;
    while standby.query(&database, "SELECT n FROM t").await.is_empty() {
        assert!(Instant::now() < deadline, "the standby does not follow");
    }
    assert_eq!(standby.query(&database, "SHOW transaction_read_only").await, ["on"]);
    primary.kill();
    standby.promote().await;
    standby.execute(&database, "INSERT INTO t VALUES (2)").await;
    assert_eq!(standby.query(&database, "SELECT count(*) FROM t").await, ["2"]);
}

async fn options_are_what_the_server_runs_with() {
    let options = ServerOptions {
        durable: true,
        listens: true,
        files: vec![("note.conf".to_owned(), "work_mem = '7MB'".to_owned())],
        ..ServerOptions::default()
    };
    let server =
        server(&options.with("max_connections", "17").with("cluster_name", "it's").with("include", "note.conf"));
    let shown = ["fsync", "full_page_writes", "synchronous_commit", "max_connections", "cluster_name", "work_mem"];
    let mut values = Vec::new();
    for name in shown {
        values.extend(server.query("postgres", &format!("SHOW {name}")).await);
    }
    assert_eq!(values, ["on", "on", "on", "17", "it's", "7MB"]);
    let address = server.address().expect("it listens");
    let url = format!("postgres://postgres@{address}/postgres");
    let _connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("it listens");
}

async fn a_dropped_server_leaves_nothing_behind() {
    let server = server(&ServerOptions::default());
    let folder = server.query("postgres", "SHOW unix_socket_directories").await.concat();
    assert!(Path::new(&folder).is_dir());
    drop(server);
    assert!(!Path::new(&folder).exists());
}

async fn statements_are_counted_by_database() {
    let [one, other] = [Scratch::empty(Backend::Postgres).await, Scratch::empty(Backend::Postgres).await];
    let Some(before) = one.statements().await else { return };
    assert_eq!(before, Vec::<String>::new());
    let shared = Postgres::shared().unwrap_or_else(|error| panic!("{error}"));
    let name =
        |scratch: &Scratch| PathBuf::from(scratch.url()).file_name().and_then(|name| name.to_str()).map(str::to_owned);
    shared.execute(&name(&one).expect("a name"), "CREATE TABLE t (n int)").await;
    shared.execute(&name(&one).expect("a name"), "SELECT n FROM t WHERE n = 7").await;
    shared.execute(&name(&other).expect("a name"), "SELECT 8").await;
    assert_eq!(one.statements().await, Some(vec!["SELECT n FROM t WHERE n = $1".to_owned()]));
    assert_eq!(other.statements().await, Some(vec!["SELECT $1".to_owned()]));
}

async fn processes_share_a_server_that_stops_when_the_last_one_is_killed() {
    let programs = programs("./").await;
    let mut first = User::start(&programs);
    let mut second = User::start(&programs);
    assert_eq!(first.folder, second.folder);
    first.kill();
    assert_eq!(User::start(&programs).folder, second.folder);
    second.kill();
    eventually("the server is gone", || !second.folder.exists());
}

async fn a_server_whose_shell_was_killed_is_removed_by_the_next_process() {
    let programs = programs("././").await;
    let first = User::start(&programs);
    let postmaster = std::fs::read_to_string(first.folder.join("data/postmaster.pid")).expect("a server");
    let postmaster = format!("/proc/{}", postmaster.lines().next().expect("its number"));
    let status = std::fs::read_to_string(format!("{postmaster}/status")).expect("it runs");
    let shell = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("its parent").trim();
    assert!(Command::new("kill").args(["-KILL", shell]).status().expect("kill runs").success());
    eventually("the shell is gone", || !Path::new(&format!("/proc/{shell}/cwd")).exists());
    assert!(first.folder.exists());
    let next = User::start(&programs);
    assert_ne!(next.folder, first.folder);
    assert!(!first.folder.exists(), "the files are removed");
    assert!(!Path::new(&format!("{postmaster}/cwd")).exists(), "the postmaster is stopped");
}

/// A process that uses the shared server until it is killed.
struct User {
    process: Child,
    folder: PathBuf,
}

impl User {
    /// `programs` is the folder of the server's programs. Processes that spell it alike share a server.
    fn start(programs: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--ignored", "--exact", "--nocapture", "uses_the_shared_server_until_it_is_killed"]);
        command.env("PG_BIN", programs).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("this program starts again");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let folder = lines.map_while(Result::ok).find_map(|line| line.strip_prefix(FOLDER).map(PathBuf::from));
        Self { process, folder: folder.expect("the process prints the folder") }
    }

    fn kill(&mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ends");
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "other tests run it in processes of their own"]
fn uses_the_shared_server_until_it_is_killed() {
    let shared = Postgres::shared().unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = runtime.block_on(shared.query("postgres", "SHOW unix_socket_directories")).concat();
    println!("\n{FOLDER}{folder}");
    // It ends with the process that started it, even if that does not kill it.
    let _ = std::io::stdin().read(&mut [0]);
}

/// The folder of the server's programs, spelt in a way that no other test spells it.
async fn programs(suffix: &str) -> String {
    let shared = Postgres::shared().unwrap_or_else(|error| panic!("{error}"));
    let folder = shared.query("postgres", "SELECT setting FROM pg_config WHERE name = 'BINDIR'").await.concat();
    format!("{folder}/{suffix}")
}

fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn server(options: &ServerOptions) -> Postgres {
    Postgres::start(options).unwrap_or_else(|error| panic!("{error}"))
}

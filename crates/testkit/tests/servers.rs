//! The servers that tests kill and promote keep what they are told, and leave nothing behind.

use callscope_testkit::{Backend, BlockingCase, Postgres, Scratch, ServerOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        &[$(BlockingCase {
            name: stringify!($name),
            backends: &[Backend::Postgres],
            run: |_| tokio::runtime::Runtime::new().expect("a runtime").block_on($name()),
        }),+]
    };
}

fn main() -> ExitCode {
    let cases: &[BlockingCase] = cases![
        a_killed_server_starts_again_with_what_was_committed,
        a_standby_follows_and_can_be_promoted,
        options_are_what_the_server_runs_with,
        a_dropped_server_leaves_nothing_behind,
        statements_are_counted_by_database,
    ];
    callscope_testkit::run(cases)
}

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

fn server(options: &ServerOptions) -> Postgres {
    Postgres::start(options).unwrap_or_else(|error| panic!("{error}"))
}

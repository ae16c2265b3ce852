//! A standby: servers that start on one and wait for its promotion, and servers that put their questions to one.

use crate::client::{Client, Transport};
use crate::fixture::Fixture;
use crate::process::{Finished, Server, eventually};
use crate::session::runtime;
use callscope_testkit::{Backend, Postgres, ServerOptions};
use serde_json::{Value, json};

on_postgres!(
    a_server_that_starts_on_a_standby_works_when_it_is_promoted,
    a_standby_without_the_whole_schema_is_refused,
    questions_are_put_to_the_replica_and_nothing_else_is,
    without_its_replica_a_server_goes_on_to_take_records,
    a_replica_that_cannot_be_is_refused_by_name,
);

const DATABASE: &str = "calls";
const READ_URL: &str = "CALLSCOPE__DATABASE__READ_URL";
const ACQUIRE_TIMEOUT: (&str, &str) = ("CALLSCOPE__DATABASE__ACQUIRE_TIMEOUT", "500ms");
const NEVER_CLOSE_CALLS: (&str, &str) = ("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s");

/// What is asked of the replica, about a fixed window if it is about any.
const QUESTIONS: [&str; 6] = ["summary", "call-volume", "workflow-stats", "provider-latency", "errors", ACTIVE_CALLS];
const ACTIVE_CALLS: &str = "active-calls";
const WINDOW: &str = "?started_after=2025-06-01T00:00:00Z&started_before=2025-06-02T00:00:00Z";

fn a_server_that_starts_on_a_standby_works_when_it_is_promoted() {
    let (primary, fixture) = primary();
    let key = fixture.create_tenant("clinic");
    assert_eq!(fixture.serve(&[]).client(&key).put(&call(1)).status, 201);
    let standby = primary.standby().unwrap();
    let fixture = Fixture::at(standby.url(DATABASE));
    assert_eq!(fixture.run(&["migrate"]).stdout_of_success(), "the schema is up to date\n");

    let server = fixture.serve(&[]);
    let client = server.client(&key);
    for _ in 0..3 {
        server.stranger().get("/health/ready").assert_is_for_later();
        client.put(&call(2)).assert_is_for_later();
        assert_eq!(server.stranger().get("/health/live").status, 200);
        assert_eq!(total(&client), 1);
    }
    let complaint = fixture.complaint(&["tenants", "create", "bakery"], &[]);
    assert!(complaint.contains("read-only"), "{complaint}");
    assert!(server.log().iter().any(|line| line.contains("database.url is read-only")), "{:?}", server.log());

    drop(primary);
    runtime().block_on(standby.promote());
    eventually("being ready", || (server.stranger().get("/health/ready").status == 200).then_some(()));
    assert_eq!(client.put(&call(2)).status, 201);
    assert_eq!(total(&client), 2);
    let key = fixture.create_tenant("bakery");
    assert_eq!(server.client(&key).put(&call(1)).status, 201);
    fixture.assert_rollups_are_equal();
}

fn a_standby_without_the_whole_schema_is_refused() {
    let (primary, fixture) = primary();
    let standby = primary.standby().unwrap();
    let waiting = Fixture::at(standby.url(DATABASE));
    let replicated = || {
        let written = query(&primary, "SELECT pg_current_wal_lsn()");
        let question = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        eventually("replication", || (query(&standby, &question) == "t").then_some(()));
    };
    let assert_refused = || {
        let reason = "the database is read-only, and its schema is not up to date: migrate its primary";
        for command in ["serve", "migrate"] {
            let Finished { code, stderr, .. } = waiting.run(&[command]);
            assert_eq!(code, Some(1), "{stderr}");
            assert!(stderr.contains("cannot migrate the database: ") && stderr.contains(reason), "{stderr}");
        }
    };
    // There is nothing at all.
    assert_refused();

    fixture.run(&["migrate"]).stdout_of_success();
    let latest = query(&primary, "SELECT max(version) FROM __diesel_schema_migrations");
    query(&primary, &format!("DELETE FROM __diesel_schema_migrations WHERE version = '{latest}'"));
    replicated();
    assert_refused();

    query(&primary, &format!("INSERT INTO __diesel_schema_migrations (version) VALUES ('{latest}')"));
    replicated();
    waiting.serve(&[]);
}

fn questions_are_put_to_the_replica_and_nothing_else_is() {
    let (primary, fixture) = primary();
    let key = fixture.create_tenant("clinic");
    let standby = primary.standby().unwrap();
    let server = fixture.serve(&[NEVER_CLOSE_CALLS, (READ_URL, &standby.url(DATABASE))]);
    let client = server.client(&key);
    client.send(&[call(1), active(2)], Transport::NDJSON);
    eventually("replication", || (total(&client) == 2).then_some(()));

    query(&standby, "SELECT pg_wal_replay_pause()");
    let paused = || query(&standby, "SELECT pg_get_wal_replay_pause_state()") == "paused";
    eventually("a pause", || paused().then_some(()));
    let before = QUESTIONS.map(|question| answer(&client, question));
    for number in (3..20).step_by(2) {
        client.send(&[call(number), active(number + 1)], Transport::NDJSON);
        assert_eq!(QUESTIONS.map(|question| answer(&client, question)), before);
    }
    // What the primary says at once.
    let new_key = fixture.create_key(&["--tenant", "clinic"]);
    assert_eq!(answer(&server.client(&new_key), "summary"), before[0]);
    assert_eq!(server.client(&new_key).put(&call(3)).json()["result"], "replaced");
    assert_eq!(server.stranger().get("/health/ready").status, 200);
    let other_key = fixture.create_tenant("bakery");
    assert_eq!(server.client(&other_key).put(&call(1)).status, 201);
    assert_eq!(total(&server.client(&other_key)), 0);
    fixture.assert_rollups_are_equal();
    assert_eq!(total(&fixture.serve(&[NEVER_CLOSE_CALLS]).client(&key)), 20);
    assert!(paused());

    query(&standby, "SELECT pg_wal_replay_resume()");
    eventually("replication", || (total(&client) == 20 && total(&server.client(&other_key)) == 1).then_some(()));
    for (question, before) in QUESTIONS.into_iter().zip(before) {
        assert_ne!(answer(&client, question), before, "{question}");
    }
}

fn without_its_replica_a_server_goes_on_to_take_records() {
    let (primary, fixture) = primary();
    let key = fixture.create_tenant("clinic");
    let standby = primary.standby().unwrap();
    let url = standby.url(DATABASE);
    let environment = [NEVER_CLOSE_CALLS, ACQUIRE_TIMEOUT, (READ_URL, url.as_str())];
    let server = fixture.serve(&environment);
    let client = server.client(&key);
    assert_eq!(client.put(&call(1)).status, 201);
    eventually("replication", || (total(&client) == 1).then_some(()));

    standby.kill();
    let assert_goes_on = |server: &Server, number: u32| {
        let client = server.client(&key);
        for question in QUESTIONS {
            client.get(&format!("/api/v1/analytics/{}", with_window(question))).assert_is_for_later();
        }
        server.stranger().get("/health/ready").assert_is_for_later();
        assert_eq!(server.stranger().get("/health/live").status, 200);
        client.send(&[call(number), active(number + 1)], Transport::NDJSON);
        assert_eq!(client.put(&call(number + 2)).status, 201);
    };
    assert_goes_on(&server, 2);
    // One may also start without it.
    let second = fixture.serve(&environment);
    assert_goes_on(&second, 5);
    fixture.assert_rollups_are_equal();

    standby.start_again();
    for server in [&server, &second] {
        eventually("being ready", || (server.stranger().get("/health/ready").status == 200).then_some(()));
        let client = server.client(&key);
        eventually("replication", || (total(&client) == 7).then_some(()));
    }
}

fn a_replica_that_cannot_be_is_refused_by_name() {
    let [sqlite, postgres] = Backend::ALL.map(Fixture::new);
    let other = "postgres://voice:horse-battery@localhost";
    for (fixture, url, words) in [
        (&sqlite, other, "only PostgreSQL has replicas"),
        (&sqlite, sqlite.database_url(), "only PostgreSQL has replicas"),
        (&postgres, sqlite.database_url(), "only PostgreSQL has replicas"),
        (&postgres, "localhost", "must start with postgres://"),
        (&postgres, &format!("{other}:many/calls"), ""),
        (&postgres, &format!("{other}/calls?colour=blue"), ""),
        (&postgres, &format!("{other}/calls?sslmode=verify-ca"), "sslmode=verify-ca is not supported"),
        (
            &postgres,
            &format!("{other}/calls?sslmode=verify-full&sslrootcert=/nowhere.pem"),
            "/nowhere.pem cannot be read",
        ),
    ] {
        for command in [&["serve"][..], &["tenants", "list"]] {
            let complaint = fixture.complaint(command, &[(READ_URL, url)]);
            assert!(complaint.contains("database.read_url") && complaint.contains(words), "{url}: {complaint}");
            assert!(!complaint.contains("horse-battery"), "{complaint}");
        }
    }
}

/// A server with an empty database.
fn primary() -> (Postgres, Fixture) {
    let primary = Postgres::start(&ServerOptions::default()).unwrap();
    runtime().block_on(primary.execute("postgres", &format!("CREATE DATABASE {DATABASE}")));
    let fixture = Fixture::at(primary.url(DATABASE));
    (primary, fixture)
}

/// The only value of a query; empty when there is none.
fn query(postgres: &Postgres, sql: &str) -> String {
    runtime().block_on(postgres.query(DATABASE, sql)).concat()
}

fn answer(client: &Client, question: &str) -> Value {
    client.ask(&with_window(question))
}

fn with_window(question: &str) -> String {
    format!("{question}{}", if question == ACTIVE_CALLS { "" } else { WINDOW })
}

fn total(client: &Client) -> u64 {
    answer(client, "summary")["total_calls"].as_u64().unwrap()
}

/// A finished call with something for every question.
fn call(number: u32) -> Value {
    json!({
        "call_id": format!("31c02e4f-12e0-4af0-869b-{number:012}"), "status": "failed",
        "started_at": "2025-06-01T10:00:00Z", "ended_at": "2025-06-01T10:01:00Z",
        "workflow": {"slug": "daily-call", "name": "Daily call"},
        "providers": [{"provider_type": "stt", "provider_name": "deepgram", "latencies_ms": [120.0]}],
        "errors": [{"timestamp": "2025-06-01T10:00:30Z", "service": "stt", "level": "error", "message": "silence"}],
    })
}

/// A call that goes on.
fn active(number: u32) -> Value {
    json!({"call_id": format!("31c02e4f-12e0-4af0-869b-{number:012}"), "status": "active",
           "started_at": "2025-06-01T10:00:00Z"})
}

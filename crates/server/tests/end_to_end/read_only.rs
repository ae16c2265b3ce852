//! The database can be read and not written, as after a failover or on a replica: records are refused, whoever
//! distributes requests is told so, and when it can be written again, all goes on by itself.

use crate::client::Client;
use crate::fixture::Fixture;
use crate::process::{Server, eventually};
use crate::session::runtime;
use callscope_testkit::{Postgres, ServerOptions};
use serde_json::{Value, json};

on_postgres!(a_primary_that_becomes_read_only_is_survived, a_failover_to_a_standby_is_survived,);

fn a_primary_that_becomes_read_only_is_survived() {
    let postgres = Postgres::start(&ServerOptions::default()).unwrap();
    create_database(&postgres);
    let fixture = Fixture::at(postgres.url(DATABASE));
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[]);
    let client = server.client(&key);
    assert_eq!(client.put(&call(1)).status, 201);

    set_read_only(&postgres, true);
    eventually("a refusal", || (client.put(&call(1)).status != 200).then_some(()));
    assert_is_read_only(&server, &client);

    set_read_only(&postgres, false);
    assert_recovers(&fixture, &server, &client);
}

fn a_failover_to_a_standby_is_survived() {
    let primary = Postgres::start(&ServerOptions::default()).unwrap();
    create_database(&primary);
    let standby = primary.standby().unwrap();
    let urls = [&primary, &standby].map(|server| server.url(DATABASE));
    let [first, second] = urls.each_ref().map(|url| url.split(['@', '/']).nth(3).unwrap());
    // Whoever connects takes the first that answers.
    let fixture = Fixture::at(format!("postgres://postgres@{first},{second}/{DATABASE}"));
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[]);
    let client = server.client(&key);
    assert_eq!(client.put(&call(1)).status, 201);
    let replicated = "SELECT 1 FROM calls";
    eventually("replication", || (runtime().block_on(standby.query(DATABASE, replicated)).len() == 1).then_some(()));

    primary.kill();
    eventually("the standby", || (client.get("/api/v1/analytics/summary").status == 200).then_some(()));
    assert_is_read_only(&server, &client);

    runtime().block_on(standby.promote());
    assert_recovers(&fixture, &server, &client);
}

const DATABASE: &str = "calls";

fn create_database(postgres: &Postgres) {
    runtime().block_on(postgres.execute("postgres", &format!("CREATE DATABASE {DATABASE}")));
}

/// Also for the sessions that there are.
fn set_read_only(postgres: &Postgres, value: bool) {
    runtime().block_on(async {
        postgres.execute("postgres", &format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await;
        postgres.execute("postgres", "SELECT pg_reload_conf()").await;
    });
}

fn is_ready(server: &Server) -> bool {
    server.stranger().get("/health/ready").status == 200
}

/// What was there can be read, and the server lives.
fn assert_is_read_only(server: &Server, client: &Client) {
    client.put(&call(2)).assert_is_for_later();
    assert_eq!(client.ask("summary?period=30d")["total_calls"], 1);
    server.stranger().get("/health/ready").assert_is_for_later();
    assert_eq!(server.stranger().get("/health/live").status, 200);
}

fn assert_recovers(fixture: &Fixture, server: &Server, client: &Client) {
    eventually("being ready", || is_ready(server).then_some(()));
    eventually("an acknowledgement", || (client.put(&call(2)).status != 503).then_some(()));
    assert_eq!(client.put(&call(2)).status, 200);
    assert_eq!(client.put(&call(1)).status, 200);
    assert_eq!(client.ask("summary?period=30d")["total_calls"], 2);
    fixture.assert_rollups_are_equal();
}

/// A call of an hour ago.
fn call(number: u32) -> Value {
    let started_at = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    json!({"call_id": format!("31c02e4f-12e0-4af0-869b-{number:012}"), "status": "completed",
           "started_at": started_at.to_rfc3339(), "ended_at": started_at.to_rfc3339()})
}

//! Distributed tables, over a stand-in for Citus: which calls are made of it, and that none is forgotten.

use crate::fixture::{Fixture, Server};
use crate::samples::{at, completed};
use callscope_persistence::{Database, DistributionError};
use callscope_testkit::{Backend, CITUS_STAND_IN};
use std::collections::BTreeSet;
use std::error::Error;

on_each_backend!(
    without_citus_nothing_is_distributed,
    every_table_is_spread_by_tenant_or_copied_whole,
    a_table_that_is_left_behind_is_named_and_done_alone,
    when_one_table_is_refused_none_is_distributed,
);

/// Tables that every node has whole, in the order in which they are made.
const WHOLE: [&str; 2] = ["tenants", "api_keys"];
/// The one that chooses the shards.
const FIRST: &str = "calls";

async fn without_citus_nothing_is_distributed(fixture: Fixture) {
    let url = fixture.scratch.url();
    let refused = Database::distribute(url).await.unwrap_err();
    match fixture.backend {
        Backend::Sqlite => assert!(matches!(refused, DistributionError::NotPostgres), "{refused:?}"),
        Backend::Postgres => assert!(matches!(refused, DistributionError::NoCitus), "{refused:?}"),
    }
    assert_eq!(Database::undistributed(url).await.unwrap(), [""; 0]);
}

async fn every_table_is_spread_by_tenant_or_copied_whole(fixture: Fixture) {
    if fixture.backend == Backend::Sqlite {
        return;
    }
    let url = fixture.scratch.url();
    fixture.write([completed(1, at(0))]).await;
    fixture.execute(CITUS_STAND_IN).await;
    assert_eq!(Database::undistributed(url).await.unwrap(), [""; 0], "that is how one begins");

    let done = Database::distribute(url).await.unwrap();
    let calls = calls(&fixture).await;
    let [whole, spread] = [&calls[..WHOLE.len()], &calls[WHOLE.len()..]];
    assert_eq!(whole, WHOLE.map(|table| format!("reference {table}")));
    assert_eq!(spread[0], format!("hash of {FIRST} by tenant_id, colocated with none, 64 shards"));
    assert!(
        spread[1..].iter().all(|call| call.ends_with(" by tenant_id, colocated with calls, its shards")),
        "{calls:?}"
    );
    // Each call is about the table that is said to be done.
    let named = |call: &str| call.split(' ').find(|word| done.contains(word)).unwrap().to_owned();
    assert_eq!(calls.iter().map(|call| named(call)).collect::<Vec<_>>(), done);
    assert_eq!(sorted(&done), sorted(&tables(&fixture).await), "a table is forgotten, or is none");

    assert_eq!(Database::undistributed(url).await.unwrap(), [""; 0]);
    assert_eq!(Database::distribute(url).await.unwrap(), [""; 0]);
    assert_eq!(self::calls(&fixture).await, calls, "the second time there is nothing to do");
    assert_eq!(Database::migrate(url).await.unwrap(), 0);
    let server = Server::start(url).await;
    server.write(fixture.tenant, [completed(2, at(1))]).await;
    assert_eq!(server.calls(fixture.tenant).await.len(), 2);
    server.assert_sound(fixture.tenant).await;
}

async fn a_table_that_is_left_behind_is_named_and_done_alone(fixture: Fixture) {
    if fixture.backend == Backend::Sqlite {
        return;
    }
    let url = fixture.scratch.url();
    fixture.execute(CITUS_STAND_IN).await;
    let done = Database::distribute(url).await.unwrap();
    let mut expected = calls(&fixture).await;
    // One that Citus knows of, and that is on the coordinator alone.
    for (table, call) in done.clone().into_iter().zip(expected.clone()).filter(|(table, _)| *table != FIRST) {
        let local = format!(
            "UPDATE citus.pg_dist_partition SET partmethod = 'n', repmodel = 's' WHERE logicalrelid = '{table}'::regclass"
        );
        fixture.execute(&local).await;
        assert_eq!(Database::undistributed(url).await.unwrap(), [table]);
        assert_eq!(Database::distribute(url).await.unwrap(), [table]);
        expected.push(call);
        assert_eq!(calls(&fixture).await, expected);
    }
    for (table, call) in done.into_iter().zip(expected.clone()).filter(|(table, _)| *table != FIRST) {
        fixture.execute(&format!("DELETE FROM citus.pg_dist_partition WHERE logicalrelid = '{table}'::regclass")).await;
        assert_eq!(Database::undistributed(url).await.unwrap(), [table]);
        assert_eq!(Database::distribute(url).await.unwrap(), [table]);
        expected.push(call);
        assert_eq!(calls(&fixture).await, expected);
        assert_eq!(Database::undistributed(url).await.unwrap(), [""; 0]);
    }
}

async fn when_one_table_is_refused_none_is_distributed(fixture: Fixture) {
    if fixture.backend == Backend::Sqlite {
        return;
    }
    let url = fixture.scratch.url();
    fixture.execute(CITUS_STAND_IN).await;
    for table in tables(&fixture).await {
        fixture.execute(&format!("INSERT INTO citus.refusals VALUES ('{table}')")).await;
        let refused = Database::distribute(url).await.unwrap_err();
        let cause = refused.source().map(ToString::to_string).unwrap_or_default();
        assert!(matches!(refused, DistributionError::Failed(_)), "{refused:?}");
        assert!(cause.contains(&format!("a worker says no to {table}")), "{cause}");
        assert_eq!(calls(&fixture).await, [""; 0]);
        let listed = fixture.values("SELECT logicalrelid::text AS value FROM citus.pg_dist_partition").await;
        assert_eq!(listed, []);
        fixture.execute("DELETE FROM citus.refusals").await;
    }
    assert_eq!(Database::distribute(url).await.unwrap().len(), tables(&fixture).await.len());
}

/// What the stand-in was told, in order.
async fn calls(fixture: &Fixture) -> Vec<String> {
    let calls = fixture.values("SELECT call AS value FROM citus.call_log ORDER BY number").await;
    calls.into_iter().map(Option::unwrap).collect()
}

/// Every table that migrations made, but for their own.
async fn tables(fixture: &Fixture) -> Vec<String> {
    let sql = "SELECT table_name AS value FROM information_schema.tables
               WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'";
    fixture.values(sql).await.into_iter().map(Option::unwrap).collect()
}

fn sorted(names: &[impl ToString]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

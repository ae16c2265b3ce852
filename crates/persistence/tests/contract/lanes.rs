//! Tenants that are written side by side.

use crate::fixture::{Fixture, Server};
use crate::samples::{at, completed, id};
use callscope_analytics::ports::CallStore;
use callscope_domain::TenantId;
use callscope_domain::TransitionKind::Created;
use callscope_testkit::Backend;
use futures_util::future::join_all;
use std::time::Duration;

on_each_backend!(a_tenant_that_another_server_has_locked_holds_up_no_other, more_tenants_than_connections_are_written);

async fn a_tenant_that_another_server_has_locked_holds_up_no_other(fixture: Fixture) {
    // An SQLite file has one lock for all tenants.
    if fixture.backend == Backend::Sqlite {
        return;
    }
    let second = Server::start(fixture.scratch.url()).await;
    let mut lock = second.database.begin().await.unwrap();
    lock.lock_calls(fixture.tenant, &[]).await.unwrap();
    let mut stuck = Box::pin(fixture.write([completed(1, at(0))]));
    assert!(futures_util::poll!(&mut stuck).is_pending());
    let others = async {
        for call in 0..20 {
            assert_eq!(fixture.server.write(TenantId(id(0xB)), [completed(call, at(0))]).await, [Created]);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), others).await.expect("nobody holds the other tenant up");
    assert!(futures_util::poll!(&mut stuck).is_pending());
    drop(lock);
    assert_eq!(stuck.await, [Created]);
}

async fn more_tenants_than_connections_are_written(fixture: Fixture) {
    let tenants: Vec<TenantId> = (1..=40).map(|number| TenantId(id(number))).collect();
    for round in 0..5 {
        let writes = tenants.iter().map(|&tenant| fixture.server.write(tenant, [completed(round, at(0))]));
        assert_eq!(join_all(writes).await, vec![[Created]; 40]);
    }
    for tenant in tenants {
        assert_eq!(fixture.server.assert_sound(tenant).await.calls, 5);
    }
}

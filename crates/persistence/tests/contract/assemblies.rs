//! Assemblies: the facts of calls whose telemetry arrives in pieces.

use crate::fixture::Fixture;
use crate::samples::{at, id};
use callscope_analytics::assemblies::{
    AssemblyChanges, AssemblyKey, AssemblyStore, Framework, LockedAssembly, State, TenantUse, Write,
};
use callscope_domain::{CallId, TenantId};
use callscope_persistence::Database;
use futures_util::future::join_all;

on_each_backend!(
    what_is_saved_is_loaded_again,
    an_assembly_that_is_not_committed_leaves_no_trace,
    concurrent_changes_of_an_assembly_see_each_other,
    assemblies_of_a_tenant_are_counted_for_others,
    idle_assemblies_are_those_of_active_calls,
    assemblies_go_when_their_time_has_come,
);

const OTHER: TenantId = TenantId(uuid::Uuid::from_u128(0xB));
const CALL: CallId = CallId(uuid::Uuid::from_u128(1));

fn key(key: &str) -> AssemblyKey {
    AssemblyKey { framework: Framework::LiveKit, key: key.to_owned() }
}

/// The first segment of an active call.
fn begun() -> AssemblyChanges {
    AssemblyChanges {
        write: Write::Append(vec![1]),
        segments: 1,
        facts: 3,
        state: State::Active,
        reported_errors: vec![9; 8],
        last_seen_at: at(0),
        purge_at: None,
    }
}

/// Saves changes of an assembly, and returns what it was before.
async fn save(store: &Database, tenant: TenantId, key: &AssemblyKey, changes: &AssemblyChanges) -> LockedAssembly {
    let (mut transaction, locked) = store.lock_assembly(tenant, key, CALL, at(0)).await.unwrap();
    transaction.save(changes.clone()).await.unwrap();
    transaction.commit().await.unwrap();
    locked
}

async fn load(store: &Database, tenant: TenantId, key: &AssemblyKey) -> LockedAssembly {
    store.lock_assembly(tenant, key, CALL, at(0)).await.unwrap().1
}

async fn what_is_saved_is_loaded_again(fixture: Fixture) {
    let (store, tenant, room) = (&fixture.server.database, fixture.tenant, key("RM_1"));
    let locked = save(store, tenant, &room, &begun()).await;
    assert!(locked.is_new && locked.segments.is_empty() && locked.revision == 1);
    let second = AssemblyChanges { write: Write::Append(vec![2]), segments: 2, last_seen_at: at(1), ..begun() };
    let locked = save(store, tenant, &room, &second).await;
    let expected = LockedAssembly {
        is_new: false,
        revision: 2,
        segments: vec![vec![1]],
        reported_errors: vec![9; 8],
        state: State::Active,
        last_seen_at: at(0),
    };
    assert_eq!(locked, expected);
    let third = AssemblyChanges { write: Write::Append(vec![3]), segments: 3, ..begun() };
    assert_eq!(save(store, tenant, &room, &third).await.segments, [[1], [2]]);
    let merged = AssemblyChanges { write: Write::Replace(1, vec![4]), segments: 2, state: State::Ended, ..begun() };
    assert_eq!(save(store, tenant, &room, &merged).await.segments, [[1], [2], [3]]);
    let locked = load(store, tenant, &room).await;
    assert_eq!((locked.segments, locked.state, locked.revision), (vec![vec![1], vec![4]], State::Ended, 5));
    // The same key is another assembly of another framework and of another tenant.
    assert!(load(store, OTHER, &room).await.is_new);
    assert!(load(store, tenant, &AssemblyKey { framework: Framework::Pipecat, ..room }).await.is_new);
}

async fn an_assembly_that_is_not_committed_leaves_no_trace(fixture: Fixture) {
    let (store, tenant, room) = (&fixture.server.database, fixture.tenant, key("RM_1"));
    let (mut transaction, _) = store.lock_assembly(tenant, &room, CALL, at(0)).await.unwrap();
    transaction.save(begun()).await.unwrap();
    drop(transaction);
    assert!(load(store, tenant, &room).await.is_new);
    save(store, tenant, &room, &begun()).await;
    let (mut transaction, _) = store.lock_assembly(tenant, &room, CALL, at(0)).await.unwrap();
    transaction.delete().await.unwrap();
    transaction.commit().await.unwrap();
    let locked = load(store, tenant, &room).await;
    assert!(locked.is_new && locked.segments.is_empty());
    assert_eq!(fixture.values("SELECT 'x' AS value FROM assembly_segments").await.len(), 0);
}

async fn concurrent_changes_of_an_assembly_see_each_other(fixture: Fixture) {
    let store = fixture.server.database.clone();
    // As two processes that share the database.
    let other = crate::fixture::Server::start(fixture.scratch.url()).await.database;
    let revisions = join_all((0..20_u8).map(|number| {
        let (store, tenant) = (if number % 2 == 0 { store.clone() } else { other.clone() }, fixture.tenant);
        tokio::spawn(async move {
            let room = key("RM_1");
            let (mut transaction, locked) = store.lock_assembly(tenant, &room, CALL, at(0)).await.unwrap();
            let segments = locked.segments.len() + 1;
            let changes = AssemblyChanges { write: Write::Append(vec![number]), segments, ..begun() };
            transaction.save(changes).await.unwrap();
            transaction.commit().await.unwrap();
            locked.revision
        })
    }));
    let mut revisions: Vec<i64> = revisions.await.into_iter().map(Result::unwrap).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=20).collect::<Vec<i64>>());
    assert_eq!(load(&store, fixture.tenant, &key("RM_1")).await.segments.len(), 20);
}

async fn assemblies_of_a_tenant_are_counted_for_others(fixture: Fixture) {
    let (store, tenant) = (&fixture.server.database, fixture.tenant);
    for room in ["RM_1", "RM_2"] {
        save(store, tenant, &key(room), &begun()).await;
    }
    let tenant_use = async |tenant| {
        let (mut transaction, _) = store.lock_assembly(tenant, &key("RM_3"), CALL, at(0)).await.unwrap();
        assert!(!transaction.has_call().await.unwrap());
        transaction.load_tenant_use().await.unwrap()
    };
    assert_eq!(tenant_use(tenant).await, TenantUse { assemblies: 2, facts: 6 });
    assert_eq!(tenant_use(OTHER).await, TenantUse::default());
}

async fn idle_assemblies_are_those_of_active_calls(fixture: Fixture) {
    let (store, tenant) = (&fixture.server.database, fixture.tenant);
    save(store, tenant, &key("RM_1"), &AssemblyChanges { last_seen_at: at(5), ..begun() }).await;
    save(store, tenant, &key("RM_2"), &AssemblyChanges { last_seen_at: at(6), ..begun() }).await;
    save(store, tenant, &key("RM_3"), &AssemblyChanges { state: State::Ended, ..begun() }).await;
    save(store, OTHER, &key("RM_4"), &begun()).await;
    let idle = store.list_idle_assemblies(tenant, at(5), 10).await.unwrap();
    assert_eq!(idle, [(key("RM_1"), CallId(id(1)))]);
    assert_eq!(store.list_idle_assemblies(tenant, at(6), 1).await.unwrap().len(), 1);
}

async fn assemblies_go_when_their_time_has_come(fixture: Fixture) {
    let (store, tenant) = (&fixture.server.database, fixture.tenant);
    for (room, purge_at) in [("RM_1", Some(at(5))), ("RM_2", Some(at(6))), ("RM_3", None)] {
        save(store, tenant, &key(room), &AssemblyChanges { purge_at, ..begun() }).await;
    }
    save(store, OTHER, &key("RM_1"), &AssemblyChanges { purge_at: Some(at(0)), ..begun() }).await;
    assert_eq!(store.purge_assemblies(tenant, at(4), 10).await.unwrap(), 0);
    assert_eq!(store.purge_assemblies(tenant, at(5), 10).await.unwrap(), 1);
    let segments = "SELECT key AS value FROM assembly_segments ORDER BY key";
    let left: Vec<String> = fixture.values(segments).await.into_iter().map(Option::unwrap).collect();
    assert_eq!(left, ["RM_1", "RM_2", "RM_3"], "the first is another tenant's");
    assert!(load(store, tenant, &key("RM_1")).await.is_new);
}

//! Who is let in: tenants and keys by id, tickets, and what is written down of keys.

use crate::fixture::Fixture;
use crate::samples::{at, id};
use callscope_analytics::access::{AccessStore, TICKETS_PER_TENANT_MAX};
use callscope_analytics::ports::{Page, StoreError, TenantStore};
use callscope_domain::{Actor, ApiKey, KeyId, Principal, Scope, Subject, TenantId, Ticket};
use futures_util::future::join_all;

on_each_backend!(
    a_tenant_is_known_by_its_id,
    a_key_is_found_by_its_id_within_its_tenant,
    keys_come_in_pages,
    what_is_done_to_keys_is_written_down_with_it,
    the_number_of_valid_keys_is_bound,
    of_many_servers_that_create_keys_none_passes_the_bound,
    a_ticket_is_taken_as_it_was_made_and_once,
    of_many_who_take_a_ticket_one_gets_it,
    expired_tickets_go_and_the_rest_are_bounded,
);

const OTHER: TenantId = TenantId(uuid::Uuid::from_u128(0xB));

fn key(tenant: TenantId, number: u128) -> ApiKey {
    ApiKey {
        id: KeyId(id(number)),
        tenant_id: tenant,
        name: None,
        scopes: vec![Scope::KeysManage],
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        rate: None,
    }
}

fn ticket(tenant: TenantId) -> Ticket {
    Ticket {
        tenant_id: tenant,
        scopes: vec![Scope::AnalyticsRead, Scope::CallsWrite],
        holder: Principal::Subject(Subject::new("auth0|ü").unwrap()),
        expires_at: at(1),
        credential_expires_at: Some(at(2)),
    }
}

async fn a_tenant_is_known_by_its_id(fixture: Fixture) {
    let store = &fixture.server.database;
    assert!(store.has_tenant(fixture.tenant).await.unwrap());
    assert!(!store.has_tenant(OTHER).await.unwrap());
}

async fn a_key_is_found_by_its_id_within_its_tenant(fixture: Fixture) {
    let store = &fixture.server.database;
    let ours = key(fixture.tenant, 1);
    store.create_key(&ours, &[1; 32], &Actor::CommandLine, u32::MAX).await.unwrap();
    assert_eq!(store.find_key_by_id(fixture.tenant, ours.id).await.unwrap(), Some(ours.clone()));
    assert_eq!(store.find_key_by_id(OTHER, ours.id).await.unwrap(), None);
    assert_eq!(store.find_key_by_id(fixture.tenant, KeyId(id(2))).await.unwrap(), None);
}

async fn keys_come_in_pages(fixture: Fixture) {
    let store = &fixture.server.database;
    let keys: Vec<ApiKey> = (1..=5).map(|number| key(fixture.tenant, number)).collect();
    for (hash, key) in keys.iter().enumerate().rev() {
        store.create_key(key, &[u8::try_from(hash).unwrap(); 32], &Actor::CommandLine, u32::MAX).await.unwrap();
    }
    store.create_key(&key(OTHER, 9), &[9; 32], &Actor::CommandLine, u32::MAX).await.unwrap();
    for (offset, limit, expected) in [(0, 2, &keys[..2]), (3, 9, &keys[3..]), (5, 1, &[]), (u32::MAX, 1, &[])] {
        let page = store.list_key_page(fixture.tenant, Page { offset, limit }).await.unwrap();
        assert_eq!(page, (expected.to_vec(), 5));
    }
}

async fn what_is_done_to_keys_is_written_down_with_it(fixture: Fixture) {
    let (store, tenant) = (&fixture.server.database, fixture.tenant);
    let by_key = Actor::Principal(Principal::Key(KeyId(id(7))));
    let by_subject = Actor::Principal(Principal::Subject(Subject::new("ada").unwrap()));
    store.create_key(&key(tenant, 1), &[1; 32], &Actor::CommandLine, u32::MAX).await.unwrap();
    store.create_key(&key(tenant, 2), &[2; 32], &by_key, u32::MAX).await.unwrap();
    // Neither what fails nor what changes nothing leaves a trace.
    let again = store.create_key(&key(tenant, 3), &[2; 32], &by_key, u32::MAX).await;
    assert!(matches!(again, Err(StoreError::Duplicate)));
    for actor in [&by_subject, &by_key] {
        assert!(store.revoke_key(tenant, KeyId(id(1)), at(5), actor).await.unwrap());
    }
    assert!(!store.revoke_key(OTHER, KeyId(id(2)), at(5), &by_key).await.unwrap());
    assert!(!store.revoke_key(tenant, KeyId(id(3)), at(5), &by_key).await.unwrap());
    let sql = "SELECT actor || ' ' || action AS value FROM key_audits ORDER BY audit_id";
    let written: Vec<String> = fixture.values(sql).await.into_iter().map(Option::unwrap).collect();
    assert_eq!(written, ["cli created", &format!("key:{} created", id(7)), "jwt:ada revoked"]);
    let sql = "SELECT 'x' AS value FROM key_audits a JOIN api_keys k ON k.tenant_id = a.tenant_id
               AND k.key_id = a.key_id AND a.audited_at IN (k.created_at, k.revoked_at)";
    assert_eq!(fixture.values(sql).await.len(), 3, "each is of its key, and of its time");
}

fn hash_of(number: u128) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&number.to_le_bytes());
    hash
}

async fn the_number_of_valid_keys_is_bound(fixture: Fixture) {
    let store = &fixture.server.database;
    let create = async |number: u128, at_minute: i64, expires_at: Option<i64>| {
        let (created_at, expires_at) = (at(at_minute), expires_at.map(at));
        let key = ApiKey { created_at, expires_at, ..key(fixture.tenant, number) };
        store.create_key(&key, &hash_of(number), &Actor::CommandLine, 2).await.unwrap()
    };
    assert!(create(1, 0, None).await && create(2, 0, Some(5)).await);
    assert!(!create(3, 4, None).await);
    assert_eq!(store.find_key(&hash_of(3)).await.unwrap(), None);
    assert_eq!(fixture.values("SELECT 'x' AS value FROM key_audits").await.len(), 2, "nothing is written down");
    assert!(create(4, 5, None).await, "one has expired");
    assert!(!create(5, 6, None).await);
    assert!(store.revoke_key(fixture.tenant, KeyId(id(1)), at(6), &Actor::CommandLine).await.unwrap());
    assert!(create(6, 6, None).await, "one was revoked");
    assert!(!create(7, 6, None).await);
    // Another tenant has a number of its own.
    assert!(store.create_key(&key(OTHER, 8), &hash_of(8), &Actor::CommandLine, 1).await.unwrap());
}

async fn of_many_servers_that_create_keys_none_passes_the_bound(fixture: Fixture) {
    let store = fixture.server.database.clone();
    // As two processes that share the database.
    let other = crate::fixture::Server::start(fixture.scratch.url()).await.database;
    let created = join_all((0..20_u128).map(|number| {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        let key = key(fixture.tenant, number);
        tokio::spawn(async move { store.create_key(&key, &hash_of(number), &Actor::CommandLine, 7).await.unwrap() })
    }));
    assert_eq!(created.await.into_iter().filter(|created| *created.as_ref().unwrap()).count(), 7);
}

async fn a_ticket_is_taken_as_it_was_made_and_once(fixture: Fixture) {
    let store = &fixture.server.database;
    let by_key = Ticket {
        scopes: Vec::new(),
        holder: Principal::Key(KeyId(id(7))),
        credential_expires_at: None,
        ..ticket(fixture.tenant)
    };
    for (hash, ticket) in [(1, &ticket(fixture.tenant)), (2, &by_key)] {
        assert!(store.create_ticket(ticket, &[hash; 32], at(0)).await.unwrap());
        assert_eq!(store.take_ticket(OTHER, &[hash; 32]).await.unwrap(), None);
        assert_eq!(store.take_ticket(fixture.tenant, &[hash; 32]).await.unwrap().as_ref(), Some(ticket));
        assert_eq!(store.take_ticket(fixture.tenant, &[hash; 32]).await.unwrap(), None);
    }
    // Whose time is over is taken like any other; who takes it looks at the time.
    assert!(store.create_ticket(&ticket(fixture.tenant), &[3; 32], at(0)).await.unwrap());
    assert!(store.create_ticket(&ticket(OTHER), &[4; 32], at(9)).await.unwrap());
    assert!(store.take_ticket(fixture.tenant, &[3; 32]).await.unwrap().is_some());
}

async fn of_many_who_take_a_ticket_one_gets_it(fixture: Fixture) {
    let store = &fixture.server.database;
    // As two processes that share the database.
    let other = crate::fixture::Server::start(fixture.scratch.url()).await.database;
    for hash in 0..10 {
        assert!(store.create_ticket(&ticket(fixture.tenant), &[hash; 32], at(0)).await.unwrap());
        let taken = join_all((0..8).map(|number| {
            let store = if number % 2 == 0 { store.clone() } else { other.clone() };
            let tenant = fixture.tenant;
            tokio::spawn(async move { store.take_ticket(tenant, &[hash; 32]).await.unwrap().is_some() })
        }));
        assert_eq!(taken.await.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1);
    }
}

async fn expired_tickets_go_and_the_rest_are_bounded(fixture: Fixture) {
    let store = &fixture.server.database;
    let hash = |number: i64| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        hash
    };
    for number in 0..TICKETS_PER_TENANT_MAX {
        assert!(store.create_ticket(&ticket(fixture.tenant), &hash(number), at(0)).await.unwrap());
    }
    assert!(!store.create_ticket(&ticket(fixture.tenant), &hash(-1), at(0)).await.unwrap());
    assert!(store.create_ticket(&ticket(OTHER), &hash(-1), at(0)).await.unwrap());
    let later = Ticket { expires_at: at(3), ..ticket(fixture.tenant) };
    assert!(store.create_ticket(&later, &hash(-1), at(1)).await.unwrap());
    let count = "SELECT CAST(count(*) AS text) AS value FROM tickets";
    assert_eq!(fixture.values(count).await, [Some("2".to_owned())]);
}

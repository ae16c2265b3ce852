//! Tenants and their keys; and the calls that are going on or overdue.

use crate::fixture::Fixture;
use crate::samples::{active, at, completed, fields, id, name, record, slug, workflow};
use callscope_analytics::ports::{AnalyticsStore, StoreError, TenantStore};
use callscope_domain::{Actor, ApiKey, CallStatus, KeyId, RateLimit, Scope, Slug, Span, Tenant, TenantId};

on_each_backend!(
    a_tenants_slug_is_taken_once,
    tenants_are_listed_by_slug,
    a_key_is_found_by_its_hash_as_it_was_created,
    two_keys_never_share_a_hash,
    a_revoked_key_keeps_the_time_of_its_first_revocation,
    a_key_is_revoked_by_its_own_tenant_only,
    active_calls_are_counted_by_scope,
    overdue_calls_are_found_oldest_first_up_to_a_limit,
);

fn key(tenant: TenantId, number: u128) -> ApiKey {
    ApiKey {
        id: KeyId(id(number)),
        tenant_id: tenant,
        name: None,
        scopes: vec![Scope::AnalyticsRead],
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        rate: None,
    }
}

const CLI: &Actor = &Actor::CommandLine;

async fn a_tenants_slug_is_taken_once(fixture: Fixture) {
    let store = &fixture.server.database;
    let taken = Tenant { id: TenantId(id(2)), slug: slug("acme"), name: name("Other"), created_at: at(1) };
    assert!(matches!(store.create_tenant(&taken).await, Err(StoreError::Duplicate)));
    let same_id = Tenant { id: fixture.tenant, slug: slug("other"), ..taken };
    assert!(matches!(store.create_tenant(&same_id).await, Err(StoreError::Duplicate)));
    assert_eq!(store.find_tenant(&slug("acme")).await.unwrap().unwrap().id, fixture.tenant);
    assert_eq!(store.find_tenant(&slug("other")).await.unwrap(), None);
    assert_eq!(store.list_tenants().await.unwrap().len(), 1);
}

async fn tenants_are_listed_by_slug(fixture: Fixture) {
    // Where a linguistic order differs from that of characters.
    let mut slugs = ["a-c", "ab", "a_a", "a0", "a-b", "a", "b"];
    for (number, slug) in (100..).zip(slugs) {
        fixture.add_tenant(TenantId(id(number)), slug).await;
    }
    let listed = fixture.server.database.list_tenants().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|tenant| tenant.slug.as_str()).filter(|&slug| slug != "acme").collect();
    slugs.sort_unstable();
    assert_eq!(listed, slugs);
}

async fn a_key_is_found_by_its_hash_as_it_was_created(fixture: Fixture) {
    let store = &fixture.server.database;
    let plain = key(fixture.tenant, 1);
    let full = ApiKey {
        name: Some(name("Dashboards 🎛️")),
        scopes: vec![Scope::CallsWrite, Scope::AnalyticsRead],
        created_at: at(1) + Span::from_micros(1),
        expires_at: Some(at(2)),
        revoked_at: Some(at(3)),
        rate: Some(RateLimit::new(5, 10).unwrap()),
        ..key(fixture.tenant, 2)
    };
    let without_scopes = ApiKey { scopes: Vec::new(), created_at: at(5), ..key(fixture.tenant, 3) };
    for (hash, key) in [(9, &without_scopes), (1, &plain), (2, &full)] {
        store.create_key(key, &[hash; 32], CLI, u32::MAX).await.unwrap();
    }
    assert_eq!(store.find_key(&[1; 32]).await.unwrap().as_ref(), Some(&plain));
    assert_eq!(store.find_key(&[2; 32]).await.unwrap().as_ref(), Some(&full));
    assert_eq!(store.find_key(&[3; 32]).await.unwrap(), None);
    assert_eq!(store.list_keys(fixture.tenant).await.unwrap(), [plain, full, without_scopes]);
    assert_eq!(store.list_keys(TenantId(id(0xB))).await.unwrap(), []);
}

async fn two_keys_never_share_a_hash(fixture: Fixture) {
    let store = &fixture.server.database;
    store.create_key(&key(fixture.tenant, 1), &[1; 32], CLI, u32::MAX).await.unwrap();
    for again in [key(TenantId(id(0xB)), 2), key(fixture.tenant, 3)] {
        assert!(matches!(store.create_key(&again, &[1; 32], CLI, u32::MAX).await, Err(StoreError::Duplicate)));
    }
    assert_eq!(store.find_key(&[1; 32]).await.unwrap(), Some(key(fixture.tenant, 1)));
}

async fn a_revoked_key_keeps_the_time_of_its_first_revocation(fixture: Fixture) {
    let (store, tenant) = (&fixture.server.database, fixture.tenant);
    for number in [1, 2] {
        store.create_key(&key(tenant, number), &[number.to_le_bytes()[0]; 32], CLI, u32::MAX).await.unwrap();
    }
    for revoked_at in [at(7), at(8), at(6)] {
        assert!(store.revoke_key(tenant, KeyId(id(1)), revoked_at, CLI).await.unwrap());
        let found = store.find_key(&[1; 32]).await.unwrap().unwrap();
        assert_eq!(found, ApiKey { revoked_at: Some(at(7)), ..key(tenant, 1) });
    }
    assert!(!store.revoke_key(tenant, KeyId(id(3)), at(7), CLI).await.unwrap());
    assert_eq!(store.find_key(&[2; 32]).await.unwrap().unwrap().revoked_at, None);
}

async fn a_key_is_revoked_by_its_own_tenant_only(fixture: Fixture) {
    let (store, other) = (&fixture.server.database, TenantId(id(0xB)));
    store.create_key(&key(fixture.tenant, 1), &[1; 32], CLI, u32::MAX).await.unwrap();
    assert!(!store.revoke_key(other, KeyId(id(1)), at(7), CLI).await.unwrap());
    assert_eq!(store.find_key(&[1; 32]).await.unwrap().unwrap().revoked_at, None);
    // Two tenants may have keys of one id.
    store.create_key(&key(other, 1), &[2; 32], CLI, u32::MAX).await.unwrap();
    assert!(store.revoke_key(other, KeyId(id(1)), at(7), CLI).await.unwrap());
    assert_eq!(store.find_key(&[1; 32]).await.unwrap().unwrap().revoked_at, None);
    assert_eq!(store.find_key(&[2; 32]).await.unwrap().unwrap().revoked_at, Some(at(7)));
}

async fn active_calls_are_counted_by_scope(fixture: Fixture) {
    let (store, tenant) = (&fixture.server.database, fixture.tenant);
    let of_workflow = |number, status, of| {
        let mut call = fields(number, status, at(0));
        call.workflow = Some(workflow(tenant, of, None));
        record(call)
    };
    let count = async |workflow: Option<Slug>| {
        let is_of_all = workflow.is_none();
        let active = fixture
            .server
            .analytics
            .summary(tenant, crate::fixture::ever(), crate::samples::of_workflow(workflow))
            .await
            .unwrap()
            .active_calls;
        if is_of_all {
            assert_eq!(store.count_active_calls(tenant).await.unwrap(), active);
        }
        active
    };
    assert_eq!(count(None).await, 0);
    fixture
        .write([
            of_workflow(1, CallStatus::Active, "daily"),
            of_workflow(2, CallStatus::Active, "daily"),
            of_workflow(3, CallStatus::Completed, "daily"),
            of_workflow(4, CallStatus::Active, "weekly"),
            active(5, at(-99_999)),
            completed(6, at(0)),
        ])
        .await;
    let by = |of| Some(slug(of));
    assert_eq!([count(by("daily")).await, count(by("weekly")).await, count(by("none")).await], [2, 1, 0]);
    assert_eq!(count(None).await, 4);
    fixture.write([of_workflow(1, CallStatus::Failed, "daily")]).await;
    assert_eq!((count(None).await, count(by("daily")).await), (3, 1));
}

async fn overdue_calls_are_found_oldest_first_up_to_a_limit(fixture: Fixture) {
    let server = &fixture.server;
    fixture.write([active(3, at(20)), active(1, at(30)), completed(9, at(0)), active(2, at(10))]).await;
    let (tenant, instant) = (fixture.tenant, Span::from_micros(1));
    assert_eq!(server.overdue(tenant, at(99), 10).await, [2, 3, 1]);
    assert_eq!(server.overdue(tenant, at(99), 2).await, [2, 3]);
    assert_eq!(server.overdue(tenant, at(30), 10).await, [2, 3]);
    assert_eq!(server.overdue(tenant, at(30) + instant, 10).await, [2, 3, 1]);
    assert_eq!(server.overdue(tenant, at(10), 10).await, [0; 0]);
    assert_eq!(server.overdue(TenantId(id(0xB)), at(99), 10).await, [0; 0]);
}

//! Migrations: that they run once, and that both databases get the same tables.

use crate::fixture::{Fixture, Server};
use callscope_domain::Measure;
use callscope_persistence::{Database, DatabaseFault, OpenError, UrlFault};
use callscope_testkit::{Backend, Scratch};
use futures_util::future::join_all;
use std::error::Error;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

on_each_backend!(
    migrating_again_changes_nothing,
    servers_that_start_at_once_migrate_once,
    both_databases_have_the_same_columns_and_keys,
    every_key_and_index_starts_with_the_tenant,
    an_unknown_url_is_refused,
    sums_have_one_column_for_each_measure,
    a_schema_that_is_newer_than_the_program_is_refused,
    only_the_owner_can_open_the_files,
    a_large_transaction_leaves_no_large_log,
    what_is_in_the_log_is_copied_beside_the_writer,
);

async fn migrating_again_changes_nothing(fixture: Fixture) {
    fixture.write([crate::samples::completed(1, crate::samples::at(0))]).await;
    let before = columns(&fixture).await;
    assert_eq!(Database::migrate(fixture.scratch.url()).await.unwrap(), 0);
    assert_eq!(columns(&fixture).await, before);
    assert_eq!(fixture.calls().await.len(), 1);
}

async fn servers_that_start_at_once_migrate_once(fixture: Fixture) {
    for _ in 0..6 {
        let scratch = Scratch::empty(fixture.backend).await;
        let migrated = join_all((0..6).map(|_| {
            tokio::spawn({
                let url = scratch.url().to_owned();
                async move { Database::migrate(&url).await }
            })
        }));
        let mut migrated: Vec<usize> = migrated.await.into_iter().map(|done| done.unwrap().unwrap()).collect();
        migrated.sort_unstable();
        assert_eq!(migrated, [0, 0, 0, 0, 0, 1]);
        Server::start(scratch.url()).await.analytics.ping().await.unwrap();
    }
}

async fn both_databases_have_the_same_columns_and_keys(fixture: Fixture) {
    let lite = Fixture::new(Backend::Sqlite).await;
    let columns = columns(&fixture).await;
    assert_eq!(columns, self::columns(&lite).await);
    assert!(columns.contains(&"calls.call_id NOT NULL key 2".to_owned()), "{columns:?}");
    assert!(columns.contains(&"calls.ended_at".to_owned()), "{columns:?}");
    assert_eq!(indexes(&fixture).await, indexes(&lite).await);
}

async fn every_key_and_index_starts_with_the_tenant(fixture: Fixture) {
    let indexes = indexes(&fixture).await;
    assert!(indexes.len() > 6, "{indexes:?}");
    let elsewhere: Vec<_> = indexes.iter().filter(|index| !index.contains("(tenant_id")).collect();
    // What finds a tenant cannot start with it.
    assert_eq!(elsewhere, ["unique api_keys(secret_hash)", "unique tenants(slug)"]);
    let columns = columns(&fixture).await;
    let first_keys: Vec<_> = columns.iter().filter(|column| column.ends_with(" key 1")).collect();
    assert!(first_keys.iter().all(|column| column.contains(".tenant_id ")), "{first_keys:?}");
    assert_eq!(first_keys.len(), callscope_persistence::TABLES.len());
}

async fn an_unknown_url_is_refused(fixture: Fixture) {
    let name = fixture.backend.name();
    for url in ["", "mysql://localhost/x", name, &format!(" {name}://x"), "sqlite:x.db"] {
        assert!(
            matches!(
                Database::migrate(url).await,
                Err(OpenError::Setting(DatabaseFault { fault: UrlFault::UnknownScheme, .. }))
            ),
            "{url}"
        );
    }
    for url in ["sqlite://", "sqlite://:memory:"] {
        assert!(
            matches!(
                Database::migrate(url).await,
                Err(OpenError::Setting(DatabaseFault { fault: UrlFault::NoPath, .. }))
            ),
            "{url}"
        );
    }
}

async fn sums_have_one_column_for_each_measure(fixture: Fixture) {
    let columns = columns(&fixture).await.into_iter();
    let sums: Vec<String> =
        columns.filter_map(|column| Some(column.strip_prefix("rollup_sums.")?.to_owned())).collect();
    let measures: Vec<String> = Measure::WORDS.iter().map(|measure| format!("{measure} NOT NULL")).collect();
    assert_eq!(sums[5..], measures);
}

async fn a_schema_that_is_newer_than_the_program_is_refused(fixture: Fixture) {
    fixture.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('20990101000001')").await;
    let refused = Database::migrate(fixture.scratch.url()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Migrate(_)), "{refused:?}");
    let reason = refused.source().map(ToString::to_string).unwrap_or_default();
    assert!(reason.contains("newer than this program") && reason.contains("20990101000001"), "{reason}");
    fixture.execute("DELETE FROM __diesel_schema_migrations WHERE version = '20990101000001'").await;
    assert_eq!(Database::migrate(fixture.scratch.url()).await.unwrap(), 0);
}

async fn only_the_owner_can_open_the_files(fixture: Fixture) {
    if fixture.backend == Backend::Postgres {
        return;
    }
    let above = Path::new(fixture.scratch.url().trim_start_matches("sqlite://")).parent().unwrap().join("data");
    let file = above.join("of/callscope.db");
    let url = format!("sqlite://{}", file.display());
    assert_eq!(Database::migrate(&url).await.unwrap(), 1);
    let server = Server::start(&url).await;
    server.analytics.ping().await.unwrap();
    let beside = |suffix: &str| Path::new(&format!("{}{suffix}", file.display())).to_owned();
    let files = ["", "-wal", "-shm"].map(beside);
    assert_eq!([&above, &above.join("of")].map(|folder| mode(folder)), [0o700, 0o700]);
    assert_eq!(files.each_ref().map(|file| mode(file)), [0o600, 0o600, 0o600]);

    // What other users may do with files that exist already ends; the group is left as it is.
    for file in &files {
        std::fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(Database::migrate(&url).await.unwrap(), 0);
    assert_eq!(files.each_ref().map(|file| mode(file)), [0o640, 0o640, 0o640]);
}

async fn a_large_transaction_leaves_no_large_log(fixture: Fixture) {
    if fixture.backend == Backend::Postgres {
        return;
    }
    let log = format!("{}-wal", fixture.scratch.url().trim_start_matches("sqlite://"));
    let log_bytes = || std::fs::metadata(&log).unwrap().len();
    fixture.write([crate::samples::completed(1, crate::samples::at(0))]).await;
    fixture
        .execute("CREATE TABLE filling (bytes BLOB); INSERT INTO filling VALUES (zeroblob(150 * 1024 * 1024))")
        .await;
    assert!(log_bytes() > LOG_BYTES_MAX, "{}", log_bytes());
    // The transaction above was checkpointed, so the next one begins the log again.
    fixture.write([crate::samples::completed(2, crate::samples::at(1))]).await;
    assert!(log_bytes() <= LOG_BYTES_MAX, "{}", log_bytes());
}

/// What the write-ahead log of SQLite keeps when it begins again.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

async fn what_is_in_the_log_is_copied_beside_the_writer(fixture: Fixture) {
    if fixture.backend == Backend::Postgres {
        return;
    }
    let file = fixture.scratch.url().trim_start_matches("sqlite://");
    let file_bytes = || std::fs::metadata(file).unwrap().len();
    let before = file_bytes();
    // Far less than what makes the writer copy it.
    fixture.write((0..500).map(|number| crate::samples::completed(number, crate::samples::at(0)))).await;
    let copied = async {
        while file_bytes() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), copied).await.expect("the log is copied without another write");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Each column of each table, in order: `table.column`, whether it may be NULL, and its place in the primary key.
async fn columns(fixture: &Fixture) -> Vec<String> {
    let sql = match fixture.backend {
        Backend::Sqlite => {
            "SELECT m.name || '.' || c.name || CASE WHEN c.\"notnull\" THEN ' NOT NULL' ELSE '' END
                 || CASE WHEN c.pk > 0 THEN ' key ' || c.pk ELSE '' END AS value
             FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type = 'table' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'
             ORDER BY m.name, c.cid"
        }
        Backend::Postgres => {
            "SELECT c.table_name || '.' || c.column_name || CASE c.is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END
                 || COALESCE(' key ' || k.ordinal_position, '') AS value
             FROM information_schema.columns c
             LEFT JOIN information_schema.table_constraints t
                 ON t.table_schema = c.table_schema AND t.table_name = c.table_name
                 AND t.constraint_type = 'PRIMARY KEY'
             LEFT JOIN information_schema.key_column_usage k
                 ON k.constraint_name = t.constraint_name AND k.table_schema = c.table_schema
                 AND k.table_name = c.table_name AND k.column_name = c.column_name
             WHERE c.table_schema = 'public' AND c.table_name NOT LIKE '\\_\\_%'
             ORDER BY c.table_name COLLATE \"C\", c.ordinal_position"
        }
    };
    fixture.values(sql).await.into_iter().map(Option::unwrap).collect()
}

/// The columns of each index that is not a primary key's: `table(column, …)`, after `unique` if it is, sorted.
async fn indexes(fixture: &Fixture) -> Vec<String> {
    let sql = match fixture.backend {
        Backend::Sqlite => {
            "SELECT CASE i.\"unique\" WHEN 1 THEN 'unique ' ELSE '' END
                 || m.name || '(' || (SELECT group_concat(x.name, ', ') FROM pragma_index_info(i.name) x) || ')' AS value
             FROM sqlite_master m, pragma_index_list(m.name) i
             WHERE m.type = 'table' AND i.origin <> 'pk' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\'"
        }
        Backend::Postgres => {
            "SELECT CASE WHEN i.indisunique THEN 'unique ' ELSE '' END || t.relname || '(' || (
                 SELECT string_agg(a.attname, ', ' ORDER BY k.place)
                 FROM unnest(i.indkey) WITH ORDINALITY k (number, place)
                 JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number) || ')' AS value
             FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
             WHERE n.nspname = 'public' AND NOT i.indisprimary AND t.relname NOT LIKE '\\_\\_%'"
        }
    };
    let mut indexes: Vec<String> = fixture.values(sql).await.into_iter().map(Option::unwrap).collect();
    indexes.sort_unstable();
    indexes
}

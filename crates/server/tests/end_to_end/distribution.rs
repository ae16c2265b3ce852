//! `callscope migrate --distributed`, over a stand-in for Citus, and without any.

use crate::fixture::Fixture;
use crate::process::{Finished, Server};
use crate::session::Session;
use callscope_testkit::{Backend, CITUS_STAND_IN};

on_each_backend!(
    without_citus_the_schema_is_migrated_and_nothing_is_distributed,
    with_citus_every_table_is_distributed_and_one_that_is_not_is_named,
);

const DISTRIBUTE: &[&str] = &["migrate", "--distributed"];

fn without_citus_the_schema_is_migrated_and_nothing_is_distributed(backend: Backend) {
    let fixture = Fixture::new(backend);
    let reason = match backend {
        Backend::Sqlite => "database.url must start with postgres://: only PostgreSQL with Citus can be distributed",
        Backend::Postgres => "the database has no extension citus: install Citus on every node",
    };
    for migrated in ["ran 1 migration; the schema is up to date", "the schema is up to date"] {
        let Finished { code, stdout, stderr } = fixture.run(DISTRIBUTE);
        assert_eq!(code, Some(1), "{stdout}{stderr}");
        assert!(stdout.ends_with(&format!("{migrated}\n")), "{stdout}");
        assert!(stderr.starts_with("callscope: ") && stderr.contains(reason), "{stderr}");
    }
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[]);
    assert_eq!(server.client(&key).ask("summary")["total_calls"], 0);
    assert_eq!(warnings(&server), [""; 0]);
}

fn with_citus_every_table_is_distributed_and_one_that_is_not_is_named(backend: Backend) {
    if backend == Backend::Sqlite {
        return;
    }
    let fixture = Fixture::new(backend);
    Session::open(fixture.database_url()).execute(CITUS_STAND_IN);
    let key = fixture.create_tenant("clinic");
    // Whoever has Citus for other things is not told to use it.
    assert_eq!(warnings(&fixture.serve(&[])), [""; 0]);

    let printed = fixture.run(DISTRIBUTE).stdout_of_success();
    let (up_to_date, distributed) = printed.split_once('\n').unwrap();
    assert_eq!(up_to_date, "the schema is up to date");
    let tables =
        distributed.strip_prefix("distributed ").unwrap().strip_suffix("; every table is distributed\n").unwrap();
    let session = Session::open(fixture.database_url());
    let made = "SELECT string_agg(p.logicalrelid::text, ', ' ORDER BY l.number)
                FROM pg_dist_partition p JOIN call_log l ON l.call ~ ('\\m' || p.logicalrelid || '( by|$)')";
    assert_eq!(session.value(made), tables);
    assert_eq!(fixture.run(DISTRIBUTE).stdout_of_success(), "the schema is up to date\nevery table is distributed\n");
    assert_eq!(warnings(&fixture.serve(&[])), [""; 0]);

    session
        .execute("DELETE FROM pg_dist_partition WHERE logicalrelid IN ('workflows'::regclass, 'api_keys'::regclass)");
    let server = fixture.serve(&[]);
    let [warning] = &warnings(&server)[..] else { panic!("{:?}", server.log()) };
    assert!(warning.contains("callscope migrate --distributed"), "{warning}");
    assert!(warning.contains("\"api_keys, workflows\""), "{warning}");
    // It works all the same.
    assert_eq!(server.client(&key).ask("summary")["total_calls"], 0);
    drop(server);
    let printed = fixture.run(DISTRIBUTE).stdout_of_success();
    assert!(printed.ends_with("distributed api_keys, workflows; every table is distributed\n"), "{printed}");
    assert_eq!(warnings(&fixture.serve(&[])), [""; 0]);

    session.execute("TRUNCATE pg_dist_partition; INSERT INTO refusals VALUES ('rollup_sums')");
    let complaint = fixture.complaint(DISTRIBUTE, &[]);
    assert!(complaint.contains("the tables cannot be distributed: a worker says no to rollup_sums"), "{complaint}");
    assert_eq!(session.value("SELECT count(*)::text FROM pg_dist_partition"), "0");
}

fn warnings(server: &Server) -> Vec<String> {
    server.log().into_iter().filter(|line| line.contains("\"WARN\"")).collect()
}

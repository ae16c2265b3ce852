//! `callscope config`, `callscope health` and `callscope --version`.

use crate::fixture::Fixture;
use crate::process::{Finished, run};
use callscope_testkit::Backend;
use std::net::TcpListener;

/// The tests that need a server.
pub mod health {
    use super::{Backend, Fixture, TcpListener};

    on_each_backend!(a_server_that_is_well_is_told_from_one_that_is_not);

    fn a_server_that_is_well_is_told_from_one_that_is_not(backend: Backend) {
        let fixture = Fixture::new(backend);
        let server = fixture.serve(&[("CALLSCOPE__SERVER__BIND", "0.0.0.0:0")]);
        let bind = server.address.to_string();
        let ask = |arguments: &[&str]| {
            let mut command = fixture.command(arguments);
            command.env("CALLSCOPE__SERVER__BIND", &bind);
            crate::process::run(command, b"")
        };
        assert_eq!(ask(&["health"]).stdout_of_success(), "ok\n");
        assert_eq!(ask(&["health", "--live"]).stdout_of_success(), "ok\n");
        drop(server);
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let free = holder.local_addr().unwrap().to_string();
        drop(holder);
        let complaint = fixture.complaint(&["health"], &[("CALLSCOPE__SERVER__BIND", &free)]);
        assert!(complaint.contains(&format!("no answer from http://{free}/health/ready")), "{complaint}");
    }
}

/// Runs a command without a database.
fn ask(arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let fixture = Fixture::at(String::new());
    let mut command = fixture.bare_command(arguments);
    command.envs(environment.iter().copied());
    run(command, b"")
}

#[test]
fn the_example_for_production_is_sound() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/production.toml");
    assert_eq!(ask(&["config", "check", "--config", example], &[]).stdout_of_success(), "the settings are sound\n");
    let shown = ask(&["config", "show", "--config", example], &[]).stdout_of_success();
    assert!(shown.contains("format = \"json\"") && shown.contains("calls_days = 90"), "{shown}");
}

#[test]
fn every_section_says_what_is_wrong_with_it() {
    let wrong = [
        ("CALLSCOPE__DATABASE__URL", "mysql://voice:horse@localhost/calls"),
        ("CALLSCOPE__RETENTION__ROLLUPS_DAYS", "5"),
        ("CALLSCOPE__LOG__LEVEL", "callscope=loud"),
        ("CALLSCOPE__INGEST__QUEUE_RECORDS_MAX", "10"),
    ];
    let complaint = ask(&["config", "check"], &wrong).stderr_of_failure();
    for path in ["database.url", "retention.rollups_days", "log.level", "ingest.queue_records_max"] {
        assert!(complaint.contains(path), "{path}: {complaint}");
    }
    assert_eq!(complaint.lines().count(), wrong.len(), "{complaint}");
    assert!(!complaint.contains("horse"), "{complaint}");
    let unknown = ask(&["config", "check"], &[("CALLSCOPE__SERVER__BNID", "1")]).stderr_of_failure();
    assert!(unknown.contains("server.bnid"), "{unknown}");
}

#[test]
fn the_settings_in_force_are_shown_without_secrets() {
    let environment = [
        ("DATABASE_URL", "postgres://voice:horse-battery@db:5432/calls?sslmode=require"),
        ("CALLSCOPE__DATABASE__READ_URL", "postgres://replica/calls?password=horse-battery"),
        ("CALLSCOPE__INGEST__BODY_BYTES_MAX", "1536 KiB"),
        ("CALLSCOPE__SERVER__SHUTDOWN_TIMEOUT", "90s"),
    ];
    let shown = ask(&["config", "show"], &environment).stdout_of_success();
    for line in [
        r#"url = "postgres://voice:***@db:5432/calls?sslmode=require""#,
        r#"read_url = "postgres://replica/calls?password=***""#,
        r#"body_bytes_max = "1536KiB""#,
        r#"shutdown_timeout = "1m 30s""#,
        r#"bind = "127.0.0.1:8080""#,
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(!shown.contains("horse"), "{shown}");
}

#[test]
fn the_version_names_the_commit() {
    let version = ask(&["--version"], &[]).stdout_of_success();
    let rest = version.trim_end().strip_prefix(concat!("callscope ", env!("CARGO_PKG_VERSION"))).unwrap();
    // Where the build knew none, there is none.
    let commit = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    assert!(rest.is_empty() || commit.is_some_and(|commit| !commit.contains(' ')), "{version}");
}

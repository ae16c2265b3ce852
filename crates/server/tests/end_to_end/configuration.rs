//! Settings from files and from the environment, and what is refused.

use crate::fixture::{Environment, Fixture};
use crate::process::{Server, run};
use callscope_testkit::Backend;
use std::net::TcpListener;

on_each_backend!(
    an_unknown_setting_is_refused_with_its_path,
    a_value_that_cannot_be_is_refused_with_its_path,
    a_file_is_read_and_the_environment_wins_over_it,
    the_database_url_of_the_environment_is_honoured,
    a_port_in_use_is_reported,
    every_fault_is_named_with_its_source,
    a_server_that_cannot_be_reached_is_named,
);

fn write(fixture: &Fixture, name: &str, text: &str) {
    std::fs::write(fixture.folder().join(name), text).unwrap();
}

fn an_unknown_setting_is_refused_with_its_path(backend: Backend) {
    let fixture = Fixture::new(backend);
    for (text, path) in
        [("[server]\nbnid = \"127.0.0.1:1\"\n", "server.bnid"), ("[severs]\n", "severs"), ("port = 1\n", "port")]
    {
        write(&fixture, "wrong.toml", text);
        let complaint = fixture.complaint(&["--config", "wrong.toml", "serve"], &[]);
        assert!(complaint.contains(path), "{path}: {complaint}");
    }
    for (variable, path) in [
        ("CALLSCOPE__INGEST__BATCH_WIAT", "ingest.batch_wiat"),
        ("CALLSCOPE__SEVER__BIND", "sever"),
        ("CALLSCOPE__LOG__LEVEL__DEEP", "log.level"),
    ] {
        let complaint = fixture.complaint(&["serve"], &[(variable, "1")]);
        assert!(complaint.contains(path), "{path}: {complaint}");
    }
}

fn a_value_that_cannot_be_is_refused_with_its_path(backend: Backend) {
    let fixture = Fixture::new(backend);
    for (variable, value, path) in [
        ("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "4 parsecs", "ingest.active_call_timeout"),
        ("CALLSCOPE__INGEST__BATCH_WAIT", "-1s", "ingest.batch_wait"),
        ("CALLSCOPE__SERVER__SHUTDOWN_TIMEOUT", "30", "server.shutdown_timeout"),
        ("CALLSCOPE__INGEST__BODY_BYTES_MAX", "64 elephants", "ingest.body_bytes_max"),
        ("CALLSCOPE__INGEST__BODY_BYTES_MAX", "0", "ingest.body_bytes_max"),
        ("CALLSCOPE__INGEST__BODY_BYTES_MAX", "1TiB", "ingest.inflight_bytes_max"),
        ("CALLSCOPE__INGEST__BODY_BYTES_MAX", "129MiB", "ingest.inflight_bytes_max"),
        ("CALLSCOPE__INGEST__QUEUE_RECORDS_MAX", "many", "ingest.queue_records_max"),
        ("CALLSCOPE__INGEST__QUEUE_RECORDS_MAX", "10", "ingest.queue_records_max"),
        ("CALLSCOPE__DATABASE__POOL_SIZE", "0", "database.pool_size"),
        ("CALLSCOPE__DATABASE__URL", "mysql://localhost/calls", "database.url"),
        ("CALLSCOPE__RETENTION__CALLS_DAYS", "-1", "retention.calls_days"),
        ("CALLSCOPE__RETENTION__CALLS_DAYS", "36501", "retention.calls_days"),
        ("CALLSCOPE__RETENTION__ROLLUPS_DAYS", "5", "retention.rollups_days"),
        ("CALLSCOPE__AUTH__JWT_SECRET", "short", "auth.jwt_secret"),
        ("CALLSCOPE__AUTH__JWKS_FILE", "nowhere.json", "auth.jwks_file"),
        ("CALLSCOPE__AUTH__JWKS_URL", "ftp://issuer.example/keys", "auth.jwks_url"),
        ("CALLSCOPE__AUTH__JWKS_REFRESH", "1s", "auth.jwks_refresh"),
        ("CALLSCOPE__AUTH__JWT_LEEWAY", "1h", "auth.jwt_leeway"),
        ("CALLSCOPE__AUTH__TICKET_TTL", "0s", "auth.ticket_ttl"),
        ("CALLSCOPE__AUTH__QUERY_TOKENS", "perhaps", "auth.query_tokens"),
        ("CALLSCOPE__LIMITS__REQUESTS_PER_SECOND", "1000001", "limits.requests_per_second"),
        ("CALLSCOPE__LIMITS__TENANT_BURST", "0", "limits.tenant_burst"),
        ("CALLSCOPE__LIMITS__BURST", "0", "limits.burst"),
        ("CALLSCOPE__SERVER__BIND", "localhost", "server.bind"),
        ("CALLSCOPE__SERVER__BODY_TIMEOUT", "0s", "server.body_timeout"),
        ("CALLSCOPE__SERVER__HEADER_TIMEOUT", "100ms", "server.header_timeout"),
        ("CALLSCOPE__SERVER__CONNECTIONS_MAX", "0", "server.connections_max"),
        ("CALLSCOPE__INGEST__BODIES_MAX", "0", "ingest.bodies_max"),
        ("CALLSCOPE__CACHE__TTL", "2m", "cache.ttl"),
        ("CALLSCOPE__METRICS__BIND", "localhost", "metrics.bind"),
        ("CALLSCOPE__METRICS__ENABLED", "maybe", "metrics.enabled"),
        ("CALLSCOPE__TELEMETRY__OTLP_ENDPOINT", "localhost:4318", "telemetry.otlp_endpoint"),
        ("CALLSCOPE__TELEMETRY__SAMPLING_RATIO", "1.5", "telemetry.sampling_ratio"),
        ("CALLSCOPE__LOG__FORMAT", "xml", "log.format"),
        ("CALLSCOPE__LOG__LEVEL", "callscope=loud", "log.level"),
    ] {
        let complaint = fixture.complaint(&["serve"], &[(variable, value)]);
        assert!(complaint.contains(path), "{variable}={value}: {complaint}");
    }
    if backend == Backend::Postgres {
        let complaint = fixture.complaint(&["serve"], &[("CALLSCOPE__DATABASE__POOL_SIZE", "2")]);
        assert!(
            complaint.contains("database.pool_size (from CALLSCOPE__DATABASE__POOL_SIZE): must be at least 3"),
            "{complaint}"
        );
    }
    let complaint = fixture.complaint(&["--config", "nowhere.toml", "serve"], &[]);
    assert!(complaint.contains("nowhere.toml"), "{complaint}");
    write(&fixture, "broken.toml", "[server\n");
    let mut command = fixture.command(&["serve"]);
    command.env("CALLSCOPE_CONFIG", "broken.toml");
    let complaint = run(command, b"").stderr_of_failure();
    assert!(complaint.contains("broken.toml") || complaint.contains("line 1"), "{complaint}");
}

fn a_file_is_read_and_the_environment_wins_over_it(backend: Backend) {
    let fixture = Fixture::new(backend);
    let url = fixture.database_url();
    let text = format!(
        "[server]\nbind = \"127.0.0.2:0\"\n[database]\nurl = \"{url}\"\n[log]\nformat = \"json\"\nlevel = \"info\"\n"
    );
    write(&fixture, "callscope.toml", &text);
    let server = Server::start(fixture.bare_command(&["--config", "callscope.toml", "serve"]));
    assert_eq!(server.address.ip().to_string(), "127.0.0.2");
    assert_eq!(server.stranger().get("/health").status, 200);
    drop(server);
    let mut command = fixture.bare_command(&["serve", "--config", "callscope.toml"]);
    command.env("CALLSCOPE__SERVER__BIND", "127.0.0.3:0");
    assert_eq!(Server::start(command).address.ip().to_string(), "127.0.0.3");
    let mut command = fixture.bare_command(&["serve"]);
    command.env("CALLSCOPE_CONFIG", "callscope.toml");
    assert_eq!(Server::start(command).address.ip().to_string(), "127.0.0.2");
}

fn the_database_url_of_the_environment_is_honoured(backend: Backend) {
    let fixture = Fixture::new(backend);
    let other = Fixture::new(backend);
    let tenants = |urls: Environment<'_>| {
        let mut command = fixture.bare_command(&["tenants", "list"]);
        command.envs(urls.iter().copied());
        run(command, b"").stdout_of_success()
    };
    fixture.create_tenant("clinic");
    other.create_tenant("bakery");
    let (clinic, bakery) = (fixture.database_url(), other.database_url());
    assert!(tenants(&[("DATABASE_URL", clinic)]).contains("clinic"));
    assert!(tenants(&[("DATABASE_URL", bakery)]).contains("bakery"));
    // The name that says whose it is wins.
    assert!(tenants(&[("DATABASE_URL", bakery), ("CALLSCOPE__DATABASE__URL", clinic)]).contains("clinic"));
    write(&fixture, "bakery.toml", &format!("[database]\nurl = \"{bakery}\"\n"));
    let over_file = tenants(&[("CALLSCOPE_CONFIG", "bakery.toml"), ("DATABASE_URL", clinic)]);
    assert!(over_file.contains("clinic") && !over_file.contains("bakery"), "{over_file}");
    assert!(tenants(&[("CALLSCOPE_CONFIG", "bakery.toml")]).contains("bakery"));
}

fn a_port_in_use_is_reported(backend: Backend) {
    let fixture = Fixture::new(backend);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let complaint = fixture.complaint(&["serve"], &[("CALLSCOPE__SERVER__BIND", &address)]);
    assert!(complaint.contains(&format!("cannot listen on {address}")), "{complaint}");
    assert!(complaint.contains("in use"), "{complaint}");
}

fn every_fault_is_named_with_its_source(backend: Backend) {
    let fixture = Fixture::new(backend);
    write(
        &fixture,
        "wrong.toml",
        "[server]\nbnid = \"127.0.0.1:1\"\nworkers = \"many\"\n[retention]\ncalls_days = 40000\n[severs]\nbind = 1\n",
    );
    let expected = [
        "setting ingest.bodies_max (from CALLSCOPE__INGEST__BODIES_MAX): must be at least 1",
        "setting ingest.queue_records_max (from CALLSCOPE__INGEST__QUEUE_RECORDS_MAX): must be an integer, not",
        "setting ingest.secret (from CALLSCOPE__INGEST__SECRET): unknown setting; config/default.toml",
        "setting live.idle_timeout (default): must be more than live.ping_interval",
        "setting retention.calls_days (from wrong.toml): must be at most 36500",
        "setting server.bnid (from wrong.toml): unknown setting; is server.bind meant?",
        "setting server.workers (from wrong.toml): must be an integer, not",
        "setting severs.bind (from wrong.toml): unknown setting; is server.bind meant?",
    ];
    for arguments in [&["--config", "wrong.toml", "config", "check"][..], &["--config", "wrong.toml", "serve"]] {
        let mut command = fixture.command(arguments);
        command.env("CALLSCOPE__INGEST__BODIES_MAX", "0").env("CALLSCOPE__INGEST__QUEUE_RECORDS_MAX", "many");
        command.env("CALLSCOPE__LIVE__PING_INTERVAL", "2h").env("CALLSCOPE__INGEST__SECRET", "horse-battery");
        let finished = run(command, b"");
        let lines: Vec<&str> = finished.stderr.lines().map(|line| line.trim_start_matches("callscope: ")).collect();
        assert_eq!((finished.code, lines.len()), (Some(1), expected.len()), "{finished:?}");
        for (line, start) in lines.iter().zip(&expected) {
            assert!(line.starts_with(start), "{line}: {start}");
        }
        assert!(!finished.stderr.contains("horse-battery"), "{finished:?}");
    }
    let mut command = fixture.bare_command(&["config", "check"]);
    command.env("DATABASE_URL", "mysql://root:horse-battery@localhost/calls");
    let complaint = run(command, b"").stderr_of_failure();
    assert!(complaint.contains("setting database.url (from DATABASE_URL): "), "{complaint}");
    assert!(!complaint.contains("horse-battery"), "{complaint}");
}

fn a_server_that_cannot_be_reached_is_named(backend: Backend) {
    let fixture = Fixture::new(backend);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://voice:horse-battery@127.0.0.1:{port}/calls");
    let complaint = fixture.complaint(&["tenants", "list"], &[("CALLSCOPE__DATABASE__URL", &url)]);
    let place = format!("cannot connect to PostgreSQL at 127.0.0.1:{port}, database calls, user voice: ");
    assert!(complaint.contains(&place), "{complaint}");
    assert!(!complaint.contains("horse-battery"), "{complaint}");
}

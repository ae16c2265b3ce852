//! Tenants and keys from the command line.

use crate::fixture::Fixture;
use crate::process::eventually;
use callscope_testkit::Backend;
use serde_json::json;

on_each_backend!(
    help_names_every_command,
    licenses_of_others_are_printed,
    past_its_number_of_keys_a_tenant_gets_none,
    tenants_are_created_and_listed,
    a_tenant_that_cannot_be_is_refused_with_the_reason,
    a_new_key_is_alone_on_standard_output_and_opens_both_scopes,
    a_key_opens_no_more_than_its_scopes,
    a_revoked_key_opens_nothing,
    a_key_expires,
    a_key_that_cannot_be_is_refused_with_the_reason,
    a_key_manages_no_keys_unless_it_is_told_to,
    what_is_done_to_keys_is_written_down,
    a_key_has_the_limit_that_it_is_given,
);

fn licenses_of_others_are_printed(backend: Backend) {
    let fixture = Fixture::new(backend);
    let notices = fixture.run(&["--licenses"]).stdout_of_success();
    for name in ["actix-web", "diesel", "Swagger UI", "SQLite", "zstd-sys", "Permission is hereby granted"] {
        assert!(notices.contains(name), "{name}");
    }
    assert!(fixture.run(&["--config", "x.toml"]).stderr_of_failure().contains("name a command"));
}

fn past_its_number_of_keys_a_tenant_gets_none(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.create_tenant("clinic");
    let arguments = ["keys", "create", "--tenant", "clinic"];
    let complaint = fixture.complaint(&arguments, &[("CALLSCOPE__AUTH__TENANT_KEYS_MAX", "1")]);
    for part in ["clinic has 1 valid keys", "callscope keys list --tenant clinic", "auth.tenant_keys_max"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    fixture.create_key(&arguments[2..]);
}

fn help_names_every_command(backend: Backend) {
    let fixture = Fixture::new(backend);
    let help = fixture.run(&["--help"]).stdout_of_success();
    for command in ["serve", "migrate", "tenants", "keys", "rollups", "import", "config", "health", "demo", "--config"]
    {
        assert!(
            help.contains(&format!("\n  {command}")) || help.contains(&format!("  {command} ")),
            "{command}: {help}"
        );
    }
    for (command, parts) in [
        ("tenants", &["create", "list"][..]),
        ("keys", &["create", "list", "revoke"]),
        ("rollups", &["verify", "rebuild"]),
        ("config", &["check", "show"]),
    ] {
        let help = fixture.run(&[command, "--help"]).stdout_of_success();
        assert!(parts.iter().all(|part| help.contains(&format!("\n  {part}"))), "{help}");
    }
    assert!(fixture.run(&["--version"]).stdout_of_success().starts_with("callscope 0."));
    assert!(fixture.run(&[]).stderr_of_failure().contains("Usage:"));
    assert!(fixture.run(&["dance"]).stderr_of_failure().contains("dance"));
}

fn tenants_are_created_and_listed(backend: Backend) {
    let fixture = Fixture::new(backend);
    assert!(fixture.run(&["tenants", "create", "clinic"]).stdout_of_success().contains("created tenant clinic"));
    fixture.run(&["tenants", "create", "bakery_2", "--name", "Bäckerei am Markt"]).stdout_of_success();
    let list = fixture.run(&["tenants", "list"]).stdout_of_success();
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.lines().any(|line| line.contains(" clinic ") && line.ends_with(" clinic")), "{list}");
    assert!(list.lines().any(|line| line.contains(" bakery_2 ") && line.ends_with("Bäckerei am Markt")), "{list}");
    fixture.run(&["tenants", "create", &"c".repeat(64)]).stdout_of_success();
    let list = fixture.run(&["tenants", "list"]).stdout_of_success();
    let created = list.lines().next().unwrap().find("CREATED").unwrap();
    assert!(list.lines().skip(1).all(|line| line[created - 2..].starts_with("  20")), "{list}");
}

fn a_tenant_that_cannot_be_is_refused_with_the_reason(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.create_tenant("clinic");
    let duplicate = fixture.run(&["tenants", "create", "clinic"]).stderr_of_failure();
    assert!(duplicate.contains("the tenant clinic exists already"), "{duplicate}");
    for slug in ["", "Clinic", "-clinic", "a b", "clinic/1", &"c".repeat(65)] {
        let refused = fixture.run(&["tenants", "create", "--", slug]).stderr_of_failure();
        assert!(refused.contains("<SLUG>") && refused.contains("lower-case"), "{slug:?}: {refused}");
    }
    assert_eq!(fixture.run(&["tenants", "list"]).stdout_of_success().lines().count(), 2);
}

fn a_new_key_is_alone_on_standard_output_and_opens_both_scopes(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.run(&["tenants", "create", "clinic"]).stdout_of_success();
    let created = fixture.run(&["keys", "create", "--tenant", "clinic", "--name", "dashboard"]);
    assert!(created.stderr.starts_with("created key ") && created.stderr.lines().count() == 1, "{created:?}");
    assert!(created.stderr.contains("shown this once"), "{created:?}");
    let printed = created.stdout_of_success();
    let key = printed.strip_suffix('\n').unwrap();
    assert!(key.starts_with("cs_live_") && key.len() > 40 && key.chars().all(|c| c.is_ascii_graphic()), "{printed:?}");
    let list = fixture.run(&["keys", "list", "--tenant", "clinic"]).stdout_of_success();
    assert!(list.contains(" valid ") && list.contains("never") && list.contains("dashboard"), "{list}");
    assert!(!list.contains(key) && !list.contains(&key["cs_live_".len()..]), "{list}");
    let server = fixture.serve(&[]);
    assert_eq!(server.client(key).get("/api/v1/analytics/summary").status, 200);
    assert_eq!(server.client(key).put(&record()).status, 201);
    assert_eq!(server.client(&key.replace("cs_live_", "cs_live_0")).get("/api/v1/analytics/summary").status, 401);
}

fn record() -> serde_json::Value {
    json!({"call_id": "31c02e4f-12e0-4af0-869b-aab222503a09", "status": "completed",
           "started_at": "2025-06-01T10:00:00Z", "ended_at": "2025-06-01T10:01:00Z"})
}

fn a_key_opens_no_more_than_its_scopes(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.create_tenant("clinic");
    let reader = fixture.create_key(&["--tenant", "clinic", "--scope", "analytics:read"]);
    let writer = fixture.create_key(&["--tenant", "clinic", "--scope", "calls:write"]);
    let server = fixture.serve(&[]);
    for (key, may_read, may_write) in [(reader, 200, 403), (writer, 403, 201)] {
        assert_eq!(server.client(&key).get("/api/v1/analytics/summary").status, may_read);
        assert_eq!(server.client(&key).put(&record()).status, may_write);
    }
}

fn a_revoked_key_opens_nothing(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let other = fixture.create_tenant("bakery");
    let server = fixture.serve(&[]);
    let client = server.client(&key);
    client.ask("summary");
    let list = fixture.run(&["keys", "list", "--tenant", "clinic"]).stdout_of_success();
    let id = list.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap();
    // One tenant's key cannot be revoked through another.
    let refused = fixture.run(&["keys", "revoke", "--tenant", "bakery", id]).stderr_of_failure();
    assert!(refused.contains("bakery has no key"), "{refused}");
    client.ask("summary");
    fixture.run(&["keys", "revoke", "--tenant", "clinic", id]).stdout_of_success();
    eventually("the end of the key", || (client.get("/api/v1/analytics/summary").status == 401).then_some(()));
    let answer = client.get("/api/v1/analytics/summary");
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!(answer.json()["code"], "authentication_error");
    assert!(answer.text.contains("has been revoked"), "{answer:?}");
    assert_eq!(client.put(&record()).status, 401);
    server.client(&other).ask("summary");
    assert!(fixture.run(&["keys", "list", "--tenant", "clinic"]).stdout_of_success().contains(" revoked "));
}

fn a_key_expires(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.create_tenant("clinic");
    let server = fixture.serve(&[]);
    let long = fixture.create_key(&["--tenant", "clinic", "--expires-in", "90d"]);
    let short = fixture.create_key(&["--tenant", "clinic", "--expires-in", "3s"]);
    let status = || server.client(&short).get("/api/v1/analytics/summary").status;
    assert_eq!(status(), 200);
    eventually("the end of the key", || (status() == 401).then_some(()));
    assert!(server.client(&short).get("/api/v1/analytics/summary").text.contains("has expired"));
    server.client(&long).ask("summary");
    let list = fixture.run(&["keys", "list", "--tenant", "clinic"]).stdout_of_success();
    assert!(list.contains(" expired "), "{list}");
}

fn a_key_that_cannot_be_is_refused_with_the_reason(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.create_tenant("clinic");
    for (arguments, reason) in [
        (&["keys", "create", "--tenant", "nobody"][..], "there is no tenant nobody"),
        (&["keys", "list", "--tenant", "nobody"], "there is no tenant nobody"),
        (&["keys", "create", "--tenant", "No Slug"], "lower-case"),
        (&["keys", "create", "--tenant", "clinic", "--scope", "everything"], "analytics:read"),
        (&["keys", "create", "--tenant", "clinic", "--expires-in", "soon"], "--expires-in"),
        (&["keys", "create", "--tenant", "clinic", "--expires-in", "1000000y"], "too long"),
        (&["keys", "create", "--tenant", "clinic", "--burst", "5"], "--rate"),
        (&["keys", "create", "--tenant", "clinic", "--rate", "5", "--burst", "0"], "a burst must be from 1"),
        (&["keys", "create", "--tenant", "clinic", "--rate", "1000001"], "at most 1000000"),
        (&["keys", "create"], "--tenant"),
        (&["keys", "revoke", "--tenant", "clinic", "17"], "<KEY_ID>"),
        (&["keys", "revoke", "--tenant", "clinic", "31c02e4f-12e0-4af0-869b-aab222503a09"], "has no key"),
    ] {
        let refused = fixture.run(arguments);
        assert_eq!(refused.stdout, "", "{arguments:?}");
        let complaint = refused.stderr_of_failure();
        assert!(complaint.contains(reason), "{arguments:?}: {complaint}");
    }
}

fn a_key_manages_no_keys_unless_it_is_told_to(backend: Backend) {
    let fixture = Fixture::new(backend);
    let plain = fixture.create_tenant("clinic");
    let manager = fixture.create_key(&["--tenant", "clinic", "--scope", "keys:manage"]);
    let server = fixture.serve(&[]);
    assert_eq!(server.client(&plain).get("/api/v1/keys").status, 403);
    let list = server.client(&manager).get("/api/v1/keys");
    assert_eq!((list.status, &list.json()["total"]), (200, &json!(2)));
    let is_told = |line: &String| line.contains("listed keys") && line.contains("callscope::keys");
    let line = eventually("a line of the log", || server.log().into_iter().find(is_told));
    assert!(line.contains("key:") && !line.contains(&manager), "{line}");
}

fn what_is_done_to_keys_is_written_down(backend: Backend) {
    let fixture = Fixture::new(backend);
    fixture.create_tenant("clinic");
    let list = fixture.run(&["keys", "list", "--tenant", "clinic"]).stdout_of_success();
    let id = list.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap();
    for _ in 0..2 {
        fixture.run(&["keys", "revoke", "--tenant", "clinic", id]).stdout_of_success();
    }
    for action in ["created", "revoked"] {
        let query = format!("SELECT count(*) FROM key_audits WHERE actor = 'cli' AND action = '{action}'");
        assert_eq!(fixture.count(&query), 1, "{action}");
    }
}

fn a_key_has_the_limit_that_it_is_given(backend: Backend) {
    let fixture = Fixture::new(backend);
    let plain = fixture.create_tenant("clinic");
    let slow = fixture.create_key(&["--tenant", "clinic", "--rate", "1", "--burst", "3"]);
    let steady = fixture.create_key(&["--tenant", "clinic", "--rate", "500"]);
    let free = fixture.create_key(&["--tenant", "clinic", "--rate", "0"]);
    let list = fixture.run(&["keys", "list", "--tenant", "clinic"]).stdout_of_success();
    assert!([" default ", " 1/3 ", " 500/1000 ", " none "].iter().all(|rate| list.contains(rate)), "{list}");
    // This server limits those that have no limit of their own.
    let limits = [("CALLSCOPE__LIMITS__REQUESTS_PER_SECOND", "2"), ("CALLSCOPE__LIMITS__BURST", "6")];
    let server = fixture.serve(&limits);
    let passed = |key: &str| {
        let client = server.client(key);
        (0..40).take_while(|_| client.get("/api/v1/analytics/active-calls").status == 200).count()
    };
    assert!((3..40).contains(&passed(&slow)));
    assert!((6..40).contains(&passed(&plain)));
    assert_eq!([passed(&steady), passed(&free)], [40, 40]);
    // It may have recovered a little meanwhile.
    let client = server.client(&slow);
    let mut answers = (0..40).map(|_| client.get("/api/v1/analytics/active-calls"));
    let refused = answers.find(|answer| answer.status != 200).expect("a refusal");
    assert_eq!(refused.json()["code"], "rate_limit_exceeded");
}

//! `rollups verify` and `rollups rebuild` that are interrupted, and go on where they were.

use crate::client::Transport;
use crate::fixture::Fixture;
use crate::process::{Finished, Running, eventually, run};
use crate::session::Session;
use crate::terminal::Terminal;
use callscope_testkit::Backend;
use serde_json::{Value, json};
use std::process::Command;

on_postgres!(
    an_interrupted_rebuild_says_how_it_goes_on_and_does,
    a_verification_goes_on_at_a_day,
    an_error_on_the_way_says_how_it_goes_on,
    a_rebuild_on_a_terminal_shows_how_far_it_is,
    a_place_to_go_on_that_cannot_be_is_refused,
);

const DAYS: [&str; 3] = ["2025-06-01", "2025-06-02", "2025-06-03"];

/// Two tenants with a call on each day. They are gone over by slug, not as they were created.
fn fixture() -> Fixture {
    let fixture = Fixture::new(Backend::Postgres);
    let keys = ["clinic", "bakery"].map(|slug| fixture.create_tenant(slug));
    let server = fixture.serve(&[]);
    for key in keys {
        server.client(&key).send(&DAYS.map(call), Transport::NDJSON);
    }
    fixture
}

fn call(day: &str) -> Value {
    json!({"call_id": format!("31c02e4f-12e0-4af0-869b-{:0>12}", &day[8..]), "status": "completed",
           "started_at": format!("{day}T10:00:00Z"), "ended_at": format!("{day}T10:01:00Z")})
}

/// Falsifies the sums of a tenant's day.
fn falsify(fixture: &Fixture, slug: &str, day: &str) {
    fixture.tamper(&format!(
        "UPDATE rollup_sums SET calls = calls + 1 WHERE dimension = 0 AND resolution = 3 AND bucket = '{day}T00:00:00Z'
         AND tenant_id = '{}'",
        fixture.tenant_id(slug)
    ));
}

/// The days that a verification finds wrong, with their tenants.
fn wrong_days(fixture: &Fixture) -> Vec<String> {
    let printed = fixture.run(&["rollups", "verify"]).stdout;
    let mut tenant = "";
    let mut wrong = Vec::new();
    for line in printed.lines() {
        match (line.split_once(": "), line.strip_prefix("  day ")) {
            (Some((slug, _)), None) => tenant = slug,
            (_, Some(day)) => wrong.push(format!("{tenant}/{}", &day[..10])),
            (None, None) => {}
        }
    }
    wrong
}

/// A rebuild that waits for a tenant, which somebody holds until the session goes.
fn rebuild_that_waits(fixture: &Fixture, slug: &str, command: impl FnOnce(Command) -> Running) -> (Running, Session) {
    let session = Session::open(fixture.database_url());
    let id = fixture.tenant_id(slug);
    session.execute(&format!("BEGIN; SELECT FROM tenant_states WHERE tenant_id = '{id}' FOR UPDATE"));
    let rebuild = command(fixture.command(&["rollups", "rebuild"]));
    fixture.wait_for_waiting(1);
    (rebuild, session)
}

fn an_interrupted_rebuild_says_how_it_goes_on_and_does() {
    for signal in ["INT", "TERM"] {
        let fixture = fixture();
        for (slug, day) in [("bakery", DAYS[2]), ("clinic", DAYS[1]), ("clinic", DAYS[2])] {
            falsify(&fixture, slug, day);
        }
        // What is right needs no lock, so it waits on the second day of the second tenant.
        let (rebuild, session) = rebuild_that_waits(&fixture, "clinic", |command| Running::start(command, b""));
        rebuild.signal(signal);
        let Finished { code, stdout, stderr } = rebuild.finish();
        assert_eq!(code, Some(130), "{stdout}{stderr}");
        let [bakery, clinic] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("{stdout}") };
        assert!(bakery.starts_with("bakery: mended 1 wrong rollups; "), "{bakery}");
        assert!(clinic.starts_with("clinic: so far mended 0 wrong rollups; "), "{clinic}");
        assert!(clinic.contains("from 1 calls on 1 days"), "{clinic}");
        let resume = stderr.trim_end().strip_prefix("interrupted; this goes on: ").expect(&stderr);
        assert!(resume.ends_with(" rollups rebuild --resume clinic/2025-06-02"), "{resume}");
        drop(session);
        assert_eq!(wrong_days(&fixture), ["clinic/2025-06-02", "clinic/2025-06-03"]);

        // What is passed over stays as it is.
        for (slug, day) in [("bakery", DAYS[1]), ("clinic", DAYS[0])] {
            falsify(&fixture, slug, day);
        }
        let mut command = Command::new("sh");
        command.args(["-c", resume]).current_dir(fixture.folder()).env_clear();
        command.env("CALLSCOPE__DATABASE__URL", fixture.database_url());
        let printed = run(command, b"").stdout_of_success();
        assert!(printed.starts_with("clinic: mended 2 wrong rollups; "), "{printed}");
        assert!(printed.ends_with("from 2 calls on 2 days are right\n"), "{printed}");
        assert_eq!(wrong_days(&fixture), ["bakery/2025-06-02", "clinic/2025-06-01"]);
        fixture.run(&["rollups", "rebuild"]).stdout_of_success();
        fixture.assert_rollups_are_equal();
    }
}

fn a_verification_goes_on_at_a_day() {
    let fixture = fixture();
    falsify(&fixture, "bakery", DAYS[2]);
    falsify(&fixture, "clinic", DAYS[0]);
    for (resume, code, lines) in [
        ("bakery/2025-06-01", 1, &["bakery: NOT EQUAL: 1 rollups", "clinic: NOT EQUAL: 1 rollups"][..]),
        ("bakery/2025-06-03", 1, &["bakery: NOT EQUAL: 1 rollups differ from their 1 calls", "clinic: NOT EQUAL"]),
        ("bakery/2025-06-04", 1, &["bakery: equal (0 rollups, 0 calls, 0 days)", "clinic: NOT EQUAL"]),
        ("clinic/2025-06-01", 1, &["clinic: NOT EQUAL: 1 rollups differ from their 3 calls"]),
        ("clinic/2025-06-02", 0, &["clinic: equal (8 rollups, 2 calls, 2 days)"]),
    ] {
        for resume in [&["--resume", resume][..], &[&format!("--resume={resume}")]] {
            let verdict = fixture.run(&[&["rollups", "verify"], resume].concat());
            assert_eq!(verdict.code, Some(code), "{resume:?}: {verdict:?}");
            let tenants = verdict.stdout.lines().filter(|line| !line.starts_with(' '));
            let tenants: Vec<_> = tenants.collect();
            assert_eq!(tenants.len(), lines.len(), "{resume:?}: {verdict:?}");
            assert!(tenants.iter().zip(lines).all(|(found, line)| found.starts_with(line)), "{resume:?}: {verdict:?}");
        }
    }
    // Both say whose day it is.
    let both = ["rollups", "verify", "--tenant", "clinic", "--resume", "clinic/2025-06-02"];
    assert!(fixture.run(&both).stdout_of_success().starts_with("clinic: equal"));
}

fn an_error_on_the_way_says_how_it_goes_on() {
    let fixture = fixture();
    falsify(&fixture, "clinic", DAYS[1]);
    let (rebuild, session) = rebuild_that_waits(&fixture, "clinic", |command| Running::start(command, b""));
    session.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    let Finished { code, stdout, stderr } = rebuild.finish();
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    let advice = "cannot go on; when the cause is gone, this does: ";
    let (_, resume) = stderr.split_once(advice).expect(&stderr);
    assert!(resume.contains(" rollups rebuild --resume clinic/2025-06-02"), "{stderr}");
    drop(session);
    fixture.run(&["rollups", "rebuild", "--resume", "clinic/2025-06-02"]).stdout_of_success();
    fixture.assert_rollups_are_equal();
}

fn a_rebuild_on_a_terminal_shows_how_far_it_is() {
    let fixture = fixture();
    falsify(&fixture, "clinic", DAYS[1]);
    let mut terminal = None;
    let (rebuild, session) = rebuild_that_waits(&fixture, "clinic", |mut command| {
        terminal = Some(Terminal::of(&mut command));
        Running::start_on(command, b"")
    });
    let terminal = terminal.unwrap();
    eventually("progress", || terminal.shown().contains("clinic").then_some(()));
    assert!(terminal.shown().contains(" of 3, "), "{:?}", terminal.shown());
    drop(session);
    let Finished { code, stdout, .. } = rebuild.finish();
    assert_eq!(code, Some(0), "{stdout}");
    // What people are to keep is not on the terminal's line, which is wiped.
    assert!(stdout.contains("clinic: mended 1 wrong rollups") && !stdout.contains(" of 3"), "{stdout}");
    assert!(!fixture.run(&["rollups", "rebuild"]).stderr.contains(" of 3"));
}

fn a_place_to_go_on_that_cannot_be_is_refused() {
    let fixture = fixture();
    for work in ["verify", "rebuild"] {
        for (resume, code, reason) in [
            ("", 2, "must be a tenant and a day"),
            ("clinic", 2, "must be a tenant and a day"),
            ("/2025-06-02", 2, "tenant"),
            ("Clinic/2025-06-02", 2, "lower-case"),
            ("clinic/", 2, "2026-01-05"),
            ("clinic/2025-02-30", 2, "2026-01-05"),
            ("clinic/2025-06-02T00:00:00Z", 2, "2026-01-05"),
            ("clinic/yesterday", 2, "2026-01-05"),
            ("nobody/2025-06-02", 1, "there is no tenant nobody"),
        ] {
            let refused = fixture.run(&["rollups", work, "--resume", resume]);
            assert_eq!((refused.code, refused.stdout.as_str()), (Some(code), ""), "{resume}: {refused:?}");
            assert!(refused.stderr.contains(reason), "{resume}: {refused:?}");
        }
        let others = fixture.run(&["rollups", work, "--tenant", "bakery", "--resume", "clinic/2025-06-02"]);
        assert_eq!((others.code, others.stdout.as_str()), (Some(1), ""), "{others:?}");
        assert!(others.stderr.contains("--resume names the tenant clinic, but --tenant bakery"), "{others:?}");
    }
}

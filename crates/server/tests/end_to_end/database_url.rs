//! URLs of databases that cannot be: refused by the name of the setting, and without the password in them.

use crate::fixture::Fixture;
use crate::process::run;

const PASSWORD: &str = "horse-battery";

/// URLs, with PASSWORD in the place of a password, and what is said to be wrong with each.
const WRONG: &[(&str, &str)] = &[
    ("mysql://voice:PASSWORD@localhost/calls", "must start with"),
    ("voice:PASSWORD@localhost/calls", "must start with"),
    ("postgres://", "host"),
    ("postgres:///calls", "host"),
    ("postgres://voice:PASSWORD@/calls", "host"),
    ("postgresql://voice:PASSWORD@localhost:99999/calls", "port"),
    ("postgres://voice:PASSWORD@localhost:many/calls", "port"),
    ("postgres://voice:correct:PASSWORD@localhost:many/calls", "port"),
    ("postgres://voice:PASSWORD@localhost/calls?colour=blue", "colour"),
    ("postgres://voice:PASSWORD@localhost/calls?colour", ""),
    ("postgres://voice:a?PASSWORD@localhost/calls", "%3F"),
    ("postgres://voice:PASSWORD@localhost/calls?connect_timeout=soon", "connect_timeout"),
    ("postgres://localhost/calls?user=voice&password=PASSWORD&colour=blue", "colour"),
    ("postgres://localhost/calls?user=voice&password=PASSWORD&sslmode=verify-ca", "sslmode=verify-ca"),
];

#[test]
fn a_url_that_cannot_be_is_refused_by_name_and_not_shown() {
    let fixture = Fixture::at(String::new());
    let mut faults = Vec::new();
    for (url, word) in WRONG {
        let url = url.replace("PASSWORD", PASSWORD);
        for variable in ["CALLSCOPE__DATABASE__URL", "DATABASE_URL"] {
            for arguments in [&["serve"][..], &["migrate", "--distributed"], &["tenants", "list"]] {
                let mut command = fixture.bare_command(arguments);
                command.env(variable, &url);
                let complaint = run(command, b"").stderr_of_failure();
                let is_clear = complaint.contains("database.url") && complaint.contains(word);
                if !is_clear || complaint.contains(PASSWORD) {
                    faults.push(format!("{variable}={url} {arguments:?}: {complaint}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.concat());
}

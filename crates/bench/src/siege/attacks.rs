//! The attacks, a file for each group.

mod access;
mod answers;
mod bodies;
mod connections;
mod corrections;
mod kept;
mod questions;
mod sockets;

use crate::database::Engine;
use crate::siege::attacker::Attacker;
use std::pin::Pin;
use std::time::Duration;

/// An attack under way.
pub type Run = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// An attack.
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// The attacker: a tenant, or a stranger.
    pub from: &'static str,
    /// What it does, as a sentence or two.
    pub about: &'static str,
    /// Settings of the server without which the attack has nothing to attack.
    pub settings: &'static [(&'static str, &'static str)],
    /// The shortest time in which its effect can be seen.
    pub duration_min: Duration,
    /// Prepares it, says so by [`Attacker::begin`], and attacks until it is over.
    pub run: fn(Attacker) -> Run,
    is_for_sqlite_only: bool,
}

impl Attack {
    const fn new(name: &'static str, from: &'static str, about: &'static str, run: fn(Attacker) -> Run) -> Self {
        Self { name, from, about, settings: &[], duration_min: Duration::ZERO, run, is_for_sqlite_only: false }
    }

    const fn lasting(self, seconds: u64) -> Self {
        Self { duration_min: Duration::from_secs(seconds), ..self }
    }

    const fn with(self, settings: &'static [(&'static str, &'static str)]) -> Self {
        Self { settings, ..self }
    }

    const fn for_sqlite_only(self) -> Self {
        Self { is_for_sqlite_only: true, ..self }
    }

    /// Whether there is something to attack on a database.
    pub const fn is_for(&self, engine: &Engine) -> bool {
        !self.is_for_sqlite_only || matches!(engine, Engine::Sqlite(_))
    }
}

/// All attacks.
pub fn all() -> Vec<Attack> {
    [
        connections::attacks(),
        access::attacks(),
        bodies::attacks(),
        answers::attacks(),
        kept::attacks(),
        corrections::attacks(),
        questions::attacks(),
        sockets::attacks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What needs no load to be shown, and the test that shows it.
pub const COVERED_BY_TESTS: &[(&str, &str)] = &[
    ("a token that is about to expire makes a key that outlives it", "api http: a_key_that_a_token_makes_ends_with_it"),
    (
        "answers without security headers, or that a shared cache may keep",
        "api http: every_operation_and_page_bounds_what_browsers_and_caches_do",
    ),
    (
        "line breaks and escape sequences in the log",
        "api http: names_hold_no_control_characters; server end_to_end: no_client_writes_lines_of_the_log",
    ),
    ("metrics on the public address", "server end_to_end: metrics_have_an_address_of_their_own_if_that_is_wanted"),
    ("secrets in `callscope config show`", "server end_to_end: the_settings_in_force_are_shown_without_secrets"),
    ("an older program on a newer schema", "persistence contract: a_schema_that_is_newer_than_the_program_is_refused"),
    (
        "keys of tokens that can no longer be fetched, and redirects",
        "api: a_set_that_is_too_old_is_not_used; server: without_tls_no_redirect_is_followed",
    ),
    (
        "years outside of RFC 3339, and windows without end",
        "api http: a_window_that_is_too_wide_or_leaves_the_calendar_is_refused",
    ),
    ("a list of issuers in a token", "api http: a_token_that_is_not_sound_is_refused_with_the_reason"),
    (
        "malformed requests without an answer that can be traced",
        "api http: requests_that_cannot_be_read_are_answered_with_a_problem_and_an_id",
    ),
    (
        "a ticket that a link preview uses up",
        "api http: a_request_that_cannot_open_a_socket_does_not_use_its_ticket_up",
    ),
];

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
    ("a token that is about to expire makes a key that outlives it", "crates/api/tests/http/"),
    ("answers without security headers, or that a shared cache may keep", "crates/api/tests/http/"),
    ("line breaks and escape sequences in the log", "crates/server/tests/end_to_end/"),
    ("metrics on the public address", "crates/server/tests/end_to_end/"),
    ("secrets in `callscope config show`", "crates/server/tests/end_to_end/settings.rs"),
    ("an older program on a newer schema", "crates/persistence/tests/contract/"),
    (
        "keys of tokens that can no longer be fetched, and redirects",
        "crates/api/src/jwks.rs, crates/server/src/jwks.rs",
    ),
    ("years outside of RFC 3339, and windows without end", "crates/api/tests/http/"),
    ("a list of issuers in a token", "crates/api/tests/http/tokens.rs"),
    ("malformed requests without an answer that can be traced", "crates/api/tests/http/"),
    ("a ticket that a link preview uses up", "crates/api/tests/http/tickets.rs"),
];

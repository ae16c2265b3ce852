//! The settings of the database: `[database]`.

use super::fault::Faults;
use crate::secret::SecretUrl;
use crate::units::duration;
use callscope_persistence::{DatabaseFault, DatabaseOptions};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bounds of the time for one statement.
const STATEMENT_TIMEOUT_MIN: Duration = Duration::from_millis(10);
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// Fewest connections to PostgreSQL: one for analytics reads, one for credentials, and one for everything else.
const POSTGRES_CONNECTIONS_MIN: u32 = 3;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    pub url: SecretUrl,
    /// A read-only replica for the analytics reads; empty for none.
    pub read_url: SecretUrl,
    pub pool_size: u32,
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// How long PostgreSQL may take for one statement; zero for ever.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
}

impl DatabaseSettings {
    /// Whether the database is a file.
    pub fn is_embedded(&self) -> bool {
        self.url.reveal().starts_with("sqlite:")
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        faults.at_least_one("database.pool_size", self.pool_size as usize);
        faults.more_than_zero("database.acquire_timeout", self.acquire_timeout);
        let timeout = self.statement_timeout;
        faults.require(
            timeout.is_zero() || (STATEMENT_TIMEOUT_MIN..=STATEMENT_TIMEOUT_MAX).contains(&timeout),
            "database.statement_timeout",
            "must be between 10ms and 24h, or 0s for none",
        );
        faults.require(
            self.is_embedded() || self.pool_size >= POSTGRES_CONNECTIONS_MIN,
            "database.pool_size",
            format!("must be at least {POSTGRES_CONNECTIONS_MIN} on PostgreSQL"),
        );
        if let Err(DatabaseFault { key, fault }) = DatabaseOptions::from(self).check() {
            faults.add(&format!("database.{key}"), fault);
        }
    }
}

impl From<&DatabaseSettings> for DatabaseOptions {
    fn from(settings: &DatabaseSettings) -> Self {
        Self {
            url: settings.url.reveal().to_owned(),
            read_url: Some(settings.read_url.reveal()).filter(|url| !url.is_empty()).map(str::to_owned),
            pool_size: settings.pool_size,
            acquire_timeout: settings.acquire_timeout,
            statement_timeout: settings.statement_timeout,
        }
    }
}

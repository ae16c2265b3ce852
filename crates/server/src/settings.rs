//! The settings: compiled-in defaults, then a file, then the environment. Unknown keys are refused with their path.

mod cors;
mod edge;
mod live;

use crate::access::{AuthSettings, LimitSettings};
use crate::secret::SecretUrl;
use crate::traces::Traces;
use crate::units::{duration, size};
use anyhow::{Context, bail};
use callscope_analytics::ingestion::IngestLimits;
use callscope_analytics::retention::RetentionPeriods;
use callscope_api::ApiLimits;
use callscope_persistence::DatabaseOptions;
use config::{Config, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use cors::CorsSettings;
pub use edge::{CacheSettings, MetricsSettings, TelemetrySettings};
use live::LiveSettings;

const DEFAULTS: &str = include_str!("../../../config/default.toml");
const ENVIRONMENT_PREFIX: &str = "CALLSCOPE";
const ENVIRONMENT_SEPARATOR: &str = "__";

/// Longest retention: a hundred years.
const RETENTION_DAYS_MAX: u32 = 36_500;
/// Bounds of the time for one statement.
const STATEMENT_TIMEOUT_MIN: Duration = Duration::from_millis(10);
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// Fewest connections to PostgreSQL: one for questions, one for credentials, and one for everything else.
const POSTGRES_CONNECTIONS_MIN: u32 = 3;

/// Shortest time for a request's head: the web server's clock goes by half seconds.
const HEADER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Longest wait for more records.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Every setting; `config/default.toml` says what each means.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The HTTP server.
    pub server: ServerSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// The way of records into the database.
    pub ingest: IngestSettings,
    /// Those who follow calls as they happen.
    pub live: LiveSettings,
    /// Pages of other origins.
    pub cors: CorsSettings,
    /// How long data is kept.
    pub retention: RetentionSettings,
    /// Credentials beside API keys.
    pub auth: AuthSettings,
    /// How often credentials may be used.
    pub limits: LimitSettings,
    /// What is kept for a moment.
    pub cache: CacheSettings,
    /// What is counted.
    pub metrics: MetricsSettings,
    /// What is followed.
    pub telemetry: TelemetrySettings,
    /// The log.
    pub log: LogSettings,
}

/// The HTTP server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Where to listen.
    pub bind: SocketAddr,
    /// Threads; 0 for one a processor.
    pub workers: usize,
    /// Connections that are open at one time.
    pub connections_max: usize,
    /// How long an idle connection stays open; zero to close each after its first answer.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// How long a request's head may take to arrive.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// How long its body may.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// How long its answer may, from then on.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long requests may take to finish at the end.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
}

/// The database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Which database.
    pub url: SecretUrl,
    /// A read-only replica for the analytics reads; empty for none.
    pub read_url: SecretUrl,
    /// Connections.
    pub pool_size: u32,
    /// How long to wait for one.
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// How long PostgreSQL may take for one statement; zero for ever.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
}

/// The way of records into the database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// How long a call may be active; zero for ever.
    #[serde(with = "duration")]
    pub active_call_timeout: Duration,
    /// Records that may wait.
    pub queue_records_max: usize,
    /// Records of a transaction.
    pub batch_records_max: usize,
    /// How long a transaction waits for more.
    #[serde(with = "duration")]
    pub batch_wait: Duration,
    /// Bytes of a body.
    #[serde(with = "size")]
    pub body_bytes_max: usize,
    /// Records of a body.
    pub body_records_max: usize,
    /// Bytes of all bodies at one time.
    #[serde(with = "size")]
    pub inflight_bytes_max: usize,
    /// Bodies at one time.
    pub bodies_max: usize,
}

/// How long data is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Days that calls are kept; 0 for ever.
    pub calls_days: u32,
    /// Days that rollups are kept; 0 for ever.
    pub rollups_days: u32,
}

/// The log.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines there are.
    pub level: String,
}

/// How the log's lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

impl Settings {
    /// Reads and checks all settings.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let settings = Self::read(file)?;
        match settings.faults().into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(settings),
        }
    }

    /// Reads all settings, and checks each by itself.
    pub fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = file {
            builder = builder.add_source(File::from(file).format(FileFormat::Toml));
        }
        if let Ok(url) = std::env::var("DATABASE_URL") {
            builder = builder.add_source(Config::builder().set_override("database.url", url)?.build()?);
        }
        let environment = Environment::with_prefix(ENVIRONMENT_PREFIX)
            .prefix_separator(ENVIRONMENT_SEPARATOR)
            .separator(ENVIRONMENT_SEPARATOR);
        let layered = builder.add_source(environment).build().context("cannot read the settings")?;
        serde_path_to_error::deserialize(layered)
            .map_err(|error| anyhow::anyhow!("setting {}: {}", error.path(), error.inner()))
    }

    /// What is wrong with them beyond that: one fault of each section.
    pub fn faults(&self) -> Vec<anyhow::Error> {
        let checks = [
            self.check(),
            DatabaseOptions::from(&self.database).check().map_err(Into::into),
            self.live.check(),
            self.cors.rules().map(drop),
            self.retention.check(),
            self.auth.check(),
            self.limits.rate().map(drop),
            self.cache.check(),
            self.telemetry.check(),
            self.log.filter().map(drop),
        ];
        checks.into_iter().filter_map(Result::err).collect()
    }

    /// The settings as a file of them, secrets masked.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// Whether the database is a file.
    pub fn is_embedded(&self) -> bool {
        self.database.url.reveal().starts_with("sqlite:")
    }

    fn check(&self) -> anyhow::Result<()> {
        let ingest = &self.ingest;
        for (key, value) in [
            ("ingest.queue_records_max", ingest.queue_records_max),
            ("ingest.batch_records_max", ingest.batch_records_max),
            ("ingest.body_bytes_max", ingest.body_bytes_max),
            ("ingest.body_records_max", ingest.body_records_max),
            ("ingest.bodies_max", ingest.bodies_max),
            ("server.connections_max", self.server.connections_max),
            ("database.pool_size", self.database.pool_size as usize),
        ] {
            if value == 0 {
                bail!("setting {key}: must be at least 1");
            }
        }
        for (key, value) in [
            ("database.acquire_timeout", self.database.acquire_timeout),
            ("server.body_timeout", self.server.body_timeout),
            ("server.request_timeout", self.server.request_timeout),
        ] {
            if value.is_zero() {
                bail!("setting {key}: must be more than 0s");
            }
        }
        if self.server.header_timeout < HEADER_TIMEOUT_MIN {
            bail!("setting server.header_timeout: must be at least 1s");
        }
        let statement_timeout = self.database.statement_timeout;
        if !statement_timeout.is_zero() && !(STATEMENT_TIMEOUT_MIN..=STATEMENT_TIMEOUT_MAX).contains(&statement_timeout)
        {
            bail!("setting database.statement_timeout: must be between 10ms and 24h, or 0s for none");
        }
        if !self.is_embedded() && self.database.pool_size < POSTGRES_CONNECTIONS_MIN {
            bail!("setting database.pool_size: must be at least {POSTGRES_CONNECTIONS_MIN} on PostgreSQL");
        }
        if ingest.batch_wait > BATCH_WAIT_MAX {
            bail!("setting ingest.batch_wait: must be at most 10s; every record waits that long for its answer");
        }
        if self.live.sockets_max >= self.server.connections_max {
            bail!("setting live.sockets_max: must be less than server.connections_max, or no request gets through");
        }
        if ingest.inflight_bytes_max / 2 < ingest.body_bytes_max {
            bail!(
                "setting ingest.inflight_bytes_max: must be at least twice ingest.body_bytes_max: a tenant has half of \
                 it, and no large body would fit"
            );
        }
        if ingest.queue_records_max < ingest.body_records_max {
            bail!("setting ingest.queue_records_max: must be at least ingest.body_records_max, or no large batch fits");
        }
        Ok(())
    }
}

impl RetentionSettings {
    fn check(&self) -> anyhow::Result<()> {
        for (key, days) in [("calls_days", self.calls_days), ("rollups_days", self.rollups_days)] {
            if days > RETENTION_DAYS_MAX {
                bail!("setting retention.{key}: must be at most {RETENTION_DAYS_MAX}; 0 keeps them for ever");
            }
        }
        if self.rollups_days > 0 && self.calls_days == 0 {
            bail!(
                "setting retention.rollups_days: needs retention.calls_days, as calls must not outlive their rollups"
            );
        }
        if self.rollups_days > 0 && self.rollups_days < self.calls_days {
            bail!("setting retention.rollups_days: must be at least retention.calls_days, or 0 to keep them for ever");
        }
        Ok(())
    }

    /// How long data is kept; `None` when everything is kept for ever.
    pub fn periods(&self) -> Option<RetentionPeriods> {
        let calls_days = NonZeroU32::new(self.calls_days)?;
        Some(RetentionPeriods { calls_days, rollups_days: NonZeroU32::new(self.rollups_days) })
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

impl From<&Settings> for IngestLimits {
    fn from(settings: &Settings) -> Self {
        let ingest = &settings.ingest;
        Self {
            queue_records_max: ingest.queue_records_max,
            batch_records_max: ingest.batch_records_max,
            batch_wait: ingest.batch_wait,
            event_age_max: settings.live.event_age_max,
        }
    }
}

impl From<&Settings> for ApiLimits {
    fn from(settings: &Settings) -> Self {
        let Settings { server, ingest, .. } = settings;
        Self {
            body_bytes_max: ingest.body_bytes_max,
            batch_records_max: ingest.body_records_max,
            inflight_bytes_max: ingest.inflight_bytes_max,
            bodies_max: ingest.bodies_max,
            body_timeout: server.body_timeout,
            request_timeout: server.request_timeout,
        }
    }
}

impl LogSettings {
    fn filter(&self) -> anyhow::Result<EnvFilter> {
        EnvFilter::try_new(&self.level)
            .map_err(|error| anyhow::anyhow!("setting log.level: {:?} is no level: {error}", self.level))
    }

    /// Starts logging to standard error, and to follow requests where that is wanted.
    pub fn start(&self, traces: Option<&Traces>) -> anyhow::Result<()> {
        let filter = self.filter()?;
        // A filter of the log's own costs every span something, so there is one only where it is needed.
        match traces {
            Some(traces) => {
                let log = self.lines().with_filter(filter);
                tracing_subscriber::registry().with(traces.layer()).with(log).init();
            }
            None => tracing_subscriber::registry().with(filter).with(self.lines()).init(),
        }
        Ok(())
    }

    fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Box<dyn Layer<S> + Send + Sync> {
        // A reader of standard error that went away must not take the server with it: what cannot be logged is lost, and
        // nothing tries to say so in the same place.
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
        match self.format {
            LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
            LogFormat::Json => lines.json().boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for what nobody may see.
    const MARKER: &str = "horse-battery";

    fn read(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let shown = read(DEFAULTS).to_toml().expect("toml");
        assert_eq!(read(&shown).to_toml().expect("toml"), shown);
        let (defaults, shown): (toml::Table, toml::Table) =
            (toml::from_str(DEFAULTS).expect("defaults"), toml::from_str(&shown).expect("shown"));
        for (section, keys) in &defaults {
            let (keys, shown) = (keys.as_table().expect("a section"), shown[section].as_table().expect("a section"));
            assert!(keys.keys().eq(shown.keys()), "{section}");
        }
    }

    /// A new secret must have the type of one, and not be a plain string.
    #[test]
    fn no_setting_that_sounds_like_a_secret_is_shown() {
        let mut settings: toml::Table = toml::from_str(DEFAULTS).expect("defaults");
        let is_secret = |key: &str| {
            ["url", "password", "secret", "token", "credential", "private"].iter().any(|word| key.contains(word))
        };
        let mut hidden = 0;
        for (_, keys) in &mut settings {
            let keys = keys.as_table_mut().expect("a section").iter_mut();
            for (key, value) in keys.filter(|(key, value)| is_secret(key) && value.is_str()) {
                let is_url = key.contains("url");
                *value =
                    if is_url { format!("https://a:{MARKER}@b/c?token={MARKER}") } else { MARKER.to_owned() }.into();
                hidden += 1;
            }
        }
        let settings = read(&toml::to_string(&settings).expect("toml"));
        assert!(
            hidden >= 2 && !settings.to_toml().expect("toml").contains(MARKER),
            "{}",
            settings.to_toml().expect("toml")
        );
        assert!(!format!("{settings:?}").contains(MARKER));
    }
}

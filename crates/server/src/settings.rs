//! The settings: compiled-in defaults, then a file, then the environment. Unknown keys are refused with their path.

mod edge;

use crate::access::{AuthSettings, LimitSettings};
use crate::traces::Traces;
use anyhow::{Context, bail};
use bytesize::ByteSize;
use callscope_analytics::ingestion::IngestLimits;
use callscope_analytics::retention::RetentionPeriods;
use callscope_api::{ApiLimits, LiveLimits};
use callscope_persistence::DatabaseOptions;
use config::{Config, Environment, File, FileFormat};
use serde::{Deserialize, Deserializer, de};
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

pub use edge::{CacheSettings, MetricsSettings, TelemetrySettings};

const DEFAULTS: &str = include_str!("../../../config/default.toml");
const ENVIRONMENT_PREFIX: &str = "CALLSCOPE";
const ENVIRONMENT_SEPARATOR: &str = "__";

/// Longest retention: a hundred years.
const RETENTION_DAYS_MAX: u32 = 36_500;
/// Bounds of the time for one statement.
const STATEMENT_TIMEOUT_MIN: Duration = Duration::from_millis(10);
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// Fewest connections to PostgreSQL: one for questions and one for everything else.
const POSTGRES_CONNECTIONS_MIN: u32 = 2;

/// Shortest time for a request's head: the web server's clock goes by half seconds.
const HEADER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Bounds of every duration of `[live]`.
const LIVE_DURATION_MIN: Duration = Duration::from_millis(100);
const LIVE_DURATION_MAX: Duration = Duration::from_hours(7 * 24);

/// Longest wait for more records.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Every setting; `config/default.toml` says what each means.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Where to listen.
    pub bind: SocketAddr,
    /// Threads; 0 for one a processor.
    pub workers: usize,
    /// Connections that are open at one time.
    pub connections_max: usize,
    /// How long an idle connection stays open; zero to close each after its first answer.
    #[serde(deserialize_with = "duration")]
    pub keep_alive: Duration,
    /// How long a request's head may take to arrive.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// How long its body may.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// How long its answer may, from then on.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    /// How long requests may take to finish at the end.
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Which database.
    pub url: String,
    /// A read-only replica for the analytics reads; empty for none.
    pub read_url: String,
    /// Connections.
    pub pool_size: u32,
    /// How long to wait for one.
    #[serde(deserialize_with = "duration")]
    pub acquire_timeout: Duration,
    /// How long PostgreSQL may take for one statement; zero for ever.
    #[serde(deserialize_with = "duration")]
    pub statement_timeout: Duration,
}

/// The way of records into the database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// How long a call may be active; zero for ever.
    #[serde(deserialize_with = "duration")]
    pub active_call_timeout: Duration,
    /// Records that may wait.
    pub queue_records_max: usize,
    /// Records of a transaction.
    pub batch_records_max: usize,
    /// How long a transaction waits for more.
    #[serde(deserialize_with = "duration")]
    pub batch_wait: Duration,
    /// Bytes of a body.
    #[serde(deserialize_with = "size")]
    pub body_bytes_max: usize,
    /// Records of a body.
    pub body_records_max: usize,
    /// Bytes of all bodies at one time.
    #[serde(deserialize_with = "size")]
    pub inflight_bytes_max: usize,
    /// Bodies at one time.
    pub bodies_max: usize,
}

/// Those who follow calls as they happen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSettings {
    /// How long ago something may have happened and still be an event.
    #[serde(deserialize_with = "duration")]
    pub event_age_max: Duration,
    /// How long events are kept.
    #[serde(deserialize_with = "duration")]
    pub replay_window: Duration,
    /// Events that are kept of a tenant.
    pub replay_events_max: u32,
    /// Sockets and streams.
    pub sockets_max: usize,
    /// Those of one tenant.
    pub tenant_sockets_max: usize,
    /// Events of one tenant that are delivered in a second, counted once a client.
    pub deliveries_per_second_max: u32,
    /// How often clients are asked whether they are there.
    #[serde(deserialize_with = "duration")]
    pub ping_interval: Duration,
    /// How long a client may be silent.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// How long a client may take to accept a message.
    #[serde(deserialize_with = "duration")]
    pub send_timeout: Duration,
}

/// How long data is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Days that calls are kept; 0 for ever.
    pub calls_days: u32,
    /// Days that rollups are kept; 0 for ever.
    pub rollups_days: u32,
}

/// The log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines there are.
    pub level: String,
}

/// How the log's lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

impl Settings {
    /// Loads and checks all settings.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
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
        let settings: Self = serde_path_to_error::deserialize(layered)
            .map_err(|error| anyhow::anyhow!("setting {}: {}", error.path(), error.inner()))?;
        settings.check()?;
        settings.live.check()?;
        settings.retention.check()?;
        settings.auth.check()?;
        settings.limits.rate()?;
        settings.cache.check()?;
        settings.telemetry.check()?;
        Ok(settings)
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
        let is_postgres = !self.database.url.starts_with("sqlite:");
        if is_postgres && self.database.pool_size < POSTGRES_CONNECTIONS_MIN {
            bail!("setting database.pool_size: must be at least {POSTGRES_CONNECTIONS_MIN} on PostgreSQL");
        }
        if ingest.batch_wait > BATCH_WAIT_MAX {
            bail!("setting ingest.batch_wait: must be at most 10s; every record waits that long for its answer");
        }
        if ingest.inflight_bytes_max < ingest.body_bytes_max {
            bail!("setting ingest.inflight_bytes_max: must be at least ingest.body_bytes_max, or no large body fits");
        }
        if ingest.queue_records_max < ingest.body_records_max {
            bail!("setting ingest.queue_records_max: must be at least ingest.body_records_max, or no large batch fits");
        }
        Ok(())
    }
}

impl LiveSettings {
    fn check(&self) -> anyhow::Result<()> {
        for (key, duration) in [
            ("event_age_max", self.event_age_max),
            ("replay_window", self.replay_window),
            ("ping_interval", self.ping_interval),
            ("idle_timeout", self.idle_timeout),
            ("send_timeout", self.send_timeout),
        ] {
            if !(LIVE_DURATION_MIN..=LIVE_DURATION_MAX).contains(&duration) {
                bail!("setting live.{key}: must be between 100ms and 7d");
            }
        }
        if self.idle_timeout <= self.ping_interval {
            bail!("setting live.idle_timeout: must be more than live.ping_interval, or every quiet client is dropped");
        }
        Ok(())
    }
}

impl From<&LiveSettings> for LiveLimits {
    fn from(settings: &LiveSettings) -> Self {
        Self {
            sockets_max: settings.sockets_max,
            tenant_sockets_max: settings.tenant_sockets_max,
            ping_interval: settings.ping_interval,
            idle_timeout: settings.idle_timeout,
            send_timeout: settings.send_timeout,
        }
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
            url: settings.url.clone(),
            read_url: (!settings.read_url.is_empty()).then(|| settings.read_url.clone()),
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
    /// Starts logging to standard error, and to follow requests where that is wanted.
    pub fn start(&self, traces: Option<&Traces>) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.level)
            .map_err(|error| anyhow::anyhow!("setting log.level: {:?} is no level: {error}", self.level))?;
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

/// A duration as people write it.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|_| de::Error::custom(format!("{text:?} is no duration; write one like \"250ms\", \"30s\" or \"4h\"")))
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let size: Option<ByteSize> = text.parse().ok();
    size.and_then(|size| usize::try_from(size.as_u64()).ok())
        .ok_or_else(|| de::Error::custom(format!("{text:?} is no size; write one like \"64MiB\"")))
}

//! The settings: compiled-in defaults, then a file, then the environment. Unknown keys are refused with their path.

mod assembly;
mod auth;
mod cache;
mod cors;
mod database;
mod fault;
mod ingest;
mod layers;
mod limits;
mod live;
mod log;
mod metrics;
mod retention;
mod server;
mod telemetry;
mod tenant;

use fault::Faults;
use layers::Layers;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use assembly::AssemblySettings;
pub use auth::AuthSettings;
pub use cache::CacheSettings;
pub use cors::CorsSettings;
pub use database::DatabaseSettings;
pub use fault::Fault;
pub use ingest::IngestSettings;
pub use limits::LimitSettings;
pub use live::LiveSettings;
pub use log::{LogAudience, LogFormat, LogSettings};
pub use metrics::MetricsSettings;
pub use retention::RetentionSettings;
pub use server::ServerSettings;
pub use telemetry::TelemetrySettings;
pub use tenant::TenantSettings;

const DEFAULTS: &str = include_str!("../../../config/default.toml");

/// Every setting; `config/default.toml` says what each means.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub server: ServerSettings,
    pub database: DatabaseSettings,
    /// The way of records into the database.
    pub ingest: IngestSettings,
    /// Calls whose telemetry arrives in pieces.
    pub assembly: AssemblySettings,
    pub live: LiveSettings,
    pub cors: CorsSettings,
    pub retention: RetentionSettings,
    pub auth: AuthSettings,
    /// How often credentials may be used.
    pub limits: LimitSettings,
    /// What one tenant may keep and ask.
    pub tenant: TenantSettings,
    pub cache: CacheSettings,
    pub metrics: MetricsSettings,
    pub telemetry: TelemetrySettings,
    pub log: LogSettings,
}

impl Settings {
    /// Reads and checks all settings; the error names every fault.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let (settings, faults) = Self::inspect(file)?;
        match faults.as_slice() {
            [] => Ok(settings),
            faults => Err(anyhow::anyhow!("{}", listed(faults))),
        }
    }

    /// Reads all settings, whether they keep the rules or not; the error names every value of a wrong form.
    pub fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let (settings, faults) = Layers::read(file)?.settings()?;
        match faults.as_slice() {
            [] => Ok(settings),
            faults => Err(anyhow::anyhow!("{}", listed(faults))),
        }
    }

    /// The settings, with defaults in the place of values of a wrong form, and everything that is wrong.
    pub fn inspect(file: Option<&Path>) -> anyhow::Result<(Self, Vec<Fault>)> {
        let layers = Layers::read(file)?;
        let (settings, mut faults) = layers.settings()?;
        for fault in settings.faults() {
            // A default that stands for a faulty value says nothing about what was meant.
            if faults.iter().all(|other| other.key != fault.key) {
                let source = layers.source(&fault.key);
                faults.push(fault.from(source));
            }
        }
        faults.sort_by(|one, other| one.key.cmp(&other.key));
        Ok((settings, faults))
    }

    /// Every rule that the settings break beyond the form of each value.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        self.server.check(&mut faults);
        self.database.check(&mut faults);
        self.ingest.check(&mut faults);
        self.assembly.check(&mut faults);
        self.live.check(&mut faults);
        self.cors.check(&mut faults);
        self.retention.check(&mut faults);
        self.auth.check(&mut faults);
        self.limits.check(&mut faults);
        self.tenant.check(&mut faults);
        self.cache.check(&mut faults);
        self.telemetry.check(&mut faults);
        self.log.check(&mut faults);
        faults.require(
            self.live.sockets_max < self.server.connections_max,
            "live.sockets_max",
            "must be less than server.connections_max, or no request gets through",
        );
        faults.into()
    }

    /// The settings as a file of them, secrets masked.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// Whether the database is a file.
    pub fn is_embedded(&self) -> bool {
        self.database.is_embedded()
    }
}

/// Faults, one a line.
fn listed(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shown in the place of a secret.
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

    #[test]
    fn metrics_are_on_this_machine_alone_by_default() {
        let metrics = read(DEFAULTS).metrics;
        assert!(metrics.is_default_bind() && metrics.bind.is_some_and(|bind| bind.ip().is_loopback()));
    }

    /// A new secret must have the type of one, and not be a plain string.
    #[test]
    fn no_setting_that_sounds_like_a_secret_is_shown() {
        let mut settings: toml::Table = toml::from_str(DEFAULTS).expect("defaults");
        let is_secret = |key: &str| {
            ["url", "endpoint", "password", "secret", "token", "credential", "private"]
                .iter()
                .any(|word| key.contains(word))
                && !key.contains("ttl")
        };
        let mut hidden = 0;
        for (_, keys) in &mut settings {
            let keys = keys.as_table_mut().expect("a section").iter_mut();
            for (key, value) in keys.filter(|(key, value)| is_secret(key) && value.is_str()) {
                let is_url = key.contains("url") || key.contains("endpoint");
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

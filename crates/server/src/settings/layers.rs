//! The layers that settings come from, and every fault of a value: unknown keys, and values of a wrong form. A faulty
//! value is replaced by its default, so that the faults after it are found as well.

use super::fault::{Fault, Source};
use super::{DEFAULTS, Settings};
use anyhow::Context;
use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use std::collections::BTreeMap;
use std::path::Path;

const ENVIRONMENT_PREFIX: &str = "CALLSCOPE";
const ENVIRONMENT_SEPARATOR: &str = "__";
/// What the library calls the origin of variables.
const ENVIRONMENT_ORIGIN: &str = "the environment";
const DATABASE_URL: &str = "DATABASE_URL";
/// How alike a known key must be to be proposed: a letter or two apart.
const LIKENESS_MIN: f64 = 0.75;

/// Values by their keys, such as `server.bind`.
type Values = BTreeMap<String, Value>;

/// All layers, one over the other.
pub(super) struct Layers {
    defaults: Values,
    /// What is in force; unknown keys among them.
    values: Values,
}

impl Layers {
    /// Reads the defaults, a file if there is one, and the environment.
    pub fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let defaults = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        let mut builder = defaults.clone();
        if let Some(file) = file {
            builder = builder.add_source(File::from(file).format(FileFormat::Toml));
        }
        if let Ok(url) = std::env::var(DATABASE_URL) {
            let url = Value::new(Some(&DATABASE_URL.to_owned()), url);
            builder = builder.add_source(Config::builder().set_override("database.url", url)?.build()?);
        }
        let environment = Environment::with_prefix(ENVIRONMENT_PREFIX)
            .prefix_separator(ENVIRONMENT_SEPARATOR)
            .separator(ENVIRONMENT_SEPARATOR);
        let layered = builder.add_source(environment).build().context("cannot read the settings")?;
        Ok(Self { defaults: values(defaults.build()?)?, values: values(layered)? })
    }

    /// Where the value of a key comes from.
    pub fn source(&self, key: &str) -> Source {
        let value = self.values.get(key);
        match value.and_then(origin) {
            None => Source::Default,
            Some(ENVIRONMENT_ORIGIN) => Source::Variable(variable(key, value)),
            Some(DATABASE_URL) => Source::Variable(DATABASE_URL.to_owned()),
            Some(file) => Source::File(file.to_owned()),
        }
    }

    /// The settings, with defaults in the place of faulty values, and the fault of each of these.
    pub fn settings(&self) -> anyhow::Result<(Settings, Vec<Fault>)> {
        let mut faults = Vec::new();
        let mut known = self.defaults.clone();
        for (key, value) in &self.values {
            if self.defaults.contains_key(key) {
                known.insert(key.clone(), value.clone());
            } else {
                faults.push(Fault::new(key, self.unknown(key)).from(self.source(key)));
            }
        }
        // Each turn replaces one value by its default, and the defaults are sound.
        for _ in 0..=self.defaults.len() {
            let mut builder = Config::builder();
            for (key, value) in &known {
                builder = builder.set_override(key, value.clone())?;
            }
            let error = match serde_path_to_error::deserialize(builder.build()?) {
                Ok(settings) => return Ok((settings, faults)),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let key = self.defaults.keys().find(|key| path == **key || path.starts_with(&format!("{key}[")));
            let Some((key, default)) = key.and_then(|key| self.defaults.get_key_value(key)) else {
                anyhow::bail!("setting {path}: {}", message(error.inner()));
            };
            faults.push(Fault::new(key, message(error.inner())).from(self.source(key)));
            known.insert(key.clone(), default.clone());
        }
        anyhow::bail!("the default settings are not sound")
    }

    fn unknown(&self, key: &str) -> String {
        let likeness = |known: &&String| strsim::normalized_damerau_levenshtein(known, key);
        let nearest = self.defaults.keys().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
        match nearest.filter(|known| likeness(known) >= LIKENESS_MIN) {
            Some(known) => format!("unknown setting; is {known} meant?"),
            None => "unknown setting; config/default.toml lists all".to_owned(),
        }
    }
}

/// The values of the two levels of a tree: keys in sections. An empty section stands for itself.
fn values(tree: Config) -> anyhow::Result<Values> {
    let mut values = Values::new();
    for (section, value) in tree.cache.into_table()? {
        match value.kind {
            ValueKind::Table(keys) if !keys.is_empty() => {
                values.extend(keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            _ => {
                values.insert(section, value);
            }
        }
    }
    Ok(values)
}

/// Where a value comes from; of a table, its first value.
fn origin(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::Table(keys) => keys.values().find_map(origin),
        _ => value.origin(),
    }
}

/// The environment's variable of a key; of a table, that of the first key in it.
fn variable(key: &str, value: Option<&Value>) -> String {
    let mut path = vec![key.replace('.', ENVIRONMENT_SEPARATOR)];
    let mut value = value;
    while let Some(ValueKind::Table(keys)) = value.map(|value| &value.kind) {
        let first = keys.iter().min_by_key(|(key, _)| key.as_str());
        path.extend(first.map(|(key, _)| key.clone()));
        value = first.map(|(_, value)| value);
    }
    format!("{ENVIRONMENT_PREFIX}{ENVIRONMENT_SEPARATOR}{}", path.join(ENVIRONMENT_SEPARATOR)).to_uppercase()
}

/// What is wrong with a value, without its key and its origin, which are said beside it.
fn message(error: &ConfigError) -> String {
    match error {
        ConfigError::Type { unexpected, expected, .. } => format!("must be {expected}, not {unexpected}"),
        ConfigError::At { error, .. } => message(error),
        ConfigError::Message(message) => message.clone(),
        other => other.to_string(),
    }
}

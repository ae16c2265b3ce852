//! What is wrong with settings: every fault with its key, so that all can be shown at once.

use std::fmt::Display;
use std::time::Duration;

/// A rule that a setting breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting, such as `server.bind`; for a rule on several, the one to change first.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
    pub source: Source,
}

/// Where the value of a setting comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Compiled in.
    #[default]
    Default,
    /// A variable of the environment, by its name.
    Variable(String),
    /// A file, by its path.
    File(String),
}

impl Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Variable(name) => write!(formatter, "from {name}"),
            Self::File(path) => write!(formatter, "from {path}"),
        }
    }
}

impl Fault {
    pub(super) fn new(key: impl Into<String>, message: impl Display) -> Self {
        Self { key: key.into(), message: message.to_string(), source: Source::default() }
    }

    /// The same fault of a value that comes from there.
    pub(super) fn from(self, source: Source) -> Self {
        Self { source, ..self }
    }
}

impl Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "setting {} ({}): {}", self.key, self.source, self.message)
    }
}

impl std::error::Error for Fault {}

/// Collects faults while sections are checked.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, key: &str, message: impl Display) {
        self.0.push(Fault::new(key, message));
    }

    /// Adds a fault unless the rule holds.
    pub fn require(&mut self, holds: bool, key: &str, must: impl Display) {
        if !holds {
            self.add(key, must);
        }
    }

    pub fn at_least_one(&mut self, key: &str, value: usize) {
        self.require(value > 0, key, "must be at least 1");
    }

    pub fn more_than_zero(&mut self, key: &str, value: Duration) {
        self.require(!value.is_zero(), key, "must be more than 0s");
    }

    /// Adds the fault of a check that names its key.
    pub fn check<T>(&mut self, result: Result<T, Fault>) {
        if let Err(fault) = result {
            self.0.push(fault);
        }
    }
}

impl From<Faults> for Vec<Fault> {
    fn from(faults: Faults) -> Self {
        faults.0
    }
}

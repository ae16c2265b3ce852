//! The settings of the log: `[log]`.

use super::fault::{Fault, Faults};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Pretty,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAudience {
    /// The operator of a server.
    Operator,
    /// The user of a command, which logs problems alone unless the settings ask for more.
    CommandLine,
}

/// The level of a command that was typed, where the settings ask for [`DEFAULT_LEVEL`].
const COMMAND_LEVEL: &str = "warn";
const DEFAULT_LEVEL: &str = "info";

/// Lines of the web server's own. It reports its start, which our own line does better, and as errors what clients do
/// to their connections; a directive in `log.level` that names the target wins.
const FRAMEWORK_LEVELS: &str = "actix_server=warn,actix_http=off";

impl LogSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.check(self.filter(LogAudience::Operator));
    }

    pub fn filter(&self, audience: LogAudience) -> Result<EnvFilter, Fault> {
        let level = match audience {
            LogAudience::CommandLine if self.level == DEFAULT_LEVEL => COMMAND_LEVEL,
            _ => &self.level,
        };
        let filter = EnvFilter::try_new(level).and_then(|filter| match filter.max_level_hint() {
            // A level below the framework's warnings leaves them out.
            Some(hint) if hint < LevelFilter::WARN => Ok(filter),
            _ => EnvFilter::try_new(format!("{FRAMEWORK_LEVELS},{level}")),
        });
        filter.map_err(|error| Fault::new("log.level", format!("{:?} is no level: {error}", self.level)))
    }
}

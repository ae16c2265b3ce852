//! The settings of the log: `[log]`.

use super::fault::{Fault, Faults};
use crate::traces::Traces;
use serde::{Deserialize, Serialize};
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

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

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAudience {
    /// Who runs a server.
    Operator,
    /// Who has typed a command, and wants to hear of problems alone unless the settings ask for more.
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

    fn filter(&self, audience: LogAudience) -> Result<EnvFilter, Fault> {
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

    /// Starts logging to standard error, and to follow requests where that is wanted.
    pub fn start(&self, traces: Option<&Traces>, audience: LogAudience) -> anyhow::Result<()> {
        let filter = self.filter(audience)?;
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

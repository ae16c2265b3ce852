//! The log on standard error, and the spans of requests beside it.

use crate::settings::{LogAudience, LogFormat, LogSettings};
use crate::traces::Traces;
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging to standard error, and following requests if there are traces.
pub fn start(settings: &LogSettings, traces: Option<&Traces>, audience: LogAudience) -> anyhow::Result<()> {
    let filter = settings.filter(audience)?;
    // A filter of the log's own costs every span something, so there is one only where it is needed.
    match traces {
        Some(traces) => {
            let log = lines(settings.format).with_filter(filter);
            tracing_subscriber::registry().with(traces.layer()).with(log).init();
        }
        None => tracing_subscriber::registry().with(filter).with(lines(settings.format)).init(),
    }
    Ok(())
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    // The server must outlive the reader of its standard error: lines that cannot be written are lost, and that is not
    // logged in the same place.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    }
}

//! Believable call records for callscope's demo, benchmarks and end-to-end tests.
//!
//! The crate writes the wire format of the ingestion routes from its own types and depends on no other callscope
//! crate, so that tests have a source of records independent of the code they test. It does no I/O of its own and
//! never reads a clock: the same seed, [`Profile`] and start times give the same records.
//!
//! ```
//! use callscope_synthetic::{Generator, Profile, start_times, write_ndjson};
//! use chrono::{TimeDelta, Utc};
//!
//! let now = Utc::now();
//! let mut generator = Generator::new(7, Profile::default());
//! let calls = start_times(7, now - TimeDelta::days(1), now, 100)
//!     .into_iter()
//!     .map(|started_at| generator.call(started_at));
//! let mut body = Vec::new();
//! write_ndjson(&mut body, calls)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod draws;
mod errors;
mod facts;
mod generator;
mod ndjson;
mod outcomes;
mod profile;
mod providers;
mod record;
mod schedule;
mod story;
mod words;
mod workflows;

#[cfg(test)]
mod tests;

pub use generator::{Generator, LiveCall};
pub use ndjson::write_ndjson;
pub use profile::{Detail, Profile, WORKFLOWS_MAX};
pub use providers::SLOW_MODEL_NAME;
pub use record::{CallRecord, ErrorRecord, ProviderUse, Tags, WorkflowRef};
pub use schedule::{even_start_times, start_times};
pub use story::Story;
pub use words::{CallOutcome, CallStatus, Direction, EndCategory, ErrorLevel, ErrorService, ProviderType};

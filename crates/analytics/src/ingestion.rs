//! The way of records into the database: a bounded queue, and a writer that commits what waits in few transactions and only
//! then answers the requests.

use crate::ports::CallStore;
pub use crate::queue::{IngestLimits, IngestQueue, SubmitError, rows};
pub use crate::writer::Writer;
use std::sync::Arc;

/// A queue, and the writer at its end; nothing is written until [`Writer::run`] is polled.
#[must_use]
pub fn ingestion(store: Arc<dyn CallStore>, limits: IngestLimits) -> (IngestQueue, Writer) {
    let (queue, receiver, is_closing) = IngestQueue::new(limits);
    (queue, Writer::new(store, receiver, is_closing, limits))
}

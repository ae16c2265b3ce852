//! Threads for work on large bodies and batches of records.
//!
//! They have a lower priority than all others: where processors are short, answers and single records come first. No
//! other work has it, since a flood of requests would then stop that work altogether.

use callscope_persistence::lower_priority;
use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

const NICE: i32 = 10;

/// The threads; they end when this is dropped.
pub struct BulkThreads {
    /// Only gone while this is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl BulkThreads {
    /// Starts so many, and others for blocking work when there is some.
    pub fn start(threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("bulk").on_thread_start(|| lower_priority(NICE)).enable_all();
        let runtime = builder.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for BulkThreads {
    fn drop(&mut self) {
        // To wait for it is forbidden where this is dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

//! Priorities of threads.

use rustix::process::{getpriority_process, setpriority_process};

/// Gives the calling thread a nice value, on Linux to it alone. Where that is not allowed, or the process has a higher
/// one, it stays as it is.
pub fn lower_priority(nice: i32) {
    if matches!(getpriority_process(None), Ok(present) if present < nice) {
        let _ = setpriority_process(None, nice);
    }
}

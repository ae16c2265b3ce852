//! Who goes first where processors are short.

use rustix::process::{getpriority_process, setpriority_process};

/// The niceness of what can wait; questions have that of the process, usually 0.
const LESS_URGENT: i32 = 10;

/// Makes the calling thread, and those that it starts, give way to the threads that answer questions: for threads that
/// parse and write records, thousands at a time, for whoever can wait.
pub fn yield_to_questions() {
    // Of this thread alone, on Linux. Where it is not allowed, or the process yields more already, they are equals.
    if matches!(getpriority_process(None), Ok(niceness) if niceness < LESS_URGENT) {
        let _ = setpriority_process(None, LESS_URGENT);
    }
}

//! From the report of a recording to the fact that an assembly takes.

use super::SessionReport;
use crate::extraction::{SessionEnd, session_report};
use crate::facts::{AssemblyKey, Fact};
use chrono::{DateTime, Utc};

impl SessionReport {
    /// The fact of this report, and its call. `None` if it names no job, or if its time is implausible.
    #[must_use]
    pub fn into_fact(self, received_at: DateTime<Utc>) -> Option<(AssemblyKey, Fact)> {
        let end = SessionEnd {
            room_id: &self.room_id,
            job_id: &self.job_id,
            agent_name: self.agent_name.as_deref().unwrap_or_default(),
            ended_at_us: self.ended_at.timestamp_micros(),
            duration_us: (self.ended_at - self.started_at).num_microseconds()?,
        };
        session_report(&end, self.session, received_at)
    }
}

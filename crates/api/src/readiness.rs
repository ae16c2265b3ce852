//! Whether the database answers, for health checks.

use crate::problem::Problem;
use callscope_analytics::service::Analytics;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Whether the database answered lately, so that many probes ask it once.
pub struct Readiness {
    age_max: Duration,
    last: Mutex<Option<(Instant, Result<(), Problem>)>>,
}

impl Readiness {
    /// Answers are kept for so long; zero: each probe asks the database.
    pub fn new(age_max: Duration) -> Self {
        Self { age_max, last: Mutex::new(None) }
    }

    /// Asks the database, or gives its latest answer.
    pub async fn check(&self, analytics: &Analytics) -> Result<(), Problem> {
        if self.age_max.is_zero() {
            return Ok(analytics.ping().await?);
        }
        // Held while the database is asked: probes that arrive meanwhile share the answer.
        let mut last = self.last.lock().await;
        match &*last {
            Some((asked_at, answer)) if asked_at.elapsed() < self.age_max => answer.clone(),
            _ => {
                let asked_at = Instant::now();
                let answer = analytics.ping().await.map_err(Problem::from);
                *last = Some((asked_at, answer.clone()));
                answer
            }
        }
    }
}

//! Figures that are followed: each question of a tenant is asked once, however many follow it.

use crate::live::messages::FiguresMessage;
use crate::problem::{Problem, ProblemCode};
use crate::responses::{CallVolumeResponse, SummaryResponse};
use callscope_analytics::clock::Clock;
use callscope_analytics::live::Live;
use callscope_analytics::ports::StoreError;
use callscope_analytics::service::{Analytics, ServiceError};
use callscope_domain::{Dimension, Filter, Period, Slug, TenantId, VolumeInterval, Window, Zone};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::to_raw_value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The shortest time between two answers to one question.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// How much longer without a commit: a window ends now, so its figures change by themselves.
const QUIET_MAX: Duration = Duration::from_secs(9);

/// Questions of one tenant that may be followed at one time: each is asked once a second.
const QUESTIONS_MAX: usize = 100;

/// Why a question cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Too many others of the tenant are.
    #[error("too many different questions of this tenant are followed; ask for fewer workflows")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FollowError> for Problem {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::TooMany => Self::new(ProblemCode::Overloaded, error.to_string()),
            FollowError::Store(error) => error.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// As the endpoint `summary` has them.
    Summary,
    /// As the endpoint `call-volume` has them, by the hour.
    CallVolume,
}

/// An analytics request that is repeated for its subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub topic: Topic,
    pub period: Period,
    /// Of which workflow; of all if none.
    pub workflow: Option<Slug>,
}

/// The latest answer, as it is written; none before the first.
pub type Answers = watch::Receiver<Option<Arc<str>>>;

type Board = watch::Sender<Option<Arc<str>>>;

/// The figures with subscribers. Cheap to clone.
#[derive(Clone)]
pub struct Boards {
    shared: Arc<Shared>,
}

struct Shared {
    analytics: Analytics,
    live: Live,
    clock: Arc<dyn Clock>,
    boards: Mutex<HashMap<(TenantId, Question), Board>>,
    runtime: Handle,
}

impl Boards {
    /// No questions. Must be called inside the runtime that they are to be asked on.
    #[must_use]
    pub fn new(analytics: Analytics, live: Live, clock: Arc<dyn Clock>) -> Self {
        let (boards, runtime) = (Mutex::default(), Handle::current());
        Self { shared: Arc::new(Shared { analytics, live, clock, boards, runtime }) }
    }

    pub async fn follow(&self, tenant: TenantId, question: Question) -> Result<Answers, FollowError> {
        let key = (tenant, question);
        if let Some(board) = self.shared.boards.lock().get(&key) {
            return Ok(board.subscribe());
        }
        let (commits, closing) = self.shared.live.watch_commits(tenant).await?;
        let mut boards = self.shared.boards.lock();
        if !boards.contains_key(&key) && boards.keys().filter(|(of, _)| *of == tenant).count() >= QUESTIONS_MAX {
            return Err(FollowError::TooMany);
        }
        // Another task may have been faster.
        let board = boards.entry(key.clone()).or_insert_with(|| {
            let shared = Arc::clone(&self.shared);
            let board = watch::Sender::new(None);
            let answers = board.clone();
            self.shared.runtime.spawn(async move { shared.run(key, answers, commits, closing).await });
            board
        });
        Ok(board.subscribe())
    }
}

impl Shared {
    /// Reloads after commits and at intervals, until there are no subscribers.
    async fn run(
        &self,
        key: (TenantId, Question),
        answers: Board,
        mut commits: watch::Receiver<u64>,
        mut closing: watch::Receiver<bool>,
    ) {
        let (tenant, question) = &key;
        loop {
            match self.answer(*tenant, question).await {
                Ok(answer) => {
                    answers.send_if_modified(|known| {
                        let is_new = known.as_ref() != Some(&answer);
                        *known = Some(answer);
                        is_new
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "figures that are followed come late");
                }
            }
            let pause = async {
                tokio::time::sleep(ANSWER_INTERVAL).await;
                // What changed during the pause counts.
                let _ = tokio::time::timeout(QUIET_MAX, commits.changed()).await;
            };
            tokio::select! {
                () = pause => {}
                _ = closing.wait_for(|&is_closing| is_closing) => {
                    self.boards.lock().remove(&key);
                    return;
                }
            }
            let mut boards = self.boards.lock();
            if answers.receiver_count() == 0 {
                boards.remove(&key);
                return;
            }
        }
    }

    async fn answer(&self, tenant: TenantId, question: &Question) -> Result<Arc<str>, ServiceError> {
        let now = self.clock.now();
        // A window that ends now cannot be empty.
        let window =
            Window::resolve(question.period, None, None, now).map_err(|fault| StoreError::Broken(fault.into()))?;
        let of_workflow = |slug: &Slug| Filter::is(Dimension::Workflow, slug.as_str());
        let filters = question.workflow.iter().map(of_workflow).collect();
        let period = question.period.as_str();
        Ok(match question.topic {
            Topic::Summary => {
                let figures = self.analytics.summary(tenant, window, filters).await?;
                text("summary", period, &SummaryResponse::from(&figures))
            }
            Topic::CallVolume => {
                let interval = VolumeInterval::Hour;
                let zone = Zone::default();
                let figures = self.analytics.call_volume(tenant, window, interval.into(), zone, filters).await?;
                text("call-volume", period, &CallVolumeResponse::new(interval, &figures))
            }
        })
    }
}

fn text(topic: &'static str, period: &'static str, figures: &impl Serialize) -> Arc<str> {
    let written =
        to_raw_value(figures).and_then(|data| serde_json::to_string(&FiguresMessage { topic, period, data: &data }));
    written.unwrap_or_default().into()
}

//! Questions go before records: work on records pauses while a question is being answered.
//!
//! Urgent threads do not always run at once: Linux lets the others finish their slice, several milliseconds, at each of
//! the steps from a request to its answer. A processor that is idle runs them at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Items after which work looks whether it should pause: a fraction of a millisecond of work.
const STRIDE: usize = 32;
/// How often a pause looks whether it is over.
const GLANCE: Duration = Duration::from_micros(100);
/// The longest pause; few questions take longer.
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// Counts the questions that are being answered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    asked: Arc<AtomicUsize>,
}

impl Questions {
    /// Those of this process, whose threads share its processors.
    #[must_use]
    pub fn here() -> &'static Self {
        static HERE: LazyLock<Questions> = LazyLock::new(Questions::default);
        &HERE
    }

    /// One more, until the guard is dropped.
    #[must_use]
    pub fn begin(&self) -> Asking {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Asking { asked: Arc::clone(&self.asked) }
    }

    /// The same items, for a loop that keeps a processor busy: between some of them it blocks while a question is being
    /// answered, but in the long run no longer than it works.
    pub fn go_before<T, I: IntoIterator<Item = T>>(&self, items: I) -> impl Iterator<Item = T> + use<T, I> {
        let mut work = self.work();
        items.into_iter().enumerate().map(move |(index, item)| {
            if index % STRIDE == 0 {
                work.pause();
            }
            item
        })
    }

    /// Work that goes on by steps.
    #[must_use]
    pub fn work(&self) -> Work {
        Work { questions: self.clone(), began: Instant::now(), credit: Duration::ZERO }
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }
}

/// A question that is being answered.
#[derive(Debug)]
pub struct Asking {
    asked: Arc<AtomicUsize>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Work that pauses while a question is being answered, but in the long run no longer than it works.
pub struct Work {
    questions: Questions,
    began: Instant,
    /// How long it may pause: as long as it has worked since it did.
    credit: Duration,
}

impl Work {
    /// Ends a step on a thread that others share: lets their tasks have their turn, and pauses.
    pub async fn give_way(&mut self) {
        tokio::task::yield_now().await;
        let Some(paused) = self.stop() else { return };
        while self.is_to_wait(paused) {
            tokio::time::sleep(GLANCE).await;
        }
        self.go_on(paused);
    }

    /// Ends a step on a thread of its own.
    fn pause(&mut self) {
        let Some(paused) = self.stop() else { return };
        while self.is_to_wait(paused) {
            sleep(GLANCE);
        }
        self.go_on(paused);
    }

    /// The beginning of a pause, if there is to be one.
    fn stop(&mut self) -> Option<Instant> {
        let paused = self.questions.is_asked().then(Instant::now)?;
        self.credit = PAUSE_MAX.min(self.credit + (paused - self.began));
        Some(paused)
    }

    fn is_to_wait(&self, paused: Instant) -> bool {
        self.questions.is_asked() && paused.elapsed() < self.credit
    }

    fn go_on(&mut self, paused: Instant) {
        self.began = Instant::now();
        self.credit = self.credit.saturating_sub(self.began - paused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_counts_until_it_is_answered() {
        let questions = Questions::default();
        let (one, other) = (questions.begin(), questions.clone().begin());
        drop(one);
        assert!(questions.is_asked());
        drop(other);
        assert!(!questions.is_asked());
    }

    #[test]
    fn every_item_comes_in_order_even_while_questions_never_end() {
        let questions = Questions::default();
        let _asking = questions.begin();
        let items = 0..10 * STRIDE;
        assert!(questions.go_before(items.clone()).eq(items));
    }

    #[test]
    fn work_pauses_while_a_question_is_being_answered_and_no_longer_than_it_has_worked() {
        let questions = Questions::default();
        let mut work = questions.work();
        let _asking = questions.begin();
        for worked in [Duration::ZERO, Duration::from_millis(2), Duration::from_mins(1)] {
            work.began = work.began.checked_sub(worked).unwrap();
            let paused = Instant::now();
            work.pause();
            assert!(paused.elapsed() >= worked.min(PAUSE_MAX));
            assert_eq!(work.credit, Duration::ZERO, "it has paused for as long as it may");
        }
    }
}

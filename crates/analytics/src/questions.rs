//! Questions go before records: work on records pauses while a question is being answered.
//!
//! Urgent threads do not always run at once: Linux lets the others finish their slice, several milliseconds, at each of
//! the steps from a request to its answer. A processor that is idle runs them at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{sleep, yield_now};
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

    /// The same items, for a loop that keeps a processor busy: between some of them it lets threads run that wait for the
    /// processor, and blocks while a question is being answered; but in the long run no longer than it works.
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
        Work { questions: self.clone(), began: Instant::now(), credit: Duration::ZERO, debt: Duration::ZERO }
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
    /// How much longer than that it paused, against its will.
    debt: Duration,
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

    /// Ends a step on a thread that only such work shares: blocks it.
    pub fn pause(&mut self) {
        let Some(paused) = self.stop() else { return };
        // To whoever is about to ask, as well.
        yield_now();
        while self.is_to_wait(paused) {
            sleep(GLANCE);
        }
        self.go_on(paused);
    }

    /// The beginning of a pause, if there may be one.
    fn stop(&mut self) -> Option<Instant> {
        let paused = Instant::now();
        let worked = paused - self.began;
        self.began = paused;
        self.credit = PAUSE_MAX.min(self.credit + worked.saturating_sub(self.debt));
        self.debt = self.debt.saturating_sub(worked);
        (!self.credit.is_zero()).then_some(paused)
    }

    fn is_to_wait(&self, paused: Instant) -> bool {
        self.questions.is_asked() && paused.elapsed() < self.credit
    }

    fn go_on(&mut self, paused: Instant) {
        self.began = Instant::now();
        let took = self.began - paused;
        self.debt += took.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(took);
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
            // The pause before may have been a little too long.
            let (due, paused) = (worked.saturating_sub(work.debt).min(PAUSE_MAX), Instant::now());
            work.pause();
            assert!(paused.elapsed() >= due);
            assert_eq!(work.credit, Duration::ZERO, "it has paused for as long as it may");
        }
    }

    #[test]
    fn a_pause_that_took_too_long_is_worked_off_first() {
        let questions = Questions::default();
        let mut work = questions.work();
        let _asking = questions.begin();
        work.debt = Duration::from_mins(2);
        work.began = work.began.checked_sub(Duration::from_mins(1)).unwrap();
        work.pause();
        assert_eq!(work.credit, Duration::ZERO);
        assert!(work.debt <= Duration::from_mins(1), "{:?} are left", work.debt);
        work.began = work.began.checked_sub(Duration::from_mins(1)).unwrap();
        work.debt = Duration::from_secs(59);
        let paused = Instant::now();
        work.pause();
        assert!(paused.elapsed() >= PAUSE_MAX);
    }
}

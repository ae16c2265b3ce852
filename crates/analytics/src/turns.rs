//! Turns at work that only few may do at one time: each waits in the line of its holder (a tenant), and the lines are
//! served in rotation, so that a long line delays its own holder alone.

use callscope_domain::TenantId;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    pub max: usize,
    pub holder_max: usize,
    pub waiting_max: usize,
    pub timeout: Duration,
}

/// A semaphore whose permits are handed out to holders in rotation.
pub struct Turns<K: Clone + Eq + Hash = TenantId> {
    lines: Mutex<Lines<K>>,
    limits: TurnLimits,
}

struct Lines<K: Clone + Eq + Hash> {
    lent: usize,
    by_holder: HashMap<K, Line<K>>,
    /// Holders with waiting requests, the next one first.
    rotation: VecDeque<K>,
}

struct Line<K: Clone + Eq + Hash> {
    lent: usize,
    waiting: VecDeque<oneshot::Sender<Turn<K>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTurn {
    #[error("too many requests wait for their turn")]
    LineFull,
    #[error("the turn did not come in time")]
    TimedOut,
}

impl<K: Clone + Eq + Hash> Turns<K> {
    #[must_use]
    pub fn new(limits: TurnLimits) -> Arc<Self> {
        let lines = Lines { lent: 0, by_holder: HashMap::new(), rotation: VecDeque::new() };
        Arc::new(Self { lines: Mutex::new(lines), limits })
    }

    /// Waits for a turn, which ends when it is dropped.
    pub async fn take(self: &Arc<Self>, holder: K) -> Result<Turn<K>, NoTurn> {
        let waiting = match self.enter(holder)? {
            Entered::Turn(turn) => return Ok(turn),
            Entered::Line(waiting) => waiting,
        };
        match tokio::time::timeout(self.limits.timeout, waiting).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(NoTurn::TimedOut),
        }
    }

    #[must_use]
    pub fn lent(&self) -> usize {
        self.lock().lent
    }

    fn enter(self: &Arc<Self>, holder: K) -> Result<Entered<K>, NoTurn> {
        let mut lines = self.lock();
        let is_free = lines.lent < self.limits.max;
        let line = lines.by_holder.entry(holder.clone()).or_insert_with(|| Line { lent: 0, waiting: VecDeque::new() });
        if is_free && line.lent < self.limits.holder_max && line.waiting.is_empty() {
            line.lent += 1;
            lines.lent += 1;
            return Ok(Entered::Turn(Turn { turns: Arc::clone(self), holder }));
        }
        // Before those that left the line go, as they are what put the line there.
        let is_in_rotation = !line.waiting.is_empty();
        if line.waiting.len() >= self.limits.waiting_max {
            // Requests that were cancelled stay in line until the next release.
            line.waiting.retain(|waiting| !waiting.is_closed());
        }
        if line.waiting.len() >= self.limits.waiting_max {
            return Err(NoTurn::LineFull);
        }
        let (sender, receiver) = oneshot::channel();
        line.waiting.push_back(sender);
        if !is_in_rotation {
            lines.rotation.push_back(holder);
        }
        Ok(Entered::Line(receiver))
    }

    fn give_back(self: &Arc<Self>, holder: &K) {
        let mut lines = self.lock();
        lines.lent -= 1;
        if let Some(line) = lines.by_holder.get_mut(holder) {
            line.lent -= 1;
            if line.lent == 0 && line.waiting.is_empty() {
                lines.by_holder.remove(holder);
            }
        }
        let next = lines.next(self.limits);
        // Sent without the lock: a turn whose receiver is gone is given back at once.
        drop(lines);
        for (holder, waiting) in next {
            let _ = waiting.send(Turn { turns: Arc::clone(self), holder });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines<K>> {
        self.lines.lock()
    }
}

enum Entered<K: Clone + Eq + Hash> {
    Turn(Turn<K>),
    Line(oneshot::Receiver<Turn<K>>),
}

impl<K: Clone + Eq + Hash> Lines<K> {
    /// Lends the turns that are free to those that wait: one of each line, then the next of each.
    fn next(&mut self, limits: TurnLimits) -> Vec<(K, oneshot::Sender<Turn<K>>)> {
        let mut next = Vec::new();
        // Lines of holders that have all the turns they may have are passed over.
        let mut passed_over = 0;
        while self.lent < limits.max
            && passed_over < self.rotation.len()
            && let Some(holder) = self.rotation.pop_front()
        {
            let Some(line) = self.by_holder.get_mut(&holder) else { continue };
            if line.lent >= limits.holder_max {
                self.rotation.push_back(holder);
                passed_over += 1;
                continue;
            }
            while let Some(waiting) = line.waiting.pop_front() {
                if !waiting.is_closed() {
                    line.lent += 1;
                    self.lent += 1;
                    next.push((holder.clone(), waiting));
                    break;
                }
            }
            if !line.waiting.is_empty() {
                self.rotation.push_back(holder);
                passed_over = 0;
            } else if line.lent == 0 {
                self.by_holder.remove(&holder);
            }
        }
        next
    }
}

/// A permit, released on drop.
pub struct Turn<K: Clone + Eq + Hash = TenantId> {
    turns: Arc<Turns<K>>,
    holder: K,
}

impl<K: Clone + Eq + Hash + fmt::Debug> fmt::Debug for Turn<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Turn").field(&self.holder).finish()
    }
}

impl<K: Clone + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        self.turns.give_back(&self.holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::Pin;

    const LIMITS: TurnLimits = TurnLimits { max: 1, holder_max: 1, waiting_max: 3, timeout: Duration::from_secs(5) };

    type Waiting = Pin<Box<dyn Future<Output = Result<Turn<&'static str>, NoTurn>>>>;

    /// Waits in line; polled once, so that it stands there.
    fn wait(turns: &Arc<Turns<&'static str>>, holder: &'static str) -> Waiting {
        let turns = Arc::clone(turns);
        let mut waiting: Waiting = Box::pin(async move { turns.take(holder).await });
        assert!((&mut waiting).now_or_never().is_none(), "it has to wait");
        waiting
    }

    async fn take(turns: &Arc<Turns<&'static str>>, holder: &'static str) -> Turn<&'static str> {
        turns.take(holder).await.expect("a turn")
    }

    #[tokio::test]
    async fn a_long_line_delays_its_own_holder_only() {
        let turns = Turns::new(LIMITS);
        let turn = take(&turns, "acme").await;
        let mut acme = [wait(&turns, "acme"), wait(&turns, "acme")];
        let mut globex = wait(&turns, "globex");
        drop(turn);
        let turn = (&mut acme[0]).now_or_never().expect("the first in line");
        assert!((&mut globex).now_or_never().is_none());
        drop(turn);
        let turn = globex.now_or_never().expect("then the other holder");
        assert!((&mut acme[1]).now_or_never().is_none());
        drop(turn);
        drop((&mut acme[1]).now_or_never().expect("then the first again"));
        assert!(turns.lent() == 0 && turns.lock().by_holder.is_empty());
    }

    #[tokio::test]
    async fn a_holder_has_at_most_its_part_of_the_turns() {
        let turns = Turns::new(TurnLimits { max: 4, holder_max: 2, ..LIMITS });
        let first = [take(&turns, "acme").await, take(&turns, "acme").await];
        let mut third = wait(&turns, "acme");
        let other = take(&turns, "globex").await;
        drop(other);
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_line_is_bounded_and_those_that_left_it_do_not_count() {
        let turns = Turns::new(LIMITS);
        let turn = take(&turns, "acme").await;
        let line = [wait(&turns, "acme"), wait(&turns, "acme"), wait(&turns, "acme")];
        assert_eq!(turns.take("acme").await.err(), Some(NoTurn::LineFull));
        drop(line);
        let next = wait(&turns, "acme");
        drop(turn);
        assert!(next.now_or_never().is_some());
        assert!(turns.lent() == 0 && turns.lock().by_holder.is_empty());
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_goes_to_the_next() {
        let turns = Turns::new(LIMITS);
        let turn = take(&turns, "acme").await;
        let (given_up, next) = (wait(&turns, "acme"), wait(&turns, "globex"));
        drop(turn);
        // It has been lent already.
        drop(given_up);
        assert!(next.now_or_never().is_some());
        assert_eq!(turns.lent(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends() {
        let turns = Turns::new(LIMITS);
        let _turn = take(&turns, "acme").await;
        assert_eq!(turns.take("globex").await.err(), Some(NoTurn::TimedOut));
    }
}

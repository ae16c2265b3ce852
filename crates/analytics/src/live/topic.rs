//! One tenant's topic: the task that reads new events and sends them to all followers.

use super::{DeliveredEvent, PAGE_EVENTS, Shared, TopicMessage};
use crate::ports::{StoreError, source};
use callscope_domain::{EventId, TenantId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, broadcast, watch};
use tokio::time::Instant;

/// Messages that a follower may be behind before it loses some.
const BACKLOG_MAX: usize = 1024;
/// How long a topic waits for an announcement before it polls.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The delay between an announcement and the poll, so that a burst of commits causes one poll.
const COALESCE_DELAY: Duration = Duration::from_millis(10);

/// The subscriptions to one tenant's events.
pub(super) struct Topic {
    pub is_ready: OnceCell<()>,
    pub position: Mutex<Position>,
    pub messages: broadcast::Sender<TopicMessage>,
    /// Counts polls that an announcement caused or that found something.
    pub commits: watch::Sender<u64>,
    pub announced: Notify,
}

/// Where the topic is: what has been sent to all followers.
#[derive(Clone, Copy, Default)]
pub(super) struct Position {
    pub last: EventId,
    pub active_calls: u64,
}

impl Default for Topic {
    fn default() -> Self {
        let (messages, commits) = (broadcast::Sender::new(BACKLOG_MAX), watch::Sender::new(0));
        Self { is_ready: OnceCell::new(), position: Mutex::default(), messages, commits, announced: Notify::new() }
    }
}

impl Topic {
    pub async fn run(&self, shared: &Shared, tenant: TenantId) {
        let mut closing = shared.closing.subscribe();
        let mut is_connected = true;
        let mut quota = DeliveryQuota::new(shared.deliveries_per_second);
        loop {
            let is_announced = tokio::select! {
                () = self.announced.notified() => true,
                () = tokio::time::sleep(POLL_INTERVAL) => false,
                _ = closing.wait_for(|&is_closing| is_closing) => return,
            };
            if self.leave(shared, tenant) {
                return;
            }
            if is_announced {
                tokio::time::sleep(COALESCE_DELAY).await;
            }
            match self.poll(shared, tenant, &mut quota).await {
                Ok(is_news) => {
                    is_connected = true;
                    if is_announced || is_news {
                        self.commits.send_modify(|polls| *polls += 1);
                    }
                }
                Err(error) => {
                    if std::mem::take(&mut is_connected) {
                        tracing::warn!(error = source(&error), "events are delivered late; will try again");
                    }
                }
            }
        }
    }

    /// Removes the topic if it has no subscriptions.
    fn leave(&self, shared: &Shared, tenant: TenantId) -> bool {
        let mut topics = shared.topics.lock();
        let is_idle = self.messages.receiver_count() == 0 && self.commits.receiver_count() == 0;
        if is_idle {
            topics.remove(&tenant);
        }
        is_idle
    }

    /// Sends new events and a changed count of active calls to the followers; returns whether there were any.
    async fn poll(&self, shared: &Shared, tenant: TenantId, quota: &mut DeliveryQuota) -> Result<bool, StoreError> {
        let mut is_news = false;
        loop {
            let last = self.position.lock().last;
            let mut page = shared.events.load_events(tenant, last, PAGE_EVENTS).await?;
            let found = page.len();
            is_news |= found > 0;
            page.truncate(quota.take(found, self.messages.receiver_count()));
            let is_cut = page.len() < found;
            // Events past the quota are not loaded.
            let skip_to = if is_cut { Some(shared.events.find_event_range(tenant).await?.last) } else { None };
            let mut position = self.position.lock();
            for numbered in page {
                position.last = numbered.id;
                // It fails if the last follower has left.
                let _ = self.messages.send(TopicMessage::Event(Arc::new(DeliveredEvent::new(numbered))));
            }
            if let Some(last) = skip_to {
                position.last = last;
                let _ = self.messages.send(TopicMessage::SkippedTo(last));
            }
            if is_cut || found < PAGE_EVENTS as usize {
                break;
            }
        }
        let active_calls = shared.counts.count_active_calls(tenant).await?;
        let mut position = self.position.lock();
        if position.active_calls != active_calls {
            position.active_calls = active_calls;
            is_news = true;
            let _ = self.messages.send(TopicMessage::ActiveCount(active_calls));
        }
        Ok(is_news)
    }
}

/// Bounds the deliveries of a topic: a token bucket that holds those of one second. Without it, ingestion at full speed
/// with a thousand followers would cost a thousand deliveries a call.
struct DeliveryQuota {
    per_second: f64,
    saved: f64,
    at: Instant,
}

impl DeliveryQuota {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, saved: per_second, at: Instant::now() }
    }

    /// Returns how many of the events may be delivered to the followers. One event may be delivered to any number of
    /// them if nothing was delivered for a second.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of events")]
    fn take(&mut self, events: usize, followers: usize) -> usize {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.saved = (self.saved + earned).min(self.per_second);
        let price = followers.max(1) as f64;
        let is_full = self.saved >= self.per_second;
        let affordable = (self.saved.max(0.0) / price).floor().max(if is_full { 1.0 } else { 0.0 });
        let taken = affordable.min(events as f64);
        self.saved -= taken * price;
        taken as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deliveries_are_bounded_by_the_second_and_one_event_always_passes() {
        let mut quota = DeliveryQuota::new(100);
        assert_eq!(quota.take(7, 10), 7);
        assert_eq!(quota.take(7, 10), 3);
        assert_eq!(quota.take(7, 10), 0);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(quota.take(7, 10), 2);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(quota.take(2, 5000), 1);
        assert_eq!(quota.take(2, 5000), 0);
        // Delivering one event to 5,000 took 50 seconds' worth.
        tokio::time::advance(Duration::from_secs(49)).await;
        assert_eq!(quota.take(1, 5000), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(quota.take(1, 5000), 1);
    }
}

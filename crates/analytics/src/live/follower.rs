//! A subscription to one tenant's events.

use super::{DeliveredEvent, LiveMessage, PAGE_EVENTS, Shared, TopicMessage};
use crate::ports::{NumberedEvent, StoreError};
use callscope_domain::{EventId, TenantId};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// A subscription to a tenant's calls.
pub struct Follower {
    /// The last event when the subscription began.
    pub cursor: EventId,
    pub active_calls: u64,
    /// Whether the requested events are no longer stored, so that the subscription begins at `cursor`.
    pub is_reset: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) tenant: TenantId,
    /// The last event that was delivered or skipped.
    pub(super) last: EventId,
    /// Missed events, which are delivered first.
    pub(super) page: VecDeque<NumberedEvent>,
    pub(super) messages: broadcast::Receiver<TopicMessage>,
    pub(super) closing: watch::Receiver<bool>,
}

impl Follower {
    /// The next message; none when the server shuts down. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<LiveMessage>, StoreError> {
        loop {
            if let Some(numbered) = self.page.pop_front() {
                // Events in between were deleted meanwhile.
                if numbered.id.0 > self.last.0 + 1 {
                    let missed = self.skip_to(EventId(numbered.id.0 - 1));
                    self.page.push_front(numbered);
                    return Ok(Some(missed));
                }
                return Ok(Some(self.deliver(Arc::new(DeliveredEvent::new(numbered)))));
            }
            if self.last < self.cursor {
                let turn = self.shared.replays.take(self.tenant).await.map_err(|_| StoreError::Overloaded)?;
                let page = self.shared.events.load_events(self.tenant, self.last, PAGE_EVENTS).await?;
                drop(turn);
                self.page = page.into_iter().take_while(|numbered| numbered.id <= self.cursor).collect();
                if self.page.is_empty() {
                    // Deleted meanwhile.
                    return Ok(Some(self.skip_to(self.cursor)));
                }
                continue;
            }
            let received = tokio::select! {
                received = self.messages.recv() => received,
                _ = self.closing.wait_for(|&is_closing| is_closing) => return Ok(None),
            };
            match received {
                // Delivered before, by a server that was ahead of this one.
                Ok(TopicMessage::Event(event)) if event.numbered.id <= self.last => {}
                Ok(TopicMessage::Event(event)) if event.numbered.id.0 > self.last.0 + 1 => {
                    // The event itself comes next.
                    let missed = self.skip_to(EventId(event.numbered.id.0 - 1));
                    self.page.push_back(event.numbered.clone());
                    return Ok(Some(missed));
                }
                Ok(TopicMessage::Event(event)) => return Ok(Some(self.deliver(event))),
                Ok(TopicMessage::ActiveCount(count)) => return Ok(Some(LiveMessage::ActiveCount(count))),
                Ok(TopicMessage::SkippedTo(last)) if last > self.last => return Ok(Some(self.skip_to(last))),
                // The number of the next event says how many were missed.
                Ok(TopicMessage::SkippedTo(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(None),
            }
        }
    }

    fn deliver(&mut self, event: Arc<DeliveredEvent>) -> LiveMessage {
        self.last = event.numbered.id;
        LiveMessage::Event(event)
    }

    fn skip_to(&mut self, last: EventId) -> LiveMessage {
        let missed = last.0 - self.last.0;
        self.last = last;
        LiveMessage::Dropped(missed)
    }
}

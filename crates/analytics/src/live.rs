//! Live call events. Followers of a tenant receive every committed event, whichever server process committed it.
//!
//! Events are rows, written in the transaction that they describe. A tenant with followers has a topic: one task that
//! reads the rows after the last one it has sent, whenever a commit is announced, and sends them to all followers. An
//! announcement only says that there may be new rows; one that is lost delays them by a second.

mod follower;
mod topic;

pub use follower::Follower;

use crate::ports::{AnalyticsStore, EventRange, EventStore, NumberedEvent, StoreError, source};
use crate::turns::{TurnLimits, Turns};
use callscope_domain::{EventId, TenantId};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use topic::{Position, Topic};

/// Pages of missed events are read a few at a time, and of one tenant fewer: a client that has missed much comes with one
/// request, which no limit of requests bounds.
const REPLAYS: TurnLimits = TurnLimits { max: 4, holder_max: 2, waiting_max: 10_000, timeout: Duration::from_mins(1) };

const PAGE_EVENTS: u32 = 500;
/// The pause before a lost connection to the other processes is made again.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);
/// Announcements of other processes that may be queued.
const ANNOUNCEMENTS_MAX: usize = 1024;

/// Tenants with commits that are not yet announced: at most as many as there are tenants. Cheap to clone.
#[derive(Clone, Default)]
pub struct Commits {
    waiting: Arc<(Mutex<BTreeSet<TenantId>>, Notify)>,
}

impl Commits {
    /// Notes that a batch of a tenant was committed.
    pub fn add(&self, tenant: TenantId) {
        self.waiting.0.lock().insert(tenant);
        self.waiting.1.notify_one();
    }

    async fn take(&self) -> BTreeSet<TenantId> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.0.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.waiting.1.notified().await;
        }
    }
}

/// A message to a follower.
#[derive(Clone, Debug)]
pub enum LiveMessage {
    Event(Arc<DeliveredEvent>),
    /// The number of active calls has changed.
    ActiveCount(u64),
    /// The number of events that were skipped: the follower was too slow, or there were too many events for the quota.
    Dropped(i64),
}

/// A message of a topic to its followers.
#[derive(Clone, Debug)]
enum TopicMessage {
    Event(Arc<DeliveredEvent>),
    ActiveCount(u64),
    /// Events up to this one are skipped.
    SkippedTo(EventId),
}

/// An event for many followers. Its wire format is made once.
#[derive(Debug)]
pub struct DeliveredEvent {
    pub numbered: NumberedEvent,
    wire: OnceLock<Arc<str>>,
}

impl DeliveredEvent {
    const fn new(numbered: NumberedEvent) -> Self {
        Self { numbered, wire: OnceLock::new() }
    }

    /// The event in wire format, which the first caller makes.
    pub fn wire(&self, write: impl FnOnce(&NumberedEvent) -> String) -> Arc<str> {
        Arc::clone(self.wire.get_or_init(|| write(&self.numbered).into()))
    }
}

/// Subscriptions to call events. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

struct Shared {
    events: Arc<dyn EventStore>,
    counts: Arc<dyn AnalyticsStore>,
    /// Of tenants with followers.
    topics: Mutex<HashMap<TenantId, Arc<Topic>>>,
    closing: watch::Sender<bool>,
    runtime: Handle,
    deliveries_per_second: u32,
    /// Permits for reading pages of missed events.
    replays: Arc<Turns>,
}

impl Live {
    /// `deliveries_per_second` bounds the deliveries of each tenant; an event counts once for each follower. Must be
    /// called inside the runtime that topics are to run on.
    #[must_use]
    pub fn new(events: Arc<dyn EventStore>, counts: Arc<dyn AnalyticsStore>, deliveries_per_second: u32) -> Self {
        let (topics, closing, runtime) = (Mutex::default(), watch::Sender::new(false), Handle::current());
        let replays = Turns::new(REPLAYS);
        Self { shared: Arc::new(Shared { events, counts, topics, closing, runtime, deliveries_per_second, replays }) }
    }

    /// Announces commits to topics and to other processes, and receives theirs. Never returns.
    pub async fn run(self, commits: Commits) {
        let (sender, mut announcements) = mpsc::channel(ANNOUNCEMENTS_MAX);
        let listening = async {
            loop {
                if let Err(error) = self.shared.events.listen(sender.clone()).await {
                    tracing::warn!(
                        error = source(&error),
                        "announcements of other processes are not received; will try again"
                    );
                }
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
        };
        let announcing = async {
            loop {
                let tenants: Vec<TenantId> = commits.take().await.into_iter().collect();
                for tenant in &tenants {
                    self.shared.wake(*tenant);
                }
                if let Err(error) = self.shared.events.announce(&tenants).await {
                    tracing::warn!(error = source(&error), "a commit was not announced to other processes");
                }
            }
        };
        let receiving = async {
            while let Some(tenant) = announcements.recv().await {
                self.shared.wake(tenant);
            }
        };
        tokio::join!(listening, announcing, receiving);
    }

    /// Subscribes to a tenant's events from now on, or from after `since`.
    pub async fn follow(&self, tenant: TenantId, since: Option<EventId>) -> Result<Follower, StoreError> {
        let (position, messages) = self.subscribe(tenant, |topic| topic.messages.subscribe()).await?;
        let is_kept = match since {
            None => true,
            Some(since) => {
                let range = self.shared.events.find_event_range(tenant).await?;
                range.before <= since && since <= range.last
            }
        };
        let last = since.filter(|_| is_kept).unwrap_or(position.last);
        Ok(Follower {
            shared: Arc::clone(&self.shared),
            tenant,
            is_reset: !is_kept,
            cursor: position.last,
            active_calls: position.active_calls,
            last,
            page: VecDeque::new(),
            messages,
            closing: self.shared.closing.subscribe(),
        })
    }

    /// The first changes whenever a tenant's data may have changed; the second becomes `true` at shutdown.
    pub async fn watch_commits(
        &self,
        tenant: TenantId,
    ) -> Result<(watch::Receiver<u64>, watch::Receiver<bool>), StoreError> {
        let (_, commits) = self.subscribe(tenant, |topic| topic.commits.subscribe()).await?;
        Ok((commits, self.shared.closing.subscribe()))
    }

    /// Ends all subscriptions.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    async fn subscribe<R>(
        &self,
        tenant: TenantId,
        subscribe: impl Fn(&Topic) -> R,
    ) -> Result<(Position, R), StoreError> {
        loop {
            let topic = Arc::clone(self.shared.topics.lock().entry(tenant).or_default());
            topic.is_ready.get_or_try_init(|| self.start(tenant, &topic)).await?;
            // A topic without followers is removed, perhaps just now.
            let topics = self.shared.topics.lock();
            if topics.get(&tenant).is_some_and(|known| Arc::ptr_eq(known, &topic)) {
                // Under this lock, nothing is sent between the two.
                let position = topic.position.lock();
                return Ok((*position, subscribe(&topic)));
            }
        }
    }

    async fn start(&self, tenant: TenantId, topic: &Arc<Topic>) -> Result<(), StoreError> {
        let EventRange { last, .. } = self.shared.events.find_event_range(tenant).await?;
        let active_calls = self.shared.counts.count_active_calls(tenant).await?;
        *topic.position.lock() = Position { last, active_calls };
        let (shared, topic) = (Arc::clone(&self.shared), Arc::clone(topic));
        self.shared.runtime.spawn(async move { topic.run(&shared, tenant).await });
        Ok(())
    }
}

impl Shared {
    fn wake(&self, tenant: TenantId) {
        if let Some(topic) = self.topics.lock().get(&tenant) {
            topic.announced.notify_one();
        }
    }
}

//! Live: who follows a tenant's calls is told of what was committed, whichever process committed it.
//!
//! Events are rows, written in the transaction that they tell of. A tenant that someone follows has a topic: one task
//! that reads the rows after the last one it has told, whenever a commit is announced, and passes them on to all
//! followers. An announcement only says that there may be news; one that gets lost costs a second.

use crate::ports::{AnalyticsStore, EventRange, EventStore, NumberedEvent, StoreError, source};
use crate::turns::{TurnLimits, Turns};
use callscope_domain::{EventId, TenantId};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, broadcast, mpsc, watch};
use tokio::time::Instant;

/// Pages of missed events are read a few at a time, and of one tenant fewer: a client that has missed much comes with one
/// request, which no limit of requests bounds.
const REPLAYS: TurnLimits = TurnLimits { max: 4, holder_max: 2, waiting_max: 10_000, timeout: Duration::from_mins(1) };

const PAGE_EVENTS: u32 = 500;
/// Messages that a follower may be behind before it loses some.
const BEHIND_MAX: usize = 1024;
/// How long a topic waits for an announcement before it looks by itself.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after an announcement a topic looks, so that a burst of commits is one look.
const GATHER: Duration = Duration::from_millis(10);
/// The pause before a lost connection to the other processes is made again.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);
/// Announcements of other processes that may wait.
const HEARD_MAX: usize = 1024;

/// Tenants with commits that are not yet announced: at most as many as there are tenants. Cheap to clone.
#[derive(Clone, Default)]
pub struct Commits {
    waiting: Arc<(Mutex<BTreeSet<TenantId>>, Notify)>,
}

impl Commits {
    /// Notes that a batch of a tenant was committed.
    pub fn add(&self, tenant: TenantId) {
        lock(&self.waiting.0).insert(tenant);
        self.waiting.1.notify_one();
    }

    async fn take(&self) -> BTreeSet<TenantId> {
        loop {
            let taken = std::mem::take(&mut *lock(&self.waiting.0));
            if !taken.is_empty() {
                return taken;
            }
            self.waiting.1.notified().await;
        }
    }
}

/// What a follower is told.
#[derive(Clone, Debug)]
pub enum LiveMessage {
    /// Something happened.
    Event(Arc<ToldEvent>),
    /// So many calls are active now.
    ActiveCount(u64),
    /// So many events were not told: the follower was too slow, or there were too many for all who follow.
    Dropped(i64),
}

/// What a topic tells its followers.
#[derive(Clone, Debug)]
enum TopicMessage {
    Event(Arc<ToldEvent>),
    ActiveCount(u64),
    /// What happened up to this event is not told.
    SkippedTo(EventId),
}

/// An event that is told to many: what it looks like on the wire is made once.
#[derive(Debug)]
pub struct ToldEvent {
    pub numbered: NumberedEvent,
    wire: OnceLock<Arc<str>>,
}

impl ToldEvent {
    const fn new(numbered: NumberedEvent) -> Self {
        Self { numbered, wire: OnceLock::new() }
    }

    /// The event as it is written, which the first who asks writes.
    pub fn wire(&self, write: impl FnOnce(&NumberedEvent) -> String) -> Arc<str> {
        Arc::clone(self.wire.get_or_init(|| write(&self.numbered).into()))
    }
}

/// Where calls can be followed. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

struct Shared {
    events: Arc<dyn EventStore>,
    counts: Arc<dyn AnalyticsStore>,
    /// Of tenants that someone follows.
    topics: Mutex<HashMap<TenantId, Arc<Topic>>>,
    closing: watch::Sender<bool>,
    runtime: Handle,
    deliveries_per_second: u32,
    /// Turns at reading pages of missed events.
    replays: Arc<Turns>,
}

/// What is told of one tenant.
struct Topic {
    is_ready: OnceCell<()>,
    told: Mutex<Told>,
    messages: broadcast::Sender<TopicMessage>,
    /// Counts the looks that an announcement caused.
    commits: watch::Sender<u64>,
    announced: Notify,
}

/// What all followers know.
#[derive(Clone, Copy, Default)]
struct Told {
    last: EventId,
    active_calls: u64,
}

impl Live {
    /// Live over a store; of each tenant's events at most so many are delivered in a second, counted once a follower.
    /// Must be called inside the runtime that topics are to run on.
    #[must_use]
    pub fn new(events: Arc<dyn EventStore>, counts: Arc<dyn AnalyticsStore>, deliveries_per_second: u32) -> Self {
        let (topics, closing, runtime) = (Mutex::default(), watch::Sender::new(false), Handle::current());
        let replays = Turns::new(REPLAYS);
        Self { shared: Arc::new(Shared { events, counts, topics, closing, runtime, deliveries_per_second, replays }) }
    }

    /// Announces commits to topics and to other processes, and hears theirs, until it is dropped.
    pub async fn run(self, commits: Commits) {
        let (sender, mut heard) = mpsc::channel(HEARD_MAX);
        let listening = async {
            loop {
                if let Err(error) = self.shared.events.listen(sender.clone()).await {
                    tracing::warn!(error = source(&error), "commits of other processes are heard late; will try again");
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
                    tracing::warn!(error = source(&error), "other processes will hear of a commit late");
                }
            }
        };
        let hearing = async {
            while let Some(tenant) = heard.recv().await {
                self.shared.wake(tenant);
            }
        };
        tokio::join!(listening, announcing, hearing);
    }

    /// Follows a tenant from now on, or from after an event.
    pub async fn follow(&self, tenant: TenantId, since: Option<EventId>) -> Result<Follower, StoreError> {
        let (told, messages) = self.subscribe(tenant, |topic| topic.messages.subscribe()).await?;
        let is_kept = match since {
            None => true,
            Some(since) => {
                let range = self.shared.events.find_event_range(tenant).await?;
                range.before <= since && since <= range.last
            }
        };
        let last = since.filter(|_| is_kept).unwrap_or(told.last);
        Ok(Follower {
            shared: Arc::clone(&self.shared),
            tenant,
            is_reset: !is_kept,
            cursor: told.last,
            active_calls: told.active_calls,
            last,
            page: VecDeque::new(),
            messages,
            closing: self.shared.closing.subscribe(),
        })
    }

    /// Changes whenever something of a tenant may have changed; `true` in the second means that all is over.
    pub async fn watch_commits(
        &self,
        tenant: TenantId,
    ) -> Result<(watch::Receiver<u64>, watch::Receiver<bool>), StoreError> {
        let (_, commits) = self.subscribe(tenant, |topic| topic.commits.subscribe()).await?;
        Ok((commits, self.shared.closing.subscribe()))
    }

    /// Ends all following.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    async fn subscribe<R>(&self, tenant: TenantId, subscribe: impl Fn(&Topic) -> R) -> Result<(Told, R), StoreError> {
        loop {
            let topic = Arc::clone(lock(&self.shared.topics).entry(tenant).or_default());
            topic.is_ready.get_or_try_init(|| self.start(tenant, &topic)).await?;
            // A topic that nobody follows goes, perhaps just now.
            let topics = lock(&self.shared.topics);
            if topics.get(&tenant).is_some_and(|known| Arc::ptr_eq(known, &topic)) {
                // Under this lock, nothing is told between the two.
                let told = lock(&topic.told);
                return Ok((*told, subscribe(&topic)));
            }
        }
    }

    async fn start(&self, tenant: TenantId, topic: &Arc<Topic>) -> Result<(), StoreError> {
        let EventRange { last, .. } = self.shared.events.find_event_range(tenant).await?;
        let active_calls = self.shared.counts.count_active_calls(tenant).await?;
        *lock(&topic.told) = Told { last, active_calls };
        let (shared, topic) = (Arc::clone(&self.shared), Arc::clone(topic));
        self.shared.runtime.spawn(async move { topic.run(&shared, tenant).await });
        Ok(())
    }
}

impl Shared {
    fn wake(&self, tenant: TenantId) {
        if let Some(topic) = lock(&self.topics).get(&tenant) {
            topic.announced.notify_one();
        }
    }
}

impl Default for Topic {
    fn default() -> Self {
        let (messages, commits) = (broadcast::Sender::new(BEHIND_MAX), watch::Sender::new(0));
        Self { is_ready: OnceCell::new(), told: Mutex::default(), messages, commits, announced: Notify::new() }
    }
}

impl Topic {
    async fn run(&self, shared: &Shared, tenant: TenantId) {
        let mut closing = shared.closing.subscribe();
        let mut is_sound = true;
        let mut allowance = Allowance::new(shared.deliveries_per_second);
        loop {
            let is_announced = tokio::select! {
                () = self.announced.notified() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                _ = closing.wait_for(|&is_closing| is_closing) => return,
            };
            if self.leave(shared, tenant) {
                return;
            }
            if is_announced {
                tokio::time::sleep(GATHER).await;
            }
            match self.look(shared, tenant, &mut allowance).await {
                Ok(is_news) => {
                    is_sound = true;
                    if is_announced || is_news {
                        self.commits.send_modify(|looks| *looks += 1);
                    }
                }
                Err(error) => {
                    if std::mem::take(&mut is_sound) {
                        tracing::warn!(error = source(&error), "followers hear of events late; will try again");
                    }
                }
            }
        }
    }

    /// Goes if nobody follows.
    fn leave(&self, shared: &Shared, tenant: TenantId) -> bool {
        let mut topics = lock(&shared.topics);
        let is_idle = self.messages.receiver_count() == 0 && self.commits.receiver_count() == 0;
        if is_idle {
            topics.remove(&tenant);
        }
        is_idle
    }

    /// Tells what is new, if there is something.
    async fn look(&self, shared: &Shared, tenant: TenantId, allowance: &mut Allowance) -> Result<bool, StoreError> {
        let mut is_news = false;
        loop {
            let last = lock(&self.told).last;
            let mut page = shared.events.load_events(tenant, last, PAGE_EVENTS).await?;
            let found = page.len();
            is_news |= found > 0;
            page.truncate(allowance.take(found, self.messages.receiver_count()));
            let is_cut = page.len() < found;
            // What nobody can be told need not be loaded.
            let skip_to = if is_cut { Some(shared.events.find_event_range(tenant).await?.last) } else { None };
            let mut told = lock(&self.told);
            for numbered in page {
                told.last = numbered.id;
                // Nobody may follow any more.
                let _ = self.messages.send(TopicMessage::Event(Arc::new(ToldEvent::new(numbered))));
            }
            if let Some(last) = skip_to {
                told.last = last;
                let _ = self.messages.send(TopicMessage::SkippedTo(last));
            }
            if is_cut || found < PAGE_EVENTS as usize {
                break;
            }
        }
        let active_calls = shared.counts.count_active_calls(tenant).await?;
        let mut told = lock(&self.told);
        if told.active_calls != active_calls {
            told.active_calls = active_calls;
            is_news = true;
            let _ = self.messages.send(TopicMessage::ActiveCount(active_calls));
        }
        Ok(is_news)
    }
}

/// How many deliveries a topic may make now: so many a second, saved up for a second at most. Without a bound, whoever
/// ingests at full speed before a thousand followers would have a thousand times the work.
struct Allowance {
    per_second: f64,
    saved: f64,
    at: Instant,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, saved: per_second, at: Instant::now() }
    }

    /// How many of some events may be delivered to so many followers. One may, however many they are, when nothing was
    /// delivered for a second.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of events")]
    fn take(&mut self, events: usize, followers: usize) -> usize {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.saved = (self.saved + earned).min(self.per_second);
        let price = followers.max(1) as f64;
        let is_rested = self.saved >= self.per_second;
        let affordable = (self.saved.max(0.0) / price).floor().max(if is_rested { 1.0 } else { 0.0 });
        let taken = affordable.min(events as f64);
        self.saved -= taken * price;
        taken as usize
    }
}

/// One who follows a tenant's calls.
pub struct Follower {
    /// The last event when following began.
    pub cursor: EventId,
    /// Calls that were active then.
    pub active_calls: u64,
    /// Whether what was missed is no longer kept, so that following begins now.
    pub is_reset: bool,
    shared: Arc<Shared>,
    tenant: TenantId,
    /// The last event that was told.
    last: EventId,
    /// Missed events that are to be told first.
    page: VecDeque<NumberedEvent>,
    messages: broadcast::Receiver<TopicMessage>,
    closing: watch::Receiver<bool>,
}

impl Follower {
    /// The next message; none when all is over. It may be dropped half-way and called again.
    pub async fn next(&mut self) -> Result<Option<LiveMessage>, StoreError> {
        loop {
            if let Some(numbered) = self.page.pop_front() {
                // Events in between were deleted meanwhile.
                if numbered.id.0 > self.last.0 + 1 {
                    let missed = self.skip_to(EventId(numbered.id.0 - 1));
                    self.page.push_front(numbered);
                    return Ok(Some(missed));
                }
                return Ok(Some(self.tell(Arc::new(ToldEvent::new(numbered)))));
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
                // Told before, by a server that was further.
                Ok(TopicMessage::Event(told)) if told.numbered.id <= self.last => {}
                Ok(TopicMessage::Event(told)) if told.numbered.id.0 > self.last.0 + 1 => {
                    // The event itself comes next.
                    let missed = self.skip_to(EventId(told.numbered.id.0 - 1));
                    self.page.push_back(told.numbered.clone());
                    return Ok(Some(missed));
                }
                Ok(TopicMessage::Event(told)) => return Ok(Some(self.tell(told))),
                Ok(TopicMessage::ActiveCount(count)) => return Ok(Some(LiveMessage::ActiveCount(count))),
                Ok(TopicMessage::SkippedTo(last)) if last > self.last => return Ok(Some(self.skip_to(last))),
                // The number of the next event says how many were missed.
                Ok(TopicMessage::SkippedTo(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(None),
            }
        }
    }

    fn tell(&mut self, told: Arc<ToldEvent>) -> LiveMessage {
        self.last = told.numbered.id;
        LiveMessage::Event(told)
    }

    fn skip_to(&mut self, last: EventId) -> LiveMessage {
        let missed = last.0 - self.last.0;
        self.last = last;
        LiveMessage::Dropped(missed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deliveries_are_bounded_by_the_second_and_one_event_always_passes() {
        let mut allowance = Allowance::new(100);
        assert_eq!(allowance.take(7, 10), 7);
        assert_eq!(allowance.take(7, 10), 3);
        assert_eq!(allowance.take(7, 10), 0);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(allowance.take(7, 10), 2);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(allowance.take(2, 5000), 1);
        assert_eq!(allowance.take(2, 5000), 0);
        // As long as the many take.
        tokio::time::advance(Duration::from_secs(49)).await;
        assert_eq!(allowance.take(1, 5000), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(allowance.take(1, 5000), 1);
    }
}

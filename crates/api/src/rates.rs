//! How often each credential may ask, and each client address for what needs none; and what the answers say of it.
//!
//! Counts are those of this process: behind several servers a client has the limit at each.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage};
use callscope_domain::{Principal, RateLimit, TenantId};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Locks that the buckets are spread over.
const SHARDS: usize = 16;
/// Most buckets of a shard; some 150 bytes each.
const BUCKETS_PER_SHARD_MAX: usize = 4096;

/// How long a refusal is held back: a client that does not heed it is slowed down to a few requests a second and
/// connection, and their number has a bound.
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);

/// Whose requests are counted together: a principal's, or a whole tenant's.
pub type Holder = (TenantId, Option<Principal>);

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests at once.
    pub limit: u32,
    /// Those that are left.
    pub remaining: u32,
    /// Seconds until all are.
    pub reset_s: u64,
    /// Seconds until the next one may come, if this one came too early.
    pub retry_after_s: Option<u64>,
}

/// Counts requests.
pub struct Rates<H = Holder> {
    hasher: RandomState,
    shards: [Mutex<HashMap<H, Bucket>>; SHARDS],
}

struct Bucket {
    rate: RateLimit,
    limiter: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, StateInformationMiddleware>,
    used: Instant,
}

impl Bucket {
    fn new(rate: RateLimit, now: Instant) -> Option<Self> {
        let requests = NonZeroU32::new(rate.requests_per_second())?;
        let quota = Quota::per_second(requests).allow_burst(NonZeroU32::new(rate.burst())?);
        let limiter = RateLimiter::direct_with_clock(quota, MonotonicClock).with_middleware();
        Some(Self { rate, limiter, used: now })
    }

    /// Whether it has filled up since it was used last, and so is like a new one.
    fn is_full(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= Duration::from_secs(refill_s(self.rate, self.rate.burst()))
    }

    fn take(&mut self, now: Instant) -> Allowance {
        self.used = now;
        let (remaining, retry_after_s) = match self.limiter.check() {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => (0, Some(ceil_s(until.wait_time_from(MonotonicClock.now())).max(1))),
        };
        let limit = self.rate.burst();
        Allowance { limit, remaining, reset_s: refill_s(self.rate, limit.saturating_sub(remaining)), retry_after_s }
    }
}

/// Seconds until so many requests are back.
fn refill_s(rate: RateLimit, requests: u32) -> u64 {
    u64::from(requests.div_ceil(rate.requests_per_second().max(1)))
}

fn ceil_s(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl<H> Default for Rates<H> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Allowance {
    /// The one that leaves less.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let key = |allowance: &Self| (allowance.remaining, std::cmp::Reverse(allowance.retry_after_s));
        if key(&other) < key(&self) { other } else { self }
    }
}

impl<H: Clone + Eq + Hash> Rates<H> {
    /// Counts a request; `None` where there is no limit.
    pub fn take(&self, holder: &H, rate: RateLimit) -> Option<Allowance> {
        if !rate.is_limited() {
            return None;
        }
        let now = Instant::now();
        let shard = usize::try_from(self.hasher.hash_one(holder) % SHARDS as u64).unwrap_or_default();
        let mut buckets = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(holder)
            && bucket.rate == rate
        {
            return Some(bucket.take(now));
        }
        if buckets.len() >= BUCKETS_PER_SHARD_MAX {
            make_room(&mut buckets, now);
        }
        let mut bucket = Bucket::new(rate, now)?;
        let allowance = bucket.take(now);
        buckets.insert(holder.clone(), bucket);
        Some(allowance)
    }
}

/// Drops the buckets that are full; if that is less than half of them, the half that was used longest ago.
fn make_room<H: Eq + Hash>(buckets: &mut HashMap<H, Bucket>, now: Instant) {
    buckets.retain(|_, bucket| !bucket.is_full(now));
    let half = BUCKETS_PER_SHARD_MAX / 2;
    if buckets.len() > half {
        let mut times: Vec<Instant> = buckets.values().map(|bucket| bucket.used).collect();
        let (_, &mut median, _) = times.select_nth_unstable(half);
        buckets.retain(|_, bucket| bucket.used > median);
    }
}

const LIMIT: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit-limit"), HeaderName::from_static("x-ratelimit-limit")];
const REMAINING: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit-remaining"), HeaderName::from_static("x-ratelimit-remaining")];
const RESET: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit-reset"), HeaderName::from_static("x-ratelimit-reset")];

/// Says on the answer what is left of the limit of whoever asked.
pub async fn rate_headers<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        tokio::time::sleep(REFUSAL_PAUSE).await;
    }
    let allowance = response.request().extensions().get::<Allowance>().copied();
    if let Some(allowance) = allowance {
        let values = [
            (LIMIT, HeaderValue::from(allowance.limit)),
            (REMAINING, HeaderValue::from(allowance.remaining)),
            (RESET, HeaderValue::from(allowance.reset_s)),
        ];
        for ([name, older_name], value) in values {
            response.headers_mut().insert(name, value.clone());
            response.headers_mut().insert(older_name, value);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use callscope_domain::KeyId;
    use uuid::Uuid;

    fn holder(number: u128) -> Holder {
        (TenantId(Uuid::nil()), Some(Principal::Key(KeyId(Uuid::from_u128(number)))))
    }

    fn rate(requests_per_second: u32, burst: u32) -> RateLimit {
        RateLimit::new(requests_per_second, burst).unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_each_waits_its_turn() {
        let (rates, rate) = (Rates::<Holder>::default(), rate(1, 3));
        let passed: Vec<Allowance> = (0..3).map(|_| rates.take(&holder(1), rate).unwrap()).collect();
        assert_eq!(passed[0], Allowance { limit: 3, remaining: 2, reset_s: 1, retry_after_s: None });
        assert_eq!(passed[2], Allowance { limit: 3, remaining: 0, reset_s: 3, retry_after_s: None });
        let refused = rates.take(&holder(1), rate).unwrap();
        assert_eq!(refused, Allowance { limit: 3, remaining: 0, reset_s: 3, retry_after_s: Some(1) });
        assert_eq!(rates.take(&holder(2), rate).unwrap().remaining, 2, "another's is untouched");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let rates = Rates::<Holder>::default();
        assert!((0..1000).all(|_| rates.take(&holder(1), RateLimit::NONE).is_none()));
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let rates = Rates::<Holder>::default();
        for number in 0..100_000 {
            rates.take(&holder(number), rate(1, 1_000_000));
        }
        let lens = rates.shards.iter().map(|shard| shard.lock().unwrap().len());
        assert!(lens.clone().all(|len| len <= BUCKETS_PER_SHARD_MAX), "{:?}", lens.collect::<Vec<_>>());
    }
}

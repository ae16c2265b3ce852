//! Answers that are kept for a moment, and questions that are asked once, however many ask them meanwhile.
//!
//! An answer is found by its tenant, its operation and the query string as it was sent. It is kept as the bytes and
//! headers that go out, so a question that is found is not even read: only one that was sound has an answer.

use crate::problem::Problem;
use actix_web::http::header::HeaderValue;
use actix_web::web::Bytes;
use callscope_domain::TenantId;
use moka::Equivalent;
use moka::future::Cache;
use moka::policy::{EvictionPolicy, Expiry};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an entry takes beside its answer's bytes and its query string, about: headers, keys, the cache's own links.
const ENTRY_BYTES: usize = 512;

/// Bytes of an answer's hash that make its `ETag`.
const TAG_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// How old an answer may be, counted from when the database was asked; zero for no cache.
    pub ttl: Duration,
    pub entries_max: usize,
    pub bytes_max: usize,
}

impl CacheLimits {
    /// No cache: every question goes to the database.
    pub const OFF: Self = Self { ttl: Duration::ZERO, entries_max: 0, bytes_max: 0 };
}

/// The key of a cached response.
#[derive(Clone, Copy, Hash)]
pub struct Question<'a> {
    pub tenant: TenantId,
    pub operation: &'a str,
    /// As it was sent, not parsed: the query string, or the body.
    pub query_string: &'a str,
}

/// A question that the cache holds. It hashes as [`Question`] does: by the same fields in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KeptQuestion {
    tenant: TenantId,
    operation: Box<str>,
    query_string: Box<str>,
}

impl From<Question<'_>> for KeptQuestion {
    fn from(question: Question<'_>) -> Self {
        let Question { tenant, operation, query_string } = question;
        Self { tenant, operation: operation.into(), query_string: query_string.into() }
    }
}

impl Equivalent<KeptQuestion> for Question<'_> {
    fn equivalent(&self, kept: &KeptQuestion) -> bool {
        (self.tenant, self.operation, self.query_string) == (kept.tenant, &*kept.operation, &*kept.query_string)
    }
}

/// A response body with its headers.
#[derive(Debug)]
pub struct Answer {
    pub body: Bytes,
    /// The `ETag`.
    pub tag: HeaderValue,
    /// The header `X-Answered-Window`.
    pub window: Option<HeaderValue>,
}

impl Answer {
    pub fn new(body: Vec<u8>, window: Option<HeaderValue>) -> Self {
        Self { tag: tag(&body), body: body.into(), window }
    }
}

/// The same bytes have the same tag, on every server and after every restart.
fn tag(body: &[u8]) -> HeaderValue {
    let mut tag = String::with_capacity(2 * TAG_BYTES + 2);
    tag.push('"');
    for byte in &Sha256::digest(body)[..TAG_BYTES] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    // Quoted hexadecimal digits are a header's value.
    HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Hit,
    /// The load of a concurrent identical request was shared.
    Shared,
    Miss,
}

/// Responses of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct AnswerCache {
    /// None if the cache is off. Then loads are not shared either: a request after a write must not get a response that
    /// began to load before the write.
    kept: Option<Cache<KeptQuestion, Kept>>,
}

#[derive(Clone)]
struct Kept {
    answer: Arc<Answer>,
    asked_at: Instant,
}

impl AnswerCache {
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        if limits.ttl.is_zero() {
            return Self { kept: None };
        }
        let bytes_max = limits.bytes_max.max(1);
        // So much that entries of this weight, as many as are allowed, fill the cache: one bound holds both.
        let least = u32::try_from(bytes_max.div_ceil(limits.entries_max.max(1))).unwrap_or(u32::MAX);
        let weight = move |question: &KeptQuestion, kept: &Kept| {
            let bytes = question.query_string.len() + kept.answer.body.len() + ENTRY_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX).max(least)
        };
        let cache = Cache::builder()
            .max_capacity(u64::try_from(bytes_max).unwrap_or(u64::MAX))
            .weigher(weight)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(SinceAsked { ttl: limits.ttl })
            .build();
        Self { kept: Some(cache) }
    }

    /// The cached response, or the one that `load` gives. Errors are not cached; concurrent callers that share the load
    /// get the same error.
    pub async fn answer(
        &self,
        question: Question<'_>,
        load: impl Future<Output = Result<Answer, Problem>>,
    ) -> Result<(Arc<Answer>, Found), Problem> {
        let Some(cache) = &self.kept else { return Ok((Arc::new(load.await?), Found::Miss)) };
        if let Some(kept) = cache.get(&question).await {
            return Ok((kept.answer, Found::Hit));
        }
        let mut found = Found::Shared;
        let load = async {
            found = Found::Miss;
            let asked_at = Instant::now();
            Ok(Kept { answer: Arc::new(load.await?), asked_at })
        };
        let kept = cache.try_get_with(question.into(), load).await;
        let kept = kept.map_err(|problem: Arc<Problem>| Arc::unwrap_or_clone(problem))?;
        Ok((kept.answer, found))
    }
}

/// Answers age from the moment the database was asked, not from when it had answered.
struct SinceAsked {
    ttl: Duration,
}

impl SinceAsked {
    fn left(&self, kept: &Kept, now: Instant) -> Duration {
        self.ttl.saturating_sub(now.saturating_duration_since(kept.asked_at))
    }
}

impl Expiry<KeptQuestion, Kept> for SinceAsked {
    fn expire_after_create(&self, _: &KeptQuestion, kept: &Kept, created_at: Instant) -> Option<Duration> {
        Some(self.left(kept, created_at))
    }

    fn expire_after_update(
        &self,
        _: &KeptQuestion,
        kept: &Kept,
        updated_at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.left(kept, updated_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;
    use uuid::Uuid;

    fn question(query_string: &str) -> Question<'_> {
        Question { tenant: TenantId(Uuid::nil()), operation: "get_summary", query_string }
    }

    fn limits(entries_max: usize, bytes_max: usize) -> CacheLimits {
        CacheLimits { ttl: Duration::from_hours(1), entries_max, bytes_max }
    }

    async fn fill(cache: &AnswerCache, questions: usize, bytes: usize) -> (u64, u64) {
        for number in 0..questions {
            let load = async { Ok(Answer::new(vec![b' '; bytes], None)) };
            cache.answer(question(&format!("limit={number}")), load).await.expect("an answer");
        }
        let kept = cache.kept.as_ref().expect("a cache");
        kept.run_pending_tasks().await;
        (kept.entry_count(), kept.weighted_size())
    }

    #[test]
    fn a_question_hashes_like_the_one_that_is_kept() {
        let hasher = std::hash::RandomState::new();
        let asked = question("period=24h");
        assert_eq!(hasher.hash_one(asked), hasher.hash_one(KeptQuestion::from(asked)));
    }

    #[tokio::test]
    async fn both_bounds_hold() {
        let (entries, _) = fill(&AnswerCache::new(limits(10, 1 << 20)), 1000, 10).await;
        assert!((1..=10).contains(&entries), "{entries}");
        let (entries, bytes) = fill(&AnswerCache::new(limits(1000, 100_000)), 1000, 10_000).await;
        assert!((1..10).contains(&entries) && bytes <= 100_000, "{entries}, {bytes}");
    }

    #[tokio::test]
    async fn an_answer_that_took_longer_than_the_ttl_is_not_kept() {
        let cache = AnswerCache::new(CacheLimits { ttl: Duration::from_millis(5), ..limits(10, 1 << 20) });
        for _ in 0..2 {
            let load = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(Answer::new(Vec::new(), None))
            };
            let (_, found) = cache.answer(question(""), load).await.expect("an answer");
            assert_eq!(found, Found::Miss);
        }
    }

    #[test]
    fn a_tag_is_that_of_the_bytes() {
        let tag = |bytes: &[u8]| Answer::new(bytes.to_vec(), None).tag;
        assert_eq!(tag(b"{}"), "\"44136fa355b3678a1146ad16f7e8649e\"");
        assert_ne!(tag(b"{}"), tag(b"[]"));
    }
}

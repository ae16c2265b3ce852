//! Single calls: lists of them, and one whole.

use crate::call_reader::{Sort, WantedCalls};
use crate::ports::{CallPosition, LoggedError};
use crate::service::{Analytics, ServiceError};
use callscope_domain::{
    Axis, CallFacts, CallFilter, CallId, CallStatus, Dimension, Distribution, Filter, Measure, Metric, Question, Slugs,
    Span, TenantId, Window, WorkflowId, WorkflowLabel,
};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Calls that are looked at for one page; past them the page ends early, and the next one goes on from there.
const LOOKED_AT_MAX: usize = 20_000;
/// Calls that are read at one time, at least.
const CHUNK_MIN: u32 = 200;
/// How far around a call its window of comparison reaches.
const COMPARED_SPAN: Span = Span::from_hours(24);

/// A place in a list: the value that it is ordered by, and the call.
pub type ListPosition = (i64, CallPosition);

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPage {
    /// The calls.
    pub calls: Vec<CallFacts>,
    /// The labels of their workflows.
    pub labels: HashMap<WorkflowId, WorkflowLabel>,
    /// Where the next page begins; none at the end.
    pub next: Option<ListPosition>,
    /// How many calls there are, where that was asked and sums tell it.
    pub total: Option<u64>,
}

/// One call whole.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeCall {
    /// The call.
    pub facts: CallFacts,
    /// The label of its workflow.
    pub label: Option<WorkflowLabel>,
    /// Its errors, by position.
    pub errors: Vec<LoggedError>,
    /// The 95th percentile of the latency of turns around it, in milliseconds, and over which window.
    pub p95_turn_latency_ms: Option<f64>,
    /// The window of that.
    pub compared_window: Option<Window>,
}

impl Analytics {
    /// A page of calls.
    pub async fn list_calls(
        &self,
        tenant: TenantId,
        wanted: &WantedCalls,
        after: Option<ListPosition>,
        limit: usize,
        with_total: bool,
    ) -> Result<CallPage, ServiceError> {
        let (calls, next) = if wanted.sort == Sort::StartedAt {
            self.calls_by_start(tenant, wanted, after, limit).await?
        } else {
            self.calls_by_value(tenant, wanted, after, limit).await?
        };
        let labels = self.labels(tenant, &calls).await?;
        let total = if with_total { self.number_of_calls(tenant, wanted).await? } else { None };
        Ok(CallPage { calls, labels, next, total })
    }

    /// The next calls by their start, as many of the database's as it takes.
    async fn calls_by_start(
        &self,
        tenant: TenantId,
        wanted: &WantedCalls,
        after: Option<ListPosition>,
        limit: usize,
    ) -> Result<(Vec<CallFacts>, Option<ListPosition>), ServiceError> {
        let slugs = self.slugs(tenant, wanted).await?;
        let filter = CallFilter::new(&wanted.filters, &slugs);
        let (mut position, mut found, mut looked_at) = (after.map(|(_, position)| position), Vec::new(), 0);
        // One more tells whether there is another page.
        let chunk = u32::try_from(limit + 1).unwrap_or(u32::MAX);
        let mut next_chunk = if filter.needs_calls() { chunk.max(CHUNK_MIN) } else { chunk };
        loop {
            let calls = self.calls().list_calls(tenant, wanted, position, next_chunk).await?;
            let is_last = calls.len() < next_chunk as usize;
            looked_at += calls.len();
            for call in calls {
                if found.len() == limit {
                    if filter.lets_through(&call) {
                        let last = found.last().map(|last: &CallFacts| (0, (last.started_at, last.id)));
                        return Ok((found, last));
                    }
                    continue;
                }
                position = Some((call.started_at, call.id));
                if filter.lets_through(&call) {
                    found.push(call);
                }
            }
            if is_last {
                return Ok((found, None));
            }
            if looked_at >= LOOKED_AT_MAX {
                return Ok((found, position.map(|position| (0, position))));
            }
            next_chunk = CHUNK_MIN.max(chunk);
        }
    }

    /// The next calls by another value: all of the window are looked at, within the bound of such questions.
    async fn calls_by_value(
        &self,
        tenant: TenantId,
        wanted: &WantedCalls,
        after: Option<ListPosition>,
        limit: usize,
    ) -> Result<(Vec<CallFacts>, Option<ListPosition>), ServiceError> {
        self.check_number_of_calls(tenant, wanted.window).await?;
        let slugs = self.slugs(tenant, wanted).await?;
        let filter = CallFilter::new(&wanted.filters, &slugs);
        let key = |call: &CallFacts| (wanted.sort.value(call), (call.started_at, call.id));
        let is_after = |call: &CallFacts| match after {
            Some(after) if wanted.descends => key(call) < after,
            Some(after) => key(call) > after,
            None => true,
        };
        let (mut position, mut found) = (None, Vec::new());
        let by_start = WantedCalls { sort: Sort::StartedAt, descends: false, ..wanted.clone() };
        loop {
            const CHUNK: u32 = 5_000;
            let calls = self.calls().list_calls(tenant, &by_start, position, CHUNK).await?;
            let is_last = calls.len() < CHUNK as usize;
            position = calls.last().map(|last| (last.started_at, last.id));
            found.extend(calls.into_iter().filter(|call| is_after(call) && filter.lets_through(call)));
            if wanted.descends {
                found.sort_by_cached_key(|call| Reverse(key(call)));
            } else {
                found.sort_by_cached_key(key);
            }
            // One more tells whether there is another page.
            found.truncate(limit + 1);
            if is_last {
                break;
            }
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(key);
        Ok((found, next))
    }

    /// How many calls a list has, where sums tell it.
    async fn number_of_calls(&self, tenant: TenantId, wanted: &WantedCalls) -> Result<Option<u64>, ServiceError> {
        if wanted.min_duration.is_some() || wanted.has_errors.is_some() || wanted.search.is_some() {
            return Ok(None);
        }
        let metrics = vec![Metric::TotalCalls, Metric::CompletedCalls, Metric::FailedCalls];
        let (window, filters) = (wanted.window, wanted.filters.clone());
        let question =
            Question { window, metrics, axes: Vec::new(), filters, cut: None, shows_unknown: true, wants_total: true };
        let sums = self.ask(tenant, question).await?.total.sums;
        let count = match wanted.status {
            None => sums[Measure::Calls],
            Some(CallStatus::Completed) => sums[Measure::Completed],
            Some(CallStatus::Failed) => sums[Measure::Failed],
            Some(CallStatus::Active) => sums[Measure::Calls] - sums[Measure::Completed] - sums[Measure::Failed],
        };
        Ok(u64::try_from(count).ok())
    }

    /// One call whole, and how it compares to others of its time and workflow.
    pub async fn find_call(&self, tenant: TenantId, id: CallId) -> Result<Option<WholeCall>, ServiceError> {
        let Some((facts, errors)) = self.calls().find_call(tenant, id).await? else { return Ok(None) };
        let labels = self.labels(tenant, std::slice::from_ref(&facts)).await?;
        let label = facts.workflow_id.and_then(|id| labels.get(&id).cloned());
        let compared_window = Window::new(facts.started_at - COMPARED_SPAN, facts.started_at + COMPARED_SPAN).ok();
        let mut p95_turn_latency_ms = None;
        if let (Some(window), false) = (compared_window, facts.turn_latencies.is_empty()) {
            let of_workflow = label.iter().map(|label| Filter::is(Dimension::Workflow, label.slug.as_str()));
            let question = Question {
                window,
                metrics: vec![Metric::P95TurnLatencyMs],
                axes: Vec::new(),
                filters: of_workflow.collect(),
                cut: None,
                shows_unknown: true,
                wants_total: true,
            };
            let total = self.ask(tenant, question).await?.total;
            p95_turn_latency_ms = total.distribution(Distribution::Turn).and_then(|turns| turns.percentile_ms(95));
        }
        Ok(Some(WholeCall { facts, label, errors, p95_turn_latency_ms, compared_window }))
    }

    async fn labels(
        &self,
        tenant: TenantId,
        calls: &[CallFacts],
    ) -> Result<HashMap<WorkflowId, WorkflowLabel>, ServiceError> {
        let mut ids: Vec<WorkflowId> = calls.iter().filter_map(|call| call.workflow_id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() { Ok(HashMap::new()) } else { Ok(self.calls().load_labels(tenant, &ids).await?) }
    }

    /// The slugs of the tenant's workflows, where a filter names one. The database has looked at them already, but a call
    /// is held against all filters once more.
    async fn slugs(&self, tenant: TenantId, wanted: &WantedCalls) -> Result<Slugs, ServiceError> {
        let workflow = Axis::Dimension(Dimension::Workflow);
        if !wanted.filters.iter().any(|filter| filter.axis == workflow) {
            return Ok(Slugs::new());
        }
        let labels = self.calls().load_labels(tenant, &[]).await?;
        Ok(labels.into_iter().map(|(id, label)| (id, label.slug)).collect())
    }
}

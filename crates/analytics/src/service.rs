//! The six questions and their answers. Each is a window plan, one load, and a sum.

use crate::ports::{
    AnalyticsStore, CallScope, ErrorFilter, LoggedError, Page, StoreError, SummaryParts, WorkflowLabel,
};
use callscope_domain::{
    CallTotals, Interval, Provider, ProviderTotals, Resolution, Series, SeriesFault, Span, TenantId, Timestamp, Window,
    WindowPlan, WorkflowId, Zone, answered_window,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Windows that may have more than some hundred buckets.
const LONG_WINDOW: Span = Span::from_hours(31 * 24);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The series would be too long.
    #[error(transparent)]
    Series(#[from] SeriesFault),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers questions about one tenant at a time.
#[derive(Clone)]
pub struct Analytics {
    store: Arc<dyn AnalyticsStore>,
}

/// What was asked, and the window that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// The figures.
    pub figures: T,
    /// The window that was asked; wider by parts of a minute where calls are no longer kept.
    pub window: Window,
}

/// The figures of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Sums over the calls of the window.
    pub totals: CallTotals,
    /// Calls that are active now.
    pub active_calls: u64,
}

/// The figures of one workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowFigures {
    /// Which workflow.
    pub workflow: WorkflowLabel,
    /// Sums over its calls of the window.
    pub totals: CallTotals,
}

/// A page of the error log.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorLog {
    /// The page.
    pub items: Vec<LoggedError>,
    /// How many errors match, whatever the page.
    pub total: u64,
}

impl Analytics {
    /// A service over a store.
    #[must_use]
    pub fn new(store: Arc<dyn AnalyticsStore>) -> Self {
        Self { store }
    }

    /// The sums of a window.
    pub async fn summary(
        &self,
        tenant: TenantId,
        window: Window,
        scope: &CallScope,
    ) -> Result<Answer<Summary>, ServiceError> {
        let plan = WindowPlan::new(window, Resolution::Day);
        let SummaryParts { calls, active_calls } = self.store.load_summary_parts(tenant, scope, &plan).await?;
        let mut totals = CallTotals::default();
        calls.buckets.iter().for_each(|(_, bucket)| totals += bucket);
        calls.edge_calls.iter().for_each(|call| totals += &CallTotals::of(call));
        Ok(Answer::new(Summary { totals, active_calls }, window, calls.kept_from))
    }

    /// The sums of each bucket of a window, ascending, none left out.
    pub async fn call_volume(
        &self,
        tenant: TenantId,
        window: Window,
        interval: Interval,
        zone: Zone,
        scope: &CallScope,
    ) -> Result<Answer<Vec<(Timestamp, CallTotals)>>, ServiceError> {
        // It may have ten thousand buckets: to find and to fill them would keep a thread too long that serves others.
        let is_long = window.end().since(window.start()) > LONG_WINDOW;
        let series = run(is_long, move || Series::new(window, interval, zone)).await??;
        let plan = WindowPlan::new(window, series.resolution());
        let parts = self.store.load_call_parts(tenant, scope, &plan).await?;
        run(is_long, move || {
            let mut cells: Vec<_> = series.starts().iter().map(|&start| (start, CallTotals::default())).collect();
            for (start, bucket) in &parts.buckets {
                cells[series.index_of(*start)].1 += bucket;
            }
            for call in &parts.edge_calls {
                cells[series.index_of(call.started_at)].1 += &CallTotals::of(call);
            }
            Answer::new(cells, window, parts.kept_from)
        })
        .await
        .map_err(Into::into)
    }

    /// The workflows that ran in a window: the busiest first, ties by slug; at most `limit`.
    pub async fn workflow_stats(
        &self,
        tenant: TenantId,
        window: Window,
        limit: usize,
    ) -> Result<Answer<Vec<WorkflowFigures>>, ServiceError> {
        let plan = WindowPlan::new(window, Resolution::Day);
        let parts = self.store.load_workflow_parts(tenant, &plan).await?;
        let mut totals: HashMap<WorkflowId, CallTotals> = HashMap::new();
        for (workflow, bucket) in &parts.buckets {
            *totals.entry(*workflow).or_default() += bucket;
        }
        for call in &parts.edge_calls {
            if let Some(workflow) = call.workflow_id {
                *totals.entry(workflow).or_default() += &CallTotals::of(call);
            }
        }
        let mut figures: Vec<_> = parts
            .workflows
            .into_iter()
            .filter_map(|workflow| Some(WorkflowFigures { totals: totals.remove(&workflow.id)?, workflow }))
            .filter(|figures| figures.totals.total > 0)
            .collect();
        figures.sort_by(|left, right| {
            let ties = || (&left.workflow.slug, left.workflow.id).cmp(&(&right.workflow.slug, right.workflow.id));
            right.totals.total.cmp(&left.totals.total).then_with(ties)
        });
        figures.truncate(limit);
        Ok(Answer::new(figures, window, parts.kept_from))
    }

    /// The providers used in a window: by stage, then the busiest first, ties by name.
    pub async fn provider_latency(
        &self,
        tenant: TenantId,
        window: Window,
    ) -> Result<Answer<Vec<(Provider, ProviderTotals)>>, ServiceError> {
        let plan = WindowPlan::new(window, Resolution::Day);
        let parts = self.store.load_provider_parts(tenant, &plan).await?;
        let mut sums: BTreeMap<Provider, ProviderTotals> = parts.buckets;
        for usage in parts.edge_calls.into_iter().flat_map(|call| call.providers) {
            sums.entry(usage.provider).or_default().count(&usage.latencies);
        }
        let mut figures: Vec<_> = sums.into_iter().filter(|(_, totals)| totals.calls > 0).collect();
        // Stable: ties stay in the map's order, which is by name.
        figures.sort_by_key(|(provider, totals)| (provider.provider_type, std::cmp::Reverse(totals.calls)));
        Ok(Answer::new(figures, window, parts.kept_from))
    }

    /// A page of the errors of the calls of a window, newest first. Errors go with their calls; their number stays.
    pub async fn errors(
        &self,
        tenant: TenantId,
        window: Window,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<Answer<ErrorLog>, ServiceError> {
        let plan = WindowPlan::new(window, Resolution::Day);
        let parts = self.store.load_error_log_parts(tenant, window, &plan, filter, page).await?;
        let edges = parts.edge_errors.into_iter().filter(|&kind| filter.matches(kind)).count();
        let total = u64::try_from(parts.bucket_errors).unwrap_or(0) + edges as u64;
        let log = ErrorLog { items: parts.items, total };
        Ok(Answer::new(log, window, parts.kept_from))
    }

    /// The number of calls that are active now.
    pub async fn active_calls(&self, tenant: TenantId) -> Result<u64, ServiceError> {
        Ok(self.store.count_active_calls(tenant).await?)
    }

    /// Succeeds when the database answers, and takes changes.
    pub async fn ping(&self) -> Result<(), ServiceError> {
        Ok(self.store.ping().await?)
    }
}

impl<T> Answer<T> {
    fn new(figures: T, window: Window, kept_from: Option<Timestamp>) -> Self {
        Self { figures, window: answered_window(window, kept_from) }
    }
}

/// Does work here, or if it takes long, on a thread for such work.
async fn run<T: Send + 'static>(is_long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    if !is_long {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Broken(error.into()))
}

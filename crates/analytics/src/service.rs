//! Answers questions about one tenant at a time: plans, loads and folds. The endpoints of the reference are presets of
//! one kind of question.

use crate::ports::{AnalyticsStore, ErrorFilter, LoggedError, Page, StoreError};
use callscope_domain::{
    Dimension, ErrorKind, Figures, FiguresRow, Filter, GroupValue, Interval, Measure, Metric, ProviderType, Question,
    QuestionFault, Slug, Span, TenantId, Window, Zone, fold, plan,
};
use std::cmp::Reverse;
use std::sync::Arc;

/// Windows that may have more than some hundred buckets.
const LONG_WINDOW: Span = Span::from_hours(31 * 24);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The question has none.
    #[error(transparent)]
    Question(#[from] QuestionFault),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers questions about one tenant at a time.
#[derive(Clone)]
pub struct Analytics {
    store: Arc<dyn AnalyticsStore>,
}

/// A page of the error log.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorLog {
    /// The page.
    pub items: Vec<LoggedError>,
    /// How many errors match, whatever the page.
    pub total: u64,
    /// The window that was asked; wider by parts of a minute where calls are no longer kept.
    pub answered_window: Window,
}

/// The metrics of `summary`.
const SUMMARY: &[Metric] = &[
    Metric::TotalCalls,
    Metric::CompletedCalls,
    Metric::FailedCalls,
    Metric::ActiveCallsNow,
    Metric::AvgDurationSeconds,
    Metric::SuccessRate,
    Metric::TokensUsed,
    Metric::AvgSttLatencyMs,
    Metric::AvgLlmLatencyMs,
    Metric::AvgTtsLatencyMs,
];

/// The metrics of `call-volume`.
const CALL_VOLUME: &[Metric] = &[Metric::TotalCalls, Metric::CompletedCalls, Metric::FailedCalls];

/// The metrics of `workflow-stats`.
const WORKFLOW_STATS: &[Metric] =
    &[Metric::TotalCalls, Metric::CompletedCalls, Metric::FailedCalls, Metric::SuccessRate, Metric::AvgDurationSeconds];

/// The metrics of `provider-latency`: those of every stage, of which a provider has one.
fn provider_latency() -> Vec<Metric> {
    let latencies = ProviderType::ALL.iter().flat_map(|&stage| Metric::latencies_of(stage));
    std::iter::once(Metric::TotalCalls).chain(latencies).collect()
}

impl Analytics {
    /// A service over a store.
    #[must_use]
    pub fn new(store: Arc<dyn AnalyticsStore>) -> Self {
        Self { store }
    }

    /// Answers any question.
    pub async fn ask(&self, tenant: TenantId, question: Question) -> Result<Figures, ServiceError> {
        // A series may have ten thousand buckets: to find and to fill them would keep a thread too long that serves others.
        let width = question.window.end().since(question.window.start());
        let is_long = question.series.is_some() && width > LONG_WINDOW;
        let plan = run(is_long, move || plan(question)).await??;
        let loaded = self.store.load(tenant, &plan).await?;
        let figures = run(is_long, move || fold(&plan, loaded)).await?;
        Ok(figures.map_err(|fault| StoreError::Broken(fault.into()))?)
    }

    /// The figures of a window, of all calls or of those of the workflows with a slug.
    pub async fn summary(
        &self,
        tenant: TenantId,
        window: Window,
        workflow: Option<Slug>,
    ) -> Result<Figures, ServiceError> {
        self.ask(tenant, Question { filter: workflow.as_ref().map(of_workflow), ..preset(window, SUMMARY) }).await
    }

    /// The counts of each bucket of a window, ascending, none left out.
    pub async fn call_volume(
        &self,
        tenant: TenantId,
        window: Window,
        interval: Interval,
        zone: Zone,
        workflow: Option<Slug>,
    ) -> Result<Figures, ServiceError> {
        let series = Some((interval, zone));
        self.ask(tenant, Question { filter: workflow.as_ref().map(of_workflow), series, ..preset(window, CALL_VOLUME) })
            .await
    }

    /// The workflows that ran in a window: the busiest first, ties by slug; at most `limit`.
    pub async fn workflow_stats(
        &self,
        tenant: TenantId,
        window: Window,
        limit: usize,
    ) -> Result<Figures, ServiceError> {
        let dimension = Some(Dimension::Workflow);
        let mut figures = self.ask(tenant, Question { dimension, ..preset(window, WORKFLOW_STATS) }).await?;
        let name = |row: &FiguresRow| {
            let group = row.group.as_ref();
            (
                group.and_then(|group| group.label.clone()).map(|label| label.slug),
                group.map(|group| group.value.clone()),
            )
        };
        figures.rows.sort_by_cached_key(|row| (Reverse(row.count(Measure::Calls)), name(row)));
        figures.rows.truncate(limit);
        Ok(figures)
    }

    /// The providers used in a window: by stage, then the busiest first, ties by name.
    pub async fn provider_latency(&self, tenant: TenantId, window: Window) -> Result<Figures, ServiceError> {
        let dimension = Some(Dimension::Provider);
        let mut figures = self.ask(tenant, Question { dimension, ..preset(window, &provider_latency()) }).await?;
        figures.rows.sort_by_cached_key(|row| {
            let provider = row.group.as_ref().and_then(|group| match &group.value {
                GroupValue::Provider(provider) => Some(provider.clone()),
                _ => None,
            });
            let stage = provider.as_ref().map(|provider| provider.provider_type);
            (stage, Reverse(row.count(Measure::Calls)), provider)
        });
        Ok(figures)
    }

    /// A page of the errors of the calls of a window, newest first. Errors go with their calls; their number stays.
    pub async fn errors(
        &self,
        tenant: TenantId,
        window: Window,
        filter: ErrorFilter,
        page: Page,
    ) -> Result<ErrorLog, ServiceError> {
        let plan = plan(number_of_errors(window, filter))?;
        let (loaded, items) = self.store.load_errors(tenant, &plan, filter, page).await?;
        let figures = fold(&plan, loaded).map_err(|fault| StoreError::Broken(fault.into()))?;
        let matches = |row: &&FiguresRow| match row.group.as_ref().map(|group| &group.value) {
            Some(GroupValue::ErrorKind(kind)) => filter.matches(*kind),
            Some(_) => false,
            None => true,
        };
        let total: i64 = figures.rows.iter().filter(matches).map(|row| row.count(Measure::Errors)).sum();
        Ok(ErrorLog { items, total: u64::try_from(total).unwrap_or(0), answered_window: figures.answered_window })
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

/// How many errors match. The errors of all kinds are a sum of the whole tenant, and those of one are one group.
fn number_of_errors(window: Window, filter: ErrorFilter) -> Question {
    let question = preset(window, &[Metric::TotalErrors]);
    let dimension = Dimension::ErrorKind;
    match (filter.service, filter.level) {
        (None, None) => question,
        (Some(service), Some(level)) => {
            let value = ErrorKind { service, level }.to_string().into();
            Question { dimension: Some(dimension), filter: Some(Filter { dimension, value }), ..question }
        }
        _ => Question { dimension: Some(dimension), ..question },
    }
}

/// A question about all calls of a window.
fn preset(window: Window, metrics: &[Metric]) -> Question {
    Question { window, metrics: metrics.to_vec(), dimension: None, filter: None, series: None }
}

fn of_workflow(slug: &Slug) -> Filter {
    Filter { dimension: Dimension::Workflow, value: slug.as_str().into() }
}

/// Does work here, or if it takes long, on a thread for such work.
async fn run<T: Send + 'static>(is_long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    if !is_long {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Broken(error.into()))
}

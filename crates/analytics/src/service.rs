//! Answers questions about one tenant at a time: plans, loads and folds. The endpoints of the reference are presets of
//! one kind of question.

use crate::call_reader::CallReader;
use crate::ports::{AnalyticsStore, ErrorFilter, LoggedError, Page, StoreError};
use callscope_domain::{
    Axis, CallFacts, Cut, Dimension, ErrorKind, Figures, FiguresRow, Filter, Folding, GroupValue, Interval, Level,
    Loaded, Measure, Metric, Operator, ProviderType, Question, QuestionFault, ReadPlan, Service, Span, TenantId,
    Timestamp, Window, Zone, fold, plan,
};
use futures_util::future::join;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Windows that may have more than some hundred buckets.
const LONG_WINDOW: Span = Span::from_hours(31 * 24);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The question has none.
    #[error(transparent)]
    Question(#[from] QuestionFault),
    /// No sum has it, and too many calls would have to be read.
    #[error(
        "no sums are kept for this combination, and the window has {calls} calls, more than the {max} that may be read one \
         by one: ask for a shorter window, or for one dimension or filter alone"
    )]
    TooManyCalls {
        /// The calls of the window.
        calls: i64,
        /// Most that may be read.
        max: i64,
    },
    /// No sum has it, and to read the calls took too long.
    #[error("no sums are kept for this combination, and to read the calls took too long: ask for a shorter window")]
    TooSlow,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers questions about one tenant at a time.
#[derive(Clone)]
pub struct Analytics {
    store: Arc<dyn AnalyticsStore>,
    calls: Arc<dyn CallReader>,
    limits: CallLimits,
}

/// How much of the calls themselves may be read for one question that no sums answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// The calls.
    pub calls_max: i64,
    /// The time.
    pub timeout: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { calls_max: 200_000, timeout: Duration::from_secs(10) }
    }
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
    pub fn new<S: AnalyticsStore + CallReader + 'static>(store: Arc<S>, limits: CallLimits) -> Self {
        let calls = Arc::clone(&store);
        Self { store, calls, limits }
    }

    /// Answers any question.
    pub async fn ask(&self, tenant: TenantId, question: Question) -> Result<Figures, ServiceError> {
        // A series may have ten thousand buckets: to find and to fill them would keep a thread too long that serves others.
        let width = question.window.end().since(question.window.start());
        let is_long = question.cut.is_some() && width > LONG_WINDOW;
        let plan = run(is_long, move || plan(question)).await??;
        if plan.is_from_calls {
            return self.ask_calls(tenant, plan).await;
        }
        let loaded = self.store.load(tenant, &plan).await?;
        let figures = run(is_long, move || fold(&plan, loaded)).await?;
        Ok(figures.map_err(|fault| StoreError::Broken(fault.into()))?)
    }

    /// Answers a question that no sums answer from the calls of its window, unless they are too many.
    async fn ask_calls(&self, tenant: TenantId, plan: ReadPlan) -> Result<Figures, ServiceError> {
        self.check_number_of_calls(tenant, plan.window()).await?;
        let Loaded { kept_from, groups, active_calls, .. } = self.store.load(tenant, &plan).await?;
        let (sender, mut pages) = mpsc::channel::<Vec<CallFacts>>(1);
        let sending = self.store.send_calls(tenant, &plan, sender);
        let folding = async {
            let mut folding = Folding::new(&plan, kept_from, groups);
            while let Some(calls) = pages.recv().await {
                folding.add_calls(&calls);
            }
            folding.finish(active_calls)
        };
        let (sent, figures) = tokio::time::timeout(self.limits.timeout, join(sending, folding))
            .await
            .map_err(|_| ServiceError::TooSlow)?;
        sent?;
        Ok(figures)
    }

    /// Fails when a window has more calls than may be read one by one.
    pub(crate) async fn check_number_of_calls(&self, tenant: TenantId, window: Window) -> Result<(), ServiceError> {
        let counted = Box::pin(self.ask(tenant, preset(window, &[Metric::TotalCalls]))).await?;
        let (calls, max) = (counted.total.sums[Measure::Calls], self.limits.calls_max);
        if calls > max { Err(ServiceError::TooManyCalls { calls, max }) } else { Ok(()) }
    }

    /// The calls themselves.
    pub(crate) fn calls(&self) -> &dyn CallReader {
        &*self.calls
    }

    /// The figures of the calls of a window that filters let through.
    pub async fn summary(
        &self,
        tenant: TenantId,
        window: Window,
        filters: Vec<Filter>,
    ) -> Result<Figures, ServiceError> {
        // Only the number of active calls knows no provider and no tag.
        let columns = filters.iter().all(|filter| filter.axis.is_column());
        let metrics = SUMMARY.iter().copied().filter(|metric| columns || *metric != Metric::ActiveCallsNow).collect();
        self.ask(tenant, Question { metrics, filters, ..preset(window, SUMMARY) }).await
    }

    /// The counts of each bucket of a window, ascending, none left out.
    pub async fn call_volume(
        &self,
        tenant: TenantId,
        window: Window,
        interval: Interval,
        zone: Zone,
        filters: Vec<Filter>,
    ) -> Result<Figures, ServiceError> {
        let cut = Some(Cut::Buckets(interval, zone));
        self.ask(tenant, Question { filters, cut, ..preset(window, CALL_VOLUME) }).await
    }

    /// The workflows that ran in a window: the busiest first, ties by slug; at most `limit`.
    pub async fn workflow_stats(
        &self,
        tenant: TenantId,
        window: Window,
        filters: Vec<Filter>,
        limit: usize,
    ) -> Result<Figures, ServiceError> {
        let axes = vec![Axis::Dimension(Dimension::Workflow)];
        let question =
            Question { axes, filters, shows_unknown: false, wants_total: false, ..preset(window, WORKFLOW_STATS) };
        let mut figures = self.ask(tenant, question).await?;
        let name = |row: &FiguresRow| row.first_value().map(|shown| (shown.text.clone(), shown.value.clone()));
        figures.rows.sort_by_cached_key(|row| (Reverse(row.count(Measure::Calls)), name(row)));
        figures.rows.truncate(limit);
        Ok(figures)
    }

    /// The providers used in a window: by stage, then the busiest first, ties by name.
    pub async fn provider_latency(
        &self,
        tenant: TenantId,
        window: Window,
        filters: Vec<Filter>,
    ) -> Result<Figures, ServiceError> {
        let axes = vec![Axis::Dimension(Dimension::Provider)];
        let question =
            Question { axes, filters, shows_unknown: false, wants_total: false, ..preset(window, &provider_latency()) };
        let mut figures = self.ask(tenant, question).await?;
        figures.rows.sort_by_cached_key(|row| {
            let provider = row.first_value().and_then(|shown| match &shown.value {
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
        filters: Vec<Filter>,
        page: Page,
    ) -> Result<ErrorLog, ServiceError> {
        let question = number_of_errors(window, filter, filters);
        let plan = plan(question.clone())?;
        let (loaded, items) = self.store.load_errors(tenant, &plan, filter, page).await?;
        let figures = if plan.is_from_calls {
            self.ask(tenant, question).await?
        } else {
            fold(&plan, loaded).map_err(|fault| StoreError::Broken(fault.into()))?
        };
        let total = figures.total.sums[Measure::Errors];
        Ok(ErrorLog { items, total: u64::try_from(total).unwrap_or(0), answered_window: figures.answered_window })
    }

    /// The number of calls that filters let through and that are active now.
    pub async fn active_calls(
        &self,
        tenant: TenantId,
        now: Timestamp,
        filters: Vec<Filter>,
    ) -> Result<u64, ServiceError> {
        if filters.is_empty() {
            return Ok(self.store.count_active_calls(tenant).await?);
        }
        // Whatever the window.
        let window = Window::new(now, now + Span::from_micros(1)).map_err(|fault| StoreError::Broken(fault.into()))?;
        let question = Question { filters, ..preset(window, &[Metric::ActiveCallsNow]) };
        Ok(self.ask(tenant, question).await?.active_calls)
    }

    /// Succeeds when the database answers, and takes changes.
    pub async fn ping(&self) -> Result<(), ServiceError> {
        Ok(self.store.ping().await?)
    }
}

/// How many errors match. The errors of all kinds are a sum of the calls, and those of some are groups.
fn number_of_errors(window: Window, filter: ErrorFilter, mut filters: Vec<Filter>) -> Question {
    let (services, levels) = (Service::ALL.iter().copied(), Level::ALL.iter().copied());
    if filter != ErrorFilter::default() {
        let kinds = services.flat_map(|service| levels.clone().map(move |level| ErrorKind { service, level }));
        let values = kinds.filter(|kind| filter.matches(*kind)).map(|kind| Some(kind.to_string().into())).collect();
        filters.push(Filter { axis: Axis::Dimension(Dimension::ErrorKind), operator: Operator::Is, values });
    }
    Question { filters, ..preset(window, &[Metric::TotalErrors]) }
}

/// A question about all calls of a window.
fn preset(window: Window, metrics: &[Metric]) -> Question {
    let (axes, filters) = (Vec::new(), Vec::new());
    Question { window, metrics: metrics.to_vec(), axes, filters, cut: None, shows_unknown: true, wants_total: true }
}

/// Does work here, or if it takes long, on a thread for such work.
async fn run<T: Send + 'static>(is_long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    if !is_long {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Broken(error.into()))
}

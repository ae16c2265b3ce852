//! A database of a case's own, and the ways into it.

use crate::samples::{at, id, name, of_workflow};
use crate::statements::OF_TEST;
use callscope_analytics::clock::{Clock, SystemClock};
use callscope_analytics::deltas::Moment;
use callscope_analytics::groups::GroupIds;
use callscope_analytics::ingestion::{IngestLimits, IngestQueue, ingestion};
use callscope_analytics::kept::{Keeping, KeptLimits};
use callscope_analytics::live::Commits;
use callscope_analytics::ports::{
    CallStore, CallTransaction, ErrorFilter, LoggedError, Page, RollupStore, StoreError, TenantStore,
};
use callscope_analytics::rollups::{Audit, rebuild_day, verify_day};
use callscope_analytics::service::{Analytics, CallLimits};
use callscope_domain::{
    CallFacts, Figures, FiguresRow, GroupValue, Incoming, Measure, ShownValue, Slug, Sums, Tenant, TenantId, Timestamp,
    TransitionKind, Window, WorkflowLabel,
};
use callscope_persistence::{Database, DatabaseOptions};
use callscope_testkit::{Backend, Scratch};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use std::sync::Arc;
use std::time::Duration;

const CENTURY: Duration = Duration::from_hours(100 * 366 * 24);

/// A moment at which nothing that happens in a test is history.
pub const MOMENT: Moment = Moment { now: Timestamp::from_micros(0), events_from: Timestamp::from_micros(i64::MIN) };

/// What a batch is held against without bounds. The transaction holds the tenant's lock.
pub async fn unbounded(transaction: &mut dyn CallTransaction, tenant: TenantId) -> Keeping {
    let groups = GroupIds::stored(tenant, transaction.load_groups(tenant).await.unwrap());
    Keeping::new(tenant, KeptLimits::NONE, Arc::new(groups))
}

/// A migrated database with one tenant.
pub struct Fixture {
    pub backend: Backend,
    pub scratch: Scratch,
    pub server: Server,
    pub tenant: TenantId,
}

/// What a server holds: its pools, its service and its queue. Two of them share a database like two processes.
#[derive(Clone)]
pub struct Server {
    pub database: Database,
    pub analytics: Analytics,
    pub queue: IngestQueue,
    pub commits: Commits,
}

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

impl Fixture {
    pub async fn new(backend: Backend) -> Self {
        let scratch = Scratch::migrated(backend, migrate).await;
        let server = Server::start(scratch.url()).await;
        let tenant = TenantId(id(0xA));
        let fixture = Self { backend, scratch, server, tenant };
        fixture.add_tenant(tenant, "acme").await;
        fixture
    }

    pub async fn add_tenant(&self, id: TenantId, slug: &str) {
        let tenant = Tenant { id, slug: Slug::new(slug).unwrap(), name: name(slug), created_at: at(0) };
        self.server.database.create_tenant(&tenant).await.unwrap();
    }

    /// Writes what arrives for the tenant, and says what became of it.
    pub async fn write(&self, arrivals: impl IntoIterator<Item = Incoming>) -> Vec<TransitionKind> {
        self.server.write(self.tenant, arrivals).await
    }

    /// The tenant's sums over all time.
    pub async fn totals(&self) -> Sums {
        self.server.sums_in(self.tenant, ever(), None).await
    }

    /// The tenant's calls, by id.
    pub async fn calls(&self) -> Vec<CallFacts> {
        self.server.calls(self.tenant).await
    }

    /// The tenant's calls that started in a window, by id.
    pub async fn calls_in(&self, window: Window) -> Vec<CallFacts> {
        self.server.calls_in(self.tenant, window).await
    }

    /// The tenant's errors, as the log shows them.
    pub async fn errors(&self) -> Vec<LoggedError> {
        self.server.errors(self.tenant).await
    }

    /// Fails unless the tenant's rollups are the sum of its calls' contributions.
    pub async fn assert_sound(&self) -> Audit {
        self.server.assert_sound(self.tenant).await
    }

    /// Runs SQL that the ports have no words for.
    pub async fn execute(&self, sql: &str) {
        match self.backend {
            Backend::Sqlite => self.sqlite().batch_execute(sql).unwrap(),
            Backend::Postgres => self.postgres().await.batch_execute(&of_test(sql)).await.unwrap(),
        }
    }

    /// The column `value` of a query, as text.
    pub async fn values(&self, sql: &str) -> Vec<Option<String>> {
        let cells: Vec<Cell> = match self.backend {
            Backend::Sqlite => diesel::RunQueryDsl::load(sql_query(sql), &mut self.sqlite()).unwrap(),
            Backend::Postgres => {
                diesel_async::RunQueryDsl::load(sql_query(of_test(sql)), &mut self.postgres().await).await.unwrap()
            }
        };
        cells.into_iter().map(|cell| cell.value).collect()
    }

    fn sqlite(&self) -> SqliteConnection {
        let path = self.scratch.url().trim_start_matches("sqlite://");
        let mut connection = SqliteConnection::establish(path).unwrap();
        // A transaction that was dropped is undone a moment later, by a thread of its own.
        connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
        connection
    }

    async fn postgres(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(self.scratch.url()).await.unwrap()
    }
}

impl Server {
    /// Opens a database that is migrated, and starts to write.
    pub async fn start(url: &str) -> Self {
        Self::start_with(url, KeptLimits::NONE, Arc::new(SystemClock)).await
    }

    /// The same with bounds on what is kept of a tenant, and another clock.
    pub async fn start_with(url: &str, kept: KeptLimits, clock: Arc<dyn Clock>) -> Self {
        let options = DatabaseOptions {
            url: url.to_owned(),
            read_url: None,
            pool_size: 8,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_mins(1),
        };
        let database = Database::open(&options).await.unwrap();
        let limits = IngestLimits {
            queue_records_max: 1_000_000,
            batch_records_max: 1000,
            batch_rows_max: 200_000,
            batch_wait: Duration::ZERO,
            // However long ago something happened in a test, it is an event.
            event_age_max: CENTURY,
        };
        let (queue, writer) = ingestion(Arc::new(database.clone()), limits);
        let writer = writer.with_kept_limits(kept).with_clock(clock);
        let commits = writer.commits();
        tokio::spawn(writer.run());
        Self { analytics: Analytics::new(Arc::new(database.clone()), CallLimits::default()), database, queue, commits }
    }

    /// Writes what arrives for a tenant, and says what became of it.
    pub async fn write(&self, tenant: TenantId, arrivals: impl IntoIterator<Item = Incoming>) -> Vec<TransitionKind> {
        self.queue.submit(tenant, arrivals.into_iter().collect()).await.unwrap()
    }

    /// What a summary shows of a window, of all calls or of those of the workflows with a slug.
    pub async fn sums_in(&self, tenant: TenantId, window: Window, workflow: Option<Slug>) -> Sums {
        let figures = self.analytics.summary(tenant, window, of_workflow(workflow)).await.unwrap();
        let [row] = &figures.rows[..] else { panic!("a summary is one row: {figures:?}") };
        row.totals.sums
    }

    /// A tenant's calls, by id.
    pub async fn calls(&self, tenant: TenantId) -> Vec<CallFacts> {
        self.calls_in(tenant, ever()).await
    }

    /// A tenant's calls that started in a window, by id.
    pub async fn calls_in(&self, tenant: TenantId, window: Window) -> Vec<CallFacts> {
        let mut audit = self.database.begin_audit(tenant, false).await.unwrap();
        let mut calls = audit.load_calls(window, None, 1_000_000).await.unwrap();
        calls.sort_by_key(|call| call.id);
        calls
    }

    /// A tenant's errors, as the log shows them.
    pub async fn errors(&self, tenant: TenantId) -> Vec<LoggedError> {
        let page = Page { offset: 0, limit: 1_000_000 };
        let log = self.analytics.errors(tenant, ever(), ErrorFilter::default(), Vec::new(), page).await.unwrap();
        assert_eq!(log.total, log.items.len() as u64, "what is counted is what is listed");
        log.items
    }

    /// Fails unless a tenant's rollups are the sum of its calls' contributions.
    pub async fn assert_sound(&self, tenant: TenantId) -> Audit {
        let audit = verify(&self.database, tenant).await.unwrap();
        assert_eq!(audit.mismatches, []);
        audit
    }

    /// Ids of the calls that are overdue.
    pub async fn overdue(&self, tenant: TenantId, started_before: Timestamp, limit: u32) -> Vec<u128> {
        let ids = self.database.list_overdue_calls(tenant, started_before, limit).await.unwrap();
        ids.into_iter().map(|id| id.0.as_u128()).collect()
    }
}

/// Compares the rollups of every day of a tenant.
pub async fn verify(store: &Database, tenant: TenantId) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    for day in store.list_days(tenant).await? {
        add(&mut audit, verify_day(store, tenant, day).await?);
    }
    Ok(audit)
}

/// Mends the rollups of every day of a tenant.
pub async fn rebuild(store: &Database, tenant: TenantId) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    for day in store.list_days(tenant).await? {
        add(&mut audit, rebuild_day(store, tenant, day).await?);
    }
    Ok(audit)
}

fn add(audit: &mut Audit, of_day: Audit) {
    audit.days += of_day.days;
    audit.calls += of_day.calls;
    audit.buckets += of_day.buckets;
    audit.mismatches.extend(of_day.mismatches);
}

/// Sums of some measures, zero for all others.
pub fn sums(of: &[(Measure, i64)]) -> Sums {
    let mut sums = Sums::default();
    for &(measure, value) in of {
        sums.add(measure, value);
    }
    sums
}

/// What a row of an answer counts of its calls, by the slug of its workflow or the name of its provider.
pub fn counts_of(figures: &Figures) -> Vec<(String, i64)> {
    let name = |row: &FiguresRow| match row.first_value().unwrap() {
        ShownValue { label: Some(label), .. } => label.slug.to_string(),
        ShownValue { value: GroupValue::Provider(provider), .. } => provider.provider_name.to_string(),
        ShownValue { value: GroupValue::Text(text), .. } => text.to_string(),
        group => panic!("{group:?} has no name"),
    };
    figures.rows.iter().map(|row| (name(row), row.count(Measure::Calls))).collect()
}

/// The labels of the workflows of an answer.
pub fn labels_of(figures: &Figures) -> Vec<WorkflowLabel> {
    figures.rows.iter().map(|row| row.first_value().unwrap().label.clone().unwrap()).collect()
}

/// A statement that is known to be a test's.
fn of_test(sql: &str) -> String {
    format!("{sql} {OF_TEST}")
}

async fn migrate(url: String) {
    assert!(Database::migrate(&url).await.unwrap() > 0);
}

/// A window that holds every call of these tests.
pub fn ever() -> Window {
    Window::new(at(-100 * 365 * 24 * 60), at(10 * 365 * 24 * 60)).unwrap()
}

//! What is said to PostgreSQL: that each statement stays with one tenant, which lets a distributed database send it to
//! one node, and that each question reads ranges of indexes.

use crate::fixture::{Fixture, Server, ever};
use crate::history::History;
use crate::samples::{id, of_workflow, slug};
use callscope_analytics::ports::{ErrorFilter, Page};
use callscope_domain::{Axis, Dimension, Interval, Level, Metric, Question, Service, Span, TenantId, Window, Zone};
use callscope_persistence::{Placement, TABLES};
use callscope_testkit::{Backend, Postgres};
use sqlparser::ast::{
    BinaryOperator, Expr, Insert, ObjectName, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableObject,
    Value, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

on_each_backend!(every_question_reads_ranges_of_indexes);

/// Marks statements of the tests, which may do as they like.
pub const OF_TEST: &str = "/* of a test */";

/// Fails if a statement that PostgreSQL has seen in a database does not stay with one tenant.
pub async fn assert_one_tenant_each(url: &str) {
    let (_, database) = url.rsplit_once('/').unwrap();
    let Some(statements) = Postgres::shared().unwrap().statements(database).await else {
        assert!(std::env::var_os("CALLSCOPE_REQUIRE_POSTGRES").is_none(), "the server has no pg_stat_statements");
        return println!("statements are not checked: the server has no pg_stat_statements");
    };
    let mut uses = 0;
    let of_program = statements.iter().filter(|statement| !statement.contains(OF_TEST));
    let faults: BTreeSet<String> = of_program
        .filter_map(|statement| fault(statement, &mut uses).map(|fault| format!("{fault}: {statement}")))
        .collect();
    assert!(faults.is_empty(), "these statements do not stay with one tenant: {faults:#?}");
    assert!(!statements.is_empty(), "the server has counted no statement");
}

#[test]
fn a_statement_that_does_not_name_its_tenant_is_found() {
    let mut uses = 0;
    assert_eq!(fault("SELECT call_id FROM calls WHERE tenant_id = $1 AND call_id = $2", &mut uses), None);
    assert_eq!(fault("SELECT call_id FROM calls WHERE call_id = $1", &mut uses).unwrap(), "calls without its tenant");
    assert_eq!(uses, 2);
}

/// Why a statement may touch more than one tenant.
fn fault(sql: &str, uses: &mut usize) -> Option<String> {
    // Types stand only where a NULL does; the parser has no words for one that was made a parameter.
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql);
    let statements = match parsed {
        Ok(statements) => statements,
        Err(error) => return Some(format!("cannot be parsed ({error})")),
    };
    let mut visitor = Strays { uses, fault: None };
    let _ = statements.visit(&mut visitor);
    visitor.fault
}

struct Strays<'u> {
    uses: &'u mut usize,
    fault: Option<String>,
}

impl Strays<'_> {
    fn check(&mut self, table: &ObjectName, is_bound: bool) -> ControlFlow<()> {
        let name = plain(table);
        if !TABLES.contains(&(name.as_str(), Placement::NodeOfTenant)) {
            return ControlFlow::Continue(());
        }
        *self.uses += 1;
        if is_bound {
            return ControlFlow::Continue(());
        }
        self.fault = Some(format!("{name} without its tenant"));
        ControlFlow::Break(())
    }

    fn check_selects(&mut self, body: &SetExpr) -> ControlFlow<()> {
        match body {
            SetExpr::SetOperation { left, right, .. } => {
                self.check_selects(left)?;
                self.check_selects(right)
            }
            SetExpr::Select(select) => self.check_select(select),
            // Queries in parentheses are visited on their own.
            _ => ControlFlow::Continue(()),
        }
    }

    fn check_select(&mut self, select: &Select) -> ControlFlow<()> {
        let tables = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
        for table in tables {
            if let TableFactor::Table { name, args: None, alias, .. } = table {
                let named = alias.as_ref().map_or_else(|| plain(name), |alias| alias.name.value.clone());
                self.check(name, binds_tenant(select.selection.as_ref(), &named))?;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Strays<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.check_selects(&query.body)
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(insert) => match &insert.table {
                TableObject::TableName(name) => self.check(name, inserts_one_tenant(insert)),
                other => panic!("an INSERT into {other}"),
            },
            Statement::Update(update) => match &update.table.relation {
                TableFactor::Table { name, .. } => {
                    self.check(name, binds_tenant(update.selection.as_ref(), &plain(name)))
                }
                other => panic!("an UPDATE of {other}"),
            },
            Statement::Delete(delete) => {
                let sqlparser::ast::FromTable::WithFromKeyword(tables) = &delete.from else {
                    panic!("a DELETE without FROM")
                };
                for table in tables {
                    if let TableFactor::Table { name, .. } = &table.relation {
                        self.check(name, binds_tenant(delete.selection.as_ref(), &plain(name)))?;
                    }
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a condition demands `tenant_id = $n` of the table of this name in the statement.
fn binds_tenant(condition: Option<&Expr>, table: &str) -> bool {
    match condition {
        Some(Expr::Nested(inner)) => binds_tenant(Some(inner), table),
        Some(Expr::BinaryOp { left, op: BinaryOperator::And, right }) => {
            binds_tenant(Some(left), table) || binds_tenant(Some(right), table)
        }
        Some(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }) => {
            let is_tenant = match &**left {
                Expr::Identifier(column) => column.value == "tenant_id",
                Expr::CompoundIdentifier(parts) => match &parts[..] {
                    [of, column] => of.value == table && column.value == "tenant_id",
                    _ => false,
                },
                _ => false,
            };
            is_tenant && is_parameter(right)
        }
        _ => false,
    }
}

fn inserts_one_tenant(insert: &Insert) -> bool {
    let place = insert.columns.iter().position(|column| column.to_string().trim_matches('"') == "tenant_id");
    let (Some(place), Some(source)) = (place, &insert.source) else { return false };
    match &*source.body {
        SetExpr::Values(values) => values.rows.iter().all(|row| row.get(place).is_some_and(is_parameter)),
        SetExpr::Select(select) => match select.projection.get(place) {
            Some(SelectItem::UnnamedExpr(value)) => is_parameter(value),
            _ => false,
        },
        _ => false,
    }
}

fn is_parameter(expression: &Expr) -> bool {
    matches!(expression, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

fn plain(name: &ObjectName) -> String {
    name.to_string().trim_matches('"').to_owned()
}

/// Where every question about a window looks, besides its own tables.
const EDGES: &str = "calls by calls_by_start (tenant_id started_at)";
const STATE: &str = "tenant_states by tenant_states_pkey (tenant_id)";
const ACTIVE: &str = "calls by active_calls_by_start (tenant_id)";
const SUMS: &str = "rollup_sums by rollup_sums_pkey (tenant_id dimension resolution group_id bucket)";
const DISTRIBUTIONS: &str =
    "rollup_distributions by rollup_distributions_pkey (tenant_id dimension resolution group_id bucket)";
const GROUPS: &str = "groups by groups_pkey (tenant_id dimension)";
const ERROR_ROWS: &str = "call_errors by call_errors_pkey (tenant_id call_id \"position\")";
const OF_SLUG: &str = "workflows by workflows_by_slug (tenant_id slug)";

/// Two indexes that hold a tenant's workflows in one range; a few of them cost the same in either.
const WORKFLOWS_BY_KEY: &str = "workflows_pkey on workflows";
const WORKFLOWS_BY_SLUG: &str = "workflows_by_slug on workflows";

/// Each question with the indexes that its plan reads, and the columns that bound the range there. A plan is the same
/// whatever is asked: the server demands generic ones.
const PLANS: &[(&str, &[&str])] = &[
    ("summary", &[SUMS, ACTIVE, EDGES, STATE]),
    ("summary by workflow", &[SUMS, ACTIVE, EDGES, STATE, OF_SLUG]),
    ("call volume", &[SUMS, EDGES, STATE]),
    ("call volume by workflow", &[SUMS, EDGES, STATE, OF_SLUG]),
    ("workflow stats", &[SUMS, EDGES, STATE, "workflows by workflows_by_slug (tenant_id)"]),
    ("provider latency", &[EDGES, GROUPS, SUMS, DISTRIBUTIONS, STATE]),
    ("errors per call by agent", &[EDGES, GROUPS, SUMS, STATE]),
    (
        "errors",
        &[ERROR_ROWS, "call_errors by errors_by_time (tenant_id occurred_at call_started_at)", EDGES, SUMS, STATE],
    ),
    (
        "errors by service",
        &[
            ERROR_ROWS,
            "call_errors by errors_by_service (tenant_id service occurred_at call_started_at)",
            EDGES,
            GROUPS,
            SUMS,
            STATE,
        ],
    ),
    (
        "errors by level",
        &[
            ERROR_ROWS,
            "call_errors by errors_by_level (tenant_id level occurred_at call_started_at)",
            EDGES,
            GROUPS,
            SUMS,
            STATE,
        ],
    ),
    (
        "errors by service and level",
        &[
            ERROR_ROWS,
            "call_errors by errors_by_kind (tenant_id service level occurred_at call_started_at)",
            EDGES,
            GROUPS,
            SUMS,
            STATE,
        ],
    ),
    ("active calls", &[ACTIVE]),
];

/// What PostgreSQL itself logs of the plans that it made for the server's own connections.
async fn every_question_reads_ranges_of_indexes(fixture: Fixture) {
    if fixture.backend == Backend::Sqlite {
        return;
    }
    for number in 0..5 {
        let mut history = History::new(TenantId(id(0xA + number)), 7 + u64::try_from(number).unwrap());
        fixture.server.write(history.tenant, history.arrivals(600)).await;
    }
    fixture.execute("VACUUM ANALYZE").await;
    let (_, database) = fixture.scratch.url().rsplit_once('/').unwrap();
    for setting in ["session_preload_libraries = auto_explain", "auto_explain.log_min_duration = 0"] {
        fixture.execute(&format!("ALTER DATABASE {database} SET {setting}")).await;
    }
    let server = Server::start(fixture.scratch.url()).await;
    for (name, plan) in PLANS {
        let start = log(&fixture).len();
        ask(&server, fixture.tenant, name).await;
        let scans = loop {
            let log = log(&fixture);
            // The log may be a moment behind the answer.
            match log[start..].split_once("plan:\n") {
                Some((_, logged)) => break scans(&logged.replace(WORKFLOWS_BY_KEY, WORKFLOWS_BY_SLUG)),
                None => tokio::task::yield_now().await,
            }
        };
        let expected: BTreeSet<String> = plan.iter().map(ToString::to_string).collect();
        assert_eq!(scans, expected, "{name}");
    }
}

/// What the server has logged.
fn log(fixture: &Fixture) -> String {
    let (folder, _) = fixture.scratch.url().split_once('@').unwrap().1.split_once(':').unwrap();
    let bytes = std::fs::read(format!("{}/log", folder.replace("%2F", "/"))).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The scans of a plan, as `table by index (columns that bound the range)`; other kinds of scan as they are.
fn scans(plan: &str) -> BTreeSet<String> {
    // What other tests log meanwhile does not start with a tab.
    let lines: Vec<&str> = plan.lines().filter(|line| line.starts_with('\t')).map(str::trim).collect();
    let scan = |(number, line): (usize, &&str)| {
        let (kind, rest) = line.trim_start_matches("->").trim().split_once(" Scan")?;
        match kind {
            "Index" | "Index Only" => {
                let (index, rest) = rest.trim_start_matches(" Backward").strip_prefix(" using ")?.split_once(" on ")?;
                let table = rest.split(' ').next()?;
                let condition = lines.get(number + 1)?.strip_prefix("Index Cond: ").unwrap_or_default();
                Some(format!("{table} by {index} ({})", compared(condition)))
            }
            "Bitmap Index" => {
                let index = rest.strip_prefix(" on ")?.split(' ').next()?;
                let condition = lines.get(number + 1)?.strip_prefix("Index Cond: ").unwrap_or_default();
                let table = index.trim_end_matches("_pkey");
                Some(format!("{table} by {index} ({})", compared(condition)))
            }
            // What it reads is in the scan of the index beneath it.
            "Bitmap Heap" | "Subquery" => None,
            _ => Some(format!("{kind} Scan{rest}")),
        }
    };
    lines.iter().enumerate().filter_map(scan).collect()
}

/// The columns that a condition compares with something.
fn compared(condition: &str) -> String {
    let words: Vec<&str> = condition.split([' ', '(']).filter(|word| !word.is_empty()).collect();
    let is_compared = |pair: &&[&str]| matches!(pair[1], "=" | ">=" | "<");
    let mut columns: Vec<&str> = words.windows(2).filter(is_compared).map(|pair| pair[0]).collect();
    columns.dedup();
    columns.join(" ")
}

async fn ask(server: &Server, tenant: TenantId, question: &str) {
    let service = &server.analytics;
    let second = Span::from_seconds(1);
    let window = Window::new(ever().start() + second, ever().end() - second).unwrap();
    let by_workflow = || of_workflow(Some(slug("workflow-0")));
    let volume = async |filters| {
        let day = Window::new(window.start(), window.start() + Span::from_hours(24)).unwrap();
        service.call_volume(tenant, day, Interval::Hour, Zone::default(), filters).await.map(drop)
    };
    let errors = async |service_of, level| {
        let page = Page { offset: 0, limit: 50 };
        service.errors(tenant, window, ErrorFilter { service: service_of, level }, Vec::new(), page).await.map(drop)
    };
    let answered = match question {
        "summary" => service.summary(tenant, window, Vec::new()).await.map(drop),
        "summary by workflow" => service.summary(tenant, window, by_workflow()).await.map(drop),
        "call volume" => volume(Vec::new()).await,
        "call volume by workflow" => volume(by_workflow()).await,
        "workflow stats" => service.workflow_stats(tenant, window, Vec::new(), 10).await.map(drop),
        "provider latency" => service.provider_latency(tenant, window, Vec::new()).await.map(drop),
        "errors per call by agent" => {
            let (metrics, axes) = (vec![Metric::ErrorsPerCall], vec![Axis::Dimension(Dimension::Agent)]);
            let filters = Vec::new();
            let question =
                Question { window, metrics, axes, filters, cut: None, shows_unknown: true, wants_total: true };
            service.ask(tenant, question).await.map(drop)
        }
        "errors" => errors(None, None).await,
        "errors by service" => errors(Some(Service::Stt), None).await,
        "errors by level" => errors(None, Some(Level::Error)).await,
        "errors by service and level" => errors(Some(Service::Stt), Some(Level::Error)).await,
        "active calls" => service.active_calls(tenant, window.end(), Vec::new()).await.map(drop),
        other => panic!("no question {other}"),
    };
    answered.unwrap();
}

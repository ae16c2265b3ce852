//! Figures by dimensions that no endpoint has a path for, asked of the service over the server's own database.

use crate::figures;
use crate::windows::Window;
use crate::world::World;
use callscope_analytics::service::{Analytics, CallLimits};
use callscope_domain::{Axis, Dimension, FiguresRow, GroupValue, Metric, MetricValue, Question, TenantId, Timestamp};
use callscope_persistence::{Database, DatabaseOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Averages are sums of floating-point numbers on one side, of whole microseconds on the other.
const RELATIVE_ERROR_MAX: f64 = 1e-6;

/// A service over the database of a server.
pub struct Grouped {
    runtime: Runtime,
    analytics: Analytics,
    tenant: TenantId,
}

impl Grouped {
    pub fn open(url: &str, tenant_id: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = DatabaseOptions {
            url: url.to_owned(),
            read_url: None,
            pool_size: 4,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_mins(1),
        };
        let database = runtime.block_on(Database::open(&options)).unwrap();
        let analytics = Analytics::new(Arc::new(database), CallLimits::default());
        Self { runtime, analytics, tenant: TenantId(Uuid::parse_str(tenant_id).unwrap()) }
    }

    /// Fails where the figures of a window by agent or by end reason differ from loops over the calls.
    pub fn check(&self, world: &World, window: &Window) {
        for dimension in [Dimension::Agent, Dimension::EndReason] {
            let expected = figures::by_text(world, window, dimension.as_str());
            assert_eq!(self.ask(window, dimension, &expected), expected.keys().map(String::as_str).collect::<Vec<_>>());
        }
    }

    /// The groups, by name; each is compared.
    fn ask<'e>(
        &self,
        window: &Window,
        dimension: Dimension,
        expected: &'e BTreeMap<String, Vec<(&'static str, Option<f64>)>>,
    ) -> Vec<&'e str> {
        let at = Timestamp::from_micros;
        let metrics: Vec<Metric> = figures::METRICS.iter().map(|name| name.parse().unwrap()).collect();
        let question = Question {
            window: callscope_domain::Window::new(at(window.from_us), at(window.to_us)).unwrap(),
            metrics,
            axes: vec![Axis::Dimension(dimension)],
            filters: Vec::new(),
            cut: None,
            shows_unknown: false,
            wants_total: false,
        };
        let answer = self.runtime.block_on(self.analytics.ask(self.tenant, question)).unwrap();
        assert!(answer.additive);
        let mut names: Vec<&str> = Vec::new();
        for row in &answer.rows {
            let Some(GroupValue::Text(name)) = row.first_value().map(|shown| &shown.value) else { panic!("{row:?}") };
            let (name, expected) = expected.get_key_value(&**name).unwrap_or_else(|| panic!("{name} has no calls"));
            names.push(name);
            for &(metric, value) in expected {
                let found = number(row, metric.parse().unwrap());
                let is_alike = match (found, value) {
                    (Some(found), Some(value)) => (found - value).abs() <= value.abs() * RELATIVE_ERROR_MAX,
                    (found, value) => found == value,
                };
                assert!(is_alike, "{metric} of {dimension} {name} in {}: {found:?}, but {value:?}", window.query);
            }
        }
        names.sort_unstable();
        names
    }
}

fn number(row: &FiguresRow, metric: Metric) -> Option<f64> {
    Some(match row.value(metric)? {
        MetricValue::Whole(value) => value as f64,
        MetricValue::Real(value) => value,
    })
}

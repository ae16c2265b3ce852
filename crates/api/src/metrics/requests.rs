//! Requests and their answers: by method, route and status, and how long they took.

use super::registered;
use actix_web::HttpRequest;
use actix_web::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

/// Upper bounds of the buckets of an answer's time, in seconds: from what the cache takes to what is given up.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The values of the label `method`; every other method is [`OTHER_METHOD`].
const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];
const OTHER_METHOD: &str = "other";

/// The route of requests that no route takes.
const NO_ROUTE: &str = "(none)";

/// Which requests. What a client can choose freely is none of it, so that their number is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

/// Which requests, whatever the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

type Durations = Family<Asked, Histogram, fn() -> Histogram>;

pub struct RequestMetrics {
    in_flight: Gauge,
    answered: Family<Answered, Counter>,
    durations: Durations,
    /// By template, which for most routes is the path itself.
    routes: HashMap<String, Route>,
    none: Route,
}

/// The handles of one route, for each of [`METHODS`] and for all others.
#[derive(Default)]
struct Route([OnceLock<Handles>; METHODS.len() + 1]);

/// The handles of one method of one route.
struct Handles {
    labels: Asked,
    ok: Counter,
    durations: Histogram,
}

/// A request that is being answered.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RequestMetrics {
    pub(super) fn new(registry: &mut Registry, routes: impl IntoIterator<Item = String>) -> Self {
        let in_flight = registered(registry, "callscope_http_requests_in_flight", "Requests that are being answered");
        let answered =
            registered(registry, "callscope_http_requests", "Requests, by method, route and status of the answer");
        let durations: Durations = Family::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register(
            "callscope_http_request_duration_seconds",
            "Time from a request's head to its answer's",
            durations.clone(),
        );
        let routes = routes.into_iter().map(|template| (template, Route::default())).collect();
        Self { in_flight, answered, durations, routes, none: Route::default() }
    }

    /// Counts a request in, until what this gives is dropped.
    pub fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answer; gives the template of the request's route.
    pub fn count(&self, request: &HttpRequest, method: &Method, status: StatusCode, took: Duration) -> &str {
        let (template, route) = self.route(request);
        self.count_at(template, route, method, status, took);
        template
    }

    /// Counts a request that a panic has taken away.
    pub fn count_lost(&self, method: &Method, took: Duration) {
        self.count_at(NO_ROUTE, &self.none, method, StatusCode::INTERNAL_SERVER_ERROR, took);
    }

    fn count_at(&self, template: &str, route: &Route, method: &Method, status: StatusCode, took: Duration) {
        let place = METHODS.iter().position(|known| known == method);
        let handles = route.0[place.unwrap_or(METHODS.len())].get_or_init(|| self.handles(place, template));
        if status == StatusCode::OK {
            handles.ok.inc();
        } else {
            let Asked { method, route } = handles.labels.clone();
            self.answered.get_or_create(&Answered { method, route, status: status.as_u16() }).inc();
        }
        handles.durations.observe(took.as_secs_f64());
    }

    fn route(&self, request: &HttpRequest) -> (&str, &Route) {
        // Most templates are the path itself; to ask the framework for one costs more than all the rest here.
        let found = self.routes.get_key_value(request.path());
        let found = found.or_else(|| self.routes.get_key_value(request.match_pattern()?.as_str()));
        found.map_or((NO_ROUTE, &self.none), |(template, route)| (template.as_str(), route))
    }

    fn handles(&self, place: Option<usize>, route: &str) -> Handles {
        const NAMES: [&str; METHODS.len()] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
        let method = place.map_or(OTHER_METHOD, |place| NAMES[place]);
        let labels = Asked { method, route: route.to_owned() };
        let answered = Answered { method, route: route.to_owned(), status: StatusCode::OK.as_u16() };
        Handles {
            ok: self.answered.get_or_create_owned(&answered),
            durations: self.durations.get_or_create_owned(&labels),
            labels,
        }
    }
}

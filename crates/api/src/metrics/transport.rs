//! Connections: how many there are, and which were refused or ended before their time.

use super::{Label, registered};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts connections and what was refused of them.
#[derive(Clone)]
pub struct TransportMetrics {
    pub connections_open: Gauge,
    /// Connections of addresses that had too many.
    pub connections_refused: Counter,
    /// Requests behind a proxy, of addresses that had too many.
    pub requests_refused: Counter,
    /// Answers for which there was no room in memory.
    pub answers_refused: Counter,
    /// Messages of sockets that announced too many bytes.
    pub frames_refused: Counter,
    /// Requests that are not valid HTTP.
    pub requests_malformed: Counter,
    /// Connections whose head did not come in time.
    pub heads_timed_out: Counter,
    /// Bodies that came too slowly.
    pub bodies_timed_out: Counter,
    /// Connections whose client did not read in time.
    pub writes_timed_out: Counter,
}

impl TransportMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let connections_open =
            registered(registry, "callscope_connections_open", "Connections of clients that are open");
        let connections_refused = registered(
            registry,
            "callscope_connections_refused",
            "Connections closed at once, as their address had too many",
        );
        let requests_refused = registered(
            registry,
            "callscope_requests_refused",
            "Requests through a trusted proxy refused, as their address had too many in flight",
        );
        let answers_refused = registered(
            registry,
            "callscope_answers_refused",
            "Answers replaced by 503, as too many bytes of answers were not yet read by their clients",
        );
        let frames_refused = registered(
            registry,
            "callscope_socket_frames_refused",
            "WebSockets closed, as a message announced too many bytes",
        );
        let requests_malformed =
            registered(registry, "callscope_requests_malformed", "Requests refused, as they could not be read");
        let timeouts: Family<[Label; 1], Counter> = registered(
            registry,
            "callscope_connection_timeouts",
            "Clients that were too slow, by what was waited for: a head, a body, or that they read",
        );
        let timeout = |phase| timeouts.get_or_create_owned(&[("phase", phase)]);
        Self {
            connections_open,
            connections_refused,
            requests_refused,
            answers_refused,
            frames_refused,
            requests_malformed,
            heads_timed_out: timeout("head"),
            bodies_timed_out: timeout("body"),
            writes_timed_out: timeout("write"),
        }
    }
}

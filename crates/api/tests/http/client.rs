//! A client with one method a route.

use crate::document;
use crate::records::Record;
use crate::wire::{Connection, Request, Response};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

/// Where batches go, and below it single calls.
pub const INGEST: &str = "/api/v1/ingest/calls";
/// Above the read endpoints.
pub const ANALYTICS: &str = "/api/v1/analytics";

/// A client of one server with one key. It keeps its connection until the server says that it closes it.
pub struct Client {
    address: SocketAddr,
    key: Option<String>,
    connection: RefCell<Option<Connection>>,
    opened: Cell<usize>,
}

impl Client {
    pub fn new(address: SocketAddr, key: Option<String>) -> Self {
        Self { address, key, connection: RefCell::new(None), opened: Cell::new(0) }
    }

    /// Sends a request with the client's key.
    pub async fn send(&self, request: &Request) -> Response {
        let mut request = request.clone();
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key.clone());
        }
        let kept = self.connection.borrow_mut().take();
        let mut connection = if let Some(connection) = kept {
            connection
        } else {
            self.opened.set(self.opened.get() + 1);
            Connection::open(self.address).await
        };
        let response = connection.send(&request).await;
        document::check(&request, &response);
        if !response.closes() {
            self.connection.replace(Some(connection));
        }
        response
    }

    /// How many connections it took.
    pub fn connections_opened(&self) -> usize {
        self.opened.get()
    }

    /// Asks one of the analytics endpoints, such as `summary?period=1h`.
    pub async fn ask(&self, question: &str) -> Response {
        self.send(&Request::get(format!("{ANALYTICS}/{question}"))).await
    }

    pub async fn summary(&self, query: &str) -> Response {
        self.ask(&format!("summary{query}")).await
    }

    pub async fn call_volume(&self, query: &str) -> Response {
        self.ask(&format!("call-volume{query}")).await
    }

    pub async fn workflow_stats(&self, query: &str) -> Response {
        self.ask(&format!("workflow-stats{query}")).await
    }

    pub async fn provider_latency(&self, query: &str) -> Response {
        self.ask(&format!("provider-latency{query}")).await
    }

    pub async fn errors(&self, query: &str) -> Response {
        self.ask(&format!("errors{query}")).await
    }

    pub async fn active_calls(&self) -> Response {
        self.ask("active-calls").await
    }

    pub async fn put_call(&self, record: &Record) -> Response {
        let path = format!("{INGEST}/{}", record.id());
        self.send(&Request::new("PUT", path).json(record.to_string())).await
    }

    /// Sends records as NDJSON.
    pub async fn ingest(&self, records: &[Record]) -> Response {
        let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
        self.send(&Request::new("POST", INGEST).ndjson(lines.join("\n"))).await
    }

    /// Sends records that must all be accepted.
    pub async fn given(&self, records: &[Record]) {
        let response = self.ingest(records).await;
        let expected =
            serde_json::json!({"accepted": records.len(), "rejected": [], "dropped_samples": 0, "ignored_fields": []});
        assert_eq!((response.status, response.value()), (200, expected));
    }
}

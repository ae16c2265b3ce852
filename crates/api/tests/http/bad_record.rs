//! Records that are refused, each with the path of the field and the fix: alone, and in a batch between good ones.

use crate::client::INGEST;
use crate::layout::{fault, problem};
use crate::records::{Record, active, call_id, completed};
use crate::server::Server;
use crate::table::still_works;
use crate::wire::Request;
use callscope_testkit::Backend;
use serde_json::json;
use std::fmt::Write;

/// When the calls of the tables start.
pub const AT: &str = "2026-01-17T10:00:00Z";

/// A bad record: what is bad about it, and its JSON. All are of call 1.
pub type Case = (&'static str, String);

/// A completed call of a minute that is sound but for one field.
pub fn case(name: &'static str, field: &str, value: impl Into<serde_json::Value>) -> Case {
    (name, sound().with(field, value).to_string())
}

/// A completed call of a minute.
pub fn sound() -> Record {
    completed(1, AT, 60)
}

/// Puts each record, and gives each problem below its name; then sends all of them between good ones, and sees that the
/// same is said of each and that all the good ones are kept.
pub async fn refusals(backend: Backend, table: &[Case]) -> String {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let mut seen = String::new();
    let mut faults = Vec::new();
    for (name, json) in table {
        let response =
            acme.send(&Request::new("PUT", format!("{INGEST}/{}?strict=true", call_id(1))).json(json.clone())).await;
        let _ = writeln!(seen, "{name}\n  {}", problem(&response));
        let value = response.value();
        // What is no JSON at all is 400 by itself, and one record of many in a batch.
        let message = value["detail"].as_str().and_then(|detail| detail.strip_prefix("the body "));
        faults.push(match response.status {
            400 => json!([{"field": "(record)", "code": "invalid_json", "message": message}]),
            _ => value["errors"].clone(),
        });
    }
    still_works(&acme).await;
    let good = |index: usize| active(1000 + u32::try_from(index).expect("a small table"), AT).to_string();
    let lines: Vec<String> =
        table.iter().enumerate().flat_map(|(index, (_, json))| [good(index), json.replace('\n', " ")]).collect();
    let globex = server.tenant("globex").await;
    let batch =
        globex.send(&Request::new("POST", format!("{INGEST}?strict=true")).ndjson(lines.join("\n"))).await.value();
    assert_eq!(batch["accepted"], table.len(), "{batch}");
    let rejected = batch["rejected"].as_array().expect("a list");
    assert_eq!(rejected.len(), table.len(), "{batch}");
    for (position, (rejected, faults)) in rejected.iter().zip(&faults).enumerate() {
        assert_eq!(rejected["index"], 2 * position + 1);
        assert_eq!(&rejected["errors"], faults);
        assert!(rejected["errors"].as_array().into_iter().flatten().all(|error| !fault(error).is_empty()));
    }
    assert_eq!(globex.active_calls().await.value()["count"], table.len());
    seen
}

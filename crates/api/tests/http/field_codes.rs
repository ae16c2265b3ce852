//! Every fault of a field has a code that programs can rely on; one example of each.

use crate::records::completed;
use crate::server::Server;
use crate::wire::Request;
use callscope_testkit::Backend;
use serde_json::{Value, json};

on_each_backend!(each_kind_of_fault_has_its_code);

const AT: &str = "2026-01-17T10:00:00Z";

async fn each_kind_of_fault_has_its_code(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let error = |key: &str, value: Value| {
        let error = json!({"timestamp": AT, "service": "stt", "level": "error", "message": "m"});
        let mut error = error.as_object().expect("an object").clone();
        error.insert(key.to_owned(), value);
        json!([error])
    };
    let latencies: Vec<f64> = vec![1.0; 10_001];
    let records = [
        ("required", completed(1, AT, 60).without("status")),
        ("required", completed(1, AT, 60).without("ended_at")),
        ("not_allowed", completed(1, AT, 60).with("status", "active")),
        ("unknown_value", completed(1, AT, 60).with("status", "done")),
        ("invalid_type", completed(1, AT, 60).with("agent", 7)),
        ("invalid_format", completed(1, AT, 60).with("started_at", "yesterday")),
        ("invalid_format", completed(1, AT, 60).with("workflow", json!({"slug": "A B"}))),
        ("empty", completed(1, AT, 60).with("agent", "")),
        ("too_long", completed(1, AT, 60).with("agent", "x".repeat(129))),
        ("too_long", completed(1, AT, 60).with("errors", error("message", "x".repeat(4097).into()))),
        (
            "too_many",
            completed(1, AT, 60).with(
                "providers",
                json!([{"provider_type": "stt", "provider_name": "deepgram", "latencies_ms": latencies}]),
            ),
        ),
        ("out_of_range", completed(1, AT, 60).with("total_tokens", -1)),
        ("out_of_range", completed(1, AT, 60).with("total_tokens", 1.5)),
        ("inconsistent", completed(1, AT, 60).with("ended_at", "2026-01-17T09:00:00Z")),
        ("inconsistent", completed(1, AT, 60).with("errors", error("timestamp", "2026-01-18T10:00:00Z".into()))),
    ];
    for (code, record) in records {
        let answer = acme.put_call(&record).await;
        assert_eq!((answer.status, codes(&answer.value()).as_slice()), (422, [code.to_owned()].as_slice()), "{record}");
    }
    let batch = acme.send(&Request::new("POST", "/api/v1/ingest/calls").ndjson("{\n".to_owned())).await.value();
    assert_eq!(codes(&batch["rejected"][0]), ["invalid_json"]);
    let queries = [
        ("unknown", "?x=1"),
        ("duplicate", "?period=1h&period=1h"),
        ("unknown_value", "?period=2h"),
        ("inconsistent", "?started_after=2026-01-17T10:00:00Z&started_before=2026-01-17T09:00:00Z"),
        ("out_of_range", "?started_after=2026-01-17T12:00:00Z"),
    ];
    for (code, query) in queries {
        assert_eq!(codes(&acme.summary(query).await.value()), [code], "{query}");
    }
}

fn codes(value: &Value) -> Vec<String> {
    let errors = value["errors"].as_array().expect("errors");
    errors.iter().map(|error| error["code"].as_str().expect("a code").to_owned()).collect()
}

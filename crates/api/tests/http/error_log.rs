//! `GET /api/v1/analytics/errors`.

use crate::layout::answer;
use crate::records::{Record, active, completed, error, failed};
use crate::server::{Server, TenantClient};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::{Value, json};

on_each_backend!(
    without_errors_the_log_is_empty,
    the_newest_come_first_and_ties_are_by_call_then_position,
    filters_narrow_items_and_total_alike,
    pages_follow_one_another_and_total_counts_what_is_on_none_of_them,
    a_page_holds_50_unless_told_otherwise,
    an_error_belongs_to_the_window_of_its_call,
    details_come_back_as_they_were_sent
);

/// Nine errors in three calls; the first two and the last calls' are in the last 24 hours.
async fn server_with_errors(backend: Backend) -> (Server, TenantClient) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let mut timeout = error("2026-01-17T10:31:00.5Z", "stt", "error", "Connection timeout to Deepgram");
    timeout["details"] = json!({"timeout_ms": 5000, "retry_count": 3});
    timeout["agent"] = json!("meal-agent");
    acme.given(&[
        completed(1, "2026-01-17T10:30:00Z", 180)
            .error(timeout)
            .error(error("2026-01-17T10:32:00Z", "llm", "error", "Rate limit exceeded"))
            .error(error("2026-01-17T10:30:00Z", "tool", "warning", "Slow tool")),
        failed(2, "2026-01-17T10:30:00Z", 180)
            .error(error("2026-01-17T10:32:00Z", "llm", "warning", "Rate limit near"))
            .error(error("2026-01-17T10:32:00Z", "workflow", "error", "No such step"))
            .error(error("2026-01-17T11:32:00+01:00", "tts", "error", "Voice not found")),
        active(3, "2026-01-17T11:00:00Z").error(error("2026-01-17T10:55:00Z", "stt", "warning", "Clocks differ")),
        completed(4, "2026-01-10T08:00:00Z", 60)
            .error(error("2026-01-10T08:00:01Z", "stt", "error", "Long ago"))
            .error(error("2026-01-10T08:00:02Z", "stt", "error", "Long ago, too")),
    ])
    .await;
    (server, acme)
}

fn ids(value: &Value) -> Vec<&str> {
    let items = value["items"].as_array().expect("items");
    items.iter().map(|item| &item["id"].as_str().expect("an id")[33..]).collect()
}

async fn without_errors_the_log_is_empty(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[failed(1, "2026-01-17T10:00:00Z", 60)]).await;
    assert_snapshot!(answer(&acme.errors("").await), @r#"
    200
    {"items":[],"total":0}
    "#);
}

async fn the_newest_come_first_and_ties_are_by_call_then_position(backend: Backend) {
    let (_server, acme) = server_with_errors(backend).await;
    assert_snapshot!(answer(&acme.errors("").await), @r#"
    200
    {
      "items":[
        {
          "id":"00000000-0000-4000-8000-000000000003-0",
          "call_id":"00000000-0000-4000-8000-000000000003",
          "timestamp":"2026-01-17T10:55:00Z",
          "service":"stt",
          "level":"warning",
          "message":"Clocks differ",
          "details":null,
          "agent":null
        },
        {
          "id":"00000000-0000-4000-8000-000000000001-1",
          "call_id":"00000000-0000-4000-8000-000000000001",
          "timestamp":"2026-01-17T10:32:00Z",
          "service":"llm",
          "level":"error",
          "message":"Rate limit exceeded",
          "details":null,
          "agent":null
        },
        {
          "id":"00000000-0000-4000-8000-000000000002-0",
          "call_id":"00000000-0000-4000-8000-000000000002",
          "timestamp":"2026-01-17T10:32:00Z",
          "service":"llm",
          "level":"warning",
          "message":"Rate limit near",
          "details":null,
          "agent":null
        },
        {
          "id":"00000000-0000-4000-8000-000000000002-1",
          "call_id":"00000000-0000-4000-8000-000000000002",
          "timestamp":"2026-01-17T10:32:00Z",
          "service":"workflow",
          "level":"error",
          "message":"No such step",
          "details":null,
          "agent":null
        },
        {
          "id":"00000000-0000-4000-8000-000000000002-2",
          "call_id":"00000000-0000-4000-8000-000000000002",
          "timestamp":"2026-01-17T10:32:00Z",
          "service":"tts",
          "level":"error",
          "message":"Voice not found",
          "details":null,
          "agent":null
        },
        {
          "id":"00000000-0000-4000-8000-000000000001-0",
          "call_id":"00000000-0000-4000-8000-000000000001",
          "timestamp":"2026-01-17T10:31:00.500Z",
          "service":"stt",
          "level":"error",
          "message":"Connection timeout to Deepgram",
          "details":{"retry_count":3,"timeout_ms":5000},
          "agent":"meal-agent"
        },
        {
          "id":"00000000-0000-4000-8000-000000000001-2",
          "call_id":"00000000-0000-4000-8000-000000000001",
          "timestamp":"2026-01-17T10:30:00Z",
          "service":"tool",
          "level":"warning",
          "message":"Slow tool",
          "details":null,
          "agent":null
        }
      ],
      "total":7
    }
    "#);
}

async fn filters_narrow_items_and_total_alike(backend: Backend) {
    let (_server, acme) = server_with_errors(backend).await;
    let cases: [(&str, &[&str], u64); 9] = [
        ("?service=stt", &["003-0", "001-0"], 2),
        ("?service=llm", &["001-1", "002-0"], 2),
        ("?service=tts", &["002-2"], 1),
        ("?service=workflow", &["002-1"], 1),
        ("?service=tool", &["001-2"], 1),
        ("?level=error", &["001-1", "002-1", "002-2", "001-0"], 4),
        ("?level=warning", &["003-0", "002-0", "001-2"], 3),
        ("?service=llm&level=warning", &["002-0"], 1),
        ("?service=tool&level=error", &[], 0),
    ];
    for (query, expected, total) in cases {
        let value = acme.errors(query).await.value();
        assert_eq!((ids(&value), value["total"].as_u64()), (expected.to_vec(), Some(total)), "{query}");
    }
}

async fn pages_follow_one_another_and_total_counts_what_is_on_none_of_them(backend: Backend) {
    let (_server, acme) = server_with_errors(backend).await;
    let all = acme.errors("").await.value();
    let all = ids(&all);
    for offset in 0..=8 {
        for limit in [1, 2, 3, 200] {
            let value = acme.errors(&format!("?offset={offset}&limit={limit}")).await.value();
            let expected: Vec<&str> = all.iter().skip(offset).take(limit).copied().collect();
            assert_eq!((ids(&value), value["total"].as_u64()), (expected, Some(7)), "{offset} {limit}");
        }
    }
    let far = acme.errors("?offset=4294967295").await.value();
    assert_eq!(far, json!({"items": [], "total": 7}));
}

async fn a_page_holds_50_unless_told_otherwise(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let with_200 = |record: Record| {
        let one = error("2026-01-17T10:00:00Z", "stt", "error", "Again");
        record.with("errors", vec![one; 200])
    };
    acme.given(&[
        with_200(completed(1, "2026-01-17T10:00:00Z", 60)),
        with_200(completed(2, "2026-01-17T10:00:00Z", 60)),
    ])
    .await;
    for (query, length) in [("", 50), ("?limit=200", 200), ("?limit=200&offset=300", 100)] {
        let value = acme.errors(query).await.value();
        assert_eq!((ids(&value).len(), value["total"].as_u64()), (length, Some(400)), "{query}");
    }
}

async fn an_error_belongs_to_the_window_of_its_call(backend: Backend) {
    let (_server, acme) = server_with_errors(backend).await;
    let cases: [(&str, &[&str]); 3] = [
        // The call started in the window, its error lies after it.
        ("?started_after=2026-01-10T08:00:00Z&started_before=2026-01-10T08:00:01Z", &["004-1", "004-0"]),
        // The errors lie in the window, their call started before it.
        ("?started_after=2026-01-10T08:00:00.000001Z&started_before=2026-01-10T09:00:00Z", &[]),
        ("?period=1h", &["003-0"]),
    ];
    for (query, expected) in cases {
        let value = acme.errors(query).await.value();
        assert_eq!((ids(&value), value["total"].as_u64()), (expected.to_vec(), Some(expected.len() as u64)), "{query}");
    }
}

async fn details_come_back_as_they_were_sent(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    // Order, duplicates, digits and escapes are the client's own.
    let details = r#"{"z":1.50,"a":{"deep":[1e300,"\u00e9\n"]},"z":12345678901234567890123}"#;
    let record = completed(1, "2026-01-17T10:00:00Z", 60)
        .error(error("2026-01-17T10:00:00Z", "stt", "error", "Look"))
        .to_string()
        .replace(r#""message""#, &format!(r#""details":{details},"message""#));
    let put = crate::wire::Request::new("POST", crate::client::INGEST).ndjson(record);
    assert_eq!(acme.send(&put).await.status, 200);
    let response = acme.errors("").await;
    assert!(response.text().contains(&format!(r#""details":{details},"agent":null"#)), "{}", response.text());
}

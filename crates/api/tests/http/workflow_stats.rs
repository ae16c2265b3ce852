//! `GET /api/v1/analytics/workflow-stats`.

use crate::layout::answer;
use crate::records::{Record, active, completed, failed, workflow_id};
use crate::server::Server;
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::json;

on_each_backend!(
    without_calls_there_are_no_workflows,
    the_busiest_come_first_and_ties_are_by_slug,
    limit_cuts_the_list_and_is_10_unless_given,
    the_newest_call_that_gives_a_name_decides,
    the_window_decides_which_calls_count
);

async fn without_calls_there_are_no_workflows(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)]).await;
    assert_snapshot!(answer(&acme.workflow_stats("").await), @"
    200
    []
    ");
}

async fn the_busiest_come_first_and_ties_are_by_slug(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let own_id = "31c02e4f-12e0-4af0-869b-aab222503a09";
    acme.given(&[
        completed(1, "2026-01-17T10:00:00Z", 181).workflow("zebra", "Zebra"),
        completed(2, "2026-01-17T10:00:00Z", 180).workflow("zebra", "Zebra"),
        failed(3, "2026-01-17T10:00:00Z", 10).workflow("zebra", "Zebra"),
        failed(4, "2026-01-17T10:00:00Z", 20).workflow("beta", "Second"),
        completed(5, "2026-01-17T11:59:59Z", 20).with("workflow", json!({"slug": "alpha", "id": own_id})),
        active(6, "2026-01-17T10:00:00Z").workflow("gamma", "Only active"),
        completed(7, "2026-01-17T10:00:00Z", 5),
        completed(8, "2026-01-15T10:00:00Z", 5).workflow("elsewhere", "Before the window"),
    ])
    .await;
    assert_snapshot!(answer(&acme.workflow_stats("").await), @r#"
    200
    [
      {
        "workflow_id":"9bd895b7-600f-5748-be0b-b083650b4fa9",
        "workflow_name":"Zebra",
        "workflow_slug":"zebra",
        "total_calls":3,
        "completed_calls":2,
        "failed_calls":1,
        "success_rate":66.7,
        "avg_duration_seconds":123.7
      },
      {
        "workflow_id":"31c02e4f-12e0-4af0-869b-aab222503a09",
        "workflow_name":"alpha",
        "workflow_slug":"alpha",
        "total_calls":1,
        "completed_calls":1,
        "failed_calls":0,
        "success_rate":100.0,
        "avg_duration_seconds":20.0
      },
      {
        "workflow_id":"e990c8f4-6d73-5091-9638-6ae9b3b5ed91",
        "workflow_name":"Second",
        "workflow_slug":"beta",
        "total_calls":1,
        "completed_calls":0,
        "failed_calls":1,
        "success_rate":0.0,
        "avg_duration_seconds":20.0
      },
      {
        "workflow_id":"e988d591-3805-5123-a02b-02a35e36aff1",
        "workflow_name":"Only active",
        "workflow_slug":"gamma",
        "total_calls":1,
        "completed_calls":0,
        "failed_calls":0,
        "success_rate":null,
        "avg_duration_seconds":null
      }
    ]
    "#);
    assert_eq!(acme.workflow_stats("").await.value()[0]["workflow_id"], workflow_id(acme.id, "zebra"));
}

async fn limit_cuts_the_list_and_is_10_unless_given(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let slug = |number: u32| format!("workflow-{number:02}");
    let records: Vec<Record> =
        (0..55).map(|number| completed(number, "2026-01-17T10:00:00Z", 60).workflow(&slug(number), "One")).collect();
    acme.given(&records).await;
    for (query, length) in [("", 10), ("?limit=1", 1), ("?limit=50", 50), ("?limit=050", 50)] {
        let value = acme.workflow_stats(query).await.value();
        let slugs: Vec<&str> =
            value.as_array().into_iter().flatten().filter_map(|item| item["workflow_slug"].as_str()).collect();
        let expected: Vec<String> = (0..length).map(slug).collect();
        assert_eq!(slugs, expected, "{query}");
    }
}

async fn the_newest_call_that_gives_a_name_decides(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60).with("workflow", json!({"slug": "daily"}))]).await;
    assert_eq!(acme.workflow_stats("").await.value()[0]["workflow_name"], "daily");
    acme.given(&[completed(2, "2026-01-17T09:00:00Z", 60).workflow("daily", "Old name")]).await;
    assert_eq!(acme.workflow_stats("").await.value()[0]["workflow_name"], "Old name");
    acme.given(&[
        completed(3, "2026-01-17T11:00:00Z", 60).workflow("daily", "New \"name\" 🎙"),
        completed(4, "2026-01-17T08:00:00Z", 60).workflow("daily", "Oldest name"),
        completed(5, "2026-01-17T11:30:00Z", 60).with("workflow", json!({"slug": "daily", "name": null})),
    ])
    .await;
    assert_eq!(acme.workflow_stats("").await.value()[0]["workflow_name"], "New \"name\" 🎙");
}

async fn the_window_decides_which_calls_count(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-10T08:00:00Z", 60).workflow("daily", "Daily"),
        failed(2, "2026-01-10T08:59:59.999999Z", 60).workflow("daily", "Daily"),
        failed(3, "2026-01-10T09:00:00Z", 60).workflow("daily", "Daily"),
    ])
    .await;
    let window = "?started_after=2026-01-10T08:00:00Z&started_before=2026-01-10T09:00:00Z";
    assert_snapshot!(answer(&acme.workflow_stats(window).await), @r#"
    200
    [
      {
        "workflow_id":"aff16a39-147e-5354-8130-7ade116094f7",
        "workflow_name":"Daily",
        "workflow_slug":"daily",
        "total_calls":2,
        "completed_calls":1,
        "failed_calls":1,
        "success_rate":50.0,
        "avg_duration_seconds":60.0
      }
    ]
    "#);
}

//! `GET /api/v1/analytics/call-volume`.

use crate::layout::answer;
use crate::records::{active, completed, failed};
use crate::server::{Server, TenantClient};
use callscope_testkit::Backend;
use insta::assert_snapshot;

on_each_backend!(
    hours_are_the_default_and_empty_ones_are_there,
    the_first_and_the_last_bucket_hold_only_calls_of_the_window,
    a_window_that_ends_on_a_boundary_has_no_bucket_after_it,
    with_a_workflow_only_its_calls_count,
    weeks_start_on_monday,
    days_of_berlin_are_23_and_25_hours_long_when_clocks_change,
    days_and_weeks_of_new_york_follow_its_clocks,
    an_hour_that_clocks_show_twice_is_two_buckets,
    hours_and_days_of_kolkata_start_at_half_past
);

async fn server_with_a_day(backend: Backend) -> (Server, TenantClient) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-17T09:30:00Z", 60).workflow("daily-call", "Daily"),
        completed(2, "2026-01-17T10:00:00Z", 60),
        failed(3, "2026-01-17T10:59:59.999999Z", 60).workflow("daily-call", "Daily"),
        active(4, "2026-01-17T11:30:00Z"),
    ])
    .await;
    (server, acme)
}

async fn hours_are_the_default_and_empty_ones_are_there(backend: Backend) {
    let (_server, acme) = server_with_a_day(backend).await;
    assert_snapshot!(answer(&acme.call_volume("").await), @r#"
    200
    {
      "interval":"hour",
      "data":[
        {"timestamp":"2026-01-16T12:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T13:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T14:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T15:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T16:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T17:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T18:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T19:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T20:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T21:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T22:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-16T23:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T00:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T01:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T02:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T03:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T04:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T05:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T06:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T07:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T08:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T09:00:00Z","total":1,"completed":1,"failed":0},
        {"timestamp":"2026-01-17T10:00:00Z","total":2,"completed":1,"failed":1},
        {"timestamp":"2026-01-17T11:00:00Z","total":1,"completed":0,"failed":0}
      ]
    }
    "#);
}

async fn the_first_and_the_last_bucket_hold_only_calls_of_the_window(backend: Backend) {
    let (_server, acme) = server_with_a_day(backend).await;
    let query = "?started_after=2026-01-17T09:30:00.000001Z&started_before=2026-01-17T10:59:59.999999Z";
    assert_snapshot!(answer(&acme.call_volume(query).await), @r#"
    200
    {
      "interval":"hour",
      "data":[
        {"timestamp":"2026-01-17T09:00:00Z","total":0,"completed":0,"failed":0},
        {"timestamp":"2026-01-17T10:00:00Z","total":1,"completed":1,"failed":0}
      ]
    }
    "#);
}

async fn a_window_that_ends_on_a_boundary_has_no_bucket_after_it(backend: Backend) {
    let (_server, acme) = server_with_a_day(backend).await;
    let query = "?started_after=2026-01-17T10:00:00Z&started_before=2026-01-17T11:00:00Z";
    assert_snapshot!(answer(&acme.call_volume(query).await), @r#"
    200
    {"interval":"hour","data":[{"timestamp":"2026-01-17T10:00:00Z","total":2,"completed":1,"failed":1}]}
    "#);
}

async fn with_a_workflow_only_its_calls_count(backend: Backend) {
    let (_server, acme) = server_with_a_day(backend).await;
    let query = "?started_after=2026-01-17T10:00:00Z&started_before=2026-01-17T11:00:00Z&workflow=";
    assert_snapshot!(answer(&acme.call_volume(&format!("{query}daily-call")).await), @r#"
    200
    {"interval":"hour","data":[{"timestamp":"2026-01-17T10:00:00Z","total":1,"completed":0,"failed":1}]}
    "#);
    assert_snapshot!(answer(&acme.call_volume(&format!("{query}never-used")).await), @r#"
    200
    {"interval":"hour","data":[{"timestamp":"2026-01-17T10:00:00Z","total":0,"completed":0,"failed":0}]}
    "#);
}

async fn weeks_start_on_monday(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-04T23:59:59Z", 60),
        completed(2, "2026-01-05T00:00:00Z", 60),
        completed(3, "2026-01-11T23:59:59Z", 60),
        completed(4, "2026-01-12T00:00:00Z", 60),
    ])
    .await;
    let query = "?interval=week&started_after=2026-01-01T00:00:00Z&started_before=2026-01-15T23:59:59Z";
    assert_snapshot!(answer(&acme.call_volume(query).await), @r#"
    200
    {
      "interval":"week",
      "data":[
        {"timestamp":"2025-12-29T00:00:00Z","total":1,"completed":1,"failed":0},
        {"timestamp":"2026-01-05T00:00:00Z","total":2,"completed":2,"failed":0},
        {"timestamp":"2026-01-12T00:00:00Z","total":1,"completed":1,"failed":0}
      ]
    }
    "#);
}

async fn days_of_berlin_are_23_and_25_hours_long_when_clocks_change(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        // The last instant of Saturday, the first of Sunday, the last of the short Sunday, the first of Monday.
        completed(1, "2025-03-29T22:59:59.999999Z", 60),
        completed(2, "2025-03-29T23:00:00Z", 60),
        completed(3, "2025-03-30T21:59:59.999999Z", 60),
        completed(4, "2025-03-30T22:00:00Z", 60),
        // The same around the long Sunday.
        failed(5, "2025-10-25T21:59:59.999999Z", 60),
        failed(6, "2025-10-25T22:00:00Z", 60),
        failed(7, "2025-10-26T22:59:59.999999Z", 60),
        failed(8, "2025-10-26T23:00:00Z", 60),
    ])
    .await;
    let spring = "?started_after=2025-03-28T23:00:00Z&started_before=2025-03-31T22:00:00Z";
    let autumn = "?started_after=2025-10-24T22:00:00Z&started_before=2025-10-27T23:00:00Z";
    let days = |window: &str| format!("{window}&interval=day&timezone=Europe/Berlin");
    assert_snapshot!(answer(&acme.call_volume(&days(spring)).await), @r#"
    200
    {
      "interval":"day",
      "data":[
        {"timestamp":"2025-03-28T23:00:00Z","total":1,"completed":1,"failed":0},
        {"timestamp":"2025-03-29T23:00:00Z","total":2,"completed":2,"failed":0},
        {"timestamp":"2025-03-30T22:00:00Z","total":1,"completed":1,"failed":0}
      ]
    }
    "#);
    assert_snapshot!(answer(&acme.call_volume(&days(autumn)).await), @r#"
    200
    {
      "interval":"day",
      "data":[
        {"timestamp":"2025-10-24T22:00:00Z","total":1,"completed":0,"failed":1},
        {"timestamp":"2025-10-25T22:00:00Z","total":2,"completed":0,"failed":2},
        {"timestamp":"2025-10-26T23:00:00Z","total":1,"completed":0,"failed":1}
      ]
    }
    "#);
}

async fn days_and_weeks_of_new_york_follow_its_clocks(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2025-03-09T04:59:59Z", 60),
        completed(2, "2025-03-09T05:00:00Z", 60),
        completed(3, "2025-03-10T03:59:59Z", 60),
        completed(4, "2025-03-10T04:00:00Z", 60),
        failed(5, "2025-11-02T03:59:59Z", 60),
        failed(6, "2025-11-02T04:00:00Z", 60),
        failed(7, "2025-11-03T04:59:59Z", 60),
        failed(8, "2025-11-03T05:00:00Z", 60),
    ])
    .await;
    let spring = "?started_after=2025-03-08T05:00:00Z&started_before=2025-03-11T04:00:00Z&timezone=America/New_York";
    let autumn = "?started_after=2025-11-01T04:00:00Z&started_before=2025-11-04T05:00:00Z&timezone=America%2FNew_York";
    assert_snapshot!(answer(&acme.call_volume(&format!("{spring}&interval=day")).await), @r#"
    200
    {
      "interval":"day",
      "data":[
        {"timestamp":"2025-03-08T05:00:00Z","total":1,"completed":1,"failed":0},
        {"timestamp":"2025-03-09T05:00:00Z","total":2,"completed":2,"failed":0},
        {"timestamp":"2025-03-10T04:00:00Z","total":1,"completed":1,"failed":0}
      ]
    }
    "#);
    assert_snapshot!(answer(&acme.call_volume(&format!("{autumn}&interval=day")).await), @r#"
    200
    {
      "interval":"day",
      "data":[
        {"timestamp":"2025-11-01T04:00:00Z","total":1,"completed":0,"failed":1},
        {"timestamp":"2025-11-02T04:00:00Z","total":2,"completed":0,"failed":2},
        {"timestamp":"2025-11-03T05:00:00Z","total":1,"completed":0,"failed":1}
      ]
    }
    "#);
    assert_snapshot!(answer(&acme.call_volume(&format!("{spring}&interval=week")).await), @r#"
    200
    {
      "interval":"week",
      "data":[
        {"timestamp":"2025-03-03T05:00:00Z","total":3,"completed":3,"failed":0},
        {"timestamp":"2025-03-10T04:00:00Z","total":1,"completed":1,"failed":0}
      ]
    }
    "#);
}

async fn an_hour_that_clocks_show_twice_is_two_buckets(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[completed(1, "2025-10-26T00:30:00Z", 60), failed(2, "2025-10-26T01:30:00Z", 60)]).await;
    let query = "?started_after=2025-10-26T00:00:00Z&started_before=2025-10-26T03:00:00Z&timezone=Europe/Berlin";
    assert_snapshot!(answer(&acme.call_volume(query).await), @r#"
    200
    {
      "interval":"hour",
      "data":[
        {"timestamp":"2025-10-26T00:00:00Z","total":1,"completed":1,"failed":0},
        {"timestamp":"2025-10-26T01:00:00Z","total":1,"completed":0,"failed":1},
        {"timestamp":"2025-10-26T02:00:00Z","total":0,"completed":0,"failed":0}
      ]
    }
    "#);
}

async fn hours_and_days_of_kolkata_start_at_half_past(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-16T18:29:59.999999Z", 60),
        completed(2, "2026-01-16T18:30:00Z", 60),
        failed(3, "2026-01-16T19:29:59Z", 60),
        active(4, "2026-01-16T19:30:00Z"),
    ])
    .await;
    let query = "?started_after=2026-01-16T18:00:00Z&started_before=2026-01-16T20:00:00Z&timezone=Asia/Kolkata";
    assert_snapshot!(answer(&acme.call_volume(query).await), @r#"
    200
    {
      "interval":"hour",
      "data":[
        {"timestamp":"2026-01-16T17:30:00Z","total":1,"completed":1,"failed":0},
        {"timestamp":"2026-01-16T18:30:00Z","total":2,"completed":1,"failed":1},
        {"timestamp":"2026-01-16T19:30:00Z","total":1,"completed":0,"failed":0}
      ]
    }
    "#);
    assert_snapshot!(answer(&acme.call_volume(&format!("{query}&interval=day")).await), @r#"
    200
    {
      "interval":"day",
      "data":[
        {"timestamp":"2026-01-15T18:30:00Z","total":1,"completed":1,"failed":0},
        {"timestamp":"2026-01-16T18:30:00Z","total":3,"completed":1,"failed":1}
      ]
    }
    "#);
}

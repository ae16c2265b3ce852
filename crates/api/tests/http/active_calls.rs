//! `GET /api/v1/analytics/active-calls`.

use crate::layout::answer;
use crate::records::{active, completed, failed};
use crate::server::Server;
use callscope_testkit::Backend;
use insta::assert_snapshot;

on_each_backend!(counts_what_is_active_whenever_it_started);

async fn counts_what_is_active_whenever_it_started(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    assert_snapshot!(answer(&acme.active_calls().await), @r#"
    200
    {"count":0}
    "#);
    acme.given(&[
        active(1, "2026-01-17T11:59:00Z"),
        active(2, "2025-01-17T11:59:00Z"),
        active(3, "2026-01-18T12:00:00Z"),
        completed(4, "2026-01-17T11:00:00Z", 60),
        failed(5, "2026-01-17T11:00:00Z", 60),
    ])
    .await;
    assert_snapshot!(answer(&acme.active_calls().await), @r#"
    200
    {"count":3}
    "#);
    acme.given(&[completed(1, "2026-01-17T11:59:00Z", 30), failed(2, "2025-01-17T11:59:00Z", 30)]).await;
    assert_snapshot!(answer(&acme.active_calls().await), @r#"
    200
    {"count":1}
    "#);
}

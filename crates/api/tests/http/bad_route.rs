//! Paths and methods that nothing answers to.

use crate::layout::problem;
use crate::records::{active, call_id};
use crate::server::Server;
use crate::table::still_works;
use crate::wire::Request;
use callscope_testkit::Backend;
use insta::assert_snapshot;
use std::fmt::Write;

on_each_backend!(unknown_paths_and_methods, a_call_of_a_path_must_be_a_uuid, a_call_of_a_path_must_be_the_records);

async fn unknown_paths_and_methods(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let call = "/api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09";
    let table = [
        Request::get("/nope"),
        Request::get("/api/v1"),
        Request::get("/api/v1/analytics"),
        Request::get("/api/v1/analytics/"),
        Request::get("/api/v1/analytics/nope"),
        Request::get("/api/v1/analytics/summary/"),
        Request::get("//api/v1/analytics/summary"),
        Request::get("/API/v1/analytics/summary"),
        Request::get("/api/v2/analytics/summary"),
        Request::new("PUT", format!("{call}/")).json("{}"),
        Request::new("PUT", "/api/v1/ingest/calls/").json("{}"),
        Request::get("/swagger-ui/nope.js"),
        Request::get("/api-docs"),
        Request::new("POST", "/api/v1/analytics/summary"),
        Request::new("DELETE", "/api/v1/analytics/errors"),
        Request::new("OPTIONS", "/api/v1/analytics/active-calls"),
        Request::new("BREW", "/api/v1/analytics/call-volume"),
        Request::get("/api/v1/ingest/calls"),
        Request::new("PUT", "/api/v1/ingest/calls").json("{}"),
        Request::get(call),
        Request::new("POST", call).json("{}"),
        Request::new("DELETE", call),
        Request::new("PATCH", call).json("{}"),
        Request::new("POST", "/health"),
        Request::new("DELETE", "/health/live"),
        Request::new("PUT", "/health/ready").json("{}"),
        Request::new("POST", "/api-docs/openapi.json"),
        Request::new("DELETE", "/swagger-ui/"),
        Request::new("POST", "/"),
    ];
    let mut seen = String::new();
    for request in table {
        let response = acme.send(&request).await;
        let allow = response.header("Allow").map(|allow| format!("; Allow: {allow}")).unwrap_or_default();
        let _ = writeln!(seen, "{} {}\n  {}{allow}", request.method, request.target, problem(&response));
    }
    assert_snapshot!(seen, @"
    GET /nope
      404 not_found: no operation has this path; see /swagger-ui/
    GET /api/v1
      404 not_found: no operation has this path; see /swagger-ui/
    GET /api/v1/analytics
      404 not_found: no operation has this path; see /swagger-ui/
    GET /api/v1/analytics/
      404 not_found: no operation has this path; see /swagger-ui/
    GET /api/v1/analytics/nope
      404 not_found: no operation has this path; see /swagger-ui/
    GET /api/v1/analytics/summary/
      404 not_found: no operation has this path; see /swagger-ui/
    GET //api/v1/analytics/summary
      404 not_found: no operation has this path; see /swagger-ui/
    GET /API/v1/analytics/summary
      404 not_found: no operation has this path; see /swagger-ui/
    GET /api/v2/analytics/summary
      404 not_found: no operation has this path; see /swagger-ui/
    PUT /api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09/
      404 not_found: no operation has this path; see /swagger-ui/
    PUT /api/v1/ingest/calls/
      404 not_found: no operation has this path; see /swagger-ui/
    GET /swagger-ui/nope.js
      404 not_found: Swagger UI has no such file
    GET /api-docs
      404 not_found: no operation has this path; see /swagger-ui/
    POST /api/v1/analytics/summary
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    DELETE /api/v1/analytics/errors
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    OPTIONS /api/v1/analytics/active-calls
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    BREW /api/v1/analytics/call-volume
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    GET /api/v1/ingest/calls
      405 method_not_allowed: allowed methods: POST; Allow: POST
    PUT /api/v1/ingest/calls
      405 method_not_allowed: allowed methods: POST; Allow: POST
    GET /api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09
      405 method_not_allowed: allowed methods: PUT; Allow: PUT
    POST /api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09
      405 method_not_allowed: allowed methods: PUT; Allow: PUT
    DELETE /api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09
      405 method_not_allowed: allowed methods: PUT; Allow: PUT
    PATCH /api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09
      405 method_not_allowed: allowed methods: PUT; Allow: PUT
    POST /health
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    DELETE /health/live
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    PUT /health/ready
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    POST /api-docs/openapi.json
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    DELETE /swagger-ui/
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    POST /
      405 method_not_allowed: allowed methods: GET, HEAD; Allow: GET, HEAD
    ");
    still_works(&acme).await;
}

async fn a_call_of_a_path_must_be_a_uuid(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let mut seen = String::new();
    for id in [
        "1",
        "not-a-uuid",
        "31c02e4f-12e0-4af0-869b-aab222503a0",
        "31c02e4f-12e0-4af0-869b-aab222503a0g",
        "31c02e4f-12e0-4af0-869b-aab222503a09%00",
        "%ff",
        "%20",
        "..",
    ] {
        let request = Request::new("PUT", format!("/api/v1/ingest/calls/{id}")).json("{}");
        let _ = writeln!(seen, "{id}\n  {}", problem(&acme.send(&request).await));
    }
    assert_snapshot!(seen, @"
    1
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    not-a-uuid
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    31c02e4f-12e0-4af0-869b-aab222503a0
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    31c02e4f-12e0-4af0-869b-aab222503a0g
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    31c02e4f-12e0-4af0-869b-aab222503a09%00
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    %ff
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    %20
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    ..
      422 validation_error: call_id: must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09
    ");
    still_works(&acme).await;
}

async fn a_call_of_a_path_must_be_the_records(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let record = active(2, "2026-01-17T10:00:00Z").to_string();
    let response = acme.send(&Request::new("PUT", format!("/api/v1/ingest/calls/{}", call_id(1))).json(record)).await;
    let expected = "422 validation_error: call_id: must be the call id of the path, or absent";
    assert_eq!(problem(&response), expected);
    still_works(&acme).await;
}

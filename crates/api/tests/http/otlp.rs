//! Telemetry over OTLP: requests of real agents become calls, and the answers are those that exporters understand.

use crate::layout::export_failure;
use crate::records::instant;
use crate::server::{Server, Setup, TenantClient};
use crate::store::Mode;
use crate::wire::{Request, Response};
use callscope_analytics::assemblies::{AssemblyChanges, AssemblyKey, AssemblyStore, Framework, State, Write};
use callscope_analytics::assembly_sweeper::{AssemblySweep, AssemblySweeper};
use callscope_analytics::clock::FixedClock;
use callscope_connectors::sealing::AssemblySettings;
use callscope_domain::{CallId, RateLimit, Scope};
use callscope_testkit::Backend;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

on_each_backend!(
    captured_calls_are_in_the_figures,
    requests_in_any_order_and_twice_make_the_same_calls,
    requests_at_one_time_make_the_same_calls,
    calls_of_other_tenants_are_apart,
    a_body_that_cannot_be_read_is_answered_in_its_encoding,
    telemetry_of_other_programs_makes_no_calls,
    a_credential_is_needed,
    the_limit_of_requests_is_that_of_the_key_alone,
    transient_failures_ask_for_a_retry,
    bounds_of_calls_and_tenants_are_told,
    bodies_may_be_packed,
    calls_whose_telemetry_stops_are_closed_and_their_end_may_still_come,
    a_call_with_damaged_facts_does_not_keep_others_open,
    a_call_is_closed_again_if_its_record_was_not_stored,
    facts_go_some_time_after_the_end_and_later_ones_change_nothing,
);

const PROTOBUF: &str = "application/x-protobuf";

/// An hour or so after the captures were made.
const AFTER_CAPTURES: &str = "2026-11-23T12:00:00Z";

const CAPTURES: [&str; 4] = ["livekit_normal", "livekit_fatal_llm", "pipecat_normal", "pipecat_llm_error"];

fn setup() -> Setup {
    Setup { now: AFTER_CAPTURES, ..Setup::default() }
}

fn folder(capture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/tests/data/captures").join(capture)
}

/// The records that the calls of a capture have at its end.
fn expected_records(capture: &str) -> Vec<Value> {
    let expected = std::fs::read(folder(capture).join("expected.json")).expect("what is expected");
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    expected["records_if_idle_afterwards"].as_array().expect("records").clone()
}

/// The requests of a capture, in order.
fn requests(capture: &str) -> Vec<Request> {
    let files = std::fs::read_dir(folder(capture)).expect("a capture").map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "bin")).collect();
    files.sort();
    let request = |path: PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let signal = name.split_once('_').expect("a number and a signal").1;
        Request::new("POST", format!("/v1/{signal}")).body(PROTOBUF, std::fs::read(&path).expect("a body"))
    };
    files.into_iter().map(request).collect()
}

fn garbage(media_type: &'static str) -> Request {
    Request::new("POST", "/v1/traces").body(media_type, "garbage")
}

async fn export(client: &TenantClient, request: &Request) {
    let response = client.send(request).await;
    assert_eq!((response.status, response.body.as_slice()), (200, &b""[..]), "{}", request.target);
    assert_eq!(response.header("Content-Type"), Some(PROTOBUF));
}

/// Everything that the figures show of the calls of all captures.
async fn figures(client: &TenantClient) -> Value {
    let summary = client.summary("?period=90d").await.value();
    let providers = client.provider_latency("?period=90d").await.value();
    let workflows = client.workflow_stats("?period=90d").await.value();
    let errors = client.errors("?period=90d").await.value();
    json!({"summary": summary, "providers": providers, "workflows": workflows, "errors": errors})
}

async fn captured_calls_are_in_the_figures(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    for capture in CAPTURES {
        for request in requests(capture) {
            export(&acme, &request).await;
        }
    }
    let summary = acme.summary("?period=90d").await.value();
    let records: Vec<Value> = CAPTURES.into_iter().flat_map(expected_records).collect();
    let expected_tokens: i64 = records.iter().filter_map(|record| record["tokens"]["total"].as_i64()).sum();
    let of_status = |status: &str| records.iter().filter(|record| record["status"] == status).count();
    let expected = json!([records.len(), 0, of_status("completed"), of_status("failed"), expected_tokens]);
    let names = ["total_calls", "active_calls", "completed_calls", "failed_calls", "total_tokens"];
    assert_eq!(Value::from(names.map(|name| summary[name].clone()).to_vec()), expected, "{summary}");
    let providers = acme.provider_latency("?period=90d").await.value();
    assert!(providers.to_string().contains("deepgram"), "{providers}");
    let errors = acme.errors("?period=90d").await.value();
    let expected_errors: usize = records.iter().filter_map(|record| Some(record["errors"].as_array()?.len())).sum();
    assert_eq!(errors["total"], expected_errors, "{errors}");
    let metrics = acme.send(&Request::get("/metrics")).await;
    let kept = metrics.text().lines().find(|line| line.contains(r#"signal="traces",result="kept""#));
    assert!(kept.is_some_and(|line| !line.ends_with(" 0")), "{}", metrics.text());
}

async fn requests_in_any_order_and_twice_make_the_same_calls(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let (in_order, reversed) = (server.tenant("in-order").await, server.tenant("reversed").await);
    for capture in CAPTURES {
        let requests = requests(capture);
        for request in requests.iter().chain(&requests) {
            export(&in_order, request).await;
        }
        for request in requests.iter().rev().chain(&requests) {
            export(&reversed, request).await;
        }
    }
    let (in_order, reversed) = (figures(&in_order).await, figures(&reversed).await);
    assert_eq!(in_order["summary"], reversed["summary"]);
    assert_eq!(in_order["providers"], reversed["providers"]);
    assert_eq!(in_order["errors"]["total"], reversed["errors"]["total"]);
    let names = |figures: &Value| figures["workflows"].to_string().matches("total_calls").count();
    assert_eq!(names(&in_order), names(&reversed));
}

async fn requests_at_one_time_make_the_same_calls(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let (in_order, at_once) = (server.tenant("in-order").await, server.tenant("at-once").await);
    for capture in CAPTURES {
        let requests = requests(capture);
        for request in &requests {
            export(&in_order, request).await;
        }
        let sent = requests.iter().map(async |request| server.client(&at_once.key).send(request).await.status);
        let statuses = futures_util::future::join_all(sent).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    let (in_order, at_once) = (figures(&in_order).await, figures(&at_once).await);
    assert_eq!(in_order["summary"], at_once["summary"]);
    assert_eq!(in_order["providers"], at_once["providers"]);
}

async fn calls_of_other_tenants_are_apart(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let requests = requests("pipecat_normal");
    for request in &requests {
        export(&acme, request).await;
    }
    assert_eq!(other.summary("?period=90d").await.value()["total_calls"], 0);
    // The same telemetry is another call there.
    for request in &requests {
        export(&other, request).await;
    }
    for tenant in [&acme, &other] {
        assert_eq!(tenant.summary("?period=90d").await.value()["total_calls"], 1);
    }
}

async fn a_body_that_cannot_be_read_is_answered_in_its_encoding(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    let json = acme.send(&garbage("application/json; charset=utf-8")).await;
    assert_eq!((json.status, json.header("Content-Type")), (400, Some("application/json")));
    assert_eq!(json.value(), json!({"code": 3, "message": "the body is not an ExportTraceServiceRequest"}));
    let protobuf = acme.send(&garbage(PROTOBUF)).await;
    assert_eq!((protobuf.status, protobuf.header("Content-Type")), (400, Some(PROTOBUF)));
    // Field 1, the code, is 3; field 2 is the message.
    assert_eq!(protobuf.body, [&[0x08, 3, 0x12, 44][..], b"the body is not an ExportTraceServiceRequest"].concat());
    let text = acme.send(&garbage("text/plain")).await;
    assert_eq!((text.status, text.header("Content-Type")), (415, Some("application/problem+json")));
    let unknown = acme.send(&garbage(PROTOBUF).header("Content-Encoding", "br")).await;
    assert_eq!((unknown.status, unknown.header("Content-Type")), (415, Some("application/problem+json")));
    let wrong_method = acme.send(&Request::get("/v1/traces")).await;
    assert_eq!((wrong_method.status, wrong_method.header("Allow")), (405, Some("POST")));
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        let empty = acme.send(&Request::new("POST", path).body(PROTOBUF, "")).await;
        assert_eq!((empty.status, empty.body.len()), (200, 0), "{path}");
        let empty = acme.send(&Request::new("POST", path).json("{}")).await;
        assert_eq!((empty.status, empty.text()), (200, "{}"), "{path}");
    }
}

/// A request with spans of a scope.
fn spans(scope: &str, spans: &[Value]) -> Request {
    let body = json!({"resourceSpans": [{"scopeSpans": [{"scope": {"name": scope}, "spans": spans}]}]});
    Request::new("POST", "/v1/traces").json(body.to_string())
}

/// A turn of Pipecat, a call of its own.
fn turn(number: u64) -> Value {
    json!({
        "traceId": format!("{number:032x}"), "spanId": format!("{number:016x}"), "parentSpanId": "00000000000000aa",
        "name": "turn", "startTimeUnixNano": "1795335372000000000", "endTimeUnixNano": "1795335373000000000",
        "attributes": [{"key": "turn.number", "value": {"intValue": "1"}}],
    })
}

async fn telemetry_of_other_programs_makes_no_calls(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    let response = acme.send(&spans("opentelemetry.instrumentation.flask", &[turn(1)])).await;
    assert_eq!((response.status, response.text()), (200, "{}"));
    let metrics = acme.send(&Request::new("POST", "/v1/metrics").body(PROTOBUF, "anything")).await;
    assert_eq!((metrics.status, metrics.body.len()), (200, 0));
    assert_eq!(acme.summary("?period=90d").await.value()["total_calls"], 0);
    // The same span of an agent makes one, which is active.
    let response = acme.send(&spans("pipecat", &[turn(1)])).await;
    assert_eq!((response.status, response.text()), (200, "{}"));
    assert_eq!(acme.summary("?period=90d").await.value()["active_calls"], 1);
}

async fn a_credential_is_needed(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    let none = server.stranger().send(&garbage("application/json")).await;
    assert_eq!((none.status, none.value()["code"].as_i64()), (401, Some(16)), "{}", none.text());
    let reader = server.client(&server.key(acme.id, &[Scope::AnalyticsRead]).await);
    let refused = reader.send(&garbage("application/json")).await;
    assert_eq!((refused.status, refused.value()["code"].as_i64()), (403, Some(7)), "{}", refused.text());
    let writer = server.key(acme.id, &[Scope::CallsWrite]).await;
    let request = requests("pipecat_normal").remove(0).header("Authorization", format!("Bearer {writer}"));
    assert_eq!(server.stranger().send(&request).await.status, 200);
}

async fn the_limit_of_requests_is_that_of_the_key_alone(backend: Backend) {
    let slow = RateLimit::new(1, 1).expect("a rate");
    let server = Server::start_with(backend, Setup { rate: slow, tenant_rate: slow, ..setup() }).await;
    let acme = server.tenant("acme").await;
    let empty = Request::new("POST", "/v1/traces").json("{}");
    for _ in 0..5 {
        assert_eq!(acme.send(&empty).await.status, 200);
    }
    let limited = server.key_with(acme.id, &[Scope::CallsWrite], |key| key.rate = Some(slow)).await;
    let limited = server.client(&limited);
    assert_eq!(limited.send(&empty).await.status, 200);
    let refused = limited.send(&empty).await;
    assert_eq!(export_failure(&refused), "429 8: the credential's limit of requests is reached");
}

async fn transient_failures_ask_for_a_retry(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    let request = requests("pipecat_normal").remove(0);
    export(&acme, &request).await;
    for mode in [Mode::Unavailable, Mode::Broken, Mode::Conflicting, Mode::CommitFails] {
        server.store.set(mode);
        let response = acme.send(&request).await;
        server.store.set(Mode::Sound);
        assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")), "{mode:?}");
        assert_eq!(response.header("Content-Type"), Some(PROTOBUF), "{mode:?}");
    }
    export(&acme, &request).await;
}

fn rejected(response: &Response) -> (u16, Value) {
    (response.status, response.value()["partialSuccess"].clone())
}

async fn bounds_of_calls_and_tenants_are_told(backend: Backend) {
    let bounds = || AssemblySettings { open_calls_max: 2, facts_per_call_max: 1, ..AssemblySettings::default() };
    let server = Server::start_with(backend, Setup { assemblies: bounds, ..setup() }).await;
    let acme = server.tenant("acme").await;
    let of_four_calls = spans("pipecat", &[turn(1), turn(2), turn(3), turn(4)]);
    let expected =
        json!({"rejectedSpans": "2", "errorMessage": "2 spans were not kept: 2 exceed the limit of open calls"});
    assert_eq!(rejected(&acme.send(&of_four_calls).await), (200, expected));
    // Calls that have begun take their facts after others of the same request were refused.
    let again = rejected(&acme.send(&spans("pipecat", &[turn(3), turn(1)])).await);
    assert_eq!(again.1["rejectedSpans"], "1");
    let mut second = turn(1);
    second["spanId"] = "00000000000000bb".into();
    let expected =
        json!({"rejectedSpans": "1", "errorMessage": "1 spans were not kept: 1 exceed the limit of their call"});
    assert_eq!(rejected(&acme.send(&spans("pipecat", &[second])).await), (200, expected));
    assert_eq!(acme.summary("?period=90d").await.value()["active_calls"], 2);
}

async fn bodies_may_be_packed(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    let body = &requests("pipecat_normal")[0].body;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body).expect("memory takes bytes");
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    deflate.write_all(body).expect("memory takes bytes");
    let packed = [
        ("gzip", gzip.finish().expect("memory takes bytes")),
        ("deflate", deflate.finish().expect("memory takes bytes")),
        ("zstd", zstd::encode_all(body.as_slice(), 0).expect("memory takes bytes")),
    ];
    for (encoding, body) in packed {
        let request = Request::new("POST", "/v1/traces").body(PROTOBUF, body).header("Content-Encoding", encoding);
        export(&acme, &request).await;
    }
    assert_eq!(acme.summary("?period=90d").await.value()["active_calls"], 1);
}

/// Sweeps as the server does at some time.
async fn sweep(server: &Server, now: &str) -> AssemblySweep {
    let (store, clock) = (server.store.clone(), Arc::new(FixedClock(instant(now))));
    let assembler =
        callscope_api::assembler(store.clone(), server.queue.clone(), clock.clone(), AssemblySettings::default());
    let sweeper = AssemblySweeper { store: store.clone(), tenants: store, assembler, clock };
    sweeper.sweep().await.expect("a sweep")
}

async fn calls_whose_telemetry_stops_are_closed_and_their_end_may_still_come(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    let mut requests = requests("pipecat_normal");
    let last = requests.pop().expect("the end");
    for request in &requests {
        export(&acme, request).await;
    }
    assert_eq!(sweep(&server, "2026-11-23T12:14:59Z").await, AssemblySweep::default());
    assert_eq!(sweep(&server, "2026-11-23T12:15:00Z").await, AssemblySweep { closed: 1, purged: 0 });
    assert_eq!(sweep(&server, "2026-11-23T12:15:01Z").await, AssemblySweep::default());
    let summary = acme.summary("?period=90d").await.value();
    assert_eq!((&summary["failed_calls"], &summary["active_calls"]), (&json!(1), &json!(0)), "{summary}");
    // What comes again does not reopen the call.
    export(&acme, &requests[0]).await;
    assert_eq!(acme.summary("?period=90d").await.value(), summary);
    export(&acme, &last).await;
    let summary = acme.summary("?period=90d").await.value();
    assert_eq!((&summary["failed_calls"], &summary["completed_calls"]), (&json!(0), &json!(1)), "{summary}");
}

async fn a_call_with_damaged_facts_does_not_keep_others_open(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    // It is the first by its key and by its time, so that it is listed before the other.
    let key = AssemblyKey { framework: Framework::Pipecat, key: "0".to_owned() };
    let begun = instant(AFTER_CAPTURES);
    let (mut transaction, _) =
        server.store.lock_assembly(acme.id, &key, CallId(Uuid::nil()), begun).await.expect("an assembly");
    let damaged = AssemblyChanges {
        write: Write::Append(b"damaged".to_vec()),
        segments: 1,
        facts: 1,
        state: State::Active,
        reported_errors: Vec::new(),
        last_seen_at: begun,
        purge_at: None,
    };
    transaction.save(damaged).await.expect("a segment");
    transaction.commit().await.expect("a commit");
    assert_eq!(acme.send(&spans("pipecat", &[turn(1)])).await.status, 200);
    assert_eq!(sweep(&server, "2026-11-23T12:15:00Z").await, AssemblySweep { closed: 1, purged: 0 });
    assert_eq!(acme.summary("?period=90d").await.value()["failed_calls"], 1);
}

async fn a_call_is_closed_again_if_its_record_was_not_stored(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    assert_eq!(acme.send(&spans("pipecat", &[turn(1)])).await.status, 200);
    server.store.set(Mode::CommitFails);
    assert_eq!(sweep(&server, "2026-11-23T12:15:00Z").await, AssemblySweep::default());
    server.store.set(Mode::Sound);
    assert_eq!(acme.summary("?period=90d").await.value()["active_calls"], 1);
    assert_eq!(sweep(&server, "2026-11-23T12:15:30Z").await, AssemblySweep { closed: 1, purged: 0 });
    assert_eq!(acme.summary("?period=90d").await.value()["failed_calls"], 1);
}

async fn facts_go_some_time_after_the_end_and_later_ones_change_nothing(backend: Backend) {
    let server = Server::start_with(backend, setup()).await;
    let acme = server.tenant("acme").await;
    let requests = requests("livekit_normal");
    for request in &requests {
        export(&acme, request).await;
    }
    let summary = acme.summary("?period=90d").await.value();
    assert_eq!(sweep(&server, "2026-11-23T12:09:59Z").await, AssemblySweep::default());
    assert_eq!(sweep(&server, "2026-11-23T12:10:00Z").await, AssemblySweep { closed: 0, purged: 1 });
    for request in &requests {
        export(&acme, request).await;
    }
    assert_eq!(acme.summary("?period=90d").await.value(), summary);
    let metrics = acme.send(&Request::get("/metrics")).await;
    let late = metrics.text().lines().find(|line| line.contains(r#"signal="traces",result="late""#));
    assert!(late.is_some_and(|line| !line.ends_with(" 0")), "{}", metrics.text());
}

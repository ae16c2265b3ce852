//! `GET /ws/calls`, `GET /ws/analytics` and `GET /api/v1/sse/calls/stream`.

use crate::follow::{Deaf, Follower, Listener};
use crate::records::{NOW, active, completed, error, failed, instant};
use crate::server::{Server, Setup};
use crate::wire::Request;
use callscope_analytics::ports::TenantStore;
use callscope_api::LiveLimits;
use callscope_domain::{Actor, Scope};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

on_each_backend!(
    a_socket_tells_what_happens_to_calls,
    a_socket_tells_only_what_is_wanted,
    a_client_that_comes_back_misses_nothing,
    what_is_not_understood_is_answered_and_costs_nothing,
    sockets_are_bounded,
    more_than_can_be_told_is_counted,
    a_silent_client_is_dropped,
    a_key_that_is_revoked_ends_its_sockets,
    figures_are_pushed_when_they_change,
    a_stream_tells_the_same_and_resumes,
    the_end_of_the_server_is_told,
);

async fn start(backend: Backend) -> Server {
    Server::start_with(backend, Setup { announces: true, ..Setup::default() }).await
}

async fn a_socket_tells_what_happens_to_calls(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    let globex = server.tenant("globex").await;
    let mut follower = Follower::open(&server, "/ws/calls", &acme.key).await.expect("a socket");
    let connected = follower.next().await;
    assert_eq!(connected, json!({"type": "connected", "tenant_id": acme.id.0, "active_calls": 0, "cursor": 0}));
    globex.given(&[active(9, "2026-01-17T11:59:00Z")]).await;
    let call = |record: crate::records::Record| {
        record.with("workflow", json!({"slug": "daily-call"})).with("agent", json!("greeter"))
    };
    acme.given(&[call(active(1, "2026-01-17T11:55:00Z"))]).await;
    let lost = error("2026-01-17T11:55:10Z", "stt", "error", "lost");
    acme.given(&[call(completed(1, "2026-01-17T11:55:00Z", 90)).with("errors", json!([lost]))]).await;
    // History is no event, but counts.
    acme.given(&[active(2, "2026-01-16T11:00:00Z")]).await;
    acme.given(&[failed(3, "2026-01-17T11:58:00Z", 5).with("end_reason", json!("carrier"))]).await;
    let mut events = Vec::new();
    while events.len() < 4 {
        let message = follower.next().await;
        if message["type"] != "active_count" {
            events.push(message.to_string());
        }
    }
    assert_snapshot!(events.join("\n"), @r#"
    {"call_id":"00000000-0000-4000-8000-000000000001","data":{"agent":"greeter","workflow_id":"a5d69de6-5945-5bc4-be44-6e2785145235","workflow_slug":"daily-call"},"id":1,"timestamp":"2026-01-17T11:55:00Z","type":"call.started"}
    {"call_id":"00000000-0000-4000-8000-000000000001","data":{"agent":"greeter","error_id":"00000000-0000-4000-8000-000000000001-0","level":"error","message":"lost","service":"stt","workflow_id":"a5d69de6-5945-5bc4-be44-6e2785145235","workflow_slug":"daily-call"},"id":2,"timestamp":"2026-01-17T11:55:10Z","type":"call.error"}
    {"call_id":"00000000-0000-4000-8000-000000000001","data":{"agent":"greeter","duration_seconds":90.0,"end_reason":null,"status":"completed","workflow_id":"a5d69de6-5945-5bc4-be44-6e2785145235","workflow_slug":"daily-call"},"id":3,"timestamp":"2026-01-17T11:56:30Z","type":"call.ended"}
    {"call_id":"00000000-0000-4000-8000-000000000003","data":{"agent":null,"duration_seconds":5.0,"end_reason":"carrier","status":"failed","workflow_id":null,"workflow_slug":null},"id":4,"timestamp":"2026-01-17T11:58:05Z","type":"call.failed"}
    "#);
}

async fn a_socket_tells_only_what_is_wanted(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    let path = "/ws/calls?types=call.ended,call.failed&workflow=daily-call";
    let mut ends = Follower::open(&server, path, &acme.key).await.expect("a socket");
    let mut one = Follower::open(&server, "/ws/calls", &acme.key).await.expect("a socket");
    assert_eq!(ends.brief(1).await, ["connected 0"]);
    assert_eq!(one.brief(1).await, ["connected 0"]);
    one.say(&json!({"action": "subscribe", "call_id": crate::records::call_id(2)}).to_string()).await;
    assert_eq!(one.brief(1).await, ["subscribed 2"]);
    let daily = |record: crate::records::Record| record.with("workflow", json!({"slug": "daily-call"}));
    acme.given(&[completed(1, "2026-01-17T11:50:00Z", 9)]).await;
    acme.given(&[daily(completed(2, "2026-01-17T11:50:00Z", 9)), daily(active(3, "2026-01-17T11:50:00Z"))]).await;
    acme.given(&[daily(failed(3, "2026-01-17T11:50:00Z", 9))]).await;
    let is_event = |brief: &String| brief.starts_with("call.");
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(ends.brief(1).await.into_iter().filter(is_event));
    }
    assert_eq!(told, ["call.ended 2", "call.failed 3"]);
    let mut told = Vec::new();
    while told.is_empty() {
        told.extend(one.brief(1).await.into_iter().filter(is_event));
    }
    assert_eq!(told, ["call.ended 2"]);
}

async fn a_client_that_comes_back_misses_nothing(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    let ids = [1, 2, 3, 4, 5];
    acme.given(&ids.map(|number| completed(number, "2026-01-17T11:50:00Z", 9))).await;
    let mut back = Follower::open(&server, "/ws/calls?since=2", &acme.key).await.expect("a socket");
    assert_eq!(back.brief(4).await, ["connected 5", "call.ended 3", "call.ended 4", "call.ended 5"]);
    let mut stranger = Follower::open(&server, "/ws/calls?since=77", &acme.key).await.expect("a socket");
    assert_eq!(stranger.brief(2).await, ["connected 5", "reset 5"]);
}

async fn what_is_not_understood_is_answered_and_costs_nothing(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    for (path, status) in
        [("/ws/calls?since=x", 422), ("/ws/calls?types=call.begun", 422), ("/ws/analytics?period=2h", 422)]
    {
        assert_eq!(Follower::open(&server, path, &acme.key).await.err(), Some(status), "{path}");
    }
    let writer = server.key(acme.id, &[Scope::CallsWrite]).await;
    for path in ["/ws/calls", "/ws/analytics"] {
        assert_eq!(Follower::open(&server, path, &writer).await.err(), Some(403), "{path}");
        assert_eq!(Follower::open(&server, path, "cs_live_no").await.err(), Some(401), "{path}");
    }
    let mut follower = Follower::open(&server, "/ws/calls", &acme.key).await.expect("a socket");
    follower.brief(1).await;
    for nonsense in ["", "{", "[]", r#"{"action":"shout"}"#, r#"{"action":"subscribe"}"#, r#"{"action":"ping","x":1}"#]
    {
        follower.say(nonsense).await;
        assert_eq!(follower.next().await["type"], "error", "{nonsense}");
    }
    follower.say(r#"{"action":"ping"}"#).await;
    assert_eq!(follower.next().await, json!({"type": "pong"}));
    follower.send(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(follower.end().await.0, 1003);
}

async fn sockets_are_bounded(backend: Backend) {
    let limits = Setup::default().live_limits;
    let live_limits = LiveLimits { sockets_max: 3, tenant_sockets_max: 2, ..limits };
    let server = Server::start_with(backend, Setup { live_limits, ..Setup::default() }).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let open = async |tenant: &crate::server::TenantClient| Follower::open(&server, "/ws/calls", &tenant.key).await;
    let first = open(&acme).await.expect("a socket");
    let _second = open(&acme).await.expect("a socket");
    assert_eq!(open(&acme).await.err(), Some(503));
    let _third = open(&globex).await.expect("a socket");
    assert_eq!(open(&globex).await.err(), Some(503));
    drop(first);
    // The server notices a moment later.
    while open(&acme).await.is_err() {}
}

async fn more_than_can_be_told_is_counted(backend: Backend) {
    let server =
        Server::start_with(backend, Setup { deliveries_per_second: 5, announces: true, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let mut follower = Follower::open(&server, "/ws/calls", &acme.key).await.expect("a socket");
    follower.brief(1).await;
    let records: Vec<_> = (1..=100).map(|number| completed(number, "2026-01-17T11:50:00Z", 9)).collect();
    acme.given(&records).await;
    let expected = ["call.ended 1", "call.ended 2", "call.ended 3", "call.ended 4", "call.ended 5", "dropped 95"];
    assert_eq!(follower.brief(6).await, expected);
    // They are kept, for whoever asks.
    let mut back = Follower::open(&server, "/ws/calls?since=5", &acme.key).await.expect("a socket");
    assert_eq!(back.brief(96).await.last().map(String::as_str), Some("call.ended 100"));
}

async fn a_silent_client_is_dropped(backend: Backend) {
    let limits = Setup::default().live_limits;
    let (ping_interval, idle_timeout) = (Duration::from_millis(100), Duration::from_secs(2));
    let live_limits = LiveLimits { ping_interval, idle_timeout, ..limits };
    let server = Server::start_with(backend, Setup { live_limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let mut deaf = Deaf::open(&server, "/ws/calls", &acme.key).await;
    // Whoever answers pings, as this one does while it reads, stays.
    let mut alive = Follower::open(&server, "/ws/calls", &acme.key).await.expect("a socket");
    alive.brief(1).await;
    let (end, ()) = tokio::join!(deaf.end(), alive.stay(Duration::from_secs(3)));
    assert_eq!(end, 4408);
    alive.say(r#"{"action":"ping"}"#).await;
    assert_eq!(alive.next().await, json!({"type": "pong"}));
}

async fn a_key_that_is_revoked_ends_its_sockets(backend: Backend) {
    let limits = Setup::default().live_limits;
    let live_limits = LiveLimits { ping_interval: Duration::from_millis(100), ..limits };
    let server = Server::start_with(backend, Setup { live_limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let mut id = None;
    let key = server.key_with(acme.id, Scope::ALL, |key| id = Some(key.id)).await;
    let mut calls = Follower::open(&server, "/ws/calls", &key).await.expect("a socket");
    let mut figures = Follower::open(&server, "/ws/analytics", &key).await.expect("a socket");
    let mut other = Follower::open(&server, "/ws/calls", &acme.key).await.expect("a socket");
    let mut stream = Listener::open(&server, "", &key, "").await;
    let (id, now) = (id.expect("an id"), instant(NOW));
    assert!(server.store.revoke_key(acme.id, id, now, &Actor::CommandLine).await.expect("a key"));
    assert_eq!(calls.end().await, (4401, "the credential is no longer valid".to_owned()));
    assert_eq!(figures.end().await.0, 4401);
    stream.end().await;
    other.brief(1).await;
    other.say(r#"{"action":"ping"}"#).await;
    assert_eq!(other.next().await, json!({"type": "pong"}));
}

async fn figures_are_pushed_when_they_change(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    let mut board = Follower::open(&server, "/ws/analytics?period=1h", &acme.key).await.expect("a socket");
    let first = board.next().await;
    assert_eq!(
        (&first["type"], &first["period"], &first["data"]["total_calls"]),
        (&json!("summary"), &json!("1h"), &json!(0))
    );
    board.say(r#"{"action":"subscribe","topic":"call-volume"}"#).await;
    assert_eq!(board.next().await, json!({"type": "subscribed", "topic": "call-volume"}));
    assert_eq!(board.next().await["type"], "call-volume");
    acme.given(&[completed(1, "2026-01-17T11:50:00Z", 9), completed(2, "2026-01-17T11:51:00Z", 9)]).await;
    let (mut summary, mut volume) = (json!(null), json!(null));
    while summary.is_null() || volume.is_null() {
        let message = board.next().await;
        let latest = if message["type"] == "summary" { &mut summary } else { &mut volume };
        *latest = message;
    }
    assert_eq!(summary["data"], acme.summary("?period=1h").await.value());
    assert_eq!(volume["data"], acme.call_volume("?period=1h").await.value());
}

async fn a_stream_tells_the_same_and_resumes(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    let mut listener = Listener::open(&server, "", &acme.key, "").await;
    assert!(listener.head.iter().any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")));
    let connected = listener.next().await;
    assert_eq!((connected.event.as_str(), connected.id), ("connected", Some(0)));
    acme.given(&[completed(1, "2026-01-17T11:50:00Z", 9)]).await;
    let told = listener.next().await;
    assert_eq!((told.event.as_str(), told.id), ("call.ended", Some(1)));
    drop(listener);
    acme.given(&[completed(2, "2026-01-17T11:50:00Z", 9), completed(3, "2026-01-17T11:50:00Z", 9)]).await;
    let mut back = Listener::open(&server, "?since=0", &acme.key, "Last-Event-ID: 1\r\n").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(back.next().await.id);
    }
    assert_eq!(ids, [Some(1), Some(2), Some(3)]);
    let head = acme.send(&Request::new("HEAD", "/api/v1/sse/calls/stream")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let mut stranger = Listener::open(&server, "?since=99", &acme.key, "").await;
    let (connected, reset) = (stranger.next().await, stranger.next().await);
    assert_eq!((connected.id, reset.event.as_str(), reset.id), (Some(3), "reset", Some(3)));
}

async fn the_end_of_the_server_is_told(backend: Backend) {
    let server = start(backend).await;
    let acme = server.tenant("acme").await;
    let mut calls = Follower::open(&server, "/ws/calls", &acme.key).await.expect("a socket");
    let mut figures = Follower::open(&server, "/ws/analytics", &acme.key).await.expect("a socket");
    calls.brief(1).await;
    figures.next().await;
    server.state.live.close();
    assert_eq!(calls.end().await.0, 1001);
    assert_eq!(figures.end().await.0, 1001);
}

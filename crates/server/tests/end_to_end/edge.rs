//! What stands between clients and the service: metrics at an address of their own, traces, keys that are kept.

use crate::client::Client;
use crate::fixture::Fixture;
use crate::process::{Running, eventually, run};
use callscope_testkit::Backend;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

on_each_backend!(
    a_key_that_another_process_revokes_is_refused_when_its_time_is_over,
    metrics_have_an_address_of_their_own_if_that_is_wanted,
    a_taken_address_of_metrics_stops_only_who_chose_it,
    no_client_writes_lines_of_the_log,
    active_calls_of_all_tenants_are_counted,
    spans_arrive_at_a_collector_with_the_trace_of_the_client,
    a_collector_that_is_away_stops_nothing,
);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn a_key_that_another_process_revokes_is_refused_when_its_time_is_over(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("acme");
    let server = fixture.serve(&[("CALLSCOPE__CACHE__TTL", "1s")]);
    assert_eq!(server.client(&key).get("/api/v1/analytics/summary").status, 200);
    let list = fixture.run(&["keys", "list", "--tenant", "acme"]).stdout_of_success();
    let id = list.lines().find_map(|line| line.split_whitespace().find(|word| word.len() == 36)).unwrap().to_owned();
    fixture.run(&["keys", "revoke", "--tenant", "acme", &id]).stdout_of_success();
    eventually("the end of a key", || {
        (server.client(&key).get("/api/v1/analytics/summary").status == 401).then_some(())
    });
}

fn metrics_have_an_address_of_their_own_if_that_is_wanted(backend: Backend) {
    let fixture = Fixture::new(backend);
    let mut server = fixture.serve(&[("CALLSCOPE__METRICS__BIND", "127.0.0.1:0")]);
    let field = |line: &String| -> Option<String> {
        let line: Value = serde_json::from_str(line).ok()?;
        line["fields"]["metrics_address"].as_str().map(str::to_owned)
    };
    let address = server.log().iter().find_map(field).expect("the log says where");
    let mut answer = ureq::get(format!("http://{address}/metrics")).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    for name in
        ["callscope_build_info{version=", "callscope_database_connections{pool=", "process_resident_memory_bytes "]
    {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert_eq!(server.stranger().get("/metrics").status, 404);
    server.signal("TERM");
    assert!(server.wait().success());

    let server = fixture.serve(&[]);
    assert_eq!(server.stranger().get("/metrics").status, 200);
    let server = fixture.serve(&[("CALLSCOPE__METRICS__ENABLED", "false")]);
    assert_eq!(server.stranger().get("/metrics").status, 404);
}

fn active_calls_of_all_tenants_are_counted(backend: Backend) {
    let fixture = Fixture::new(backend);
    let server = fixture.serve(&[]);
    for (slug, calls) in [("acme", 2), ("globex", 1)] {
        let client = server.client(&fixture.create_tenant(slug));
        let start = chrono::Utc::now().to_rfc3339();
        for _ in 0..calls {
            let record = json!({"call_id": uuid::Uuid::now_v7(), "status": "active", "started_at": start});
            assert_eq!(client.put(&record).status, 201);
        }
    }
    server.kill();
    let server = fixture.serve(&[]);
    eventually("the count", || {
        server.stranger().get("/metrics").text.contains("\ncallscope_active_calls 3\n").then_some(())
    });
}

/// A collector: what was sent to it, as heads and bodies.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Sent>>>);

/// The head and the body of a request.
type Sent = (String, Vec<u8>);

impl Collector {
    /// Takes what comes, at a free port.
    fn start() -> (Self, SocketAddr) {
        let (collector, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (taking, address) = (collector.clone(), listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                taking.take(stream);
            }
        });
        (collector, address)
    }

    /// Takes one request, and hangs up.
    fn take(&self, mut stream: TcpStream) {
        let mut received = Vec::new();
        let mut part = [0; 4096];
        loop {
            let length = stream.read(&mut part).unwrap();
            received.extend_from_slice(&part[..length]);
            let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(received[..end].to_vec()).unwrap().to_lowercase();
            let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if received.len() == end + 4 + announced.parse::<usize>().unwrap() {
                self.0.lock().unwrap().push((head, received[end + 4..].to_vec()));
                break;
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|bytes| bytes == part)
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len()).step_by(2).map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap()).collect()
}

fn spans_arrive_at_a_collector_with_the_trace_of_the_client(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("acme");
    let (collector, address) = Collector::start();
    let endpoint = format!("http://{address}");
    let mut server = fixture.serve(&[
        ("CALLSCOPE__TELEMETRY__OTLP_ENDPOINT", &endpoint),
        ("CALLSCOPE__TELEMETRY__SERVICE_NAME", "callscope-under-test"),
        ("CALLSCOPE__LOG__LEVEL", "warn,callscope::serve=info,callscope_api=info"),
    ]);
    let url = format!("{}/api/v1/analytics/summary?period=7d", server.url());
    let ask = |traceparent: &str| {
        let request = ureq::get(&url).header("X-API-Key", &key).header("traceparent", traceparent);
        assert_eq!(request.call().unwrap().status(), 200);
    };
    ask(&format!("00-{TRACE}-{PARENT}-01"));
    // Its client does not keep this one, so neither do we.
    let unsampled = TRACE.replace('4', "5");
    ask(&format!("00-{unsampled}-{PARENT}-00"));
    ask("nonsense");
    server.signal("TERM");
    assert!(server.wait().success());

    let sent = collector.0.lock().unwrap();
    let (head, _) = sent.first().expect("spans were sent");
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let bodies = sent.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>().concat();
    for part in [b"callscope-under-test".as_slice(), b"GET /api/v1/analytics/summary", b"http.route"] {
        assert!(contains(&bodies, part), "{}", String::from_utf8_lossy(part));
    }
    assert!(contains(&bodies, &bytes_of(TRACE)) && contains(&bodies, &bytes_of(PARENT)));
    assert!(!contains(&bodies, &bytes_of(&unsampled)));
    assert!(!contains(&bodies, b"period=7d") && !contains(&bodies, key.as_bytes()));

    let traces: Vec<String> = server.log().iter().filter_map(|line| trace_of_answer(line)).collect();
    assert_eq!(traces[..2], [TRACE.to_owned(), unsampled]);
    assert!(traces[2].len() == 32 && traces[2] != TRACE, "{traces:?}");
}

/// The trace on the line of an answer.
fn trace_of_answer(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_answer = line["fields"]["message"] == "answered";
    is_answer.then(|| line["span"]["trace_id"].as_str().map(str::to_owned))?
}

fn a_collector_that_is_away_stops_nothing(backend: Backend) {
    let fixture = Fixture::new(backend);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{nobody}");
    let mut server = fixture.serve(&[("CALLSCOPE__TELEMETRY__OTLP_ENDPOINT", &endpoint)]);
    for _ in 0..10 {
        assert_eq!(server.stranger().get("/health").status, 200);
    }
    server.signal("TERM");
    assert!(server.wait().success());
}

/// The default address may belong to another server of the machine, whose start must not depend on that.
fn a_taken_address_of_metrics_stops_only_who_chose_it(backend: Backend) {
    let fixture = Fixture::new(backend);
    // Whether this test gets it or somebody else has it, it is taken.
    let _default = TcpListener::bind("127.0.0.1:9090");
    let server = fixture.serve(&[("CALLSCOPE__METRICS__BIND", "127.0.0.1:9090")]);
    assert_eq!(server.stranger().get("/health/live").status, 200);
    assert_eq!(server.stranger().get("/metrics").status, 404);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = fixture.command(&["serve"]);
    command.env("CALLSCOPE__METRICS__BIND", &address);
    let complaint = run(command, b"").stderr_of_failure();
    assert!(complaint.contains(&format!("cannot listen on {address}; choose another metrics.bind")), "{complaint}");
}

/// Every line of the log is the server's own, whatever names clients send.
fn no_client_writes_lines_of_the_log(backend: Backend) {
    const FORGED: &str = "x\n2026-11-24T00:00:00Z  INFO revoked a key tenant=forged\u{1B}[2J";
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("acme");
    for arguments in [
        vec!["tenants", "create", "other", "--name", FORGED],
        vec!["keys", "create", "--tenant", "acme", "--name", FORGED],
    ] {
        assert!(run(fixture.command(&arguments), b"").stderr_of_failure().contains("control characters"));
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut command = fixture.command(&["serve"]);
    command.env("CALLSCOPE__LOG__FORMAT", "pretty").env("CALLSCOPE__SERVER__BIND", &address);
    let server = Running::start(command, b"");
    let url = format!("http://{address}");
    eventually("an answer", || ureq::get(format!("{url}/health/live")).call().ok());
    let client = Client::new(&url, Some(&key));
    let name = serde_json::json!({"scopes": ["keys:manage"], "name": FORGED}).to_string();
    assert!(client.post("/api/v1/keys", "application/json", name.as_bytes()).status >= 400);
    for head in ["X-Request-Id: a\u{1B}[2J", "X-Request-Id: a\r\n b", "traceparent: 00-\u{9B}", "X-API-Key: \u{1B}[2J"]
    {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET /%0aforged%1b HTTP/1.1\r\nHost: a\r\n{head}\r\nConnection: close\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    server.signal("TERM");
    let log = server.finish().stderr;
    assert!(log.lines().count() > 3, "{log}");
    for line in log.lines() {
        assert!(line.starts_with("20") && !line.contains("tenant=forged"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

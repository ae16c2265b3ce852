//! Following calls from outside: sockets of two servers, clients that lose their connection, servers that die, curl.

use crate::client::Transport;
use crate::fixture::Fixture;
use crate::process::{PATIENCE, Server};
use callscope_testkit::Backend;
use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};
use uuid::Uuid;

on_each_backend!(curl_follows_calls_and_goes_on_where_it_was);

on_postgres!(followers_of_two_servers_miss_nothing_though_one_is_killed);

const CALLS: usize = 400;
/// Calls of one request.
const BODY_CALLS: usize = 10;

/// A client of a server's socket.
struct Follower {
    socket: WebSocket<TcpStream>,
}

impl Follower {
    fn open(server: &Server, key: &str, query: &str) -> Self {
        let address = server.url().trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("ws://{address}/ws/calls{query}").into_client_request().unwrap();
        request.headers_mut().insert("X-API-Key", key.parse().unwrap());
        Self { socket: tungstenite::client(request, stream).unwrap().0 }
    }

    /// The next event; none when the connection is lost.
    fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    let kind = message["type"].as_str().unwrap();
                    assert!(!matches!(kind, "dropped" | "reset" | "error"), "{message}");
                    if kind.starts_with("call.") {
                        return Some(message);
                    }
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// Records of calls that happen now: each begins, then ends.
fn calls() -> Vec<[Value; 2]> {
    let call = |_| {
        let (start, end) = (Utc::now() - TimeDelta::minutes(2), Utc::now());
        let rfc3339 = |instant: chrono::DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Micros, true);
        let id = Uuid::now_v7().to_string();
        let active = json!({"call_id": id, "status": "active", "started_at": rfc3339(start)});
        let mut ended = active.clone();
        ended["status"] = json!("completed");
        ended["ended_at"] = json!(rfc3339(end));
        [active, ended]
    };
    (0..CALLS).map(call).collect()
}

/// What a follower was told of each call, in order; fails when a number is missing or comes twice.
#[derive(Default)]
struct Told {
    last: i64,
    kinds: BTreeMap<String, Vec<String>>,
}

impl Told {
    fn add(&mut self, event: &Value) {
        let id = event["id"].as_i64().unwrap();
        assert_eq!(id, self.last + 1, "{event}");
        self.last = id;
        let of_call = self.kinds.entry(event["call_id"].as_str().unwrap().to_owned()).or_default();
        of_call.push(event["type"].as_str().unwrap().to_owned());
    }

    fn is_complete(&self) -> bool {
        self.last == 2 * i64::try_from(CALLS).unwrap()
    }

    fn check(&self) {
        assert_eq!(self.kinds.len(), CALLS);
        for (call, kinds) in &self.kinds {
            assert_eq!(*kinds, ["call.started", "call.ended"], "{call}");
        }
    }
}

fn followers_of_two_servers_miss_nothing_though_one_is_killed() {
    let fixture = Fixture::new(Backend::Postgres);
    let key = fixture.create_tenant("clinic");
    let (survivor, mortal) = (fixture.serve(&[]), fixture.serve(&[]));
    // One follows the survivor all the time. One follows the other server until it dies, then the survivor. One comes
    // and goes.
    let mut steady = Follower::open(&survivor, &key, "");
    let mut orphan = Follower::open(&mortal, &key, "");
    let calls = calls();
    let bodies: Vec<Vec<Value>> = calls
        .chunks(BODY_CALLS)
        .flat_map(|calls| [0, 1].map(|record| calls.iter().map(|call| call[record].clone()).collect::<Vec<_>>()))
        .collect();
    std::thread::scope(|scope| {
        let (survivor, key, bodies) = (&survivor, &key, &bodies);
        let first_half = bodies.len() / 2;
        scope.spawn(move || {
            let clients = [survivor.client(key), mortal.client(key)];
            for (number, body) in bodies[..first_half].iter().enumerate() {
                clients[number % 2].send(body, Transport::NDJSON);
                // Again, by the other one: nothing new.
                clients[(number + 1) % 2].send(body, Transport::NDJSON);
            }
            mortal.kill();
            for body in &bodies[first_half..] {
                clients[0].send(body, Transport::NDJSON);
            }
        });
        scope.spawn(move || {
            let mut told = Told::default();
            while !told.is_complete() {
                told.add(&steady.next().unwrap());
            }
            told.check();
        });
        scope.spawn(move || {
            let mut told = Told::default();
            while let Some(event) = orphan.next() {
                told.add(&event);
            }
            assert!(!told.is_complete(), "the server died before its follower was told everything");
            let mut follower = Follower::open(survivor, key, &format!("?since={}", told.last));
            while !told.is_complete() {
                told.add(&follower.next().unwrap());
            }
            told.check();
        });
        scope.spawn(move || {
            let mut told = Told::default();
            while !told.is_complete() {
                let mut follower = Follower::open(survivor, key, &format!("?since={}", told.last));
                for _ in 0..37 {
                    if !told.is_complete() {
                        told.add(&follower.next().unwrap());
                    }
                }
            }
            told.check();
        });
    });
}

/// The numbers of the next so many events that curl prints, starting after one.
fn curl(server: &Server, key: &str, after: Option<i64>, count: usize, meanwhile: impl FnOnce()) -> Vec<(String, i64)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--no-buffer", "--header", &format!("X-API-Key: {key}")]);
    if let Some(after) = after {
        command.args(["--header", &format!("Last-Event-ID: {after}")]);
    }
    command.arg(format!("{}/api/v1/sse/calls/stream", server.url()));
    let mut curl = command.stdout(Stdio::piped()).spawn().expect("curl is installed");
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map(Result::unwrap);
    let connected = lines.find(|line| line.starts_with("data: ")).unwrap();
    assert!(connected.contains(r#""type":"connected""#), "{connected}");
    meanwhile();
    let deadline = Instant::now() + PATIENCE;
    let mut told = Vec::new();
    let mut event = String::new();
    while told.len() < count {
        assert!(Instant::now() < deadline, "{told:?}");
        let line = lines.next().unwrap();
        match line.split_once(": ") {
            Some(("event", name)) => name.clone_into(&mut event),
            Some(("id", id)) => told.push((event.clone(), id.parse().unwrap())),
            _ => {}
        }
    }
    curl.kill().unwrap();
    curl.wait().unwrap();
    told
}

fn curl_follows_calls_and_goes_on_where_it_was(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[]);
    let client = server.client(&key);
    let calls = calls();
    let send = |call: &[Value; 2]| {
        for record in call {
            client.send(std::slice::from_ref(record), Transport::NDJSON);
        }
    };
    let told = curl(&server, &key, None, 2, || send(&calls[0]));
    assert_eq!(told, [("call.started".to_owned(), 1), ("call.ended".to_owned(), 2)]);
    send(&calls[1]);
    send(&calls[2]);
    let told = curl(&server, &key, Some(2), 4, || {});
    assert_eq!(told.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [3, 4, 5, 6]);
}

//! SIGTERM and SIGINT: whoever was heard gets an answer, what was acknowledged stays, and the end comes in time.

use crate::client::{Client, Transport};
use crate::compare::Comparison;
use crate::figures::instant;
use crate::fixture::Fixture;
use crate::process::{Server, eventually};
use crate::records;
use crate::windows::windows;
use crate::world::World;
use callscope_testkit::Backend;
use chrono::TimeDelta;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 3;
const BODY_RECORDS: usize = 20;
/// Bodies that were answered before the signal comes.
const BODIES_BEFORE: usize = 10;
const TIMEOUT: Duration = Duration::from_secs(20);
const LATE_CALL: &str = "31c02e4f-12e0-4af0-869b-aab222503a09";

on_each_backend!(sigterm_ends_the_server_in_order, sigint_ends_the_server_in_order, an_idle_server_ends_at_once);

fn sigterm_ends_the_server_in_order(backend: Backend) {
    ends_in_order(backend, "TERM");
}

fn sigint_ends_the_server_in_order(backend: Backend) {
    ends_in_order(backend, "INT");
}

fn an_idle_server_ends_at_once(backend: Backend) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let mut server = start(&fixture);
    let client = server.client(&key);
    // Its connection stays open, without a request on it.
    client.ask("summary");
    let told = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "{:?}", server.log());
    assert!(told.elapsed() < TIMEOUT / 2, "it took {:?}", told.elapsed());
}

fn start(fixture: &Fixture) -> Server {
    let timeout = format!("{}s", TIMEOUT.as_secs());
    fixture.serve(&[
        ("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s"),
        ("CALLSCOPE__SERVER__SHUTDOWN_TIMEOUT", timeout.as_str()),
    ])
}

fn ends_in_order(backend: Backend, signal: &str) {
    let fixture = Fixture::new(backend);
    let key = fixture.create_tenant("clinic");
    let from = instant(1_750_000_000_000_000);
    let calls = records::calls(7, &[(from, from + TimeDelta::days(2), 6000)]);
    let records: Vec<Value> = calls.iter().map(|call| serde_json::to_value(call).unwrap()).collect();
    let mut server = start(&fixture);
    let answered = AtomicUsize::new(0);
    let acknowledged = std::thread::scope(|scope| {
        let senders: Vec<_> = records
            .chunks(records.len() / CLIENTS)
            .map(|part| {
                let (client, answered) = (server.client(&key), &answered);
                scope.spawn(move || send_until_gone(&client, part, answered))
            })
            .collect();
        let half = HalfSent::begin(&server, &key);
        eventually("some answers", || (answered.load(Ordering::Relaxed) >= BODIES_BEFORE).then_some(()));
        let told = Instant::now();
        server.signal(signal);
        eventually("the word that it stops", || {
            server.log().iter().any(|line| line.contains("stopping")).then_some(())
        });
        let answer = half.finish();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer:?}");
        assert_eq!(server.wait().code(), Some(0), "{:?}", server.log());
        assert!(told.elapsed() < TIMEOUT + Duration::from_secs(2), "it took {:?}", told.elapsed());
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect::<Vec<Value>>()
    });
    assert!(server.log().last().unwrap().contains("\"stopped\""), "{:?}", server.log().last());
    assert!(acknowledged.len() < records.len(), "the signal came when nothing was under way");

    fixture.assert_rollups_are_equal();
    let server = start(&fixture);
    let client = server.client(&key);
    let answer = client.put(&late_record());
    assert_eq!(answer.status, 200, "what was answered at the end is lost: {answer:?}");
    for record in &acknowledged {
        let answer = client.put(record);
        assert_eq!(answer.status, 200, "what was acknowledged is lost: {answer:?}");
    }
    client.send(&records, Transport::NDJSON);
    let mut world = World::default();
    world.receive_all(&records);
    world.receive(&late_record());
    let tenant_id = fixture.tenant_id("clinic");
    let comparison = Comparison { client: &client, world: &world, tenant_id: &tenant_id, slugs: &["daily-call"] };
    let mut random = StdRng::seed_from_u64(7);
    for window in windows(&mut random, &records::starts_us(&records)).iter().step_by(10) {
        comparison.check(&mut random, window);
    }
}

/// Sends body after body until the server is gone, and gives what was acknowledged.
fn send_until_gone(client: &Client, records: &[Value], answered: &AtomicUsize) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    for body in records.chunks(BODY_RECORDS) {
        match client.try_send(body, Transport::NDJSON) {
            Ok(answer) if answer.status == 200 => {
                answered.fetch_add(1, Ordering::Relaxed);
                acknowledged.extend_from_slice(body);
            }
            // The server may say that it is going.
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => break,
        }
    }
    acknowledged
}

fn late_record() -> Value {
    json!({"call_id": LATE_CALL, "status": "completed",
           "started_at": "2025-06-15T10:00:00Z", "ended_at": "2025-06-15T10:01:00Z"})
}

/// A request of which the server has heard, and that is not complete.
struct HalfSent {
    connection: TcpStream,
    rest: Vec<u8>,
}

impl HalfSent {
    /// Sends the head and half of the body, and waits for the server to ask for the body.
    fn begin(server: &Server, key: &str) -> Self {
        let body = late_record().to_string().into_bytes();
        let head = format!(
            "PUT /api/v1/ingest/calls/{LATE_CALL} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            server.address,
            body.len()
        );
        let mut connection = TcpStream::connect(server.address).unwrap();
        connection.set_read_timeout(Some(TIMEOUT)).unwrap();
        connection.write_all(head.as_bytes()).unwrap();
        let mut asked = [0; 12];
        connection.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100");
        connection.write_all(&body[..body.len() / 2]).unwrap();
        Self { connection, rest: body[body.len() / 2..].to_vec() }
    }

    /// Sends the rest, and gives the answer.
    fn finish(mut self) -> String {
        self.connection.write_all(&self.rest).unwrap();
        let mut answer = String::new();
        self.connection.read_to_string(&mut answer).unwrap();
        // What followed the status line of the word to continue.
        answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, answer)| answer.to_owned())
    }
}

//! How fast answers come that are kept, against a bare server of the same framework that knows nothing but the bytes.

use crate::measure::Bench;
use crate::report::{Bound, print_row};
use crate::server::{Instance, Server};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Threads that ask, each on one connection that it keeps.
const CLIENTS: usize = 2;
/// How long each server is asked before it is the other's turn, and how often both are.
const TURN: Duration = Duration::from_millis(500);
const TURNS: usize = 12;

/// Short, middling and long answers.
const QUESTIONS: [&str; 3] = ["summary?period=30d", "provider-latency?period=30d", "call-volume?period=7d"];

/// Headers that every server sets of itself.
const OWN_HEADERS: [&str; 3] = ["content-length", "date", "connection"];

/// Asks both servers in turn.
pub fn measure(bench: &mut Bench, loaded: &mut Instance) -> anyhow::Result<()> {
    println!("\n## {}: cached answers, {CLIENTS} clients that keep their connections", bench.engine.name());
    loaded.server.terminate()?;
    loaded.server = Server::start_cached(&loaded.database)?;
    print_row("requests/s", ["callscope", "bare actix", "ratio", "bytes"].iter().map(|head| format!("{head:>14}")));
    let mut worst = f64::INFINITY;
    for question in QUESTIONS {
        let [ours, bare, bytes] = compare(loaded, question)?;
        let ratio = ours / bare;
        worst = worst.min(ratio);
        let cells =
            [format!("{ours:>14.0}"), format!("{bare:>14.0}"), format!("{ratio:>14.2}"), format!("{bytes:>14}")];
        print_row(question, cells.into_iter());
    }
    loaded.server.terminate()?;
    loaded.server = Server::start(&loaded.database)?;
    bench.report.claim("cached reads/s / those of a bare actix handler, worst", worst, Bound::AtLeast(0.7));
    Ok(())
}

/// Requests a second of our server and of the bare one, and the bytes of an answer.
fn compare(loaded: &Instance, question: &str) -> anyhow::Result<[f64; 3]> {
    let path = format!("/api/v1/analytics/{question}");
    let ours = Target { address: loaded.server.address.clone(), request: request(&path, &loaded.key) };
    let answer = ours.ask()?;
    let bare = BareServer::start(&answer)?;
    let bare = Target { address: bare.address.clone(), request: request(&path, &loaded.key) };
    anyhow::ensure!(bare.ask()?.body == answer.body, "the servers answer differently");
    let (mut ours_count, mut bare_count) = (0, 0);
    for turn in 0..=TURNS {
        let counts = (ours.count_answers()?, bare.count_answers()?);
        // The first turn is for warming up.
        if turn > 0 {
            ours_count += counts.0;
            bare_count += counts.1;
        }
    }
    let seconds = TURN.as_secs_f64() * TURNS as f64;
    Ok([ours_count as f64 / seconds, bare_count as f64 / seconds, answer.body.len() as f64])
}

/// What a client of a dashboard sends.
fn request(path: &str, key: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nX-API-Key: {key}\r\n\r\n")
        .into_bytes()
}

/// A question to a server.
struct Target {
    address: String,
    request: Vec<u8>,
}

struct Answer {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Target {
    fn ask(&self) -> anyhow::Result<Answer> {
        let mut connection = Connection::open(&self.address)?;
        let length = connection.ask(&self.request)?;
        let (head, body) = connection.received[..length].split_at(connection.head_length);
        let head = std::str::from_utf8(head)?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Ok(Answer { headers, body: body.to_vec() })
    }

    /// Asks from every client for one turn; gives the number of answers.
    fn count_answers(&self) -> anyhow::Result<usize> {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| self.ask_for_a_turn())).collect();
            let counts =
                clients.into_iter().map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
            counts.sum()
        })
    }

    fn ask_for_a_turn(&self) -> anyhow::Result<usize> {
        let mut connection = Connection::open(&self.address)?;
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < TURN {
            connection.ask(&self.request)?;
            count += 1;
        }
        Ok(count)
    }
}

/// A connection of a client that does as little as it can.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Bytes of the last answer's head.
    head_length: usize,
}

impl Connection {
    fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: vec![0; 1 << 20], head_length: 0 })
    }

    /// Sends a request and receives all of its answer; gives its bytes.
    fn ask(&mut self, request: &[u8]) -> anyhow::Result<usize> {
        self.stream.write_all(request)?;
        let (mut length, mut expected) = (0, None);
        while expected.is_none_or(|expected| length < expected) {
            let more = self.stream.read(&mut self.received[length..])?;
            anyhow::ensure!(more > 0, "the server hung up");
            length += more;
            if expected.is_none() {
                expected = self.expected(length)?;
            }
        }
        Ok(length)
    }

    /// Bytes of the whole answer, if its head is there.
    fn expected(&mut self, length: usize) -> anyhow::Result<Option<usize>> {
        let received = &self.received[..length];
        let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
        self.head_length = end + 4;
        let head = std::str::from_utf8(&received[..end])?;
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body: usize = announced.context("no content-length")?.parse()?;
        Ok(Some(self.head_length + body))
    }
}

/// A server that gives every request the same answer.
struct BareServer {
    address: String,
    handle: actix_web::dev::ServerHandle,
}

impl BareServer {
    fn start(answer: &Answer) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        for (name, value) in answer.headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(&name.as_str())) {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        let body = Bytes::from(answer.body.clone());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || actix_web::rt::System::new().block_on(serve(headers, body, &sender)));
        let (address, handle) = receiver.recv().context("the bare server did not start")?;
        Ok(Self { address, handle })
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

type Started = (String, actix_web::dev::ServerHandle);

async fn serve(headers: HeaderMap, body: Bytes, started: &mpsc::Sender<Started>) -> anyhow::Result<()> {
    let server = HttpServer::new(move || {
        let (headers, body) = (headers.clone(), body.clone());
        let answer = move || {
            let mut response = HttpResponse::Ok().body(body.clone());
            *response.headers_mut() = headers.clone();
            std::future::ready(response)
        };
        App::new().default_service(web::to(answer))
    });
    let server = server.disable_signals().bind(("127.0.0.1", 0))?;
    let address = server.addrs().first().context("it listens nowhere")?.to_string();
    let server = server.run();
    started.send((address, server.handle()))?;
    Ok(server.await?)
}

//! Connections whose clients are slow, silent, many, or do not read.

use crate::client::INGEST;
use crate::records::call_id;
use crate::server::{Server, Setup, transport_limits};
use crate::wire::{Connection, Request};
use callscope_api::LiveLimits;
use callscope_api::transport::{TransportLimits, TrustedProxies};
use callscope_testkit::Backend;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

on_each_backend!(
    every_head_of_a_connection_must_arrive_in_time,
    a_connection_between_requests_is_kept_and_then_closed,
    the_rest_of_a_body_that_was_refused_must_arrive_in_time,
    requests_that_are_sent_together_are_answered_in_order,
    an_answer_that_is_not_read_ends_its_connection,
    a_body_must_arrive_at_the_least_rate,
    an_address_has_its_part_of_the_connections,
    behind_a_trusted_proxy_a_client_has_its_part_of_the_requests,
    requests_that_cannot_be_read_are_answered_with_a_problem_and_an_id,
    answers_that_are_not_read_take_a_bounded_part_of_the_memory,
    a_message_that_announces_too_much_closes_its_socket,
    messages_are_read_at_a_bounded_rate,
    a_socket_that_is_not_read_is_counted_until_it_has_ended,
);

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);
/// A document without a credential, larger than what one answer may leave uncounted.
const DOCUMENT: &str = "GET /api-docs/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn hasty() -> TransportLimits {
    TransportLimits {
        keep_alive: Duration::from_secs(1),
        header_timeout: Duration::from_millis(500),
        write_timeout: Duration::from_secs(1),
        transfer_grace: Duration::from_millis(500),
        ..transport_limits()
    }
}

fn few() -> TransportLimits {
    TransportLimits { connections_per_address_max: 2, trusted_proxies: TrustedProxies::default(), ..transport_limits() }
}

fn few_behind_a_proxy() -> TransportLimits {
    TransportLimits { trusted_proxies: TrustedProxies::parse(&["127.0.0.0/8"]).expect("a network"), ..few() }
}

fn small_answers() -> TransportLimits {
    // A client that sends its requests one after the other holds two documents at most; its part is just more than that.
    TransportLimits { answer_bytes_max: 800 << 10, ..transport_limits() }
}

async fn start(backend: Backend, transport: fn() -> TransportLimits) -> Server {
    Server::start_with(backend, Setup { transport, ..Setup::default() }).await
}

/// Reads until the server closes the connection, while `trickle` is sent again and again.
async fn read_to_the_end(stream: &mut TcpStream, trickle: &[u8]) -> String {
    let mut all = Vec::new();
    let (mut read, mut write) = stream.split();
    let trickling = async {
        loop {
            sleep(Duration::from_millis(50)).await;
            let _ = write.write_all(trickle).await;
        }
    };
    let reading = async {
        match read.read_to_end(&mut all).await {
            Ok(_) => {}
            // What was sent and not read any more.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
    };
    tokio::select! {
        () = trickling => {}
        ended = timeout(PATIENCE, reading) => ended.expect("the server closes the connection"),
    }
    String::from_utf8(all).expect("text")
}

/// Waits until a metric has a value.
async fn until(server: &Server, line: &str) {
    let waiting = async {
        while !server.state.metrics.text().lines().any(|known| known == line) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{line} in {}", server.state.metrics.text());
}

/// A connection that keeps next to nothing of what it does not read.
async fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.connect(address).await.expect("the server listens")
}

async fn every_head_of_a_connection_must_arrive_in_time(backend: Backend) {
    let server = start(backend, hasty).await;
    let ping = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (start, trickle) in [("", ""), ("GET /health", "x"), ("\r\n", "\r\n")] {
        for earlier in 0..2 {
            let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
            let mut sent = ping.repeat(earlier);
            stream.write_all(sent.as_bytes()).await.expect("sent");
            if earlier > 0 {
                let mut answer = vec![0; 1024];
                let read = stream.read(&mut answer).await.expect("an answer");
                assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
            }
            start.clone_into(&mut sent);
            stream.write_all(sent.as_bytes()).await.expect("sent");
            let end = read_to_the_end(&mut stream, trickle.as_bytes()).await;
            // A client that is just silent between two requests is not told anything.
            if earlier == 0 || !start.is_empty() {
                assert!(end.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{start:?} after {earlier}: {end}");
                assert!(end.contains("\r\nx-request-id: "), "{end}");
                assert!(end.contains("the head of the request must arrive within 0.5 s"), "{end}");
            } else {
                assert_eq!(end, "");
            }
        }
    }
    until(&server, "callscope_connections_open 0").await;
    until(&server, "callscope_connection_timeouts_total{phase=\"head\"} 5").await;
}

async fn a_connection_between_requests_is_kept_and_then_closed(backend: Backend) {
    let server = start(backend, hasty).await;
    let mut connection = Connection::open(server.address).await;
    for _ in 0..3 {
        assert_eq!(connection.send(&Request::get("/health/live")).await.status, 200);
        // Longer than a head may take, once it has begun.
        sleep(Duration::from_millis(700)).await;
    }
    until(&server, "callscope_connections_open 0").await;
}

async fn the_rest_of_a_body_that_was_refused_must_arrive_in_time(backend: Backend) {
    let server = start(backend, hasty).await;
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    let head = format!("POST {INGEST} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let end = read_to_the_end(&mut stream, b"1\r\nx\r\n").await;
    assert!(end.starts_with("HTTP/1.1 401"), "{end}");
    assert_eq!(end.matches("HTTP/1.1").count(), 1, "{end}");
}

/// More than is read ahead of a request, with bodies of every size between heads.
async fn requests_that_are_sent_together_are_answered_in_order(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let (health, missing) = (Request::get("/health/live").head(), Request::get("/missing").head());
    let mut sent = Vec::new();
    let mut expected = Vec::new();
    for blank_lines in [0, 3_000, 5_000, 300_000] {
        sent.extend(health.repeat(150).into_bytes());
        expected.extend([("GET", 200); 150]);
        let body = "\n".repeat(blank_lines);
        let request = Request::new("POST", INGEST)
            .header("X-API-Key", acme.key.clone())
            .header("Content-Length", body.len().to_string())
            .ndjson(body.clone());
        sent.extend([request.head().as_bytes(), body.as_bytes(), missing.as_bytes()].concat());
        expected.extend([("POST", 422), ("GET", 404)]);
    }
    let mut connection = Connection::open(server.address).await;
    connection.write(&sent).await;
    for (number, (method, status)) in expected.into_iter().enumerate() {
        let answer = timeout(PATIENCE, connection.read(method)).await.expect("an answer");
        assert_eq!(answer.status, status, "of request {number}: {}", answer.text());
    }
}

async fn an_answer_that_is_not_read_ends_its_connection(backend: Backend) {
    let server = start(backend, hasty).await;
    let mut stream = connect_narrow(server.address).await;
    stream.write_all(DOCUMENT.repeat(16).as_bytes()).await.expect("sent");
    until(&server, "callscope_connection_timeouts_total{phase=\"write\"} 1").await;
    until(&server, "callscope_connections_open 0").await;
    assert_eq!(server.transport.answer_bytes(), 0);
}

async fn a_body_must_arrive_at_the_least_rate(backend: Backend) {
    let server = start(backend, hasty).await;
    let acme = server.tenant("acme").await;
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
        let path = format!("{INGEST}/{}", call_id(1));
        let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        let head = format!("{head}X-API-Key: {}\r\n{framing}\r\n\r\n", acme.key);
        stream.write_all(head.as_bytes()).await.expect("sent");
        let trickle = if framing.contains("chunked") { "1\r\n{\r\n" } else { "{" };
        let end = read_to_the_end(&mut stream, trickle.as_bytes()).await;
        assert!(end.starts_with("HTTP/1.1 408"), "{end}");
        assert!(end.contains("connection: close") && end.contains("the body arrives too slowly"), "{end}");
    }
    until(&server, "callscope_connection_timeouts_total{phase=\"body\"} 2").await;
    until(&server, "callscope_connections_open 0").await;
}

async fn an_address_has_its_part_of_the_connections(backend: Backend) {
    let server = start(backend, few).await;
    let mut first = Connection::open(server.address).await;
    let mut second = Connection::open(server.address).await;
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.send(&Request::get("/health/live")).await.status, 200);
    }
    let mut third = TcpStream::connect(server.address).await.expect("the kernel accepts it");
    assert_eq!(read_to_the_end(&mut third, b"").await, "");
    until(&server, "callscope_connections_refused_total 1").await;
    drop(first);
    until(&server, "callscope_connections_open 1").await;
    let mut third = Connection::open(server.address).await;
    assert_eq!(third.send(&Request::get("/health/live")).await.status, 200);
}

async fn behind_a_trusted_proxy_a_client_has_its_part_of_the_requests(backend: Backend) {
    // Whether a client that has gone is still there shows when something is written.
    let live_limits = LiveLimits { ping_interval: Duration::from_millis(100), ..Setup::default().live_limits };
    let setup = Setup { transport: few_behind_a_proxy, live_limits, ..Setup::default() };
    let server = Server::start_with(backend, setup).await;
    let acme = server.tenant("acme").await;
    let mut open = Vec::new();
    let stream = |client: &str| {
        Request::get("/api/v1/sse/calls/stream").header("X-API-Key", &acme.key).header("X-Forwarded-For", client)
    };
    for (client, status) in [("192.0.2.1", 200), ("6.6.6.6, 192.0.2.1", 200), ("192.0.2.1", 429), ("192.0.2.2", 200)] {
        let mut connection = Connection::open(server.address).await;
        assert_eq!(connection.send_for_head(&stream(client)).await.status, status, "{client}");
        open.push(connection);
    }
    until(&server, "callscope_requests_refused_total 1").await;
    open.remove(0);
    until(&server, "callscope_connections_open 3").await;
    let mut connection = Connection::open(server.address).await;
    assert_eq!(connection.send_for_head(&stream("192.0.2.1")).await.status, 200);
}

async fn requests_that_cannot_be_read_are_answered_with_a_problem_and_an_id(backend: Backend) {
    let server = start(backend, transport_limits).await;
    // Without an end: a head that is there at once is not measured.
    let large = format!("GET / HTTP/1.1\r\nX-Large: {}", "x".repeat(200_000));
    for (request, status) in [("NONSENSE\r\n\r\n", 400), (large.as_str(), 431)] {
        let mut connection = Connection::open(server.address).await;
        connection.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(connection.read("GET").await.status, 200);
        connection.write(request.as_bytes()).await;
        let answer = connection.read("GET").await;
        assert_eq!((answer.status, answer.value()["status"].as_u64()), (status, Some(status.into())));
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        assert!(answer.closes() && answer.header("X-Request-Id").is_some_and(|id| id.len() == 36));
    }
    until(&server, "callscope_requests_malformed_total 2").await;
}

async fn answers_that_are_not_read_take_a_bounded_part_of_the_memory(backend: Backend) {
    let server = start(backend, small_answers).await;
    let mut silent = connect_narrow(server.address).await;
    silent.write_all(DOCUMENT.repeat(16).as_bytes()).await.expect("sent");
    let waiting = async {
        loop {
            let refused = Connection::open(server.address).await.send(&Request::get("/api-docs/openapi.json")).await;
            if refused.status == 503 {
                return refused;
            }
        }
    };
    let refused = timeout(PATIENCE, waiting).await.expect("the silent client's answer is counted");
    assert!(refused.text().contains("too many bytes of answers"), "{}", refused.text());
    // Small answers are not refused.
    assert_eq!(server.stranger().send(&Request::get("/health/live")).await.status, 200);
    drop(silent);
    let waiting =
        async { while server.stranger().send(&Request::get("/api-docs/openapi.json")).await.status != 200 {} };
    timeout(PATIENCE, waiting).await.expect("what was held is released with the connection");
}

/// A WebSocket, byte for byte.
async fn open_socket(server: &Server, key: &str) -> TcpStream {
    let mut stream = connect_narrow(server.address).await;
    let head = format!(
        "GET /ws/calls HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 101");
    stream
}

async fn a_message_that_announces_too_much_closes_its_socket(backend: Backend) {
    let server = start(backend, transport_limits).await;
    let acme = server.tenant("acme").await;
    let mut stream = open_socket(&server, &acme.key).await;
    let head = [&[0x81, 0xff], (1_u64 << 40).to_be_bytes().as_slice(), &[0; 4]].concat();
    stream.write_all(&head).await.expect("sent");
    let _ = stream.write_all(&vec![0; 64 << 10]).await;
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the server closes the connection");
    let close = all.windows(4).find(|bytes| bytes[0] == 0x88).expect("a close frame");
    assert_eq!(u16::from_be_bytes([close[2], close[3]]), 1009);
    until(&server, "callscope_socket_frames_refused_total 1").await;
    until(&server, "callscope_sockets_open 0").await;
}

async fn messages_are_read_at_a_bounded_rate(backend: Backend) {
    let live_limits = LiveLimits { messages_per_second_max: 5, ..Setup::default().live_limits };
    let server = Server::start_with(backend, Setup { live_limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let mut stream = open_socket(&server, &acme.key).await;
    stream.write_all(&[0x89, 0x80, 0, 0, 0, 0].repeat(1000)).await.expect("sent");
    let mut all = Vec::new();
    let _ = timeout(Duration::from_secs(1), stream.read_to_end(&mut all)).await;
    let pongs = all.windows(2).filter(|bytes| *bytes == [0x8a, 0]).count();
    // Ten seconds' worth at once, and then five a second.
    assert!((50..200).contains(&pongs), "{pongs}");
}

async fn a_socket_that_is_not_read_is_counted_until_it_has_ended(backend: Backend) {
    let live_limits = LiveLimits {
        send_timeout: Duration::from_millis(200),
        messages_per_second_max: 1_000_000,
        ..Setup::default().live_limits
    };
    let setup = Setup { live_limits, transport: hasty, ..Setup::default() };
    let server = Server::start_with(backend, setup).await;
    let acme = server.tenant("acme").await;
    let mut stream = open_socket(&server, &acme.key).await;
    let pings = [&[0x89, 0xfd, 0, 0, 0, 0], [0; 125].as_slice()].concat().repeat(1000);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    let ended = async {
        // While the connection is open the socket is counted.
        until(&server, "callscope_connection_timeouts_total{phase=\"write\"} 1").await;
        until(&server, "callscope_connections_open 0").await;
        until(&server, "callscope_sockets_open 0").await;
    };
    timeout(PATIENCE, async { tokio::join!(flood, ended) }).await.expect("the connection ends");
}

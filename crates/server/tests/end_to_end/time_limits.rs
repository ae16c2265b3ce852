//! How long connections, heads and bodies may take. None of it has to do with the database.

use crate::fixture::Fixture;
use crate::process::{PATIENCE, Server};
use callscope_testkit::Backend;
use std::io::{Read, Write};
use std::net::TcpStream;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes until the server hangs up.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_head_that_does_not_arrive_costs_a_connection_no_longer_than_allowed() {
    let fixture = Fixture::new(Backend::Sqlite);
    let server = fixture.serve(&[("CALLSCOPE__SERVER__HEADER_TIMEOUT", "1s")]);
    let mut stream = connect(&server);
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    let answer = rest(stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(server.stranger().get("/health").status, 200);
}

#[test]
fn a_body_that_does_not_arrive_is_given_up_when_the_settings_say() {
    let fixture = Fixture::new(Backend::Sqlite);
    let key = fixture.create_tenant("acme");
    let server = fixture.serve(&[("CALLSCOPE__SERVER__BODY_TIMEOUT", "200ms")]);
    let mut stream = connect(&server);
    let head = format!(
        "POST /api/v1/ingest/calls HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answer = rest(stream);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("must arrive within 200ms"), "{answer}");
}

#[test]
fn an_idle_connection_is_closed_when_the_settings_say() {
    let fixture = Fixture::new(Backend::Sqlite);
    for (keep_alive, closes_at_once) in [("300ms", false), ("0s", true)] {
        let server = fixture.serve(&[("CALLSCOPE__SERVER__KEEP_ALIVE", keep_alive)]);
        let mut stream = connect(&server);
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let answer = rest(stream).to_lowercase();
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        assert_eq!(answer.contains("connection: close"), closes_at_once, "{answer}");
    }
}

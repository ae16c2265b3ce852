//! What the log holds by default: what an operator needs, no probes, and nothing of broken clients but a line with an id.

use crate::fixture::Fixture;
use crate::process::eventually;
use callscope_testkit::Backend;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// Bytes that are no request, or not a whole one.
const BROKEN: [&[u8]; 5] = [
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n",
    b"PUT /api/v1/ingest/calls/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

#[test]
fn probes_and_broken_clients_do_not_fill_the_log() {
    let fixture = Fixture::new(Backend::Sqlite);
    let mut server = fixture.serve(&[]);
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(server.stranger().get(path).status, 200);
    }
    for bytes in BROKEN {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The server answers or hangs up; either is an end.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(server.stranger().get("/api/v1/analytics/summary").status, 401);
    server.signal("TERM");
    assert!(server.wait().success());
    let log = eventually("the last line", || Some(server.log()).filter(|log| log.last().unwrap().contains("stopped")));
    let is_refusal = |line: &&String| line.contains("refused a malformed request");
    assert!(
        log.iter().filter(is_refusal).all(|line| line.contains("\"id\":") && !line.contains("\"ERROR\"")),
        "{log:?}"
    );
    let lines = log.iter().filter(|line| !is_refusal(line) && !line.contains("brought the schema up to date"));
    let expected = ["\"listening;", "\"answered\"", "\"stopping:", "\"stopped\""];
    for (line, expected) in lines.clone().zip(expected) {
        assert!(line.contains(expected) && line.contains("\"INFO\""), "{line}: {expected}");
    }
    assert_eq!(lines.count(), expected.len(), "{log:?}");
}

#[test]
fn lines_of_the_framework_are_there_when_they_are_asked_for() {
    let fixture = Fixture::new(Backend::Sqlite);
    let server = fixture.serve(&[("CALLSCOPE__LOG__LEVEL", "info,actix_server=info,callscope_api=debug")]);
    server.stranger().get("/health/live");
    for text in ["Tokio runtime found", "/health/live"] {
        eventually(text, || server.log().iter().any(|line| line.contains(text)).then_some(()));
    }
}

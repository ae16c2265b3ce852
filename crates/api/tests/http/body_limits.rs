//! Bodies that are too large, too many, or cut off.

use crate::client::INGEST;
use crate::ingest::{gzip, zstd};
use crate::layout::problem;
use crate::records::{active, call_id, completed, error};
use crate::server::{LIMITS, Server, Setup};
use crate::slow::held_body;
use crate::table::{problems, still_works};
use crate::wire::{Connection, Request};
use callscope_api::ApiLimits;
use callscope_testkit::Backend;
use insta::assert_snapshot;
use std::fmt::Write;
use std::sync::Arc;
use tokio::sync::Notify;

on_each_backend!(
    bodies_over_the_limits,
    a_hundred_megabytes_and_fifty_thousand_and_one_records_are_refused_as_usual,
    an_announced_body_that_is_too_large_is_refused_before_it_is_sent,
    a_body_that_is_cut_off_stores_nothing,
    few_bytes_that_mean_much_work_are_refused,
    an_answer_to_many_bad_records_is_bounded,
    many_bodies_at_once_are_more_than_there_is_room_for
);

const AT: &str = "2026-01-17T10:00:00Z";

fn post() -> Request {
    Request::new("POST", INGEST)
}

fn put() -> Request {
    Request::new("PUT", format!("{INGEST}/{}", call_id(1)))
}

fn packed(encoding: &str, bytes: Vec<u8>) -> Request {
    post().ndjson(bytes).header("Content-Encoding", encoding)
}

fn named(table: Vec<(&str, Request)>) -> Vec<(String, Request)> {
    table.into_iter().map(|(name, request)| (name.to_owned(), request)).collect()
}

fn line() -> String {
    completed(1, AT, 60).to_string()
}

fn small() -> Setup {
    let limits = ApiLimits { body_bytes_max: 100_000, body_records_max: 3, inflight_bytes_max: 1_000_000, ..LIMITS };
    Setup { limits, ..Setup::default() }
}

fn chunked(bytes: usize) -> Request {
    let chunk = format!("{:x}\r\n{}\r\n", 10_000, " ".repeat(10_000));
    let body = chunk.repeat(bytes / 10_000) + "0\r\n\r\n";
    post().ndjson(body).header("Transfer-Encoding", "chunked")
}

async fn bodies_over_the_limits(backend: Backend) {
    let server = Server::start_with(backend, small()).await;
    let acme = server.tenant("acme").await;
    let zeros = vec![b'\n'; 50_000_000];
    let lines = |count: usize| vec!["{}"; count].join("\n");
    let table = vec![
        ("announced", post().ndjson(" ".repeat(100_001))),
        ("announced for one call", put().json(" ".repeat(100_001))),
        ("in chunks", chunked(110_000)),
        ("a gzip bomb", packed("gzip", gzip(&zeros))),
        ("a zstd bomb", packed("zstd", zstd(&zeros))),
        ("a gzip bomb for one call", put().json(gzip(&zeros)).header("Content-Encoding", "gzip")),
        ("a byte over it, packed", packed("zstd", zstd(&vec![b' '; 100_001]))),
        ("four lines", post().ndjson(lines(4))),
        ("four objects", post().json("[{},{},{},{}]")),
        ("more lines than could be told", post().ndjson(lines(30_000))),
    ];
    assert_snapshot!(problems(&acme, named(table)).await, @"
    announced
      413 payload_too_large: the body must be at most 100000 bytes, as sent and after decompression; split it
    announced for one call
      413 payload_too_large: the body must be at most 100000 bytes, as sent and after decompression; split it
    in chunks
      413 payload_too_large: the body must be at most 100000 bytes, as sent and after decompression; split it
    a gzip bomb
      413 payload_too_large: the body must be at most 100000 bytes, as sent and after decompression; split it
    a zstd bomb
      413 payload_too_large: the body must be at most 100000 bytes, as sent and after decompression; split it
    a gzip bomb for one call
      413 payload_too_large: the body must be at most 100000 bytes, as sent and after decompression; split it
    a byte over it, packed
      413 payload_too_large: the body must be at most 100000 bytes, as sent and after decompression; split it
    four lines
      413 payload_too_large: the body must hold at most 3 records; split it
    four objects
      413 payload_too_large: the body must hold at most 3 records; split it
    more lines than could be told
      413 payload_too_large: the body must hold at most 3 records; split it
    ");
    // At the limits all is well.
    // White space that does not repeat: what packs too well is refused.
    let space = |number: usize| if ((number * 2_654_435_761) >> 20) & 1 == 0 { ' ' } else { '\t' };
    let rest = (0..100_000 - line().len() - 1).map(space);
    let at_the_limit = format!("{}\n{}", line(), rest.collect::<String>());
    for request in [post().ndjson(at_the_limit.clone()), packed("gzip", gzip(at_the_limit.as_bytes()))] {
        assert_eq!(acme.send(&request).await.value()["accepted"], 1);
    }
    let three: Vec<String> = (1..=3).map(|number| active(number, AT).to_string()).collect();
    assert_eq!(acme.send(&post().ndjson(format!("\n{}\n\n", three.join("\n\n")))).await.value()["accepted"], 3);
}

async fn a_hundred_megabytes_and_fifty_thousand_and_one_records_are_refused_as_usual(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let too_many = "{}\n".repeat(LIMITS.body_records_max + 1);
    let bomb = gzip(&vec![b'\n'; LIMITS.body_bytes_max + 1]);
    let table = vec![
        ("100 MB", post().ndjson(vec![b' '; 100_000_000])),
        ("100 MB for one call", put().json(vec![b' '; 100_000_000])),
        ("50,001 records", post().ndjson(too_many)),
        ("64 MiB and a byte, packed", packed("gzip", bomb)),
    ];
    assert_snapshot!(problems(&acme, named(table)).await, @"
    100 MB
      413 payload_too_large: the body must be at most 67108864 bytes, as sent and after decompression; split it
    100 MB for one call
      413 payload_too_large: the body must be at most 67108864 bytes, as sent and after decompression; split it
    50,001 records
      413 payload_too_large: the body must hold at most 50000 records; split it
    64 MiB and a byte, packed
      413 payload_too_large: the body must not unpack to more than 200 times its size, unless that is less than 64 KiB; send it unpacked, or split it
    ");
    still_works(&acme).await;
}

async fn an_announced_body_that_is_too_large_is_refused_before_it_is_sent(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let key = server.key(acme.id, callscope_domain::Scope::ALL).await;
    let request = post()
        .header("Content-Type", "application/json")
        .header("X-API-Key", key)
        .header("Content-Length", "100000000");
    let mut connection = Connection::open(server.address).await;
    connection.write(request.head().as_bytes()).await;
    connection.finish().await;
    assert!(problem(&connection.read("POST").await).starts_with("413 payload_too_large"));
}

async fn a_body_that_is_cut_off_stores_nothing(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let key = server.key(acme.id, callscope_domain::Scope::ALL).await;
    let mut seen = String::new();
    let length = format!("{}", line().len() + 100);
    let requests = [
        post().header("Content-Length", length.clone()),
        put().header("Content-Length", length),
        post().header("Transfer-Encoding", "chunked"),
    ];
    for request in requests {
        let request = request.header("Content-Type", "application/json").header("X-API-Key", key.clone());
        let mut connection = Connection::open(server.address).await;
        connection.write(request.head().as_bytes()).await;
        let start = if request.head().contains("chunked") { format!("ff\r\n{}", line()) } else { line() };
        connection.write(start.as_bytes()).await;
        connection.finish().await;
        let _ = writeln!(seen, "{}", problem(&connection.read("POST").await));
        assert!(connection.is_at_end().await);
    }
    assert_snapshot!(seen, @"
    400 malformed_request: the body was cut off
    400 malformed_request: the body was cut off
    400 malformed_request: the body was cut off
    ");
    still_works(&acme).await;
}

async fn few_bytes_that_mean_much_work_are_refused(backend: Backend) {
    let limits = ApiLimits { body_rows_max: 10, ..LIMITS };
    let server = Server::start_with(backend, Setup { limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let feeds = vec![b'\n'; 32 << 20];
    let numbers = format!("[{}1]", "1,".repeat(16 << 20));
    let erroneous = |errors: usize| {
        let record = completed(1, AT, 60);
        (0..errors).fold(record, |record, _| record.error(error(AT, "stt", "error", "x"))).to_string()
    };
    let table = vec![
        ("line feeds, zstd", packed("zstd", zstd(&feeds))),
        ("line feeds, gzip", packed("gzip", gzip(&feeds))),
        ("numbers", post().json(zstd(numbers.as_bytes())).header("Content-Encoding", "zstd")),
        ("as many numbers, unpacked", post().json(numbers)),
        ("empty gzip members", packed("gzip", gzip(b"").repeat(100_000))),
        ("empty zstd frames", packed("zstd", zstd(b"").repeat(100_000))),
        ("more rows than may be", post().ndjson(erroneous(10))),
    ];
    assert_snapshot!(problems(&acme, named(table)).await, @"
    line feeds, zstd
      413 payload_too_large: the body must not unpack to more than 200 times its size, unless that is less than 64 KiB; send it unpacked, or split it
    line feeds, gzip
      413 payload_too_large: the body must not unpack to more than 200 times its size, unless that is less than 64 KiB; send it unpacked, or split it
    numbers
      413 payload_too_large: the body must not unpack to more than 200 times its size, unless that is less than 64 KiB; send it unpacked, or split it
    as many numbers, unpacked
      413 payload_too_large: the body must hold at most 50000 records; split it
    empty gzip members
      413 payload_too_large: the body must have at most 4096 gzip members or frames; pack it as one
    empty zstd frames
      413 payload_too_large: the body must have at most 4096 zstd members or frames; pack it as one
    more rows than may be
      413 payload_too_large: the body must hold at most 10 records, errors and providers together; split it
    ");
    assert_eq!(acme.send(&post().ndjson(erroneous(9))).await.value()["accepted"], 1);
}

async fn an_answer_to_many_bad_records_is_bounded(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let bad = format!("{{\"call_id\":\"{}\",\"{}\":1}}\n", "\\u0001".repeat(64), "\\u0001".repeat(200));
    let response = acme.send(&Request::new("POST", format!("{INGEST}?strict=true")).ndjson(bad.repeat(30_000))).await;
    assert_eq!(response.status, 200);
    assert!(response.body.len() < (2 << 20) + 10_000, "{}", response.body.len());
    let answer = response.value();
    let rejected = answer["rejected"].as_array().expect("a list");
    let omitted = answer["rejected_omitted"].as_u64().expect("a number");
    assert_eq!(rejected.len() as u64 + omitted, 30_000);
    assert!(rejected.last().expect("some")["errors"].as_array().expect("a list").is_empty());
    assert_eq!(rejected[0]["errors"][0]["field"].as_str().map(|name| name.chars().count()), Some(64));
    assert_eq!(crate::metrics::metric(&server, "callscope_ingest_records_total{outcome=\"rejected\"}").await, 30_000);
}

async fn many_bodies_at_once_are_more_than_there_is_room_for(backend: Backend) {
    let limits = ApiLimits { inflight_bytes_max: 190_000, ..small().limits };
    let server = Server::start_with(backend, Setup { limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    let big = post().ndjson(format!("{}\n{}", line(), " ".repeat(90_000)));
    let (taken, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let second = async {
        taken.notified().await;
        let refused = acme.send(&big).await;
        end.notify_one();
        refused
    };
    let (first, refused) = tokio::join!(held_body(&server, &big, taken.clone(), end.clone()), second);
    assert_eq!(first.status, 200);
    assert_snapshot!(problem(&refused), @"503 overloaded: too many bodies of this tenant are being received; nothing was stored");
    // There is room again.
    assert_eq!(acme.send(&big).await.status, 200);
}
